//! What the two sides of a migration tell each other on the control stream. Every message may arrive twice
//! or late; each names what it is about, so that receivers can tell.

use crate::model::{Epoch, MigrationSpec, Phase, VolumeInfo};
use serde::{Deserialize, Serialize};

/// A control message. Opaque payloads travel beside the JSON, not in it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Message {
    /// Source: make placeholders.
    Setup {
        /// What was asked for.
        spec: MigrationSpec,
        /// Name that the source cluster goes by, for display.
        epoch: Epoch,
        /// The volumes.
        volumes: Vec<VolumeInfo>,
        /// Configuration, as attachment.
        #[serde(skip)]
        config: Vec<u8>,
    },
    /// Destination: placeholders exist.
    SetupDone,
    /// Source: where it stands.
    Progress {
        /// Its phase.
        phase: Phase,
        /// Its newest round.
        round: u32,
    },
    /// Source, frozen: take these over.
    Handover {
        /// Cutover attempt.
        attempt: u32,
        /// Length of `config` in the attachment; the rest is the open state.
        config_bytes: u64,
        /// Configuration, as attachment.
        #[serde(skip)]
        config: Vec<u8>,
        /// Open state, as attachment.
        #[serde(skip)]
        open_state: Vec<u8>,
    },
    /// Destination: the handover of this attempt is durable.
    Ready {
        /// Cutover attempt.
        attempt: u32,
    },
    /// Destination: the handover of this attempt failed.
    NotReady {
        /// Cutover attempt.
        attempt: u32,
        /// For people.
        reason: String,
    },
    /// Source: forget every handover up to this attempt.
    Rollback {
        /// Cutover attempt.
        attempt: u32,
    },
    /// Source, having given up ownership: serve.
    Activate {
        /// The epoch to take.
        epoch: Epoch,
        /// Cutover attempt whose handover is to be used.
        attempt: u32,
    },
    /// Destination: serving.
    Activated {
        /// The epoch taken.
        epoch: Epoch,
    },
    /// Source: remove what was received.
    Abort,
    /// Destination: removed.
    Discarded,
    /// Source: volumes are offline here; snapshots of the migration are of no more use.
    Complete,
    /// Destination: noted.
    Completed,
    /// Destination: will not go on.
    Refused {
        /// For people.
        reason: String,
    },
}

impl Message {
    /// The message's name, which is safe to log; payloads are not.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Message::Setup { .. } => "setup",
            Message::SetupDone => "setup_done",
            Message::Progress { .. } => "progress",
            Message::Handover { .. } => "handover",
            Message::Ready { .. } => "ready",
            Message::NotReady { .. } => "not_ready",
            Message::Rollback { .. } => "rollback",
            Message::Activate { .. } => "activate",
            Message::Activated { .. } => "activated",
            Message::Abort => "abort",
            Message::Discarded => "discarded",
            Message::Complete => "complete",
            Message::Completed => "completed",
            Message::Refused { .. } => "refused",
        }
    }

    /// The opaque bytes to send beside the JSON.
    pub(crate) fn attachment(&self) -> Vec<u8> {
        match self {
            Message::Setup { config, .. } => config.clone(),
            Message::Handover { config, open_state, .. } => [config.as_slice(), open_state].concat(),
            _ => Vec::new(),
        }
    }

    /// Puts received opaque bytes back in place; `None` if they do not fit the message.
    pub(crate) fn attach(mut self, mut bytes: Vec<u8>) -> Option<Message> {
        match &mut self {
            Message::Setup { config, .. } => *config = bytes,
            Message::Handover { config_bytes, config, open_state, .. } => {
                let split = usize::try_from(*config_bytes).ok().filter(|at| *at <= bytes.len())?;
                *open_state = bytes.split_off(split);
                *config = bytes;
            }
            _ if !bytes.is_empty() => return None,
            _ => {}
        }
        Some(self)
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
