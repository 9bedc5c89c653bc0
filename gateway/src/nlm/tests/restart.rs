//! One side goes down and comes up again: grace period, reclaims, and the status monitors' messages.

use super::*;

#[tokio::test]
async fn after_a_crash_clients_are_told_and_get_their_own_locks_back() {
    let mut fixture = Fixture::new(40).await;
    let file = fixture.handle("f");
    let mut lockds = [fixture.lockd(1, true).await, fixture.lockd(2, false).await];
    let (mut a, mut b) = (fixture.client(1).await, fixture.client(2).await);
    fixture.vserver.watched.load(Vec::new(), 5, false);
    let (of_a, of_b) = (lock(&file, "a", 1, 0, 9), lock(&file, "b", 2, 9, 9));
    assert_eq!(a.lock(&of_a).await, Nlm4Stat::Granted);
    assert_eq!(b.lock(&of_b).await, Nlm4Stat::Granted);
    fixture.crash().await;
    // Each hears from the address that it knows, under that name, that this is another life.
    let from = fixture.address.ip();
    for lockd in &mut lockds {
        let change = StatChge { mon_name: HostName(from.to_string().into()), state: 7 };
        assert_eq!(lockd.hears().await, Heard::Notify(change, from));
    }
    let (mut a, mut b) = (fixture.client(1).await, fixture.client(2).await);
    assert_eq!(b.lock(&lock(&file, "b", 2, 0, 0)).await, Nlm4Stat::DeniedGracePeriod);
    assert_eq!(b.test(&lock(&file, "b", 2, 0, 0)).await, Ok(Nlm4Stat::DeniedGracePeriod));
    let reclaim = |args: &Nlm4LockArgs| Nlm4LockArgs { reclaim: true, ..args.clone() };
    assert_eq!(a.lock(&reclaim(&of_a)).await, Nlm4Stat::Granted);
    assert_eq!(b.lock(&reclaim(&of_b)).await, Nlm4Stat::Granted);
    assert_eq!(b.lock(&reclaim(&lock(&file, "b", 2, 0, 1))).await, Nlm4Stat::Denied);
    // A lock can be given up at any time.
    assert_eq!(a.unlock(&lock(&file, "a", 1, 0, 1)).await, Nlm4Stat::Granted);
    fixture.vserver.grace.end();
    assert_eq!(b.lock(&reclaim(&of_b)).await, Nlm4Stat::DeniedGracePeriod);
    assert_eq!(b.lock(&lock(&file, "b", 2, 0, 1)).await, Nlm4Stat::Granted);
    let told = async {
        while !fixture.vserver.watched.to_tell().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.unwrap();
}

#[tokio::test]
async fn a_client_that_came_up_again_has_lost_its_locks_but_not_the_new_ones() {
    let fixture = Fixture::new(41).await;
    let file = fixture.handle("f");
    let (mut a, mut b) = (fixture.client(1).await, fixture.client(2).await);
    assert_eq!(a.lock(&lock(&file, "a", 1, 0, 1)).await, Nlm4Stat::Granted);
    assert_eq!(b.lock(&lock(&file, "b", 2, 1, 1)).await, Nlm4Stat::Granted);
    let newer = Nlm4LockArgs { state: 5, ..lock(&file, "a", 9, 7, 1) };
    assert_eq!(a.lock(&newer).await, Nlm4Stat::Granted);
    a.notify("a.example.org", 5).await;
    assert_eq!(fixture.vserver.locks.counts().locks, 2);
    // A copy of the message that comes late.
    a.notify("a.example.org", 5).await;
    assert_eq!(fixture.vserver.locks.counts().locks, 2);
    assert_eq!(b.lock(&lock(&file, "b", 2, 0, 1)).await, Nlm4Stat::Granted);
    assert_eq!(b.test(&lock(&file, "b", 2, 7, 1)).await.unwrap_err().svid, 9);
}

#[tokio::test]
async fn whose_locks_a_notification_frees() {
    let fixture = Fixture::new(42).await;
    let file = fixture.handle("f");
    let mut a = fixture.client(1).await;
    let locks = || fixture.vserver.locks.counts().locks;
    // Two hosts behind one address: by name.
    assert_eq!(a.lock(&lock(&file, "one", 1, 0, 1)).await, Nlm4Stat::Granted);
    assert_eq!(a.lock(&lock(&file, "two", 1, 1, 1)).await, Nlm4Stat::Granted);
    a.notify("three", 9).await;
    assert_eq!(locks(), 2);
    a.notify("TWO", 9).await;
    assert_eq!(locks(), 1);
    // The only one there: whatever it calls itself.
    a.notify("localhost.localdomain", 9).await;
    assert_eq!(locks(), 0);
    // It came back with another address; others can't pretend that unless they reach the volume.
    assert_eq!(a.lock(&lock(&file, "one", 1, 0, 1)).await, Nlm4Stat::Granted);
    let mut other = fixture.client(2).await;
    fixture.export("127.92.42.1");
    other.notify("one", 9).await;
    assert_eq!(locks(), 1);
    fixture.export("127.0.0.0/8");
    other.notify("two", 9).await;
    assert_eq!(locks(), 1);
    other.notify("one", 9).await;
    assert_eq!(locks(), 0);
    assert_eq!(a.lock(&lock(&file, "one", 1, 0, 1)).await, Nlm4Stat::Granted);
    a.notify("127.92.42.1", 9).await;
    assert_eq!(locks(), 0);
}

#[tokio::test]
async fn strangers_watch_nothing() {
    let fixture = Fixture::new(43).await;
    fixture.vserver.watched.load(Vec::new(), 7, false);
    let mut a = fixture.client(1).await;
    for proc in [p::SM_STAT, p::SM_MON] {
        let reply = a.raw(NSM_PROGRAM, NSM_V1, proc, Bytes::new()).await.unwrap();
        assert_eq!(Decoder::new(reply).take(), Ok(SmStatRes { res_stat: 1, state: 7 }));
    }
    for proc in [p::SM_UNMON, p::SM_UNMON_ALL] {
        let reply = a.raw(NSM_PROGRAM, NSM_V1, proc, Bytes::new()).await.unwrap();
        assert_eq!(Decoder::new(reply).take(), Ok(7u32));
    }
    for proc in [p::NULL, p::SM_SIMU_CRASH] {
        assert!(a.raw(NSM_PROGRAM, NSM_V1, proc, Bytes::new()).await.unwrap().is_empty());
    }
    assert_eq!(a.raw(NSM_PROGRAM, NSM_V1, 7, Bytes::new()).await, Err(ReplyStatus::NotRun(3)));
    assert_eq!(a.raw(NSM_PROGRAM, 2, 0, Bytes::new()).await, Err(ReplyStatus::NotRun(2)));
}
