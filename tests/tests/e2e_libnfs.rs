//! libnfs' command line tools as clients that know nothing of Ferry: they list, copy and read, and a copy that is
//! running when the vserver moves ends as if nothing had happened.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use ferry_tests::ferry;
use gateway::demo::node::{Node, free_port, make_vserver, peer};
use serde_json::json;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};
use tokio::process::Command;

const PACKAGE: &str = "libnfs-utils";
const COPY_BYTES: usize = 24 << 20;
/// The copy takes several times as long as the move.
const COPY_RATE: u64 = 4 << 20;

async fn run(tool: &str, args: &[&str]) -> Output {
    let mut command = Command::new(tool);
    command.args(args).kill_on_drop(true);
    tokio::time::timeout(Duration::from_secs(120), command.output()).await.unwrap().unwrap()
}

async fn run_ok(tool: &str, args: &[&str]) -> Vec<u8> {
    let output = run(tool, args).await;
    assert!(output.status.success(), "{tool} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn content() -> Vec<u8> {
    (0..COPY_BYTES as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56).to_le_bytes()[0]).collect()
}

async fn start(dir: &Path, name: &str, port: u16) -> Node {
    Node::start(&ferry::binary(), &dir.join(name), name, port, &[]).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_goes_on_while_the_vserver_moves() {
    for tool in ["nfs-ls", "nfs-cp", "nfs-cat"] {
        if ferry::need_tool(tool, PACKAGE).is_none() {
            return;
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let address = Ipv4Addr::new(127, 79, uuid::Uuid::new_v4().into_bytes()[0], 2);
    let port = free_port(address).unwrap();
    let (source, destination) = (start(dir.path(), "a", port).await, start(dir.path(), "b", port).await);
    peer(&source.api, &destination.api).await.unwrap();
    make_vserver(&source.api, "vs", address, 256 << 20).await.unwrap();
    let limit = json!({ "write_limit_bytes_per_s": COPY_RATE });
    source.api.put("/vservers/vs/qos", limit).await.unwrap();
    let url = |path: &str| format!("nfs://{address}{path}?version=3&nfsport={port}&mountport={port}");

    let local = dir.path().join("local");
    std::fs::write(&local, content()).unwrap();
    let small = dir.path().join("small");
    std::fs::write(&small, b"hello").unwrap();
    run_ok("nfs-cp", &[small.to_str().unwrap(), &url("//small")]).await;
    assert_eq!(run_ok("nfs-cat", &[&url("//small")]).await, b"hello");

    let (from, to) = (local.to_str().unwrap().to_owned(), url("/data/copied"));
    let copy = tokio::spawn(async move { run("nfs-cp", &[&from, &to]).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    let body = json!({ "vserver": "vs", "destination": "b" });
    source.api.post("/migrations", body).await.unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let all = source.api.get("/migrations").await.unwrap();
        let phase = all[0]["phase"].as_str().unwrap();
        if phase == "completed" {
            break;
        }
        let logs = || format!("{all}\n{}\n{}", source.log_tail(), destination.log_tail());
        assert!(phase != "failed" && Instant::now() < until, "{}", logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!copy.is_finished(), "the copy was to run through the move");
    let copied = copy.await.unwrap();
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));

    assert!(run_ok("nfs-cat", &[&url("/data/copied")]).await == content());
    assert_eq!(run_ok("nfs-cat", &[&url("//small")]).await, b"hello");
    let listing = String::from_utf8(run_ok("nfs-ls", &[&url("/data")]).await).unwrap();
    assert!(listing.contains("copied"), "{listing}");
}
