//! What locks mean, case by case; and at random against a model that knows of every byte who has it.

use super::*;
use fsstore::{FileId, Generation, InodeNum, SnapshotId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

fn file(number: u64) -> FileKey {
    let file = FileId { ino: InodeNum(number), generation: Generation(1), snapshot: SnapshotId(0) };
    FileKey { volume: crate::handle::VolumeId(7), file }
}

fn client(number: u8) -> Client {
    Client { protocol: Protocol::Nlm, address: [10, 0, 0, number].into(), name: Box::from([b'c', number]) }
}

fn owner(number: u8) -> Owner {
    Owner { client: Arc::new(client(number / 4)), id: Box::from([number]) }
}

fn request(who: u8, range: ByteRange, exclusive: bool, wait: bool) -> LockRequest {
    LockRequest {
        file: file(1),
        owner: owner(who),
        range,
        exclusive,
        incarnation: 1,
        now_s: 5,
        wait: wait.then(|| Wait::Told(Box::from([who]))),
    }
}

fn lock(table: &LockTable, who: u8, first: u64, len: u64, exclusive: bool) -> bool {
    let outcome = table.lock(request(who, ByteRange::new(first, len), exclusive, false)).unwrap();
    outcome == LockOutcome::Granted
}

fn wait(table: &LockTable, who: u8, first: u64, len: u64, exclusive: bool) -> LockOutcome {
    table.lock(request(who, ByteRange::new(first, len), exclusive, true)).unwrap()
}

fn unlock(table: &LockTable, who: u8, first: u64, len: u64) {
    table.unlock(file(1), &owner(who), ByteRange::new(first, len)).unwrap();
}

/// (first, last, exclusive) of the owner's locks, in order.
fn has(table: &LockTable, who: u8) -> Vec<(u64, u64, bool)> {
    let who = owner(who);
    let mut all: Vec<_> = table
        .entries(usize::MAX)
        .into_iter()
        .filter_map(|(_, entry)| match entry {
            Entry::Lock(held) if *held.owner == who => {
                Some((held.range.first, held.range.last, held.exclusive))
            }
            _ => None,
        })
        .collect();
    all.sort_unstable();
    all
}

fn told(table: &LockTable) -> Vec<u8> {
    std::iter::from_fn(|| table.take_grant()).map(|grant| grant.return_path[0]).collect()
}

#[test]
fn shared_locks_go_together_and_exclusive_ones_alone() {
    let table = LockTable::default();
    assert!(lock(&table, 0, 0, 10, false));
    assert!(lock(&table, 1, 5, 10, false));
    assert!(!lock(&table, 2, 9, 1, true));
    assert!(lock(&table, 2, 15, 0, true));
    assert!(!lock(&table, 0, u64::MAX, 1, false));
    let denied = table.test(file(1), &owner(2), ByteRange::new(14, 1), true).unwrap();
    assert_eq!((denied.range, *denied.owner == owner(1)), (ByteRange::new(5, 10), true));
    assert_eq!(table.test(file(2), &owner(2), ByteRange::new(14, 1), true), None);
}

#[test]
fn an_owners_ranges_split_merge_and_change_kind() {
    let table = LockTable::default();
    assert!(lock(&table, 0, 0, 0, true));
    unlock(&table, 0, 10, 10);
    assert_eq!(has(&table, 0), [(0, 9, true), (20, u64::MAX, true)]);
    assert!(lock(&table, 0, 5, 20, false));
    assert_eq!(has(&table, 0), [(0, 4, true), (5, 24, false), (25, u64::MAX, true)]);
    assert!(lock(&table, 0, 5, 20, true));
    assert_eq!(has(&table, 0), [(0, u64::MAX, true)]);
    unlock(&table, 0, 0, 0);
    assert_eq!((has(&table, 0), table.counts()), (vec![], Counts::default()));
}

#[test]
fn those_who_wait_get_the_lock_in_their_order_each_as_soon_as_it_can() {
    let table = LockTable::default();
    assert!(lock(&table, 0, 0, 10, true));
    assert_eq!(wait(&table, 1, 0, 5, true), LockOutcome::Waiting);
    assert_eq!(wait(&table, 2, 0, 10, false), LockOutcome::Waiting);
    assert_eq!(wait(&table, 3, 5, 5, false), LockOutcome::Waiting);
    // It asks again: no second place.
    assert_eq!(wait(&table, 1, 0, 5, true), LockOutcome::Waiting);
    assert_eq!(table.counts().waiting, 3);
    unlock(&table, 0, 0, 10);
    assert_eq!(told(&table), [1, 3]);
    unlock(&table, 1, 0, 5);
    assert_eq!(told(&table), [2]);
    assert_eq!(table.counts(), Counts { locks: 2, shares: 0, waiting: 0, clients: 1 });
}

#[test]
fn a_request_that_waits_can_be_taken_back_also_just_after_it_was_granted() {
    let table = LockTable::default();
    let range = ByteRange::new(0, 1);
    assert!(lock(&table, 0, 0, 1, true));
    wait(&table, 1, 0, 1, true);
    wait(&table, 2, 0, 1, true);
    assert!(table.cancel(file(1), &owner(2), range, true));
    wait(&table, 3, 0, 1, true);
    unlock(&table, 0, 0, 1);
    assert_eq!(told(&table), [1]);
    assert!(table.cancel(file(1), &owner(1), range, true));
    let grant = table.take_grant().unwrap();
    assert_eq!(has(&table, 3), [(0, 0, true)]);
    table.settle(grant.id);
    // Too late: it has to unlock.
    assert!(!table.cancel(file(1), &owner(3), range, true));
    assert!(table.cancel(file(1), &owner(2), range, true));
}

#[test]
fn a_grant_that_is_not_wanted_goes_to_the_next_unless_its_owner_was_heard_of() {
    let table = LockTable::default();
    assert!(lock(&table, 0, 0, 9, true));
    wait(&table, 1, 0, 9, true);
    wait(&table, 2, 0, 9, true);
    unlock(&table, 0, 0, 9);
    let grant = table.take_grant().unwrap();
    // The client asks again before it was told: it has the lock, whatever it says to the message that is under way.
    assert_eq!(wait(&table, 1, 0, 9, true), LockOutcome::Granted);
    assert!(!table.is_untold(grant.id));
    table.give_back(grant.id);
    assert_eq!(has(&table, 1), [(0, 8, true)]);
    unlock(&table, 1, 0, 9);
    let grant = table.take_grant().unwrap();
    table.give_back(grant.id);
    assert_eq!(table.counts(), Counts::default());
}

#[test]
fn whoever_tells_of_grants_may_go_away_and_another_begins_again() {
    let table = LockTable::default();
    assert!(lock(&table, 0, 0, 9, true));
    wait(&table, 1, 0, 9, true);
    unlock(&table, 0, 0, 9);
    let first = table.take_grant().unwrap();
    assert!(!first.told_before);
    assert_eq!(table.take_grant(), None);
    table.tell_all_again();
    let again = table.take_grant().unwrap();
    assert!(again.told_before && again.id == first.id);
}

#[tokio::test]
async fn a_grant_wakes_the_one_who_tells() {
    let table = Arc::new(LockTable::default());
    assert!(lock(&table, 0, 0, 9, true));
    wait(&table, 1, 0, 9, true);
    let telling = tokio::spawn({
        let table = Arc::clone(&table);
        async move { table.next_grant().await }
    });
    tokio::task::yield_now().await;
    unlock(&table, 0, 0, 9);
    let grant = tokio::time::timeout(Duration::from_secs(5), telling).await.unwrap().unwrap();
    assert_eq!(grant.lock.range, ByteRange::new(0, 9));
}

#[test]
fn a_circle_of_owners_that_wait_is_refused() {
    let table = LockTable::default();
    for who in 0..3 {
        assert!(lock(&table, who, u64::from(who), 1, true));
    }
    assert_eq!(wait(&table, 0, 1, 1, true), LockOutcome::Waiting);
    assert_eq!(wait(&table, 1, 2, 1, true), LockOutcome::Waiting);
    assert_eq!(wait(&table, 2, 0, 1, true), LockOutcome::Deadlock);
    assert_eq!(wait(&table, 3, 0, 1, true), LockOutcome::Waiting);
}

#[test]
fn a_client_that_goes_leaves_nothing_but_what_is_of_its_new_life() {
    let table = LockTable::default();
    assert!(lock(&table, 0, 0, 1, true));
    assert!(lock(&table, 4, 1, 1, true));
    let newer = LockRequest { incarnation: 3, ..request(0, ByteRange::new(8, 1), true, false) };
    assert_eq!(table.lock(newer), Ok(LockOutcome::Granted));
    wait(&table, 1, 1, 1, true);
    wait(&table, 5, 0, 1, true);
    let access = Access::from_bits(1);
    let share =
        ShareRequest { file: file(9), owner: owner(2), access, deny: access, incarnation: 1, now_s: 1 };
    assert_eq!(table.share(share), Ok(None));
    assert_eq!(table.release(|other| *other == client(0), Some(3)), 2);
    assert_eq!(told(&table), [5]);
    assert_eq!(
        (has(&table, 0), has(&table, 4), has(&table, 5)),
        (vec![(8, 8, true)], vec![(1, 1, true)], vec![(0, 0, true)])
    );
    assert_eq!(table.counts(), Counts { locks: 3, shares: 0, waiting: 0, clients: 2 });
    assert_eq!(table.release(|_| true, None), 3);
    assert_eq!(table.counts(), Counts::default());
}

#[test]
fn share_reservations_deny_what_they_say() {
    let table = LockTable::default();
    let share = |who: u8, access: u32, deny: u32| {
        let (access, deny) = (Access::from_bits(access), Access::from_bits(deny));
        let asked = ShareRequest { file: file(1), owner: owner(who), access, deny, incarnation: 0, now_s: 0 };
        table.share(asked).unwrap().is_none()
    };
    assert!(share(0, 1, 2));
    assert!(share(1, 1, 0));
    assert!(!share(2, 2, 0), "0 denies writing");
    assert!(!share(2, 1, 1), "0 and 1 read");
    assert!(share(0, 3, 0), "one's own is replaced");
    assert!(share(2, 2, 0));
    assert!(table.unshare(file(1), &owner(0)).had && !table.unshare(file(1), &owner(0)).had);
    assert!(!share(3, 1, 2));
}

#[test]
fn a_file_that_is_to_go_goes_with_the_last_of_those_who_have_it_open() {
    let table = LockTable::default();
    let smb = |who: u8| {
        let client = Client { protocol: Protocol::Smb2, ..(*owner(who).client).clone() };
        Owner { client: Arc::new(client), id: Box::from([who]) }
    };
    let open = |owner: Owner| {
        let (access, deny) = (Access { read: true, ..Access::default() }, Access::default());
        table.share(ShareRequest { file: file(1), owner, access, deny, incarnation: 0, now_s: 0 }).unwrap()
    };
    table.set_delete_pending(file(1), true);
    assert!(!table.is_delete_pending(file(1)), "nobody has it open");
    assert!(open(smb(0)).is_none() && open(smb(1)).is_none() && open(owner(2)).is_none());
    table.set_delete_pending(file(1), true);
    assert!(table.is_delete_pending(file(1)));
    assert_eq!(table.close(file(1), &smb(0)), Unshared { had: true, delete: false });
    assert_eq!(
        table.close(file(1), &smb(1)),
        Unshared { had: true, delete: true },
        "an NLM share keeps no file"
    );
    assert!(!table.is_delete_pending(file(1)));
    assert_eq!(table.close(file(1), &smb(1)), Unshared::default());
}

#[test]
fn locks_of_smb_stand_beside_one_another() {
    let table = LockTable::default();
    let smb = |who: u8| {
        let client = Client { protocol: Protocol::Smb2, ..client(who) };
        Owner { client: Arc::new(client), id: Box::from([who]) }
    };
    let lock = |who: u8, first: u64, len: u64, exclusive: bool| {
        let request = request(who, ByteRange::new(first, len), exclusive, false);
        table.lock(LockRequest { owner: smb(who), ..request }).unwrap() == LockOutcome::Granted
    };
    let bars = |who: u8, first: u64, writes: bool| {
        table.barring(file(1), &smb(who), ByteRange::new(first, 1), writes).is_some()
    };
    assert!(lock(0, 0, 10, false) && lock(0, 0, 10, false) && lock(0, 5, 10, false));
    assert!(!lock(0, 9, 1, true), "its own lock is in the way");
    assert!(lock(0, 20, 10, true) && !lock(0, 20, 10, true) && !lock(0, 25, 1, false));
    assert!(bars(0, 0, true) && !bars(0, 0, false), "a shared lock keeps its owner from writing");
    assert!(!bars(0, 20, true) && bars(1, 20, false));
    let range = ByteRange::new(0, 10);
    assert!(!table.holds(file(1), &smb(0), ByteRange::new(0, 5)), "none is just this one");
    for _ in 0..2 {
        assert!(table.holds(file(1), &smb(0), range));
        table.unlock(file(1), &smb(0), range).unwrap();
    }
    assert!(!table.holds(file(1), &smb(0), range));
    assert_eq!(table.counts().locks, 2);
    table.close(file(1), &smb(0));
    assert_eq!((table.counts().locks, table.counts().clients), (0, 0));
}

#[test]
fn what_ends_with_its_connection_does_not_move() {
    let table = LockTable::default();
    let client = Arc::new(Client { protocol: Protocol::Smb2, ..(*owner(0).client).clone() });
    let smb = Owner { client, id: Box::from([0]) };
    let access = Access::from_bits(7);
    for owner in [smb, owner(1)] {
        let asked = ShareRequest {
            file: file(1),
            owner: owner.clone(),
            access,
            deny: Access::default(),
            incarnation: 0,
            now_s: 0,
        };
        assert_eq!(table.share(asked), Ok(None));
        assert_eq!(
            table.lock(LockRequest { owner, ..request(0, ByteRange::new(0, 5), false, false) }),
            Ok(LockOutcome::Granted)
        );
    }
    let moved = LockTable::default();
    moved.import(&table.export()).unwrap();
    assert_eq!((table.counts().locks, table.counts().shares), (2, 2));
    assert_eq!((moved.counts().locks, moved.counts().shares, moved.counts().clients), (1, 1, 1));
}

#[test]
fn numbers_are_bounded() {
    let limits = Limits {
        held_max: 6,
        held_per_client_max: 4,
        waiting_max: 3,
        waiting_per_client_max: 2,
        clients_max: 2,
        owner_bytes_max: 6,
    };
    let table = LockTable::new(limits);
    let try_lock =
        |who: u8, first: u64, waits: bool| table.lock(request(who, ByteRange::new(first, 1), true, waits));
    for first in 0..4 {
        assert_eq!(try_lock(0, first * 2, false), Ok(LockOutcome::Granted));
    }
    assert_eq!(try_lock(1, 100, false), Err(Full), "one client's locks");
    assert_eq!(try_lock(0, 2, false), Ok(LockOutcome::Granted), "it has that one");
    assert_eq!(try_lock(4, 20, false), Ok(LockOutcome::Granted));
    assert_eq!(try_lock(8, 30, false), Err(Full), "a third client");
    assert_eq!(try_lock(4, 22, false), Ok(LockOutcome::Granted));
    assert_eq!(try_lock(4, 24, false), Err(Full), "all locks");
    assert_eq!(try_lock(4, 0, true), Err(Full), "all locks, as it would have one");
    unlock(&table, 0, 4, 3);
    assert_eq!(try_lock(4, 0, true), Ok(LockOutcome::Waiting));
    assert_eq!(try_lock(4, 2, true), Ok(LockOutcome::Waiting));
    assert_eq!(try_lock(5, 2, true), Err(Full), "one client's waiting");
    // Unlocking the middle of a lock makes two of it.
    unlock(&table, 0, 0, 7);
    unlock(&table, 4, 0, 7);
    let wide = table.lock(request(1, ByteRange::new(200, 3), true, false));
    assert_eq!(wide, Ok(LockOutcome::Granted));
    for first in [210, 212, 214] {
        try_lock(1, first, false).unwrap();
    }
    assert_eq!(table.unlock(file(1), &owner(1), ByteRange::new(201, 1)), Err(Full));
    table.release(|_| true, None);
    let long = Owner { id: Box::from([1; 7]), ..owner(9) };
    assert_eq!(
        table.lock(LockRequest { owner: long, ..request(0, ByteRange::new(0, 1), true, false) }),
        Err(Full)
    );
    assert_eq!(try_lock(9, 0, false), Ok(LockOutcome::Granted));
    table.forget_volume(file(1).volume);
    assert_eq!(table.counts(), Counts::default());
}

/// Whoever waits will hold: locks that were waited for must find room, and another node must take them all.
#[test]
fn locks_that_were_waited_for_are_bounded_too() {
    let limits = Limits { held_max: 20, held_per_client_max: 20, clients_max: 3, ..Limits::default() };
    let table = LockTable::new(limits);
    let all = ByteRange::new(0, 0);
    let try_lock = |number: u64, who: u8, range: ByteRange, waits: bool| {
        table.lock(LockRequest { file: file(number), ..request(who, range, true, waits) })
    };
    for number in 0..10 {
        assert_eq!(try_lock(number, 0, all, false), Ok(LockOutcome::Granted));
    }
    for number in 0..10 {
        for first in 0..5 {
            let _ = try_lock(number, 4, ByteRange::new(first * 2, 1), true);
        }
        table.unlock(file(number), &owner(0), all).unwrap();
        assert!(table.counts().locks <= limits.held_max, "{:?}", table.counts());
    }
    // With the last one that was unlocked one place is free.
    assert_eq!(try_lock(50, 0, all, false), Ok(LockOutcome::Granted));
    assert_eq!(try_lock(51, 0, all, false), Err(Full));
    table.release(|_| true, None);
    assert_eq!(try_lock(1, 0, all, false), Ok(LockOutcome::Granted));
    assert_eq!(try_lock(1, 4, all, true), Ok(LockOutcome::Waiting));
    assert_eq!(try_lock(1, 8, all, true), Ok(LockOutcome::Waiting));
    assert_eq!(try_lock(1, 12, all, true), Err(Full), "a fourth client");
    let elsewhere = LockTable::new(limits);
    elsewhere.import(&table.export()).unwrap();
    assert_eq!(elsewhere.counts(), table.counts());
}

#[test]
fn open_state_reads_back_and_damage_is_refused() {
    let table = LockTable::default();
    assert!(lock(&table, 0, 0, 0, true));
    unlock(&table, 0, 5, 5);
    assert!(lock(&table, 4, 5, 2, false));
    wait(&table, 5, 5, 5, true);
    wait(&table, 8, 0, 1, true);
    let access = Access::from_bits(3);
    let share =
        ShareRequest { file: file(2), owner: owner(2), access, deny: access, incarnation: 1, now_s: 1 };
    table.share(share).unwrap();
    unlock(&table, 0, 0, 5);
    let exported = table.export();
    let copy = LockTable::default();
    copy.import(&exported).unwrap();
    let sorted = |table: &LockTable| {
        let mut all: Vec<_> = table.entries(100).iter().map(|entry| format!("{entry:?}")).collect();
        all.sort();
        all
    };
    assert_eq!(sorted(&copy), sorted(&table));
    assert_eq!(copy.counts(), table.counts());
    // Who was granted a lock and may not know is told again; who waits goes on waiting.
    assert_eq!(told(&copy), [8]);
    unlock(&copy, 4, 5, 2);
    assert_eq!(told(&copy), [5]);
    for len in 0..exported.len() {
        assert!(LockTable::default().import(&exported[..len]).is_err(), "{len} bytes");
    }
    for at in 0..exported.len() {
        let mut bad = exported.clone();
        bad[at] ^= 0xff;
        let _ = LockTable::default().import(&bad);
    }
}

#[tokio::test]
async fn watched_clients_are_noted_before_they_have_locks_and_forgotten_when_they_have_none() {
    #[derive(Default)]
    struct Notes(Mutex<Vec<String>>);
    impl WatchJournal for Notes {
        fn add(&self, client: WatchedClient) -> WatchFuture<'_> {
            let full = client.name.as_ref() == b"broken";
            self.0.lock().push(format!("+{}", client.client));
            Box::pin(async move { if full { Err("no space".to_owned()) } else { Ok(()) } })
        }
        fn remove(&self, clients: Vec<WatchedClient>) -> WatchFuture<'_> {
            self.0.lock().extend(clients.iter().map(|client| format!("-{}", client.client)));
            Box::pin(async { Ok(()) })
        }
    }
    let notes = Arc::new(Notes::default());
    let watched = WatchedClients::default();
    watched.set_journal(Arc::clone(&notes) as _);
    let one = |number: u8| WatchedClient {
        client: [10, 0, 0, number].into(),
        local: [10, 0, 1, 1].into(),
        name: client(number).name,
    };
    for _ in 0..3 {
        watched.watch(&one(1)).await.unwrap();
    }
    watched.watch(&one(2)).await.unwrap();
    let broken = WatchedClient { name: (*b"broken").into(), ..one(3) };
    assert!(watched.watch(&broken).await.is_err());
    assert!(watched.is_watched(&client(1)) && !watched.is_watched(&client(3)));
    tokio::time::sleep(Duration::from_millis(60)).await;
    watched.forget_idle_for(Duration::from_millis(50), |other| *other == client(2)).await;
    assert_eq!(*notes.0.lock(), ["+10.0.0.1", "+10.0.0.2", "+10.0.0.3", "-10.0.0.1"]);
    assert_eq!(watched.all(), [one(2)]);
}

