//! The plain values of a migration: what is asked for, what is durable, what is shown. No behaviour
//! beyond small conversions; the decisions are the machine's.

use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// Names one migration, the same on both sides.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MigrationId(pub Uuid);

impl MigrationId {
    /// A new, random one.
    #[must_use]
    pub fn random() -> Self {
        MigrationId(Uuid::new_v4())
    }

    /// Its first eight hexadecimal digits, for names that people read.
    #[must_use]
    pub fn short(&self) -> String {
        self.0.simple().to_string().chars().take(8).collect()
    }

    /// What the names of this migration's snapshots begin with; a number follows.
    #[must_use]
    pub fn snapshot_prefix(&self) -> String {
        format!("{SNAPSHOT_PREFIX}{}-", self.short())
    }
}

impl fmt::Display for MigrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the names of all snapshots taken by migrations begin with.
pub const SNAPSHOT_PREFIX: &str = "ferry-migrate-";

/// Ownership epoch of a vserver: raised by each move; only the holder of the highest durable epoch serves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch of the next owner.
    #[must_use]
    pub fn next(self) -> Self {
        Epoch(self.0.saturating_add(1))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How far client writes may be slowed down so that replication can catch up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ThrottlePolicy {
    /// A step lowers the limit to at least this fraction of the one before; more than 0, less than 1.
    pub factor: f64,
    /// The limit never goes below this.
    pub floor_bytes_per_s: u64,
    /// Most steps in one admin cutover; then the cutover window alone decides.
    pub steps_max: u32,
}

impl Default for ThrottlePolicy {
    fn default() -> Self {
        ThrottlePolicy { factor: 0.5, floor_bytes_per_s: 1 << 20, steps_max: 16 }
    }
}

/// What to move, where to, and within which bounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MigrationSpec {
    /// Name of the virtual server, the same on both sides.
    pub vserver: String,
    /// Name of the peer cluster to move to.
    pub destination: String,
    /// Longest time that the vserver may be unavailable; when it is over, the cutover falls back.
    #[serde(default = "defaults::cutover_window_ms")]
    pub cutover_window_ms: u64,
    /// The pause that the throttle works for: cutover begins once the predicted pause is below this.
    #[serde(default = "defaults::pause_target_ms")]
    pub pause_target_ms: u64,
    /// Whether to go on to admin cutover without a [`Command::Cutover`] once the lag is within its goal.
    #[serde(default = "defaults::yes")]
    pub auto_cutover: bool,
    /// Whether the source's copy is removed once the destination serves.
    #[serde(default)]
    pub auto_source_cleanup: bool,
    /// Updates repeat until sending what changed meanwhile would take no longer than this.
    #[serde(default = "defaults::lag_goal_ms")]
    pub lag_goal_ms: u64,
    /// Cutover attempts before the migration fails.
    #[serde(default = "defaults::attempts_max")]
    pub attempts_max: u32,
    /// The write throttle.
    #[serde(default)]
    pub throttle: ThrottlePolicy,
}

mod defaults {
    pub(super) fn cutover_window_ms() -> u64 {
        120_000
    }
    pub(super) fn pause_target_ms() -> u64 {
        300
    }
    pub(super) fn lag_goal_ms() -> u64 {
        2_000
    }
    pub(super) fn attempts_max() -> u32 {
        5
    }
    pub(super) fn yes() -> bool {
        true
    }
}

impl MigrationSpec {
    /// Moves `vserver` to `destination` with the default bounds.
    #[must_use]
    pub fn new(vserver: impl Into<String>, destination: impl Into<String>) -> Self {
        MigrationSpec {
            vserver: vserver.into(),
            destination: destination.into(),
            cutover_window_ms: defaults::cutover_window_ms(),
            pause_target_ms: defaults::pause_target_ms(),
            auto_cutover: true,
            auto_source_cleanup: false,
            lag_goal_ms: defaults::lag_goal_ms(),
            attempts_max: defaults::attempts_max(),
            throttle: ThrottlePolicy::default(),
        }
    }
}

/// Which side of a migration this cluster is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The vserver leaves.
    Source,
    /// The vserver arrives.
    Destination,
}

/// Where a migration stands. The first seven follow one another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Prechecks; the destination makes placeholders.
    Setup,
    /// The first snapshot of every volume is sent.
    Baseline,
    /// Diffs are sent until the lag is within its goal.
    Update,
    /// Writes are throttled in steps until the last diff fits.
    AdminCutover,
    /// Requests wait while the last diff and the open state travel.
    Cutover,
    /// The source has given up ownership, or is about to; only forward from here.
    Activate,
    /// The destination serves.
    Completed,
    /// Stopped by an operator; can be resumed or aborted.
    Paused,
    /// Ended by an operator before the edge; the source serves.
    Aborted,
    /// Ended by an error before the edge; the source serves. Can be resumed or aborted.
    Failed,
}

impl Phase {
    /// The name as the REST API and the log show it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Phase::Setup => "setup",
            Phase::Baseline => "baseline",
            Phase::Update => "update",
            Phase::AdminCutover => "admin_cutover",
            Phase::Cutover => "cutover",
            Phase::Activate => "activate",
            Phase::Completed => "completed",
            Phase::Paused => "paused",
            Phase::Aborted => "aborted",
            Phase::Failed => "failed",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What an operator tells a running migration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Stop sending, lift the throttle, keep what was sent.
    Pause,
    /// Go on after a pause or a failure.
    Resume,
    /// Begin the cutover as soon as the bounds allow (where `auto_cutover` is off).
    Cutover,
    /// Give up; the source serves and the destination removes what it received.
    Abort,
    /// Remove the source's copy after completion.
    Cleanup,
}

