//! The cluster that a vserver arrives at: making room, receiving, and taking it over.

use super::payload::{Crs, OpenState};
use super::{Host, host_error};
use crate::cluster::{Cluster, ClusterError, Result, blocking, put_arrived};
use crate::store::{
    AppliedRecord, Guarantee, LifRecord, Ownership, OwnershipState, Record, SmbRecord, StoreError,
    Transaction, VolumeRecord, VserverRecord,
};
use fsstore::{FileDisk, Replica, SnapshotMaker, VolumeSpec};
use migrate::ports::Placeholder;
use migrate::{DestinationHost, Epoch, MigrationId, PortFuture};
use std::sync::Arc;
use uuid::Uuid;

impl Cluster {
    /// Refuses a vserver for which there is no room here.
    fn check_room(&self, crs: &Crs, placeholder: &Placeholder) -> Result<()> {
        match self.record(&crs.name) {
            Err(ClusterError::NotFound { .. }) => {}
            Err(error) => return Err(error),
            Ok(record) => check_taken(&record, placeholder)?,
        }
        let ours = crs.volumes();
        for volume in self.store.list::<VolumeRecord>("")? {
            if volume.vserver != crs.name && ours.iter().any(|our| our.uuid == volume.uuid) {
                return Err(ClusterError::Conflict(format!(
                    "volume `{}` of vserver `{}` here has the UUID of one that is to arrive",
                    volume.name, volume.vserver
                )));
            }
        }
        let announced = |uuid| placeholder.volumes.iter().any(|info| info.uuid == uuid);
        if ours.len() != placeholder.volumes.len() || !ours.iter().all(|our| announced(our.uuid)) {
            return Err(ClusterError::Invalid(
                "the volumes of the migration and of the configuration differ".into(),
            ));
        }
        crs.lifs(&self.config.cluster.node).iter().try_for_each(|lif| self.check_lif(lif))
    }

    fn make_placeholder(&self, placeholder: &Placeholder) -> Result<()> {
        let crs = Crs::decode(&placeholder.config).map_err(ClusterError::Invalid)?;
        if crs.name != placeholder.vserver {
            return Err(ClusterError::Invalid("the configuration is of another vserver".to_owned()));
        }
        self.check_room(&crs, placeholder)?;
        let ownership = Ownership {
            epoch: placeholder.epoch.0,
            state: OwnershipState::Placeholder {
                migration: placeholder.id.0,
                source: placeholder.source.clone(),
            },
        };
        let node = self.config.cluster.node.as_str();
        let smb = self.seal_smb(crs.uuid, &crs.smb)?;
        self.store.update(|tx| write_configuration(tx, &crs, &smb, ownership.clone(), None, node))?;
        for info in &placeholder.volumes {
            let spec = VolumeSpec { uuid: info.uuid, size_bytes: info.size_bytes };
            let volumes = crs.volumes();
            let record = volumes.iter().find(|volume| volume.uuid == info.uuid);
            self.make_replica(&spec, record.map(|volume| volume.guarantee).unwrap_or_default())?;
        }
        Ok(())
    }

    fn make_replica(&self, spec: &VolumeSpec, guarantee: Guarantee) -> Result<()> {
        let mut replicas = self.replicas.lock();
        if replicas.contains_key(&spec.uuid) {
            return Ok(());
        }
        let path = self.volume_path(spec.uuid);
        if path.exists() {
            match FileDisk::open(&path)
                .map_err(ClusterError::from)
                .and_then(|disk| Ok(Replica::open(Arc::new(disk))?))
            {
                Ok(replica) => {
                    replicas.insert(spec.uuid, Arc::new(replica));
                    return Ok(());
                }
                // A crash cut its making short; nothing was received into it.
                Err(_) => self.remove_image(spec.uuid)?,
            }
        }
        let disk = self.make_image(spec.uuid, spec.size_bytes, guarantee)?;
        replicas.insert(spec.uuid, Arc::new(Replica::create(Arc::new(disk), spec)?));
        Ok(())
    }

    fn open_replica(&self, vserver: &str, uuid: Uuid) -> Result<Arc<Replica>> {
        let record = self.record(vserver)?;
        if !matches!(record.ownership.state, OwnershipState::Placeholder { .. }) {
            return Err(ClusterError::Conflict(format!("vserver `{vserver}` is not arriving here")));
        }
        let mut replicas = self.replicas.lock();
        if let Some(replica) = replicas.get(&uuid) {
            return Ok(Arc::clone(replica));
        }
        let volumes = self.store.list::<VolumeRecord>(&format!("{vserver}/"))?;
        if !volumes.iter().any(|volume| volume.uuid == uuid) {
            return Err(ClusterError::not_found("volume", &uuid.to_string()));
        }
        let disk = FileDisk::open(&self.volume_path(uuid))?;
        let replica = Arc::new(Replica::open(Arc::new(disk))?);
        replicas.insert(uuid, Arc::clone(&replica));
        Ok(replica)
    }

