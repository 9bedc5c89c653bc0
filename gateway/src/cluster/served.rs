//! One vserver as it runs here: its volumes mounted, its LIFs up, its limits in force. Bringing that up and down.
//!
//! Only vservers whose durable ownership says so come here; this file checks that once more before it mounts.

use super::locks::KeptLocks;
use super::{Cluster, ClusterError, Result, blocking, now};
use crate::lif::{self, LifUp, Serve};
use crate::store::{AppliedRecord, LifPorts, LifRecord, QosRecord, StoreError, VolumeRecord, VserverRecord};
use crate::vserver::{MountedVolume, Namespace, VolumeId, Vserver};
use fsstore::Volume;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How long requests may take to end once the gate is closed.
const DRAIN_PATIENCE: Duration = Duration::from_secs(10);
/// How far back the write rate looks.
const RATE_WINDOW: Duration = Duration::from_millis(1000);

/// A running vserver.
#[derive(Debug)]
pub struct Served {
    /// As protocols see it.
    pub vserver: Arc<Vserver>,
    /// LIFs that are up.
    pub(super) lifs: Mutex<BTreeMap<String, LifUp>>,
    /// Connections of LIFs that were handed over, which are open still.
    silent: Mutex<Vec<CancellationToken>>,
    /// Why a LIF or a volume is not there, by `lif NAME` or `volume NAME`.
    faults: Mutex<BTreeMap<String, String>>,
    limits: Mutex<Limits>,
    /// Readings of the write counter of about the last second.
    readings: Mutex<VecDeque<(Instant, u64)>>,
}

#[derive(Debug, Default)]
struct Limits {
    operator: Option<u64>,
    migration: Option<u64>,
}

impl Served {
    fn new(vserver: Arc<Vserver>) -> Self {
        Served {
            vserver,
            lifs: Mutex::default(),
            silent: Mutex::default(),
            faults: Mutex::default(),
            limits: Mutex::default(),
            readings: Mutex::default(),
        }
    }

    /// Sets the operator's limits.
    pub fn set_operator_limits(&self, record: &QosRecord) {
        let mut limits = self.limits.lock();
        limits.operator = record.write_limit_bytes_per_s;
        self.vserver.qos.set_write_limit(limits.in_force());
        self.vserver.qos.set_limits(&crate::vserver::Limits {
            ops_per_s: record.limit_ops_per_s,
            bytes_per_s: record.limit_bytes_per_s,
            client_ops_per_s: record.client_limit_ops_per_s,
            client_bytes_per_s: record.client_limit_bytes_per_s,
        });
    }

    /// Sets the limit that a migration asks for; the lower of the two is in force.
    pub fn set_migration_limit(&self, bytes_per_s: Option<u64>) {
        let mut limits = self.limits.lock();
        limits.migration = bytes_per_s;
        self.vserver.qos.set_write_limit(limits.in_force());
    }

    /// Notes the write counter; to be called a few times a second.
    pub fn sample_write_rate(&self) {
        let mut readings = self.readings.lock();
        readings.push_back((Instant::now(), self.vserver.qos.counters().write_bytes));
        while readings.len() > 2 && readings.get(1).is_some_and(|(at, _)| at.elapsed() >= RATE_WINDOW) {
            readings.pop_front();
        }
    }

    /// What clients have written in about the last second, in bytes per second.
    pub fn write_rate(&self) -> u64 {
        let readings = self.readings.lock();
        let Some((at, bytes)) = readings.front() else { return 0 };
        let elapsed_ms = at.elapsed().as_millis().max(1);
        let written = self.vserver.qos.counters().write_bytes.saturating_sub(*bytes);
        u64::try_from(u128::from(written) * 1000 / elapsed_ms).unwrap_or(u64::MAX)
    }

    /// What does not run, and why.
    pub fn faults(&self) -> BTreeMap<String, String> {
        self.faults.lock().clone()
    }

    pub(super) fn set_fault(&self, what: String, fault: Option<String>) {
        let mut faults = self.faults.lock();
        match fault {
            Some(fault) => drop(faults.insert(what, fault)),
            None => drop(faults.remove(&what)),
        }
    }

    /// Closes the gate for good and lets no request wait any more: neither at the gate nor for a limit.
    pub fn end_requests(&self) {
        self.vserver.gate.close();
        self.vserver.qos.set_write_limit(None);
        self.vserver.qos.set_limits(&crate::vserver::Limits::default());
    }

