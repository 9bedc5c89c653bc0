//! What a lab needs of the machine: root, namespaces, and Debian packages.

use crate::ferry::need_tool;
use std::process::Command;

/// The tools of every lab, and their packages.
const TOOLS: [(&str, &str); 9] = [
    ("linux.uml", "user-mode-linux"),
    ("mount.nfs", "nfs-common"),
    ("rpcbind", "rpcbind"),
    ("gcc", "gcc"),
    ("modprobe", "kmod"),
    ("ip", "iproute2"),
    ("unshare", "util-linux"),
    ("timeout", "coreutils"),
    ("setpriv", "util-linux"),
];

/// Whether all is there. Says what is not.
///
/// # Panics
/// In CI, if something is missing.
pub fn met(more: &[(&str, &str)]) -> bool {
    let tools = TOOLS.iter().chain(more).all(|(tool, package)| need_tool(tool, package).is_some());
    if !tools {
        return false;
    }
    // Root of a container may be root in name only; then it can't make a tap device.
    let probe = "unshare --net --pid --mount --fork --mount-proc ip tuntap add dev probe mode tap";
    let mut words = probe.split(' ');
    let made = Command::new(words.next().unwrap_or_default()).args(words).output();
    let made = made.is_ok_and(|output| output.status.success());
    if !made {
        let missing = "needs root that may make namespaces and tap devices";
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{missing}");
        eprintln!("skipped: {missing}");
    }
    made
}
