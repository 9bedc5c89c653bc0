//! Runs migrations: one task for each, which feeds its machine and does what the machine says, against the
//! ports and the link. This file: starting, finding, commanding, accepting; `source` and `destination` do
//! the rest. Decides nothing that the machines could.

mod control;
mod destination;
mod source;

use crate::failpoint::Failpoints;
use crate::link::{self, PeerStream};
use crate::machine::{DestinationMachine, SourceMachine};
use crate::model::{Command, CommandError, MigrationId, MigrationRecord, MigrationSpec, Role, Status};
use crate::ports::{DestinationHost, HostError, Journal, Peer, Peers, SourceHost};
use crate::protocol::{Frame, Hello, ProtocolError, Stream};
use crate::receiver::Receiver;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Data streams of one migration.
const DATA_STREAMS: usize = 2;
/// Migrations known at one time, finished ones included.
const MIGRATIONS_MAX: usize = 4096;

/// Wall-clock milliseconds that never go back while the process runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    unix_ms: u64,
}

impl Clock {
    fn new() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { start: Instant::now(), unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX) }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.unix_ms + u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) async fn sleep_until(&self, at_ms: u64) {
        tokio::time::sleep(Duration::from_millis(at_ms.saturating_sub(self.now_ms()))).await;
    }
}

/// What a migrator works with.
#[derive(Clone)]
#[allow(missing_docs, reason = "the fields are what their types say")]
pub struct Ports {
    pub journal: Arc<dyn Journal>,
    pub source: Arc<dyn SourceHost>,
    pub destination: Arc<dyn DestinationHost>,
    pub peers: Arc<dyn Peers>,
}

/// What all migrations of a cluster share.
pub(crate) struct Shared {
    ports: Ports,
    failpoints: Failpoints,
    clock: Clock,
    stop: CancellationToken,
}

impl Shared {
    async fn connect(
        &self,
        peer: &str,
        id: MigrationId,
        stream: Stream,
    ) -> Result<PeerStream, ProtocolError> {
        let peer = self.ports.peers.by_name(peer).ok_or(ProtocolError::Unexpected("peer name"))?;
        link::connect(self.ports.peers.identity(), &peer, link::hello(id, stream)).await
    }
}

type Commanded = (Command, oneshot::Sender<Result<(), CommandError>>);

/// Why a driver ended before its migration did.
#[derive(Debug)]
enum Stopped {
    /// A failpoint said so.
    Failpoint,
    /// The journal failed: nothing may happen that it does not know of.
    Journal(HostError),
}

struct Entry {
    commands: mpsc::Sender<Commanded>,
    status: watch::Receiver<Option<Status>>,
    /// Destination only.
    arriving: Option<Arriving>,
}

#[derive(Clone)]
struct Arriving {
    control: mpsc::Sender<PeerStream>,
    receiver: Arc<Receiver>,
    source: String,
}

/// Runs the migrations of a cluster, in both roles.
pub struct Migrator {
    shared: Arc<Shared>,
    entries: Mutex<HashMap<MigrationId, Entry>>,
    tasks: TaskTracker,
}

/// A migration's status as it changes.
pub struct StatusWatch(watch::Receiver<Option<Status>>);

impl StatusWatch {
    /// The newest.
    pub fn current(&mut self) -> Option<Status> {
        self.0.borrow_and_update().clone()
    }

    /// Waits for the next one; `None`: there will be no more.
    pub async fn changed(&mut self) -> Option<Status> {
        self.0.changed().await.ok()?;
        self.current()
    }
}

impl Migrator {
    /// A migrator with nothing to do yet. Call [`resume_all`](Self::resume_all) next.
    #[must_use]
    pub fn new(ports: Ports, failpoints: Failpoints) -> Arc<Self> {
        let shared = Shared { ports, failpoints, clock: Clock::new(), stop: CancellationToken::new() };
        Arc::new(Migrator { shared: Arc::new(shared), entries: Mutex::default(), tasks: TaskTracker::new() })
    }

