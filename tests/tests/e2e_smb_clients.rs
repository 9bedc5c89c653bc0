//! Clients in Python that share no code with one another, with Samba or with Ferry: impacket and smbprotocol. Scripts in
//! `smb/` log in, list shares, make, list, rename and remove files, take large ones there and back, and lock.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use ferry_tests::ferry;
use ferry_tests::smb_site::{PASSWORD, Site, text_of};
use serde_json::json;
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;

/// One of them computes its signatures in Python.
const LIMIT: Duration = Duration::from_secs(400);

/// Runs a script of `smb/` in a new site with this setting of encryption; it prints `said` at its end.
async fn run(library: &str, encryption: &str, more: &[&str], said: &str) {
    let Some(python) = ferry::need_library(library) else { return };
    let site = Site::start().await.unwrap();
    let settings = json!({ "smb_encryption": encryption });
    site.node.api.patch("/vservers/vs", settings).await.unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/smb/with_{library}.py"));
    let mut command = Command::new(python);
    command.arg(script).arg(site.address.to_string()).arg(site.smb_port.to_string()).args(more);
    command.env("PASSWORD", PASSWORD).kill_on_drop(true);
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
