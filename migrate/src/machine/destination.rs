//! The destination's half: makes room, receives, takes over, and serves only when the source, having given
//! up ownership, says so. Never decides by itself that the source is gone.

use super::{RETRY_MS, Token, enter, fresh_progress};
use crate::message::Message;
use crate::model::{
    Command, CommandError, Epoch, Mark, MigrationId, MigrationRecord, MigrationSpec, Phase, PhaseEntry, Role,
    VolumeInfo,
};
use std::collections::VecDeque;
use uuid::Uuid;

/// What the driver is to do, in this order.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the fields are what their names say")]
pub enum DestinationAction {
    /// Make the record durable before anything that follows.
    Persist(Box<MigrationRecord>),
    /// Send, if the link is up; lost otherwise.
    Send(Message),
    /// Make placeholders; answers [`DestinationEvent::Prepared`].
    Prepare { token: Token, epoch: Epoch, config: Vec<u8>, volumes: Vec<VolumeInfo> },
    /// Take over configuration and open state durably; answers [`DestinationEvent::Applied`].
    Apply { token: Token, config: Vec<u8>, open_state: Vec<u8> },
    /// Forget them.
    Rollback,
    /// Stop receiving, own, mount, serve; answers [`DestinationEvent::Activated`].
    Activate { token: Token, epoch: Epoch },
    /// Stop receiving, remove everything; answers [`DestinationEvent::Discarded`].
    Discard { token: Token },
    /// Delete the migration's snapshots; answers [`DestinationEvent::Finished`].
    Finish { token: Token },
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the fields are what their names say")]
pub enum DestinationEvent {
    /// The control stream stands.
    LinkUp,
    /// It is gone.
    LinkDown(String),
    /// The source said this.
    Message(Message),
    /// Time has passed.
    Timeout,
    Prepared {
        token: Token,
        result: Result<(), String>,
    },
    Applied {
        token: Token,
        result: Result<(), String>,
    },
    Activated {
        token: Token,
        result: Result<(), String>,
    },
    Discarded {
        token: Token,
        result: Result<(), String>,
    },
    Finished {
        token: Token,
    },
    /// A volume's transfer is durable up to here.
    Marked {
        volume: Uuid,
        mark: Mark,
        bytes: u64,
    },
    /// A volume's replica is at this snapshot now.
    Installed {
        volume: Uuid,
        snapshot: String,
        root: u64,
        bytes: u64,
    },
}

/// The destination's machine.
#[derive(Debug)]
pub struct DestinationMachine {
    id: MigrationId,
    /// Name of the source cluster.
    source: String,
    /// `None` until a setup arrives.
    record: Option<MigrationRecord>,
    actions: VecDeque<DestinationAction>,
    link_up: bool,
    next_token: Token,
    /// The long action under way; only one at a time.
    running: Option<Token>,
    /// The handover of the record's attempt is durable.
    applied: bool,
    retry_at_ms: Option<u64>,
}

impl DestinationMachine {
    /// For a migration of which nothing is known here.
    #[must_use]
    pub fn vacant(id: MigrationId, source: String) -> Self {
        DestinationMachine {
            id,
            source,
            record: None,
            actions: VecDeque::new(),
            link_up: false,
            next_token: 1,
            running: None,
            applied: false,
            retry_at_ms: None,
        }
    }

    /// Goes on after a restart.
    #[must_use]
    pub fn restart(record: MigrationRecord) -> Self {
        let mut machine = Self::vacant(record.id, record.peer.clone());
        let phase = record.phase;
        let settled = record.settled;
        // Whether the handover was applied is asked again: the source repeats it or rolls back.
        machine.record = Some(record);
        match phase {
            Phase::Activate => machine.activate(),
            Phase::Aborted if !settled => machine.discard(),
            _ => {}
        }
        machine
    }

    /// Which migration.
    #[must_use]
    pub fn id(&self) -> MigrationId {
        self.id
    }

    /// Name of the source cluster.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The record, once there is one.
    #[must_use]
    pub fn record(&self) -> Option<&MigrationRecord> {
        self.record.as_ref()
    }

