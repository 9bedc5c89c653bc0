//! Locks, by case: who gets them, who does not, and why.

use super::*;
use crate::openstate::LockOutcome;

#[tokio::test]
async fn two_clients_conflict_and_one_hears_who_has_the_lock() {
    let fixture = Fixture::new(1).await;
    let file = fixture.handle("f");
    let (mut a, mut b) = (fixture.client(1).await, fixture.client(2).await);
    let first = lock(&file, "a", 11, 10, 10);
    assert_eq!(a.lock(&first).await, Nlm4Stat::Granted);
    // Asked for again, as by a client that heard no answer.
    assert_eq!(a.lock(&first).await, Nlm4Stat::Granted);
    let second = lock(&file, "b", 22, 19, 0);
    assert_eq!(b.lock(&second).await, Nlm4Stat::Denied);
    let holder = b.test(&second).await.unwrap_err();
    assert_eq!((holder.svid, holder.oh, holder.exclusive), (11, first.alock.oh.clone(), true));
    assert_eq!((holder.l_offset, holder.l_len), (10, 10));
    assert_eq!(b.lock(&lock(&file, "b", 22, 20, 0)).await, Nlm4Stat::Granted);
    let holder = a.test(&lock(&file, "a", 11, 30, 1)).await.unwrap_err();
    assert_eq!((holder.svid, holder.l_offset, holder.l_len), (22, 20, 0));
    assert_eq!(a.unlock(&first).await, Nlm4Stat::Granted);
    assert_eq!(b.lock(&second).await, Nlm4Stat::Granted);
    assert_eq!(b.test(&lock(&file, "b", 22, 0, 0)).await, Ok(Nlm4Stat::Granted));
    // A process with the same number on another host, and another process of the same host, are others.
    assert_eq!(a.lock(&lock(&file, "b", 22, 19, 1)).await, Nlm4Stat::Denied);
    assert_eq!(b.lock(&lock(&file, "b", 23, 19, 1)).await, Nlm4Stat::Denied);
}

#[tokio::test]
async fn shared_locks_and_upgrades() {
    let fixture = Fixture::new(2).await;
    let file = fixture.handle("f");
    let (mut a, mut b) = (fixture.client(1).await, fixture.client(2).await);
    let shared = |name, svid| Nlm4LockArgs { exclusive: false, ..lock(&file, name, svid, 0, 0) };
    assert_eq!(a.lock(&shared("a", 1)).await, Nlm4Stat::Granted);
    assert_eq!(b.lock(&shared("b", 2)).await, Nlm4Stat::Granted);
    assert_eq!(a.lock(&lock(&file, "a", 1, 0, 0)).await, Nlm4Stat::Denied);
    assert_eq!(b.unlock(&shared("b", 2)).await, Nlm4Stat::Granted);
    assert_eq!(a.lock(&lock(&file, "a", 1, 0, 0)).await, Nlm4Stat::Granted);
    assert!(!b.test(&shared("b", 2)).await.unwrap_err().exclusive.eq(&false));
}

#[tokio::test]
async fn what_can_not_be_locked() {
    let fixture = Fixture::new(3).await;
    let file = fixture.handle("f");
    let mut a = fixture.client(1).await;
    let mut status = async |fh: &NetObj, offset: u64| a.lock(&lock(fh, "a", 1, offset, 1)).await;
    assert_eq!(status(&file, 1 << 63).await, Nlm4Stat::FBig);
    assert_eq!(status(&fixture.handle_of(ROOT), 0).await, Nlm4Stat::Failed, "a directory");
    let mut forged = file.0.to_vec();
    forged[50] ^= 1;
    assert_eq!(status(&NetObj(forged.into()), 0).await, Nlm4Stat::Failed);
    assert_eq!(status(&NetObj(Bytes::from_static(b"short")), 0).await, Nlm4Stat::Failed);
    let other = FileHandle { volume: VolumeId(1), file: ROOT };
    let other = other.seal(fixture.vserver.uuid, fixture.vserver.handle_key());
    assert_eq!(status(&NetObj(Bytes::copy_from_slice(&other)), 0).await, Nlm4Stat::StaleFh);
    let gone = FileId { ino: fsstore::InodeNum(999_999), ..fixture.file("f") };
    assert_eq!(status(&fixture.handle_of(gone), 0).await, Nlm4Stat::StaleFh);
    let long = Nlm4LockArgs {
        alock: Nlm4Lock { caller_name: HostName(vec![b'x'; 300].into()), ..lock(&file, "a", 1, 0, 1).alock },
        ..lock(&file, "a", 1, 0, 1)
    };
    assert_eq!(a.lock(&long).await, Nlm4Stat::DeniedNoLocks);
    assert_eq!(fixture.vserver.locks.counts().locks, 0);
}

