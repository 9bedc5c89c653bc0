//! What clients keep of one file to themselves (oplocks and leases): who has what, what makes them give it up, what they
//! answer. Knows no protocol, no clock and no limits.
//!
//! Which access breaks what is MS-FSA §2.1.4.12 and §2.1.5.18; where Windows differs from it, this does as Windows.

use super::holdings::Kept;
use super::owner::Owner;
use super::shares::Shares;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A holder that has not answered for so long has given up what it was asked to.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(35);

/// What is kept: data read, handles, data written.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Caching(u8);

impl Caching {
    /// Nothing.
    pub const NONE: Caching = Caching(0);
    /// Data that was read.
    pub const READ: Caching = Caching(1);
    /// Handles: they may stay open after the client's programs have closed them.
    pub const HANDLE: Caching = Caching(2);
    /// Data that was written, and byte-range locks.
    pub const WRITE: Caching = Caching(4);
    /// All three.
    pub const ALL: Caching = Caching(7);

    /// From the three low bits: 1 read, 2 handle, 4 write.
    pub fn from_bits(bits: u32) -> Self {
        Caching(bits.to_le_bytes()[0] & 7)
    }

    /// As three bits: 1 read, 2 handle, 4 write.
    pub fn bits(self) -> u32 {
        self.0.into()
    }

    /// Whether it is any of `other`.
    pub fn has(self, other: Caching) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether all of it is in `other`.
    pub fn is_in(self, other: Caching) -> bool {
        self.0 & !other.0 == 0
    }

    /// What is in both.
    pub fn and(self, other: Caching) -> Caching {
        Caching(self.0 & other.0)
    }

    /// What is in either.
    pub fn or(self, other: Caching) -> Caching {
        Caching(self.0 | other.0)
    }

    /// It, without `other`.
    pub fn without(self, other: Caching) -> Caching {
        Caching(self.0 & !other.0)
    }

    /// What a lease may be of that; write alone, or handle without read, is none (MS-FSA §2.1.5.18).
    fn as_lease(self) -> Caching {
        if self.has(Caching::READ) { self } else { Caching::NONE }
    }

    /// What an oplock may be of that: batch, exclusive, level II.
    fn as_oplock(self) -> Caching {
        match (self.has(Caching::READ), self.has(Caching::WRITE)) {
            (true, true) => self,
            (true, false) => Caching::READ,
            (false, _) => Caching::NONE,
        }
    }
}

impl fmt::Debug for Caching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = [(Caching::READ, "R"), (Caching::WRITE, "W"), (Caching::HANDLE, "H")];
        let all: String =
            letters.iter().filter(|(one, _)| self.has(*one)).map(|(_, letter)| *letter).collect();
        f.write_str(if all.is_empty() { "-" } else { &all })
    }
}

/// By which a client knows a lease.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LeaseId {
    /// The client.
    pub client: [u8; 16],
    /// The client's name for it.
    pub key: [u8; 16],
}

/// That a holder is to give something up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Break {
    /// Of which lease; `None`: of the oplock of the holder's open.
    pub lease: Option<LeaseId>,
    /// What it has.
    pub from: Caching,
    /// What it may keep.
    pub to: Caching,
    /// Counts a lease's changes, where the client does.
    pub epoch: Option<u16>,
    /// It has to answer.
    pub answer: bool,
}

/// Tells a client of a [`Break`].
pub trait Holder: Send + Sync + fmt::Debug {
    /// Must not wait.
    fn tell(&self, news: Break);
}

/// What an open asks to keep.
#[derive(Clone, Debug)]
pub struct CachingRequest {
    /// `None`: an oplock.
    pub lease: Option<LeaseId>,
    /// All that it wants.
    pub wanted: Caching,
    /// Where the client's count of the lease's changes is, if it has one.
    pub epoch: Option<u16>,
    /// How the client is told.
    pub holder: Arc<dyn Holder>,
}

/// What an open may keep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Granted {
    /// It.
    pub state: Caching,
    /// Counts a lease's changes, if the one who asked for it first does.
    pub epoch: Option<u16>,
    /// The lease was there, and is being broken.
    pub breaking: bool,
}

/// What an open does with the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Touch {
    /// Looks at attributes: in nobody's way.
    Attributes,
    /// Looks at permissions too: in no lease's way.
    Permissions,
    /// More.
    Contents,
}

