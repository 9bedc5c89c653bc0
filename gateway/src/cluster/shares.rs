//! SMB shares of vservers, and what all shares of one have in common.

use super::{Cluster, ClusterError, Result, blocking};
use crate::store::SmbRecord;
use crate::vserver::{Encryption, SHARES_MAX, Share, ShareGrant, SmbSettings, fold_name, is_everyone};
use fsstore::{FileKind, FsError};
use serde::Deserialize;
use std::sync::Arc;

/// What to change of a share. Who is connected stays so.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SharePatch {
    /// The directory, from the root of the vserver's namespace.
    pub path: Option<String>,
    /// For people; clients show it.
    pub comment: Option<String>,
    /// Nobody may change anything.
    pub read_only: Option<bool>,
    /// Clients without a user may come in, with what `Everyone` has.
    pub guest_ok: Option<bool>,
    /// Who may come in, and how far; replaces the list that was there.
    pub access: Option<Vec<ShareGrant>>,
    /// Listings leave out what the user may not open.
    pub access_based_enumeration: Option<bool>,
    /// Clients may hold files through a restart of the server.
    pub continuously_available: Option<bool>,
    /// More encryption than the vserver's, if it is more.
    pub encryption: Option<Encryption>,
    /// Lists of shares show it.
    pub browseable: Option<bool>,
}

impl SharePatch {
    fn apply(self, share: &mut Share) {
        fn set<T>(field: &mut T, new: Option<T>) {
            if let Some(new) = new {
                *field = new;
            }
        }
        set(&mut share.path, self.path);
        set(&mut share.comment, self.comment);
        set(&mut share.read_only, self.read_only);
        set(&mut share.guest_ok, self.guest_ok);
        set(&mut share.access, self.access);
        set(&mut share.access_based_enumeration, self.access_based_enumeration);
        set(&mut share.continuously_available, self.continuously_available);
        set(&mut share.encryption, self.encryption);
        set(&mut share.browseable, self.browseable);
    }
}

/// What can be said of a share by itself, and that its access list names nobody who is not there.
fn check(smb: &SmbRecord, share: &Share) -> Result<()> {
    share.check().map_err(ClusterError::Invalid)?;
    let known = |who: &str| {
        let key = fold_name(who);
        is_everyone(who) || smb.users.contains_key(&key) || smb.groups.contains_key(&key)
    };
    match share.access.iter().find(|grant| !known(&grant.who)) {
        Some(grant) => Err(ClusterError::not_found("user or group", &grant.who)),
        None => Ok(()),
    }
}

impl Cluster {
    /// The shares of a vserver.
    ///
    /// # Errors
    /// An unknown vserver.
    pub fn shares(&self, vserver: &str) -> Result<Vec<Share>> {
        Ok(self.record(vserver)?.smb.shares.into_values().collect())
    }

    /// One share.
    ///
    /// # Errors
    /// Unknown names.
    pub fn share(&self, vserver: &str, name: &str) -> Result<Share> {
        let mut record = self.record(vserver)?;
        record.smb.shares.remove(&fold_name(name)).ok_or_else(|| ClusterError::not_found("share", name))
    }

    /// Makes a share. With the first one, the vserver's LIFs begin to listen on their SMB ports.
    ///
    /// # Errors
    /// A bad or taken name, a path that is no directory, an access list that names nobody.
    pub async fn create_share(self: &Arc<Self>, vserver: &str, share: Share) -> Result<Share> {
        share.check().map_err(ClusterError::Invalid)?;
        self.check_share_path(vserver, &share.path).await?;
        let name = share.name.clone();
        self.change_vserver(vserver, move |record| {
            check(&record.smb, &share)?;
            let key = fold_name(&share.name);
            if record.smb.shares.contains_key(&key) {
                return Err(ClusterError::exists("share", &share.name));
            }
            if record.smb.shares.len() >= SHARES_MAX {
                return Err(ClusterError::Conflict(format!("a vserver has at most {SHARES_MAX} shares")));
            }
            record.smb.shares.insert(key, share.clone());
            Ok(())
        })
        .await?;
        self.share(vserver, &name)
    }

    /// Changes a share.
    ///
    /// # Errors
    /// As for a new one.
    pub async fn modify_share(
        self: &Arc<Self>,
        vserver: &str,
        name: &str,
        patch: SharePatch,
    ) -> Result<Share> {
        if let Some(path) = &patch.path {
            self.check_share_path(vserver, path).await?;
        }
        let owned = name.to_owned();
        self.change_vserver(vserver, move |record| {
            let mut share = record
                .smb
                .shares
                .get(&fold_name(&owned))
                .cloned()
                .ok_or_else(|| ClusterError::not_found("share", &owned))?;
            patch.clone().apply(&mut share);
            check(&record.smb, &share)?;
            record.smb.shares.insert(fold_name(&share.name), share);
            Ok(())
        })
        .await?;
        self.share(vserver, name)
    }

    /// Deletes a share. Its files stay.
    ///
    /// # Errors
    /// An unknown one.
    pub async fn delete_share(self: &Arc<Self>, vserver: &str, name: &str) -> Result<()> {
        let owned = name.to_owned();
        self.change_vserver(vserver, move |record| {
            let gone = record.smb.shares.remove(&fold_name(&owned));
            gone.map(drop).ok_or_else(|| ClusterError::not_found("share", &owned))
        })
        .await
    }

    /// Sets what all shares of a vserver have in common; what is not given stays.
    ///
    /// # Errors
    /// An unknown vserver, or one that may not be changed now.
    pub async fn set_smb_settings(
        self: &Arc<Self>,
        vserver: &str,
        signing_required: Option<bool>,
        encryption: Option<Encryption>,
    ) -> Result<()> {
        self.change_vserver(vserver, move |record| {
            let old = record.smb.settings;
            record.smb.settings = SmbSettings {
                signing_required: signing_required.unwrap_or(old.signing_required),
                encryption: encryption.unwrap_or(old.encryption),
            };
            Ok(())
        })
        .await
    }

    /// Refuses a path that is no directory now, as a typing error would be. What is not served can't be looked at.
    async fn check_share_path(self: &Arc<Self>, vserver: &str, path: &str) -> Result<()> {
        let Some(served) = self.served(vserver) else { return Ok(()) };
        let (path, vserver) = (path.to_owned(), vserver.to_owned());
        blocking(move || {
            let namespace = served.vserver.namespace();
            let kind = namespace.resolve(&path).and_then(|(volume, file)| {
                let mount = namespace.volume(volume).ok_or(FsError::NotFound)?;
                Ok(mount.volume.getattr(file)?.kind)
            });
            match kind {
                Ok(FileKind::Dir) => Ok(()),
                Ok(_)
                | Err(FsError::NotFound | FsError::NotDir | FsError::Invalid | FsError::NameTooLong) => {
                    Err(ClusterError::Invalid(format!(
                        "there is no directory `{path}` in the namespace of vserver `{vserver}`"
                    )))
                }
                Err(error) => Err(error.into()),
            }
        })
        .await
    }
}
