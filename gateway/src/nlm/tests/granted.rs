//! Locks that are waited for: the callback, and what becomes of them when it goes wrong.

use super::*;

#[tokio::test]
async fn a_client_that_waits_is_called_over_tcp() {
    waiting_client_is_called(20, true).await;
}

#[tokio::test]
async fn a_client_without_a_tcp_lock_manager_is_called_over_udp() {
    waiting_client_is_called(21, false).await;
}

async fn waiting_client_is_called(net: u8, stream: bool) {
    let fixture = Fixture::new(net).await;
    let file = fixture.handle("f");
    let mut lockd = fixture.lockd(2, stream).await;
    let (mut a, mut b) = (fixture.client(1).await, fixture.client(2).await);
    let mine = lock(&file, "a", 1, 0, 0);
    // Merged with what it has, and told of by what it asked for.
    assert_eq!(b.lock(&lock(&file, "b", 2, 1 << 40, 7)).await, Nlm4Stat::Granted);
    assert_eq!(a.lock(&lock(&file, "a", 1, 0, 10)).await, Nlm4Stat::Granted);
    let theirs = waits(lock(&file, "b", 2, 3, 0));
    assert_eq!(b.lock(&theirs).await, Nlm4Stat::Blocked);
    // Linux asks again every 30 s.
    assert_eq!(b.lock(&theirs).await, Nlm4Stat::Blocked);
    assert_eq!(a.unlock(&mine).await, Nlm4Stat::Granted);
    lockd.hears_granted(&theirs).await;
    fixture.settled(1, 0).await;
    assert_eq!(b.lock(&theirs).await, Nlm4Stat::Granted);
    assert_eq!(a.lock(&lock(&file, "a", 1, 3, 1)).await, Nlm4Stat::Denied);
    assert_eq!(b.unlock(&theirs).await, Nlm4Stat::Granted);
    assert_eq!(fixture.vserver.locks.counts().locks, 0);
}

#[tokio::test]
async fn many_waiters_get_the_lock_one_after_the_other() {
    let fixture = Fixture::new(22).await;
    let file = fixture.handle("f");
    let mut lockd = fixture.lockd(1, true).await;
    let mut a = fixture.client(1).await;
    let request = |svid| waits(lock(&file, "a", svid, 0, 0));
    assert_eq!(a.lock(&request(1)).await, Nlm4Stat::Granted);
    for svid in 2..=9 {
        assert_eq!(a.lock(&request(svid)).await, Nlm4Stat::Blocked);
    }
    for svid in 2..=9 {
        assert_eq!(a.unlock(&request(svid - 1)).await, Nlm4Stat::Granted);
        lockd.hears_granted(&request(svid)).await;
    }
}

#[tokio::test]
async fn a_client_that_does_not_want_the_lock_any_more_loses_it_to_the_next() {
    let fixture = Fixture::new(23).await;
    let file = fixture.handle("f");
    let (mut lockd_b, mut lockd_c) = (fixture.lockd(2, true).await, fixture.lockd(3, true).await);
    *lockd_b.answer.lock() = Nlm4Stat::Denied;
    let (mut a, mut b, mut c) = (fixture.client(1).await, fixture.client(2).await, fixture.client(3).await);
    let mine = lock(&file, "a", 1, 0, 0);
    let (of_b, of_c) = (waits(lock(&file, "b", 2, 0, 0)), waits(lock(&file, "c", 3, 0, 0)));
    assert_eq!(a.lock(&mine).await, Nlm4Stat::Granted);
    assert_eq!(b.lock(&of_b).await, Nlm4Stat::Blocked);
    assert_eq!(c.lock(&of_c).await, Nlm4Stat::Blocked);
    assert_eq!(a.unlock(&mine).await, Nlm4Stat::Granted);
    lockd_b.hears_granted(&of_b).await;
    lockd_c.hears_granted(&of_c).await;
    fixture.settled(1, 0).await;
    assert_eq!(a.test(&mine).await.unwrap_err().svid, 3);
}

#[tokio::test]
async fn a_client_that_is_not_there_yet_is_called_until_it_is() {
    let fixture = Fixture::new(24).await;
    let file = fixture.handle("f");
    drop(fixture.lockd(9, true).await);
    let (mut a, mut b) = (fixture.client(1).await, fixture.client(2).await);
    let (mine, theirs) = (lock(&file, "a", 1, 0, 0), waits(lock(&file, "b", 2, 0, 0)));
    assert_eq!(a.lock(&mine).await, Nlm4Stat::Granted);
    assert_eq!(b.lock(&theirs).await, Nlm4Stat::Blocked);
    assert_eq!(a.unlock(&mine).await, Nlm4Stat::Granted);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut lockd = fixture.lockd(2, true).await;
    lockd.hears_granted(&theirs).await;
}

