//! The source's half: decides when to send, to throttle, to freeze, to give up ownership, and what to do
//! when any of it fails. Does nothing itself.

mod cutover;
mod replication;

use super::{RESEND_MS, Token, enter};
use crate::estimate::{FixedCosts, RateEstimator};
use crate::message::Message;
use crate::model::{
    Command, CommandError, Epoch, MigrationId, MigrationRecord, MigrationSpec, Phase, Role, VolumeInfo,
};
use std::collections::VecDeque;
use uuid::Uuid;

/// Round trips and durable records let updates follow each other no faster than this while they wait for an operator.
const UPDATE_INTERVAL_MS: u64 = 2_000;

/// What the driver is to do, in this order.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the fields are what their names say")]
pub enum SourceAction {
    /// Make the record durable before anything that follows.
    Persist(Box<MigrationRecord>),
    /// Send, if the link is up; lost otherwise.
    Send(Message),
    /// Prechecks; answers [`SourceEvent::Prepared`].
    Prepare { token: Token },
    /// Take the snapshots of `round` and send the diffs; answers [`SourceEvent::Transferred`].
    Transfer { token: Token, round: u32, last: bool },
    /// Stop the transfer under way.
    CancelTransfer,
    /// Find out what remains; answers [`SourceEvent::Measured`].
    Measure { token: Token },
    /// Set or lift the write limit.
    SetWriteLimit(Option<u64>),
    /// Hold requests; answers [`SourceEvent::Frozen`].
    Freeze { token: Token },
    /// Give up a freeze under way, and let requests through.
    Thaw,
    /// Collect configuration and open state; answers [`SourceEvent::Exported`].
    Export { token: Token },
    /// Give up ownership durably; answers [`SourceEvent::Relinquished`].
    Relinquish { token: Token, epoch: Epoch },
    /// Delete this migration's snapshots but those of rounds from `keep_from` on.
    DropSnapshots { keep_from: u32 },
    /// Close the volumes; answers [`SourceEvent::Retired`].
    Retire { token: Token },
    /// Remove the offline copy; answers [`SourceEvent::CleanedUp`].
    Cleanup { token: Token },
    /// Take the mark of the migration off the vserver.
    End,
}

/// What prechecks found.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// The vserver's epoch.
    pub epoch: Epoch,
    /// Its volumes.
    pub volumes: Vec<VolumeInfo>,
    /// Its configuration.
    pub config: Vec<u8>,
}

/// One volume of a finished round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeDone {
    /// Which volume.
    pub uuid: Uuid,
    /// The snapshot that both sides hold now.
    pub snapshot: String,
    /// Its root checksum.
    pub root: u64,
    /// Bytes sent.
    pub bytes: u64,
}

/// A finished round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoundDone {
    /// Every volume.
    pub volumes: Vec<VolumeDone>,
    /// Time in which blocks were sent.
    pub stream_us: u64,
    /// All of the round's time.
    pub total_ms: u64,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the fields are what their names say")]
pub enum SourceEvent {
    /// The control stream stands.
    LinkUp,
    /// It is gone.
    LinkDown(String),
    /// The destination said this.
    Message(Message),
    /// Time has passed.
    Timeout,
    /// A record was made durable, and how long that took.
    Persisted {
        took_ms: u64,
    },
    Prepared {
        token: Token,
        result: Result<Prepared, String>,
    },
    Frozen {
        token: Token,
        result: Result<(), String>,
    },
    /// `Err((reason, fatal))`; not fatal: the same again may work.
    Transferred {
        token: Token,
        result: Result<RoundDone, (String, bool)>,
    },
    Measured {
        token: Token,
        result: Result<(u64, u64), String>,
    },
    Exported {
        token: Token,
        result: Result<(Vec<u8>, Vec<u8>), String>,
    },
    /// Whether the ownership is still here, as read back after the attempt.
    Relinquished {
        token: Token,
        here: bool,
        error: Option<String>,
    },
    Retired {
        token: Token,
        result: Result<(), String>,
    },
    CleanedUp {
        token: Token,
        result: Result<(), String>,
    },
}