    /// Lets go of the disks of all replicas of a vserver.
    fn close_replicas(&self, vserver: &str) -> Result<()> {
        for volume in self.store.list::<VolumeRecord>(&format!("{vserver}/"))? {
            let Some(replica) = self.replicas.lock().remove(&volume.uuid) else { continue };
            match Arc::try_unwrap(replica) {
                Ok(replica) => replica.close()?,
                Err(replica) => {
                    self.replicas.lock().insert(volume.uuid, replica);
                    return Err(ClusterError::Conflict(format!(
                        "volume `{}` is still being received",
                        volume.name
                    )));
                }
            }
        }
        Ok(())
    }

    /// The durable step of taking over.
    fn take_ownership(&self, vserver: &str, epoch: Epoch) -> Result<()> {
        let node = self.config.cluster.node.as_str();
        self.store.update(|tx| {
            let record: VserverRecord =
                tx.get(vserver)?.ok_or_else(|| ClusterError::not_found("vserver", vserver))?;
            if record.ownership.state.serves() && record.ownership.epoch == epoch.0 {
                return Ok(());
            }
            let placeholder = matches!(record.ownership.state, OwnershipState::Placeholder { .. });
            if !placeholder || epoch.0 <= record.ownership.epoch {
                return Err(ClusterError::Conflict(format!(
                    "cannot take epoch {epoch} of a vserver that is {} under epoch {} here",
                    record.ownership.state.name(),
                    record.ownership.epoch
                )));
            }
            let applied: AppliedRecord = tx.get(vserver)?.ok_or_else(|| {
                ClusterError::Conflict("the source's configuration and state have not arrived".to_owned())
            })?;
            let crs = Crs::decode(&self.open_arrival(&applied)?).map_err(ClusterError::Invalid)?;
            let smb = self.seal_smb(crs.uuid, &crs.smb)?;
            let open_state = OpenState::decode(&applied.open_state).map_err(ClusterError::Invalid)?;
            let ownership = Ownership { epoch: epoch.0, state: OwnershipState::Serving };
            write_configuration(tx, &crs, &smb, ownership, Some(&open_state), node)?;
            put_arrived(tx, vserver, open_state.locks, open_state.smb_handles, &open_state.watched)?;
            Ok(())
        })
    }

    fn forget_leftovers(&self, vserver: &str, snapshot_prefix: &str) -> Result<()> {
        if let Some(served) = self.served(vserver) {
            for mount in served.mounts() {
                let arrived = mount.volume.origin().is_none();
                for snapshot in mount.volume.snapshots() {
                    // What kept a parent's blocks for a clone, which has all its blocks itself here.
                    let of_clone = arrived && snapshot.maker == SnapshotMaker::Clone;
                    if of_clone || snapshot.name.starts_with(snapshot_prefix) {
                        mount.volume.snapshot_delete(snapshot.id)?;
                    }
                }
            }
        }
        self.forget_applied(vserver)
    }

    fn forget_applied(&self, vserver: &str) -> Result<()> {
        Ok(self.store.update(|tx| {
            tx.delete::<AppliedRecord>(vserver);
            Ok::<(), StoreError>(())
        })?)
    }
}

fn check_taken(record: &VserverRecord, placeholder: &Placeholder) -> Result<()> {
    match &record.ownership.state {
        OwnershipState::Placeholder { migration, .. } if *migration == placeholder.id.0 => Ok(()),
        OwnershipState::Relinquished { to } => Err(ClusterError::Conflict(format!(
            "the destination still has the copy of vserver `{0}` from before it moved to `{to}`; remove it there with \
             `ferry migrate cleanup {0}`, then here: `ferry migrate resume {0}`",
            record.name
        ))),
        state => Err(ClusterError::Conflict(format!(
            "a vserver `{}` is here already ({})",
            record.name,
            state.name()
        ))),
    }
}

/// Writes the records of a vserver as its configuration says, replacing those that are there.
fn write_configuration(
    tx: &mut Transaction<'_>,
    crs: &Crs,
    smb: &SmbRecord,
    ownership: Ownership,
    open_state: Option<&OpenState>,
    node: &str,
) -> Result<(), StoreError> {
    let prefix = format!("{}/", crs.name);
    for old in tx.list::<VolumeRecord>(&prefix)? {
        tx.delete::<VolumeRecord>(&old.key());
    }
    for old in tx.list::<LifRecord>(&prefix)? {
        tx.delete::<LifRecord>(&old.key());
    }
    crs.volumes().iter().try_for_each(|volume| tx.put(volume))?;
    crs.lifs(node).iter().try_for_each(|lif| tx.put(lif))?;
    tx.put(&VserverRecord {
        name: crs.name.clone(),
        uuid: crs.uuid,
        ownership,
        handle_key: crs.handle_key.clone(),
        write_verifier: open_state.map(|state| state.write_verifier).unwrap_or_default(),
        mounted: false,
        export_policies: crs.export_policies.clone(),
        qos: crs.qos,
        nsm_state: open_state.map(|state| state.nsm_state).unwrap_or_default(),
        extended_groups: crs.extended_groups,
        smb: smb.clone(),
    })
}