/// What somebody does with a file that others may keep something of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deed {
    /// Reads it without an open that others know of.
    Read,
    /// Writes it, sets its size, or locks bytes of it.
    Change,
    /// Renames it, deletes it, or puts another in its place.
    Unname,
}

/// Why an answer to a [`Break`] counts for nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AnswerError {
    /// There is no such lease.
    Unknown,
    /// Nobody had asked.
    NotAsked,
    /// It keeps more than it may.
    TooMuch,
}

/// A break that waits for its answer.
#[derive(Clone, Copy, Debug)]
struct Breaking {
    /// What the holder was told.
    told: Caching,
    /// What it will have to come to; less where there came more reasons meanwhile.
    to: Caching,
    until: Instant,
}

/// A lease, or the oplock of one open.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) lease: Option<LeaseId>,
    opens: Vec<Arc<Owner>>,
    state: Caching,
    breaking: Option<Breaking>,
    epoch: Option<u16>,
    holder: Arc<dyn Holder>,
}

/// Breaks to be told when nothing is locked any more.
pub(super) type News = Vec<(Arc<dyn Holder>, Break)>;

impl Keeper {
    fn is(&self, lease: Option<LeaseId>) -> bool {
        lease.is_some() && self.lease == lease
    }

    fn is_of(&self, owner: &Owner) -> bool {
        self.opens.iter().any(|open| **open == *owner)
    }

    fn count(&mut self) {
        self.epoch = self.epoch.map(|epoch| epoch.wrapping_add(1));
    }

    fn tell(&self, to: Caching, news: &mut News) {
        let answer = self.state.has(Caching::WRITE.or(Caching::HANDLE));
        let what = Break { lease: self.lease, from: self.state, to, epoch: self.epoch, answer };
        news.push((Arc::clone(&self.holder), what));
    }

    /// Sees to it that no more than `to` is kept, in time.
    fn reduce(&mut self, to: Caching, now: Instant, news: &mut News) {
        // There is no oplock between level II and exclusive.
        let to = if self.lease.is_none() { to.and(Caching::READ) } else { to };
        let to = to.and(self.state);
        match &mut self.breaking {
            Some(_) if self.lease.is_none() => {}
            // Told when it has answered to what it knows.
            Some(breaking) => breaking.to = breaking.to.and(to),
            None if to == self.state => {}
            None => {
                self.count();
                self.tell(to, news);
                if self.state == Caching::READ {
                    self.state = to;
                } else {
                    self.breaking = Some(Breaking { told: to, to, until: now + ANSWER_MAX });
                }
            }
        }
    }

    fn answer(&mut self, state: Caching, now: Instant, news: &mut News) -> Result<(), AnswerError> {
        let breaking = self.breaking.ok_or(AnswerError::NotAsked)?;
        if !state.is_in(breaking.told) {
            return Err(AnswerError::TooMuch);
        }
        self.state = state;
        self.breaking = None;
        if !state.is_in(breaking.to) {
            // In steps, as Windows does: reading goes last.
            let firm = state.has(Caching::WRITE.or(Caching::HANDLE));
            let told = if firm { breaking.to.or(Caching::READ.and(state)) } else { breaking.to };
            self.tell(told, news);
            if firm {
                self.breaking = Some(Breaking { told, to: breaking.to, until: now + ANSWER_MAX });
            } else {
                self.state = Caching::NONE;
            }
        }
        Ok(())
    }
}

/// Somebody opens the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub(super) lease: Option<LeaseId>,
    pub(super) touch: Touch,
    /// What is in the file goes.
    pub(super) overwrites: bool,
    /// It had to wait before.
    pub(super) again: bool,
    /// Others' sharing keeps it out.
    pub(super) kept_out: bool,
}

/// Who keeps what of one file.
#[derive(Debug, Default)]
pub(super) struct Caches {
    keepers: Vec<Keeper>,
}

impl Caches {
    /// How many leases and oplocks there are.
    pub(super) fn len(&self) -> usize {
        self.keepers.len()
    }

