//! The NVLOG: operations acknowledged since the last consistency point, in a fixed place of the volume, in two halves.
//!
//! Records gather in memory; one *batch* takes all of them to disk with one write and one flush, which also
//! makes the data blocks durable that the records point to: they were written before. A batch that points to no
//! blocks makes only itself durable and waits for nothing else that goes to the disk. A CP switches halves when it
//! freezes the state, and frees the old half when it is durable.
//!
//! ```text
//! batch: | magic | log id | seq | durable seq | length u32, 0 u32 | crc | records ... | zeros to a whole block
//! ```
//!
//! `durable seq` is the newest batch that was durable when this one was written. So a data block that does not
//! match its checksum is told apart: lost with its unacknowledged batch, or damaged after it was acknowledged.

use crate::disk::Disk;
use crate::error::{FsError, Result};
use crate::fsinfo::FsInfo;
use crate::ids::{BLOCK_SIZE, BLOCK_SIZE_U64, Lsn};
use crate::layout::{FSINFO_BLOCKS, Reader, Writer, checksum};
use crate::record::Record;
use parking_lot::{Condvar, Mutex};
use std::io::IoSlice;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::thread::{self, Thread};

const MAGIC: u64 = u64::from_le_bytes(*b"FERRYLOG");
const HEAD: usize = 48;
/// Records waiting in memory from which a flush starts though nobody asked, at the most.
const LAZY_BYTES: usize = 1 << 20;
/// Most bytes of records waiting in memory.
const PENDING_MAX: usize = 4 * LAZY_BYTES;
/// Blocks on their way to the disk, and pointed to by records in memory, from which a flush starts though nobody asked (16 MiB).
const POINTS_LAZY: usize = 4096;
/// Most of them (64 MiB): the next flush takes as long as they need, for everybody.
const POINTS_MAX: usize = 16_384;
/// Most of them while somebody waits for a flush (2 MiB): it goes to the disk behind them.
const POINTS_WAITED_MAX: usize = 512;
/// Largest buffer that is kept for later batches. An idle volume has no use for a large one.
const SPARE_BYTES: usize = 256 << 10;

/// The log of a mounted volume.
pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    half_blocks: u64,
    log_id: u64,
    inner: Mutex<Inner>,
    /// The flusher has work.
    work: Condvar,
    /// A batch is written, or could not be.
    done: Condvar,
}

struct Inner {
    pending: Vec<u8>,
    /// The last batch's buffer, empty, to be the next `pending`.
    spare: Vec<u8>,
    /// How many blocks pending records point to that no flush has covered.
    points: usize,
    /// Newest record in `pending` or before.
    appended: Lsn,
    durable: Lsn,
    /// Newest record that somebody waits for.
    wanted: Lsn,
    half: u8,
    /// Next block of the half.
    next_block: u64,
    next_seq: u64,
    durable_seq: u64,
    flushing: bool,
    wakers: Vec<(Lsn, Waker)>,
    fault: Option<FsError>,
    stop: bool,
}

/// Wakes a thread that waits for its record.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// One batch as found on disk.
pub(crate) struct Batch {
    pub(crate) seq: u64,
    pub(crate) durable_seq: u64,
    pub(crate) records: Vec<Record>,
}

fn blocks_for(payload: usize) -> u64 {
    (payload + HEAD).div_ceil(BLOCK_SIZE) as u64
}

impl Log {
    /// A log that goes on as `info` says, with nothing in it.
    pub(crate) fn new(disk: Arc<dyn Disk>, info: &FsInfo, lsn: Lsn) -> Log {
        let inner = Inner {
            pending: Vec::new(),
            spare: Vec::new(),
            points: 0,
            appended: lsn,
            durable: lsn,
            wanted: Lsn(0),
            half: info.log_half,
            next_block: 0,
            next_seq: info.log_seq,
            durable_seq: info.log_seq.saturating_sub(1),
            flushing: false,
            wakers: Vec::new(),
            fault: None,
            stop: false,
        };
        let (work, done) = (Condvar::new(), Condvar::new());
        Log {
            disk,
            half_blocks: info.log_half_blocks,
            log_id: info.log_id,
            inner: Mutex::new(inner),
            work,
            done,
        }
    }

    /// Adds a record; the caller holds the volume's state, so records come in order.
    pub(crate) fn append(&self, record: &Record) {
        let mut inner = self.inner.lock();
        record.encode(&mut inner.pending);
        inner.appended = record.lsn;
        inner.points += record.blocks_written_before();
        if inner.is_lazy_enough(self.lazy_bytes()) {
            self.work.notify_one();
        }
    }

