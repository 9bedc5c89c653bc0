//! The source's end of a transfer: takes the snapshots of a round and streams their differences, in block
//! order, from where the destination's last durable mark says. Decides nothing about phases.

use crate::machine::{RoundDone, VolumeDone};
use crate::model::Mark;
use crate::ports::SourceVolume;
use crate::protocol::{self, BLOCKS_HEADER, BLOCKS_MAX, Begin, Frame, ProtocolError};
use fsstore::{BLOCK_SIZE, BLOCK_SIZE_U64, FsError, Snapshot, SnapshotId, SnapshotMaker, Time, Vbn, Volume};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Chunks read ahead of the network.
const READ_AHEAD: usize = 4;
/// Blocks in one frame.
const FRAME_BLOCKS: u64 = (BLOCKS_MAX / BLOCK_SIZE) as u64;

/// Why a round ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("{0}")]
    Link(#[from] ProtocolError),
    #[error("reading the source volume: {0}")]
    Volume(#[from] FsError),
    #[error("the destination: {0}")]
    Refused(String),
    #[error("{0}")]
    Fatal(String),
    #[error("cancelled")]
    Cancelled,
}

impl SendError {
    /// Whether the same again could not work.
    pub(crate) fn is_fatal(&self) -> bool {
        matches!(self, SendError::Fatal(_) | SendError::Volume(_))
    }
}

impl From<std::io::Error> for SendError {
    fn from(error: std::io::Error) -> Self {
        SendError::Link(error.into())
    }
}

/// Bytes of the round under way, for whoever watches.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) done: AtomicU64,
    pub(crate) total: AtomicU64,
}

/// A round to send.
pub(crate) struct Round {
    pub(crate) volumes: Vec<SourceVolume>,
    /// What the names of the migration's snapshots begin with.
    pub(crate) prefix: String,
    pub(crate) number: u32,
    /// Whether this is the last one: its snapshots must not have existed before.
    pub(crate) last: bool,
    pub(crate) now: Time,
    pub(crate) progress: Arc<Progress>,
    pub(crate) cancel: CancellationToken,
    /// Called once, when the first blocks were sent.
    pub(crate) started: Box<dyn Fn() + Send + Sync>,
}

/// Takes the snapshots, then sends every volume over one of `streams`; each worker takes the next volume.
pub(crate) async fn send_round<S>(round: Round, streams: &mut [S]) -> Result<RoundDone, SendError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let began = Instant::now();
    round.progress.done.store(0, Ordering::Relaxed);
    round.progress.total.store(0, Ordering::Relaxed);
    let queue = Mutex::new(take_snapshots(&round).await?);
    let streaming = Instant::now();
    let done = Mutex::new(Vec::new());
    let workers = streams.iter_mut().map(|stream| async {
        loop {
            let Some((volume, snapshot)) = queue.lock().pop_front() else { return Ok(()) };
            let sent = send_volume(&round, &volume, &snapshot, stream).await?;
            done.lock().push(sent);
        }
    });
    let all = try_join_all(workers.collect());
    tokio::select! {
        result = all => result?,
        () = round.cancel.cancelled() => return Err(SendError::Cancelled),
    }
    Ok(RoundDone {
        volumes: done.into_inner(),
        stream_us: u64::try_from(streaming.elapsed().as_micros()).unwrap_or(u64::MAX),
        total_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    })
}

/// Runs all to their end, or to the first error.
async fn try_join_all<F>(workers: Vec<F>) -> Result<(), SendError>
where
    F: Future<Output = Result<(), SendError>>,
{
    let mut workers: Vec<_> = workers.into_iter().map(|worker| Some(Box::pin(worker))).collect();
    std::future::poll_fn(move |cx| {
        let mut pending = false;
        for slot in &mut workers {
            let Some(worker) = slot else { continue };
            match worker.as_mut().poll(cx) {
                std::task::Poll::Ready(Ok(())) => *slot = None,
                std::task::Poll::Ready(Err(error)) => return std::task::Poll::Ready(Err(error)),
                std::task::Poll::Pending => pending = true,
            }
        }
        if pending { std::task::Poll::Pending } else { std::task::Poll::Ready(Ok(())) }
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SendError> + Send + 'static,
) -> Result<T, SendError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(SendError::Fatal(format!("a worker thread failed: {error}"))),
    }
}

