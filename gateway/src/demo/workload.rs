//! Clients that write records without pause, and know what the server has promised to keep.
//!
//! A write counts as acknowledged when it was FILE_SYNC and answered, or UNSTABLE and followed by a COMMIT with the
//! same write verifier (RFC 1813 §3.3.21). Afterwards every place must hold the newest acknowledged record or a newer one.

use super::record::{RECORD_LEN, Record, run};
use crate::client::{Client, ClientError, Options};
use crate::nfs3::procedures::CreateHow3;
use crate::nfs3::types::{NfsFh3, SAttr3, StableHow};
use futures_util::future::try_join_all;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How much is written, and how.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Writers of single records, FILE_SYNC, at random places of one file each.
    pub sync_writers: u64,
    /// Records in each of those files.
    pub sync_records: u64,
    /// Writers of long runs, UNSTABLE, with a COMMIT after each round through the file.
    pub stream_writers: u64,
    /// Records in each of those files.
    pub stream_records: u64,
    /// Pause of a stream writer between commits; keeps the load steady on machines of any speed.
    pub stream_pause: Duration,
}

/// Records in one WRITE of a stream (256 KiB).
const STREAM_RUN: u64 = 64;
/// WRITEs of a stream in flight.
const STREAM_DEPTH: u64 = 4;

/// What the clients saw, as it goes on.
#[derive(Debug, Default)]
pub struct Seen {
    /// Records acknowledged durable.
    pub acked: AtomicU64,
    /// Bytes acknowledged durable.
    pub bytes: AtomicU64,
    /// Longest time that one call took, in microseconds.
    stall_us: AtomicU64,
    /// Writes repeated because the write verifier changed.
    pub repeated: AtomicU64,
}

impl Seen {
    fn call(&self, started: Instant) {
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.stall_us.fetch_max(micros, Ordering::Relaxed);
    }

    fn ack(&self, records: u64) {
        self.acked.fetch_add(records, Ordering::Relaxed);
        self.bytes.fetch_add(records * RECORD_LEN as u64, Ordering::Relaxed);
    }

    /// Longest time that one call took since the last time this was asked.
    pub fn take_stall(&self) -> Duration {
        Duration::from_micros(self.stall_us.swap(0, Ordering::Relaxed))
    }
}

/// A file and what was promised of it.
#[derive(Debug)]
pub struct Written {
    file: u64,
    handle: NfsFh3,
    /// By record: the newest round acknowledged; 0: none.
    acked: Vec<u64>,
    /// By record: the newest round sent.
    sent: Vec<u64>,
}

impl Written {
    fn new(file: u64, handle: NfsFh3, records: u64) -> Self {
        let empty = vec![0; usize::try_from(records).unwrap_or(0)];
        Written { file, handle, acked: empty.clone(), sent: empty }
    }
}

/// What a full read-back found.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct ReadBack {
    /// Places read.
    pub records: u64,
    /// Places that hold something older than what was acknowledged, or nothing.
    pub lost: u64,
    /// Places that hold bytes that nobody wrote there.
    pub damaged: u64,
}

/// Clients at work.
#[derive(Debug)]
pub struct Workload {
    /// What they see.
    pub seen: Arc<Seen>,
    stop: CancellationToken,
    writers: JoinSet<Result<Written, ClientError>>,
}

impl Workload {
    /// Makes the files (`sync-N` in `sync_path`, `stream-N` in `stream_path`) and starts writing.
    ///
    /// # Errors
    /// The client's.
    pub async fn start(
        server: SocketAddr,
        sync_path: &str,
        stream_path: &str,
        plan: Plan,
    ) -> Result<Workload, ClientError> {
        let seen = Arc::<Seen>::default();
        let stop = CancellationToken::new();
        let mut writers = JoinSet::new();
        for number in 0..plan.sync_writers {
            let client = Client::new(server, Options::default());
            let handle = create(&client, sync_path, &format!("sync-{number}")).await?;
            let written = Written::new(number, handle, plan.sync_records);
            writers.spawn(write_sync(client, written, Arc::clone(&seen), stop.clone()));
        }
        for number in 0..plan.stream_writers {
            let client = Client::new(server, Options::default());
            let handle = create(&client, stream_path, &format!("stream-{number}")).await?;
            let written = Written::new(1000 + number, handle, plan.stream_records);
            let pause = plan.stream_pause;
            writers.spawn(write_stream(client, written, Arc::clone(&seen), stop.clone(), pause));
        }
        Ok(Workload { seen, stop, writers })
    }

    /// Ends the writers after their current call; gives what was promised to them.
    ///
    /// # Errors
    /// The first error that a writer ended with.
    pub async fn stop(mut self) -> Result<Vec<Written>, ClientError> {
        self.stop.cancel();
        let mut all = Vec::new();
        while let Some(written) = self.writers.join_next().await {
            all.push(written.map_err(|_| ClientError::Deadline)??);
        }
        Ok(all)
    }
}