    /// Whether blocks may be received: the source still owns the vserver and the replicas stand.
    #[must_use]
    pub fn receives(&self) -> bool {
        self.record.as_ref().is_some_and(|record| {
            matches!(
                record.phase,
                Phase::Baseline | Phase::Update | Phase::AdminCutover | Phase::Cutover | Phase::Paused
            )
        })
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<DestinationAction> {
        self.actions.pop_front()
    }

    /// When to call with [`DestinationEvent::Timeout`] at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        self.retry_at_ms
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now_ms: u64, event: DestinationEvent) {
        match event {
            DestinationEvent::LinkUp => self.link_up = true,
            DestinationEvent::LinkDown(_) => self.link_up = false,
            DestinationEvent::Message(message) => self.on_message(message, now_ms),
            DestinationEvent::Timeout => self.on_timeout(now_ms),
            DestinationEvent::Prepared { token, result } if self.finished(token) => {
                self.on_prepared(result, now_ms);
            }
            DestinationEvent::Applied { token, result } if self.finished(token) => self.on_applied(result),
            DestinationEvent::Activated { token, result } if self.finished(token) => {
                self.on_activated(result, now_ms);
            }
            DestinationEvent::Discarded { token, result } if self.finished(token) => {
                self.on_discarded(result, now_ms);
            }
            DestinationEvent::Finished { token } if self.finished(token) => self.on_finished(),
            DestinationEvent::Marked { volume, mark, bytes } => {
                self.on_volume(volume, |progress| {
                    progress.mark = Some(mark);
                    progress.bytes += bytes;
                });
            }
            DestinationEvent::Installed { volume, snapshot, root, bytes } => {
                self.on_volume(volume, |progress| {
                    progress.mark = None;
                    progress.base = Some(snapshot);
                    progress.base_root = root;
                    progress.bytes += bytes;
                });
            }
            _ => {}
        }
    }

    /// An operator's command: only an abort, while the source has not begun the cutover.
    ///
    /// # Errors
    /// [`CommandError::WrongPhase`] or [`CommandError::WrongSide`]; nothing has changed then.
    pub fn command(&mut self, now_ms: u64, command: Command) -> Result<(), CommandError> {
        let Some(record) = &mut self.record else { return Err(CommandError::NotFound) };
        let phase = record.phase;
        match (command, phase) {
            (_, Phase::Cutover | Phase::Activate | Phase::Completed) => {
                Err(CommandError::WrongPhase { command: command.name(), phase })
            }
            (Command::Abort, Phase::Aborted) => Ok(()),
            (Command::Abort, _) => {
                enter(record, Phase::Aborted, now_ms);
                record.error = Some("aborted at the destination".to_owned());
                self.persist();
                self.send(Message::Refused { reason: "aborted at the destination".to_owned() });
                self.discard();
                Ok(())
            }
            (other, _) => Err(CommandError::WrongSide(other.name())),
        }
    }

    fn on_message(&mut self, message: Message, now_ms: u64) {
        match message {
            Message::Setup { spec, epoch, volumes, config } => {
                self.on_setup(spec, epoch, volumes, config, now_ms);
            }
            Message::Abort => self.on_abort(now_ms),
            Message::Progress { phase, round } => self.on_progress(phase, round, now_ms),
            Message::Handover { attempt, config, open_state, .. } => {
                self.on_handover(attempt, config, open_state, now_ms);
            }
            Message::Rollback { attempt } => self.on_rollback(attempt, now_ms),
            Message::Activate { epoch, attempt } => self.on_activate(epoch, attempt, now_ms),
            Message::Complete => self.on_complete(),
            // What only a destination says.
            Message::SetupDone
            | Message::Ready { .. }
            | Message::NotReady { .. }
            | Message::Activated { .. }
            | Message::Discarded
            | Message::Completed
            | Message::Refused { .. } => {}
        }
    }