    /// Goes on with what the journal knows. Call it once, when the vservers owned here are running.
    ///
    /// # Errors
    /// The journal's, or the host's where the ownership of a vserver can't be read.
    pub async fn resume_all(self: &Arc<Self>) -> Result<(), HostError> {
        for record in self.shared.ports.journal.load_all().await? {
            match record.role {
                Role::Source => {
                    let owner = self.shared.ports.source.ownership(&record.spec.vserver).await;
                    let settled = record.is_final() && record.settled;
                    let here = match owner {
                        Ok(ownership) => ownership.here,
                        // A vserver may be removed after its migration.
                        Err(_) if settled || record.is_final() => false,
                        Err(error) => return Err(error),
                    };
                    let machine = SourceMachine::restart(record, here, self.shared.clock.now_ms());
                    self.spawn_source(machine);
                }
                Role::Destination => self.spawn_destination(DestinationMachine::restart(record)),
            }
        }
        Ok(())
    }

    /// Begins to move a vserver.
    ///
    /// # Errors
    /// [`CommandError::UnknownPeer`], or [`CommandError::Precheck`] where the vserver can't be moved now.
    pub async fn start(self: &Arc<Self>, spec: MigrationSpec) -> Result<MigrationId, CommandError> {
        self.check(&spec).await?;
        let id = MigrationId::random();
        let source = &self.shared.ports.source;
        source.begin(&spec.vserver, id).await.map_err(|e| CommandError::Precheck(e.to_string()))?;
        let machine = SourceMachine::start(id, spec, self.shared.clock.now_ms());
        // Known to a restart before anybody is told of it.
        if let Err(error) = self.shared.ports.journal.save(machine.record()).await {
            let _ = source.end(&machine.record().spec.vserver, id).await;
            return Err(CommandError::Unavailable(error.to_string()));
        }
        self.spawn_source(machine);
        Ok(id)
    }

