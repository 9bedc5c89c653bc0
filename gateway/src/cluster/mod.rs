//! The control plane of a node: what vservers, volumes, LIFs and peers there are, and what of it runs here.
//!
//! Every change goes through one of its methods: checked, made durable in the store, then made real. It knows no
//! HTTP and no protocol; the composition root hands it what serves a listener.

mod accounts;
mod checkpoint;
mod clones;
mod error;
mod images;
mod lifs;
mod locks;
mod names;
mod peering;
mod policies;
mod quotas;
mod restore;
mod schedule;
mod scrub;
mod sealing;
mod served;
mod shares;
mod smb_ports;
mod snapshots;
mod volumes;
mod vservers;

pub use accounts::{GroupPatch, GroupView, NewGroup, NewUser, Password, UserPatch, UserView};
pub use checkpoint::run_checkpoints;
pub use clones::{CloneView, NewClone};
pub use error::{ClusterError, Result};
pub use lifs::{LifPatch, LifSpec, LifState, LifView, PortsSpec};
pub(crate) use locks::put_arrived;
pub use locks::{BrokenLocks, LockKind, LockView};
pub use policies::{ExportCheck, RuleEdit};
pub use quotas::{
    NewQtree, QtreePatch, QtreeView, QuotaAmounts, QuotaKind, QuotaRuleView, QuotaUseView, QuotaWhom,
};
pub use schedule::{NewSchedule, RuleView, ScheduleView};
pub use scrub::ScrubView;
pub use served::Served;
pub use shares::SharePatch;
pub use snapshots::{ChangeView, Restore, SnapshotDiff, SnapshotView};
pub use volumes::{NewVolume, VolumePatch, VolumeView};
pub use vservers::VserverView;

use crate::config::{Config, NAME_RULE, is_name};
use crate::lif::Endpoint;
use crate::net::ending::Ending;
use crate::secrets::Secrets;
use crate::store::{LifPorts, Store, VserverRecord};
use crate::vserver::{SmbClients, Vserver};
use fsstore::{Memory, MemoryUse, Replica, Time};
use migrate::Identity;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::OwnedMutexGuard;
use uuid::Uuid;

/// Serves one endpoint of a vserver until it ends. The ports are all those of the endpoint's LIF.
pub type ServeVserver = Arc<
    dyn Fn(Endpoint, Arc<Vserver>, LifPorts, Ending) -> Pin<Box<dyn Future<Output = ()> + Send>>
        + Send
        + Sync,
>;

/// The clients of SMB of a vserver.
pub type SmbClientsOf = fn(&Vserver) -> Arc<dyn SmbClients>;

/// The control plane. Always in an [`Arc`].
pub struct Cluster {
    /// The node's configuration file.
    pub config: Config,
    /// The durable configuration.
    pub store: Store,
    /// Towards other clusters.
    pub identity: Identity,
    /// Shared by all volumes that run here.
    pub(crate) memory: Memory,
    /// Encrypts what users must keep secret.
    secrets: Secrets,
    serve: ServeVserver,
    smb_clients: SmbClientsOf,
    /// What runs here, by name.
    served: Mutex<BTreeMap<String, Arc<Served>>>,
    /// Volumes that are being received, by UUID.
    pub(crate) replicas: Mutex<HashMap<Uuid, Arc<Replica>>>,
    /// What the background scrub knows of the volumes that run here.
    scrubs: scrub::Scrubs,
    /// What the snapshot schedules have done and could not do.
    schedules: schedule::Schedules,
    /// What hostnames and netgroups of export rules stand for.
    names: names::NameTable,
    /// How far the splits of clones are.
    splits: clones::Splits,
    /// One lock per vserver: held across a change of its configuration or state. Taken before any other lock.
    locks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cluster({})", self.config.cluster.name)
    }
}

/// Runs what blocks on a thread for that.
pub(crate) async fn blocking<T: Send + 'static, E: From<ClusterError> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(E::from(ClusterError::Failed(format!("internal task: {error}")))),
    }
}

/// The wall clock, as the store wants it.
pub fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time { secs: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanos: since.subsec_nanos() }
}