    fn take_lifs(&self) -> impl Iterator<Item = LifUp> + use<> {
        std::mem::take(&mut *self.lifs.lock()).into_values()
    }

    /// Takes all LIFs down at once: listeners and connections are closed when it returns.
    pub async fn lifs_down(&self) {
        futures_util::future::join_all(self.take_lifs().map(LifUp::down)).await;
    }

    /// Takes all LIFs down so that another node can bring them up. Their connections are silent when it returns, and stay so until
    /// [`Served::handed_over`].
    pub async fn hand_lifs_over(&self) {
        let silent = futures_util::future::join_all(self.take_lifs().map(LifUp::hand_over)).await;
        self.silent.lock().extend(silent);
    }

    /// The other node serves: clients may learn that their connections are over.
    pub fn handed_over(&self) {
        std::mem::take(&mut *self.silent.lock()).iter().for_each(CancellationToken::cancel);
    }

    /// The mounted volumes.
    pub fn mounts(&self) -> Vec<MountedVolume> {
        self.vserver.namespace().mounts().cloned().collect()
    }
}

impl Limits {
    fn in_force(&self) -> Option<u64> {
        match (self.operator, self.migration) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

/// A new random write verifier.
pub(crate) fn random_verifier() -> [u8; 8] {
    let (high, _) = uuid::Uuid::new_v4().as_u64_pair();
    high.to_be_bytes()
}

impl Cluster {
    /// Mounts and serves a vserver. The caller holds its lock. If it runs already, only LIFs that are down
    /// are tried again.
    pub(crate) async fn bring_up(self: &Arc<Self>, name: &str) -> Result<Arc<Served>> {
        if let Some(served) = self.served(name) {
            self.lifs_up(&served).await?;
            return Ok(served);
        }
        let served = Arc::new(self.mount(name).await?);
        self.served.lock().insert(name.to_owned(), Arc::clone(&served));
        self.lifs_up(&served).await?;
        tracing::info!(vserver = name, "serving");
        Ok(served)
    }

    async fn mount(self: &Arc<Self>, name: &str) -> Result<Served> {
        self.learn_names(self.record(name)?.export_policies.values().flatten()).await;
        let this = Arc::clone(self);
        let name = name.to_owned();
        blocking(move || this.mount_blocking(&name)).await
    }

    fn mount_blocking(&self, name: &str) -> Result<Served> {
        let (record, locks) = self.mark_mounted(name)?;
        let vserver =
            Vserver::new(&record.name, record.uuid, record.handle_key.clone(), record.write_verifier);
        let served = Served::new(vserver);
        let mut mounts = Vec::new();
        for (volume, opened) in self.open_volumes(self.store.list::<VolumeRecord>(&format!("{name}/"))?) {
            match opened {
                Ok(mounted) => mounts.push(mounted_volume(&volume, mounted)),
                Err(error) => {
                    tracing::error!(vserver = name, volume = volume.name, %error, "cannot mount this volume");
                    served.set_fault(format!("volume {}", volume.name), Some(error.to_string()));
                }
            }
        }
        served.vserver.set_namespace(Namespace::build(mounts, now())?);
        self.apply_smb(&served, &record);
        self.apply_exports(&served, record.export_policies);
        served.set_operator_limits(&record.qos);
        served.vserver.groups.enable(record.extended_groups);
        self.import_open_state(&served.vserver)?;
        self.restore_locks(&served.vserver, record.nsm_state, locks)?;
        Ok(served)
    }

    /// Notes durably that the volumes are mounted. If they were already, the node went down without closing them,
    /// and UNSTABLE writes may be lost: clients learn that from a new write verifier.
    fn mark_mounted(&self, name: &str) -> Result<(VserverRecord, KeptLocks)> {
        self.store.update(|tx| {
            let mut record: VserverRecord =
                tx.get(name)?.ok_or_else(|| ClusterError::not_found("vserver", name))?;
            if !record.ownership.state.serves() {
                let state = record.ownership.state.name();
                return Err(ClusterError::Conflict(format!(
                    "vserver `{name}` may not be served here: it is {state}"
                )));
            }
            if record.mounted {
                tracing::warn!(vserver = name, "was not closed cleanly; new write verifier");
                record.write_verifier = random_verifier();
            }
            let locks = KeptLocks::take(tx, &mut record)?;
            record.mounted = true;
            tx.put(&record)?;
            Ok((record, locks))
        })
    }

    /// A vserver that has just arrived brings the first answers to calls that its clients may repeat.
    fn import_open_state(&self, vserver: &Vserver) -> Result<()> {
        let Some(applied) = self.store.get::<AppliedRecord>(&vserver.name)? else { return Ok(()) };
        let open_state =
            crate::migration::OpenState::decode(&applied.open_state).map_err(ClusterError::Failed)?;
        vserver
            .reply_cache
            .import(&open_state.reply_cache)
            .map_err(|error| ClusterError::Failed(format!("vserver `{}`: {error}", vserver.name)))
    }

    /// How a LIF with these ports serves the endpoints of this vserver.
    pub(super) fn serve_for(&self, vserver: &Arc<Vserver>, ports: LifPorts) -> Serve {
        let (serve, vserver) = (Arc::clone(&self.serve), Arc::clone(vserver));
        Arc::new(move |endpoint, ending| serve(endpoint, Arc::clone(&vserver), ports, ending))
    }

    /// Brings up what is not up. What fails is noted as a fault and tried again by the clockwork.
    pub(super) async fn lifs_up(self: &Arc<Self>, served: &Arc<Served>) -> Result<()> {
        let mut records = self.store.list::<LifRecord>(&format!("{}/", served.vserver.name))?;
        records.retain(|record| !served.lifs.lock().contains_key(&record.name));
        let ups = records.iter().map(|record| async {
            let result = lif::up(record, &self.serve_for(&served.vserver, record.ports)).await;
            let fault = result.as_ref().err().map(ToString::to_string);
            if let Some(error) = &fault {
                tracing::error!(vserver = record.vserver, lif = record.name, error, "LIF stays down");
            }
            served.set_fault(format!("lif {}", record.name), fault);
            if let Ok(up) = result {
                served.lifs.lock().insert(record.name.clone(), up);
            }
        });
        futures_util::future::join_all(ups).await;
        self.smb_ports(served).await
    }

    /// Tries again to bring up LIFs that could not be.
    pub(super) async fn retry_lifs(self: &Arc<Self>) {
        for served in self.all_served() {
            let of_lif = |what: &String| what.starts_with("lif ") || what.starts_with("smb port ");
            if !served.faults().keys().any(of_lif) {
                continue;
            }
            let name = served.vserver.name.clone();
            let _guard = self.lock(&name).await;
            let serves = self.record(&name).is_ok_and(|record| record.ownership.state.serves());
            let same = self.served(&name).is_some_and(|now| Arc::ptr_eq(&now, &served));
            if serves
                && same
                && let Err(error) = self.lifs_up(&served).await
            {
                tracing::error!(vserver = name, %error, "LIFs");
            }
        }
    }

    /// Ends a vserver's service and closes its volumes. The caller holds its lock. Does nothing if it does not run.
    pub(crate) async fn take_down(self: &Arc<Self>, name: &str) -> Result<()> {
        let Some(served) = self.served(name) else { return Ok(()) };
        served.end_requests();
        served.handed_over();
        served.lifs_down().await;
        let drained =
            tokio::time::timeout(DRAIN_PATIENCE, served.vserver.gate.close_and_drain()).await.is_ok();
        if !drained {
            tracing::warn!(vserver = name, "requests did not end in time");
        }
        self.served.lock().remove(name);
        let this = Arc::clone(self);
        let name = name.to_owned();
        blocking(move || {
            for mount in served.mounts() {
                mount.volume.close()?;
            }
            served.vserver.set_namespace(Namespace::default());
            this.store.update(|tx| {
                if let Some(mut record) = tx.get::<VserverRecord>(&name)? {
                    record.mounted = false;
                    if drained && record.ownership.state.owns() {
                        super::locks::keep(tx, &served.vserver)?;
                    }
                    tx.put(&record)?;
                }
                Ok::<(), StoreError>(())
            })?;
            Ok(())
        })
        .await
    }
}

/// A volume at the place that its record names.
pub(crate) fn mounted_volume(record: &VolumeRecord, volume: Arc<Volume>) -> MountedVolume {
    volume.show_snapshots(record.snapshots.dir.into());
    MountedVolume {
        id: VolumeId::of(record.uuid),
        name: record.name.clone(),
        volume,
        junction: record.junction.clone(),
        policy: record.policy.clone(),
    }
}
