//! The `ferry` program under test, and the places to run it in.

use gateway::demo::node::Node;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// The program, from the same build as the running test (`cargo build -p gateway` makes it; so does any run of the
/// whole workspace's tests).
///
/// # Panics
/// If it is not there.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("FERRY_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("a test knows where it is");
    let path = test.parent().and_then(|deps| deps.parent()).map(|target| target.join("ferry"));
    let path = path.filter(|path| path.exists());
    path.expect("the program `ferry` is not built; run `cargo build -p gateway` first, or set FERRY_BIN")
}

/// Asks a node every 50 ms until it answers as expected.
///
/// # Panics
/// After a minute, with `what`.
pub async fn until(what: &str, done: impl AsyncFn() -> Option<Value>) -> Value {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(value) = done().await {
            return value;
        }
        assert!(Instant::now() < end, "{what}: it does not come");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Moves the vserver `vs` from `node` to a peer; nothing is left of it where it was.
///
/// # Panics
/// If the move fails.
pub async fn move_away(node: &Node, destination: &str) {
    let body = json!({ "vserver": "vs", "destination": destination, "auto_source_cleanup": true });
    node.api.post("/migrations", body).await.expect("a migration begins");
    until("the move's end", async || {
        let all = node.api.get("/migrations").await.expect("a node that answers");
        let phase = &all[0]["phase"];
        assert!(phase != "failed" && phase != "aborted", "{all}\n{}", node.log_tail());
        let left = node.api.get("/vservers").await.expect("a node that answers");
        (phase == "completed" && left == json!([])).then_some(all)
    })
    .await;
}

/// Where `cargo xtask test` installs the tools that are Rust programs.
///
/// # Panics
/// Never in a test that cargo has built.
pub fn tools_dir() -> PathBuf {
    tools().join("bin")
}

fn tools() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows where it is");
    // target/debug/deps/test
    let target = test.ancestors().nth(3).expect("a test is in the target directory");
    target.join("tools")
}

/// The Python that has this library, or `None` after saying that the test is skipped. `cargo xtask test` makes it.
///
/// # Panics
/// In CI (`CI=true`), if it is missing.
pub fn need_library(name: &str) -> Option<PathBuf> {
    let python = tools().join("python/bin/python");
    let mut import = Command::new(&python);
    let found = import.arg("-c").arg(format!("import {name}")).output();
    if found.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    missing(&format!("needs {name} (from PyPI; cargo xtask test installs it)"));
    None
}

fn missing(what: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{what}");
    eprintln!("skipped: {what}");
}

/// The path of a tool, or `None` after saying that the test is skipped. In CI a missing tool is a failure.
///
/// # Panics
/// In CI (`CI=true`), if the tool is missing.
pub fn need_tool(name: &str, package: &str) -> Option<PathBuf> {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&paths).chain([tools_dir()]);
    let found = dirs.map(|dir| dir.join(name)).find(|path| path.exists());
    if found.is_none() {
        missing(&format!("needs {name} (Debian package {package})"));
    }
    found
}
