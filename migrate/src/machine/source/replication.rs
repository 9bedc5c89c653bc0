//! Setup, baseline and update: what the source's machine does until a cutover is in reach.

use super::super::{RETRY_MS, Token, fresh_progress};
use super::{Prepared, RoundDone, SourceAction, SourceMachine, Step, UPDATE_INTERVAL_MS};
use crate::message::Message;
use crate::model::Phase;
use crate::policy::{self, Measurement};

impl SourceMachine {
    pub(super) fn prepare(&mut self) {
        let token = self.token();
        self.step = Step::Preparing(token);
        self.actions.push_back(SourceAction::Prepare { token });
    }

    pub(super) fn on_prepared(&mut self, result: Result<Prepared, String>, now_ms: u64) {
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
    pub(super) fn work(&mut self, now_ms: u64) {
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

    pub(super) fn begin_round(&mut self, now_ms: u64) {
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

    pub(super) fn on_transferred(
        &mut self,
        token: Token,
        result: Result<RoundDone, (String, bool)>,
        now_ms: u64,
    ) {
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

    pub(super) fn on_round_done(&mut self, done: RoundDone, now_ms: u64) {
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
            self.send(Message::Progress { phase: Phase::Update, round: self.record.round });
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

    pub(super) fn on_measured(&mut self, result: Result<(u64, u64), String>, now_ms: u64) {
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

    pub(super) fn measurement(
        &self,
        remaining_bytes: u64,
        write_bytes_per_s: u64,
        now_ms: u64,
    ) -> Measurement {
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
}
