//! Locks of vservers as the control plane sees them: what is kept of them while a vserver does not run, the durable
//! list of clients to be told when they are lost, and what an operator may look at and break.

use super::{Cluster, ClusterError, Result, blocking};
use crate::openstate::{Entry, Held, Owner, WatchFuture, WatchJournal, WatchedClient};
use crate::store::{LocksRecord, Record, Store, StoreError, Transaction, VserverRecord, WatchedRecord};
use crate::vserver::{SmbHandle, Vserver};
use serde::Serialize;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Most locks that are shown.
const SHOWN_MAX: usize = 10_000;

/// What a vserver finds of its locks when it comes up.
pub(super) struct KeptLocks {
    /// All of them, as the clean end of its last life left them.
    locks: Option<LocksRecord>,
    watched: Vec<WatchedClient>,
}

impl KeptLocks {
    /// Takes what the store has. Where locks were lost, this is another life: its number changes.
    pub(super) fn take(tx: &mut Transaction<'_>, record: &mut VserverRecord) -> Result<Self, StoreError> {
        let name = record.name.clone();
        let kept = tx.get::<LocksRecord>(&name)?;
        if kept.is_some() {
            // They are true only once: from here on they change.
            tx.delete::<LocksRecord>(&name);
        }
        let watched = tx.list::<WatchedRecord>(&format!("{name}/"))?;
        let watched: Vec<WatchedClient> = watched.into_iter().map(from_record).collect();
        let locks = kept.filter(|_| !record.mounted);
        if record.nsm_state == 0 || (locks.is_none() && !watched.is_empty()) {
            record.nsm_state = next_life(record.nsm_state);
        }
        Ok(KeptLocks { locks, watched })
    }
}

/// The number of the life after `state`: odd, and positive as the signed number that NSM has on the wire.
fn next_life(state: u32) -> u32 {
    if state == 0 { 1 } else { (state.wrapping_add(2) & i32::MAX.cast_unsigned()) | 1 }
}

/// Keeps the locks of a vserver that has answered its last request.
pub(super) fn keep(tx: &mut Transaction<'_>, vserver: &Vserver) -> Result<(), StoreError> {
    // In a grace period not everybody has its locks back: that has to begin anew.
    if !vserver.grace.is_on() {
        tx.put(&LocksRecord {
            vserver: vserver.name.clone(),
            locks: vserver.locks.export(),
            smb_handles: vserver.smb_handles(),
        })?;
    }
    Ok(())
}

/// Forgets the locks of a vserver.
pub(super) fn forget(tx: &mut Transaction<'_>, vserver: &str) -> Result<(), StoreError> {
    for record in tx.list::<WatchedRecord>(&format!("{vserver}/"))? {
        tx.delete::<WatchedRecord>(&record.key());
    }
    tx.delete::<LocksRecord>(vserver);
    Ok(())
}

/// Notes the locks of a vserver that has just arrived, for when it comes up.
pub(crate) fn put_arrived(
    tx: &mut Transaction<'_>,
    vserver: &str,
    locks: Vec<u8>,
    smb_handles: Vec<u8>,
    watched: &[WatchedClient],
) -> Result<(), StoreError> {
    forget(tx, vserver)?;
    tx.put(&LocksRecord { vserver: vserver.to_owned(), locks, smb_handles })?;
    watched.iter().try_for_each(|client| tx.put(&to_record(vserver, client)))
}

fn to_record(vserver: &str, client: &WatchedClient) -> WatchedRecord {
    WatchedRecord {
        vserver: vserver.to_owned(),
        client: client.client,
        local: client.local,
        name: client.name.to_vec(),
    }
}

fn from_record(record: WatchedRecord) -> WatchedClient {
    WatchedClient { client: record.client, local: record.local, name: record.name.into() }
}

/// The durable list of a vserver's watched clients.
struct Journal {
    store: Store,
    vserver: String,
}

impl Journal {
    fn update(
        &self,
        change: impl Fn(&mut Transaction<'_>, &str) -> Result<(), StoreError> + Send + 'static,
    ) -> WatchFuture<'_> {
        let (store, vserver) = (self.store.clone(), self.vserver.clone());
        Box::pin(async move {
            blocking(move || Ok::<_, ClusterError>(store.update(|tx| change(tx, &vserver))?))
                .await
                .map_err(|error| error.to_string())
        })
    }
}

impl WatchJournal for Journal {
    fn add(&self, client: WatchedClient) -> WatchFuture<'_> {
        self.update(move |tx, vserver| tx.put(&to_record(vserver, &client)))
    }

    fn remove(&self, clients: Vec<WatchedClient>) -> WatchFuture<'_> {
        self.update(move |tx, vserver| {
            for client in &clients {
                tx.delete::<WatchedRecord>(&to_record(vserver, client).key());
            }
            Ok(())
        })
    }
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LockKind {
    /// Others may have shared locks on the same bytes.
    Shared,
    /// Nobody else may have a lock on these bytes.
    Exclusive,
    /// Waits for a shared lock.
    WaitsShared,
    /// Waits for an exclusive lock.
    WaitsExclusive,
    /// A share reservation of the whole file.
    Share,
}

