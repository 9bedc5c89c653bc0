//! A real server over real volumes on loopback, and a real client, for the tests of this protocol.

mod acl;
mod exports;
mod golden;
mod lifecycle;
mod malformed;
mod others;
mod procedures;

use super::procedures::*;
use super::status::NfsStat3;
use super::types::*;
use crate::client::{Client, ClientError, Options};
use crate::handle::{HandleKey, VolumeId};
use crate::portmap::Ports;
use crate::programs::serve;
use crate::vserver::{ExportPolicies, ExportRule, MountedVolume, Namespace, Squash, Vserver, parse_client};
use bytes::Bytes;
use fsstore::{FileDisk, Time, Tuning, Volume, VolumeSpec};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const PORTS: Ports = Ports { nfs: 2049, mount: 20048, portmap: 111, nlm: 0, nsm: 0 };
const MIB: u64 = 1 << 20;

fn rule(client: &str, write: bool, squash: Squash) -> ExportRule {
    ExportRule {
        anon_uid: 700,
        anon_gid: 700,
        ..ExportRule::new(parse_client(client).unwrap(), write, squash)
    }
}

fn volume(dir: &Path, name: &str, mib: u64) -> Arc<Volume> {
    let disk = Arc::new(FileDisk::create(&dir.join(name), mib * MIB).unwrap());
    let spec = VolumeSpec { uuid: Uuid::new_v4(), size_bytes: mib * MIB };
    Volume::create(disk, &spec, Time { secs: 1, nanos: 0 }, Tuning::default()).unwrap()
}

fn mounted(volume: Arc<Volume>, junction: &str, policy: &str) -> MountedVolume {
    let name = junction.replace('/', "_");
    MountedVolume {
        id: VolumeId::of(volume.uuid()),
        name,
        volume,
        junction: junction.to_owned(),
        policy: policy.to_owned(),
    }
}

/// A vserver with a volume at `/` and another at `/sub`, reachable from everywhere without squashing.
struct Fixture {
    dir: TempDir,
    vserver: Arc<Vserver>,
}

impl Fixture {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let vserver = Vserver::new("vs1", Uuid::new_v4(), HandleKey::generate(), *b"verifier");
        let fixture = Fixture { dir, vserver };
        let mounts = vec![
            mounted(volume(fixture.dir.path(), "root", 32), "/", "default"),
            mounted(volume(fixture.dir.path(), "sub", 8), "/sub", "default"),
        ];
        fixture.vserver.set_namespace(Namespace::build(mounts, Time { secs: 2, nanos: 0 }).unwrap());
        fixture.export(vec![rule("127.0.0.0/8", true, Squash::None)]);
        fixture
    }

    fn export(&self, rules: Vec<ExportRule>) {
        self.vserver.set_exports(ExportPolicies::new(BTreeMap::from([("default".to_owned(), rules)])));
    }

    async fn serve(&self) -> Served {
        Served::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), Arc::clone(&self.vserver))
    }
}

/// One listener being served.
struct Served {
    address: SocketAddr,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Served {
    fn start(listener: TcpListener, vserver: Arc<Vserver>) -> Self {
        let address = listener.local_addr().unwrap();
        let cancel = CancellationToken::new();
        let task = tokio::spawn(serve(listener, vserver, PORTS, cancel.clone()));
        Served { address, cancel, task }
    }

    async fn stop(self) {
        self.cancel.cancel();
        self.task.await.unwrap();
    }

    fn client(&self) -> Client {
        self.client_as(0, 0)
    }

    fn client_as(&self, uid: u32, gid: u32) -> Client {
        Client::new(
            self.address,
            Options { uid, gid, deadline: Duration::from_secs(20), ..Options::default() },
        )
    }
}

/// A fixture, its server, a superuser's client and the root's handle.
async fn all() -> (Fixture, Served, Client, NfsFh3) {
    let fixture = Fixture::new();
    let served = fixture.serve().await;
    let client = served.client();
    let root = client.mount("/").await.unwrap();
    (fixture, served, client, root)
}

fn status<T: std::fmt::Debug>(result: Result<T, ClientError>) -> NfsStat3 {
    match result.unwrap_err() {
        ClientError::Nfs(status) => status,
        other => panic!("{other:?}"),
    }
}

fn mode(mode: u32) -> SAttr3 {
    SAttr3 { mode: Some(mode), ..SAttr3::default() }
}

async fn make(client: &Client, dir: &NfsFh3, name: &str) -> NfsFh3 {
    client.create(dir, name, CreateHow3::Guarded(mode(0o644))).await.unwrap().obj.unwrap()
}

fn text(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}
