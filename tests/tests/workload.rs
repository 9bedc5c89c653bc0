//! The client's workload against a server in this process: all that was promised is there, and a tree stays what it was.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use ferry_tests::serve::Server;
use gateway::client::{Client, Options};
use gateway::demo::tree;
use gateway::demo::workload::{Plan, Workload, read_back};
use std::time::Duration;

const LOOPBACK: &str = "127.0.0.1:0";
const BYTES: u64 = 512 << 20;

fn plan() -> Plan {
    Plan {
        sync_writers: 4,
        sync_records: 500,
        stream_writers: 2,
        stream_records: 4096,
        stream_pause: Duration::ZERO,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_the_server_promised_is_there_also_after_it_died() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), LOOPBACK.parse().unwrap(), BYTES).await.unwrap();
    let work = Workload::start(server.address, "/", "/data", plan()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let seen = work.seen.clone();
    let written = work.stop().await.unwrap();
    let found = read_back(server.address, &written).await.unwrap();
    eprintln!("{seen:?} {found:?} longest call {:?}", seen.take_stall());
    assert_eq!((found.lost, found.damaged), (0, 0));
    assert!(found.records == 4 * 500 + 2 * 4096);

    // Dropped without a close, as a crash: the log has what was acknowledged.
    server.crash().await;
    let again = Server::start(dir.path(), LOOPBACK.parse().unwrap(), BYTES).await.unwrap();
    let found = read_back(again.address, &written).await.unwrap();
    assert_eq!((found.lost, found.damaged), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_tree_is_the_same_through_old_handles_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), LOOPBACK.parse().unwrap(), BYTES).await.unwrap();
    let client = Client::new(server.address, Options::default());
    let root = client.mount("/").await.unwrap();
    tree::populate(&client, &client.mount("/data").await.unwrap()).await.unwrap();
    let before = tree::walk(&client, &root).await.unwrap();
    assert!(before.contains_key("/data/dir-3/renamed ü.dat"), "the walk crosses the junction");
    let address = server.address;
    server.crash().await;
    let _again = Server::start(dir.path(), address, BYTES).await.unwrap();
    assert!(tree::walk(&client, &root).await.unwrap() == before);
    for found in before.values() {
        assert!(tree::look(&client, &found.handle).await.unwrap() == *found);
    }
    assert_eq!(client.connections(), 2, "one client, one new connection");
}
