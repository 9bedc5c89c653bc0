//! The byte-range locks of one file: which conflict, and how those of one owner split and merge (POSIX fcntl). Knows
//! nothing of limits and of who waits.

use super::owner::{ByteRange, Owner};
use std::sync::Arc;

/// A lock that is held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    /// Which bytes.
    pub range: ByteRange,
    /// Nobody else may hold a lock on them, or only nobody else an exclusive one.
    pub exclusive: bool,
    /// By whom.
    pub owner: Arc<Owner>,
    /// Which life of the client it belongs to, as the protocol counts them; 0 where it does not.
    pub incarnation: u32,
    /// Since when, in seconds since 1970.
    pub since_s: u64,
}

/// The locks of one file, by first byte. Those of one owner never overlap, but where its protocol stacks them.
#[derive(Debug, Default)]
pub(super) struct Locks {
    held: Vec<Held>,
}

impl Locks {
    pub(super) fn all(&self) -> &[Held] {
        &self.held
    }

    /// Locks that keep `owner` from having this one: others'; and where they stack, its own keep it from an exclusive one.
    pub(super) fn conflicts<'a>(
        &'a self,
        owner: &'a Owner,
        range: ByteRange,
        exclusive: bool,
    ) -> impl Iterator<Item = &'a Held> {
        let end = self.held.partition_point(|held| held.range.first <= range.last);
        self.held[..end].iter().filter(move |held| {
            (held.exclusive || exclusive)
                && held.range.overlaps(range)
                && (*held.owner != *owner || exclusive && owner.stacks_locks())
        })
    }

    /// The lock that keeps `owner` from reading or writing bytes: another's exclusive one, and for a write anybody's shared one.
    pub(super) fn barring(&self, owner: &Owner, range: ByteRange, writes: bool) -> Option<&Held> {
        let bars = |held: &Held| if held.exclusive { *held.owner != *owner } else { writes };
        self.held.iter().find(|held| held.range.overlaps(range) && bars(held))
    }

    /// The owner's own locks in `range`.
    pub(super) fn of<'a>(&'a self, owner: &'a Owner, range: ByteRange) -> impl Iterator<Item = &'a Held> {
        self.held.iter().filter(move |held| held.range.overlaps(range) && *held.owner == *owner)
    }

    /// Whether the owner has a lock of just this range.
    pub(super) fn has(&self, owner: &Owner, range: ByteRange) -> bool {
        self.held.iter().any(|held| held.range == range && *held.owner == *owner)
    }

    /// Whether [`Locks::clear`] would leave more locks than there are.
    pub(super) fn clear_splits(&self, owner: &Owner, range: ByteRange) -> bool {
        !owner.stacks_locks()
            && self
                .of(owner, range)
                .any(|held| held.range.first < range.first && held.range.last > range.last)
    }

    /// Gives the lock to its owner, in place of what that has in the range. The caller has seen to conflicts.
    pub(super) fn set(&mut self, mut new: Held) {
        if new.owner.stacks_locks() {
            return self.insert(new);
        }
        self.clear(&new.owner, new.range);
        let mergeable = |held: &Held| {
            held.exclusive == new.exclusive
                && held.incarnation == new.incarnation
                && *held.owner == *new.owner
                && held.range.touches(new.range)
        };
        let mut range = new.range;
        let mut since_s = new.since_s;
        self.held.retain(|held| {
            let merged = mergeable(held);
            if merged {
                range.first = range.first.min(held.range.first);
                range.last = range.last.max(held.range.last);
                since_s = since_s.min(held.since_s);
            }
            !merged
        });
        new.range = range;
        new.since_s = since_s;
        self.insert(new);
    }

    /// Takes `range` from what the owner has; where its locks stack, the one of just this range.
    pub(super) fn clear(&mut self, owner: &Owner, range: ByteRange) {
        if owner.stacks_locks() {
            let place = |exclusive_only: bool| {
                let is_it = |held: &Held| {
                    held.range == range && *held.owner == *owner && (held.exclusive || !exclusive_only)
                };
                self.held.iter().position(is_it)
            };
            // An exclusive one goes before shared ones that stand on it.
            let one = place(true).or_else(|| place(false));
            one.map(|at| self.held.remove(at));
            return;
        }
        let mut rests = Vec::new();
        self.held.retain(|held| {
            let hit = held.range.overlaps(range) && *held.owner == *owner;
            if hit && held.range.first < range.first {
                let rest = ByteRange { first: held.range.first, last: range.first - 1 };
                rests.push(Held { range: rest, ..held.clone() });
            }
            if hit && held.range.last > range.last {
                let rest = ByteRange { first: range.last + 1, last: held.range.last };
                rests.push(Held { range: rest, ..held.clone() });
            }
            !hit
        });
        rests.into_iter().for_each(|rest| self.insert(rest));
    }

    /// Drops all locks for which `drop` says so.
    pub(super) fn drop_where(&mut self, drop: impl Fn(&Held) -> bool) {
        self.held.retain(|held| !drop(held));
    }

    fn insert(&mut self, new: Held) {
        let at = self.held.partition_point(|held| held.range.first < new.range.first);
        self.held.insert(at, new);
    }
}
