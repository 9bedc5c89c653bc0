//! Locks as an operator sees them, and what is left of them when a vserver stops.

use super::*;
use crate::handle::VolumeId;
use crate::openstate::{
    ByteRange, Client, FileKey, LockOutcome, LockRequest, Owner, Protocol, Wait, WatchedClient,
};
use crate::vserver::Vserver;
use fsstore::ROOT;

fn client(number: u8) -> Client {
    Client { protocol: Protocol::Nlm, address: [10, 0, 0, number].into(), name: Box::from(*b"host") }
}

async fn lock(vserver: &Vserver, number: u8, range: ByteRange) -> LockOutcome {
    let client = client(number);
    let local = [10, 0, 1, 1].into();
    let watched = WatchedClient { client: client.address, local, name: client.name.clone() };
    vserver.watched.watch(&watched).await.unwrap();
    let volume = vserver.namespace().mounts().find(|mount| mount.name == "data").map(|mount| mount.id);
    let request = LockRequest {
        file: FileKey { volume: volume.unwrap_or(VolumeId(0)), file: ROOT },
        owner: Owner { client: Arc::new(client), id: Box::from([7, 0xff]) },
        range,
        exclusive: true,
        incarnation: 1,
        now_s: 5,
        wait: Some(Wait::Told(Box::from([]))),
    };
    vserver.locks.lock(request).unwrap()
}

impl Node {
    fn vserver(&self) -> Arc<Vserver> {
        Arc::clone(&self.state.cluster.served("vs").unwrap().vserver)
    }

    async fn set_online(&self, online: bool) {
        let (status, answer) = self.ask("PATCH", "/vservers/vs", Some(json!({"online": online}))).await;
        assert_eq!(status, 200, "{answer}");
    }
}

#[tokio::test]
async fn locks_are_shown_and_those_of_one_client_broken() {
    let node = Node::with_vserver().await;
    assert_eq!(node.get("/vservers/vs/locks").await, json!([]));
    let vserver = node.vserver();
    assert_eq!(lock(&vserver, 1, ByteRange::new(3, 4)).await, LockOutcome::Granted);
    assert_eq!(lock(&vserver, 2, ByteRange::new(5, 0)).await, LockOutcome::Waiting);
    let view = |client: &str, kind: &str, offset: u64, length: Value| {
        json!({
            "volume": "data", "file": ROOT.ino.0, "kind": kind, "offset": offset, "length": length,
            "protocol": "nlm", "client": client, "client_name": "host", "owner": "07ff", "since_s": 5,
        })
    };
    let expected =
        [view("10.0.0.1", "exclusive", 3, json!(4)), view("10.0.0.2", "waits_exclusive", 5, Value::Null)];
    assert_eq!(node.get("/vservers/vs/locks").await, json!(expected));
    let break_locks =
        async |query: &str| node.ask("DELETE", &format!("/vservers/vs/locks{query}"), None).await;
    assert_eq!(break_locks("?client=10.0.0.1&name=other").await, (200, json!({"broken": 0})));
    assert_eq!(break_locks("?client=10.0.0.1").await, (200, json!({"broken": 1})));
    let left = node.get("/vservers/vs/locks").await;
    assert_eq!(left, json!([view("10.0.0.2", "exclusive", 5, Value::Null)]));
    for wrong in ["", "?client=ten", "?client=10.0.0.1&x=1"] {
        assert_eq!(break_locks(wrong).await.0, 400, "{wrong}");
    }
    assert_eq!(node.ask("GET", "/vservers/none/locks", None).await.0, 404);
}

#[tokio::test]
async fn a_vserver_that_was_stopped_cleanly_comes_back_with_its_locks() {
    let node = Node::with_vserver().await;
    assert_eq!(lock(&node.vserver(), 1, ByteRange::new(3, 4)).await, LockOutcome::Granted);
    let before = node.get("/vservers/vs/locks").await;
    let state = node.vserver().watched.state();
    for _ in 0..2 {
        node.set_online(false).await;
        node.set_online(true).await;
        assert_eq!(node.get("/vservers/vs/locks").await, before);
    }
    let vserver = node.vserver();
    assert!(!vserver.grace.is_on() && vserver.watched.to_tell().is_empty());
    assert_eq!((vserver.watched.state(), vserver.watched.len()), (state, 1));
}

#[tokio::test]
async fn after_a_crash_there_is_a_grace_period_if_somebody_had_locks() {
    let mut node = Node::with_vserver().await;
    let crash = |node: Node| {
        let dir = node.dir.clone();
        // The files stay: only this life of the node ends.
        let copy = std::env::temp_dir().join(format!("ferry-admin-{}", uuid::Uuid::new_v4()));
        let copied = std::process::Command::new("cp").args(["-a"]).arg(&dir).arg(&copy).status().unwrap();
        assert!(copied.success());
        drop(node);
        Node::open(copy)
    };
    node = crash(node);
    node.state.cluster.start().await.unwrap();
    let first = node.vserver().watched.state();
    assert!(!node.vserver().grace.is_on(), "nobody had locks");
    assert_eq!(lock(&node.vserver(), 1, ByteRange::new(3, 4)).await, LockOutcome::Granted);
    node = crash(node);
    node.state.cluster.start().await.unwrap();
    let vserver = node.vserver();
    assert!(vserver.grace.is_on());
    assert_eq!(node.get("/vservers/vs/locks").await, json!([]));
    assert_eq!(vserver.watched.to_tell().len(), 1);
    assert_eq!((vserver.watched.state(), first % 2), (first + 2, 1));
    // Stopped before everybody had time: it begins anew.
    node.set_online(false).await;
    node.set_online(true).await;
    assert!(node.vserver().grace.is_on());
    assert_eq!(node.vserver().watched.state(), first + 4);
}
