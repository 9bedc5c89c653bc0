//! Opens beside others' opens and caches: sharing and caching are decided together, under the table's one mutex. A sharing
//! violation takes handles that others keep first, and what they answer decides.

use super::caching::{
    AnswerError, Attempt, Caching, CachingRequest, Deed, Granted, Holder, LeaseId, News, Touch,
};
use super::owner::{FileKey, Owner, Protocol};
use super::shares::{Access, Share};
use super::table::Table;
use super::{Full, Limits, LockTable};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::sync::watch;

/// An open that is asked for.
#[derive(Clone, Debug)]
pub struct OpenRequest {
    /// Of which file.
    pub file: FileKey,
    /// For whom: one owner for each open.
    pub owner: Owner,
    /// What the owner is going to do.
    pub access: Access,
    /// What others may not do.
    pub deny: Access,
    /// Seconds since 1970.
    pub now_s: u64,
    /// What else it does.
    pub touch: Touch,
    /// What is in the file goes.
    pub overwrites: bool,
    /// It had to wait before.
    pub again: bool,
    /// What it asks to keep.
    pub caching: Option<CachingRequest>,
}

/// What became of an [`OpenRequest`].
#[derive(Debug)]
pub enum Opening {
    /// The owner has it.
    Opened(Option<Granted>),
    /// The file is to go with its last open.
    DeletePending,
    /// This reservation keeps it out.
    Denied(Share),
    /// The lease is one of another file.
    OtherFile,
    /// Somebody is giving up what is in the way; then it is to be tried again.
    Wait(BreakWait),
}

/// Until somebody has given up what they keep, or had their time for it. Nobody waits inside of a vserver's gate.
#[derive(Debug)]
pub struct BreakWait {
    stirred: watch::Receiver<()>,
    until: Instant,
}

impl BreakWait {
    /// Waits.
    pub async fn over(mut self) {
        // Whether something changed, the time came, or the table is gone: what comes then finds out.
        let _ = tokio::time::timeout_at(self.until.into(), self.stirred.changed()).await;
    }

    /// Not longer than that.
    pub fn within(self, until: Instant) -> BreakWait {
        BreakWait { until: self.until.min(until), ..self }
    }
}

impl Table {
    fn expire(&mut self, file: FileKey, now: Instant) {
        if let Some(state) = self.files.get_mut(&file)
            && state.caches.len() > 0
        {
            let before = state.caches.len();
            self.stirred |= state.caches.expire(now);
            self.keepers -= before - state.caches.len();
        }
    }

    fn open(&mut self, request: OpenRequest, limits: &Limits, now: Instant) -> Result<Tried, Full> {
        let OpenRequest { file, owner, access, deny, now_s, touch, overwrites, again, caching } = request;
        let lease = caching.as_ref().and_then(|caching| caching.lease);
        if lease.and_then(|lease| self.leases.get(&lease)).is_some_and(|other| *other != file) {
            return Ok(Tried::Over(Opening::OtherFile));
        }
        self.expire(file, now);
        let owner = self.admit(owner, limits)?;
        let mut news = News::new();
        let state = self.files.entry(file).or_default();
        if state.delete_pending {
            return Ok(Tried::Over(Opening::DeletePending));
        }
        let conflict = state.shares.conflict(&owner, access, deny).cloned();
        let attempt = Attempt { lease, touch, overwrites, again, kept_out: conflict.is_some() };
        let before = state.caches.len();
        let wait = state.caches.open(&attempt, now, &mut news);
        self.keepers -= before - state.caches.len();
        self.news.append(&mut news);
        if let Some(until) = wait {
            return Ok(Tried::Wait(until));
        }
        if let Some(share) = conflict {
            return Ok(Tried::Over(Opening::Denied(share)));
        }
        self.room(&owner.client, limits).inspect_err(|_| self.tidy(file))?;
        let looks_only = touch == Touch::Attributes;
        let share =
            Share { owner: Arc::clone(&owner), access, deny, incarnation: 0, since_s: now_s, looks_only };
        self.put_share(file, share);
        Ok(Tried::Over(Opening::Opened(caching.map(|caching| self.grant(file, &owner, &caching)))))
    }

    fn grant(&mut self, file: FileKey, owner: &Arc<Owner>, caching: &CachingRequest) -> Granted {
        let state = self.files.entry(file).or_default();
        let (before, locked) = (state.caches.len(), !state.locks.all().is_empty());
        let granted = state.caches.grant(owner, caching, &state.shares, locked);
        self.keepers += state.caches.len() - before;
        if let Some(lease) = caching.lease {
            self.leases.insert(lease, file);
        }
        granted
    }

    fn contend(&mut self, file: FileKey, deed: Deed, by: Option<&Owner>, now: Instant) -> Option<Instant> {
        self.expire(file, now);
        let state = self.files.get_mut(&file)?;
        let before = state.caches.len();
        let wait = state.caches.contend(deed, by, now, &mut self.news);
        self.keepers -= before - state.caches.len();
        wait
    }

