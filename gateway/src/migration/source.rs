//! The cluster that a vserver leaves: marking it, freezing it, and the one step by which it is given up.

use super::payload::{Crs, OpenState};
use super::{Host, host_error};
use crate::cluster::{ClusterError, Result, Served, blocking};
use crate::store::{LifRecord, MigrationEntry, OwnershipState, Store, VolumeRecord, VserverRecord};
use migrate::ports::{Ownership, SourceVolume};
use migrate::{Epoch, HostError, MigrationId, PortFuture, SourceHost, VolumeInfo};
use std::sync::Arc;
use std::time::Duration;

/// Requests stay parked this much longer than the cutover window: the timer, not the gate, is to end a cutover.
const PARK_MARGIN: Duration = Duration::from_secs(30);

impl Host {
    /// Changes the durable record of a vserver.
    async fn change<T: Send + 'static>(
        &self,
        vserver: &str,
        change: impl Fn(&mut VserverRecord) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (cluster, name) = (Arc::clone(&self.cluster), vserver.to_owned());
        blocking(move || {
            cluster.store.update(|tx| {
                let mut record: VserverRecord =
                    tx.get(&name)?.ok_or_else(|| ClusterError::not_found("vserver", &name))?;
                let before = record.clone();
                let value = change(&mut record)?;
                if record != before {
                    tx.put(&record)?;
                }
                Ok(value)
            })
        })
        .await
    }

    async fn mark(&self, vserver: &str, id: MigrationId) -> Result<()> {
        let _guard = self.cluster.lock(vserver).await;
        let served = self.cluster.need_served(vserver)?;
        if let Some((what, fault)) = served.faults().into_iter().find(|(what, _)| what.starts_with("volume "))
        {
            return Err(ClusterError::Conflict(format!(
                "{what} of vserver `{vserver}` is not mounted: {fault}"
            )));
        }
        for mount in served.mounts() {
            if let Some(fault) = mount.volume.fault() {
                return Err(ClusterError::Conflict(format!("volume `{}` has failed: {fault}", mount.name)));
            }
        }
        if served.mounts().is_empty() {
            return Err(ClusterError::Conflict(format!("vserver `{vserver}` has no volumes to move")));
        }
        self.change(vserver, move |record| match record.ownership.state.clone() {
            OwnershipState::Serving => {
                record.ownership.state = OwnershipState::Migrating { migration: id.0 };
                Ok(())
            }
            OwnershipState::Migrating { migration } if migration == id.0 => Ok(()),
            OwnershipState::Migrating { migration } => {
                Err(ClusterError::Conflict(format!("migration {migration} of this vserver is under way")))
            }
            other => Err(ClusterError::Conflict(format!("the vserver is {} here", other.name()))),
        })
        .await
    }

    async fn give_up(&self, vserver: &str, epoch: Epoch, to: &str) -> Result<()> {
        let _guard = self.cluster.lock(vserver).await;
        let to = to.to_owned();
        self.change(vserver, move |record| {
            let relinquished = OwnershipState::Relinquished { to: to.clone() };
            if record.ownership.epoch == epoch.0 && record.ownership.state == relinquished {
                return Ok(());
            }
            let migrating = matches!(record.ownership.state, OwnershipState::Migrating { .. });
            if !migrating || record.ownership.epoch.checked_add(1) != Some(epoch.0) {
                return Err(ClusterError::Conflict(format!(
                    "cannot give up epoch {epoch} of a vserver that is {} under epoch {}",
                    record.ownership.state.name(),
                    record.ownership.epoch
                )));
            }
            record.ownership.epoch = epoch.0;
            record.ownership.state = relinquished;
            Ok(())
        })
        .await?;
        // From here on nothing may be served: not the requests that are parked, nor new ones.
        if let Some(served) = self.cluster.served(vserver) {
            served.end_requests();
            served.hand_lifs_over().await;
        }
        Ok(())
    }

    async fn remove_copy(&self, vserver: &str) -> Result<()> {
        let _guard = self.cluster.lock(vserver).await;
        let record = match self.cluster.record(vserver) {
            Err(ClusterError::NotFound { .. }) => return Ok(()),
            record => record?,
        };
        if !matches!(record.ownership.state, OwnershipState::Relinquished { .. }) {
            let state = record.ownership.state.name();
            return Err(ClusterError::Conflict(format!(
                "vserver `{vserver}` is {state} here; only a copy that was left behind is cleaned up"
            )));
        }
        self.cluster.take_down(vserver).await?;
        let (cluster, prefix) = (Arc::clone(&self.cluster), format!("{vserver}/"));
        blocking(move || {
            for volume in cluster.store.list::<VolumeRecord>(&prefix)? {
                cluster.remove_image(volume.uuid)?;
            }
            Ok::<(), ClusterError>(())
        })
        .await?;
        self.cluster.forget_vserver(vserver).await
    }

    fn need(&self, vserver: &str) -> Result<Arc<Served>, HostError> {
        self.cluster.need_served(vserver).map_err(host_error)
    }

    fn crs(&self, vserver: &str) -> Result<Crs> {
        let store: &Store = &self.cluster.store;
        let prefix = format!("{vserver}/");
        let record = self.cluster.record(vserver)?;
        let smb = self.cluster.open_smb(&record)?;
        Ok(Crs::new(&record, smb, store.list::<VolumeRecord>(&prefix)?, store.list::<LifRecord>(&prefix)?))
    }

    /// The window of the migration that the vserver is marked with.
    fn park_limit(&self, vserver: &str) -> Option<Duration> {
        let OwnershipState::Migrating { migration } = self.cluster.record(vserver).ok()?.ownership.state
        else {
            return None;
        };
        let entry = self.cluster.store.get::<MigrationEntry>(&migration.to_string()).ok()??;
        Some(Duration::from_millis(entry.0.spec.cutover_window_ms) + PARK_MARGIN)
    }
}