    fn on_setup(
        &mut self,
        spec: MigrationSpec,
        epoch: Epoch,
        volumes: Vec<VolumeInfo>,
        config: Vec<u8>,
        now_ms: u64,
    ) {
        match self.record.as_ref().map(|record| record.phase) {
            None => {
                self.record = Some(MigrationRecord {
                    id: self.id,
                    role: Role::Destination,
                    peer: self.source.clone(),
                    phase: Phase::Setup,
                    epoch,
                    attempt: 0,
                    round: 0,
                    volumes: fresh_progress(volumes.clone()),
                    write_limit_bytes_per_s: None,
                    throttle_steps: Vec::new(),
                    phases: vec![PhaseEntry { phase: Phase::Setup, at_ms: now_ms }],
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
                });
                self.persist();
                self.prepare(epoch, config, volumes);
            }
            Some(Phase::Setup | Phase::Failed) if self.running.is_none() => {
                self.prepare(epoch, config, volumes);
            }
            Some(Phase::Setup | Phase::Failed) => {}
            Some(Phase::Aborted) => {
                self.send(Message::Refused { reason: "aborted at the destination".into() })
            }
            Some(_) => self.send(Message::SetupDone),
        }
    }

    fn prepare(&mut self, epoch: Epoch, config: Vec<u8>, volumes: Vec<VolumeInfo>) {
        let token = self.run();
        self.actions.push_back(DestinationAction::Prepare { token, epoch, config, volumes });
    }

    fn on_prepared(&mut self, result: Result<(), String>, now_ms: u64) {
        let Some(record) = &mut self.record else { return };
        if !matches!(record.phase, Phase::Setup | Phase::Failed) {
            return;
        }
        match result {
            Ok(()) => {
                enter(record, Phase::Baseline, now_ms);
                record.error = None;
                self.persist();
                self.send(Message::SetupDone);
            }
            Err(reason) => {
                enter(record, Phase::Failed, now_ms);
                record.error = Some(reason.clone());
                self.persist();
                self.send(Message::Refused { reason });
            }
        }
    }

    fn on_progress(&mut self, phase: Phase, round: u32, now_ms: u64) {
        let Some(record) = &mut self.record else {
            self.send(Message::Refused { reason: "nothing is known of this migration".to_owned() });
            return;
        };
        if record.phase == Phase::Aborted {
            self.send(Message::Refused { reason: "aborted at the destination".to_owned() });
            return;
        }
        record.round = record.round.max(round);
        // Only show what the source does. A handover ends by a rollback, never by this.
        let mirrors =
            |phase| matches!(phase, Phase::Baseline | Phase::Update | Phase::AdminCutover | Phase::Paused);
        if mirrors(phase) && mirrors(record.phase) && record.phase != phase {
            enter(record, phase, now_ms);
            self.persist();
        }
    }

    fn on_handover(&mut self, attempt: u32, config: Vec<u8>, open_state: Vec<u8>, now_ms: u64) {
        let Some(record) = &mut self.record else { return };
        let current = record.phase == Phase::Cutover && attempt == record.attempt;
        if current && self.applied {
            self.send(Message::Ready { attempt });
            return;
        }
        let fresh = attempt > record.attempt
            && matches!(
                record.phase,
                Phase::Baseline | Phase::Update | Phase::AdminCutover | Phase::Paused | Phase::Cutover
            );
        if !(fresh || current) || (current && self.running.is_some()) {
            return;
        }
        record.attempt = attempt;
        enter(record, Phase::Cutover, now_ms);
        self.applied = false;
        self.persist();
        let token = self.run();
        self.actions.push_back(DestinationAction::Apply { token, config, open_state });
    }

    fn on_applied(&mut self, result: Result<(), String>) {
        let Some(record) = &self.record else { return };
        if record.phase != Phase::Cutover {
            return;
        }
        let attempt = record.attempt;
        match result {
            Ok(()) => {
                self.applied = true;
                self.send(Message::Ready { attempt });
            }
            Err(reason) => self.send(Message::NotReady { attempt, reason }),
        }
    }

    fn on_rollback(&mut self, attempt: u32, now_ms: u64) {
        let Some(record) = &mut self.record else { return };
        if record.is_past_edge() || attempt < record.attempt || record.phase == Phase::Aborted {
            return;
        }
        // Also without a handover: one of this attempt that is still on its way must not count.
        let was_cutover = record.phase == Phase::Cutover;
        if was_cutover {
            enter(record, Phase::AdminCutover, now_ms);
        } else if record.attempt == attempt {
            return;
        }
        record.attempt = attempt;
        self.applied = false;
        self.running = None;
        self.persist();
        if was_cutover {
            self.actions.push_back(DestinationAction::Rollback);
        }
    }

