//! Which other clusters this one trusts. The connections are `migrate`'s.

use super::{Cluster, ClusterError, Result, blocking};
use crate::peers::{PeerToken, fingerprint};
use crate::store::{MigrationEntry, PeerRecord, StoreError};
use migrate::ports::Fingerprint;
use migrate::{Identity, Peer, Peers};
use std::net::SocketAddr;
use std::sync::Arc;

impl Cluster {
    /// What to hand to the administrator of another cluster.
    pub fn token(&self) -> PeerToken {
        PeerToken::new(&self.config.cluster.name, self.config.peer.listen, &self.identity.certificate)
    }

    /// Trusts the cluster that made the token. `address` replaces the token's.
    ///
    /// # Errors
    /// A bad token, this cluster's own, a name that is taken.
    pub async fn create_peer(self: &Arc<Self>, token: &str, address: Option<SocketAddr>) -> Result<PeerRecord> {
        let invalid = |error: crate::peers::TokenError| ClusterError::Invalid(error.to_string());
        let token = PeerToken::from_text(token).map_err(invalid)?;
        super::check_name("cluster", &token.cluster)?;
        let certificate = token.certificate_der().map_err(invalid)?;
        if certificate == self.identity.certificate {
            return Err(ClusterError::Invalid(
                "this is the token of this very cluster; use the one of the other cluster".to_owned(),
            ));
        }
        if token.cluster == self.config.cluster.name {
            return Err(ClusterError::Conflict(format!("the other cluster is also named `{}`", token.cluster)));
        }
        let record =
            PeerRecord { name: token.cluster, address: address.unwrap_or(token.address), certificate };
        let this = Arc::clone(self);
        blocking(move || {
            this.store.update(|tx| {
                if tx.get::<PeerRecord>(&record.name)?.is_some() {
                    return Err(ClusterError::exists("peer", &record.name));
                }
                tx.put(&record)?;
                Ok(record.clone())
            })
        })
        .await
    }

    /// All peers.
    ///
    /// # Errors
    /// The store's.
    pub fn peers(&self) -> Result<Vec<PeerRecord>> {
        Ok(self.store.list("")?)
    }

    /// One peer.
    ///
    /// # Errors
    /// An unknown name.
    pub fn peer(&self, name: &str) -> Result<PeerRecord> {
        self.store.get(name)?.ok_or_else(|| ClusterError::not_found("peer", name))
    }

    /// Changes the address of a peer.
    ///
    /// # Errors
    /// An unknown name.
    pub async fn modify_peer(self: &Arc<Self>, name: &str, address: SocketAddr) -> Result<PeerRecord> {
        let (this, name) = (Arc::clone(self), name.to_owned());
        blocking(move || {
            this.store.update(|tx| {
                let mut record: PeerRecord =
                    tx.get(&name)?.ok_or_else(|| ClusterError::not_found("peer", &name))?;
                record.address = address;
                tx.put(&record)?;
                Ok(record)
            })
        })
        .await
    }

    /// Trusts a peer no longer. Refused while a migration with it is not over.
    ///
    /// # Errors
    /// An unknown name, a migration under way.
    pub async fn delete_peer(self: &Arc<Self>, name: &str) -> Result<()> {
        self.peer(name)?;
        let migrations = self.store.list::<MigrationEntry>("")?;
        if let Some(entry) = migrations.iter().find(|entry| entry.0.peer == name && !entry.0.is_final()) {
            return Err(ClusterError::Conflict(format!(
                "migration {} with peer `{name}` is not over; abort it first",
                entry.0.id
            )));
        }
        let (this, name) = (Arc::clone(self), name.to_owned());
        blocking(move || {
            this.store.update(|tx| {
                tx.delete::<PeerRecord>(&name);
                Ok::<(), StoreError>(())
            })?;
            Ok(())
        })
        .await
    }
}

fn peer(record: PeerRecord) -> Peer {
    Peer { name: record.name, address: record.address, fingerprint: fingerprint(&record.certificate) }
}

impl Peers for Cluster {
    fn identity(&self) -> Identity {
        self.identity.clone()
    }

    fn by_name(&self, name: &str) -> Option<Peer> {
        Cluster::peer(self, name).ok().map(peer)
    }

    fn by_fingerprint(&self, wanted: &Fingerprint) -> Option<Peer> {
        self.peers().ok()?.into_iter().map(peer).find(|peer| peer.fingerprint == *wanted)
    }
}
