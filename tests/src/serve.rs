//! An NFS server in this process, with two volumes and nothing else of a node.

use fsstore::{FileDisk, FsError, Time, Tuning, Volume, VolumeSpec};
use gateway::handle::{HandleKey, VolumeId};
use gateway::portmap::Ports;
use gateway::programs;
use gateway::vserver::{ExportPolicies, ExportRule, MountedVolume, Namespace, Squash, Vserver};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The secret of its file handles, the same for every server of these tests.
const KEY: [u8; 32] = [9; 32];

fn volume(dir: &Path, name: &str, junction: &str, bytes: u64) -> Result<MountedVolume, FsError> {
    let uuid = Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes());
    let spec = VolumeSpec { uuid, size_bytes: bytes };
    let path = dir.join(name);
    let now = Time { secs: 1_000_000, nanos: 0 };
    let volume = if path.exists() {
        Volume::open(Arc::new(FileDisk::open(&path)?), Tuning::default())?
    } else {
        Volume::create(Arc::new(FileDisk::create(&path, bytes)?), &spec, now, Tuning::default())?
    };
    let (name, junction) = (name.to_owned(), junction.to_owned());
    Ok(MountedVolume { id: VolumeId::of(uuid), name, volume, junction, policy: "all".to_owned() })
}

/// A server that runs.
pub struct Server {
    vserver: Arc<Vserver>,
    /// Where it answers NFS and MOUNT.
    pub address: SocketAddr,
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Serves the volumes in `dir` (made if they are not there, of `bytes` each) at `/` and `/data`, at `address`
    /// (port 0: any).
    ///
    /// # Errors
    /// The store's and the system's.
    pub async fn start(dir: &Path, address: SocketAddr, bytes: u64) -> anyhow::Result<Server> {
        let vserver = Vserver::new("test", Uuid::from_u128(7), HandleKey::from_bytes(KEY), *b"verifier");
        let mounts = vec![volume(dir, "root", "/", bytes)?, volume(dir, "data", "/data", bytes)?];
        vserver.set_namespace(Namespace::build(mounts, Time { secs: 1_000_001, nanos: 0 })?);
        let client = "127.0.0.0/8".parse()?;
        let rule = ExportRule { client, write: true, squash: Squash::None, anon_uid: 1, anon_gid: 1 };
        vserver.set_exports(ExportPolicies::new(BTreeMap::from([("all".to_owned(), vec![rule])])));
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let ports = Ports { nfs: address.port(), mount: address.port(), portmap: 0, nlm: 0, nsm: 0 };
        let cancel = CancellationToken::new();
        let task = tokio::spawn(programs::serve(listener, vserver.clone(), ports, cancel.clone()));
        Ok(Server { vserver, address, cancel, task })
    }

    /// Ends as a crash would: the volumes are not closed.
    pub async fn crash(self) {
        self.cancel.cancel();
        // A panic of the server shows as calls without answers.
        let _ = self.task.await;
        drop(self.vserver);
    }
}