/// Bytes of the model's file; all that come after them are one more.
const BYTES: u64 = 24;
const OWNERS: u8 = 6;

/// Who has each byte, and how.
#[derive(Default)]
struct Model {
    bytes: Vec<BTreeMap<u8, bool>>,
    waiting: Vec<(u8, ByteRange, bool)>,
}

impl Model {
    fn span(range: ByteRange) -> std::ops::Range<usize> {
        let last = range.last.min(BYTES);
        usize::try_from(range.first).unwrap()..usize::try_from(last).unwrap() + 1
    }

    fn free(&self, who: u8, range: ByteRange, exclusive: bool) -> bool {
        self.bytes[Self::span(range)]
            .iter()
            .all(|byte| byte.iter().all(|(other, theirs)| *other == who || !(*theirs || exclusive)))
    }

    fn set(&mut self, who: u8, range: ByteRange, kind: Option<bool>) {
        for byte in &mut self.bytes[Self::span(range)] {
            match kind {
                Some(exclusive) => drop(byte.insert(who, exclusive)),
                None => drop(byte.remove(&who)),
            }
        }
    }

    fn wake(&mut self) -> Vec<u8> {
        let mut granted = Vec::new();
        loop {
            let more = self.wake_once();
            if more.is_empty() {
                return granted;
            }
            granted.extend(more);
        }
    }

