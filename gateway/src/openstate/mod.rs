//! Open state of a vserver, shared by all protocols: byte-range locks, share reservations, and who waits for them.
//!
//! Clients of different protocols that use the same file must conflict, so there is one table. It knows no protocol:
//! an owner is a protocol, a client and some bytes; whom to tell of a lock that was waited for is the protocol's to
//! know. What is held here is advisory for NFS: no READ or WRITE asks.
//!
//! Semantics are those of POSIX fcntl, but where a protocol stacks its locks ([`Protocol::stacks_locks`]): a lock of an owner replaces what the owner had in its range, ranges split and
//! merge, and only others' locks conflict. Requests that wait get the lock in the order in which they came, each as
//! soon as nothing that is *held* keeps it out; a stream of shared locks can make an exclusive one wait for long, as
//! with Linux. A request that would close a circle of waiting owners is refused.

mod caching;
#[cfg(test)]
mod caching_tests;
mod grace;
mod handoff;
mod holdings;
mod locks;
mod opening;
mod owner;
mod shares;
mod table;
#[cfg(test)]
mod tests;
mod waiter;
mod watched;

pub use caching::{AnswerError, Break, Caching, CachingRequest, Deed, Granted, Holder, LeaseId, Touch};
pub use grace::Grace;
pub use handoff::HandoffError;
pub use holdings::{AdoptError, HeldRange, Holdings, Kept};
pub use locks::Held;
pub use opening::{BreakWait, OpenRequest, Opening};
pub use owner::{ByteRange, Client, FileKey, Owner, Protocol};
pub use shares::{Access, Share};
pub use waiter::{Wait, Waiter};
pub use watched::{WatchFailed, WatchFuture, WatchJournal, WatchedClient, WatchedClients};

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use table::Table;
use tokio::sync::{Notify, watch};

/// How much a table may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Locks and reservations, with the requests that wait for some.
    pub held_max: usize,
    /// Those of one client.
    pub held_per_client_max: usize,
    /// Requests that wait alone.
    pub waiting_max: usize,
    /// Those of one client.
    pub waiting_per_client_max: usize,
    /// Clients that have locks or reservations, or wait.
    pub clients_max: usize,
    /// Bytes by which protocols tell owners apart.
    pub owner_bytes_max: usize,
}

impl Default for Limits {
    /// All together they make less than 10 MiB of exported state, which has to travel in one message at a cutover.
    fn default() -> Self {
        Limits {
            held_max: 65_536,
            held_per_client_max: 32_768,
            waiting_max: 8_192,
            waiting_per_client_max: 1_024,
            clients_max: 8_192,
            owner_bytes_max: 2 << 20,
        }
    }
}

/// A bound of [`Limits`] is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("there are too many locks")]
pub struct Full;

/// A lock that is asked for.
#[derive(Clone, Debug)]
pub struct LockRequest {
    /// Of which file.
    pub file: FileKey,
    /// For whom.
    pub owner: Owner,
    /// Which bytes.
    pub range: ByteRange,
    /// Exclusive or shared.
    pub exclusive: bool,
    /// Which life of the client this is; 0 if not known.
    pub incarnation: u32,
    /// Seconds since 1970.
    pub now_s: u64,
    /// `Some`: wait for it; this is how the one who waits is reached.
    pub wait: Option<Wait>,
}

/// What became of a [`LockRequest`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LockOutcome {
    /// The owner has it.
    Granted,
    /// This lock keeps it out.
    Denied(Held),
    /// It waits; [`LockTable::next_grant`], or the [`Waiter`] itself, says when the owner has it.
    Waiting,
    /// It would wait for ever: somebody it would wait for waits for its owner.
    Deadlock,
}

/// A share reservation that is asked for.
#[derive(Clone, Debug)]
pub struct ShareRequest {
    /// Of which file.
    pub file: FileKey,
    /// For whom.
    pub owner: Owner,
    /// What the owner is going to do.
    pub access: Access,
    /// What others may not do.
    pub deny: Access,
    /// Which life of the client this is; 0 if not known.
    pub incarnation: u32,
    /// Seconds since 1970.
    pub now_s: u64,
}

/// What became of a share reservation that was given up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Unshared {
    /// There was one.
    pub had: bool,
    /// It was the last one, and the file is to go with it.
    pub delete: bool,
}

/// A lock that was waited for and is held now; its owner is to be told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    /// Its number.
    pub id: u64,
    /// Of which file.
    pub file: FileKey,
    /// What was asked for; what is held may be more, merged with what the owner had.
    pub lock: Held,
    /// As the request said.
    pub return_path: Box<[u8]>,
    /// The owner may have been told already: if it says that it does not want the lock, it may have it nevertheless.
    pub told_before: bool,
}

/// A lock, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// A byte-range lock.
    Lock(Held),
    /// A request for one that waits.
    Waiting(Held),
    /// A share reservation.
    Share(Share),
}