fn check_name(kind: &str, name: &str) -> Result<()> {
    if is_name(name) {
        Ok(())
    } else {
        Err(ClusterError::Invalid(format!("{kind} name {name:?}: {NAME_RULE}")))
    }
}

impl Cluster {
    /// A cluster over an open store. Nothing runs yet: see [`Cluster::start`].
    pub fn new(
        config: Config,
        store: Store,
        identity: Identity,
        serve: ServeVserver,
        smb_clients: SmbClientsOf,
    ) -> Arc<Self> {
        let memory = crate::memory::of_node(&config.volumes);
        Arc::new(Cluster {
            secrets: Secrets::in_dir(&config.data_dir),
            config,
            memory,
            store,
            identity,
            serve,
            smb_clients,
            served: Mutex::default(),
            replicas: Mutex::default(),
            scrubs: scrub::Scrubs::default(),
            schedules: schedule::Schedules::default(),
            names: names::NameTable::default(),
            splits: clones::Splits::default(),
            locks: Mutex::default(),
        })
    }

    /// Serves every vserver that the durable ownership says is here, and no other. One that can't be served is
    /// logged and left down; the others are not held up.
    pub async fn start(self: &Arc<Self>) -> Result<()> {
        for record in self.store.list::<VserverRecord>("")? {
            if record.ownership.state.serves() {
                let _guard = self.lock(&record.name).await;
                if let Err(error) = self.bring_up(&record.name).await {
                    tracing::error!(vserver = record.name, %error, "cannot serve this vserver");
                }
            }
        }
        Ok(())
    }

    /// Ends service: listeners, then requests, then volumes, each with a last consistency point.
    pub async fn stop(self: &Arc<Self>) {
        let names: Vec<String> = self.served.lock().keys().cloned().collect();
        for name in names {
            let _guard = self.lock(&name).await;
            if let Err(error) = self.take_down(&name).await {
                tracing::error!(vserver = name, %error, "unclean stop");
            }
        }
    }

    /// Takes the lock of a vserver.
    pub(crate) async fn lock(&self, vserver: &str) -> OwnedMutexGuard<()> {
        let lock = Arc::clone(self.locks.lock().entry(vserver.to_owned()).or_default());
        lock.lock_owned().await
    }

    /// The vserver of that name, if it runs here.
    pub fn served(&self, vserver: &str) -> Option<Arc<Served>> {
        self.served.lock().get(vserver).cloned()
    }

    /// Everything that runs here.
    pub fn all_served(&self) -> Vec<Arc<Served>> {
        self.served.lock().values().cloned().collect()
    }

    /// The vserver of that name, running.
    pub(crate) fn need_served(&self, vserver: &str) -> Result<Arc<Served>> {
        self.served(vserver).ok_or_else(|| match self.record(vserver) {
            Ok(record) => ClusterError::Conflict(format!(
                "vserver `{vserver}` is not served by this cluster now (it is {})",
                record.ownership.state.name()
            )),
            Err(error) => error,
        })
    }

    /// The durable record of a vserver.
    pub fn record(&self, vserver: &str) -> Result<VserverRecord> {
        self.store.get(vserver)?.ok_or_else(|| ClusterError::not_found("vserver", vserver))
    }

    /// The record, if its configuration may be changed now.
    pub(crate) fn record_to_change(&self, vserver: &str) -> Result<VserverRecord> {
        use crate::store::OwnershipState as S;
        let record = self.record(vserver)?;
        match &record.ownership.state {
            S::Serving | S::Offline => Ok(record),
            S::Migrating { migration } => Err(ClusterError::Conflict(format!(
                "vserver `{vserver}` is being migrated; wait, or `ferry migrate abort {migration}`"
            ))),
            S::Placeholder { source, .. } => Err(ClusterError::Conflict(format!(
                "vserver `{vserver}` is arriving from cluster `{source}`; change it there, or after the move"
            ))),
            S::Relinquished { to } => Err(ClusterError::Conflict(format!(
                "vserver `{vserver}` has moved to cluster `{to}`; change it there"
            ))),
        }
    }

    /// What the memory of the volumes is used for now, and its limits.
    pub fn memory_use(&self) -> MemoryUse {
        self.memory.usage()
    }
}
