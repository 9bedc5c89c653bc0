//! The records of the configuration store. Plain data as it is stored; secrets do not show in `Debug`.

use super::{Sealed, SmbRecord, Table};
use crate::handle::HandleKey;
use crate::schedule::Schedule;
use crate::vserver::ExportRule;
use ipnet::IpNet;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use uuid::Uuid;

/// Something that the store keeps.
pub trait Record: Serialize + DeserializeOwned {
    /// Where.
    const TABLE: Table;
    /// Under which key.
    fn key(&self) -> String;
}

/// Who owns a vserver, as far as this cluster knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ownership {
    /// Raised by each move; only the holder of the highest durable epoch serves.
    pub epoch: u64,
    /// What this cluster is to the vserver under that epoch.
    pub state: OwnershipState,
}

/// What this cluster is to a vserver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnershipState {
    /// The owner; clients are served here.
    Serving,
    /// The owner; clients are served here while a migration copies it away.
    Migrating {
        /// Which one.
        migration: Uuid,
    },
    /// Not the owner: room made for a vserver that is arriving.
    Placeholder {
        /// With which migration.
        migration: Uuid,
        /// From which cluster.
        source: String,
    },
    /// Not the owner any more: the copy that was left behind.
    Relinquished {
        /// The cluster that owns it under this epoch.
        to: String,
    },
    /// The owner, stopped by an operator.
    Offline,
}

impl OwnershipState {
    /// Whether this node is to serve the vserver. Everything else may never be served.
    pub fn serves(&self) -> bool {
        matches!(self, OwnershipState::Serving | OwnershipState::Migrating { .. })
    }

    /// Whether this cluster owns the vserver.
    pub fn owns(&self) -> bool {
        self.serves() || *self == OwnershipState::Offline
    }

    /// The word that the API shows.
    pub fn name(&self) -> &'static str {
        match self {
            OwnershipState::Serving => "serving",
            OwnershipState::Migrating { .. } => "migrating",
            OwnershipState::Placeholder { .. } => "placeholder",
            OwnershipState::Relinquished { .. } => "relinquished",
            OwnershipState::Offline => "offline",
        }
    }
}

/// Limits that an operator set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QosRecord {
    /// Most bytes per second that clients may write.
    pub write_limit_bytes_per_s: Option<u64>,
    /// Most NFS calls per second of all clients together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_ops_per_s: Option<u64>,
    /// Most bytes per second that all clients together may read and write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_bytes_per_s: Option<u64>,
    /// Most NFS calls per second of one client address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_limit_ops_per_s: Option<u64>,
    /// Most bytes per second that one client address may read and write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_limit_bytes_per_s: Option<u64>,
}

/// A virtual server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VserverRecord {
    /// Name, unique in the cluster.
    pub name: String,
    /// Identity, the same wherever it moves.
    pub uuid: Uuid,
    /// Who owns it.
    pub ownership: Ownership,
    /// Signs file handles. Secret.
    pub handle_key: HandleKey,
    /// The write verifier of now.
    pub write_verifier: [u8; 8],
    /// Set while its volumes are mounted; found set at a start, the node went down uncleanly.
    pub mounted: bool,
    /// Export policies by name.
    pub export_policies: BTreeMap<String, Vec<ExportRule>>,
    /// Limits.
    pub qos: QosRecord,
    /// Which life it is, as clients of its lock manager are told (NSM's `state`): odd, and another one whenever their
    /// locks were lost; 0 before its first.
    #[serde(default)]
    pub nsm_state: u32,
    /// Calls run with the groups of the node's user database, and not with the up to 16 that they name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub extended_groups: bool,
    /// SMB users, groups and shares.
    #[serde(default, skip_serializing_if = "SmbRecord::is_default")]
    pub smb: SmbRecord,
}

impl Record for VserverRecord {
    const TABLE: Table = Table::Vservers;
    fn key(&self) -> String {
        self.name.clone()
    }
}

