//! Admin cutover, cutover, activate: throttling, the frozen part, the edge, and what follows it.

use super::super::{RETRY_MS, Token, push_bounded};
use super::{SourceAction, SourceMachine, Step};
use crate::message::Message;
use crate::model::{Phase, ThrottleStep};
use crate::policy::{self, Decision, Measurement};

impl SourceMachine {
    pub(super) fn decide(&mut self, measurement: &Measurement, now_ms: u64) {
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
    pub(super) fn limit(&mut self, limit: Option<u64>, reason: String, now_ms: u64) {
        self.record.write_limit_bytes_per_s = limit;
        let step = ThrottleStep { at_ms: now_ms, limit_bytes_per_s: limit, reason };
        push_bounded(&mut self.record.throttle_steps, step);
        self.persist();
        self.actions.push_back(SourceAction::SetWriteLimit(limit));
    }

    /// Lifts the limit, whether or not one is known to be in force: the host may know better.
    pub(super) fn lift(&mut self, reason: &str, now_ms: u64) {
        if self.record.write_limit_bytes_per_s.is_some() {
            self.limit(None, reason.to_owned(), now_ms);
        } else {
            self.actions.push_back(SourceAction::SetWriteLimit(None));
        }
    }

    pub(super) fn back_to_update(&mut self, reason: &str, now_ms: u64) {
        self.cancel_work();
        self.record.error = Some(reason.to_owned());
        self.lift(reason, now_ms);
        if self.attempts_used_up(reason, now_ms) {
            return;
        }
        self.enter(Phase::Update, now_ms);
        self.step = Step::Waiting { until_ms: now_ms + RETRY_MS };
    }

    pub(super) fn attempts_used_up(&mut self, reason: &str, now_ms: u64) -> bool {
        let over = self.record.attempt >= self.record.spec.attempts_max;
        if over {
            self.fail(format!("{} cutover attempts failed; the last: {reason}", self.record.attempt), now_ms);
        }
        over
    }

    pub(super) fn begin_cutover(&mut self, now_ms: u64) {
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

    pub(super) fn on_frozen(&mut self, result: Result<(), String>, now_ms: u64) {
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

    pub(super) fn on_exported(
        &mut self,
        token: Token,
        result: Result<(Vec<u8>, Vec<u8>), String>,
        now_ms: u64,
    ) {
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
    pub(super) fn relinquish_when_ready(&mut self, now_ms: u64) {
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
    pub(super) fn fall_back(&mut self, reason: &str, now_ms: u64) {
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

    pub(super) fn on_relinquished(&mut self, here: bool, error: Option<&str>, now_ms: u64) {
        if here {
            self.fall_back(error.unwrap_or("the ownership was not given up"), now_ms);
        } else {
            self.tell_activate(now_ms);
        }
    }

    pub(super) fn tell_activate(&mut self, now_ms: u64) {
        self.step = Step::Idle;
        let (epoch, attempt) = (self.record.epoch.next(), self.record.attempt);
        self.tell(Message::Activate { epoch, attempt }, now_ms);
    }

    pub(super) fn on_activated(&mut self, now_ms: u64) {
        self.request = None;
        self.record.pause_ms = self.frozen_at_ms.map(|at| now_ms.saturating_sub(at));
        self.record.error = None;
        self.lift("the destination serves", now_ms);
        self.enter(Phase::Completed, now_ms);
        self.retire();
    }

    pub(super) fn retire(&mut self) {
        let token = self.token();
        self.step = Step::Retiring(token);
        self.actions.push_back(SourceAction::Retire { token });
    }

    pub(super) fn on_retired(&mut self, result: Result<(), String>, now_ms: u64) {
        self.step = Step::Idle;
        self.record.error = result.err();
        self.actions.push_back(SourceAction::End);
        self.persist();
        self.tell(Message::Complete, now_ms);
        if self.record.spec.auto_source_cleanup && self.record.error.is_none() {
            self.clean_up();
        }
    }

    pub(super) fn clean_up(&mut self) {
        let token = self.token();
        self.step = Step::Cleaning(token);
        self.actions.push_back(SourceAction::Cleanup { token });
    }
}
