//! The source's driver: does what the source's machine says.

use super::control::{self, LinkEvent, Numbered};
use super::{Commanded, DATA_STREAMS, Shared, Stopped};
use crate::failpoint::FailAction;
use crate::link::PeerStream;
use crate::machine::{Prepared, RoundDone, SourceAction, SourceEvent, SourceMachine, Token};
use crate::message::Message;
use crate::model::{Epoch, MigrationId, Status};
use crate::ports::{HostError, SourceVolume};
use crate::protocol::Stream;
use crate::sender::{self, Progress, Round, SendError};
use fsstore::FsError;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How often the status is refreshed while nothing happens.
const REFRESH: Duration = Duration::from_millis(200);

pub(super) struct SourceDriver {
    shared: Arc<Shared>,
    id: MigrationId,
    vserver: String,
    machine: SourceMachine,
    commands: mpsc::Receiver<Commanded>,
    show: watch::Sender<Option<Status>>,
    /// Results of actions that run beside this task.
    events: (mpsc::Sender<SourceEvent>, mpsc::Receiver<SourceEvent>),
    link_events: (mpsc::Sender<Numbered>, mpsc::Receiver<Numbered>),
    link: Option<(mpsc::Sender<Message>, CancellationToken)>,
    wanted: watch::Sender<bool>,
    /// Kept between rounds, so that the last one need not connect.
    streams: Arc<Mutex<Vec<PeerStream>>>,
    transfer: Option<(CancellationToken, JoinHandle<()>)>,
    freeze: Option<JoinHandle<()>>,
    progress: Arc<Progress>,
    write_rate: u64,
    stop: CancellationToken,
}

impl SourceDriver {
    pub(super) fn new(
        shared: Arc<Shared>,
        machine: SourceMachine,
        commands: mpsc::Receiver<Commanded>,
        show: watch::Sender<Option<Status>>,
    ) -> Self {
        let stop = shared.stop.child_token();
        let record = machine.record();
        let mut driver = SourceDriver {
            id: record.id,
            vserver: record.spec.vserver.clone(),
            machine,
            commands,
            show,
            events: mpsc::channel(64),
            link_events: mpsc::channel(64),
            link: None,
            wanted: watch::Sender::new(false),
            streams: Arc::default(),
            transfer: None,
            freeze: None,
            progress: Arc::default(),
            write_rate: 0,
            shared,
            stop,
        };
        driver.publish();
        driver
    }

    pub(super) async fn run(mut self) {
        let peer = self.machine.record().peer.clone();
        let maintain = control::maintain(
            self.shared.clone(),
            self.id,
            peer,
            self.wanted.subscribe(),
            self.link_events.0.clone(),
            self.stop.clone(),
        );
        let maintain = tokio::spawn(maintain);
        match self.drive().await {
            Ok(()) => self.leave_serving().await,
            Err(Stopped::Failpoint) => {}
            Err(Stopped::Journal(error)) => {
                tracing::error!(id = %self.id, %error, "journal failed; this migration stops");
                self.leave_serving().await;
            }
        }
        self.stop.cancel();
        self.cancel_transfer().await;
        // It ends by the token.
        let _ = maintain.await;
    }

    /// The node stops. A vserver that is still owned here must not stay frozen or throttled by this.
    async fn leave_serving(&mut self) {
        if !self.machine.record().is_past_edge() {
            self.thaw().await;
            let lifted = self.shared.ports.source.set_write_limit(&self.vserver, None).await;
            if let Err(error) = lifted {
                tracing::warn!(id = %self.id, %error, "lifting the write limit");
            }
        }
    }

