//! The tables behind [`super::LockTable`], without its mutex: files, waiting locks, grants not yet told, and the
//! bounds on their number. No clock, no input or output.

use super::caching::{Caches, LeaseId, News};
use super::locks::{Held, Locks};
use super::owner::{ByteRange, Client, FileKey, Owner};
use super::shares::{Access, Share, Shares};
use super::waiter::{Wait, Waiter};
use super::{Full, Grant, Limits, LockOutcome, LockRequest, ShareRequest, Unshared};
use crate::handle::VolumeId;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// How many owners a search for a deadlock looks at before it gives up and lets the request wait.
const DEADLOCK_STEPS_MAX: usize = 64;
/// Owners that may be kept without need.
const OWNERS_SPARE: usize = 64;

/// One file's locks, reservations, and the numbers of the requests that wait, oldest first.
#[derive(Debug, Default)]
pub(super) struct FileState {
    pub(super) locks: Locks,
    pub(super) shares: Shares,
    /// What those who have `shares` keep.
    pub(super) caches: Caches,
    /// The file goes when the last of `shares` does.
    pub(super) delete_pending: bool,
    pub(super) waiting: Vec<u64>,
}

impl FileState {
    fn is_empty(&self) -> bool {
        self.locks.all().is_empty() && self.shares.held.is_empty() && self.waiting.is_empty()
    }
}

/// A request that waits for others' locks to go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Waiting {
    pub(super) file: FileKey,
    /// The lock that it is for; `since_s`: since when it waits.
    pub(super) lock: Held,
    /// How the one who waits is reached.
    pub(super) wait: Wait,
}

/// What a client has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Use {
    /// Locks and reservations.
    pub(super) held: usize,
    pub(super) waiting: usize,
}

/// Everything.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) files: HashMap<FileKey, FileState>,
    pub(super) waiting: BTreeMap<u64, Waiting>,
    /// Locks that were given to one who had waited and may not know yet.
    pub(super) grants: BTreeMap<u64, Grant>,
    /// Grants that nobody is telling yet.
    pub(super) untold: VecDeque<u64>,
    pub(super) clients: HashMap<Arc<Client>, Use>,
    owners: HashSet<Arc<Owner>>,
    /// Bytes of their ids.
    owner_bytes: usize,
    pub(super) held: usize,
    pub(super) shares: usize,
    /// The file of each lease.
    pub(super) leases: HashMap<LeaseId, FileKey>,
    /// Leases and oplocks.
    pub(super) keepers: usize,
    /// Breaks that nobody was told of yet.
    pub(super) news: News,
    /// Somebody gave up what they kept.
    pub(super) stirred: bool,
    next_id: u64,
}

impl Table {
    pub(super) fn lock(&mut self, request: LockRequest, limits: &Limits) -> Result<LockOutcome, Full> {
        let LockRequest { file, owner, range, exclusive, incarnation, now_s, wait } = request;
        let owner = self.admit(owner, limits)?;
        let state = self.files.entry(file).or_default();
        let conflict = state.locks.conflicts(&owner, range, exclusive).next().cloned();
        let lock = Held { range, exclusive, owner: Arc::clone(&owner), incarnation, since_s: now_s };
        let outcome = match (conflict, wait) {
            (None, _) => self.grant_now(file, lock, limits).map(|()| LockOutcome::Granted),
            (Some(other), None) => Ok(LockOutcome::Denied(other)),
            (Some(_), Some(wait)) => self.wait(Waiting { file, lock, wait }, limits),
        };
        self.tidy(file);
        outcome
    }

    fn grant_now(&mut self, file: FileKey, lock: Held, limits: &Limits) -> Result<(), Full> {
        let state = self.files.entry(file).or_default();
        // Without more than it has already: a lock that is asked for again always fits.
        let have = !lock.owner.stacks_locks()
            && state.locks.of(&lock.owner, lock.range).any(|held| covers(held, &lock));
        if !have {
            self.room(&lock.owner.client, limits)?;
        }
        // One that asks no longer waits for the answer to an earlier request.
        let (owner, range) = (Arc::clone(&lock.owner), lock.range);
        self.change_locks(file, &owner.client, |locks| locks.set(lock));
        if !owner.stacks_locks() {
            self.forget_waiting(file, &owner, range);
            self.forget_grants(file, &owner, range);
            self.wake(file);
        }
        Ok(())
    }

