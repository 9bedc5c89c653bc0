//! What a migration needs of the cluster it runs in. The gateway implements these; tests have their own.
//!
//! Every method is idempotent: after a crash the driver calls it again with the same arguments. Methods run
//! on the async runtime; one that blocks must move to a blocking thread itself.

use crate::model::{Epoch, MigrationId, MigrationRecord, VolumeInfo};
use fsstore::{Replica, Volume};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use uuid::Uuid;

/// A failure of a port, in words for people. The machine decides what follows from which call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HostError(pub String);

impl HostError {
    /// From anything that can be shown.
    pub fn new(error: impl std::fmt::Display) -> Self {
        HostError(error.to_string())
    }
}

/// What every port method returns: `Box::pin(async move { ... })`.
pub type PortFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, HostError>> + Send + 'a>>;

/// Durable records of migrations, of both roles.
pub trait Journal: Send + Sync {
    /// Makes the record durable, replacing the one with its id. Durable when it returns.
    fn save<'a>(&'a self, record: &'a MigrationRecord) -> PortFuture<'a, ()>;
    /// All records.
    fn load_all(&self) -> PortFuture<'_, Vec<MigrationRecord>>;
}

/// A volume of a vserver that is to move.
#[derive(Clone, Debug)]
pub struct SourceVolume {
    /// Identity, name, size, opaque attributes.
    pub info: VolumeInfo,
    /// The mounted volume.
    pub volume: Arc<Volume>,
}

/// Who owns a vserver, as the durable configuration says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ownership {
    /// The highest epoch known here.
    pub epoch: Epoch,
    /// Whether this cluster holds that epoch.
    pub here: bool,
}

/// The cluster that a vserver leaves.
///
/// Freeze and write limit are volatile: a node that restarts begins thawed and unlimited, and serves the
/// vservers that the durable ownership says are here. Ownership is durable.
pub trait SourceHost: Send + Sync {
    /// Checks that the vserver exists, is owned here, runs, and all its volumes are mounted without fault;
    /// marks it as migrating, so that a second migration and changes of its set of volumes are refused.
    /// Repeated calls with the same id succeed.
    fn begin<'a>(&'a self, vserver: &'a str, id: MigrationId) -> PortFuture<'a, ()>;
    /// Takes the mark away again (abort, or completion).
    fn end<'a>(&'a self, vserver: &'a str, id: MigrationId) -> PortFuture<'a, ()>;
    /// The volumes, in a stable order.
    fn volumes<'a>(&'a self, vserver: &'a str) -> PortFuture<'a, Vec<SourceVolume>>;
    /// The vserver's configuration (CRS): export policies, LIFs, namespace, QoS, file handle key, ... At
    /// most a few MiB. Secret: never logged, sent only over the mutually authenticated link.
    fn config<'a>(&'a self, vserver: &'a str) -> PortFuture<'a, Vec<u8>>;
    /// Protocol state that moves (reply cache, write verifier, ...). Called while frozen; at most 8 MiB.
    fn open_state<'a>(&'a self, vserver: &'a str) -> PortFuture<'a, Vec<u8>>;
    /// Sets or lifts the limit on client writes.
    fn set_write_limit<'a>(&'a self, vserver: &'a str, bytes_per_s: Option<u64>) -> PortFuture<'a, ()>;
    /// What clients have written in about the last second, in bytes per second.
    fn write_rate<'a>(&'a self, vserver: &'a str) -> PortFuture<'a, u64>;
    /// Holds new requests; returns when none is in flight. The future may be dropped; [`thaw`](Self::thaw)
    /// follows then.
    fn freeze<'a>(&'a self, vserver: &'a str) -> PortFuture<'a, ()>;
    /// Lets requests through again. Also when not frozen.
    fn thaw<'a>(&'a self, vserver: &'a str) -> PortFuture<'a, ()>;
    /// The durable ownership.
    fn ownership<'a>(&'a self, vserver: &'a str) -> PortFuture<'a, Ownership>;
    /// The one irreversible step: durably records that the cluster `to` owns the vserver under `epoch`
    /// (the next one), then closes the gate for good, takes the LIFs down and drops the connections.
    /// An error means that it may or may not have happened: the driver then asks [`ownership`](Self::ownership).
    /// If the ownership is given up already, it only makes sure of the rest.
    fn relinquish<'a>(&'a self, vserver: &'a str, epoch: Epoch, to: &'a str) -> PortFuture<'a, ()>;
    /// The destination serves: closes the volumes and keeps them offline until cleanup.
    fn retire<'a>(&'a self, vserver: &'a str) -> PortFuture<'a, ()>;
    /// Removes the vserver's offline copy.
    fn cleanup<'a>(&'a self, vserver: &'a str) -> PortFuture<'a, ()>;
}