/// Numbers for metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Byte-range locks.
    pub locks: usize,
    /// Share reservations.
    pub shares: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// Clients that have any of these.
    pub clients: usize,
}

/// The open state of one vserver. Moves with it ([`LockTable::export`], [`LockTable::import`]).
#[derive(Debug, Default)]
pub struct LockTable {
    limits: Limits,
    table: Mutex<Table>,
    /// There may be grants to tell.
    granted: Notify,
    /// Says that somebody gave up what they kept of a file.
    stirred: watch::Sender<()>,
    /// Leases and oplocks that there are.
    cached: AtomicUsize,
    /// Reservations that there are.
    opened: AtomicUsize,
    /// Held by the one task that tells clients of their locks: several LIFs serve one vserver.
    pub teller: tokio::sync::Mutex<()>,
}

impl LockTable {
    /// An empty table.
    pub fn new(limits: Limits) -> Self {
        LockTable { limits, ..LockTable::default() }
    }

    /// Asks for a lock.
    ///
    /// # Errors
    /// [`Full`].
    pub fn lock(&self, request: LockRequest) -> Result<LockOutcome, Full> {
        self.change(|table| table.lock(request, &self.limits))
    }

    /// The lock that would keep this one out.
    pub fn test(&self, file: FileKey, owner: &Owner, range: ByteRange, exclusive: bool) -> Option<Held> {
        self.table.lock().test(file, owner, range, exclusive)
    }

    /// Whether the owner holds a lock of just this range.
    pub fn holds(&self, file: FileKey, owner: &Owner, range: ByteRange) -> bool {
        let table = self.table.lock();
        table.files.get(&file).is_some_and(|state| state.locks.has(owner, range))
    }

    /// The lock that keeps the owner from reading, or writing, bytes, where locks do so: SMB's do, and SMB's clients heed all.
    pub fn barring(&self, file: FileKey, owner: &Owner, range: ByteRange, writes: bool) -> Option<Held> {
        let table = self.table.lock();
        table.files.get(&file)?.locks.barring(owner, range, writes).cloned()
    }

    /// Gives up what the owner holds in `range`, and requests for just this range that wait.
    ///
    /// # Errors
    /// [`Full`] where one lock would become two.
    pub fn unlock(&self, file: FileKey, owner: &Owner, range: ByteRange) -> Result<(), Full> {
        self.change(|table| table.unlock(file, owner, range, &self.limits))
    }

    /// Takes back a request that waits, or whose owner was not told yet that it has the lock. `false`: the owner holds
    /// a lock there and has to give it up by [`LockTable::unlock`].
    pub fn cancel(&self, file: FileKey, owner: &Owner, range: ByteRange, exclusive: bool) -> bool {
        self.change(|table| table.cancel(file, owner, range, exclusive))
    }

    /// Takes back the request of a waiter. `false`: it has the lock.
    pub fn stop_waiting(&self, file: FileKey, waiter: &Arc<Waiter>) -> bool {
        self.change(|table| table.stop_waiting(file, waiter))
    }

    /// Asks for a share reservation; `Some`: this one keeps it out. Replaces the one that the owner has.
    ///
    /// # Errors
    /// [`Full`].
    pub fn share(&self, request: ShareRequest) -> Result<Option<Share>, Full> {
        self.change(|table| table.share(request, &self.limits))
    }

    /// Gives up a share reservation.
    pub fn unshare(&self, file: FileKey, owner: &Owner) -> Unshared {
        self.change(|table| table.unshare(file, owner))
    }

    /// Says whether the file is to go when nobody has a reservation of it any more. Where nobody has one, it says nothing.
    pub fn set_delete_pending(&self, file: FileKey, pending: bool) {
        self.change(|table| {
            if let Some(state) = table.files.get_mut(&file).filter(|state| !state.shares.held.is_empty()) {
                state.delete_pending = pending;
            }
        });
    }

    /// What [`LockTable::set_delete_pending`] said of it.
    pub fn is_delete_pending(&self, file: FileKey) -> bool {
        self.table.lock().files.get(&file).is_some_and(|state| state.delete_pending)
    }

    /// Whether a reservation of the file keeps all others from such an access.
    pub fn denies(&self, file: FileKey, access: Access) -> bool {
        self.table.lock().files.get(&file).is_some_and(|state| state.shares.denies(access))
    }

    /// Whether a reservation of the file would keep out one that nobody has asked for yet.
    pub fn bars(&self, file: FileKey, access: Access, deny: Access) -> bool {
        self.table.lock().files.get(&file).is_some_and(|state| state.shares.bar(access, deny))
    }

    /// The files of a volume that somebody has a reservation of.
    pub fn reserved(&self, volume: crate::handle::VolumeId) -> Vec<fsstore::FileId> {
        let table = self.table.lock();
        let of_volume = table.files.iter().filter(|(file, _)| file.volume == volume);
        of_volume.filter(|(_, state)| !state.shares.held.is_empty()).map(|(file, _)| file.file).collect()
    }