    fn wait(&mut self, new: Waiting, limits: &Limits) -> Result<LockOutcome, Full> {
        let stacks = new.lock.owner.stacks_locks();
        let same = |old: &Waiting| {
            !stacks
                && *old.lock.owner == *new.lock.owner
                && old.lock.range == new.lock.range
                && old.lock.exclusive == new.lock.exclusive
        };
        let waiting = self.files.get(&new.file).map(|state| state.waiting.clone()).unwrap_or_default();
        for id in waiting {
            if let Some(old) = self.waiting.get_mut(&id)
                && same(old)
            {
                // It asks again and keeps its place.
                old.wait = new.wait;
                return Ok(LockOutcome::Waiting);
            }
        }
        // Where locks stack, an owner may wait for itself: it can give up, or unlock by another request.
        if !stacks && self.would_deadlock(&new) {
            return Ok(LockOutcome::Deadlock);
        }
        let client = Arc::clone(&new.lock.owner.client);
        // What is waited for will be held, and nobody can refuse it then.
        self.room(&client, limits)?;
        let mine = self.clients.get(&client).map_or(0, |used| used.waiting);
        if self.waiting.len() >= limits.waiting_max || mine >= limits.waiting_per_client_max {
            return Err(Full);
        }
        let id = self.take_id();
        self.put_waiting(id, new);
        Ok(LockOutcome::Waiting)
    }

    pub(super) fn put_waiting(&mut self, id: u64, new: Waiting) {
        self.files.entry(new.file).or_default().waiting.push(id);
        self.clients.entry(Arc::clone(&new.lock.owner.client)).or_default().waiting += 1;
        self.waiting.insert(id, new);
    }

    /// Whether one of those that `new` would wait for waits, itself or through others, for the owner of `new`.
    fn would_deadlock(&self, new: &Waiting) -> bool {
        let mut seen: HashSet<&Owner> = HashSet::new();
        let mut queue = VecDeque::from([new]);
        while let Some(waiting) = queue.pop_front() {
            let Some(state) = self.files.get(&waiting.file) else { continue };
            let lock = &waiting.lock;
            for holder in state.locks.conflicts(&lock.owner, lock.range, lock.exclusive) {
                if *holder.owner == *new.lock.owner {
                    return true;
                }
                if !seen.insert(&holder.owner) {
                    continue;
                }
                if seen.len() > DEADLOCK_STEPS_MAX {
                    return false;
                }
                let waits = self.clients.get(&holder.owner.client).is_some_and(|used| used.waiting > 0);
                if waits {
                    queue.extend(self.waiting.values().filter(|other| *other.lock.owner == *holder.owner));
                }
            }
        }
        false
    }

    pub(super) fn test(
        &self,
        file: FileKey,
        owner: &Owner,
        range: ByteRange,
        exclusive: bool,
    ) -> Option<Held> {
        self.files.get(&file)?.locks.conflicts(owner, range, exclusive).next().cloned()
    }

    pub(super) fn unlock(
        &mut self,
        file: FileKey,
        owner: &Owner,
        range: ByteRange,
        limits: &Limits,
    ) -> Result<(), Full> {
        if !owner.stacks_locks() {
            self.cancel_exact(file, owner, range, None);
        }
        let Some(state) = self.files.get(&file) else { return Ok(()) };
        if state.locks.clear_splits(owner, range) {
            self.room(&owner.client, limits)?;
        }
        self.change_locks(file, &owner.client, |locks| locks.clear(owner, range));
        self.forget_grants(file, owner, range);
        self.wake(file);
        self.tidy(file);
        Ok(())
    }

    /// Takes back a request. `false`: it holds the lock, or part of it, and does not wait.
    pub(super) fn cancel(&mut self, file: FileKey, owner: &Owner, range: ByteRange, exclusive: bool) -> bool {
        let grant = self.grants.iter().find(|(_, grant)| {
            grant.file == file
                && *grant.lock.owner == *owner
                && grant.lock.range == range
                && grant.lock.exclusive == exclusive
        });
        if let Some((&id, _)) = grant {
            self.give_back(id);
            return true;
        }
        let waited = self.cancel_exact(file, owner, range, Some(exclusive));
        let holds = self.files.get(&file).is_some_and(|state| state.locks.of(owner, range).next().is_some());
        self.tidy(file);
        waited || !holds
    }