async fn take_snapshots(round: &Round) -> Result<VecDeque<(SourceVolume, Snapshot)>, SendError> {
    let name = format!("{}{}", round.prefix, round.number);
    let (last, now) = (round.last, round.now);
    let tasks: Vec<_> = round
        .volumes
        .iter()
        .map(|source| {
            let (volume, name) = (source.volume.clone(), name.clone());
            tokio::task::spawn_blocking(move || take_snapshot(&volume, &name, last, now))
        })
        .collect();
    let mut taken = VecDeque::new();
    for (source, task) in round.volumes.iter().zip(tasks) {
        let snapshot =
            task.await.map_err(|error| SendError::Fatal(format!("a worker thread failed: {error}")))??;
        taken.push_back((source.clone(), snapshot));
    }
    Ok(taken)
}

fn take_snapshot(volume: &Volume, name: &str, last: bool, now: Time) -> Result<Snapshot, SendError> {
    if let Some(found) = volume.snapshots().into_iter().find(|snapshot| snapshot.name == name) {
        if last {
            return Err(SendError::Fatal(format!("snapshot {name} exists before the last round")));
        }
        return Ok(found);
    }
    Ok(volume.snapshot_create_by(name, now, SnapshotMaker::Migration)?)
}

async fn send_volume<S>(
    round: &Round,
    source: &SourceVolume,
    to: &Snapshot,
    stream: &mut S,
) -> Result<VolumeDone, SendError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let uuid = source.info.uuid;
    let begin = Begin { volume: uuid, snapshot: to.name.clone(), to_root: to.root_sum };
    crate::link::write(stream, &Frame::Begin(begin)).await?;
    let have = match Frame::read(stream).await? {
        Frame::Have(have) => have,
        other => return Err(unexpected(other)),
    };
    let done = |bytes| VolumeDone { uuid, snapshot: to.name.clone(), root: to.root_sum, bytes };
    if have.installed_root == Some(to.root_sum) {
        return Ok(done(0));
    }
    let base = find_base(&source.volume, have.installed_root, to)?;
    let from_root = base.as_ref().map_or(0, |snapshot| snapshot.root_sum);
    let resume = have.mark.filter(|mark| mark.to_root == to.root_sum && mark.from_root == from_root);
    let from = resume.map_or(0, |mark| mark.next_vbn);
    let diff = Mark { to_root: to.root_sum, from_root, next_vbn: from };
    let bytes = stream_blocks(round, source.volume.clone(), base.map(|b| b.id), to.id, diff, stream).await?;
    let volume = source.volume.clone();
    let to_id = to.id;
    let image = blocking(move || Ok(volume.image(to_id)?)).await?;
    crate::link::write(stream, &Frame::Install(image.into())).await?;
    loop {
        match Frame::read(stream).await? {
            Frame::Marked(_) => {}
            Frame::Installed(root) if root == to.root_sum => return Ok(done(bytes)),
            Frame::Installed(root) => {
                let why =
                    format!("volume {}: root {root:#x} there, {:#x} here", source.info.name, to.root_sum);
                return Err(SendError::Fatal(why));
            }
            other => return Err(unexpected(other)),
        }
    }
}

fn unexpected(frame: Frame) -> SendError {
    match frame {
        Frame::Broken(broken) if broken.fatal => {
            SendError::Fatal(format!("the destination: {}", broken.reason))
        }
        Frame::Broken(broken) => SendError::Refused(broken.reason),
        other => SendError::Link(ProtocolError::Unexpected(other.name())),
    }
}

/// The snapshot here that the destination has installed. What the destination says counts, not what this
/// side remembers: an installation may have happened whose acknowledgement was lost.
fn find_base(volume: &Volume, installed: Option<u64>, to: &Snapshot) -> Result<Option<Snapshot>, SendError> {
    let Some(root) = installed else { return Ok(None) };
    let found = volume.snapshots().into_iter().find(|s| s.root_sum == root && s.id < to.id);
    match found {
        Some(base) => Ok(Some(base)),
        None => Err(SendError::Fatal(format!("no snapshot here has the root {root:#x} that is there"))),
    }
}