    /// Records waiting in memory from which a flush starts though nobody asked. What is pending counts against the half that is to
    /// take it, so it must not fill a small one.
    fn lazy_bytes(&self) -> usize {
        let half = usize::try_from(self.half_blocks).unwrap_or(usize::MAX).saturating_mul(BLOCK_SIZE);
        LAZY_BYTES.min(half / 8)
    }

    /// How full the half is, records in memory and `more` bytes of them included: used and all blocks.
    pub(crate) fn fill(&self, more: usize) -> (u64, u64) {
        let inner = self.inner.lock();
        (inner.next_block + blocks_for(inner.pending.len() + more), self.half_blocks)
    }

    /// Whether a record of `bytes` still fits.
    pub(crate) fn fits(&self, bytes: usize) -> bool {
        let inner = self.inner.lock();
        inner.pending.len() < PENDING_MAX
            && inner.points < inner.points_max()
            && inner.next_block + blocks_for(inner.pending.len() + bytes) + 1 < self.half_blocks
    }

    /// Whether the records in memory leave room for `bytes`.
    pub(crate) fn fits_pending(&self, bytes: usize) -> bool {
        let inner = self.inner.lock();
        inner.pending.len() + bytes < PENDING_MAX && inner.points < inner.points_max()
    }

    /// Starts a flush though nobody waits for a record.
    pub(crate) fn hurry(&self) {
        let mut inner = self.inner.lock();
        inner.wanted = inner.wanted.max(inner.appended);
        self.work.notify_one();
    }

    /// From now on batches go to the other half; gives that half and its first batch's number.
    pub(crate) fn switch(&self) -> (u8, u64) {
        let mut inner = self.inner.lock();
        inner.half ^= 1;
        inner.next_block = 0;
        (inner.half, inner.next_seq)
    }

    /// Writes what is pending as one batch and flushes.
    pub(crate) fn flush_once(&self) -> Result<()> {
        let mut inner = self.inner.lock();
        while inner.flushing {
            self.done.wait(&mut inner);
        }
        if let Some(fault) = &inner.fault {
            return Err(fault.clone());
        }
        if inner.pending.is_empty() {
            return Ok(());
        }
        let spare = std::mem::take(&mut inner.spare);
        let mut payload = std::mem::replace(&mut inner.pending, spare);
        let points = std::mem::take(&mut inner.points);
        let (seq, lsn) = (inner.next_seq, inner.appended);
        let blocks = blocks_for(payload.len());
        let first = FSINFO_BLOCKS + u64::from(inner.half) * self.half_blocks + inner.next_block;
        assert!(inner.next_block + blocks <= self.half_blocks, "the log half overflows");
        inner.next_seq += 1;
        inner.next_block += blocks;
        inner.flushing = true;
        let durable_seq = inner.durable_seq;
        drop(inner);

        let head = self.head(seq, durable_seq, &payload);
        let padded = usize::try_from(blocks).unwrap_or(0) * BLOCK_SIZE;
        payload.resize(padded - HEAD, 0);
        let slices = [IoSlice::new(&head), IoSlice::new(&payload)];
        let outcome = if points > 0 {
            self.disk.write_at(&slices, first * BLOCK_SIZE_U64).and_then(|()| self.disk.flush())
        } else {
            self.disk.write_durable(&slices, first * BLOCK_SIZE_U64)
        };

        let mut wakers = Vec::new();
        let mut inner = self.inner.lock();
        inner.flushing = false;
        match outcome {
            Ok(()) => {
                inner.durable_seq = seq;
                wakers = inner.advance(lsn);
            }
            Err(error) => inner.fail(&error.into()),
        }
        self.done.notify_all();
        if payload.capacity() <= SPARE_BYTES {
            payload.clear();
            inner.spare = payload;
        }
        let fault = inner.fault.clone();
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
        fault.map_or(Ok(()), Err)
    }

    fn head(&self, seq: u64, durable_seq: u64, payload: &[u8]) -> Vec<u8> {
        let mut out = Writer(Vec::with_capacity(HEAD));
        out.u64(MAGIC);
        out.u64(self.log_id);
        out.u64(seq);
        out.u64(durable_seq);
        out.u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
        out.u32(0);
        let sum = checksum(&out.0) ^ checksum(payload).rotate_left(1);
        out.u64(sum);
        out.0
    }