    /// How many reservations of the file there are.
    pub fn shares_of(&self, file: FileKey) -> usize {
        self.table.lock().files.get(&file).map_or(0, |state| state.shares.held.len())
    }

    /// Gives up all that one owner has of a file.
    pub fn close(&self, file: FileKey, owner: &Owner) -> Unshared {
        self.change(|table| table.close(file, owner))
    }

    /// Gives up all that the clients have that `whose` names, but for what belongs to their life `keep`. Says how many
    /// locks and reservations that were.
    pub fn release(&self, whose: impl Fn(&Client) -> bool, keep: Option<u32>) -> usize {
        self.change(|table| table.release(whose, keep))
    }

    /// The next lock whose owner is to be told. It is the caller's until [`LockTable::settle`],
    /// [`LockTable::give_back`] or [`LockTable::tell_all_again`].
    pub async fn next_grant(&self) -> Grant {
        loop {
            let granted = self.granted.notified();
            tokio::pin!(granted);
            granted.as_mut().enable();
            if let Some(grant) = self.take_grant() {
                return grant;
            }
            granted.await;
        }
    }

    fn take_grant(&self) -> Option<Grant> {
        let mut table = self.table.lock();
        while let Some(id) = table.untold.pop_front() {
            if let Some(grant) = table.grants.get_mut(&id) {
                let taken = grant.clone();
                // Whoever takes it again can't know what became of this attempt.
                grant.told_before = true;
                return Some(taken);
            }
        }
        None
    }

    /// Whether the owner of this grant still is to be told: it has not asked again, unlocked or gone meanwhile.
    pub fn is_untold(&self, grant: u64) -> bool {
        self.table.lock().grants.contains_key(&grant)
    }

    /// The owner knows that it has the lock.
    pub fn settle(&self, grant: u64) {
        self.table.lock().settle(grant);
    }

    /// The owner does not want the lock, or can't be told: it goes to the next who waits.
    pub fn give_back(&self, grant: u64) {
        self.change(|table| table.give_back(grant));
    }

    /// Every grant that is not settled will come out of [`LockTable::next_grant`] again: whoever had taken them is gone.
    pub fn tell_all_again(&self) {
        self.change(|table| table.untold = table.grants.keys().copied().collect());
    }

    /// Forgets what is held in a volume that is there no more.
    pub fn forget_volume(&self, volume: crate::handle::VolumeId) {
        self.change(|table| table.forget_volume(volume));
    }

    /// How many there are.
    pub fn counts(&self) -> Counts {
        let table = self.table.lock();
        Counts {
            locks: table.held,
            shares: table.shares,
            waiting: table.waiting.len(),
            clients: table.clients.len(),
        }
    }

    /// Whether a client has or waits for anything.
    pub fn has_any(&self, client: &Client) -> bool {
        self.table.lock().clients.contains_key(client)
    }

    /// The clients that have locks or reservations, or wait for them.
    pub fn clients(&self) -> Vec<Client> {
        self.table.lock().clients.keys().map(|client| Client::clone(client)).collect()
    }

    /// The volumes in which clients that `whose` names have something.
    pub fn volumes_of(&self, whose: impl Fn(&Client) -> bool) -> Vec<crate::handle::VolumeId> {
        let table = self.table.lock();
        let mut volumes: Vec<_> = table
            .files
            .iter()
            .filter(|(_, state)| {
                state.locks.all().iter().any(|held| whose(&held.owner.client))
                    || state.shares.held.iter().any(|share| whose(&share.owner.client))
            })
            .map(|(file, _)| file.volume)
            .collect();
        volumes.sort_unstable();
        volumes.dedup();
        volumes
    }

    /// At most `max` entries, for people. In no order.
    pub fn entries(&self, max: usize) -> Vec<(FileKey, Entry)> {
        let table = self.table.lock();
        let waiting =
            table.waiting.values().map(|waiting| (waiting.file, Entry::Waiting(waiting.lock.clone())));
        let held = table.files.iter().flat_map(|(file, state)| {
            let locks = state.locks.all().iter().map(|held| Entry::Lock(held.clone()));
            let shares = state.shares.held.iter().map(|share| Entry::Share(share.clone()));
            locks.chain(shares).map(|entry| (*file, entry))
        });
        held.chain(waiting).take(max).collect()
    }

    fn change<T>(&self, change: impl FnOnce(&mut Table) -> T) -> T {
        let mut table = self.table.lock();
        let value = change(&mut table);
        let tell = !table.untold.is_empty();
        let news = std::mem::take(&mut table.news);
        let stirred = std::mem::take(&mut table.stirred);
        self.cached.store(table.keepers, Ordering::Relaxed);
        self.opened.store(table.shares, Ordering::Relaxed);
        drop(table);
        news.into_iter().for_each(|(holder, news)| holder.tell(news));
        if stirred {
            self.stirred.send_replace(());
        }
        if tell {
            self.granted.notify_one();
        }
        value
    }
}
