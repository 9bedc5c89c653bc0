//! Virtual servers: create, look at, start and stop, delete.

use super::served::random_verifier;
use super::{Cluster, ClusterError, Result, blocking, check_name};
use crate::handle::HandleKey;
use crate::store::{
    AppliedRecord, LifRecord, Ownership, OwnershipState, QosRecord, SmbRecord, StoreError, VolumeRecord,
    VserverRecord,
};
use crate::vserver::{Encryption, ExportRule, POLICY_DEFAULT, Squash, parse_client};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// A vserver as the API shows it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct VserverView {
    /// Name.
    pub name: String,
    /// Identity, the same wherever it moves.
    pub uuid: Uuid,
    /// `serving`, `migrating`, `placeholder`, `relinquished` or `offline`.
    pub state: String,
    /// Ownership epoch.
    pub epoch: u64,
    /// The other cluster, for a placeholder or a relinquished copy.
    pub peer: Option<String>,
    /// Volumes.
    pub volumes: usize,
    /// LIFs.
    pub lifs: usize,
    /// Calls run with the groups of the node's user database, and not with the up to 16 that they name.
    pub extended_groups: bool,
    /// SMB clients that do not sign are refused.
    pub smb_signing_required: bool,
    /// The least encryption of every SMB share.
    pub smb_encryption: Encryption,
    /// Volumes and LIFs that do not run, and why.
    pub faults: BTreeMap<String, String>,
}

/// Local clients may do everything, others nothing, until an operator says otherwise.
fn default_policy() -> Vec<ExportRule> {
    ["127.0.0.0/8", "::1"]
        .iter()
        .filter_map(|text| parse_client(text))
        .map(|client| ExportRule::new(client, true, Squash::None))
        .collect()
}

impl Cluster {
    /// Makes a vserver without volumes and LIFs, and serves it.
    ///
    /// # Errors
    /// A bad or taken name.
    pub async fn create_vserver(self: &Arc<Self>, name: &str) -> Result<VserverView> {
        check_name("vserver", name)?;
        let _guard = self.lock(name).await;
        let record = VserverRecord {
            name: name.to_owned(),
            uuid: Uuid::new_v4(),
            ownership: Ownership { epoch: 1, state: OwnershipState::Serving },
            handle_key: HandleKey::generate(),
            write_verifier: random_verifier(),
            mounted: false,
            export_policies: BTreeMap::from([(POLICY_DEFAULT.to_owned(), default_policy())]),
            qos: QosRecord::default(),
            nsm_state: 0,
            extended_groups: false,
            smb: SmbRecord::default(),
        };
        let this = Arc::clone(self);
        blocking(move || {
            this.store.update(|tx| {
                if tx.get::<VserverRecord>(&record.name)?.is_some() {
                    return Err(ClusterError::exists("vserver", &record.name));
                }
                tx.put(&record).map_err(ClusterError::from)
            })
        })
        .await?;
        self.bring_up(name).await?;
        self.vserver(name)
    }

    /// One vserver.
    ///
    /// # Errors
    /// An unknown name.
    pub fn vserver(&self, name: &str) -> Result<VserverView> {
        self.view(self.record(name)?)
    }

    /// All vservers, by name.
    ///
    /// # Errors
    /// The store's.
    pub fn vservers(&self) -> Result<Vec<VserverView>> {
        self.store.list::<VserverRecord>("")?.into_iter().map(|record| self.view(record)).collect()
    }

    fn view(&self, record: VserverRecord) -> Result<VserverView> {
        let prefix = format!("{}/", record.name);
        let peer = match &record.ownership.state {
            OwnershipState::Placeholder { source, .. } => Some(source.clone()),
            OwnershipState::Relinquished { to } => Some(to.clone()),
            _ => None,
        };
        let mut faults = self.served(&record.name).map(|served| served.faults()).unwrap_or_default();
        if record.ownership.state.serves() && self.served(&record.name).is_none() {
            faults
                .insert("vserver".to_owned(), "could not be brought up; see the log of the node".to_owned());
        }
        Ok(VserverView {
            state: record.ownership.state.name().to_owned(),
            epoch: record.ownership.epoch,
            peer,
            extended_groups: record.extended_groups,
            smb_signing_required: record.smb.settings.signing_required,
            smb_encryption: record.smb.settings.encryption,
            volumes: self.store.list::<VolumeRecord>(&prefix)?.len(),
            lifs: self.store.list::<LifRecord>(&prefix)?.len(),
            faults,
            name: record.name,
            uuid: record.uuid,
        })
    }

    /// Starts (`online`) or stops a vserver that is owned here.
    ///
    /// # Errors
    /// A vserver that is migrating or not owned here.
    pub async fn set_vserver_online(self: &Arc<Self>, name: &str, online: bool) -> Result<VserverView> {
        let _guard = self.lock(name).await;
        self.record_to_change(name)?;
        let (this, owned) = (Arc::clone(self), name.to_owned());
        blocking(move || {
            this.store.update(|tx| {
                let mut record: VserverRecord =
                    tx.get(&owned)?.ok_or_else(|| ClusterError::not_found("vserver", &owned))?;
                record.ownership.state =
                    if online { OwnershipState::Serving } else { OwnershipState::Offline };
                tx.put(&record).map_err(ClusterError::from)
            })
        })
        .await?;
        if online {
            self.bring_up(name).await?;
        } else {
            self.take_down(name).await?;
        }
        self.vserver(name)
    }

    /// Deletes a vserver that has no volumes any more.
    ///
    /// # Errors
    /// A vserver with volumes, one that is migrating, or not owned here.
    pub async fn delete_vserver(self: &Arc<Self>, name: &str) -> Result<()> {
        let _guard = self.lock(name).await;
        self.record_to_change(name)?;
        let volumes = self.store.list::<VolumeRecord>(&format!("{name}/"))?;
        if let Some(volume) = volumes.first() {
            return Err(ClusterError::Conflict(format!(
                "vserver `{name}` still has volume `{}`; delete its volumes first",
                volume.name
            )));
        }
        self.take_down(name).await?;
        self.forget_vserver(name).await
    }

    /// Removes all records of a vserver.
    pub(crate) async fn forget_vserver(self: &Arc<Self>, name: &str) -> Result<()> {
        let (this, name) = (Arc::clone(self), name.to_owned());
        blocking(move || {
            let prefix = format!("{name}/");
            this.store.update(|tx| {
                for volume in tx.list::<VolumeRecord>(&prefix)? {
                    tx.delete::<VolumeRecord>(&format!("{name}/{}", volume.name));
                }
                for lif in tx.list::<LifRecord>(&prefix)? {
                    tx.delete::<LifRecord>(&format!("{name}/{}", lif.name));
                }
                super::locks::forget(tx, &name)?;
                tx.delete::<AppliedRecord>(&name);
                tx.delete::<VserverRecord>(&name);
                Ok::<(), StoreError>(())
            })?;
            Ok(())
        })
        .await
    }
}