    /// Ends breaks whose holders have had their time. Says whether there were any.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let mut any = false;
        for keeper in &mut self.keepers {
            if keeper.breaking.is_some_and(|breaking| breaking.until <= now) {
                keeper.breaking = None;
                keeper.state = Caching::NONE;
                any = true;
            }
        }
        self.tidy();
        any
    }

    /// An oplock that is nothing any more is none; a lease stays while it has opens.
    fn tidy(&mut self) {
        self.keepers.retain(|keeper| {
            keeper.lease.is_some() && !keeper.opens.is_empty() || keeper.state != Caching::NONE
        });
    }

    /// Breaks what is in the way of an open. `Some`: it has to wait, until then at the most.
    pub(super) fn open(&mut self, attempt: &Attempt, now: Instant, news: &mut News) -> Option<Instant> {
        if attempt.touch == Touch::Attributes {
            return None;
        }
        let mut wait = None;
        let firm = if attempt.kept_out { Caching::HANDLE } else { Caching::WRITE };
        let overwrites = attempt.overwrites && !attempt.kept_out;
        for keeper in &mut self.keepers {
            let state = keeper.state;
            if keeper.is(attempt.lease) || keeper.lease.is_some() && attempt.touch == Touch::Permissions {
                continue;
            }
            let was_breaking = keeper.breaking.is_some();
            let to = state.without(if overwrites { Caching::ALL } else { firm });
            let breaks = !state.is_in(to);
            if breaks {
                keeper.reduce(to, now, news);
            }
            let waits = if breaks {
                state.has(firm) || was_breaking && attempt.again
            } else {
                was_breaking && keeper.lease.is_some()
            };
            if waits && let Some(breaking) = keeper.breaking {
                wait = wait.max(Some(breaking.until));
            }
        }
        self.tidy();
        wait
    }

    /// What an open that nothing is in the way of may keep, beside others. `locked`: there are byte-range locks.
    pub(super) fn grant(
        &mut self,
        owner: &Arc<Owner>,
        request: &CachingRequest,
        shares: &Shares,
        locked: bool,
    ) -> Granted {
        let lease = request.lease;
        let others = || self.keepers.iter().filter(|keeper| !keeper.is(lease));
        let in_way = |keeper: &Keeper| keeper.lease.is_some() || keeper.state != Caching::NONE;
        let opened = |share: &super::Share| {
            *share.owner != **owner
                && !share.looks_only
                && !self.keepers.iter().any(|keeper| keeper.is(lease) && keeper.is_of(&share.owner))
        };
        let mut state = request.wanted;
        if lease.is_some() {
            state = state.as_lease();
        }
        if locked {
            state = state.without(Caching::READ.or(Caching::HANDLE));
        }
        if others().any(in_way) || shares.held.iter().any(opened) {
            state = state.without(Caching::WRITE);
        }
        if others().any(|keeper| keeper.state.has(Caching::WRITE)) {
            // Who only looks takes nothing away, and gets nothing that another may have changed.
            state = Caching::NONE;
        }
        if lease.is_some() {
            if others().any(|keeper| keeper.lease.is_none()) {
                state = state.without(Caching::HANDLE);
            }
            state = state.as_lease();
        } else {
            let handles = others().any(|keeper| keeper.state.has(Caching::HANDLE));
            state = if handles { Caching::NONE } else { state.as_oplock() };
        }
        self.put(owner, request, state)
    }

    fn put(&mut self, owner: &Arc<Owner>, request: &CachingRequest, state: Caching) -> Granted {
        let lease = request.lease;
        if let Some(keeper) = self.keepers.iter_mut().find(|keeper| keeper.is(lease)) {
            keeper.opens.push(Arc::clone(owner));
            let more = keeper.state.is_in(request.wanted) && state != keeper.state && state == request.wanted;
            if more && keeper.breaking.is_none() {
                keeper.state = state;
                keeper.count();
            }
            let breaking = keeper.breaking.is_some();
            return Granted { state: keeper.state, epoch: keeper.epoch, breaking };
        }
        let epoch = request.epoch.map(|epoch| epoch.wrapping_add(1));
        if lease.is_some() || state != Caching::NONE {
            let holder = Arc::clone(&request.holder);
            let opens = vec![Arc::clone(owner)];
            self.keepers.push(Keeper { lease, opens, state, breaking: None, epoch, holder });
        }
        Granted { state, epoch, breaking: false }
    }

    /// Breaks what is in the way of a deed. `Some`: it has to wait, until then at the most.
    pub(super) fn contend(
        &mut self,
        deed: Deed,
        by: Option<&Owner>,
        now: Instant,
        news: &mut News,
    ) -> Option<Instant> {
        let (loses, firm) = match deed {
            Deed::Read => (Caching::WRITE, Caching::WRITE),
            Deed::Change => (Caching::ALL, Caching::WRITE),
            Deed::Unname => (Caching::HANDLE, Caching::HANDLE),
        };
        let mut wait = None;
        for keeper in &mut self.keepers {
            let state = keeper.state;
            let own = by.is_some_and(|owner| keeper.is_of(owner));
            // What was read under level II is stale whoever writes.
            let spared = own && (keeper.lease.is_some() || state != Caching::READ || deed != Deed::Change);
            if spared || !state.has(loses) {
                continue;
            }
            keeper.reduce(state.without(loses), now, news);
            if state.has(firm)
                && let Some(breaking) = keeper.breaking
            {
                wait = wait.max(Some(breaking.until));
            }
        }
        self.tidy();
        wait
    }

    /// A lease's holder says what it keeps.
    pub(super) fn answer_lease(
        &mut self,
        lease: LeaseId,
        state: Caching,
        now: Instant,
        news: &mut News,
    ) -> Result<(), AnswerError> {
        let keeper = self.keepers.iter_mut().find(|keeper| keeper.is(Some(lease)));
        keeper.ok_or(AnswerError::Unknown)?.answer(state, now, news)
    }

    /// An oplock's holder says what it keeps; gives what it has then.
    pub(super) fn answer_oplock(&mut self, owner: &Owner, state: Caching) -> Result<Caching, AnswerError> {
        let mine = |keeper: &&mut Keeper| keeper.lease.is_none() && keeper.is_of(owner);
        let keeper = self.keepers.iter_mut().find(mine).ok_or(AnswerError::NotAsked)?;
        let breaking = keeper.breaking.take().ok_or(AnswerError::NotAsked)?;
        keeper.state = state.and(breaking.told);
        let left = keeper.state;
        self.tidy();
        Ok(left)
    }

    /// What an open keeps, alone or with others.
    pub(super) fn of(&self, owner: &Owner) -> Option<&Keeper> {
        self.keepers.iter().find(|keeper| keeper.is_of(owner))
    }

    /// An open is closed. Gives the lease that went with it; says whether somebody may stop waiting.
    pub(super) fn close(&mut self, owner: &Owner) -> (Option<LeaseId>, bool) {
        let Some(at) = self.keepers.iter().position(|keeper| keeper.is_of(owner)) else {
            return (None, false);
        };
        let keeper = &mut self.keepers[at];
        keeper.opens.retain(|open| **open != *owner);
        if !keeper.opens.is_empty() {
            return (None, false);
        }
        let keeper = self.keepers.remove(at);
        (keeper.lease, keeper.breaking.is_some())
    }
}