    fn wake_once(&mut self) -> Vec<u8> {
        let mut granted = Vec::new();
        for (who, range, exclusive) in std::mem::take(&mut self.waiting) {
            if self.free(who, range, exclusive) {
                self.set(who, range, Some(exclusive));
                granted.push(who);
            } else {
                self.waiting.push((who, range, exclusive));
            }
        }
        granted
    }

    fn blockers(&self, who: u8, range: ByteRange, exclusive: bool) -> BTreeSet<u8> {
        self.bytes[Self::span(range)]
            .iter()
            .flat_map(|byte| byte.iter().filter(|(_, theirs)| **theirs || exclusive).map(|(other, _)| *other))
            .filter(|other| *other != who)
            .collect()
    }

    fn deadlocks(&self, who: u8, range: ByteRange, exclusive: bool) -> bool {
        let mut reached = self.blockers(who, range, exclusive);
        loop {
            let more: BTreeSet<u8> = self
                .waiting
                .iter()
                .filter(|(other, ..)| reached.contains(other))
                .flat_map(|(other, range, exclusive)| self.blockers(*other, *range, *exclusive))
                .collect();
            let before = reached.len();
            reached.extend(more);
            if reached.contains(&who) {
                return true;
            }
            if reached.len() == before {
                return false;
            }
        }
    }

