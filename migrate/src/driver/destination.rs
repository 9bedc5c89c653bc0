//! The destination's driver: does what the destination's machine says.

use super::control::{self, LinkEvent, Numbered};
use super::{Commanded, Shared, Stopped};
use crate::failpoint::FailAction;
use crate::link::PeerStream;
use crate::machine::{DestinationAction, DestinationEvent, DestinationMachine};
use crate::message::Message;
use crate::model::{MigrationId, Phase, Status};
use crate::ports::{DestinationHost, Placeholder};
use crate::receiver::{Received, Receiver};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Host actions that wait for the one before; the machine has at most a few under way.
const HOST_QUEUE: usize = 64;

pub(super) struct DestinationDriver {
    shared: Arc<Shared>,
    machine: DestinationMachine,
    commands: mpsc::Receiver<Commanded>,
    show: watch::Sender<Option<Status>>,
    streams: mpsc::Receiver<PeerStream>,
    link_events: (mpsc::Sender<Numbered>, mpsc::Receiver<Numbered>),
    /// Number of the newest control stream; events of older ones do not count.
    generation: u64,
    link: Option<(mpsc::Sender<Message>, CancellationToken)>,
    received: mpsc::Receiver<Received>,
    receiver: Arc<Receiver>,
    phase_shown: Arc<AtomicU8>,
    stop: CancellationToken,
}

impl DestinationDriver {
    pub(super) fn new(
        shared: Arc<Shared>,
        machine: DestinationMachine,
        commands: mpsc::Receiver<Commanded>,
        show: watch::Sender<Option<Status>>,
        streams: mpsc::Receiver<PeerStream>,
    ) -> (Self, Arc<Receiver>) {
        let (reports, received) = mpsc::channel(64);
        let phase_shown = Arc::new(AtomicU8::new(0));
        let (failpoints, phase) = (shared.failpoints.clone(), phase_shown.clone());
        let failpoint = Box::new(move || {
            let phase = PHASES.get(usize::from(phase.load(Ordering::Relaxed))).map_or("none", |p| p.name());
            failpoints.hit(&format!("destination.{phase}.blocks")).is_some()
        });
        let receiver = Receiver::new(machine.id(), shared.ports.destination.clone(), reports, failpoint);
        if let Some(record) = machine.record() {
            receiver.open(&record.spec.vserver);
            for volume in &record.volumes {
                receiver.remember(volume.info.uuid, volume.mark);
            }
        }
        let stop = shared.stop.child_token();
        let mut driver = DestinationDriver {
            machine,
            commands,
            show,
            streams,
            link_events: mpsc::channel(64),
            generation: 0,
            link: None,
            received,
            receiver: receiver.clone(),
            phase_shown,
            shared,
            stop,
        };
        driver.publish();
        (driver, receiver)
    }

    pub(super) async fn run(mut self) {
        if let Err(Stopped::Journal(error)) = self.drive().await {
            tracing::error!(id = %self.machine.id(), %error, "journal failed; this migration stops");
        }
        self.stop.cancel();
        // Reports are read no more; a writer that waits to give one must not wait for ever.
        self.received.close();
        self.receiver.stop().await;
    }

    async fn drive(&mut self) -> Result<(), Stopped> {
        let (host_queue, work) = mpsc::channel(HOST_QUEUE);
        let (events, mut results) = mpsc::channel(HOST_QUEUE);
        let worker = HostWorker {
            id: self.machine.id(),
            source: self.machine.source().to_owned(),
            host: self.shared.ports.destination.clone(),
            receiver: self.receiver.clone(),
        };
        // In order, one at a time: a rollback must not overtake the handover that it takes back.
        tokio::spawn(worker.run(work, events, self.stop.clone()));
        loop {
            while let Some(action) = self.machine.poll_action() {
                self.perform(action, &host_queue).await?;
            }
            self.publish();
            let timeout = self.machine.poll_timeout();
            let clock = self.shared.clock;
            tokio::select! {
                Some(event) = results.recv() => self.handle(event),
                Some((generation, event)) = self.link_events.1.recv() => self.on_link(generation, event),
                Some(stream) = self.streams.recv() => self.on_stream(stream),
                Some(report) = self.received.recv() => self.on_received(report),
                Some((command, answer)) = self.commands.recv() => {
                    let result = self.machine.command(clock.now_ms(), command);
                    // Whoever asked may have gone.
                    let _ = answer.send(result);
                }
                () = clock.sleep_until(timeout.unwrap_or(u64::MAX)), if timeout.is_some() => {
                    self.handle(DestinationEvent::Timeout);
                }
                () = self.stop.cancelled() => return Ok(()),
            }
        }
    }

