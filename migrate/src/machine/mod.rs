//! The two state machines of a migration and the one table of their transitions. Pure: no clock, no I/O;
//! callers pass `now_ms`, run the actions in order, and report what came of them.
//!
//! Rules that both halves keep:
//! - an action that depends on the record follows its `Persist` in the queue;
//! - actions may be repeated (idempotent), and results of superseded ones are told apart by their token;
//! - the one irreversible edge is the source's `Relinquish`. Before it every failure ends with the source
//!   serving, thawed and unthrottled; after it the source only goes on telling the destination to activate,
//!   and the destination activates on nothing but that message.

mod destination;
mod source;

pub use destination::{DestinationAction, DestinationEvent, DestinationMachine};
pub use source::{Prepared, RoundDone, SourceAction, SourceEvent, SourceMachine, VolumeDone};

use crate::model::{HISTORY_MAX, MigrationRecord, Phase, PhaseEntry, Role, VolumeInfo, VolumeProgress};

/// Tells the result of one action from that of an earlier one of the same kind.
pub type Token = u64;

/// After how long an unanswered request is sent again, in milliseconds.
pub(crate) const RESEND_MS: u64 = 1_000;
/// Pause before something that failed is tried again, in milliseconds.
pub(crate) const RETRY_MS: u64 = 500;

/// Every transition, and what causes it. The machines assert that they take no other.
pub const TRANSITIONS: &[(Phase, Phase, &str)] = &[
    (Phase::Setup, Phase::Baseline, "the destination has made its placeholders"),
    (Phase::Baseline, Phase::Update, "the first snapshots are installed"),
    (Phase::Update, Phase::AdminCutover, "lag within its goal, or not shrinking, and a cutover is wanted"),
    (Phase::AdminCutover, Phase::Update, "link lost, or the last diff cannot be made to fit"),
    (Phase::AdminCutover, Phase::Cutover, "the predicted pause fits"),
    (Phase::Cutover, Phase::AdminCutover, "fallback: window over, link lost, a step failed, or a restart"),
    (Phase::Cutover, Phase::Activate, "the destination is ready and holds the last snapshots"),
    (Phase::Activate, Phase::AdminCutover, "fallback: the ownership turned out not to be given up"),
    (Phase::Activate, Phase::Completed, "the destination serves"),
    (Phase::Setup, Phase::Paused, "operator"),
    (Phase::Baseline, Phase::Paused, "operator"),
    (Phase::Update, Phase::Paused, "operator"),
    (Phase::AdminCutover, Phase::Paused, "operator"),
    (Phase::Cutover, Phase::Paused, "operator"),
    (Phase::Paused, Phase::Setup, "resumed before the setup was done"),
    (Phase::Paused, Phase::Baseline, "resumed without a common snapshot"),
    (Phase::Paused, Phase::Update, "resumed with a common snapshot"),
    (Phase::Failed, Phase::Setup, "resumed before the setup was done"),
    (Phase::Failed, Phase::Baseline, "resumed without a common snapshot"),
    (Phase::Failed, Phase::Update, "resumed with a common snapshot"),
    (Phase::Setup, Phase::Failed, "precheck or placeholder refused"),
    (Phase::Baseline, Phase::Failed, "error that a retry does not mend"),
    (Phase::Update, Phase::Failed, "error that a retry does not mend"),
    (Phase::AdminCutover, Phase::Failed, "error that a retry does not mend, or too many attempts"),
    (Phase::Cutover, Phase::Failed, "error that a retry does not mend"),
    (Phase::Setup, Phase::Aborted, "operator"),
    (Phase::Baseline, Phase::Aborted, "operator"),
    (Phase::Update, Phase::Aborted, "operator"),
    (Phase::AdminCutover, Phase::Aborted, "operator"),
    (Phase::Cutover, Phase::Aborted, "operator"),
    (Phase::Paused, Phase::Aborted, "operator"),
    (Phase::Failed, Phase::Aborted, "operator"),
];

/// Enters `to`. The destination mirrors the source, and may miss phases in between, so only the source's
/// steps are held against the table; for both, nothing leads back over the edge.
///
/// # Panics
/// On a transition that the table does not have: a broken invariant.
pub(crate) fn enter(record: &mut MigrationRecord, to: Phase, now_ms: u64) {
    let from = record.phase;
    if from == to {
        return;
    }
    match record.role {
        Role::Source => assert!(
            TRANSITIONS.iter().any(|(a, b, _)| *a == from && *b == to),
            "no transition from {from} to {to}"
        ),
        Role::Destination => assert!(
            match from {
                Phase::Completed | Phase::Aborted => false,
                Phase::Activate => to == Phase::Completed,
                _ => true,
            },
            "the destination cannot go from {from} to {to}"
        ),
    }
    record.phase = to;
    push_bounded(&mut record.phases, PhaseEntry { phase: to, at_ms: now_ms });
}

/// Appends to a history, letting the oldest entries go.
pub(crate) fn push_bounded<T>(history: &mut Vec<T>, entry: T) {
    if history.len() >= HISTORY_MAX {
        history.remove(0);
    }
    history.push(entry);
}

/// Progress of volumes of which nothing was sent.
pub(crate) fn fresh_progress(volumes: Vec<VolumeInfo>) -> Vec<VolumeProgress> {
    volumes
        .into_iter()
        .map(|info| VolumeProgress { info, base: None, base_root: 0, bytes: 0, mark: None })
        .collect()
}
