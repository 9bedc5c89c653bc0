//! The destination's end of transfers: writes blocks where the source has them, makes marks durable, switches
//! replicas to their new roots. Decides nothing about phases; the driver stops it before activation.

use crate::model::{Mark, MigrationId};
use crate::ports::{DestinationHost, HostError};
use crate::protocol::{Begin, Broken, Frame, Have, ProtocolError};
use bytes::Bytes;
use fsstore::{FsError, Replica, Vbn};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// Bytes between two durable marks.
const MARK_BYTES: u64 = 32 << 20;
/// Chunks that wait for the disk.
const WRITE_BEHIND: usize = 8;

/// What the receiver reports to its driver.
#[derive(Debug)]
pub(crate) enum Received {
    Marked { volume: Uuid, mark: Mark, bytes: u64 },
    Installed { volume: Uuid, snapshot: String, root: u64, bytes: u64 },
}

/// State of one volume's replica across connections.
#[derive(Default)]
struct Slot {
    /// Raised by every transfer that begins: an older one may not write any more, because a block that it
    /// carries may have been freed and used again at the source since.
    generation: u64,
    mark: Option<Mark>,
}

/// Receives the volumes of one migration.
pub(crate) struct Receiver {
    id: MigrationId,
    /// Empty until there are replicas.
    vserver: Mutex<Option<String>>,
    host: Arc<dyn DestinationHost>,
    slots: Mutex<HashMap<Uuid, Arc<Mutex<Slot>>>>,
    reports: mpsc::Sender<Received>,
    cancel: CancellationToken,
    tasks: TaskTracker,
    /// Asked when blocks arrive; `true` breaks the connection.
    failpoint: Box<dyn Fn() -> bool + Send + Sync>,
}