impl DestinationHost for Host {
    fn prepare<'a>(&'a self, placeholder: &'a Placeholder) -> PortFuture<'a, ()> {
        let (cluster, placeholder) = (Arc::clone(&self.cluster), placeholder.clone());
        Box::pin(async move {
            let _guard = self.cluster.lock(&placeholder.vserver).await;
            blocking(move || cluster.make_placeholder(&placeholder)).await.map_err(host_error)
        })
    }

    fn replica<'a>(&'a self, vserver: &'a str, volume: Uuid) -> PortFuture<'a, Arc<Replica>> {
        let (cluster, vserver) = (Arc::clone(&self.cluster), vserver.to_owned());
        Box::pin(
            async move { blocking(move || cluster.open_replica(&vserver, volume)).await.map_err(host_error) },
        )
    }

    fn apply<'a>(&'a self, vserver: &'a str, config: &'a [u8], open_state: &'a [u8]) -> PortFuture<'a, ()> {
        let cluster = Arc::clone(&self.cluster);
        let (vserver, config, open_state) = (vserver.to_owned(), config.to_vec(), open_state.to_vec());
        Box::pin(async move {
            blocking(move || {
                // Refused now, while the source can still fall back, rather than after the edge.
                let crs = Crs::decode(&config).map_err(ClusterError::Invalid)?;
                let state = OpenState::decode(&open_state).map_err(ClusterError::Invalid)?;
                let cache = crate::rpc::drc::ReplyCache::default();
                cache.import(&state.reply_cache).map_err(|error| ClusterError::Invalid(error.to_string()))?;
                let locks = crate::openstate::LockTable::default();
                locks.import(&state.locks).map_err(|error| ClusterError::Invalid(error.to_string()))?;
                crate::vserver::SmbHandle::decode_all(&state.smb_handles)
                    .map_err(|error| ClusterError::Invalid(error.to_string()))?;
                if crs.name != vserver {
                    return Err(ClusterError::Invalid("the configuration is of another vserver".to_owned()));
                }
                let config = cluster.seal_arrival(&vserver, &config)?;
                let applied = AppliedRecord { vserver, config, open_state };
                Ok(cluster.store.update(|tx| tx.put(&applied))?)
            })
            .await
            .map_err(host_error)
        })
    }

    fn rollback<'a>(&'a self, vserver: &'a str) -> PortFuture<'a, ()> {
        let (cluster, vserver) = (Arc::clone(&self.cluster), vserver.to_owned());
        Box::pin(async move { blocking(move || cluster.forget_applied(&vserver)).await.map_err(host_error) })
    }

    fn activate<'a>(&'a self, vserver: &'a str, epoch: Epoch) -> PortFuture<'a, ()> {
        Box::pin(async move {
            let _guard = self.cluster.lock(vserver).await;
            let (cluster, name) = (Arc::clone(&self.cluster), vserver.to_owned());
            blocking(move || {
                cluster.take_ownership(&name, epoch)?;
                cluster.close_replicas(&name)
            })
            .await
            .map_err(host_error)?;
            self.cluster.bring_up(vserver).await.map_err(host_error)?;
            Ok(())
        })
    }

    fn discard<'a>(&'a self, vserver: &'a str, id: MigrationId) -> PortFuture<'a, ()> {
        Box::pin(async move {
            let _guard = self.cluster.lock(vserver).await;
            let state = match self.cluster.record(vserver) {
                Err(ClusterError::NotFound { .. }) => return Ok(()),
                record => record.map_err(host_error)?.ownership.state,
            };
            if !matches!(state, OwnershipState::Placeholder { migration, .. } if migration == id.0) {
                // Not this migration's to remove.
                return Ok(());
            }
            let (cluster, name) = (Arc::clone(&self.cluster), vserver.to_owned());
            blocking(move || {
                cluster.close_replicas(&name)?;
                for volume in cluster.store.list::<VolumeRecord>(&format!("{name}/"))? {
                    cluster.remove_image(volume.uuid)?;
                }
                Ok::<(), ClusterError>(())
            })
            .await
            .map_err(host_error)?;
            self.cluster.forget_vserver(vserver).await.map_err(host_error)
        })
    }

    fn finish<'a>(&'a self, vserver: &'a str, snapshot_prefix: &'a str) -> PortFuture<'a, ()> {
        let (cluster, vserver) = (Arc::clone(&self.cluster), vserver.to_owned());
        let prefix = snapshot_prefix.to_owned();
        Box::pin(async move {
            blocking(move || cluster.forget_leftovers(&vserver, &prefix)).await.map_err(host_error)
        })
    }
}
