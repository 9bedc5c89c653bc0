//! Where secrets of users are sealed and opened: only in memory, and on the way to another cluster, are they open.

use super::{Cluster, ClusterError, Result, Served};
use crate::secrets::SecretError;
use crate::store::{AppliedRecord, Sealed, SmbRecord, VserverRecord};
use crate::vserver::{NtHash, Shares, User, Users};
use uuid::Uuid;

impl From<SecretError> for ClusterError {
    fn from(error: SecretError) -> Self {
        ClusterError::Failed(error.to_string())
    }
}

/// What a user's hash is sealed for: nobody can put it in another user's place.
fn of_user(vserver: Uuid, rid: u32) -> String {
    format!("NT hash {vserver} {rid}")
}

/// What the configuration of an arriving vserver is sealed for.
fn of_arrival(vserver: &str) -> String {
    format!("configuration {vserver}")
}

impl Cluster {
    /// Puts users, groups and shares in force. A user whose secret does not open can't log in, and is a fault.
    pub(super) fn apply_smb(&self, served: &Served, record: &VserverRecord) {
        let open = |user: &User<Sealed>| {
            let opened = user.with_secret(|user| self.open_hash(record.uuid, user));
            let fault = opened.as_ref().err().map(ToString::to_string);
            if let Some(error) = &fault {
                tracing::error!(vserver = record.name, user = user.name, error, "this user can't log in");
            }
            served.set_fault(format!("user {}", user.name), fault);
            opened.ok()
        };
        let users: Vec<User> = record.smb.users.values().filter_map(open).collect();
        served.vserver.set_users(Users::new(record.uuid, users, record.smb.groups.values().cloned()));
        served.vserver.set_shares(Shares::new(record.smb.settings, record.smb.shares.values().cloned()));
    }

    /// A user's hash, as it rests in the store.
    pub(super) fn seal_hash(&self, vserver: Uuid, rid: u32, hash: &NtHash) -> Result<Sealed> {
        Ok(self.secrets.seal(&of_user(vserver, rid), hash.as_bytes())?)
    }

    fn open_hash(&self, vserver: Uuid, user: &User<Sealed>) -> Result<NtHash> {
        let opened = self.secrets.open(&of_user(vserver, user.rid), &user.secret)?;
        let bytes =
            opened.try_into().map_err(|_| ClusterError::Failed("not the length of a hash".to_owned()))?;
        Ok(NtHash::from_bytes(bytes))
    }

    /// Users with their secrets open, to travel to another cluster.
    pub(crate) fn open_smb(&self, record: &VserverRecord) -> Result<SmbRecord<NtHash>> {
        record.smb.with_secrets(|user| {
            self.open_hash(record.uuid, user).map_err(|error| {
                ClusterError::Conflict(format!(
                    "SMB user `{0}`: {error}; give them a new password with `ferry user modify {1} {0} \
                     --password-stdin`, or delete them",
                    user.name, record.name
                ))
            })
        })
    }

    /// Users that have come from another cluster, with their secrets sealed with this one's key.
    pub(crate) fn seal_smb(&self, vserver: Uuid, smb: &SmbRecord<NtHash>) -> Result<SmbRecord> {
        smb.with_secrets(|user| self.seal_hash(vserver, user.rid, &user.secret))
    }

    /// The configuration of an arriving vserver, as it rests in the store until the vserver runs here.
    pub(crate) fn seal_arrival(&self, vserver: &str, config: &[u8]) -> Result<Sealed> {
        Ok(self.secrets.seal(&of_arrival(vserver), config)?)
    }

    /// The configuration of an arriving vserver as the source sent it.
    pub(crate) fn open_arrival(&self, applied: &AppliedRecord) -> Result<Vec<u8>> {
        // One that was stored before configurations were sealed; no sealed one begins like JSON.
        if applied.config.0.first() == Some(&b'{') {
            return Ok(applied.config.0.clone());
        }
        Ok(self.secrets.open(&of_arrival(&applied.vserver), &applied.config)?)
    }
}