    /// A CP made everything up to `lsn` durable.
    pub(crate) fn covered(&self, lsn: Lsn) {
        let mut inner = self.inner.lock();
        if inner.appended <= lsn {
            // Nobody needs them any more, and they would count against the new half.
            inner.pending.clear();
            inner.points = 0;
        }
        let wakers = inner.advance(lsn);
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// The volume has failed: whoever waits gets the error.
    pub(crate) fn fail(&self, fault: &FsError) {
        self.inner.lock().fail(fault);
        self.done.notify_all();
        self.work.notify_all();
    }

    /// Whether `lsn` is durable; if not, `waker` is called when it is, or has failed.
    pub(crate) fn poll_durable(&self, lsn: Lsn, waker: Option<&Waker>) -> Option<Result<()>> {
        let mut inner = self.inner.lock();
        if inner.durable >= lsn {
            return Some(Ok(()));
        }
        if let Some(fault) = &inner.fault {
            return Some(Err(fault.clone()));
        }
        inner.wanted = inner.wanted.max(lsn);
        if let Some(waker) = waker {
            inner.wakers.push((lsn, waker.clone()));
        }
        self.work.notify_one();
        None
    }

    /// Waits until `lsn` is durable. Each waiter is woken when its own record is: a crowd that is woken with every
    /// batch, most of it in vain, costs more than the flush.
    pub(crate) fn wait_durable(&self, lsn: Lsn) -> Result<()> {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        loop {
            if let Some(outcome) = self.poll_durable(lsn, Some(&waker)) {
                return outcome;
            }
            thread::park();
        }
    }

    /// The flusher's loop: a batch whenever somebody waits, or much is pending.
    pub(crate) fn run(&self, on_fault: impl Fn(&FsError), on_batch: impl Fn()) {
        loop {
            {
                let mut inner = self.inner.lock();
                while !inner.stop && !inner.has_work(self.lazy_bytes()) {
                    self.work.wait(&mut inner);
                }
                if inner.stop {
                    return;
                }
            }
            if let Err(error) = self.flush_once() {
                on_fault(&error);
            }
            on_batch();
        }
    }

    /// Ends [`Log::run`].
    pub(crate) fn stop(&self) {
        self.inner.lock().stop = true;
        self.work.notify_all();
    }

    /// The error that the log stopped with.
    pub(crate) fn fault(&self) -> Option<FsError> {
        self.inner.lock().fault.clone()
    }
}

impl Inner {
    fn points_max(&self) -> usize {
        if self.wakers.is_empty() { POINTS_MAX } else { POINTS_WAITED_MAX }
    }

    fn has_work(&self, lazy_bytes: usize) -> bool {
        self.fault.is_none()
            && !self.pending.is_empty()
            && (self.wanted > self.durable || self.is_lazy_enough(lazy_bytes))
    }

    /// Whether so much is pending that it is flushed though nobody waits.
    fn is_lazy_enough(&self, lazy_bytes: usize) -> bool {
        self.pending.len() >= lazy_bytes || self.points >= POINTS_LAZY
    }

    /// Gives those to wake, which the caller does without the lock.
    fn advance(&mut self, lsn: Lsn) -> Vec<Waker> {
        self.durable = self.durable.max(lsn);
        let durable = self.durable;
        self.wakers.extract_if(.., |(wanted, _)| *wanted <= durable).map(|(_, waker)| waker).collect()
    }

