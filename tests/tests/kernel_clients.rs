//! Two Linux kernels on one volume: what one does, the other sees as NFS promises.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use ferry_tests::guest::{Guest, Lab, lab, scaled};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const LIMIT: Duration = Duration::from_secs(900);

async fn two(lab: &Lab, options: &str) -> (Guest, Guest) {
    let (mut one, mut two) = tokio::join!(lab.boot(1, 512), lab.boot(2, 512));
    one.mount(options).await;
    two.mount(options).await;
    (one, two)
}

/// A script that two run, with the moment at which both begin.
fn together(count: u32, script: &str) -> String {
    let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(3);
    format!("COUNT={count} START={}\n{script}", start.as_secs())
}

/// The last line that a script printed, as a number.
fn number(output: &str) -> u32 {
    output.trim().lines().last().unwrap().parse().unwrap_or_else(|_| panic!("{output}"))
}

#[test]
fn what_one_closed_the_other_opens() {
    lab("what_one_closed_the_other_opens", LIMIT, &[], async |lab| {
        // What directories hold may be seen late, here by a second.
        let (mut one, mut two) = two(lab, "nolock,acdirmin=1,acdirmax=1").await;
        // Both have it in their caches from the first round on. Sizes stay, grow and shrink.
        for round in 1..=scaled(12) {
            let len = [100, 100, 5000, 70_000, 10, 10][round as usize % 6];
            let padded = "0".repeat(len - round.to_string().len()) + &round.to_string();
            let (writer, reader) = if round % 3 == 0 { (&mut two, &mut one) } else { (&mut one, &mut two) };
            let write = format!(
                "cd /mnt/a; printf %s {padded} >f; ln -sfn {round} s; mkdir d{round}; rm -rf d$(({round} - 1))"
            );
            writer.run(&write).await;
            let read = "cd /mnt/a; cat f; echo; readlink s; ls -d d*; stat -c %s f";
            let expected = format!("{padded}\n{round}\nd{round}\n{len}\n");
            let mut seen = reader.run(read).await;
            for _ in 0..5 {
                assert!(seen.starts_with(&expected[..len]), "round {round}: {seen}");
                if seen.trim() == expected.trim() {
                    break;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
                seen = reader.run(read).await;
            }
            assert_eq!(seen.trim(), expected.trim(), "round {round}");
        }
    });
}

#[test]
fn appending_in_turn_loses_nothing() {
    lab("appending_in_turn_loses_nothing", LIMIT, &[], async |lab| {
        let (mut one, mut two) = two(lab, "nolock").await;
        let rounds = scaled(20);
        let mut expected = String::new();
        for round in 0..rounds {
            one.run(&format!("echo one {round} >>/mnt/a/log")).await;
            two.run(&format!("echo two {round} >>/mnt/a/log")).await;
            expected += &format!("one {round}\ntwo {round}\n");
        }
        assert_eq!(one.run("cat /mnt/a/log").await.trim(), expected.trim());
    });
}

#[test]
fn one_of_two_makes_a_file_exclusively() {
    lab("one_of_two_makes_a_file_exclusively", LIMIT, &[], async |lab| {
        let (mut one, mut two) = two(lab, "nolock").await;
        let count = scaled(1000);
        let script = together(count, include_str!("kernel/exclusive.sh"));
        let (first, second) = tokio::join!(one.run(&script), two.run(&script));
        let (first, second) = (number(&first), number(&second));
        println!("{first} and {second} of {count}");
        assert_eq!(first + second, count);
        // Each file has what its maker wrote.
        let by_one = number(&two.run("cd /mnt/a/exclusive; cat * | grep -c 'by 1$'").await);
        assert_eq!(by_one, first);
    });
}

#[test]
fn renames_race() {
    lab("renames_race", LIMIT, &[], async |lab| {
        let (mut one, mut two) = two(lab, "nolock").await;
        let count = scaled(500);
        one.run(&format!(
            "mkdir /mnt/a/race; cd /mnt/a/race; for n in $(seq {count}); do echo $n >token$n; done"
        ))
        .await;
        let script = together(count, include_str!("kernel/renames.sh"));
        let (first, second) = tokio::join!(one.run(&script), two.run(&script));
        let (first, second) = (number(&first), number(&second));
        println!("{first} and {second} of {count}");
        assert_eq!(first + second, count, "each token was to be won once");
        let left = two
            .run("cd /mnt/a/race; ls | sed 's/[0-9]*$//' | sort | uniq -c; cat won* | sort -n | uniq | wc -l")
            .await;
        println!("{left}");
        assert_eq!(number(&left), count);
        assert!(!left.contains("token") && left.contains("1 shared"), "{left}");
    });
}
