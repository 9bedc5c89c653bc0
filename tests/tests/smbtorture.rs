//! Samba's own suite against Ferry: `smbtorture/smbd-4.17.txt` names every smb2.* test that Debian's smbd passes, with the
//! seconds that it takes, and `smbtorture/exceptions.txt` those of them that Ferry does not pass, each with its reason. The
//! lists are to stay true: a test that fails and is no exception fails this one, and so does an exception that passes, a
//! node that ends or panics, and a list of exceptions that is too long. What goes wrong is tried once more.
//!
//! `SMBTORTURE_ONLY=TEXT` runs only the tests with this text in their names. `SMBTORTURE_WRITE=1` (of all tests) writes the
//! second list anew, with the words of the tests where there is no reason yet: they wait for a person's. `SMBTORTURE_PEER=smbd` runs all that smbtorture
//! has against smbd, which needs the superuser, and writes the first list anew; without it smbd still has to pass a few of
//! the list, so that the list is one for the smbd that is installed.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use ferry_tests::ferry;
use ferry_tests::torture::list::{self, Exception, Test};
use ferry_tests::torture::server::{Ferry, SHARES, Server};
use ferry_tests::torture::smbd::{self, Smbd};
use ferry_tests::torture::{self, Outcome, Verdict};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;

/// The part of what smbd passes that Ferry may fail.
const EXCEPTIONS_MAX_PERCENT: usize = 10;
/// Where so much goes wrong, it is no accident.
const AGAIN_MAX: usize = 20;

fn say(test: &Test, outcome: &Outcome) {
    let Outcome { verdict, seconds, why } = outcome;
    println!("{verdict:?} {seconds} {}\t{why}", test.name);
}

/// Runs tests; those that are `wrong` run once more, alone.
async fn outcomes(
    server: &Server,
    tests: &[Test],
    wrong: impl Fn(&Test, &Outcome) -> bool,
) -> Vec<(Test, Outcome)> {
    let mut outcomes = torture::run_all(server, tests, say).await;
    let again = outcomes.iter_mut().filter(|(test, outcome)| wrong(test, outcome));
    for (test, outcome) in again.take(AGAIN_MAX) {
        println!("once more: {}", test.name);
        *outcome = torture::run(server, test, SHARES[0]).await;
        say(test, outcome);
    }
    outcomes
}

fn is_wrong(exceptions: &BTreeMap<String, Exception>, test: &Test, outcome: &Outcome) -> bool {
    let passed = outcome.verdict == Verdict::Pass;
    exceptions.get(&test.name).map_or(!passed, |exception| passed && !exception.wavers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ferry_passes_what_smbd_passes() {
    let (program, package) = torture::PROGRAM;
    if ferry::need_tool(program, package).is_none() || ferry::need_tool("smbclient", "smbclient").is_none() {
        return;
    }
    let (mut tests, exceptions) = (list::passes(), list::exceptions());
    let most = tests.len() * EXCEPTIONS_MAX_PERCENT / 100;
    let unknown: Vec<_> =
        exceptions.keys().filter(|&name| tests.iter().all(|test| test.name != *name)).collect();
    assert!(unknown.is_empty(), "exceptions that smbd does not pass: {unknown:?}");
    if let Ok(only) = std::env::var("SMBTORTURE_ONLY") {
        tests.retain(|test| test.name.contains(&only));
    }
    let write = std::env::var_os("SMBTORTURE_WRITE").is_some();
    let mut ferry = Ferry::start().await.unwrap();
    let outcomes =
        outcomes(&ferry.server, &tests, |test, outcome| is_wrong(&exceptions, test, outcome)).await;
    let passed = outcomes.iter().filter(|(_, outcome)| outcome.verdict == Verdict::Pass).count();
    println!("Ferry passes {passed} of the {} tests that smbd passes", tests.len());
    if write {
        let failed = outcomes.iter().filter(|(_, outcome)| outcome.verdict != Verdict::Pass);
        let said = |outcome: &Outcome| format!("{:?} {}", outcome.verdict, outcome.why).to_lowercase();
        list::write_exceptions(&failed.map(|(test, outcome)| (test.name.clone(), said(outcome))).collect());
        return;
    }
    let wrong: Vec<_> =
        outcomes.iter().filter(|(test, outcome)| is_wrong(&exceptions, test, outcome)).collect();
    for (test, outcome) in &wrong {
        println!("not as listed: {:?} {} {}", outcome.verdict, test.name, outcome.why);
    }
    let panics: Vec<_> =
        ferry.node.log().lines().filter(|line| line.contains("panicked")).map(str::to_owned).collect();
    assert!(panics.is_empty(), "the node panics: {panics:?}");
    assert!(!ferry.node.has_ended(), "the node has ended: {}", ferry.node.log_tail());
    assert!(exceptions.len() <= most, "{} exceptions, {most} are allowed", exceptions.len());
    assert!(wrong.is_empty(), "{} tests are not as listed", wrong.len());
}

/// Quick tests of many kinds.
const SAMPLE: [&str; 8] = [
    "smb2.connect",
    "smb2.acls.ACCESSBASED",
    "smb2.session-require-signing.bug15397",
    "smb2.twrp.stream",
    "smb2.streams.io",
    "smb2.durable-v2-open.open-lease",
    "smb2.oplock.exclusive1",
    "smb2.getinfo.fsinfo",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn smbd_passes_what_is_listed() {
    for (program, package) in [torture::PROGRAM, smbd::PROGRAM] {
        if ferry::need_tool(program, package).is_none() {
            return;
        }
    }
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        eprintln!("skipped: smbd needs the superuser");
        return;
    }
    let smbd = Smbd::start().await.unwrap();
    let failed = |_: &Test, outcome: &Outcome| matches!(outcome.verdict, Verdict::Fail | Verdict::Hang);
    if std::env::var("SMBTORTURE_PEER").as_deref() == Ok("smbd") {
        let outcomes = outcomes(&smbd.server, &list::all(), failed).await;
        let passed = outcomes.into_iter().filter(|(_, outcome)| outcome.verdict == Verdict::Pass);
        let passed = passed.map(|(test, outcome)| Test { seconds: outcome.seconds, ..test });
        list::write_passes(passed.collect());
        return;
    }
    let tests: Vec<_> =
        list::passes().into_iter().filter(|test| SAMPLE.contains(&test.name.as_str())).collect();
    assert_eq!(tests.len(), SAMPLE.len(), "the list has them all");
    let outcomes = outcomes(&smbd.server, &tests, failed).await;
    assert!(outcomes.iter().all(|(_, outcome)| outcome.verdict == Verdict::Pass), "{outcomes:?}");
}