    /// Takes back the request of a waiter. `false`: it has the lock.
    pub(super) fn stop_waiting(&mut self, file: FileKey, waiter: &Arc<Waiter>) -> bool {
        let is_it =
            |waiting: &Waiting| matches!(&waiting.wait, Wait::Here(other) if Arc::ptr_eq(other, waiter));
        let ids = self.files.get(&file).map(|state| state.waiting.as_slice()).unwrap_or_default();
        let id = ids.iter().copied().find(|id| self.waiting.get(id).is_some_and(is_it));
        id.map(|id| self.take_waiting(id));
        self.tidy(file);
        !waiter.is_granted()
    }

    fn cancel_exact(
        &mut self,
        file: FileKey,
        owner: &Owner,
        range: ByteRange,
        exclusive: Option<bool>,
    ) -> bool {
        let found: Vec<u64> = self
            .waiting_of(file, owner)
            .filter(|(_, waiting)| waiting.lock.range == range)
            .filter(|(_, waiting)| exclusive.is_none_or(|exclusive| waiting.lock.exclusive == exclusive))
            .map(|(id, _)| id)
            .collect();
        found.iter().for_each(|id| drop(self.take_waiting(*id)));
        !found.is_empty()
    }

    fn waiting_of<'a>(&'a self, file: FileKey, owner: &'a Owner) -> impl Iterator<Item = (u64, &'a Waiting)> {
        let ids = self.files.get(&file).map_or(&[][..], |state| &state.waiting);
        ids.iter()
            .filter_map(|id| Some((*id, self.waiting.get(id)?)))
            .filter(move |(_, waiting)| *waiting.lock.owner == *owner)
    }

    pub(super) fn share(&mut self, request: ShareRequest, limits: &Limits) -> Result<Option<Share>, Full> {
        let ShareRequest { file, owner, access, deny, incarnation, now_s } = request;
        let owner = self.admit(owner, limits)?;
        let outcome = self.share_interned(file, &owner, access, deny, incarnation, now_s, limits);
        self.tidy(file);
        outcome
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one request")]
    fn share_interned(
        &mut self,
        file: FileKey,
        owner: &Arc<Owner>,
        access: Access,
        deny: Access,
        incarnation: u32,
        since_s: u64,
        limits: &Limits,
    ) -> Result<Option<Share>, Full> {
        let shares = &self.files.entry(file).or_default().shares;
        if let Some(other) = shares.conflict(owner, access, deny) {
            return Ok(Some(other.clone()));
        }
        if !shares.held.iter().any(|share| *share.owner == **owner) {
            self.room(&owner.client, limits)?;
        }
        let share = Share { owner: Arc::clone(owner), access, deny, incarnation, since_s, looks_only: false };
        self.put_share(file, share);
        Ok(None)
    }

    pub(super) fn put_share(&mut self, file: FileKey, share: Share) {
        let client = Arc::clone(&share.owner.client);
        self.change_shares(file, &client, |shares| shares.set(share));
    }

    /// Gives up all that an owner has of a file.
    pub(super) fn close(&mut self, file: FileKey, owner: &Owner) -> Unshared {
        if self
            .files
            .get(&file)
            .is_some_and(|state| state.locks.all().iter().any(|held| *held.owner == *owner))
        {
            self.change_locks(file, &owner.client, |locks| locks.drop_where(|held| *held.owner == *owner));
            self.wake(file);
        }
        self.unshare(file, owner)
    }

    pub(super) fn unshare(&mut self, file: FileKey, owner: &Owner) -> Unshared {
        if !self.files.contains_key(&file) {
            return Unshared::default();
        }
        let mut had = false;
        self.drop_caches(file, owner);
        self.change_shares(file, &owner.client, |shares| had = shares.clear(owner));
        let protocol = owner.client.protocol;
        let mut delete = false;
        if let Some(state) = self.files.get_mut(&file) {
            let open = state.shares.held.iter().any(|share| share.owner.client.protocol == protocol);
            delete = had && !open && std::mem::take(&mut state.delete_pending);
        }
        self.tidy(file);
        Unshared { had, delete }
    }

    /// Gives up what the clients that `whose` names have, but for what is of the life `keep` of theirs. Says how many
    /// locks and reservations that were.
    pub(super) fn release(&mut self, whose: impl Fn(&Client) -> bool, keep: Option<u32>) -> usize {
        if !self.clients.keys().any(|client| whose(client)) {
            return 0;
        }
        let gone = |owner: &Owner, incarnation: u32| whose(&owner.client) && keep != Some(incarnation);
        let waiting: Vec<u64> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| gone(&waiting.lock.owner, waiting.lock.incarnation))
            .map(|(id, _)| *id)
            .collect();
        waiting.into_iter().for_each(|id| drop(self.take_waiting(id)));
        self.grants.retain(|_, grant| !gone(&grant.lock.owner, grant.lock.incarnation));
        let files: Vec<FileKey> = self.files.keys().copied().collect();
        files.into_iter().map(|file| self.release_in(file, &gone)).sum()
    }

    pub(super) fn forget_volume(&mut self, volume: VolumeId) {
        let files: Vec<FileKey> = self.files.keys().copied().filter(|file| file.volume == volume).collect();
        for file in files {
            let waiting = self.files.get(&file).map(|state| state.waiting.clone()).unwrap_or_default();
            waiting.into_iter().for_each(|id| drop(self.take_waiting(id)));
            self.release_in(file, &|_: &Owner, _: u32| true);
        }
        self.grants.retain(|_, grant| grant.file.volume != volume);
    }

    fn release_in(&mut self, file: FileKey, gone: &impl Fn(&Owner, u32) -> bool) -> usize {
        let Some(state) = self.files.get_mut(&file) else { return 0 };
        let mut freed = 0;
        for held in state.locks.all().iter().filter(|held| gone(&held.owner, held.incarnation)) {
            count_down(&mut self.clients, &held.owner.client);
            freed += 1;
        }
        let mut unshared = 0;
        let mut closed = Vec::new();
        for share in state.shares.held.iter().filter(|share| gone(&share.owner, share.incarnation)) {
            count_down(&mut self.clients, &share.owner.client);
            closed.push(Arc::clone(&share.owner));
            unshared += 1;
        }
        if freed + unshared > 0 {
            state.locks.drop_where(|held| gone(&held.owner, held.incarnation));
            state.shares.held.retain(|share| !gone(&share.owner, share.incarnation));
            self.held -= freed;
            self.shares -= unshared;
            closed.iter().for_each(|owner| self.drop_caches(file, owner));
            self.wake(file);
        }
        if self.files.get(&file).is_some_and(FileState::is_empty) {
            self.files.remove(&file);
        }
        freed + unshared
    }

    /// The one who waited knows that it has the lock, or is beyond being asked.
    pub(super) fn settle(&mut self, id: u64) {
        if let Some(grant) = self.grants.remove(&id) {
            self.tidy(grant.file);
        }
    }

    /// The one who waited does not want the lock any more, or can't be told: the next gets it.
    pub(super) fn give_back(&mut self, id: u64) {
        let Some(grant) = self.grants.remove(&id) else { return };
        let owner = Arc::clone(&grant.lock.owner);
        self.change_locks(grant.file, &owner.client, |locks| locks.clear(&owner, grant.lock.range));
        self.wake(grant.file);
        self.tidy(grant.file);
    }

    /// Gives a file's locks to those who wait and can have them now, in the order in which they came.
    pub(super) fn wake(&mut self, file: FileKey) {
        // A lock that is given may take the place of a stronger one, which others wait for.
        while self.wake_once(file) {}
    }

    fn wake_once(&mut self, file: FileKey) -> bool {
        let Some(state) = self.files.get(&file) else { return false };
        let mut woken = false;
        for id in state.waiting.clone() {
            let Some(waiting) = self.waiting.get(&id) else { continue };
            let Some(state) = self.files.get(&file) else { break };
            let lock = &waiting.lock;
            if state.locks.conflicts(&lock.owner, lock.range, lock.exclusive).next().is_some() {
                continue;
            }
            let Some(Waiting { lock, wait, .. }) = self.take_waiting(id) else { continue };
            let client = Arc::clone(&lock.owner.client);
            self.change_locks(file, &client, |locks| locks.set(lock.clone()));
            match wait {
                Wait::Here(waiter) => waiter.grant(),
                Wait::Told(return_path) => {
                    self.grants.insert(id, Grant { id, file, lock, return_path, told_before: false });
                    self.untold.push_back(id);
                }
            }
            woken = true;
        }
        woken
    }

    fn take_waiting(&mut self, id: u64) -> Option<Waiting> {
        let waiting = self.waiting.remove(&id)?;
        if let Some(state) = self.files.get_mut(&waiting.file) {
            state.waiting.retain(|other| *other != id);
        }
        let client = &waiting.lock.owner.client;
        if let Some(used) = self.clients.get_mut(client) {
            used.waiting -= 1;
            if *used == Use::default() {
                self.clients.remove(client);
            }
        }
        Some(waiting)
    }

    /// Requests of the owner for just this range, which it has now.
    fn forget_waiting(&mut self, file: FileKey, owner: &Owner, range: ByteRange) {
        self.cancel_exact(file, owner, range, None);
    }

    /// What the owner does with the range shows that it does not wait to be told of it any more.
    fn forget_grants(&mut self, file: FileKey, owner: &Owner, range: ByteRange) {
        if self.grants.is_empty() {
            return;
        }
        self.grants.retain(|_, grant| {
            grant.file != file || *grant.lock.owner != *owner || !grant.lock.range.overlaps(range)
        });
    }

    pub(super) fn change_locks(
        &mut self,
        file: FileKey,
        client: &Arc<Client>,
        change: impl FnOnce(&mut Locks),
    ) {
        let locks = &mut self.files.entry(file).or_default().locks;
        let before = locks.all().len();
        change(locks);
        let after = locks.all().len();
        self.held = self.held + after - before;
        recount(&mut self.clients, client, before, after);
    }

    fn change_shares(&mut self, file: FileKey, client: &Arc<Client>, change: impl FnOnce(&mut Shares)) {
        let shares = &mut self.files.entry(file).or_default().shares;
        let before = shares.held.len();
        change(shares);
        let after = shares.held.len();
        self.shares = self.shares + after - before;
        recount(&mut self.clients, client, before, after);
    }

    pub(super) fn admit(&mut self, owner: Owner, limits: &Limits) -> Result<Arc<Owner>, Full> {
        let len = owner.id.len();
        if !self.owners.contains(&owner) && self.owner_bytes + len > limits.owner_bytes_max {
            self.forget_owners();
            if self.owner_bytes + len > limits.owner_bytes_max {
                return Err(Full);
            }
        }
        Ok(self.intern(owner))
    }

    /// Whether a client may have one more, held or waited for.
    pub(super) fn room(&self, client: &Arc<Client>, limits: &Limits) -> Result<(), Full> {
        let all = self.held + self.shares + self.waiting.len();
        let mine = self.clients.get(client).map_or(0, |used| used.held + used.waiting);
        let known = self.clients.contains_key(client) || self.clients.len() < limits.clients_max;
        if all < limits.held_max && mine < limits.held_per_client_max && known { Ok(()) } else { Err(Full) }
    }

    /// Keeps no owner that has nothing.
    fn forget_owners(&mut self) {
        self.owners.retain(|owner| Arc::strong_count(owner) > 1);
        self.owner_bytes = self.owners.iter().map(|owner| owner.id.len()).sum();
    }

    /// The one copy of an owner, and of its client, that is kept.
    pub(super) fn intern(&mut self, owner: Owner) -> Arc<Owner> {
        if let Some(known) = self.owners.get(&owner) {
            return Arc::clone(known);
        }
        let client = self.clients.get_key_value(&owner.client).map(|(known, _)| Arc::clone(known));
        let owner = Arc::new(Owner { client: client.unwrap_or(owner.client), id: owner.id });
        self.owner_bytes += owner.id.len();
        self.owners.insert(Arc::clone(&owner));
        owner
    }

    /// Keeps nothing of a file that has nothing any more, nor for long of owners.
    pub(super) fn tidy(&mut self, file: FileKey) {
        if self.files.get(&file).is_some_and(FileState::is_empty) {
            self.files.remove(&file);
        }
        // Each owner has at least one of these; so this looks at every owner only as often as as many have gone.
        let uses = self.held + self.shares + self.waiting.len() + self.grants.len();
        if self.owners.len() > 2 * uses + OWNERS_SPARE {
            self.forget_owners();
        }
    }

    pub(super) fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

/// Whether `held` is all that `lock` asks for.
fn covers(held: &Held, lock: &Held) -> bool {
    held.exclusive == lock.exclusive
        && held.range.first <= lock.range.first
        && held.range.last >= lock.range.last
}

fn recount(clients: &mut HashMap<Arc<Client>, Use>, client: &Arc<Client>, before: usize, after: usize) {
    if before == after {
        return;
    }
    let used = clients.entry(Arc::clone(client)).or_default();
    used.held = used.held + after - before;
    if *used == Use::default() {
        clients.remove(client);
    }
}

fn count_down(clients: &mut HashMap<Arc<Client>, Use>, client: &Arc<Client>) {
    recount(clients, client, 1, 0);
}