/// What the machine waits for within its phase. Not durable: a restart begins the phase's work again.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Idle,
    Preparing(Token),
    Transferring(Token),
    Measuring(Token),
    Waiting { until_ms: u64 },
    Freezing(Token),
    HandingOver { transfer: Option<Token>, export: Option<Token>, ready: bool },
    Relinquishing(Token),
    Retiring(Token),
    Cleaning(Token),
}

/// The source's machine.
#[derive(Debug)]
pub struct SourceMachine {
    record: MigrationRecord,
    actions: VecDeque<SourceAction>,
    step: Step,
    next_token: Token,
    link_up: bool,
    /// What an answer is awaited for, and when to ask again.
    request: Option<(Message, u64)>,
    /// End of the cutover window.
    window_end_ms: Option<u64>,
    frozen_at_ms: Option<u64>,
    round_started_ms: u64,
    /// A round that was begun and may be gone on with under its number.
    round_open: bool,
    admin_steps: u32,
    admin_rounds: u32,
    rate: RateEstimator,
    costs: FixedCosts,
}

impl SourceMachine {
    /// A new migration.
    #[must_use]
    pub fn start(id: MigrationId, spec: MigrationSpec, now_ms: u64) -> Self {
        let record = MigrationRecord {
            id,
            role: Role::Source,
            peer: spec.destination.clone(),
            phase: Phase::Setup,
            epoch: Epoch(0),
            attempt: 0,
            round: 0,
            volumes: Vec::new(),
            write_limit_bytes_per_s: None,
            throttle_steps: Vec::new(),
            phases: vec![crate::model::PhaseEntry { phase: Phase::Setup, at_ms: now_ms }],
            rate_bytes_per_s: 0,
            remaining_bytes: 0,
            predicted_pause_ms: None,
            pause_ms: None,
            bytes_baseline: 0,
            update_rounds: 0,
            cutover_requested: spec.auto_cutover,
            settled: false,
            error: None,
            spec,
        };
        let mut machine = Self::with(record);
        machine.persist();
        machine.prepare();
        machine
    }

    /// Goes on after a restart. `here`: whether the durable ownership is still this cluster's.
    #[must_use]
    pub fn restart(record: MigrationRecord, here: bool, now_ms: u64) -> Self {
        let mut machine = Self::with(record);
        match machine.record.phase {
            Phase::Cutover | Phase::Activate if here => machine.fall_back("the source restarted", now_ms),
            Phase::Activate => {
                machine.lift("the source restarted", now_ms);
                machine.tell_activate(now_ms);
            }
            Phase::Setup => machine.prepare(),
            Phase::Completed if !machine.record.settled => machine.retire(),
            Phase::Aborted if !machine.record.settled => machine.tell(Message::Abort, now_ms),
            Phase::Completed | Phase::Aborted => {}
            _ => {
                // The limit was volatile; what the record says about it must follow.
                machine.lift("the source restarted", now_ms);
                if machine.record.phase == Phase::AdminCutover {
                    enter(&mut machine.record, Phase::Update, now_ms);
                }
                machine.actions.push_back(SourceAction::Thaw);
                machine.persist();
            }
        }
        machine
    }

    fn with(record: MigrationRecord) -> Self {
        // A baseline goes on where it was. Later rounds are small, and one may have been a last round.
        let round_open = record.round > 0 && record.volumes.iter().any(|volume| volume.base.is_none());
        SourceMachine {
            record,
            actions: VecDeque::new(),
            step: Step::Idle,
            next_token: 1,
            link_up: false,
            request: None,
            window_end_ms: None,
            frozen_at_ms: None,
            round_started_ms: 0,
            round_open,
            admin_steps: 0,
            admin_rounds: 0,
            rate: RateEstimator::default(),
            costs: FixedCosts::default(),
        }
    }