#[tokio::test]
async fn export_policies_hold_for_locks_but_not_for_giving_them_up() {
    let fixture = Fixture::new(4).await;
    let file = fixture.handle("f");
    let (mut a, mut b) = (fixture.client(1).await, fixture.client(2).await);
    fixture.export("127.92.4.1");
    let mine = lock(&file, "a", 1, 0, 0);
    assert_eq!(b.lock(&lock(&file, "b", 1, 0, 0)).await, Nlm4Stat::Failed);
    assert_eq!(a.lock(&mine).await, Nlm4Stat::Granted);
    fixture.export("127.92.4.2");
    assert_eq!(a.lock(&mine).await, Nlm4Stat::Failed);
    assert_eq!(a.unlock(&mine).await, Nlm4Stat::Granted);
    assert_eq!(b.lock(&lock(&file, "b", 1, 0, 0)).await, Nlm4Stat::Granted);
}

#[tokio::test]
async fn a_lock_of_a_file_that_is_gone_can_be_given_up() {
    let fixture = Fixture::new(5).await;
    let file = fixture.handle("f");
    let mut a = fixture.client(1).await;
    let mine = lock(&file, "a", 1, 0, 0);
    assert_eq!(a.lock(&mine).await, Nlm4Stat::Granted);
    let cx = Context { uid: 0, gid: 0, groups: Vec::new(), now: NOW };
    fixture.volume.execute(&cx, Op::Remove { dir: ROOT, name: Bytes::from_static(b"f") }).unwrap();
    assert_eq!(a.lock(&mine).await, Nlm4Stat::StaleFh);
    assert_eq!(a.unlock(&mine).await, Nlm4Stat::Granted);
    assert_eq!(fixture.vserver.locks.counts().locks, 0);
}

#[tokio::test]
async fn a_late_copy_of_a_call_does_not_undo_what_came_after_it() {
    let fixture = Fixture::new(6).await;
    let file = fixture.handle("f");
    let mut a = fixture.client(1).await;
    let mine = lock(&file, "a", 1, 0, 0);
    assert_eq!(a.lock(&mine).await, Nlm4Stat::Granted);
    let unlock = encode(&Nlm4UnlockArgs { cookie: mine.cookie.clone(), alock: mine.alock.clone() });
    let first = a.raw(NLM_PROGRAM, NLM_V4, p::UNLOCK, unlock.clone()).await.unwrap();
    let unlock_xid = a.xid;
    assert_eq!(a.lock(&mine).await, Nlm4Stat::Granted);
    let next_xid = std::mem::replace(&mut a.xid, unlock_xid);
    assert_eq!(a.again(NLM_PROGRAM, NLM_V4, p::UNLOCK, unlock).await.unwrap(), first);
    a.xid = next_xid;
    assert_eq!(fixture.vserver.locks.counts().locks, 1);
}

#[tokio::test]
async fn a_circle_of_clients_that_wait_is_refused() {
    let fixture = Fixture::new(7).await;
    let (f, g) = (fixture.handle("f"), fixture.handle("g"));
    let (mut a, mut b) = (fixture.client(1).await, fixture.client(2).await);
    assert_eq!(a.lock(&lock(&f, "a", 1, 0, 0)).await, Nlm4Stat::Granted);
    assert_eq!(b.lock(&lock(&g, "b", 1, 0, 0)).await, Nlm4Stat::Granted);
    assert_eq!(a.lock(&waits(lock(&g, "a", 1, 0, 0))).await, Nlm4Stat::Blocked);
    assert_eq!(b.lock(&waits(lock(&f, "b", 1, 0, 0))).await, Nlm4Stat::DeadLck);
}

