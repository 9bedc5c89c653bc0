//! The client's workload against a server in this process: all that was promised is there, and a tree stays what it was.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use fsstore::{FileDisk, Time, Tuning, Volume, VolumeSpec};
use gateway::client::{Client, Options};
use gateway::demo::tree;
use gateway::demo::workload::{Plan, Workload, read_back};
use gateway::handle::{HandleKey, VolumeId};
use gateway::nfs3;
use gateway::portmap::Ports;
use gateway::vserver::{ExportPolicies, ExportRule, MountedVolume, Namespace, Squash, Vserver, parse_client};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

fn volume(dir: &Path, name: &str, junction: &str, fresh: bool) -> MountedVolume {
    let uuid = Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes());
    let spec = VolumeSpec { uuid, size_bytes: 512 << 20 };
    let path = dir.join(name);
    let now = Time { secs: 1_000_000, nanos: 0 };
    let volume = if fresh {
        Volume::create(
            Arc::new(FileDisk::create(&path, spec.size_bytes).unwrap()),
            &spec,
            now,
            Tuning::default(),
        )
    } else {
        Volume::open(Arc::new(FileDisk::open(&path).unwrap()), Tuning::default())
    };
    let (name, junction) = (name.to_owned(), junction.to_owned());
    MountedVolume {
        id: VolumeId::of(uuid),
        name,
        volume: volume.unwrap(),
        junction,
        policy: "all".to_owned(),
    }
}

struct Server {
    vserver: Arc<Vserver>,
    address: SocketAddr,
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

/// Serves two volumes at `address` (port 0: any).
async fn serve(dir: &Path, key: &[u8; 32], address: SocketAddr, fresh: bool) -> Server {
    let key = HandleKey::from_bytes(*key);
    let vserver = Vserver::new("test", Uuid::from_u128(7), key, *b"verifier");
    let mounts = vec![volume(dir, "root", "/", fresh), volume(dir, "data", "/data", fresh)];
    vserver.set_namespace(Namespace::build(mounts, Time { secs: 1_000_001, nanos: 0 }).unwrap());
    let client = parse_client("127.0.0.0/8").unwrap();
    let rule = ExportRule { client, write: true, squash: Squash::None, anon_uid: 1, anon_gid: 1 };
    vserver.set_exports(ExportPolicies::new(BTreeMap::from([("all".to_owned(), vec![rule])])));
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let ports = Ports { nfs: address.port(), mount: address.port(), portmap: 0 };
    let cancel = CancellationToken::new();
    let task = tokio::spawn(nfs3::serve(listener, vserver.clone(), ports, cancel.clone()));
    Server { vserver, address, cancel, task }
}

const LOOPBACK: &str = "127.0.0.1:0";
const KEY: [u8; 32] = [9; 32];

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
    let server = serve(dir.path(), &KEY, LOOPBACK.parse().unwrap(), true).await;
    let work = Workload::start(server.address, "/", "/data", plan()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let seen = work.seen.clone();
    let written = work.stop().await.unwrap();
    let found = read_back(server.address, &written).await.unwrap();
    eprintln!("{seen:?} {found:?} longest call {:?}", seen.take_stall());
    assert_eq!((found.lost, found.damaged), (0, 0));
    assert!(found.records == 4 * 500 + 2 * 4096);

    // Dropped without a close, as a crash: the log has what was acknowledged.
    server.cancel.cancel();
    server.task.await.unwrap();
    drop(server.vserver);
    let again = serve(dir.path(), &KEY, LOOPBACK.parse().unwrap(), false).await;
    let found = read_back(again.address, &written).await.unwrap();
    assert_eq!((found.lost, found.damaged), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_tree_is_the_same_through_old_handles_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let server = serve(dir.path(), &KEY, LOOPBACK.parse().unwrap(), true).await;
    let client = Client::new(server.address, Options::default());
    let root = client.mount("/").await.unwrap();
    tree::populate(&client, &client.mount("/data").await.unwrap()).await.unwrap();
    let before = tree::walk(&client, &root).await.unwrap();
    assert!(before.contains_key("/data/dir-3/renamed ü.dat"), "the walk crosses the junction");
    let address = server.address;
    server.cancel.cancel();
    server.task.await.unwrap();
    drop(server.vserver);
    let _again = serve(dir.path(), &KEY, address, false).await;
    assert!(tree::walk(&client, &root).await.unwrap() == before);
    for found in before.values() {
        assert!(tree::look(&client, &found.handle).await.unwrap() == *found);
    }
    assert_eq!(client.connections(), 2, "one client, one new connection");
}