    fn handle(&mut self, event: DestinationEvent) {
        self.machine.handle(self.shared.clock.now_ms(), event);
    }

    fn on_stream(&mut self, stream: PeerStream) {
        // The source has one control stream; a new one means that the old one is dead.
        if let Some((_, cut)) = self.link.take() {
            cut.cancel();
            self.handle(DestinationEvent::LinkDown("replaced".to_owned()));
        }
        self.generation += 1;
        let (generation, events) = (self.generation, self.link_events.0.clone());
        let (clock, stop) = (self.shared.clock, self.stop.clone());
        tokio::spawn(async move { control::run(stream, generation, &events, clock, &stop).await });
    }

    fn on_link(&mut self, generation: u64, event: LinkEvent) {
        if generation != self.generation {
            return;
        }
        match event {
            LinkEvent::Up { out, cut } => {
                self.link = Some((out, cut));
                self.handle(DestinationEvent::LinkUp);
            }
            LinkEvent::Message(message) => {
                tracing::debug!(id = %self.machine.id(), message = message.name(), "received");
                self.handle(DestinationEvent::Message(message));
            }
            LinkEvent::Down(reason) => {
                self.link = None;
                self.handle(DestinationEvent::LinkDown(reason));
            }
        }
    }

    fn on_received(&mut self, report: Received) {
        self.handle(match report {
            Received::Marked { volume, mark, bytes } => DestinationEvent::Marked { volume, mark, bytes },
            Received::Installed { volume, snapshot, root, bytes } => {
                DestinationEvent::Installed { volume, snapshot, root, bytes }
            }
        });
    }

    fn publish(&mut self) {
        let Some(record) = self.machine.record() else { return };
        let index = PHASES.iter().position(|phase| *phase == record.phase).unwrap_or(0);
        self.phase_shown.store(u8::try_from(index).unwrap_or(0), Ordering::Relaxed);
        let status = Status {
            record: record.clone(),
            link_up: self.link.is_some(),
            transfer_bytes_done: 0,
            transfer_bytes_total: 0,
            write_bytes_per_s: 0,
        };
        self.show.send_if_modified(|shown| {
            let changed = shown.as_ref() != Some(&status);
            *shown = Some(status);
            changed
        });
    }

    async fn perform(
        &mut self,
        action: DestinationAction,
        host_queue: &mpsc::Sender<HostJob>,
    ) -> Result<(), Stopped> {
        let phase = self.machine.record().map_or("none", |record| record.phase.name());
        match self.shared.failpoints.hit(&format!("destination.{phase}.{}", step_name(&action))) {
            None | Some(FailAction::Exit) => {}
            Some(FailAction::Stop) => return Err(Stopped::Failpoint),
            Some(FailAction::Cut) => {
                if let Some((_, cut)) = self.link.take() {
                    cut.cancel();
                }
            }
        }
        let job = match action {
            DestinationAction::Persist(record) => {
                return self.shared.ports.journal.save(&record).await.map_err(Stopped::Journal);
            }
            DestinationAction::Send(message) => {
                if let Some((out, cut)) = &self.link
                    && out.try_send(message).is_err()
                {
                    // A peer that reads nothing: as good as gone.
                    cut.cancel();
                }
                return Ok(());
            }
            job => job,
        };
        let Some(record) = self.machine.record() else { return Ok(()) };
        let job = HostJob { vserver: record.spec.vserver.clone(), action: job };
        // The queue is longer than what the machine has under way; if not, waiting is right.
        let _ = host_queue.send(job).await;
        Ok(())
    }
}

