//! An NFS server in this process, with two volumes and nothing else of a node.

use anyhow::Context as _;
use fsstore::{FileDisk, FsError, Time, Tuning, Volume, VolumeSpec};
use gateway::handle::{HandleKey, VolumeId};
use gateway::portmap::Ports;
use gateway::programs;
use gateway::vserver::{ExportPolicies, ExportRule, MountedVolume, Namespace, Squash, Vserver, parse_client};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The secret of its file handles, the same for every server of these tests.
const KEY: [u8; 16] = [9; 16];

fn volume(
    dir: &Path,
    name: &str,
    junction: &str,
    bytes: u64,
    tuning: Tuning,
) -> Result<MountedVolume, FsError> {
    let uuid = Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes());
    let spec = VolumeSpec { uuid, size_bytes: bytes };
    let path = dir.join(name);
    let now = Time { secs: 1_000_000, nanos: 0 };
    let volume = if path.exists() {
        Volume::open(Arc::new(FileDisk::open(&path)?), tuning)?
    } else {
        Volume::create(Arc::new(FileDisk::create(&path, bytes)?), &spec, now, tuning)?
    };
    let (name, junction) = (name.to_owned(), junction.to_owned());
    Ok(MountedVolume { id: VolumeId::of(uuid), name, volume, junction, policy: "all".to_owned() })
}

/// A vserver with the volumes in `dir` (made if they are not there) at `/` and `/data`, open to this machine. Nothing serves it yet.
///
/// # Errors
/// The store's and the system's.
pub fn vserver(dir: &Path, bytes: u64, tuning: Tuning, early_replies: bool) -> anyhow::Result<Arc<Vserver>> {
    let vserver = Vserver::new("test", Uuid::from_u128(7), HandleKey::from_bytes(KEY), *b"verifier");
    let mounts =
        vec![volume(dir, "root", "/", bytes, tuning.clone())?, volume(dir, "data", "/data", bytes, tuning)?];
    vserver.set_namespace(Namespace::build(mounts, Time { secs: 1_000_001, nanos: 0 })?);
    let client = parse_client("127.0.0.0/8").context("a network")?;
    let rule = ExportRule { early_replies, ..ExportRule::new(client, true, Squash::None) };
    vserver.set_exports(ExportPolicies::new(BTreeMap::from([("all".to_owned(), vec![rule])])));
    Ok(vserver)
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
        Server::start_with(dir, address, bytes, Tuning::default(), false).await
    }

    /// The same with volumes of this tuning, and exported so that replies do not wait for the disk (`early_replies`) or do.
    ///
    /// # Errors
    /// As those of [`Server::start`].
    pub async fn start_with(
        dir: &Path,
        address: SocketAddr,
        bytes: u64,
        tuning: Tuning,
        early_replies: bool,
    ) -> anyhow::Result<Server> {
        let vserver = vserver(dir, bytes, tuning, early_replies)?;
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