    fn on_activate(&mut self, epoch: Epoch, attempt: u32, now_ms: u64) {
        let Some(record) = &mut self.record else { return };
        match record.phase {
            Phase::Completed => {
                let epoch = record.epoch.next();
                self.send(Message::Activated { epoch });
            }
            Phase::Cutover if attempt == record.attempt && epoch == record.epoch.next() => {
                enter(record, Phase::Activate, now_ms);
                self.persist();
                self.activate();
            }
            // Under way, or not the handover that is held here: the source's own checks exclude that.
            _ => {}
        }
    }

    fn activate(&mut self) {
        let Some(record) = &self.record else { return };
        let epoch = record.epoch.next();
        self.retry_at_ms = None;
        let token = self.run();
        self.actions.push_back(DestinationAction::Activate { token, epoch });
    }

    fn on_activated(&mut self, result: Result<(), String>, now_ms: u64) {
        let Some(record) = &mut self.record else { return };
        match result {
            Ok(()) => {
                enter(record, Phase::Completed, now_ms);
                record.error = None;
                let epoch = record.epoch.next();
                self.persist();
                self.send(Message::Activated { epoch });
            }
            Err(reason) => {
                // Only forward from here.
                record.error = Some(reason);
                self.persist();
                self.retry_at_ms = Some(now_ms + RETRY_MS);
            }
        }
    }

    fn on_abort(&mut self, now_ms: u64) {
        match self.record.as_mut() {
            None => self.send(Message::Discarded),
            Some(record) if record.phase == Phase::Aborted => {
                if record.settled {
                    self.send(Message::Discarded);
                } else if self.running.is_none() && self.retry_at_ms.is_none() {
                    self.discard();
                }
            }
            Some(record) if !record.is_past_edge() => {
                enter(record, Phase::Aborted, now_ms);
                self.persist();
                self.discard();
            }
            Some(_) => {}
        }
    }

    fn discard(&mut self) {
        self.retry_at_ms = None;
        let token = self.run();
        self.actions.push_back(DestinationAction::Discard { token });
    }

    fn on_discarded(&mut self, result: Result<(), String>, now_ms: u64) {
        let Some(record) = &mut self.record else { return };
        match result {
            Ok(()) => {
                record.settled = true;
                self.persist();
                self.send(Message::Discarded);
            }
            Err(reason) => {
                record.error = Some(reason);
                self.persist();
                self.retry_at_ms = Some(now_ms + RETRY_MS);
            }
        }
    }

    fn on_complete(&mut self) {
        match &self.record {
            Some(record) if record.phase != Phase::Completed => {}
            Some(record) if record.settled => self.send(Message::Completed),
            Some(_) if self.running.is_none() => {
                let token = self.run();
                self.actions.push_back(DestinationAction::Finish { token });
            }
            _ => {}
        }
    }

    fn on_finished(&mut self) {
        if let Some(record) = &mut self.record {
            record.settled = true;
            self.persist();
            self.send(Message::Completed);
        }
    }

    fn on_timeout(&mut self, now_ms: u64) {
        if self.retry_at_ms.is_none_or(|at| now_ms < at) {
            return;
        }
        match self.record.as_ref().map(|record| record.phase) {
            Some(Phase::Activate) => self.activate(),
            Some(Phase::Aborted) => self.discard(),
            _ => self.retry_at_ms = None,
        }
    }

    fn on_volume(&mut self, volume: Uuid, change: impl FnOnce(&mut crate::model::VolumeProgress)) {
        let Some(record) = &mut self.record else { return };
        if let Some(progress) = record.volumes.iter_mut().find(|p| p.info.uuid == volume) {
            change(progress);
            self.persist();
        }
    }

    fn finished(&mut self, token: Token) -> bool {
        let ours = self.running == Some(token);
        if ours {
            self.running = None;
        }
        ours
    }

    fn run(&mut self) -> Token {
        let token = self.next_token;
        self.next_token += 1;
        self.running = Some(token);
        token
    }

    fn persist(&mut self) {
        if let Some(record) = &self.record {
            self.actions.push_back(DestinationAction::Persist(Box::new(record.clone())));
        }
    }

    fn send(&mut self, message: Message) {
        if self.link_up {
            self.actions.push_back(DestinationAction::Send(message));
        }
    }
}