async fn create(client: &Client, path: &str, name: &str) -> Result<NfsFh3, ClientError> {
    let dir = client.mount(path).await?;
    let attributes = SAttr3 { mode: Some(0o644), ..SAttr3::default() };
    client.create(&dir, name, CreateHow3::Unchecked(attributes)).await?;
    Ok(client.lookup(&dir, name).await?.object)
}

async fn write_sync(
    client: Client,
    mut written: Written,
    seen: Arc<Seen>,
    stop: CancellationToken,
) -> Result<Written, ClientError> {
    let records = written.acked.len() as u64;
    let mut round = 0;
    let mut place = written.file;
    while !stop.is_cancelled() {
        round += 1;
        place = place.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let block = (place >> 33) % records;
        let at = usize::try_from(block).unwrap_or(0);
        written.sent[at] = round;
        let started = Instant::now();
        let data = run(written.file, block, 1, round);
        client.write(&written.handle, block * RECORD_LEN as u64, data, StableHow::FileSync).await?;
        seen.call(started);
        written.acked[at] = round;
        seen.ack(1);
    }
    Ok(written)
}

async fn write_stream(
    client: Client,
    mut written: Written,
    seen: Arc<Seen>,
    stop: CancellationToken,
    pause: Duration,
) -> Result<Written, ClientError> {
    let records = written.acked.len() as u64;
    let mut round = 0;
    loop {
        round += 1;
        let mut first = 0;
        while first < records {
            if stop.is_cancelled() {
                return Ok(written);
            }
            let count = (STREAM_RUN * STREAM_DEPTH * 4).min(records - first);
            write_range(&client, &mut written, &seen, first..first + count, round).await?;
            first += count;
            tokio::time::sleep(pause).await;
        }
    }
}

/// Writes a range UNSTABLE and commits it, again if the server lost what was not committed.
async fn write_range(
    client: &Client,
    written: &mut Written,
    seen: &Seen,
    range: std::ops::Range<u64>,
    round: u64,
) -> Result<(), ClientError> {
    let places = usize::try_from(range.start).unwrap_or(0)..usize::try_from(range.end).unwrap_or(0);
    written.sent[places.clone()].fill(round);
    loop {
        let mut verifiers = Vec::new();
        let mut first = range.start;
        while first < range.end {
            let calls = (0..STREAM_DEPTH).map(|call| first + call * STREAM_RUN).filter(|at| *at < range.end);
            let calls = calls.map(|at| {
                let data = run(written.file, at, STREAM_RUN.min(range.end - at), round);
                let handle = &written.handle;
                async move {
                    let started = Instant::now();
                    let reply =
                        client.write(handle, at * RECORD_LEN as u64, data, StableHow::Unstable).await?;
                    seen.call(started);
                    Ok::<_, ClientError>(reply.verf)
                }
            });
            verifiers.extend(try_join_all(calls).await?);
            first += STREAM_RUN * STREAM_DEPTH;
        }
        let started = Instant::now();
        let committed = client.commit(&written.handle, 0, 0).await?.verf;
        seen.call(started);
        if verifiers.iter().all(|verifier| *verifier == committed) {
            written.acked[places].fill(round);
            seen.ack(range.end - range.start);
            return Ok(());
        }
        seen.repeated.fetch_add(1, Ordering::Relaxed);
    }
}

/// Reads every place of every file through the handles that the writers had, and compares.
///
/// # Errors
/// The client's.
pub async fn read_back(server: SocketAddr, all: &[Written]) -> Result<ReadBack, ClientError> {
    let client = Client::new(server, Options::default());
    let mut found = ReadBack::default();
    for written in all {
        let records = written.acked.len() as u64;
        for first in (0..records).step_by(128) {
            let count = u32::try_from(128.min(records - first) * RECORD_LEN as u64).unwrap_or(0);
            let data = client.read(&written.handle, first * RECORD_LEN as u64, count).await?.data.bytes();
            for block in first..(first + 128).min(records) {
                let from = usize::try_from(block - first).unwrap_or(0) * RECORD_LEN;
                let place = data.get(from..from + RECORD_LEN).unwrap_or(&[]);
                check(written, block, place, &mut found);
            }
        }
    }
    Ok(found)
}

fn check(written: &Written, block: u64, bytes: &[u8], found: &mut ReadBack) {
    let at = usize::try_from(block).unwrap_or(0);
    let (acked, sent) = (written.acked[at], written.sent[at]);
    found.records += 1;
    if bytes.iter().all(|byte| *byte == 0) {
        found.lost += u64::from(acked > 0);
        return;
    }
    match Record::decode(bytes) {
        Some(record) if record.file == written.file && record.block == block && record.round <= sent => {
            found.lost += u64::from(record.round < acked);
        }
        _ => found.damaged += 1,
    }
}