    fn answer_lease(&mut self, lease: LeaseId, state: Caching, now: Instant) -> Result<(), AnswerError> {
        let file = self.leases.get(&lease).copied().ok_or(AnswerError::Unknown)?;
        self.expire(file, now);
        self.stirred = true;
        let found = self.files.get_mut(&file).ok_or(AnswerError::Unknown)?;
        found.caches.answer_lease(lease, state, now, &mut self.news)
    }

    fn answer_oplock(
        &mut self,
        file: FileKey,
        owner: &Owner,
        state: Caching,
        now: Instant,
    ) -> Result<Caching, AnswerError> {
        self.expire(file, now);
        self.stirred = true;
        let found = self.files.get_mut(&file).ok_or(AnswerError::NotAsked)?;
        let before = found.caches.len();
        let answer = found.caches.answer_oplock(owner, state);
        self.keepers -= before - found.caches.len();
        answer
    }

    /// An open is gone, and what it kept with it.
    pub(super) fn drop_caches(&mut self, file: FileKey, owner: &Owner) {
        let Some(state) = self.files.get_mut(&file) else { return };
        if state.caches.len() == 0 {
            return;
        }
        let before = state.caches.len();
        let (lease, stirs) = state.caches.close(owner);
        self.keepers -= before - state.caches.len();
        self.stirred |= stirs;
        if let Some(lease) = lease {
            self.leases.remove(&lease);
        }
    }
}

/// [`Opening`], where what is waited for is not at hand.
enum Tried {
    Over(Opening),
    Wait(Instant),
}

impl LockTable {
    /// Asks for an open, and for what its client may keep of the file. Others may have to give something up for it.
    ///
    /// # Errors
    /// [`Full`].
    pub fn open(&self, request: OpenRequest) -> Result<Opening, Full> {
        // Before the look, so that no change after it goes unseen.
        let stirred = self.stirred.subscribe();
        Ok(match self.change(|table| table.open(request, &self.limits, Instant::now()))? {
            Tried::Over(opening) => opening,
            Tried::Wait(until) => Opening::Wait(BreakWait { stirred, until }),
        })
    }

    /// Has others give up what is in the way of a deed. `Some`: wait, and ask again.
    pub fn contend(&self, file: FileKey, deed: Deed, by: Option<&Owner>) -> Option<BreakWait> {
        if !self.is_anything_cached() {
            return None;
        }
        let stirred = self.stirred.subscribe();
        let until = self.change(|table| table.contend(file, deed, by, Instant::now()))?;
        Some(BreakWait { stirred, until })
    }

    /// Whether any client keeps anything of any file: a look that costs nothing.
    pub fn is_anything_cached(&self) -> bool {
        self.cached.load(Ordering::Relaxed) > 0
    }

    /// Whether any client has any file open or reserved: a look that costs nothing.
    pub fn is_anything_open(&self) -> bool {
        self.opened.load(Ordering::Relaxed) > 0
    }

    /// Whether a reservation of a client of that protocol keeps all others from such an access.
    pub fn is_denied_by(&self, protocol: Protocol, file: FileKey, access: Access) -> bool {
        let table = self.table.lock();
        let denies =
            |share: &Share| share.owner.client.protocol == protocol && share.deny.bits() & access.bits() != 0;
        table.files.get(&file).is_some_and(|state| state.shares.held.iter().any(denies))
    }

    /// The file that a lease is on.
    pub fn lease_file(&self, lease: LeaseId) -> Option<FileKey> {
        self.table.lock().leases.get(&lease).copied()
    }

    /// Whether an open's client keeps its handle, and nobody has asked it to give anything up.
    pub fn keeps_handle(&self, file: FileKey, owner: &Owner) -> bool {
        let table = self.table.lock();
        let keeper = table.files.get(&file).and_then(|state| state.caches.of(owner));
        keeper.is_some_and(|keeper| keeper.at_rest().has(Caching::HANDLE))
    }

    /// An open's client is to be told in another way from now on; gives what it keeps.
    pub fn reattach(&self, file: FileKey, owner: &Owner, holder: Arc<dyn Holder>) -> Option<Granted> {
        let mut table = self.table.lock();
        table.files.get_mut(&file)?.caches.reattach(owner, holder)
    }

    /// What an open keeps.
    pub fn caching_of(&self, file: FileKey, owner: &Owner) -> Caching {
        let table = self.table.lock();
        let keeper = table.files.get(&file).and_then(|state| state.caches.of(owner));
        keeper.map_or(Caching::NONE, super::caching::Keeper::state)
    }

    /// A client answers that it keeps no more of a lease than that.
    ///
    /// # Errors
    /// [`AnswerError`].
    pub fn answer_lease(&self, lease: LeaseId, state: Caching) -> Result<(), AnswerError> {
        self.change(|table| table.answer_lease(lease, state, Instant::now()))
    }

    /// A client answers that it keeps no more of an oplock than that; gives what it has then.
    ///
    /// # Errors
    /// [`AnswerError`].
    pub fn answer_oplock(
        &self,
        file: FileKey,
        owner: &Owner,
        state: Caching,
    ) -> Result<Caching, AnswerError> {
        self.change(|table| table.answer_oplock(file, owner, state, Instant::now()))
    }
}