#[tokio::test]
async fn a_client_that_asks_again_or_gives_up_before_it_was_reached_is_not_called() {
    let fixture = Fixture::new(25).await;
    let file = fixture.handle("f");
    drop(fixture.lockd(9, true).await);
    let (mut a, mut b) = (fixture.client(1).await, fixture.client(2).await);
    let (mine, theirs) = (lock(&file, "a", 1, 0, 0), waits(lock(&file, "b", 2, 0, 0)));
    assert_eq!(a.lock(&mine).await, Nlm4Stat::Granted);
    assert_eq!(b.lock(&theirs).await, Nlm4Stat::Blocked);
    assert_eq!(a.unlock(&mine).await, Nlm4Stat::Granted);
    assert_eq!(b.lock(&theirs).await, Nlm4Stat::Granted);
    let mut lockd = fixture.lockd(2, true).await;
    // It holds the lock: a refusal of a late GRANTED would not take it away, and none comes.
    *lockd.answer.lock() = Nlm4Stat::Denied;
    let silence = tokio::time::timeout(Duration::from_millis(1500), lockd.heard.recv()).await;
    assert!(silence.is_err(), "{silence:?}");
    fixture.settled(1, 0).await;
    // Waiting again, and interrupted.
    assert_eq!(a.lock(&waits(mine.clone())).await, Nlm4Stat::Blocked);
    assert_eq!(a.cancel(&waits(mine.clone())).await, Nlm4Stat::Granted);
    assert_eq!(b.unlock(&theirs).await, Nlm4Stat::Granted);
    assert_eq!(fixture.vserver.locks.counts().locks, 0);
    // Nothing to cancel is fine; a lock that is held is not cancelled.
    assert_eq!(a.cancel(&mine).await, Nlm4Stat::Granted);
    assert_eq!(a.lock(&mine).await, Nlm4Stat::Granted);
    assert_eq!(a.cancel(&mine).await, Nlm4Stat::Denied);
}

#[tokio::test]
async fn a_lif_that_goes_down_and_up_loses_no_callback() {
    let mut fixture = Fixture::new(26).await;
    let file = fixture.handle("f");
    drop(fixture.lockd(9, true).await);
    let (mut a, mut b) = (fixture.client(1).await, fixture.client(2).await);
    let (mine, theirs) = (lock(&file, "a", 1, 0, 0), waits(lock(&file, "b", 2, 0, 0)));
    assert_eq!(a.lock(&mine).await, Nlm4Stat::Granted);
    assert_eq!(b.lock(&theirs).await, Nlm4Stat::Blocked);
    assert_eq!(a.unlock(&mine).await, Nlm4Stat::Granted);
    fixture.bounce().await;
    let mut lockd = fixture.lockd(2, true).await;
    // It had been told, for all that the new caller knows: so it keeps the lock.
    *lockd.answer.lock() = Nlm4Stat::Denied;
    lockd.hears_granted(&theirs).await;
    fixture.settled(1, 0).await;
}

#[tokio::test]
async fn asynchronous_calls_are_answered_by_calls() {
    let fixture = Fixture::new(27).await;
    let file = fixture.handle("f");
    let mut lockd = fixture.lockd(1, false).await;
    let mut a = fixture.client(1).await;
    let mine = lock(&file, "a", 1, 0, 0);
    let res = |stat| encode(&Nlm4Res { cookie: mine.cookie.clone(), stat });
    let Nlm4LockArgs { cookie, block, exclusive, alock, .. } = mine.clone();
    a.call::<()>(p::LOCK_MSG, &mine).await;
    assert_eq!(lockd.hears().await, Heard::Res(p::LOCK_RES, res(Nlm4Stat::Granted)));
    let other = Nlm4Lock { svid: 2, ..alock.clone() };
    a.call::<()>(p::TEST_MSG, &Nlm4TestArgs { cookie: cookie.clone(), exclusive, alock: other }).await;
    let Heard::Res(p::TEST_RES, result) = lockd.hears().await else { panic!("no TEST_RES") };
    let result: Nlm4TestRes = Decoder::new(result).take().unwrap();
    assert_eq!(result.stat.unwrap_err().svid, 1);
    let cancel = Nlm4CancArgs { cookie: cookie.clone(), block, exclusive, alock: alock.clone() };
    a.call::<()>(p::CANCEL_MSG, &cancel).await;
    assert_eq!(lockd.hears().await, Heard::Res(p::CANCEL_RES, res(Nlm4Stat::Denied)));
    a.call::<()>(p::UNLOCK_MSG, &Nlm4UnlockArgs { cookie, alock }).await;
    assert_eq!(lockd.hears().await, Heard::Res(p::UNLOCK_RES, res(Nlm4Stat::Granted)));
    fixture.settled(0, 0).await;
}