    /// The checks of [`start`](Self::start) that leave no trace: peer known and answering, vserver owned here,
    /// volumes readable, not migrating.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn check(&self, spec: &MigrationSpec) -> Result<(), CommandError> {
        let ports = &self.shared.ports;
        let precheck = |error: HostError| CommandError::Precheck(error.to_string());
        let peer = ports.peers.by_name(&spec.destination);
        let peer = peer.ok_or_else(|| CommandError::UnknownPeer(spec.destination.clone()))?;
        if !(spec.throttle.factor > 0.0 && spec.throttle.factor < 1.0) {
            return Err(CommandError::Precheck("throttle factor must be between 0 and 1".to_owned()));
        }
        if self.list().iter().any(|s| s.record.spec.vserver == spec.vserver && is_active(&s.record)) {
            return Err(CommandError::Precheck("the vserver is being migrated already".to_owned()));
        }
        if !ports.source.ownership(&spec.vserver).await.map_err(precheck)?.here {
            return Err(CommandError::Precheck("the vserver is not owned by this cluster".to_owned()));
        }
        let volumes = ports.source.volumes(&spec.vserver).await.map_err(precheck)?;
        if volumes.is_empty() {
            return Err(CommandError::Precheck("the vserver has no volumes".to_owned()));
        }
        if let Some(fault) = volumes.iter().find_map(|v| v.volume.fault()) {
            return Err(CommandError::Precheck(format!("a volume is faulty: {fault}")));
        }
        let probe = link::hello(MigrationId(uuid::Uuid::nil()), Stream::Control);
        match link::connect(ports.peers.identity(), &peer, probe).await {
            Ok(_) => Ok(()),
            Err(error) => Err(CommandError::Precheck(format!("peer {}: {error}", peer.name))),
        }
    }

    /// Tells a migration something.
    ///
    /// # Errors
    /// [`CommandError`].
    pub async fn command(&self, id: MigrationId, command: Command) -> Result<(), CommandError> {
        let sender = self.entries.lock().get(&id).map(|entry| entry.commands.clone());
        let sender = sender.ok_or(CommandError::NotFound)?;
        let (answer, answered) = oneshot::channel();
        let stopped = || CommandError::Unavailable("this migration's driver has stopped".to_owned());
        sender.send((command, answer)).await.map_err(|_| stopped())?;
        answered.await.map_err(|_| stopped())?
    }

    /// A migration's status.
    #[must_use]
    pub fn status(&self, id: MigrationId) -> Option<Status> {
        self.entries.lock().get(&id).and_then(|entry| entry.status.borrow().clone())
    }

    /// A migration's status as it changes.
    #[must_use]
    pub fn watch(&self, id: MigrationId) -> Option<StatusWatch> {
        self.entries.lock().get(&id).map(|entry| StatusWatch(entry.status.clone()))
    }

    /// The status of every migration, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Status> {
        let mut all: Vec<Status> =
            self.entries.lock().values().filter_map(|entry| entry.status.borrow().clone()).collect();
        all.sort_by_key(|status| status.record.phases.first().map(|entry| entry.at_ms));
        all
    }

    /// Accepts peers' connections until `cancel`.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, cancel: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = cancel.cancelled() => return,
                () = self.shared.stop.cancelled() => return,
            };
            match accepted {
                Ok((tcp, _)) => {
                    let migrator = self.clone();
                    self.tasks.spawn(async move { migrator.accept(tcp).await });
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a peer's connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// Takes one connection of a peer.
    pub async fn accept(self: &Arc<Self>, tcp: TcpStream) {
        let accepted = link::accept(self.shared.ports.peers.clone(), tcp).await;
        let (peer, hello, mut stream) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                return;
            }
        };
        let Some(arriving) = self.arriving(&peer, &hello) else { return };
        if link::write(&mut stream, &Frame::Welcome).await.is_err() {
            return;
        }
        let Some(arriving) = arriving else { return };
        match hello.stream {
            // The driver may have ended; the connection ends with it.
            Stream::Control => drop(arriving.control.send(stream).await),
            Stream::Data => arriving.receiver.spawn(stream),
        }
    }

    /// Stops all drivers. Sources that are not past the edge are left serving.
    pub async fn shutdown(&self) {
        self.shared.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Who takes a connection. `None`: nobody; `Some(None)`: it only asks whether anybody is here.
    fn arriving(self: &Arc<Self>, peer: &Peer, hello: &Hello) -> Option<Option<Arriving>> {
        let id = hello.migration;
        if id.0.is_nil() {
            return Some(None);
        }
        let (known, count) = {
            let entries = self.entries.lock();
            (entries.get(&id).map(|entry| entry.arriving.clone()), entries.len())
        };
        match known {
            // Only its source may speak about a migration.
            Some(Some(arriving)) if arriving.source == peer.name => Some(Some(arriving)),
            Some(_) => None,
            None if hello.stream == Stream::Control && count < MIGRATIONS_MAX => {
                self.spawn_destination(DestinationMachine::vacant(id, peer.name.clone()));
                Some(self.entries.lock().get(&id).and_then(|entry| entry.arriving.clone()))
            }
            None => None,
        }
    }

    fn spawn_source(self: &Arc<Self>, machine: SourceMachine) {
        let id = machine.record().id;
        let (commands, inbox) = mpsc::channel(16);
        let (show, status) = watch::channel(None);
        let driver = source::SourceDriver::new(self.shared.clone(), machine, inbox, show);
        self.entries.lock().insert(id, Entry { commands, status, arriving: None });
        self.tasks.spawn(driver.run());
    }

    fn spawn_destination(self: &Arc<Self>, machine: DestinationMachine) {
        let id = machine.id();
        let (commands, inbox) = mpsc::channel(16);
        let (show, status) = watch::channel(None);
        let (control, streams) = mpsc::channel(4);
        let source = machine.source().to_owned();
        let (driver, receiver) =
            destination::DestinationDriver::new(self.shared.clone(), machine, inbox, show, streams);
        let arriving = Some(Arriving { control, receiver, source });
        self.entries.lock().insert(id, Entry { commands, status, arriving });
        self.tasks.spawn(driver.run());
    }
}

fn is_active(record: &MigrationRecord) -> bool {
    record.role == Role::Source && !record.is_final()
}
