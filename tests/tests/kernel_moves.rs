//! A vserver moves back and forth between two clusters while the programs of two Linux kernels go on, with locks held.
//!
//! `MOVES=50` is how often.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use ferry_tests::guest::{Guest, clusters};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const MOVES: u32 = 4;
/// The longest pause of a program in any move, and of half of all moves.
const PAUSE_MAX_MS: u64 = 2_000;
const PAUSE_MEDIAN_MAX_MS: u64 = 500;

const PACKAGES: [(&str, &str); 4] =
    [("nsenter", "util-linux"), ("fio", "fio"), ("pg_ctlcluster", "postgresql"), ("setpriv", "util-linux")];

/// A program in the background that has a lock on the ten bytes from `start` on, and keeps it.
async fn hold(guest: &mut Guest, start: u32) {
    let script = format!(
        "perl /lab/lock.pl fcntl hold /mnt/a/locked {start} 10 >/tmp/held 2>&1 &
         until grep -q locked /tmp/held; do sleep 0.1; done"
    );
    guest.run(&script).await;
}

/// What a guest hears that wants a lock on the ten bytes from `start` on.
async fn wants(guest: &mut Guest, start: u32) -> String {
    guest.run(&format!("perl /lab/lock.pl fcntl try /mnt/a/locked {start} 10")).await.trim().to_owned()
}

/// The longest pause since it was asked the last time, in ms.
async fn longest_pause_ms(guest: &mut Guest) -> u64 {
    let script = "cat /tmp/pauses | tail -n +$(($(cat /tmp/seen 2>/dev/null || echo 0) + 1)) | awk '$2 > max { max = $2 } END { print max + 0 }'
        wc -l </tmp/pauses >/tmp/seen";
    guest.run(script).await.trim().parse().unwrap()
}

#[test]
fn programs_do_not_notice_that_the_server_moves() {
    let moves = std::env::var("MOVES").ok().and_then(|moves| moves.parse().ok()).unwrap_or(MOVES);
    let limit = 8 * MINUTE + moves * MINUTE / 2;
    clusters("programs_do_not_notice_that_the_server_moves", limit, &PACKAGES, async |clusters| {
        let (mut one, mut two) = tokio::join!(clusters.boot(1, 1024), clusters.boot(2, 256));
        for guest in [&mut one, &mut two] {
            std::fs::write(guest.dir().join("lock.pl"), include_str!("kernel/lock.pl")).unwrap();
            guest.mount("").await;
        }
        std::fs::write(one.dir().join("prober.pl"), include_str!("kernel/prober.pl")).unwrap();
        hold(&mut one, 0).await;
        hold(&mut two, 10).await;
        one.run_for(5 * MINUTE, include_str!("kernel/moves_begin.sh")).await;

        let mut pauses_ms = Vec::new();
        for number in 1..=moves {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let ordinary_ms = longest_pause_ms(&mut one).await;
            let moved = clusters.switch().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            let pause_ms = longest_pause_ms(&mut one).await;
            println!(
                "move {number}: the longest write took {pause_ms} ms (before the move {ordinary_ms}), its pause {:?}",
                moved.pause
            );
            pauses_ms.push(pause_ms);
            assert_eq!(wants(&mut two, 5).await, "denied", "move {number}: the first guest's lock is lost");
            assert_eq!(wants(&mut one, 15).await, "denied", "move {number}: the second guest's lock is lost");
            assert_eq!(wants(&mut two, 20).await, "granted", "move {number}");
        }
        println!("{}", one.run_for(5 * MINUTE, include_str!("kernel/moves_end.sh")).await);
        for guest in [&mut one, &mut two] {
            let released =
                "touch /tmp/release-0 /tmp/release-10; until grep -q released /tmp/held; do sleep 0.1; done";
            guest.run(released).await;
        }
        pauses_ms.sort_unstable();
        let (median_ms, most_ms) = (pauses_ms[pauses_ms.len() / 2], pauses_ms[pauses_ms.len() - 1]);
        println!("{moves} moves: median {median_ms} ms, longest {most_ms} ms");
        assert!(median_ms < PAUSE_MEDIAN_MAX_MS && most_ms < PAUSE_MAX_MS, "{pauses_ms:?}");
        one.shut_down().await;
        two.shut_down().await;
    });
}