    /// The record as of now.
    #[must_use]
    pub fn record(&self) -> &MigrationRecord {
        &self.record
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<SourceAction> {
        self.actions.pop_front()
    }

    /// When to call with [`SourceEvent::Timeout`] at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        let wait = match self.step {
            Step::Waiting { until_ms } => Some(until_ms),
            _ => None,
        };
        let resend = self.request.as_ref().filter(|_| self.link_up).map(|(_, at)| *at);
        [wait, resend, self.window_end_ms].into_iter().flatten().min()
    }

    /// Whether a link to the destination is of use.
    #[must_use]
    pub fn wants_link(&self) -> bool {
        match self.record.phase {
            Phase::Paused | Phase::Failed => false,
            Phase::Completed | Phase::Aborted => !self.record.settled,
            _ => true,
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now_ms: u64, event: SourceEvent) {
        match event {
            SourceEvent::LinkUp => self.on_link_up(now_ms),
            SourceEvent::LinkDown(reason) => self.on_link_down(&reason, now_ms),
            SourceEvent::Message(message) => self.on_message(message, now_ms),
            SourceEvent::Timeout => self.on_timeout(now_ms),
            SourceEvent::Persisted { took_ms } => self.costs.record_saved(took_ms),
            SourceEvent::Prepared { token, result } if self.step == Step::Preparing(token) => {
                self.on_prepared(result, now_ms);
            }
            SourceEvent::Transferred { token, result } => self.on_transferred(token, result, now_ms),
            SourceEvent::Measured { token, result } if self.step == Step::Measuring(token) => {
                self.on_measured(result, now_ms);
            }
            SourceEvent::Frozen { token, result } if self.step == Step::Freezing(token) => {
                self.on_frozen(result, now_ms);
            }
            SourceEvent::Exported { token, result } => self.on_exported(token, result, now_ms),
            SourceEvent::Relinquished { token, here, error } if self.step == Step::Relinquishing(token) => {
                self.on_relinquished(here, error.as_deref(), now_ms);
            }
            SourceEvent::Retired { token, result } if self.step == Step::Retiring(token) => {
                self.on_retired(result, now_ms);
            }
            SourceEvent::CleanedUp { token, result } if self.step == Step::Cleaning(token) => {
                self.step = Step::Idle;
                self.record.error = result.err();
                self.persist();
            }
            // The answer to something that was given up meanwhile.
            _ => {}
        }
    }

    /// An operator's command.
    ///
    /// # Errors
    /// [`CommandError::WrongPhase`] where the phase does not allow it; nothing has changed then.
    pub fn command(&mut self, now_ms: u64, command: Command) -> Result<(), CommandError> {
        use Phase::{Aborted, AdminCutover, Baseline, Completed, Cutover, Failed, Paused, Setup, Update};
        let phase = self.record.phase;
        match (command, phase) {
            (Command::Pause, Setup | Baseline | Update | AdminCutover | Cutover) => {
                self.stop(Paused, "paused", now_ms);
            }
            (Command::Resume, Paused | Failed) => self.resume(now_ms),
            (Command::Cutover, Setup | Baseline | Update | AdminCutover | Paused) => {
                self.record.cutover_requested = true;
                self.persist();
                if phase == Update && matches!(self.step, Step::Waiting { .. }) {
                    self.work(now_ms);
                }
            }
            (Command::Abort, Setup | Baseline | Update | AdminCutover | Cutover | Paused | Failed) => {
                self.stop(Aborted, "aborted", now_ms);
                self.actions.push_back(SourceAction::DropSnapshots { keep_from: u32::MAX });
                self.actions.push_back(SourceAction::End);
                self.tell(Message::Abort, now_ms);
            }
            (Command::Cleanup, Completed) if self.step == Step::Idle => self.clean_up(),
            (Command::Pause, Paused) | (Command::Abort, Aborted) => {}
            _ => return Err(CommandError::WrongPhase { command: command.name(), phase }),
        }
        Ok(())
    }

    fn on_link_up(&mut self, now_ms: u64) {
        self.link_up = true;
        if self.record.attempt > 0 && !self.record.is_past_edge() && self.record.phase != Phase::Cutover {
            // A handover may be waiting there; the message is harmless if not.
            self.send(Message::Rollback { attempt: self.record.attempt });
        }
        if let Some((message, _)) = self.request.clone() {
            self.tell(message, now_ms);
        } else if self.step == Step::Idle {
            self.work(now_ms);
        }
    }

    fn on_link_down(&mut self, reason: &str, now_ms: u64) {
        self.link_up = false;
        match self.record.phase {
            Phase::Cutover => self.fall_back(reason, now_ms),
            Phase::AdminCutover => self.back_to_update(reason, now_ms),
            Phase::Baseline | Phase::Update => {
                self.cancel_work();
                self.step = Step::Idle;
            }
            _ => {}
        }
    }

    fn on_message(&mut self, message: Message, now_ms: u64) {
        match (message, self.record.phase) {
            (Message::SetupDone, Phase::Setup) if self.request.is_some() => {
                self.request = None;
                self.enter(Phase::Baseline, now_ms);
                self.work(now_ms);
            }
            (Message::Ready { attempt }, Phase::Cutover) if attempt == self.record.attempt => {
                if let Step::HandingOver { export: None, ready, .. } = &mut self.step {
                    *ready = true;
                    self.request = None;
                    self.relinquish_when_ready(now_ms);
                }
            }
            (Message::NotReady { attempt, reason }, Phase::Cutover) if attempt == self.record.attempt => {
                self.fall_back(&reason, now_ms);
            }
            (Message::Activated { epoch }, Phase::Activate) if epoch == self.record.epoch.next() => {
                self.on_activated(now_ms);
            }
            (Message::Completed, Phase::Completed) | (Message::Discarded, Phase::Aborted)
                if !self.record.settled =>
            {
                self.request = None;
                self.record.settled = true;
                self.persist();
            }
            (
                Message::Refused { reason },
                Phase::Setup | Phase::Baseline | Phase::Update | Phase::AdminCutover | Phase::Cutover,
            ) => {
                self.fail(format!("the destination refused: {reason}"), now_ms);
            }
            _ => {}
        }
    }

    fn on_timeout(&mut self, now_ms: u64) {
        if self.window_end_ms.is_some_and(|end| now_ms >= end) {
            let window = self.record.spec.cutover_window_ms;
            self.fall_back(&format!("the cutover window of {window} ms is over"), now_ms);
            return;
        }
        if let Some((message, at)) = &mut self.request
            && self.link_up
            && now_ms >= *at
        {
            *at = now_ms + RESEND_MS;
            let message = message.clone();
            self.send(message);
        }
        if let Step::Waiting { until_ms } = self.step
            && now_ms >= until_ms
        {
            self.work(now_ms);
        }
    }

    fn resume(&mut self, now_ms: u64) {
        let common = !self.record.volumes.is_empty() && self.record.volumes.iter().all(|v| v.base.is_some());
        // The placeholders may never have been made; making them again does no harm.
        let to = if common { Phase::Update } else { Phase::Setup };
        self.record.error = None;
        if self.record.attempt >= self.record.spec.attempts_max {
            // A person asked for it: a new allowance.
            self.record.spec.attempts_max = self.record.attempt.saturating_add(5);
        }
        self.enter(to, now_ms);
        self.work(now_ms);
    }

    fn fail(&mut self, reason: String, now_ms: u64) {
        self.stop(Phase::Failed, &reason, now_ms);
        self.record.error = Some(reason);
        self.persist();
    }

    /// Ends all work before the edge: the source serves, thawed and unthrottled.
    fn stop(&mut self, to: Phase, reason: &str, now_ms: u64) {
        let was_cutover = self.record.phase == Phase::Cutover;
        self.cancel_work();
        self.step = Step::Idle;
        self.actions.push_back(SourceAction::Thaw);
        self.lift(reason, now_ms);
        if was_cutover {
            self.send(Message::Rollback { attempt: self.record.attempt });
        }
        self.send(Message::Progress { phase: to, round: self.record.round });
        self.enter(to, now_ms);
    }

    fn cancel_work(&mut self) {
        self.window_end_ms = None;
        self.frozen_at_ms = None;
        self.request = None;
        self.actions.push_back(SourceAction::CancelTransfer);
    }

    fn token(&mut self) -> Token {
        let token = self.next_token;
        self.next_token += 1;
        token
    }

    fn enter(&mut self, to: Phase, now_ms: u64) {
        enter(&mut self.record, to, now_ms);
        self.persist();
    }

    fn persist(&mut self) {
        self.actions.push_back(SourceAction::Persist(Box::new(self.record.clone())));
    }

    fn send(&mut self, message: Message) {
        if self.link_up {
            self.actions.push_back(SourceAction::Send(message));
        }
    }

    /// Sends, and again until the request is answered.
    fn tell(&mut self, message: Message, now_ms: u64) {
        self.request = Some((message.clone(), now_ms + RESEND_MS));
        self.send(message);
    }
}
