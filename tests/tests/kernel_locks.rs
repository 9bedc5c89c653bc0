//! Two Linux kernels lock against one another through NLM, also across a crash of the server.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use ferry_tests::guest::{Guest, Lab, lab, scaled};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(600);
/// A client whose lock is free asks again only every 30 s; the server calls it back before.
const CALLED_BACK_MAX: Duration = Duration::from_secs(10);
/// Longer than the server's grace period and the clients' way back to it.
const GRACE_MAX: Duration = Duration::from_secs(150);

async fn two(lab: &Lab) -> (Guest, Guest) {
    let (mut one, mut two) = tokio::join!(lab.boot(1, 512), lab.boot(2, 512));
    for guest in [&mut one, &mut two] {
        guest.mount("").await;
        std::fs::write(guest.dir().join("lock.pl"), include_str!("kernel/lock.pl")).unwrap();
    }
    (one, two)
}

/// Runs `lock.pl`.
async fn lock(guest: &mut Guest, arguments: &str) -> String {
    guest.run(&format!("perl /lab/lock.pl {arguments}")).await.trim().to_owned()
}

/// Starts a holder of bytes in the background.
async fn start_holder(guest: &mut Guest, start: u32) {
    let script = format!(
        "rm -f /tmp/release-{start}; perl /lab/lock.pl fcntl hold /mnt/a/f {start} 10 >/tmp/held-{start} 2>&1 &"
    );
    guest.run(&script).await;
}

/// Waits until a holder says so.
async fn until_held(guest: &mut Guest, start: u32, limit: Duration) -> Duration {
    let begun = Instant::now();
    loop {
        let said = guest.run(&format!("cat /tmp/held-{start}")).await;
        if said.starts_with("locked") {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < limit, "no lock after {limit:?}: {said}");
    }
}

async fn release(guest: &mut Guest, start: u32) {
    let script =
        format!("touch /tmp/release-{start}; until grep -q released /tmp/held-{start}; do sleep 0.1; done");
    guest.run(&script).await;
}

#[test]
fn counting_under_a_lock_loses_nothing() {
    lab("counting_under_a_lock_loses_nothing", LIMIT, &[], async |lab| {
        let (mut one, mut two) = two(lab).await;
        let times = scaled(200);
        for kind in ["fcntl", "flock"] {
            let arguments = format!("{kind} count /mnt/a/{kind} {times}");
            let begun = Instant::now();
            tokio::join!(lock(&mut one, &arguments), lock(&mut two, &arguments));
            println!("{kind}: {times} from each in {:?}", begun.elapsed());
            assert_eq!(one.run(&format!("cat /mnt/a/{kind}")).await.trim(), (2 * times).to_string());
        }
    });
}

#[test]
fn ranges_exclude_and_waiters_are_called() {
    lab("ranges_exclude_and_waiters_are_called", LIMIT, &[], async |lab| {
        let (mut one, mut two) = two(lab).await;
        start_holder(&mut one, 0).await;
        until_held(&mut one, 0, CALLED_BACK_MAX).await;
        assert_eq!(lock(&mut two, "fcntl try /mnt/a/f 10 10").await, "granted");
        assert_eq!(lock(&mut two, "fcntl try /mnt/a/f 5 10").await, "denied");
        assert_eq!(lock(&mut two, "flock try /mnt/a/f").await, "denied");
        start_holder(&mut two, 5).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(two.run("cat /tmp/held-5").await.trim(), "");
        release(&mut one, 0).await;
        until_held(&mut two, 5, CALLED_BACK_MAX).await;
        assert_eq!(lock(&mut one, "fcntl try /mnt/a/f 0 10").await, "denied");
        // A program that dies leaves no lock.
        two.run("pkill -9 -f lock.pl; sleep 0.5").await;
        assert_eq!(lock(&mut one, "fcntl try /mnt/a/f 0 10").await, "granted");
    });
}

#[test]
fn the_same_hold_locks_after_a_crash_of_the_server() {
    lab("the_same_hold_locks_after_a_crash_of_the_server", LIMIT, &[], async |lab| {
        let (mut one, mut two) = two(lab).await;
        for (guest, start) in [(&mut one, 0), (&mut two, 10)] {
            start_holder(guest, start).await;
            until_held(guest, start, CALLED_BACK_MAX).await;
        }
        lab.crash(Duration::from_secs(1)).await;
        // A new lock waits for the end of the grace period, in which those of before come back.
        let begun = Instant::now();
        while lock(&mut one, "fcntl try /mnt/a/f 20 10").await != "granted" {
            assert!(begun.elapsed() < GRACE_MAX, "new locks are still refused");
        }
        println!("new locks after {:?}", begun.elapsed());
        assert_eq!(lock(&mut one, "fcntl try /mnt/a/f 10 10").await, "denied");
        assert_eq!(lock(&mut two, "fcntl try /mnt/a/f 0 10").await, "denied");
        release(&mut one, 0).await;
        assert_eq!(lock(&mut two, "fcntl try /mnt/a/f 0 10").await, "granted");
        assert_eq!(lock(&mut one, "fcntl try /mnt/a/f 10 10").await, "denied");
        release(&mut two, 10).await;
        assert_eq!(lock(&mut one, "fcntl try /mnt/a/f 10 10").await, "granted");
    });
}
