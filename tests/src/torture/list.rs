//! The lists in `tests/smbtorture`: what another server passes, and what Ferry does not.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// A test of smbtorture.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Test {
    /// As smbtorture takes it.
    pub name: String,
    /// How long it takes with the list's server.
    pub seconds: u64,
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("smbtorture").join(name)
}

fn lines(name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(path(name)).expect("the list is there");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

const PASSES: &str = "smbd-4.17.txt";
const EXCEPTIONS: &str = "exceptions.txt";

/// What Samba's smbd passes.
///
/// # Panics
/// If the list can't be read.
pub fn passes() -> Vec<Test> {
    let test = |line: String| {
        let (seconds, name) = line.split_once(' ').expect("seconds and a name");
        Test { name: name.to_owned(), seconds: seconds.parse().expect("seconds") }
    };
    lines(PASSES).into_iter().map(test).collect()
}

/// Writes the list of what smbd passes anew, below the comment that it begins with.
///
/// # Panics
/// If it can't be written.
pub fn write_passes(mut tests: Vec<Test>) {
    tests.sort();
    let mut text = heading(PASSES);
    for test in tests {
        text += &format!("{} {}\n", test.seconds, test.name);
    }
    std::fs::write(path(PASSES), text).expect("the list can be written");
}

/// Why Ferry does not pass a test.
#[derive(Clone, Debug)]
pub struct Exception {
    /// In a line.
    pub reason: String,
    /// It passes now and then.
    pub wavers: bool,
}

/// The tests of [`passes`] that Ferry does not pass.
///
/// # Panics
/// If the list can't be read, or a line has no reason.
pub fn exceptions() -> BTreeMap<String, Exception> {
    let exception = |line: String| {
        let (name, reason) = line.split_once(": ").expect("a name and a reason");
        let wavers = reason.starts_with("now and then");
        (name.to_owned(), Exception { reason: reason.to_owned(), wavers })
    };
    lines(EXCEPTIONS).into_iter().map(exception).collect()
}

/// Writes the list of exceptions anew: `failed` are names with what the test itself said. Reasons that are there stay.
///
/// # Panics
/// If it can't be written.
pub fn write_exceptions(failed: &BTreeMap<String, String>) {
    let known = exceptions();
    let mut text = heading(EXCEPTIONS);
    for (name, said) in failed {
        let reason = known.get(name).map_or(said, |exception| &exception.reason);
        text += &format!("{name}: {reason}\n");
    }
    std::fs::write(path(EXCEPTIONS), text).expect("the list can be written");
}

/// The comment that a list begins with.
fn heading(name: &str) -> String {
    let text = std::fs::read_to_string(path(name)).expect("the list is there");
    text.lines().take_while(|line| line.starts_with('#')).map(|line| format!("{line}\n")).collect()
}

/// What is not asked of any server, by how its name begins: why.
const LEFT_OUT: [(&str, &str); 13] = [
    ("smb2.bench.", "a benchmark"),
    ("smb2.hold-", "holds a file until it is stopped"),
    ("smb2.maxfid", "opens as many files as it can"),
    ("smb2.scan.", "tries all requests and prints the answers"),
    ("smb2.set-sparse-ioctl", "a tool: does to one file what it is told"),
    ("smb2.zero-data-ioctl", "a tool: does to one file what it is told"),
    ("smb2.change_notify_disabled", "wants a server whose change notification is switched off"),
    ("smb2.create_no_streams", "wants a server that has no streams"),
    (
        "smb2.acls_non_canonical",
        "wants the flags of inheritance stored as they came, which other tests forbid",
    ),
    ("smb2.ea.acl_xattr", "wants the name of an attribute that a module of smbd keeps for itself"),
    ("smb2.dosmode", "wants names that smbd's configuration hides"),
    ("smb2.aio_delay", "wants a module of smbd that delays, made for its own tests"),
    ("smb2.samba3misc", "locks the file beside the server, in the directory that smbd serves"),
];

/// All that smbtorture lists, without what is no question to a server.
///
/// # Panics
/// If smbtorture can't be run.
pub fn all() -> Vec<Test> {
    let output =
        std::process::Command::new(super::PROGRAM.0).arg("--list").output().expect("smbtorture runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let names = text.lines().map(str::trim).filter(|name| name.starts_with("smb2."));
    let asked = names.filter(|name| LEFT_OUT.iter().all(|(start, _)| !name.starts_with(start)));
    // As for a test of the list that takes long.
    asked.map(|name| Test { name: short(name).to_owned(), seconds: 30 }).collect()
}

/// A case with one test of the same name is listed with the name twice.
fn short(name: &str) -> &str {
    let dots = name.match_indices('.').map(|(at, _)| at);
    let twice = dots.map(|at| (&name[..at], &name[at..])).find(|(head, tail)| head.ends_with(tail));
    twice.map_or(name, |(head, _)| head)
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn a_name_that_is_there_twice_is_shortened() {
        assert_eq!(short("smb2.lock.lock.lock"), "smb2.lock.lock");
        assert_eq!(short("smb2.tcon"), "smb2.tcon");
        assert_eq!(short("smb2.ioctl.bug14788.NETWORK_INTERFACE"), "smb2.ioctl.bug14788.NETWORK_INTERFACE");
        assert_eq!(short("smb2.a.one two.one two"), "smb2.a.one two");
    }
}
