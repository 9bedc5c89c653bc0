//! What one owner holds of one file, taken out of one table to be put into another: for protocols whose clients keep only some of
//! what they hold when their connection is lost, and themselves say which.

use super::caching::{Caching, Holder, LeaseId};
use super::locks::Held;
use super::owner::{ByteRange, FileKey, Owner};
use super::shares::{Access, Share};
use super::table::Table;
use super::{Full, Limits, LockTable};
use std::sync::Arc;

/// A reservation with all that goes with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holdings {
    /// What the owner does with the file.
    pub access: Access,
    /// What others may not do meanwhile.
    pub deny: Access,
    /// Since when, in seconds since 1970.
    pub since_s: u64,
    /// The owner looks at attributes only, and is in nobody's way.
    pub looks_only: bool,
    /// Byte-range locks.
    pub locks: Vec<HeldRange>,
    /// What its client keeps of the file, and nobody has asked for.
    pub caching: Option<Kept>,
}

/// A byte-range lock, without its owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeldRange {
    /// Which bytes.
    pub range: ByteRange,
    /// Nobody else may hold a lock on them.
    pub exclusive: bool,
    /// Since when, in seconds since 1970.
    pub since_s: u64,
}

/// A lease, or an oplock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kept {
    /// `None`: an oplock.
    pub lease: Option<LeaseId>,
    /// What is kept.
    pub state: Caching,
    /// Counts a lease's changes, where the client does.
    pub epoch: Option<u16>,
}

/// Why holdings can't be put into a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AdoptError {
    /// Somebody has what they are in the way of.
    #[error("somebody else holds what is in the way")]
    Conflict,
    /// No room.
    #[error(transparent)]
    Full(#[from] Full),
}

impl Table {
    fn holdings(&self, file: FileKey, owner: &Owner) -> Option<Holdings> {
        let state = self.files.get(&file)?;
        let share = state.shares.held.iter().find(|share| *share.owner == *owner)?;
        let mine = state.locks.all().iter().filter(|held| *held.owner == *owner);
        let range =
            |held: &Held| HeldRange { range: held.range, exclusive: held.exclusive, since_s: held.since_s };
        let keeper = state.caches.of(owner);
        let kept =
            keeper.map(|keeper| Kept { lease: keeper.lease, state: keeper.at_rest(), epoch: keeper.epoch() });
        Some(Holdings {
            access: share.access,
            deny: share.deny,
            since_s: share.since_s,
            looks_only: share.looks_only,
            locks: mine.map(range).collect(),
            caching: kept,
        })
    }

    fn adopt(
        &mut self,
        file: FileKey,
        owner: Owner,
        holdings: Holdings,
        holder: Arc<dyn Holder>,
        limits: &Limits,
    ) -> Result<(), AdoptError> {
        let Holdings { access, deny, since_s, looks_only, locks, caching } = holdings;
        let owner = self.admit(owner, limits)?;
        if self.is_in_way(file, &owner, access, deny, &locks, caching.as_ref()) {
            return Err(AdoptError::Conflict);
        }
        self.room(&owner.client, limits)?;
        let share = Share { owner: Arc::clone(&owner), access, deny, incarnation: 0, since_s, looks_only };
        self.put_share(file, share);
        // Where several begin at one byte, the newest comes first.
        for HeldRange { range, exclusive, since_s } in locks.into_iter().rev() {
            if let Err(full) = self.room(&owner.client, limits) {
                self.close(file, &owner);
                return Err(full.into());
            }
            let held = Held { range, exclusive, owner: Arc::clone(&owner), incarnation: 0, since_s };
            let client = Arc::clone(&owner.client);
            self.change_locks(file, &client, |locks| locks.set(held));
        }
        if let Some(kept) = caching {
            let caches = &mut self.files.entry(file).or_default().caches;
            let before = caches.len();
            caches.adopt(&owner, &kept, holder);
            self.keepers += caches.len() - before;
            if let Some(lease) = kept.lease {
                self.leases.insert(lease, file);
            }
        }
        Ok(())
    }

    /// Whether others hold what keeps the owner from having it all, or the owner has some of it.
    fn is_in_way(
        &self,
        file: FileKey,
        owner: &Owner,
        access: Access,
        deny: Access,
        locks: &[HeldRange],
        caching: Option<&Kept>,
    ) -> bool {
        let lease = caching.and_then(|kept| kept.lease);
        if lease.and_then(|lease| self.leases.get(&lease)).is_some_and(|other| *other != file) {
            return true;
        }
        let Some(state) = self.files.get(&file) else { return false };
        state.delete_pending
            || state.shares.held.iter().any(|share| *share.owner == *owner)
            || state.shares.conflict(owner, access, deny).is_some()
            || locks
                .iter()
                .any(|lock| state.locks.conflicts(owner, lock.range, lock.exclusive).next().is_some())
    }
}

impl LockTable {
    /// All that an owner holds of a file; `None`: no reservation. Freeze the vserver first.
    pub fn holdings(&self, file: FileKey, owner: &Owner) -> Option<Holdings> {
        self.table.lock().holdings(file, owner)
    }

