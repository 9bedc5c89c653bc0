//! Clients in Python that share no code with one another, with Samba or with Ferry: impacket and smbprotocol. Scripts in
//! `smb/` log in, list shares, make, list, rename and remove files, take large ones there and back, lock, and keep a handle while
//! the server moves.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use ferry_tests::ferry;
use ferry_tests::smb_site::{PASSWORD, Site, text_of};
use gateway::demo::node::{Node, peer};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

/// One of them computes its signatures in Python.
const LIMIT: Duration = Duration::from_secs(400);

/// A script of `smb/` against a site.
fn client(site: &Site, python: PathBuf, script: &str) -> Command {
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/smb").join(script));
    command.arg(site.address.to_string()).arg(site.smb_port.to_string());
    command.env("PASSWORD", PASSWORD).kill_on_drop(true);
    command
}

/// Runs a script of `smb/` in a new site with this setting of encryption; it prints `said` at its end.
async fn run(library: &str, encryption: &str, more: &[&str], said: &str) {
    let Some(python) = ferry::need_library(library) else { return };
    let site = Site::start().await.unwrap();
    let settings = json!({ "smb_encryption": encryption });
    site.node.api.patch("/vservers/vs", settings).await.unwrap();
    let mut command = client(&site, python, &format!("with_{library}.py"));
    command.args(more);
    let output = tokio::time::timeout(LIMIT, command.output()).await.unwrap().unwrap();
    let text = text_of(&output);
    assert!(output.status.success() && text.trim() == said, "{text}\n{}", site.node.log_tail());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn impacket_signs_or_encrypts_in_four_dialects() {
    run("impacket", "off", &[], "4 dialects").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn smbprotocol_signs_in_five_dialects() {
    run("smbprotocol", "off", &["signed"], "5 dialects").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn smbprotocol_encrypts_in_three_dialects() {
    run("smbprotocol", "required", &["encrypted"], "3 dialects").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_durable_handle_with_its_lease_and_locks_moves_there_and_back() {
    let Some(python) = ferry::need_library("smbprotocol") else { return };
    let site = Site::start().await.unwrap();
    let dir = site.dir.path().join("b");
    let other = Node::start(&ferry::binary(), &dir, "b", site.nfs_port, &[]).await.unwrap();
    peer(&site.node.api, &other.api).await.unwrap();
    let mut command = client(&site, python, "handle_with_smbprotocol.py");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn().unwrap();
    let mut told = running.stdin.take().unwrap();
    let mut errors = running.stderr.take().unwrap();
    let mut said = BufReader::new(running.stdout.take().unwrap()).lines();
    for (word, from, to) in [("open", &site.node, "b"), ("again", &other, "a")] {
        let line = tokio::time::timeout(LIMIT, said.next_line()).await.unwrap().unwrap();
        if line.as_deref() != Some(word) {
            let mut text = String::new();
            errors.read_to_string(&mut text).await.unwrap();
            panic!("{line:?} instead of {word}: {text}\n{}\n{}", site.node.log_tail(), other.log_tail());
        }
        ferry::move_away(from, to).await;
        told.write_all(b"moved\n").await.unwrap();
    }
    let line = tokio::time::timeout(LIMIT, said.next_line()).await.unwrap().unwrap();
    let mut text = String::new();
    errors.read_to_string(&mut text).await.unwrap();
    assert!(running.wait().await.unwrap().success() && line.as_deref() == Some("unlocked"), "{text}");
}
