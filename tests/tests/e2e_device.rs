//! A vserver with a volume on a device moves away; the cleanup leaves the device blank. A regular file stands in for the
//! device; `block_device.rs` has a real one.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use ferry_tests::ferry::{self, until};
use gateway::demo::node::{Api, Node, free_port, make_vserver, peer};
use gateway::demo::workload::{Plan, Workload, read_back};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

const PLAN: Plan = Plan {
    sync_writers: 2,
    sync_records: 512,
    stream_writers: 1,
    stream_records: 1024,
    stream_pause: Duration::from_millis(20),
};

async fn phase(api: &Api) -> Option<Value> {
    api.get("/migrations").await.ok()?.get(0).cloned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_on_a_device_moves_away_and_leaves_it_blank() {
    let dir = tempfile::tempdir().unwrap();
    let device = dir.path().join("device");
    std::fs::File::create(&device).unwrap().set_len(256 << 20).unwrap();
    let address = Ipv4Addr::new(127, 79, 3, 11);
    let port = free_port(address).unwrap();
    let program = ferry::binary();
    let start = |name: &'static str| Node::start(&program, dir.path().join(name).leak(), name, port, &[]);
    let (alpha, beta) = (start("alpha").await.unwrap(), start("beta").await.unwrap());
    peer(&alpha.api, &beta.api).await.unwrap();
    make_vserver(&alpha.api, "vs", address, 64 << 20).await.unwrap();
    let new = json!({ "name": "fast", "device": device, "junction": "/fast", "policy": "demo" });
    alpha.api.post("/vservers/vs/volumes", new).await.unwrap();

    let server = SocketAddr::from((address, port));
    let work = Workload::start(server, "/", "/fast", PLAN).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    // The node dies; the device is mounted and replayed again.
    alpha.kill().await.unwrap();
    let alpha = start("alpha").await.unwrap();
    assert_eq!(alpha.api.get("/vservers/vs/volumes/fast").await.unwrap()["mounted"], json!(true));
    alpha.api.post("/migrations", json!({ "vserver": "vs", "destination": "beta" })).await.unwrap();
    let end = until("the end of the move", async || {
        phase(&alpha.api).await.filter(|m| m["phase"] == "completed" || m["phase"] == "failed")
    });
    let end = end.await;
    assert_eq!(end["phase"], "completed", "{end}\n{}\n{}", alpha.log_tail(), beta.log_tail());
    let written = work.stop().await.unwrap();
    let found = read_back(server, &written).await.unwrap();
    assert!(found.lost == 0 && found.damaged == 0, "{found:?}");
    assert_eq!(beta.api.get("/vservers/vs/volumes/fast").await.unwrap()["device"], Value::Null);

    let mut content = std::fs::read(&device).unwrap();
    assert!(content.iter().any(|byte| *byte != 0), "the copy that was left behind is there");
    let id = end["id"].as_str().unwrap();
    alpha.api.post(&format!("/migrations/{id}/cleanup"), json!({})).await.unwrap();
    until("the cleanup", async || {
        alpha.api.get("/vservers").await.ok().filter(|all| all.as_array().is_some_and(Vec::is_empty))
    })
    .await;
    content = std::fs::read(&device).unwrap();
    assert!(content.iter().all(|byte| *byte == 0), "the device is not blank");
}