    async fn drive(&mut self) -> Result<(), Stopped> {
        let mut refresh = tokio::time::interval(REFRESH);
        refresh.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            while let Some(action) = self.machine.poll_action() {
                self.perform(action).await?;
            }
            self.wanted
                .send_if_modified(|wanted| std::mem::replace(wanted, self.machine.wants_link()) != *wanted);
            self.publish();
            let timeout = self.machine.poll_timeout();
            let clock = self.shared.clock;
            tokio::select! {
                Some(event) = self.events.1.recv() => self.handle(event),
                Some((_, event)) = self.link_events.1.recv() => self.on_link(event),
                Some((command, answer)) = self.commands.recv() => {
                    let result = self.machine.command(clock.now_ms(), command);
                    // Whoever asked may have gone.
                    let _ = answer.send(result);
                }
                () = clock.sleep_until(timeout.unwrap_or(u64::MAX)), if timeout.is_some() => {
                    self.handle(SourceEvent::Timeout);
                }
                _ = refresh.tick() => self.refresh().await,
                () = self.stop.cancelled() => return Ok(()),
            }
        }
    }

    fn handle(&mut self, event: SourceEvent) {
        self.machine.handle(self.shared.clock.now_ms(), event);
    }

    fn on_link(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Up { out, cut } => {
                self.link = Some((out, cut));
                self.handle(SourceEvent::LinkUp);
            }
            LinkEvent::Message(message) => self.handle(SourceEvent::Message(message)),
            LinkEvent::Down(reason) => {
                self.link = None;
                self.handle(SourceEvent::LinkDown(reason));
            }
        }
    }

    async fn refresh(&mut self) {
        if self.machine.record().is_final() {
            self.write_rate = 0;
        } else if let Ok(rate) = self.shared.ports.source.write_rate(&self.vserver).await {
            self.write_rate = rate;
        }
    }

    fn publish(&mut self) {
        let running = self.transfer.is_some();
        let count = |value: &std::sync::atomic::AtomicU64| {
            if running { value.load(Ordering::Relaxed) } else { 0 }
        };
        let status = Status {
            record: self.machine.record().clone(),
            link_up: self.link.is_some(),
            transfer_bytes_done: count(&self.progress.done),
            transfer_bytes_total: count(&self.progress.total),
            write_bytes_per_s: self.write_rate,
        };
        self.show.send_if_modified(|shown| {
            let changed = shown.as_ref() != Some(&status);
            *shown = Some(status);
            changed
        });
    }

    fn failpoint(&mut self, step: &str) -> Result<(), Stopped> {
        let place = format!("source.{}.{step}", self.machine.record().phase);
        match self.shared.failpoints.hit(&place) {
            None | Some(FailAction::Exit) => Ok(()),
            Some(FailAction::Stop) => Err(Stopped::Failpoint),
            Some(FailAction::Cut) => {
                self.cut();
                Ok(())
            }
        }
    }

    fn cut(&mut self) {
        if let Some((_, cut)) = self.link.take() {
            cut.cancel();
        }
        if let Some((cancel, _)) = &self.transfer {
            cancel.cancel();
        }
    }

    /// Runs `work` beside this task and feeds its event to the machine.
    fn beside(&self, work: impl Future<Output = SourceEvent> + Send + 'static) -> JoinHandle<()> {
        let events = self.events.0.clone();
        tokio::spawn(async move {
            let event = work.await;
            // The driver may have ended.
            let _ = events.send(event).await;
        })
    }

    async fn perform(&mut self, action: SourceAction) -> Result<(), Stopped> {
        self.failpoint(step_name(&action))?;
        let host = self.shared.ports.source.clone();
        let vserver = self.vserver.clone();
        match action {
            SourceAction::Persist(record) => {
                self.shared.ports.journal.save(&record).await.map_err(Stopped::Journal)?;
            }
            SourceAction::Send(message) => self.send(message),
            SourceAction::Prepare { token } => self.prepare(token),
            SourceAction::Transfer { token, round, last } => self.begin_transfer(token, round, last).await,
            SourceAction::CancelTransfer => self.cancel_transfer().await,
            SourceAction::Measure { token } => self.measure(token),
            SourceAction::SetWriteLimit(limit) => {
                tracing::info!(id = %self.id, ?limit, "write limit");
                noted(self.id, "set_write_limit", host.set_write_limit(&vserver, limit).await);
            }
            SourceAction::Freeze { token } => {
                self.freeze = Some(self.beside(async move {
                    let result = host.freeze(&vserver).await.map_err(|e| e.to_string());
                    SourceEvent::Frozen { token, result }
                }));
            }
            SourceAction::Thaw => self.thaw().await,
            SourceAction::Export { token } => {
                self.beside(async move {
                    let (config, state) = tokio::join!(host.config(&vserver), host.open_state(&vserver));
                    let result = config.and_then(|c| Ok((c, state?))).map_err(|e| e.to_string());
                    SourceEvent::Exported { token, result }
                });
            }
            SourceAction::Relinquish { token, epoch } => self.relinquish(token, epoch),
            SourceAction::DropSnapshots { keep_from } => self.drop_snapshots(keep_from),
            SourceAction::Retire { token } => {
                self.beside(async move {
                    let result = host.retire(&vserver).await.map_err(|e| e.to_string());
                    SourceEvent::Retired { token, result }
                });
            }
            SourceAction::Cleanup { token } => {
                self.beside(async move {
                    let result = host.cleanup(&vserver).await.map_err(|e| e.to_string());
                    SourceEvent::CleanedUp { token, result }
                });
            }
            SourceAction::End => noted(self.id, "end", host.end(&vserver, self.id).await),
        }
        Ok(())
    }

    fn send(&mut self, message: Message) {
        tracing::debug!(id = %self.id, message = message.name(), "send");
        if let Some((out, cut)) = &self.link
            && out.try_send(message).is_err()
        {
            // A peer that reads nothing: as good as gone.
            cut.cancel();
        }
    }

    fn prepare(&mut self, token: Token) {
        let (host, vserver, id) = (self.shared.ports.source.clone(), self.vserver.clone(), self.id);
        self.beside(async move {
            let work = async {
                host.begin(&vserver, id).await?;
                let ownership = host.ownership(&vserver).await?;
                if !ownership.here {
                    return Err(HostError("the vserver is not owned by this cluster".to_owned()));
                }
                let volumes = host.volumes(&vserver).await?.into_iter().map(|v| v.info).collect();
                let config = host.config(&vserver).await?;
                Ok(Prepared { epoch: ownership.epoch, volumes, config })
            };
            SourceEvent::Prepared { token, result: work.await.map_err(|e: HostError| e.to_string()) }
        });
    }

    /// Gives up a freeze under way first: its future must not hold requests again after the thaw.
    async fn thaw(&mut self) {
        if let Some(freeze) = self.freeze.take() {
            freeze.abort();
            // An aborted task's error is of no interest.
            let _ = freeze.await;
        }
        noted(self.id, "thaw", self.shared.ports.source.thaw(&self.vserver).await);
    }

    fn relinquish(&mut self, token: Token, epoch: Epoch) {
        let (host, vserver) = (self.shared.ports.source.clone(), self.vserver.clone());
        let to = self.machine.record().peer.clone();
        tracing::info!(id = %self.id, %epoch, to, "giving up ownership");
        self.beside(async move {
            let error = host.relinquish(&vserver, epoch, &to).await.err().map(|e| e.to_string());
            let Some(error) = error else {
                return SourceEvent::Relinquished { token, here: false, error: None };
            };
            // It may or may not have happened; requests stay held until that is known.
            loop {
                match host.ownership(&vserver).await {
                    Ok(ownership) => {
                        let here = ownership.here;
                        return SourceEvent::Relinquished { token, here, error: Some(error) };
                    }
                    Err(again) => tracing::error!(%again, "reading the ownership back"),
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        });
    }

    fn measure(&mut self, token: Token) {
        let (host, vserver) = (self.shared.ports.source.clone(), self.vserver.clone());
        let bases: Vec<_> =
            self.machine.record().volumes.iter().map(|v| (v.info.uuid, v.base.clone())).collect();
        self.beside(async move {
            let work = async {
                let volumes = host.volumes(&vserver).await?;
                let remaining = tokio::task::spawn_blocking(move || changed_since(&volumes, &bases));
                Ok((remaining.await.map_err(HostError::new)??, host.write_rate(&vserver).await?))
            };
            SourceEvent::Measured { token, result: work.await.map_err(|e: HostError| e.to_string()) }
        });
    }

    async fn cancel_transfer(&mut self) {
        if let Some((cancel, task)) = self.transfer.take() {
            cancel.cancel();
            // Joined, so that two rounds never run at once.
            let _ = task.await;
        }
    }

    async fn begin_transfer(&mut self, token: Token, number: u32, last: bool) {
        self.cancel_transfer().await;
        let cancel = self.stop.child_token();
        let now_ms = self.shared.clock.now_ms();
        let (failpoints, cut) = (self.shared.failpoints.clone(), cancel.clone());
        let place = format!("source.{}.blocks", self.machine.record().phase);
        let started = Box::new(move || {
            if failpoints.hit(&place).is_some() {
                cut.cancel();
            }
        });
        let round = Round {
            volumes: Vec::new(),
            prefix: self.id.snapshot_prefix(),
            number,
            last,
            now: fsstore::Time {
                secs: i64::try_from(now_ms / 1000).unwrap_or(i64::MAX),
                nanos: u32::try_from(now_ms % 1000).unwrap_or(0) * 1_000_000,
            },
            progress: self.progress.clone(),
            cancel: cancel.clone(),
            started,
        };
        let (shared, streams, id) = (self.shared.clone(), self.streams.clone(), self.id);
        let (vserver, peer) = (self.vserver.clone(), self.machine.record().peer.clone());
        let task = self.beside(async move {
            let result = transfer(&shared, id, &vserver, &peer, &streams, round).await;
            if let Err(error) = &result {
                tracing::info!(%id, %error, "transfer ended early");
            }
            let result = result.map_err(|error| (error.to_string(), error.is_fatal()));
            SourceEvent::Transferred { token, result }
        });
        self.transfer = Some((cancel, task));
    }

    fn drop_snapshots(&mut self, keep_from: u32) {
        let (host, vserver, id) = (self.shared.ports.source.clone(), self.vserver.clone(), self.id);
        // Not awaited: nothing depends on it, and what stays behind goes with the next round.
        tokio::spawn(async move {
            let Ok(volumes) = host.volumes(&vserver).await else { return };
            // A transfer that was just given up may hold a snapshot for another moment.
            for _ in 0..20 {
                let (volumes, prefix) = (volumes.clone(), id.snapshot_prefix());
                let work = move || drop_snapshots(&volumes, &prefix, keep_from);
                match tokio::task::spawn_blocking(work).await {
                    Ok(Ok(())) => return,
                    Ok(Err(error)) => tracing::debug!(%id, %error, "deleting a snapshot"),
                    Err(error) => tracing::error!(%id, %error, "deleting snapshots"),
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            tracing::warn!(%id, "snapshots of the migration stay behind");
        });
    }
}

/// Deletes the snapshots of rounds before `keep_from`. Blocks.
fn drop_snapshots(volumes: &[SourceVolume], prefix: &str, keep_from: u32) -> Result<(), FsError> {
    let mut result = Ok(());
    for source in volumes {
        for snapshot in source.volume.snapshots() {
            let number = snapshot.name.strip_prefix(prefix).and_then(|n| n.parse::<u32>().ok());
            if number.is_some_and(|number| number < keep_from) {
                result = result.and(source.volume.snapshot_delete(snapshot.id));
            }
        }
    }
    result
}

async fn transfer(
    shared: &Shared,
    id: MigrationId,
    vserver: &str,
    peer: &str,
    streams: &Mutex<Vec<PeerStream>>,
    mut round: Round,
) -> Result<RoundDone, SendError> {
    round.volumes =
        shared.ports.source.volumes(vserver).await.map_err(|error| SendError::Refused(error.to_string()))?;
    // Taken out: a stream in the middle of a transfer that failed is of no more use.
    let mut held = std::mem::take(&mut *streams.lock().await);
    while held.len() < DATA_STREAMS.min(round.volumes.len()) {
        tokio::select! {
            stream = shared.connect(peer, id, Stream::Data) => held.push(stream?),
            () = round.cancel.cancelled() => return Err(SendError::Cancelled),
        }
    }
    let done = sender::send_round(round, &mut held).await?;
    *streams.lock().await = held;
    Ok(done)
}

/// What the next round would send. Blocks.
fn changed_since(volumes: &[SourceVolume], bases: &[(uuid::Uuid, Option<String>)]) -> Result<u64, HostError> {
    let mut remaining = 0_u64;
    for source in volumes {
        let base = bases.iter().find(|(uuid, _)| *uuid == source.info.uuid);
        let Some((_, Some(name))) = base else { continue };
        let snapshot = source.volume.snapshots().into_iter().find(|s| s.name == *name);
        let snapshot = snapshot.ok_or_else(|| HostError(format!("snapshot {name} is gone")))?;
        let changed = source.volume.bytes_changed_since(snapshot.id).map_err(HostError::new)?;
        remaining = remaining.saturating_add(changed);
    }
    Ok(remaining)
}

fn noted(id: MigrationId, what: &str, result: Result<(), HostError>) {
    if let Err(error) = result {
        tracing::error!(%id, what, %error, "host");
    }
}

/// What failpoints call an action.
fn step_name(action: &SourceAction) -> &'static str {
    match action {
        SourceAction::Persist(_) => "persist",
        SourceAction::Send(message) => message.name(),
        SourceAction::Prepare { .. } => "prepare",
        SourceAction::Transfer { .. } => "transfer",
        SourceAction::CancelTransfer => "cancel_transfer",
        SourceAction::Measure { .. } => "measure",
        SourceAction::SetWriteLimit(_) => "set_write_limit",
        SourceAction::Freeze { .. } => "freeze",
        SourceAction::Thaw => "thaw",
        SourceAction::Export { .. } => "export",
        SourceAction::Relinquish { .. } => "relinquish",
        SourceAction::DropSnapshots { .. } => "drop_snapshots",
        SourceAction::Retire { .. } => "retire",
        SourceAction::Cleanup { .. } => "cleanup",
        SourceAction::End => "end",
    }
}