    /// Byte by byte, as the table has to have it.
    fn check(&self, table: &LockTable) {
        for who in 0..OWNERS {
            let held = has(table, who);
            let pairs = held.windows(2);
            for pair in pairs {
                let (left, right) = (pair[0], pair[1]);
                assert!(left.1 < right.0, "own locks overlap: {held:?}");
                assert!(left.1 + 1 < right.0 || left.2 != right.2, "not merged: {held:?}");
            }
            for (at, byte) in (0u64..).zip(&self.bytes) {
                let kind = held.iter().find(|lock| (lock.0..=lock.1).contains(&at)).map(|lock| lock.2);
                assert_eq!(kind, byte.get(&who).copied(), "byte {at} of owner {who}");
            }
        }
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn range(&mut self) -> ByteRange {
        let first = self.below(BYTES);
        if self.below(6) == 0 {
            return ByteRange::new(first, 0);
        }
        ByteRange::new(first, 1 + self.below(BYTES - first))
    }
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn step(random: &mut Random, table: &mut LockTable, model: &mut Model) {
    let who = u8::try_from(random.below(u64::from(OWNERS))).unwrap();
    let (range, exclusive) = (random.range(), random.below(2) == 0);
    match random.below(20) {
        0..=7 => {
            let waits = random.below(2) == 0;
            let outcome = table.lock(request(who, range, exclusive, waits)).unwrap();
            if model.free(who, range, exclusive) {
                assert_eq!(outcome, LockOutcome::Granted);
                model.waiting.retain(|(other, theirs, _)| *other != who || *theirs != range);
                model.set(who, range, Some(exclusive));
            } else if !waits {
                assert!(matches!(outcome, LockOutcome::Denied(_)), "{outcome:?}");
            } else if model.waiting.contains(&(who, range, exclusive)) {
                assert_eq!(outcome, LockOutcome::Waiting);
            } else if model.deadlocks(who, range, exclusive) {
                assert_eq!(outcome, LockOutcome::Deadlock);
            } else {
                assert_eq!(outcome, LockOutcome::Waiting);
                model.waiting.push((who, range, exclusive));
            }
        }
        8..=14 => {
            table.unlock(file(1), &owner(who), range).unwrap();
            model.waiting.retain(|(other, theirs, _)| *other != who || *theirs != range);
            model.set(who, range, None);
        }
        15..=16 => {
            let found = table.test(file(1), &owner(who), range, exclusive);
            assert_eq!(found.is_none(), model.free(who, range, exclusive));
        }
        17 => {
            table.cancel(file(1), &owner(who), range, exclusive);
            model.waiting.retain(|waiting| *waiting != (who, range, exclusive));
        }
        18 => {
            let gone = client(who / 4);
            table.release(|client| *client == gone, None);
            model.waiting.retain(|(other, ..)| other / 4 != who / 4);
            let whole = ByteRange::new(0, 0);
            (0..OWNERS).filter(|other| other / 4 == who / 4).for_each(|other| model.set(other, whole, None));
        }
        _ => {
            let copy = LockTable::default();
            copy.import(&table.export()).unwrap();
            *table = copy;
        }
    }
    // One after the other: a shared lock that comes free may let several in.
    let granted = model.wake();
    let mut heard: Vec<u8> = Vec::new();
    while let Some(grant) = table.take_grant() {
        heard.push(grant.return_path[0]);
        table.settle(grant.id);
    }
    assert_eq!(heard, granted);
    model.check(table);
    assert_eq!(table.counts().waiting, model.waiting.len());
}

#[test]
fn random_operations_agree_with_the_model() {
    let seed = from_environment("SEED").unwrap_or_else(|| {
        std::time::UNIX_EPOCH.elapsed().map_or(1, |since| u64::try_from(since.as_nanos() >> 8).unwrap_or(1))
    });
    let cases = from_environment("CASES").unwrap_or(60);
    println!("SEED={seed} CASES={cases}");
    for case in 0..cases {
        let mut random = Random(seed.wrapping_add(case));
        let mut table = LockTable::default();
        let mut model =
            Model { bytes: vec![BTreeMap::new(); usize::try_from(BYTES).unwrap() + 1], waiting: Vec::new() };
        for _ in 0..300 {
            step(&mut random, &mut table, &mut model);
        }
        table.release(|_| true, None);
        assert_eq!(table.counts(), Counts::default());
    }
}