/// Whether the host sets aside space for a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Guarantee {
    /// No: the volume takes space from the host as it needs it, and gives free blocks back (thin provisioning).
    #[default]
    None,
    /// All of it, from the beginning.
    Volume,
}

/// A volume of a vserver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRecord {
    /// Name of the vserver.
    pub vserver: String,
    /// Name, unique in the vserver.
    pub name: String,
    /// Identity, the same wherever it moves; also the name of its file.
    pub uuid: Uuid,
    /// Address space in bytes.
    pub size_bytes: u64,
    /// Where it is mounted.
    pub junction: String,
    /// Export policy.
    pub policy: String,
    /// What it does with snapshots by itself.
    #[serde(default)]
    pub snapshots: SnapshotSettings,
    /// Where some of its blocks are, while it is a clone.
    #[serde(default)]
    pub clone_of: Option<CloneRecord>,
    /// Whether the host sets aside its space.
    #[serde(default)]
    pub guarantee: Guarantee,
}

/// What a volume does with snapshots by itself. Moves with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotSettings {
    /// Where `.snapshot` is.
    #[serde(default)]
    pub dir: SnapshotDirSetting,
    /// When snapshots are taken, and how many stay.
    #[serde(default)]
    pub schedule: Option<ScheduleRecord>,
}

/// Where clients find `.snapshot`. It is in no listing: they ask for it by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotDirSetting {
    /// In the volume's root
    #[default]
    Root,
    /// In every directory
    Everywhere,
    /// Nowhere
    Off,
}

impl From<SnapshotDirSetting> for fsstore::SnapshotDir {
    fn from(setting: SnapshotDirSetting) -> Self {
        match setting {
            SnapshotDirSetting::Root => fsstore::SnapshotDir::Root,
            SnapshotDirSetting::Everywhere => fsstore::SnapshotDir::Everywhere,
            SnapshotDirSetting::Off => fsstore::SnapshotDir::Off,
        }
    }
}

/// A snapshot schedule that is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleRecord {
    /// Its rules.
    pub rules: Schedule,
    /// When it was set, in seconds since 1970: nothing is taken for the time before.
    pub since_s: i64,
}

/// The parent of a clone. The parent's snapshot can't be deleted as long as such a record names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloneRecord {
    /// The parent, in the same vserver.
    pub parent: Uuid,
    /// Number of the parent's snapshot.
    pub snapshot: u64,
    /// Its name, for people.
    pub snapshot_name: String,
    /// Whether an operator has asked for the clone to get blocks of its own.
    #[serde(default)]
    pub splitting: bool,
}

impl Record for VolumeRecord {
    const TABLE: Table = Table::Volumes;
    fn key(&self) -> String {
        format!("{}/{}", self.vserver, self.name)
    }
}

/// The ports that a LIF listens on. They move with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LifPorts {
    /// NFS.
    pub nfs: u16,
    /// MOUNT.
    pub mount: u16,
    /// Portmapper; 0: none.
    pub portmap: u16,
    /// Lock manager; 0 or absent: the port of NFS.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub nlm: u16,
    /// Status monitor; 0 or absent: the port of NFS.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub nsm: u16,
    /// SMB, as long as the vserver has a share; 0 or absent: never.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub smb: u16,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(port: &u16) -> bool {
    *port == 0
}

impl LifPorts {
    /// Where connections come in, but for SMB's. One port may be several programs'.
    pub fn tcp(&self) -> BTreeSet<u16> {
        let all = [self.nfs, self.mount, self.portmap, self.nlm, self.nsm];
        all.into_iter().filter(|port| *port != 0).collect()
    }

    /// The lock manager's port.
    pub fn nlm_port(&self) -> u16 {
        if self.nlm == 0 { self.nfs } else { self.nlm }
    }