    fn fail(&mut self, fault: &FsError) {
        self.fault.get_or_insert_with(|| fault.clone());
        self.wakers.drain(..).for_each(|(_, waker)| waker.wake());
    }
}

/// The batches that go on from the image of `info`, in order.
///
/// # Errors
/// [`FsError::Format`] for a malformed record, and for a batch that can't be read though a later one says that it was
/// durable: to leave it out would lose what was acknowledged.
pub(crate) fn read(disk: &dyn Disk, info: &FsInfo) -> Result<Vec<Batch>> {
    let (batches, ends) = read_whole(disk, info)?;
    let seq = info.log_seq + batches.len() as u64;
    for (half, end) in ends {
        if let Some(later) = later_batch(disk, info, half, end, seq)? {
            let text = format!("log batch {seq} is damaged, and batch {later} says that it was durable");
            return Err(FsError::Format(text));
        }
    }
    Ok(batches)
}

/// Half of the log, and the block in it behind what could be read.
pub(crate) type LogEnd = (u8, u64);

/// The batches up to the first that can't be read, and the block in each half behind them.
pub(crate) fn read_whole(disk: &dyn Disk, info: &FsInfo) -> Result<(Vec<Batch>, [LogEnd; 2])> {
    let mut batches = Vec::new();
    let mut ends = [(info.log_half, 0), (info.log_half ^ 1, 0)];
    for (half, block) in &mut ends {
        let seq = |batches: &Vec<Batch>| info.log_seq + batches.len() as u64;
        while let Some((batch, blocks)) = read_batch(disk, info, *half, *block, seq(&batches))? {
            *block += blocks;
            batches.push(batch);
        }
    }
    Ok((batches, ends))
}

/// Makes every block that begins a batch from `seq` on a block of zeros: the log ends before it.
pub(crate) fn cut(disk: &dyn Disk, info: &FsInfo, seq: u64) -> Result<u64> {
    let (mut cut, mut page) = (0, [0; BLOCK_SIZE]);
    for block in FSINFO_BLOCKS..FSINFO_BLOCKS + 2 * info.log_half_blocks {
        disk.read_at(&mut page, block * BLOCK_SIZE_U64)?;
        let mut input = Reader::new(&page[..HEAD]);
        let (magic, log_id, found) = (input.u64(), input.u64(), input.u64());
        if magic == MAGIC && log_id == info.log_id && found >= seq {
            disk.write_at(&[IoSlice::new(&[0; BLOCK_SIZE])], block * BLOCK_SIZE_U64)?;
            cut += 1;
        }
    }
    disk.flush()?;
    Ok(cut)
}

/// Blocks looked at with one read in search of a batch.
const SEARCH_BLOCKS: u64 = 256;

/// A whole batch behind `from` that was written when batch `seq` was durable.
pub(crate) fn later_batch(
    disk: &dyn Disk,
    info: &FsInfo,
    half: u8,
    from: u64,
    seq: u64,
) -> Result<Option<u64>> {
    let mut block = from;
    while block < info.log_half_blocks {
        let count = (info.log_half_blocks - block).min(SEARCH_BLOCKS);
        let mut bytes = vec![0; usize::try_from(count).unwrap_or(0) * BLOCK_SIZE];
        let at = (FSINFO_BLOCKS + u64::from(half) * info.log_half_blocks + block) * BLOCK_SIZE_U64;
        disk.read_at(&mut bytes, at)?;
        for (page, place) in bytes.chunks(BLOCK_SIZE).zip(block..) {
            let mut input = Reader::new(&page[..HEAD]);
            let (magic, log_id, found, durable) = (input.u64(), input.u64(), input.u64(), input.u64());
            if magic == MAGIC
                && log_id == info.log_id
                && found > seq
                && durable >= seq
                && read_batch(disk, info, half, place, found)?.is_some()
            {
                return Ok(Some(found));
            }
        }
        block += count;
    }
    Ok(None)
}

fn read_batch(
    disk: &dyn Disk,
    info: &FsInfo,
    half: u8,
    block: u64,
    seq: u64,
) -> Result<Option<(Batch, u64)>> {
    if block >= info.log_half_blocks {
        return Ok(None);
    }
    let at = (FSINFO_BLOCKS + u64::from(half) * info.log_half_blocks + block) * BLOCK_SIZE_U64;
    let mut first = [0; BLOCK_SIZE];
    disk.read_at(&mut first, at)?;
    let mut input = Reader::new(&first[..HEAD]);
    let (magic, log_id, found_seq, durable_seq) = (input.u64(), input.u64(), input.u64(), input.u64());
    let len = input.u32() as usize;
    input.u32();
    let sum = input.u64();
    let blocks = blocks_for(len);
    if magic != MAGIC || log_id != info.log_id || found_seq != seq || blocks > info.log_half_blocks - block {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::try_from(blocks).unwrap_or(0) * BLOCK_SIZE];
    disk.read_at(&mut bytes, at)?;
    let payload = &bytes[HEAD..HEAD + len];
    if sum != checksum(&bytes[..HEAD - 8]) ^ checksum(payload).rotate_left(1) {
        return Ok(None);
    }
    let records = decode_records(payload)
        .ok_or_else(|| FsError::Format(format!("log batch {seq} holds a malformed record")))?;
    Ok(Some((Batch { seq, durable_seq, records }, blocks)))
}

/// Makes the checksum of the batch at the start of `bytes` right, for fuzzing.
#[cfg(feature = "fuzzing")]
pub(crate) fn fix_checksum(bytes: &mut [u8]) {
    let mut input = Reader::new(&bytes[32..36]);
    let len = input.u32() as usize;
    if let Some(payload) = bytes[HEAD..].get(..len) {
        let sum = checksum(&bytes[..HEAD - 8]) ^ checksum(payload).rotate_left(1);
        bytes[HEAD - 8..HEAD].copy_from_slice(&sum.to_le_bytes());
    }
}

/// The records of a batch; `None` if one is malformed.
pub(crate) fn decode_records(payload: &[u8]) -> Option<Vec<Record>> {
    let mut input = Reader::new(payload);
    let mut records = Vec::new();
    while !input.is_empty() {
        records.push(Record::decode(&mut input)?);
    }
    Some(records)
}
