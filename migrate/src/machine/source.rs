//! The source's half: decides when to send, to throttle, to freeze, to give up ownership, and what to do
//! when any of it fails. Does nothing itself.

use super::{RESEND_MS, RETRY_MS, Token, enter, fresh_progress, push_bounded};
use crate::estimate::{FixedCosts, RateEstimator};
use crate::message::Message;
use crate::model::{
    Command, CommandError, Epoch, MigrationId, MigrationRecord, MigrationSpec, Phase, Role, ThrottleStep,
    VolumeInfo,
};
use crate::policy::{self, Decision, Measurement};
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

    // --- the link -------------------------------------------------------------------------------------

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

    // --- setup, baseline, update ----------------------------------------------------------------------

    fn prepare(&mut self) {
        let token = self.token();
        self.step = Step::Preparing(token);
        self.actions.push_back(SourceAction::Prepare { token });
    }

    fn on_prepared(&mut self, result: Result<Prepared, String>, now_ms: u64) {
        match result {
            Ok(prepared) => {
                self.step = Step::Idle;
                self.record.epoch = prepared.epoch;
                if self.record.volumes.is_empty() {
                    self.record.volumes = fresh_progress(prepared.volumes.clone());
                }
                self.persist();
                let spec = self.record.spec.clone();
                let Prepared { epoch, volumes, config } = prepared;
                self.tell(Message::Setup { spec, epoch, volumes, config }, now_ms);
            }
            Err(reason) => self.fail(reason, now_ms),
        }
    }

    /// Begins what the phase needs next, if the link is up.
    fn work(&mut self, now_ms: u64) {
        self.step = Step::Idle;
        if self.record.phase == Phase::Setup {
            if self.request.is_none() {
                self.prepare();
            }
        } else if self.link_up
            && matches!(self.record.phase, Phase::Baseline | Phase::Update | Phase::AdminCutover)
        {
            let progress = Message::Progress { phase: self.record.phase, round: self.record.round };
            self.send(progress);
            self.begin_round(now_ms);
        }
    }

    fn begin_round(&mut self, now_ms: u64) {
        if !self.round_open {
            self.record.round += 1;
            self.round_open = true;
            self.round_started_ms = now_ms;
            self.persist();
        }
        let (token, round) = (self.token(), self.record.round);
        self.step = Step::Transferring(token);
        self.actions.push_back(SourceAction::Transfer { token, round, last: false });
    }

    fn on_transferred(&mut self, token: Token, result: Result<RoundDone, (String, bool)>, now_ms: u64) {
        let ours = match &self.step {
            Step::Transferring(expected) => *expected == token,
            Step::HandingOver { transfer, .. } => *transfer == Some(token),
            _ => false,
        };
        if !ours {
            return;
        }
        match result {
            Ok(done) => self.on_round_done(done, now_ms),
            Err((reason, true)) => self.fail(reason, now_ms),
            Err((reason, false)) if self.record.phase == Phase::Cutover => self.fall_back(&reason, now_ms),
            Err((reason, false)) => {
                self.record.error = Some(reason);
                self.step = Step::Waiting { until_ms: now_ms + RETRY_MS };
            }
        }
    }

    fn on_round_done(&mut self, done: RoundDone, now_ms: u64) {
        let bytes: u64 = done.volumes.iter().map(|volume| volume.bytes).sum();
        self.rate.record(bytes, done.stream_us);
        self.costs.record_round(bytes, done.total_ms, self.rate.rate());
        self.record.rate_bytes_per_s = self.rate.rate();
        let baseline = self.record.volumes.iter().any(|volume| volume.base.is_none());
        for volume in done.volumes {
            if let Some(progress) = self.record.volumes.iter_mut().find(|p| p.info.uuid == volume.uuid) {
                progress.base = Some(volume.snapshot);
                progress.base_root = volume.root;
                progress.bytes += volume.bytes;
            }
        }
        if baseline {
            self.record.bytes_baseline += bytes;
        } else {
            self.record.update_rounds += 1;
        }
        self.round_open = false;
        self.record.error = None;
        if let Step::HandingOver { transfer, .. } = &mut self.step {
            *transfer = None;
            self.relinquish_when_ready(now_ms);
            return;
        }
        let keep_from = self.record.round;
        if self.record.phase == Phase::Baseline {
            self.enter(Phase::Update, now_ms);
            self.actions.push_back(SourceAction::DropSnapshots { keep_from });
            // A baseline takes long; and the first small round shows what one costs.
            self.begin_round(now_ms);
            return;
        }
        self.persist();
        self.actions.push_back(SourceAction::DropSnapshots { keep_from });
        let token = self.token();
        self.step = Step::Measuring(token);
        self.actions.push_back(SourceAction::Measure { token });
    }

    fn on_measured(&mut self, result: Result<(u64, u64), String>, now_ms: u64) {
        let (remaining_bytes, write_bytes_per_s) = match result {
            Ok(measured) => measured,
            Err(reason) => {
                self.record.error = Some(reason);
                self.step = Step::Waiting { until_ms: now_ms + RETRY_MS };
                return;
            }
        };
        let measurement = self.measurement(remaining_bytes, write_bytes_per_s, now_ms);
        self.record.remaining_bytes = remaining_bytes;
        self.record.predicted_pause_ms = Some(measurement.predicted_pause_ms());
        if self.record.phase == Phase::AdminCutover {
            self.decide(&measurement, now_ms);
            return;
        }
        let done = policy::update_done(&self.record.spec, self.record.update_rounds, &measurement);
        if done && self.record.cutover_requested {
            self.admin_steps = 0;
            self.admin_rounds = 0;
            self.enter(Phase::AdminCutover, now_ms);
            self.send(Message::Progress { phase: Phase::AdminCutover, round: self.record.round });
            self.decide(&measurement, now_ms);
        } else if done {
            self.step = Step::Waiting { until_ms: now_ms + UPDATE_INTERVAL_MS };
        } else {
            self.begin_round(now_ms);
        }
    }

    fn measurement(&self, remaining_bytes: u64, write_bytes_per_s: u64, now_ms: u64) -> Measurement {
        let elapsed_ms = now_ms.saturating_sub(self.round_started_ms);
        let dirty = if elapsed_ms >= 20 {
            u64::try_from(u128::from(remaining_bytes) * 1000 / u128::from(elapsed_ms)).unwrap_or(u64::MAX)
        } else {
            write_bytes_per_s
        };
        Measurement {
            remaining_bytes,
            dirty_bytes_per_s: dirty,
            write_bytes_per_s,
            rate_bytes_per_s: self.rate.rate(),
            round_ms: self.costs.round_ms(),
            fixed_ms: self.costs.pause_ms(),
            limit: self.record.write_limit_bytes_per_s,
        }
    }

    // --- admin cutover --------------------------------------------------------------------------------

    fn decide(&mut self, measurement: &Measurement, now_ms: u64) {
        match policy::decide(&self.record.spec, self.admin_steps, self.admin_rounds, measurement) {
            Decision::Cutover => self.begin_cutover(now_ms),
            Decision::Round => {
                self.admin_rounds += 1;
                self.begin_round(now_ms);
            }
            Decision::Throttle { limit, reason } => {
                self.admin_steps += 1;
                self.admin_rounds += 1;
                self.limit(Some(limit), reason, now_ms);
                self.begin_round(now_ms);
            }
            Decision::GiveUp(reason) => {
                self.record.attempt += 1;
                self.back_to_update(&reason, now_ms);
            }
        }
    }

    /// Records and sets a write limit. The record becomes durable first, so that a crash finds it written.
    fn limit(&mut self, limit: Option<u64>, reason: String, now_ms: u64) {
        self.record.write_limit_bytes_per_s = limit;
        let step = ThrottleStep { at_ms: now_ms, limit_bytes_per_s: limit, reason };
        push_bounded(&mut self.record.throttle_steps, step);
        self.persist();
        self.actions.push_back(SourceAction::SetWriteLimit(limit));
    }

    /// Lifts the limit, whether or not one is known to be in force: the host may know better.
    fn lift(&mut self, reason: &str, now_ms: u64) {
        if self.record.write_limit_bytes_per_s.is_some() {
            self.limit(None, reason.to_owned(), now_ms);
        } else {
            self.actions.push_back(SourceAction::SetWriteLimit(None));
        }
    }

    fn back_to_update(&mut self, reason: &str, now_ms: u64) {
        self.cancel_work();
        self.record.error = Some(reason.to_owned());
        self.lift(reason, now_ms);
        if self.attempts_used_up(reason, now_ms) {
            return;
        }
        self.enter(Phase::Update, now_ms);
        self.step = Step::Waiting { until_ms: now_ms + RETRY_MS };
    }

    fn attempts_used_up(&mut self, reason: &str, now_ms: u64) -> bool {
        let over = self.record.attempt >= self.record.spec.attempts_max;
        if over {
            self.fail(format!("{} cutover attempts failed; the last: {reason}", self.record.attempt), now_ms);
        }
        over
    }

    // --- cutover --------------------------------------------------------------------------------------

    fn begin_cutover(&mut self, now_ms: u64) {
        self.record.attempt += 1;
        // The last round's snapshots must be taken while frozen, so it has a number never used before, durable
        // before the freeze, and nothing is written again until the edge.
        self.record.round += 1;
        self.round_open = false;
        self.enter(Phase::Cutover, now_ms);
        self.window_end_ms = Some(now_ms + self.record.spec.cutover_window_ms);
        self.frozen_at_ms = Some(now_ms);
        let token = self.token();
        self.step = Step::Freezing(token);
        self.actions.push_back(SourceAction::Freeze { token });
    }

    fn on_frozen(&mut self, result: Result<(), String>, now_ms: u64) {
        if let Err(reason) = result {
            self.fall_back(&reason, now_ms);
            return;
        }
        let (transfer, export) = (self.token(), self.token());
        self.step = Step::HandingOver { transfer: Some(transfer), export: Some(export), ready: false };
        self.actions.push_back(SourceAction::Transfer {
            token: transfer,
            round: self.record.round,
            last: true,
        });
        self.actions.push_back(SourceAction::Export { token: export });
    }

    fn on_exported(&mut self, token: Token, result: Result<(Vec<u8>, Vec<u8>), String>, now_ms: u64) {
        let Step::HandingOver { export, .. } = &mut self.step else { return };
        if *export != Some(token) {
            return;
        }
        *export = None;
        match result {
            Ok((config, open_state)) => {
                let (attempt, config_bytes) = (self.record.attempt, config.len() as u64);
                self.tell(Message::Handover { attempt, config_bytes, config, open_state }, now_ms);
            }
            Err(reason) => self.fall_back(&reason, now_ms),
        }
    }

    /// The edge: both the blocks and the handover are durable there, so give up ownership here.
    fn relinquish_when_ready(&mut self, now_ms: u64) {
        let all = matches!(self.step, Step::HandingOver { transfer: None, export: None, ready: true });
        if !all || !self.link_up {
            return;
        }
        self.window_end_ms = None;
        self.enter(Phase::Activate, now_ms);
        let token = self.token();
        self.step = Step::Relinquishing(token);
        let epoch = self.record.epoch.next();
        self.actions.push_back(SourceAction::Relinquish { token, epoch });
    }

    /// Gives up a cutover attempt: the source serves again.
    fn fall_back(&mut self, reason: &str, now_ms: u64) {
        self.cancel_work();
        self.record.error = Some(reason.to_owned());
        self.actions.push_back(SourceAction::Thaw);
        self.lift(&format!("fallback: {reason}"), now_ms);
        self.send(Message::Rollback { attempt: self.record.attempt });
        self.enter(Phase::AdminCutover, now_ms);
        self.admin_steps = 0;
        self.admin_rounds = 0;
        if !self.attempts_used_up(reason, now_ms) {
            self.step = Step::Waiting { until_ms: now_ms + RETRY_MS };
        }
    }

    // --- activate, completed --------------------------------------------------------------------------

    fn on_relinquished(&mut self, here: bool, error: Option<&str>, now_ms: u64) {
        if here {
            self.fall_back(error.unwrap_or("the ownership was not given up"), now_ms);
        } else {
            self.tell_activate(now_ms);
        }
    }

    fn tell_activate(&mut self, now_ms: u64) {
        self.step = Step::Idle;
        let (epoch, attempt) = (self.record.epoch.next(), self.record.attempt);
        self.tell(Message::Activate { epoch, attempt }, now_ms);
    }

    fn on_activated(&mut self, now_ms: u64) {
        self.request = None;
        self.record.pause_ms = self.frozen_at_ms.map(|at| now_ms.saturating_sub(at));
        self.record.error = None;
        self.lift("the destination serves", now_ms);
        self.enter(Phase::Completed, now_ms);
        self.retire();
    }

    fn retire(&mut self) {
        let token = self.token();
        self.step = Step::Retiring(token);
        self.actions.push_back(SourceAction::Retire { token });
    }

    fn on_retired(&mut self, result: Result<(), String>, now_ms: u64) {
        self.step = Step::Idle;
        self.record.error = result.err();
        self.actions.push_back(SourceAction::End);
        self.persist();
        self.tell(Message::Complete, now_ms);
        if self.record.spec.auto_source_cleanup && self.record.error.is_none() {
            self.clean_up();
        }
    }

    fn clean_up(&mut self) {
        let token = self.token();
        self.step = Step::Cleaning(token);
        self.actions.push_back(SourceAction::Cleanup { token });
    }

    // --- ends -----------------------------------------------------------------------------------------

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

    // --- small parts ----------------------------------------------------------------------------------

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