/// What the destination is to make room for.
#[derive(Clone, Debug)]
pub struct Placeholder {
    /// Which migration asks.
    pub id: MigrationId,
    /// Name of the vserver.
    pub vserver: String,
    /// Name of the source cluster.
    pub source: String,
    /// The source's epoch.
    pub epoch: Epoch,
    /// [`SourceHost::config`] as it was at setup; a newer one comes with the cutover.
    pub config: Vec<u8>,
    /// The volumes to create as replicas.
    pub volumes: Vec<VolumeInfo>,
}

/// The cluster that a vserver arrives at.
pub trait DestinationHost: Send + Sync {
    /// Makes the placeholder durable: a vserver that does not serve, its LIFs configured and down, and an
    /// empty [`Replica`] for every volume. Fails if the name or a volume is taken by anything but this migration.
    fn prepare<'a>(&'a self, placeholder: &'a Placeholder) -> PortFuture<'a, ()>;
    /// The replica of a volume, opened on first use (also after a restart). The driver drops every clone
    /// before it calls [`activate`](Self::activate) or [`discard`](Self::discard).
    fn replica<'a>(&'a self, vserver: &'a str, volume: Uuid) -> PortFuture<'a, Arc<Replica>>;
    /// Takes over configuration and open state of the frozen source, durably, without serving.
    /// A later call replaces what an earlier one brought.
    fn apply<'a>(&'a self, vserver: &'a str, config: &'a [u8], open_state: &'a [u8]) -> PortFuture<'a, ()>;
    /// Forgets what [`apply`](Self::apply) brought; the placeholder stays.
    fn rollback<'a>(&'a self, vserver: &'a str) -> PortFuture<'a, ()>;
    /// Durably owns the vserver under `epoch`, mounts the volumes from the replicas, imports the open
    /// state, brings the LIFs up and serves. After a restart it is called again, or the node has
    /// already served the vserver that it owns: both end the same.
    fn activate<'a>(&'a self, vserver: &'a str, epoch: Epoch) -> PortFuture<'a, ()>;
    /// Removes placeholder and replicas. Never called after `activate`.
    fn discard<'a>(&'a self, vserver: &'a str, id: MigrationId) -> PortFuture<'a, ()>;
    /// The move is over on both sides: snapshots whose names begin with `snapshot_prefix` are of no more use.
    fn finish<'a>(&'a self, vserver: &'a str, snapshot_prefix: &'a str) -> PortFuture<'a, ()>;
}

/// SHA-256 of a certificate's DER.
pub type Fingerprint = [u8; 32];

/// Another cluster that was peered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: String,
    /// Where it answers peers.
    pub address: SocketAddr,
    /// The pin: its certificate and no other.
    pub fingerprint: Fingerprint,
}

/// This cluster's certificate and key for peers.
#[derive(Clone)]
pub struct Identity {
    /// Certificate, DER.
    pub certificate: Vec<u8>,
    /// Private key, PKCS #8 DER.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity(..)")
    }
}

/// The peers of this cluster, as they are now.
pub trait Peers: Send + Sync {
    /// This cluster's identity.
    fn identity(&self) -> Identity;
    /// The peer of that name.
    fn by_name(&self, name: &str) -> Option<Peer>;
    /// The peer with that certificate.
    fn by_fingerprint(&self, fingerprint: &Fingerprint) -> Option<Peer>;
}