    /// The status monitor's port.
    pub fn nsm_port(&self) -> u16 {
        if self.nsm == 0 { self.nfs } else { self.nsm }
    }

    /// Where datagrams come in: NFS itself is not served over UDP.
    pub fn udp(&self) -> BTreeSet<u16> {
        let all = [self.mount, self.portmap, self.nlm_port(), self.nsm_port()];
        all.into_iter().filter(|port| *port != 0).collect()
    }
}

/// A logical interface of a vserver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifRecord {
    /// Name of the vserver.
    pub vserver: String,
    /// Name, unique in the vserver.
    pub name: String,
    /// Address and prefix length.
    pub address: IpNet,
    /// Network interface that gets the address while the LIF is up; `None`: the host has the address already.
    pub interface: Option<String>,
    /// Node that it is up on when nothing is broken.
    pub home: String,
    /// Where it listens.
    pub ports: LifPorts,
}

impl Record for LifRecord {
    const TABLE: Table = Table::Lifs;
    fn key(&self) -> String {
        format!("{}/{}", self.vserver, self.name)
    }
}

/// Another cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRecord {
    /// Its name.
    pub name: String,
    /// Where it answers peers.
    pub address: SocketAddr,
    /// Its certificate, DER: the pin.
    pub certificate: Vec<u8>,
}

impl Record for PeerRecord {
    const TABLE: Table = Table::Peers;
    fn key(&self) -> String {
        self.name.clone()
    }
}

/// A migration's durable record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MigrationEntry(pub migrate::MigrationRecord);

impl Record for MigrationEntry {
    const TABLE: Table = Table::Migrations;
    fn key(&self) -> String {
        self.0.id.to_string()
    }
}

/// What the cutover of a migration brought for a vserver. The protocol state is client data: not to be shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedRecord {
    /// Name of the vserver.
    pub vserver: String,
    /// The configuration as the source sent it, with its secrets: sealed.
    pub config: Sealed,
    /// The protocol state, as the source sent it.
    #[serde(with = "base64_text")]
    pub open_state: Vec<u8>,
}

impl std::fmt::Debug for AppliedRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AppliedRecord({}, ..)", self.vserver)
    }
}

impl Record for AppliedRecord {
    const TABLE: Table = Table::Applied;
    fn key(&self) -> String {
        self.vserver.clone()
    }
}

/// A client that must be told if its locks are lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchedRecord {
    /// Name of the vserver.
    pub vserver: String,
    /// Address of the client.
    pub client: IpAddr,
    /// Address of the vserver that the client knows.
    pub local: IpAddr,
    /// What the client calls itself.
    #[serde(with = "base64_text")]
    pub name: Vec<u8>,
}

impl Record for WatchedRecord {
    const TABLE: Table = Table::Watched;
    fn key(&self) -> String {
        let name: String = self.name.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}/{}/{}/{name}", self.vserver, self.client, self.local)
    }
}

/// The locks of a vserver that was stopped cleanly or has just arrived, until it runs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocksRecord {
    /// Name of the vserver.
    pub vserver: String,
    /// The open state, as `LockTable::export` gives it.
    #[serde(with = "base64_text")]
    pub locks: Vec<u8>,
    /// Open files of SMB clients, as `SmbHandle::encode_all` gives them.
    #[serde(default, with = "base64_text")]
    pub smb_handles: Vec<u8>,
}

impl std::fmt::Debug for LocksRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LocksRecord({}, ..)", self.vserver)
    }
}

impl Record for LocksRecord {
    const TABLE: Table = Table::Locks;
    fn key(&self) -> String {
        self.vserver.clone()
    }
}

/// Bytes as base64 text.
pub(super) mod base64_text {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(in crate::store) fn serialize<S: Serializer>(bytes: &[u8], out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&STANDARD.encode(bytes))
    }

    pub(in crate::store) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(input)?;
        STANDARD.decode(text).map_err(serde::de::Error::custom)
    }
}
