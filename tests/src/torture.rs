//! Samba's `smbtorture`, one test at a time, against a server that is set up for it.

pub mod list;
pub mod server;
pub mod smbd;

use list::Test;
use server::Server;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::Command;

/// The program, and the Debian package that has it.
pub const PROGRAM: (&str, &str) = ("smbtorture", "samba-testsuite");

/// What came of a test.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It says that all went well.
    Pass,
    /// It says what went wrong.
    Fail,
    /// It did not end.
    Hang,
    /// It found that the server lacks something and did not go on.
    Skip,
}

/// A test's outcome.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its kind.
    pub verdict: Verdict,
    /// How long it ran.
    pub seconds: u64,
    /// The first line that says what went wrong.
    pub why: String,
}

/// What a test needs beyond a share that the user may write in.
#[derive(Default)]
struct Setup {
    /// Runs as the superuser.
    superuser: bool,
    /// Against the server that wants signatures.
    signing: bool,
    /// In the share that has a snapshot, which the test is told.
    snapshot: bool,
    options: &'static [&'static str],
}

fn setup(name: &str) -> Setup {
    let none = Setup::default();
    match name {
        // Only the superuser sees and sets the quotas of others.
        "smb2.getinfo.fsinfo" | "smb2.getinfo.qfs_buffercheck" | "smb2.create.quota-fake-file" => {
            Setup { superuser: true, ..none }
        }
        "smb2.session-require-signing.bug15397" => Setup { signing: true, ..none },
        "smb2.twrp.stream" => {
            let options = &["twrp_file=foo", "twrp_stream=bar", "twrp_stream_size=3"];
            Setup { snapshot: true, options, ..none }
        }
        "smb2.twrp.write" => Setup { snapshot: true, options: &["twrp_file=foo"], ..none },
        "smb2.twrp.openroot" | "smb2.twrp.listdir" | "smb2.ioctl.shadow_copy" => {
            Setup { snapshot: true, ..none }
        }
        _ => none,
    }
}

/// Runs one test in the share `share`; one that takes three times as long as with the list's server, and half a minute
/// more, hangs.
///
/// # Panics
/// If smbtorture can't be started.
pub async fn run(server: &Server, test: &Test, share: &str) -> Outcome {
    let setup = setup(&test.name);
    let at = if setup.signing { server.signing } else { server.plain };
    let user = if setup.superuser { &server.superuser } else { &server.user };
    let share = if setup.snapshot { server::SNAPSHOT_SHARE } else { share };
    let mut options: Vec<String> = setup.options.iter().map(|&option| option.to_owned()).collect();
    options.push(format!("user2name={}", server.second_user));
    options.push(format!("user2password={}", server::PASSWORD));
    if setup.snapshot {
        options.push(format!("twrp_snapshot={}", server.snapshot));
    }
    let mut command = Command::new(PROGRAM.0);
    command.arg("--configfile=/dev/null").arg(format!("//{}/{share}", at.ip()));
    command.args(["-p", &at.port().to_string(), "-U", &format!("{user}%{}", server::PASSWORD)]);
    command.args(options.iter().map(|option| format!("--option=torture:{option}"))).arg(&test.name);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    // It leaves directories where it runs.
    let scratch = tempfile::tempdir().expect("a directory");
    command.current_dir(&scratch);
    let start = Instant::now();
    let child = command.spawn().expect("smbtorture starts");
    let limit = Duration::from_secs(30 + 3 * test.seconds);
    let Ok(output) = tokio::time::timeout(limit, child.wait_with_output()).await else {
        return Outcome { verdict: Verdict::Hang, seconds: limit.as_secs(), why: String::new() };
    };
    let output = output.expect("its output can be read");
    let (verdict, why) = judge(&String::from_utf8_lossy(&output.stdout), output.status.success());
    Outcome { verdict, seconds: start.elapsed().as_secs(), why }
}

/// Reads what a test printed: lines such as `success: NAME`, or `failure: NAME [`, a line that says why, and `]`.
fn judge(printed: &str, ended_well: bool) -> (Verdict, String) {
    let why = |kinds: &[&str]| {
        let mut lines = printed.lines();
        let bad = |line: &str| kinds.iter().any(|kind| line.starts_with(kind));
        lines.find(|line| bad(line)).map(|_| lines.next().unwrap_or_default().trim().to_owned())
    };
    if let Some(why) = why(&["failure: ", "error: "]) {
        return (Verdict::Fail, why);
    }
    if printed.lines().any(|line| line.starts_with("success: ")) {
        let verdict = if ended_well { Verdict::Pass } else { Verdict::Fail };
        return (verdict, String::new());
    }
    match why(&["skip: "]) {
        Some(why) => (Verdict::Skip, why),
        None => (Verdict::Fail, format!("no verdict; it printed last: {:?}", printed.lines().last())),
    }
}

/// Runs tests, each share one at a time, the slow ones first; `done` hears of each as it ends.
pub async fn run_all(
    server: &Server,
    tests: &[Test],
    done: impl Fn(&Test, &Outcome),
) -> Vec<(Test, Outcome)> {
    let mut waiting = tests.to_vec();
    waiting.sort_by_key(|test| test.seconds);
    let waiting = parking_lot::Mutex::new(waiting);
    let results = parking_lot::Mutex::new(Vec::new());
    let next = || waiting.lock().pop();
    let lane = async |share: String| {
        while let Some(test) = next() {
            let outcome = run(server, &test, &share).await;
            done(&test, &outcome);
            results.lock().push((test, outcome));
        }
    };
    let [a, b, c, d, e, f] = server::SHARES.map(|share| lane(share.to_owned()));
    tokio::join!(a, b, c, d, e, f);
    results.into_inner()
}

#[cfg(test)]
mod tests {
    use super::{Verdict, judge};

    #[test]
    fn a_verdict_is_read_from_what_is_printed() {
        assert_eq!(judge("test: a\nsuccess: a\n", true).0, Verdict::Pass);
        assert_eq!(judge("test: a\nsuccess: a\n", false).0, Verdict::Fail);
        assert_eq!(
            judge("success: a\nfailure: b [\nx.c:3: no\n]\n", false),
            (Verdict::Fail, "x.c:3: no".into())
        );
        assert_eq!(judge("skip: a [\nnot supported\n]\n", true), (Verdict::Skip, "not supported".into()));
        assert_eq!(judge("", true).0, Verdict::Fail);
    }
}