/// A lock, a request that waits for one, or a share reservation.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct LockView {
    /// Name of the volume; its number where it is not here.
    pub volume: String,
    /// Inode number of the file.
    pub file: u64,
    /// What it is.
    pub kind: LockKind,
    /// First byte.
    pub offset: u64,
    /// Bytes; absent: to the end of the file.
    pub length: Option<u64>,
    /// By which protocol.
    pub protocol: String,
    /// Address of the client.
    #[schema(value_type = String)]
    pub client: IpAddr,
    /// What the client calls itself.
    pub client_name: String,
    /// What the client tells its owners apart by, in hexadecimal.
    pub owner: String,
    /// Since when, in seconds since 1970.
    pub since_s: u64,
}

/// What breaking locks came to.
#[derive(Clone, Copy, Debug, Serialize, utoipa::ToSchema)]
pub struct BrokenLocks {
    /// Locks and reservations that are held no more.
    pub broken: usize,
}

impl Cluster {
    /// Gives a vserver that comes up its locks back, or a grace period where they were lost.
    pub(super) fn restore_locks(
        &self,
        vserver: &Arc<Vserver>,
        nsm_state: u32,
        kept: KeptLocks,
    ) -> Result<()> {
        let journal = Journal { store: self.store.clone(), vserver: vserver.name.clone() };
        vserver.watched.set_journal(Arc::new(journal));
        let restored = match kept.locks {
            None => kept.watched.is_empty(),
            Some(LocksRecord { locks, smb_handles, .. }) => {
                let failed = |error| ClusterError::Failed(format!("vserver `{}`: {error}", vserver.name));
                vserver.locks.import(&locks).map_err(failed)?;
                let handles = SmbHandle::decode_all(&smb_handles).map_err(failed)?;
                (self.smb_clients)(vserver).take_in(vserver, handles);
                true
            }
        };
        if !restored {
            let clients = kept.watched.len();
            tracing::warn!(
                vserver = vserver.name,
                clients,
                "locks were lost; clients get time to reclaim them"
            );
            vserver.grace.begin(Duration::from_secs(self.config.nfs.grace_period_s));
        }
        vserver.watched.load(kept.watched, nsm_state, !restored);
        Ok(())
    }

    /// The locks of a vserver: at most 10,000, by volume, file and offset.
    ///
    /// # Errors
    /// A vserver that does not run here.
    pub fn locks(&self, vserver: &str) -> Result<Vec<LockView>> {
        let served = self.need_served(vserver)?;
        let names: HashMap<_, _> = served.mounts().into_iter().map(|mount| (mount.id, mount.name)).collect();
        let entries = served.vserver.locks.entries(SHOWN_MAX);
        let view = |(file, entry): (crate::openstate::FileKey, Entry)| {
            let volume = names.get(&file.volume).cloned().unwrap_or_else(|| file.volume.to_string());
            view(volume, file.file.ino.0, &entry)
        };
        let mut views: Vec<LockView> = entries.into_iter().map(view).collect();
        views.sort_by(|a, b| {
            (&a.volume, a.file, a.offset, a.client).cmp(&(&b.volume, b.file, b.offset, b.client))
        });
        Ok(views)
    }

    /// Breaks all locks of the client at an address; with a name, only those of the client that calls itself so.
    /// The client is not told.
    ///
    /// # Errors
    /// A vserver that does not run here or is on its way to another cluster.
    pub async fn break_locks(
        &self,
        vserver: &str,
        client: IpAddr,
        name: Option<String>,
    ) -> Result<BrokenLocks> {
        let served = self.need_served(vserver)?;
        let moved = |_| ClusterError::Conflict(format!("vserver `{vserver}` is not served here any more"));
        let _pass = served.vserver.gate.enter().await.map_err(moved)?;
        let client = client.to_canonical();
        let broken = served.vserver.locks.release(
            |held| held.address == client && name.as_ref().is_none_or(|name| *held.name == *name.as_bytes()),
            None,
        );
        tracing::info!(vserver, %client, broken, "an operator broke locks");
        Ok(BrokenLocks { broken })
    }
}

fn view(volume: String, file: u64, entry: &Entry) -> LockView {
    let lock = |held: &Held, shared, exclusive| {
        let length = (!held.range.is_to_end()).then(|| held.range.bytes());
        let kind = if held.exclusive { exclusive } else { shared };
        (kind, held.range.first, length, Arc::clone(&held.owner), held.since_s)
    };
    let (kind, offset, length, owner, since_s): (_, _, _, Arc<Owner>, _) = match entry {
        Entry::Lock(held) => lock(held, LockKind::Shared, LockKind::Exclusive),
        Entry::Waiting(held) => lock(held, LockKind::WaitsShared, LockKind::WaitsExclusive),
        Entry::Share(share) => (LockKind::Share, 0, None, Arc::clone(&share.owner), share.since_s),
    };
    LockView {
        volume,
        file,
        kind,
        offset,
        length,
        protocol: owner.client.protocol.name().to_owned(),
        client: owner.client.address,
        client_name: owner.client.name_text(),
        owner: owner.id.iter().map(|byte| format!("{byte:02x}")).collect(),
        since_s,
    }
}

#[cfg(test)]
mod tests {
    use super::next_life;

    #[test]
    fn the_number_of_a_life_is_odd_and_never_that_of_the_life_before() {
        assert_eq!((next_life(0), next_life(1), next_life(7)), (1, 3, 9));
        assert_eq!(next_life(i32::MAX.cast_unsigned()), 1);
    }
}
