//! The README's tour, run as it stands there.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use ferry_tests::ferry;
use std::path::Path;
use std::process::Command;

const README: &str = include_str!("../../README.md");
/// The tour uses fixed ports; these are what it starts with.
const MARK: &str = "<!-- the test `tour` runs this block -->\n```sh\n";

#[test]
fn the_tour_of_the_readme_works() {
    for tool in ["nfs-ls", "nfs-cp", "nfs-cat"] {
        if ferry::need_tool(tool, "libnfs-utils").is_none() {
            return;
        }
    }
    let block = README.split_once(MARK).and_then(|(_, rest)| rest.split_once("```")).unwrap().0;
    let dir = tempfile::tempdir().unwrap();
    // `kill` ends the two nodes also when a step before it fails.
    let script = format!("set -e\ntrap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n{block}");
    let ferry = ferry::binary();
    let path = format!("{}:{}", ferry.parent().map(Path::display).unwrap(), std::env::var("PATH").unwrap());
    let output = Command::new("timeout")
        .args(["--kill-after=5", "120", "bash", "-c", &script])
        .current_dir(dir.path())
        .env("PATH", path)
        .output()
        .unwrap();
    let log = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap_or_default();
    let out = String::from_utf8_lossy(&output.stdout);
    let text = format!(
        "{out}\n--- errors\n{}\n--- alpha\n{}\n--- beta\n{}",
        String::from_utf8_lossy(&output.stderr),
        log("alpha.log"),
        log("beta.log")
    );
    assert!(output.status.success(), "{text}");
    assert!(out.contains("The copy that ran through the move is whole."), "{text}");
}