/// Phases by the number in which the receiver's failpoint sees them.
const PHASES: [Phase; 10] = [
    Phase::Setup,
    Phase::Baseline,
    Phase::Update,
    Phase::AdminCutover,
    Phase::Cutover,
    Phase::Activate,
    Phase::Completed,
    Phase::Paused,
    Phase::Aborted,
    Phase::Failed,
];

struct HostJob {
    vserver: String,
    action: DestinationAction,
}

/// Calls the host, one action after the other.
struct HostWorker {
    id: MigrationId,
    source: String,
    host: Arc<dyn DestinationHost>,
    receiver: Arc<Receiver>,
}

impl HostWorker {
    async fn run(
        self,
        mut work: mpsc::Receiver<HostJob>,
        events: mpsc::Sender<DestinationEvent>,
        stop: CancellationToken,
    ) {
        while let Some(job) = tokio::select! {
            job = work.recv() => job,
            () = stop.cancelled() => None,
        } {
            if let Some(event) = self.call(job).await
                && events.send(event).await.is_err()
            {
                return;
            }
        }
    }

    async fn call(&self, job: HostJob) -> Option<DestinationEvent> {
        let vserver = &job.vserver;
        match job.action {
            DestinationAction::Prepare { token, epoch, config, volumes } => {
                let placeholder = Placeholder {
                    id: self.id,
                    vserver: vserver.clone(),
                    source: self.source.clone(),
                    epoch,
                    config,
                    volumes,
                };
                let result = self.host.prepare(&placeholder).await.map_err(|e| e.to_string());
                if result.is_ok() {
                    self.receiver.open(vserver);
                }
                Some(DestinationEvent::Prepared { token, result })
            }
            DestinationAction::Apply { token, config, open_state } => {
                let result = self.host.apply(vserver, &config, &open_state).await;
                Some(DestinationEvent::Applied { token, result: result.map_err(|e| e.to_string()) })
            }
            DestinationAction::Rollback => {
                if let Err(error) = self.host.rollback(vserver).await {
                    tracing::error!(id = %self.id, %error, "rolling back");
                }
                None
            }
            DestinationAction::Activate { token, epoch } => {
                self.receiver.stop().await;
                tracing::info!(id = %self.id, %epoch, "taking ownership");
                let result = self.host.activate(vserver, epoch).await;
                Some(DestinationEvent::Activated { token, result: result.map_err(|e| e.to_string()) })
            }
            DestinationAction::Discard { token } => {
                self.receiver.stop().await;
                let result = self.host.discard(vserver, self.id).await;
                Some(DestinationEvent::Discarded { token, result: result.map_err(|e| e.to_string()) })
            }
            DestinationAction::Finish { token } => {
                if let Err(error) = self.host.finish(vserver, &self.id.snapshot_prefix()).await {
                    tracing::warn!(id = %self.id, %error, "deleting the migration's snapshots");
                }
                Some(DestinationEvent::Finished { token })
            }
            DestinationAction::Persist(_) | DestinationAction::Send(_) => None,
        }
    }
}

/// What failpoints call an action.
fn step_name(action: &DestinationAction) -> &'static str {
    match action {
        DestinationAction::Persist(_) => "persist",
        DestinationAction::Send(message) => message.name(),
        DestinationAction::Prepare { .. } => "prepare",
        DestinationAction::Apply { .. } => "apply",
        DestinationAction::Rollback => "rollback",
        DestinationAction::Activate { .. } => "activate",
        DestinationAction::Discard { .. } => "discard",
        DestinationAction::Finish { .. } => "finish",
    }
}