/// A buffer of finished frames, and the bytes of blocks in it.
type Chunk = (Vec<u8>, u64);

async fn stream_blocks<S>(
    round: &Round,
    volume: Arc<Volume>,
    base: Option<SnapshotId>,
    to: SnapshotId,
    diff: Mark,
    stream: &mut S,
) -> Result<u64, SendError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    crate::link::write(stream, &Frame::Diff(diff)).await?;
    let progress = round.progress.clone();
    let (chunks, mut ready) = mpsc::channel::<Chunk>(READ_AHEAD);
    // Ends when the receiver is dropped, at the latest after one chunk.
    let reader = tokio::task::spawn_blocking(move || {
        progress.total.fetch_add(expected_bytes(&volume, base), Ordering::Relaxed);
        read_blocks(&volume, base, to, diff.next_vbn, &chunks)
    });
    let (mut from, mut into) = tokio::io::split(stream);
    let mut sent = 0;
    let write = async {
        while let Some((chunk, bytes)) = ready.recv().await {
            into.write_all(&chunk).await?;
            if sent == 0 {
                (round.started)();
            }
            sent += bytes;
            round.progress.done.fetch_add(bytes, Ordering::Relaxed);
        }
        into.flush().await?;
        Ok::<(), SendError>(())
    };
    // Marks are read meanwhile, so that neither side's buffers fill up.
    let marks = async {
        loop {
            match Frame::read(&mut from).await {
                Ok(Frame::Marked(_)) => {}
                Ok(other) => return unexpected(other),
                Err(error) => return SendError::Link(error),
            }
        }
    };
    let result = tokio::select! {
        result = write => result,
        error = marks => Err(error),
    };
    drop(ready);
    let read = reader.await.map_err(|error| SendError::Fatal(format!("a worker thread failed: {error}")))?;
    result?;
    read?;
    Ok(sent)
}

fn expected_bytes(volume: &Volume, base: Option<SnapshotId>) -> u64 {
    match base {
        Some(base) => volume.bytes_changed_since(base).unwrap_or(0),
        None => {
            let used = volume.statfs();
            used.total_bytes.saturating_sub(used.free_bytes)
        }
    }
}

/// Runs on a blocking thread: packs the differing blocks into frames.
fn read_blocks(
    volume: &Volume,
    base: Option<SnapshotId>,
    to: SnapshotId,
    from: u64,
    chunks: &mpsc::Sender<Chunk>,
) -> Result<(), SendError> {
    let mut chunk = Vec::with_capacity(BLOCKS_MAX + 2 * BLOCKS_HEADER);
    let mut bytes = 0;
    for range in volume.snapdiff(base, to)? {
        let range = range?;
        let end = range.start.0.saturating_add(range.blocks);
        let mut start = range.start.0.max(from);
        while start < end {
            // Small runs share a chunk; a frame is one run.
            let room = FRAME_BLOCKS.saturating_sub(bytes / BLOCK_SIZE_U64).max(1);
            let count = (end - start).min(room);
            let length = usize::try_from(count * BLOCK_SIZE_U64).unwrap_or(BLOCKS_MAX);
            let at = chunk.len();
            chunk.resize(at + BLOCKS_HEADER + length, 0);
            volume.read_raw(Vbn(start), &mut chunk[at + BLOCKS_HEADER..])?;
            protocol::seal_blocks(&mut chunk[at..], Vbn(start));
            start += count;
            bytes += count * BLOCK_SIZE_U64;
            if bytes >= BLOCKS_MAX as u64 {
                let full = std::mem::replace(&mut chunk, Vec::with_capacity(BLOCKS_MAX + 2 * BLOCKS_HEADER));
                if chunks.blocking_send((full, bytes)).is_err() {
                    return Ok(()); // the transfer was given up; its own error says why
                }
                bytes = 0;
            }
        }
    }
    if bytes > 0 {
        // As above.
        let _ = chunks.blocking_send((chunk, bytes));
    }
    Ok(())
}