impl Caches {
    /// Gives an open what it kept elsewhere. All opens of a lease share it.
    pub(super) fn adopt(&mut self, owner: &Arc<Owner>, kept: &Kept, holder: Arc<dyn Holder>) {
        let Kept { lease, state, epoch } = *kept;
        if let Some(keeper) = self.keepers.iter_mut().find(|keeper| keeper.is(lease)) {
            return keeper.opens.push(Arc::clone(owner));
        }
        if lease.is_some() || state != Caching::NONE {
            let opens = vec![Arc::clone(owner)];
            self.keepers.push(Keeper { lease, opens, state, breaking: None, epoch, holder });
        }
    }

    /// An open's client is to be told in another way from now on; gives what it keeps.
    pub(super) fn reattach(&mut self, owner: &Owner, holder: Arc<dyn Holder>) -> Option<Granted> {
        let keeper = self.keepers.iter_mut().find(|keeper| keeper.is_of(owner))?;
        keeper.holder = holder;
        Some(Granted { state: keeper.state, epoch: keeper.epoch, breaking: keeper.breaking.is_some() })
    }
}

impl Keeper {
    /// What is kept and nobody has asked for; nothing while something is being given up.
    pub(super) fn at_rest(&self) -> Caching {
        if self.breaking.is_some() { Caching::NONE } else { self.state }
    }

    /// What is kept.
    pub(super) fn state(&self) -> Caching {
        self.state
    }

    pub(super) fn epoch(&self) -> Option<u16> {
        self.epoch
    }
}