    /// Gives an owner what [`LockTable::holdings`] found elsewhere; `holder` is told of breaks.
    ///
    /// # Errors
    /// [`AdoptError`]; the owner has nothing then.
    pub fn adopt(
        &self,
        file: FileKey,
        owner: Owner,
        holdings: Holdings,
        holder: Arc<dyn Holder>,
    ) -> Result<(), AdoptError> {
        self.change(|table| {
            let outcome = table.adopt(file, owner, holdings, holder, &self.limits);
            table.tidy(file);
            outcome
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::caching::{Break, CachingRequest};
    use super::super::{Client, LockOutcome, LockRequest, OpenRequest, Opening, Protocol, Touch};
    use super::*;
    use crate::handle::VolumeId;
    use fsstore::{FileId, Generation, InodeNum, SnapshotId};
    use std::net::Ipv4Addr;

    #[derive(Debug)]
    struct Nobody;

    impl Holder for Nobody {
        fn tell(&self, _: Break) {}
    }

    fn file(ino: u64) -> FileKey {
        let file = FileId { ino: InodeNum(ino), generation: Generation(1), snapshot: SnapshotId::ACTIVE };
        FileKey { volume: VolumeId(1), file }
    }

    fn owner(number: u8) -> Owner {
        let address = Ipv4Addr::LOCALHOST.into();
        let client = Client { protocol: Protocol::Smb2, address, name: Box::default() };
        Owner { client: Arc::new(client), id: Box::new([number]) }
    }

    fn lease(key: u8) -> LeaseId {
        LeaseId { client: [1; 16], key: [key; 16] }
    }

    fn open(table: &LockTable, number: u8, deny: Access) {
        let caching = CachingRequest {
            lease: Some(lease(1)),
            wanted: Caching::ALL,
            epoch: Some(4),
            holder: Arc::new(Nobody),
        };
        let request = OpenRequest {
            file: file(1),
            owner: owner(number),
            access: Access::from_bits(3),
            deny,
            now_s: 77,
            touch: Touch::Contents,
            overwrites: false,
            again: false,
            caching: Some(caching),
        };
        assert!(matches!(table.open(request), Ok(Opening::Opened(_))));
    }

    fn lock(table: &LockTable, number: u8, range: ByteRange, exclusive: bool) -> LockOutcome {
        let request = LockRequest {
            file: file(1),
            owner: owner(number),
            range,
            exclusive,
            incarnation: 0,
            now_s: 78,
            wait: None,
        };
        table.lock(request).unwrap()
    }

    #[test]
    fn what_is_held_here_is_held_there_and_as_much_in_the_way() {
        let (here, there) = (LockTable::default(), LockTable::default());
        open(&here, 1, Access::default());
        open(&here, 2, Access::default());
        let ranges =
            [(ByteRange::new(0, 10), true), (ByteRange::new(0, 5), false), (ByteRange::empty(20), true)];
        for (range, exclusive) in ranges {
            assert_eq!(lock(&here, 1, range, exclusive), LockOutcome::Granted);
        }
        for number in [1, 2] {
            let holdings = here.holdings(file(1), &owner(number)).unwrap();
            there.adopt(file(1), owner(number), holdings, Arc::new(Nobody)).unwrap();
        }
        for number in [1, 2] {
            let same = there.holdings(file(1), &owner(number));
            assert_eq!(same, here.holdings(file(1), &owner(number)), "{number}");
        }
        assert_eq!(there.counts(), here.counts());
        assert_eq!(there.lease_file(lease(1)), Some(file(1)));
        assert!(there.is_anything_cached() && there.is_anything_open());
        let granted = there.reattach(file(1), &owner(2), Arc::new(Nobody)).unwrap();
        assert_eq!((granted.state, granted.epoch), (Caching::ALL, Some(5)));
        assert!(matches!(lock(&there, 3, ByteRange::new(9, 1), false), LockOutcome::Denied(_)));
        for number in [1, 2] {
            there.close(file(1), &owner(number));
        }
        assert_eq!(there.counts(), crate::openstate::Counts::default());
        assert_eq!(there.lease_file(lease(1)), None);
    }

    #[test]
    fn what_others_have_is_not_taken_from_them() {
        let here = LockTable::default();
        open(&here, 1, Access::from_bits(2));
        assert_eq!(lock(&here, 1, ByteRange::new(0, 10), true), LockOutcome::Granted);
        let holdings = here.holdings(file(1), &owner(1)).unwrap();
        let adopt = |table: &LockTable, holdings: Holdings| {
            let before = table.counts();
            let outcome = table.adopt(file(1), owner(1), holdings, Arc::new(Nobody));
            assert_eq!(outcome, Err(AdoptError::Conflict));
            assert_eq!(table.counts(), before);
        };
        // Itself, another's lock, another's access, its lease on another file.
        adopt(&here, holdings.clone());
        let there = LockTable::default();
        assert_eq!(lock(&there, 2, ByteRange::new(5, 1), false), LockOutcome::Granted);
        adopt(&there, holdings.clone());
        let there = LockTable::default();
        open(&there, 2, Access::default());
        adopt(&there, holdings.clone());
        let there = LockTable::default();
        let elsewhere = Holdings { locks: Vec::new(), deny: Access::default(), ..holdings.clone() };
        there.adopt(file(2), owner(3), elsewhere, Arc::new(Nobody)).unwrap();
        adopt(&there, holdings.clone());
        // There is room for the reservation and not for the lock.
        let there = LockTable::new(Limits { held_max: 1, ..Limits::default() });
        let full = there.adopt(file(1), owner(1), holdings, Arc::new(Nobody));
        assert_eq!(full, Err(AdoptError::Full(Full)));
        assert_eq!(there.counts(), crate::openstate::Counts::default());
    }
}