impl SourceHost for Host {
    fn begin<'a>(&'a self, vserver: &'a str, id: MigrationId) -> PortFuture<'a, ()> {
        Box::pin(async move { self.mark(vserver, id).await.map_err(host_error) })
    }

    fn end<'a>(&'a self, vserver: &'a str, id: MigrationId) -> PortFuture<'a, ()> {
        Box::pin(async move {
            let _guard = self.cluster.lock(vserver).await;
            self.change(vserver, move |record| {
                if record.ownership.state == (OwnershipState::Migrating { migration: id.0 }) {
                    record.ownership.state = OwnershipState::Serving;
                }
                Ok(())
            })
            .await
            .map_err(host_error)
        })
    }

    fn volumes<'a>(&'a self, vserver: &'a str) -> PortFuture<'a, Vec<SourceVolume>> {
        Box::pin(async move {
            let mut mounts = self.need(vserver)?.mounts();
            mounts.sort_by(|a, b| a.name.cmp(&b.name));
            let volume = |mount: crate::vserver::MountedVolume| SourceVolume {
                info: VolumeInfo {
                    uuid: mount.volume.uuid(),
                    name: mount.name,
                    size_bytes: mount.volume.size_bytes(),
                    // Junction and policy travel in the configuration.
                    attributes: String::new(),
                },
                volume: mount.volume,
            };
            Ok(mounts.into_iter().map(volume).collect())
        })
    }

    fn config<'a>(&'a self, vserver: &'a str) -> PortFuture<'a, Vec<u8>> {
        Box::pin(async move { Ok(self.crs(vserver).map_err(host_error)?.encode()) })
    }

    fn open_state<'a>(&'a self, vserver: &'a str) -> PortFuture<'a, Vec<u8>> {
        Box::pin(async move {
            let served = self.need(vserver)?;
            let state = OpenState {
                write_verifier: served.vserver.write_verifier(),
                reply_cache: served.vserver.reply_cache.export(),
                locks: served.vserver.locks.export(),
                smb_handles: served.vserver.smb_handles(),
                watched: served.vserver.watched.all(),
                nsm_state: served.vserver.watched.state(),
            };
            Ok(state.encode())
        })
    }

    fn set_write_limit<'a>(&'a self, vserver: &'a str, bytes_per_s: Option<u64>) -> PortFuture<'a, ()> {
        Box::pin(async move {
            if let Some(served) = self.cluster.served(vserver) {
                served.set_migration_limit(bytes_per_s);
            }
            Ok(())
        })
    }

    fn write_rate<'a>(&'a self, vserver: &'a str) -> PortFuture<'a, u64> {
        Box::pin(async move { Ok(self.cluster.served(vserver).map_or(0, |served| served.write_rate())) })
    }

    fn freeze<'a>(&'a self, vserver: &'a str) -> PortFuture<'a, ()> {
        Box::pin(async move {
            let served = self.need(vserver)?;
            if let Some(limit) = self.park_limit(vserver) {
                served.vserver.gate.set_park_limit(limit);
            }
            served.vserver.gate.freeze().await;
            Ok(())
        })
    }

    fn thaw<'a>(&'a self, vserver: &'a str) -> PortFuture<'a, ()> {
        Box::pin(async move {
            if let Some(served) = self.cluster.served(vserver) {
                served.vserver.gate.thaw();
            }
            Ok(())
        })
    }

    fn ownership<'a>(&'a self, vserver: &'a str) -> PortFuture<'a, Ownership> {
        Box::pin(async move {
            let record = self.cluster.record(vserver).map_err(host_error)?;
            Ok(Ownership { epoch: Epoch(record.ownership.epoch), here: record.ownership.state.owns() })
        })
    }

    fn relinquish<'a>(&'a self, vserver: &'a str, epoch: Epoch, to: &'a str) -> PortFuture<'a, ()> {
        Box::pin(async move { self.give_up(vserver, epoch, to).await.map_err(host_error) })
    }

    fn retire<'a>(&'a self, vserver: &'a str) -> PortFuture<'a, ()> {
        Box::pin(async move {
            let _guard = self.cluster.lock(vserver).await;
            match self.cluster.record(vserver) {
                Ok(record) if record.ownership.state.owns() => {
                    Err(HostError::new(format!("vserver `{vserver}` is owned here and stays up")))
                }
                _ => self.cluster.take_down(vserver).await.map_err(host_error),
            }
        })
    }

    fn cleanup<'a>(&'a self, vserver: &'a str) -> PortFuture<'a, ()> {
        Box::pin(async move { self.remove_copy(vserver).await.map_err(host_error) })
    }
}