/// Why a transfer ended early.
#[derive(Debug, thiserror::Error)]
enum ReceiveError {
    #[error("{0}")]
    Link(#[from] ProtocolError),
    #[error("{0}")]
    Host(#[from] HostError),
    #[error("writing the replica: {0}")]
    Replica(#[from] FsError),
    #[error("a newer transfer has begun")]
    Superseded,
    #[error("stopping")]
    Stopping,
}

/// What a transfer's writing thread is given.
enum Job {
    Write(Vbn, Bytes),
    Install(Bytes),
}

struct Transfer {
    begin: Begin,
    diff: Mark,
    generation: u64,
    slot: Arc<Mutex<Slot>>,
    replica: Arc<Replica>,
}

impl Receiver {
    pub(crate) fn new(
        id: MigrationId,
        host: Arc<dyn DestinationHost>,
        reports: mpsc::Sender<Received>,
        failpoint: Box<dyn Fn() -> bool + Send + Sync>,
    ) -> Arc<Self> {
        Arc::new(Receiver {
            id,
            vserver: Mutex::default(),
            host,
            slots: Mutex::default(),
            reports,
            cancel: CancellationToken::new(),
            tasks: TaskTracker::new(),
            failpoint,
        })
    }

    /// There are replicas of this vserver's volumes now.
    pub(crate) fn open(&self, vserver: &str) {
        *self.vserver.lock() = Some(vserver.to_owned());
    }

    /// Knows of a mark from before a restart.
    pub(crate) fn remember(&self, volume: Uuid, mark: Option<Mark>) {
        self.slot(volume).lock().mark = mark;
    }

    /// Serves a data connection until it ends.
    pub(crate) fn spawn<S>(self: &Arc<Self>, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let receiver = self.clone();
        if !self.cancel.is_cancelled() {
            self.tasks.spawn(async move { receiver.serve(stream).await });
        }
    }

    /// Ends all connections; no replica is held when it returns.
    pub(crate) async fn stop(&self) {
        self.cancel.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn slot(&self, volume: Uuid) -> Arc<Mutex<Slot>> {
        self.slots.lock().entry(volume).or_default().clone()
    }

    async fn serve<S>(&self, mut stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        loop {
            let next = tokio::select! {
                frame = Frame::read(&mut stream) => frame,
                () = self.cancel.cancelled() => return,
            };
            let begin = match next {
                Ok(Frame::Begin(begin)) => begin,
                Ok(other) => {
                    tracing::warn!(frame = other.name(), "unexpected frame on a data stream");
                    return;
                }
                Err(_) => return, // between transfers: the source has closed it
            };
            let volume = begin.volume;
            if let Err(error) = self.transfer(begin, &mut stream).await {
                tracing::warn!(%volume, %error, "transfer broken off");
                let fatal = matches!(error, ReceiveError::Replica(_));
                let broken = Broken { reason: error.to_string(), fatal };
                // The connection may be what failed.
                let _ = crate::link::write(&mut stream, &Frame::Broken(broken)).await;
                return;
            }
        }
    }

    async fn transfer<S>(&self, begin: Begin, stream: &mut S) -> Result<(), ReceiveError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let vserver = self.vserver.lock().clone();
        let vserver = vserver.ok_or_else(|| HostError(format!("migration {} has no replicas", self.id)))?;
        let replica = self.host.replica(&vserver, begin.volume).await?;
        let slot = self.slot(begin.volume);
        let for_lock = slot.clone();
        // An older transfer may hold the lock while it writes or flushes.
        let entered = tokio::task::spawn_blocking(move || {
            let mut slot = for_lock.lock();
            slot.generation += 1;
            (slot.generation, slot.mark)
        });
        let (generation, mark) = entered.await.map_err(HostError::new)?;
        let installed_root = replica.installed().map(|(_, root)| root);
        let ask = async {
            crate::link::write(stream, &Frame::Have(Have { installed_root, mark })).await?;
            if installed_root == Some(begin.to_root) {
                return Ok::<_, ReceiveError>(None);
            }
            match Frame::read(stream).await? {
                Frame::Diff(diff) => Ok(Some(diff)),
                other => Err(ProtocolError::Unexpected(other.name()).into()),
            }
        };
        let diff = tokio::select! {
            diff = ask => diff?,
            () = self.cancel.cancelled() => return Err(ReceiveError::Stopping),
        };
        let Some(diff) = diff else { return Ok(()) };
        self.receive(Transfer { begin, diff, generation, slot, replica }, stream).await
    }

    async fn receive<S>(&self, transfer: Transfer, stream: &mut S) -> Result<(), ReceiveError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let (jobs, work) = mpsc::channel(WRITE_BEHIND);
        let (answers, mut out) = mpsc::channel(WRITE_BEHIND);
        let reports = self.reports.clone();
        let writer = tokio::task::spawn_blocking(move || write_transfer(transfer, work, &answers, &reports));
        let (mut from, mut into) = tokio::io::split(stream);
        let read = async {
            loop {
                let job = match Frame::read(&mut from).await? {
                    Frame::Blocks(..) if (self.failpoint)() => return Err(ReceiveError::Stopping),
                    Frame::Blocks(vbn, blocks) => Job::Write(vbn, blocks),
                    Frame::Install(image) => Job::Install(image),
                    other => return Err(ProtocolError::Unexpected(other.name()).into()),
                };
                let last = matches!(job, Job::Install(_));
                if jobs.send(job).await.is_err() || last {
                    break;
                }
            }
            drop(jobs);
            Ok::<(), ReceiveError>(())
        };
        let answer = async {
            while let Some(frame) = out.recv().await {
                crate::link::write(&mut into, &frame).await?;
            }
            Ok::<(), ReceiveError>(())
        };
        let result = tokio::select! {
            result = async { tokio::try_join!(read, answer) } => result.map(|_| ()),
            () = self.cancel.cancelled() => Err(ReceiveError::Stopping),
        };
        // Neither channel has its other end any more, so the thread ends.
        drop(out);
        let written = writer.await.map_err(HostError::new)?;
        written.and(result)
    }
}

/// Runs on a blocking thread.
fn write_transfer(
    transfer: Transfer,
    mut work: mpsc::Receiver<Job>,
    answers: &mpsc::Sender<Frame>,
    reports: &mpsc::Sender<Received>,
) -> Result<(), ReceiveError> {
    let Transfer { begin, diff, generation, slot, replica } = transfer;
    let volume = begin.volume;
    let mut since_mark = 0;
    while let Some(job) = work.blocking_recv() {
        let mut slot = slot.lock();
        if slot.generation != generation {
            return Err(ReceiveError::Superseded);
        }
        match job {
            Job::Write(vbn, blocks) => {
                replica.write(vbn, &blocks)?;
                since_mark += blocks.len() as u64;
                if since_mark >= MARK_BYTES {
                    replica.flush()?;
                    let next_vbn = vbn.0 + (blocks.len() / fsstore::BLOCK_SIZE) as u64;
                    let mark = Mark { next_vbn, ..diff };
                    slot.mark = Some(mark);
                    drop(slot);
                    // Nobody may be listening any more; the mark holds all the same.
                    let _ = reports.blocking_send(Received::Marked { volume, mark, bytes: since_mark });
                    let _ = answers.blocking_send(Frame::Marked(next_vbn));
                    since_mark = 0;
                }
            }
            Job::Install(image) => {
                replica.install(&image)?;
                slot.mark = None;
                drop(slot);
                let root = replica.installed().map_or(0, |(_, root)| root);
                let snapshot = begin.snapshot.clone();
                let report = Received::Installed { volume, snapshot, root, bytes: since_mark };
                let _ = reports.blocking_send(report);
                let _ = answers.blocking_send(Frame::Installed(root));
                return Ok(());
            }
        }
    }
    Ok(())
}