#[tokio::test]
async fn share_reservations() {
    let fixture = Fixture::new(8).await;
    let file = fixture.handle("f");
    let (mut a, mut b) = (fixture.client(1).await, fixture.client(2).await);
    let share = |name, mode, access| Nlm4ShareArgs {
        cookie: NetObj::default(),
        share: Nlm4Share {
            caller_name: name_of(name),
            fh: file.clone(),
            oh: NetObj(Bytes::from_static(b"o")),
            mode,
            access,
        },
        reclaim: false,
    };
    let stat = |res: Nlm4ShareRes| res.stat;
    assert_eq!(stat(a.call(p::SHARE, &share("a", 2, 3)).await), Nlm4Stat::Granted);
    assert_eq!(stat(b.call(p::SHARE, &share("b", 0, 2)).await), Nlm4Stat::Denied);
    assert_eq!(stat(b.call(p::SHARE, &share("b", 0, 1)).await), Nlm4Stat::Granted);
    assert_eq!(stat(a.call(p::UNSHARE, &share("a", 2, 3)).await), Nlm4Stat::Granted);
    assert_eq!(stat(b.call(p::SHARE, &share("b", 3, 3)).await), Nlm4Stat::Granted);
    assert_eq!(stat(a.call(p::SHARE, &share("a", 0, 1)).await), Nlm4Stat::Denied);
    assert_eq!(fixture.vserver.watched.len(), 2);
}

#[tokio::test]
async fn free_all_frees_what_its_sender_has_and_nothing_else() {
    let fixture = Fixture::new(9).await;
    let file = fixture.handle("f");
    let (mut a, mut b) = (fixture.client(1).await, fixture.client(2).await);
    assert_eq!(a.lock(&lock(&file, "a", 1, 0, 1)).await, Nlm4Stat::Granted);
    // Not watched: nothing is noted of this client.
    let res: Nlm4Res = b.call(p::NM_LOCK, &lock(&file, "b", 1, 1, 1)).await;
    assert_eq!((res.stat, fixture.vserver.watched.len()), (Nlm4Stat::Granted, 1));
    b.call::<()>(p::FREE_ALL, &Nlm4Notify { name: name_of("a"), state: 0 }).await;
    assert_eq!(fixture.vserver.locks.counts().locks, 2);
    b.call::<()>(p::FREE_ALL, &Nlm4Notify { name: name_of("b"), state: 0 }).await;
    assert_eq!(fixture.vserver.locks.counts().locks, 1);
}

#[tokio::test]
async fn a_frozen_vserver_lets_lock_calls_wait() {
    let fixture = Fixture::new(10).await;
    let file = fixture.handle("f");
    let mut a = fixture.client(1).await;
    fixture.vserver.gate.freeze().await;
    let exported = fixture.vserver.locks.export();
    let asking = tokio::spawn(async move { a.lock(&lock(&file, "a", 1, 0, 1)).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(fixture.vserver.locks.export(), exported);
    fixture.vserver.gate.thaw();
    assert_eq!(asking.await.unwrap(), Nlm4Stat::Granted);
}

#[tokio::test]
async fn a_vserver_that_moved_has_every_lock_and_nobody_is_told_to_reclaim() {
    let mut fixture = Fixture::new(11).await;
    let file = fixture.handle("f");
    let mut lockd = fixture.lockd(2, true).await;
    let (mut a, mut b) = (fixture.client(1).await, fixture.client(2).await);
    let (mine, theirs) = (lock(&file, "a", 1, 0, 9), waits(lock(&file, "b", 2, 5, 9)));
    assert_eq!(a.lock(&mine).await, Nlm4Stat::Granted);
    assert_eq!(b.lock(&theirs).await, Nlm4Stat::Blocked);
    fixture.vserver.gate.freeze().await;
    let (locks, watched) = (fixture.vserver.locks.export(), fixture.vserver.watched.all());
    fixture.crash().await;
    fixture.vserver.grace.end();
    fixture.vserver.locks.import(&locks).unwrap();
    fixture.vserver.watched.load(watched.clone(), 3, false);
    watched.iter().for_each(|client| fixture.vserver.watched.told(client));
    let mut a = fixture.client(1).await;
    assert_eq!(a.lock(&mine).await, Nlm4Stat::Granted);
    assert_eq!(fixture.vserver.locks.counts().waiting, 1);
    assert_eq!(a.unlock(&mine).await, Nlm4Stat::Granted);
    loop {
        match lockd.hears().await {
            // The fixture's crash told of lost locks before they were brought back.
            Heard::Notify(..) => {}
            Heard::Granted(args) => {
                break assert_eq!(
                    args.alock,
                    Nlm4Lock { caller_name: name_of("vs1"), ..theirs.alock.clone() }
                );
            }
            other => panic!("{other:?}"),
        }
    }
    fixture.settled(1, 0).await;
}

#[test]
fn a_refused_table_has_a_status() {
    assert_eq!(Nlm4Stat::from(crate::openstate::Full), Nlm4Stat::DeniedNoLocks);
    assert_ne!(LockOutcome::Waiting, LockOutcome::Deadlock);
}
