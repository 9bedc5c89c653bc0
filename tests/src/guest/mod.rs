//! Linux kernels as NFS clients: User-Mode Linux guests and a node, in network, mount and process namespaces of their own.
//!
//! No KVM, no mount and no interface of the host is used, and nothing is left when the test ends, however it ends. The test
//! runs its own binary again inside of the namespaces; every process there dies with the first one.

mod boot;
mod clusters;
mod needs;
mod server;

pub use boot::{Done, Guest, prepare};
pub use clusters::Clusters;
pub use needs::met;
pub use server::{Lab, SERVER, take_address};

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// Where the test inside of the namespaces keeps its files. Unset outside.
const DIR: &str = "FERRY_TEST_LAB";
/// A file there: the test inside has run to its end.
const PASSED: &str = "passed";

/// Runs the body of the test `name` in a lab. `packages` are tools that its scripts use, with their Debian packages.
///
/// # Panics
/// If the test fails or takes longer than `limit`; under CI also where something is missing. Elsewhere it's skipped then.
pub fn lab(name: &str, limit: Duration, packages: &[(&str, &str)], body: impl AsyncFnOnce(&mut Lab)) {
    in_namespaces(name, limit, packages, async |dir| {
        let mut lab = Lab::start(dir).await;
        body(&mut lab).await;
        lab.stop().await;
    });
}

/// The same with two clusters, each in a network namespace of its own, instead of the node.
///
/// # Panics
/// As [`lab`].
pub fn clusters(
    name: &str,
    limit: Duration,
    packages: &[(&str, &str)],
    body: impl AsyncFnOnce(&mut Clusters),
) {
    in_namespaces(name, limit, packages, async |dir| {
        let mut clusters = Clusters::start(dir).await;
        body(&mut clusters).await;
        clusters.stop().await;
    });
}

fn in_namespaces(name: &str, limit: Duration, packages: &[(&str, &str)], body: impl AsyncFnOnce(PathBuf)) {
    if let Some(dir) = std::env::var_os(DIR) {
        return inside(&PathBuf::from(dir), body);
    }
    if !needs::met(packages) {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let test = std::env::current_exe().expect("a test knows where it is");
    // `unshare` shrugs off a TERM; killed with this test, it takes its child with it.
    let status = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "unshare"])
        .args([
            "--net",
            "--pid",
            "--mount",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "--propagation=private",
        ])
        .args(["timeout", "--kill-after=1", &limit.as_secs().to_string()])
        .arg(test)
        .args(["--exact", name, "--nocapture", "--include-ignored"])
        .env(DIR, dir.path())
        .status()
        .expect("setpriv starts");
    let why =
        if status.code() == Some(124) || status.signal().is_some() { "took too long" } else { "failed" };
    assert!(status.success(), "{why} ({status})");
    // Else a wrong name would pass, with no test run at all.
    assert!(dir.path().join(PASSED).exists(), "there is no test {name}");
}

fn inside(dir: &std::path::Path, body: impl AsyncFnOnce(PathBuf)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(body(dir.to_owned()));
    std::fs::write(dir.join(PASSED), "").expect("the lab's directory can be written to");
}

/// How much longer or shorter the long parts are to be: `GUEST_SCALE`, 1 unless set.
pub fn scale() -> f64 {
    std::env::var("GUEST_SCALE").ok().and_then(|value| value.parse().ok()).unwrap_or(1.0)
}

/// `count` times [`scale`], at least 1.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count that a person chose")]
pub fn scaled(count: u32) -> u32 {
    (f64::from(count) * scale()).max(1.0) as u32
}
