//! Locks of two clients through a move and a crash: both go on with what they had.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use ferry_tests::ferry;
use ferry_tests::lock_client::{Heard, LockClient, Lockd};
use gateway::client::{Client, Options};
use gateway::demo::node::{Node, free_port, make_vserver, peer};
use gateway::nfs3::procedures::CreateHow3;
use gateway::nfs3::types::SAttr3;
use gateway::nlm::types::{Nlm4LockArgs, Nlm4Stat};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

const GRACE_S: u64 = 6;

async fn start(dir: &Path, name: &str, port: u16) -> Node {
    Node::start(&ferry::binary(), &dir.join(name), name, port, &[]).await.unwrap()
}

/// The lock managers of both clients, where this process may have port 111.
async fn lock_managers(addresses: [Ipv4Addr; 2]) -> Option<[Lockd; 2]> {
    match (Lockd::new(addresses[0]).await, Lockd::new(addresses[1]).await) {
        (Ok(a), Ok(b)) => Some([a, b]),
        (Err(error), _) | (_, Err(error)) => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "port 111: {error}");
            eprintln!("skipped: what the server calls its clients with needs port 111: {error}");
            None
        }
    }
}

async fn move_to(node: &Node, destination: &str) {
    let body = json!({ "vserver": "vs", "destination": destination });
    node.api.post("/migrations", body).await.unwrap();
    let completed = async || {
        let all = node.api.get("/migrations").await.unwrap();
        assert_ne!(all[0]["phase"], "failed", "{all}\n{}", node.log_tail());
        (all[0]["phase"] == "completed").then_some(all)
    };
    ferry::until("the move's end", completed).await;
}

/// Whose locks there are, and what they are.
async fn kinds(node: &Node) -> Vec<String> {
    let locks = node.api.get("/vservers/vs/locks").await.unwrap();
    let text = |lock: &Value, field: &str| lock[field].as_str().unwrap().to_owned();
    let kind = |lock: &Value| format!("{} {}", text(lock, "client_name"), text(lock, "kind"));
    let mut all: Vec<String> = locks.as_array().unwrap().iter().map(kind).collect();
    all.sort();
    all
}

fn reclaim(args: &Nlm4LockArgs) -> Nlm4LockArgs {
    Nlm4LockArgs { reclaim: true, ..args.clone() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locks_move_with_a_vserver_and_come_back_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let third = uuid::Uuid::new_v4().into_bytes()[0];
    let lif = Ipv4Addr::new(127, 78, third, 2);
    let port = free_port(lif).unwrap();
    let (source, destination) = (start(dir.path(), "a", port).await, start(dir.path(), "b", port).await);
    peer(&source.api, &destination.api).await.unwrap();
    make_vserver(&source.api, "vs", lif, 64 << 20).await.unwrap();
    let server = SocketAddr::new(lif.into(), port);
    let client =
        |last, name, svid| LockClient { address: Ipv4Addr::new(127, 78, third, last), server, name, svid };
    let (a, b) = (client(11, "one", 111), client(12, "two", 222));
    let mut lockds = lock_managers([a.address, b.address]).await;

    let nfs = Client::new(server, Options::default());
    let data = nfs.mount("/data").await.unwrap();
    let how = CreateHow3::Unchecked(SAttr3::default());
    let file = nfs.create(&data, "file", how).await.unwrap().obj.unwrap();
    let (of_a, of_b) = (a.wants(&file.0, 0, 10), b.wants(&file.0, 5, 0));
    assert_eq!(a.lock(&of_a).await.unwrap(), Nlm4Stat::Granted);
    let waits = Nlm4LockArgs { block: true, ..of_b.clone() };
    assert_eq!(b.lock(&waits).await.unwrap(), Nlm4Stat::Blocked);
    let both = ["one exclusive", "two waits_exclusive"];
    assert_eq!(kinds(&source).await, both);

    move_to(&source, "b").await;
    assert_eq!(kinds(&destination).await, both);
    assert_eq!(b.holder(&of_b).await.unwrap(), Some(111), "{}", destination.log_tail());
    assert_eq!(a.unlock(&of_a).await.unwrap(), Nlm4Stat::Granted);
    if let Some([_, of_b]) = &mut lockds {
        // The first that it hears: nobody told it to reclaim.
        assert_eq!(of_b.hears().await.unwrap(), Heard::Granted(222, lif.into()));
    }
    assert_eq!(b.lock(&waits).await.unwrap(), Nlm4Stat::Granted);
    let of_a = a.wants(&file.0, 0, 5);
    assert_eq!(a.lock(&of_a).await.unwrap(), Nlm4Stat::Granted);

    destination.kill().await.unwrap();
    let config = dir.path().join("b").join("ferry.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("[nfs]\n", &format!("[nfs]\ngrace_period_s = {GRACE_S}\n")))
        .unwrap();
    let destination = start(dir.path(), "b", port).await;
    for lockd in lockds.iter_mut().flatten() {
        let Heard::Notify(change, from) = lockd.hears().await.unwrap() else { panic!("no SM_NOTIFY") };
        assert_eq!((change.mon_name.0, from), (lif.to_string().into(), IpAddr::from(lif)));
        assert_eq!(change.state, 3);
    }
    let new = a.wants(&file.0, 1 << 20, 1);
    assert_eq!(a.lock(&new).await.unwrap(), Nlm4Stat::DeniedGracePeriod);
    assert_eq!(a.lock(&reclaim(&of_a)).await.unwrap(), Nlm4Stat::Granted);
    assert_eq!(b.lock(&reclaim(&of_b)).await.unwrap(), Nlm4Stat::Granted);
    tokio::time::sleep(Duration::from_secs(GRACE_S)).await;
    assert_eq!(a.holder(&new).await.unwrap(), Some(222));
    assert_eq!(b.holder(&b.wants(&file.0, 4, 1)).await.unwrap(), Some(111));
    let holders = ["one exclusive", "two exclusive"];
    assert_eq!(kinds(&destination).await, holders);
}
