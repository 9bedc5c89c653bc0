//! A clone under load beside its parent, a node that dies, and the move of both: where they arrive they are two volumes that
//! need one another no more.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use bytes::Bytes;
use ferry_tests::ferry::{self, until};
use gateway::client::{Client, Options};
use gateway::demo::node::{Api, Node, free_port, make_vserver, peer};
use gateway::demo::workload::{Plan, Workload, read_back};
use gateway::nfs3::procedures::CreateHow3;
use gateway::nfs3::types::{SAttr3, StableHow};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

const PLAN: Plan = Plan {
    sync_writers: 2,
    sync_records: 256,
    stream_writers: 1,
    stream_records: 512,
    stream_pause: Duration::from_millis(20),
};
const PIECE: usize = 1 << 16;

/// Eight pieces of one byte each, into a file that is made if it is not there.
async fn put(server: SocketAddr, path: &str, byte: u8) {
    let client = Client::new(server, Options::default());
    let dir = client.mount(path).await.unwrap();
    let how = CreateHow3::Unchecked(SAttr3 { mode: Some(0o644), ..SAttr3::default() });
    client.create(&dir, "kept", how).await.unwrap();
    let file = client.lookup(&dir, "kept").await.unwrap().object;
    for piece in 0..8 {
        let data = Bytes::from(vec![byte; PIECE]);
        client.write(&file, piece * PIECE as u64, data, StableHow::FileSync).await.unwrap();
    }
}

/// The byte of which the file is, from its first to its last.
async fn kept(server: SocketAddr, path: &str) -> u8 {
    let client = Client::new(server, Options::default());
    let dir = client.mount(path).await.unwrap();
    let file = client.lookup(&dir, "kept").await.unwrap().object;
    let mut seen = Vec::new();
    for piece in 0..8 {
        let count = u32::try_from(PIECE).unwrap();
        let read = client.read(&file, piece * PIECE as u64, count).await.unwrap();
        seen.extend_from_slice(&read.data.bytes());
    }
    assert!(seen.len() == 8 * PIECE && seen.iter().all(|byte| *byte == seen[0]), "{path}: a torn file");
    seen[0]
}

async fn volume(api: &Api, name: &str) -> Value {
    api.get(&format!("/vservers/vs/volumes/{name}")).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vserver_with_a_clone_moves() {
    let dir = tempfile::tempdir().unwrap();
    let address = Ipv4Addr::new(127, 79, 3, 21);
    let port = free_port(address).unwrap();
    let server = SocketAddr::from((address, port));
    let program = ferry::binary();
    let start = |name: &'static str| Node::start(&program, dir.path().join(name).leak(), name, port, &[]);
    let (alpha, beta) = (start("alpha").await.unwrap(), start("beta").await.unwrap());
    peer(&alpha.api, &beta.api).await.unwrap();
    make_vserver(&alpha.api, "vs", address, 128 << 20).await.unwrap();
    let at = "/vservers/vs/volumes/data";
    alpha
        .api
        .put(&format!("{at}/snapshot-schedule"), json!({ "schedule": "hourly 6, daily 7" }))
        .await
        .unwrap();
    put(server, "/data", 1).await;
    alpha.api.post(&format!("{at}/snapshots"), json!({ "name": "monday" })).await.unwrap();
    put(server, "/data", 2).await;
    let clone = json!({ "name": "test", "snapshot": "monday" });
    alpha.api.post(&format!("{at}/clones"), clone).await.unwrap();
    assert_eq!((kept(server, "/data").await, kept(server, "/test").await), (2, 1));

    let parents = Workload::start(server, "/", "/data", PLAN).await.unwrap();
    let clones = Workload::start(server, "/test", "/test", PLAN).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    // The node dies: the clone is mounted over its parent and replayed again.
    alpha.kill().await.unwrap();
    let alpha = start("alpha").await.unwrap();
    assert_eq!(volume(&alpha.api, "test").await["clone_of"]["parent"], json!("data"));
    assert_eq!(kept(server, "/test").await, 1);

    alpha.api.post("/migrations", json!({ "vserver": "vs", "destination": "beta" })).await.unwrap();
    let end = until("the end of the move", async || {
        let all = alpha.api.get("/migrations").await.ok()?;
        all.get(0).cloned().filter(|m| m["phase"] == "completed" || m["phase"] == "failed")
    });
    let end = end.await;
    assert_eq!(end["phase"], "completed", "{end}\n{}\n{}", alpha.log_tail(), beta.log_tail());
    let mut written = parents.stop().await.unwrap();
    written.extend(clones.stop().await.unwrap());
    let found = read_back(server, &written).await.unwrap();
    assert!(found.lost == 0 && found.damaged == 0, "{found:?}");
    assert_eq!((kept(server, "/data").await, kept(server, "/test").await), (2, 1));

    // Two volumes: the clone's parent can go, and nothing of it is missing.
    assert_eq!(volume(&beta.api, "test").await["clone_of"], Value::Null);
    assert_eq!(volume(&beta.api, "data").await["snapshot_schedule"], json!("hourly 6, daily 7"));
    let snapshots = beta.api.get("/vservers/vs/volumes/test/snapshots").await.unwrap();
    let bases =
        snapshots.as_array().unwrap().iter().filter(|snapshot| snapshot["made_by"] == "clone").count();
    assert_eq!(bases, 0, "{snapshots}");
    std::fs::remove_dir_all(dir.path().join("alpha")).unwrap();
    assert_eq!(kept(server, "/test").await, 1);
}