impl Command {
    /// The name as the REST API shows it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Command::Pause => "pause",
            Command::Resume => "resume",
            Command::Cutover => "cutover",
            Command::Abort => "abort",
            Command::Cleanup => "cleanup",
        }
    }
}

/// A volume as both sides know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeInfo {
    /// Identity; stays the same when the volume moves.
    pub uuid: Uuid,
    /// Name within the vserver.
    pub name: String,
    /// Address space in bytes.
    pub size_bytes: u64,
    /// What else the gateway needs to make it (junction, export policy, ...): opaque here.
    pub attributes: String,
}

/// How far one volume is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeProgress {
    /// Which volume.
    pub info: VolumeInfo,
    /// The newest snapshot that both sides hold, if any.
    pub base: Option<String>,
    /// Checksum of that snapshot's root, compared on both sides.
    pub base_root: u64,
    /// Bytes of blocks sent (source) or written (destination) so far, in all rounds.
    pub bytes: u64,
    /// Destination: a transfer under way that can be resumed.
    pub mark: Option<Mark>,
}

/// Up to where a transfer is durable at the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Root checksum of the snapshot being received.
    pub to_root: u64,
    /// Root checksum of the snapshot it is a difference to; 0 for a baseline.
    pub from_root: u64,
    /// Every block of the transfer before this one is durable.
    pub next_vbn: u64,
}

/// One change of the write limit, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThrottleStep {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The new limit; `None`: lifted.
    pub limit_bytes_per_s: Option<u64>,
    /// Why, in a sentence for people.
    pub reason: String,
}

/// When a phase began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseEntry {
    /// Which phase.
    pub phase: Phase,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// Most entries kept of each history in a record; older ones go.
pub const HISTORY_MAX: usize = 256;

/// Everything durable about a migration on one side. Saved before any action that depends on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MigrationRecord {
    /// Which migration.
    pub id: MigrationId,
    /// Which side this is.
    pub role: Role,
    /// What was asked for.
    pub spec: MigrationSpec,
    /// Name of the other cluster.
    pub peer: String,
    /// Where it stands.
    pub phase: Phase,
    /// Epoch under which the source owned the vserver at the start; the destination takes the next.
    pub epoch: Epoch,
    /// Number of the newest cutover attempt, from 1; 0 before the first.
    pub attempt: u32,
    /// Number of the newest round of snapshots, from 1; 0 before the first.
    pub round: u32,
    /// The volumes.
    pub volumes: Vec<VolumeProgress>,
    /// The write limit in force, if any.
    pub write_limit_bytes_per_s: Option<u64>,
    /// Every change of the write limit.
    pub throttle_steps: Vec<ThrottleStep>,
    /// Every phase entered.
    pub phases: Vec<PhaseEntry>,
    /// Measured transfer rate.
    pub rate_bytes_per_s: u64,
    /// What had changed since the base when it was last measured.
    pub remaining_bytes: u64,
    /// The pause predicted when the cutover began (before that: the newest prediction).
    pub predicted_pause_ms: Option<u64>,
    /// The pause measured on the source, from the freeze to the destination's acknowledgement.
    pub pause_ms: Option<u64>,
    /// Bytes of the first round.
    pub bytes_baseline: u64,
    /// Rounds after the first, the last one included.
    pub update_rounds: u32,
    /// Whether an operator asked for the cutover, or the spec does.
    pub cutover_requested: bool,
    /// Source, after an abort: the destination knows. Source, completed: the copy here is removed.
    pub settled: bool,
    /// The newest error, for people.
    pub error: Option<String>,
}

impl MigrationRecord {
    /// Whether the vserver may have been given up here: the host must not serve it before the driver has
    /// looked at the durable ownership. Only the host's ownership decides; this is for display.
    #[must_use]
    pub fn is_past_edge(&self) -> bool {
        matches!(self.phase, Phase::Activate | Phase::Completed)
    }

    /// Whether nothing happens any more without a command.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self.phase, Phase::Completed | Phase::Aborted | Phase::Failed)
    }
}

/// What `watch`, the REST API and the console show: the durable record and what moves faster than it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// The durable part.
    #[serde(flatten)]
    pub record: MigrationRecord,
    /// Whether the link to the peer is up.
    pub link_up: bool,
    /// Bytes of the round under way that are sent or received.
    pub transfer_bytes_done: u64,
    /// Bytes that the round under way is expected to hold; 0 between rounds.
    pub transfer_bytes_total: u64,
    /// What clients write now, as far as it is known (source only).
    pub write_bytes_per_s: u64,
}

/// Why a command was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// There is no such migration here.
    #[error("no such migration")]
    NotFound,
    /// The phase does not allow it.
    #[error("{command} is not possible in phase {phase}")]
    WrongPhase {
        /// The command's name.
        command: &'static str,
        /// The phase.
        phase: Phase,
    },
    /// The command belongs to the other cluster.
    #[error("{0} must be given to the source cluster")]
    WrongSide(&'static str),
    /// The vserver is being moved already, or a check before the start failed.
    #[error("cannot start: {0}")]
    Precheck(String),
    /// The destination is not a known peer.
    #[error("unknown peer cluster {0}")]
    UnknownPeer(String),
    /// The node is stopping, or its journal failed.
    #[error("{0}")]
    Unavailable(String),
}
