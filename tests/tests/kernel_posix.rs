//! POSIX over NFSv3: pjdfstest beside a local ext4, and fsx.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use ferry_tests::guest::{lab, scaled};
use std::collections::BTreeMap;
use std::time::Duration;

/// What fails or is skipped on every NFSv3 mount, and why.
const BEYOND_NFS3: [(&str, &str); 3] = [
    (
        "unlink::open_file_not_freed",
        "an open file that is removed gets a hidden name (.nfs...), so that its link count is 1, not 0",
    ),
    ("utimensat::y2038", "nfstime3 has 32 bits for the seconds since 1970, which end in 2106"),
    ("link::link_count_max", "the C library doesn't ask NFS servers for _PC_LINK_MAX; the test is skipped"),
];

/// Each test's outcome, `ok` or not, in the part of the output that begins with `on {place}`.
fn outcomes(output: &str, place: &str) -> BTreeMap<String, String> {
    let begin = format!("on {place}\n");
    let part = output.split(&begin).nth(1).unwrap().split("\non ").next().unwrap();
    let mut found = BTreeMap::new();
    for line in part.lines() {
        let mut words = line.split_whitespace();
        let (Some(name), Some(outcome), None) = (words.next(), words.next(), words.next()) else { continue };
        if !name.contains("::") || !["ok", "FAILED", "skipped"].contains(&outcome) {
            continue;
        }
        // The tests that remount are skipped in the first of two runs.
        if outcome != "skipped" || !found.contains_key(name) {
            found.insert(name.to_owned(), outcome.to_owned());
        }
    }
    found
}

#[test]
fn pjdfstest_finds_no_more_than_on_ext4() {
    let packages =
        [("pjdfstest", "none: cargo install pjdfstest"), ("mkfs.ext4", "e2fsprogs"), ("useradd", "passwd")];
    lab("pjdfstest_finds_no_more_than_on_ext4", Duration::from_secs(600), &packages, async |lab| {
        let mut guest = lab.client(1024).await;
        let output = guest.run(include_str!("kernel/pjdfstest.sh")).await;
        let (ext4, ferry) = (outcomes(&output, "b"), outcomes(&output, "a"));
        assert!(ext4.len() > 390 && ferry.len() == ext4.len(), "{} tests, {}", ferry.len(), ext4.len());
        let ok = |outcomes: &BTreeMap<String, String>, name: &str| {
            outcomes.get(name).is_some_and(|found| found == "ok")
        };
        let worse: Vec<_> = ext4.keys().filter(|name| ok(&ext4, name) && !ok(&ferry, name)).collect();
        println!("{} tests; not on Ferry: {worse:?}", ext4.len());
        let mut known: Vec<_> = BEYOND_NFS3.iter().map(|(name, _)| *name).collect();
        known.sort_unstable();
        let passed = ext4.values().filter(|outcome| *outcome == "ok").count();
        assert!(passed > 390, "{passed} pass on ext4");
        assert_eq!(worse, known, "\n{output}");
        guest.shut_down().await;
    });
}

#[test]
fn fsx_reads_what_it_wrote() {
    let packages = [("fsx", "none: cargo install fsx")];
    lab("fsx_reads_what_it_wrote", Duration::from_secs(1800), &packages, async |lab| {
        let mut guest = lab.client(512).await;
        let (seed, operations) = (std::env::var("SEED").unwrap_or_else(|_| "0".to_owned()), scaled(100_000));
        println!("SEED={seed}");
        let script = format!("FIRST_SEED={seed} OPERATIONS={operations}\n{}", include_str!("kernel/fsx.sh"));
        let output = guest.run_for(Duration::from_secs(900), &script).await;
        println!("{output} runs of 1000 operations");
        guest.shut_down().await;
    });
}
