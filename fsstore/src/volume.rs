//! A mounted volume: the front door of the store.

use crate::changes::PathChange;
use crate::check::{self, ScrubCursor, ScrubStep};
use crate::clones::{self, CloneOrigin, SplitStep};
use crate::cp::TableChange;
use crate::disk::Disk;
use crate::error::{FsError, Result};
use crate::fold::fold_name;
use crate::ids::{BLOCK_SIZE, BLOCK_SIZE_U64, CpNumber, Fbn, FileId, Lsn, SnapshotId, Vbn};
use crate::inode::Inode;
use crate::layout::checksum;
use crate::memory::{Means, Memory};
use crate::mount;
use crate::nvlog::Log;
use crate::op::{Context, Done, Op, StatFs, Time};
use crate::ops::{self, Direct};
use crate::record::Record;
use crate::shared::Shared;
use crate::snapdir::{SNAPSHOT_DIR, SnapshotDir};
use crate::snapshot::{self, SnapshotMaker};
use crate::watch::Noted;
use bytes::Bytes;
use parking_lot::Mutex;
use std::future::Future;
use std::io::IoSlice;
use std::ops::{ControlFlow, Range};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};
use std::thread::{self, JoinHandle};
use uuid::Uuid;

/// What a new volume is to be.
#[derive(Clone, Debug)]
pub struct VolumeSpec {
    /// Identity; also the fsid that clients see. Stays the same when the volume moves.
    pub uuid: Uuid,
    /// Size of its address space in bytes, at least [`VOLUME_BYTES_MIN`], rounded down to whole blocks.
    pub size_bytes: u64,
}

/// Smallest volume, in bytes.
pub const VOLUME_BYTES_MIN: u64 = 4 << 20;

/// How a volume is to run that has memory of its own; a [`Memory`] stands in for it where volumes share one.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// Most bytes of clean blocks and inodes kept in memory.
    pub cache_bytes: u64,
    /// Most bytes of memory with changes that no consistency point has written. One starts by itself at an eighth of it, and
    /// operations are slowed down as it fills.
    pub dirty_bytes: u64,
    /// Threads for log flushes and CPs. `false`: the caller drives [`Volume::flush_log`] and
    /// [`Volume::consistency_point`], which makes every run repeatable (tests).
    pub threads: bool,
}

impl Default for Tuning {
    fn default() -> Self {
        Tuning { cache_bytes: 64 << 20, dirty_bytes: 128 << 20, threads: true }
    }
}

impl From<Tuning> for Means {
    /// Memory of its own.
    fn from(tuning: Tuning) -> Means {
        Means { memory: Memory::new(tuning.cache_bytes, tuning.dirty_bytes), threads: tuning.threads }
    }
}

/// A kept consistency point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Which one.
    pub id: SnapshotId,
    /// Name, unique in the volume, 1 to 255 bytes.
    pub name: String,
    /// When it was taken.
    pub created: Time,
    /// Who took it.
    pub maker: SnapshotMaker,
    /// The consistency point that it keeps.
    pub cp: CpNumber,
    /// Checksum of its root: two volumes with equal roots hold the same blocks.
    pub root_sum: u64,
}

/// A run of blocks in a volume's address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VbnRange {
    /// First block.
    pub start: Vbn,
    /// How many, at least 1.
    pub blocks: u64,
}

/// A volume that clients may read and change. All methods may be called from any thread.
pub struct Volume {
    pub(crate) shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl std::fmt::Debug for Volume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Volume").field("uuid", &self.shared.uuid).finish_non_exhaustive()
    }
}

/// Resolves when an operation is durable.
struct Durable {
    log: Arc<Log>,
    lsn: Lsn,
    threads: bool,
}

impl Future for Durable {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Result<()>> {
        if !self.threads {
            return Poll::Ready(self.log.flush_once());
        }
        self.log.poll_durable(self.lsn, Some(cx.waker())).map_or(Poll::Pending, Poll::Ready)
    }
}

/// Log bytes of an operation besides its data, at the most: two names and the fields.
const RECORD_OVERHEAD: usize = 8192;

impl Volume {
    /// Formats `disk` and mounts the empty volume: a root directory, owner root, mode 0o755.
    ///
    /// # Errors
    /// The disk's, and [`FsError::Format`] for a size that is too small.
    pub fn create(
        disk: Arc<dyn Disk>,
        spec: &VolumeSpec,
        now: Time,
        means: impl Into<Means>,
    ) -> Result<Arc<Volume>> {
        Ok(Self::start(mount::create(disk, spec, now, means.into())?))
    }

    /// Mounts the volume on `disk`, replaying its log.
    ///
    /// # Errors
    /// [`FsError::Format`] for what is no volume, [`FsError::Corrupt`] for a damaged one, and the disk's.
    pub fn open(disk: Arc<dyn Disk>, means: impl Into<Means>) -> Result<Arc<Volume>> {
        Ok(Self::start(mount::open(disk, None, means.into())?))
    }

    /// Makes `disk`, which is blank and as long as `parent`, a writable clone of a snapshot of `parent` with the identity
    /// `uuid`, and mounts it. It shares the snapshot's blocks: none is copied, and the cost does not grow with the volume. As long as it is
    /// mounted, the parent's snapshot can't be deleted; its owner sees to it that it stays there meanwhile.
    ///
    /// # Errors
    /// [`FsError::Snapshot`] if there is none, or the parent is the last of too many clones; the disk's.
    pub fn create_clone(
        disk: Arc<dyn Disk>,
        uuid: Uuid,
        parent: &Volume,
        snapshot: SnapshotId,
        means: impl Into<Means>,
    ) -> Result<Arc<Volume>> {
        Ok(Self::start(clones::create(disk, uuid, &parent.shared, snapshot, means.into())?))
    }

    /// Mounts the clone on `disk` over its parent; a volume that needs no parent (any more) too.
    ///
    /// # Errors
    /// As [`Volume::open`]; [`FsError::Format`] for another parent than that of the clone, [`FsError::Snapshot`] if it has
    /// lost the snapshot.
    pub fn open_clone(disk: Arc<dyn Disk>, parent: &Volume, means: impl Into<Means>) -> Result<Arc<Volume>> {
        Ok(Self::start(mount::open(disk, Some(&parent.shared), means.into())?))
    }

    /// Where this volume comes from, as long as it has blocks in the file of another.
    pub fn origin(&self) -> Option<CloneOrigin> {
        self.shared.origin()
    }

    /// One step of giving a clone blocks of its own: copies about `budget_blocks` (at least 1), durable when it returns.
    /// Operations go on meanwhile; after a crash the next step goes on from the last. The step that says `done` has let
    /// the parent go, and the snapshot [`CLONE_BASE`](crate::CLONE_BASE) with it; where that one is being read, it fails
    /// and can be repeated.
    ///
    /// # Errors
    /// The disks', [`FsError::ReadOnly`], [`FsError::Snapshot`] for a base in use.
    pub fn split_step(&self, budget_blocks: u64) -> Result<SplitStep> {
        self.shared.split_step(budget_blocks)
    }

    fn start(shared: Shared) -> Arc<Volume> {
        let shared = Arc::new(shared);
        let mut threads = Vec::new();
        if shared.threads {
            let dirty = Arc::downgrade(&shared);
            shared.io.memory.enlist(dirty);
            let (log, cps) = (shared.clone(), shared.clone());
            let run_log = move || log.log.run(|error| log.latch(error), || log.io.memory.moved());
            threads.push(spawn("ferry-nvlog", run_log));
            threads.push(spawn("ferry-cp", move || cps.run_cps()));
        }
        Arc::new(Volume { shared, threads: Mutex::new(threads) })
    }

    fn stop_threads(&self) {
        self.shared.cp_signal.lock().stop = true;
        self.shared.cp_work.notify_all();
        self.shared.log.stop();
        for handle in self.threads.lock().drain(..) {
            // A panic of theirs has been printed; there is nothing to add.
            let _ = handle.join();
        }
    }

    /// Takes a last CP and stops the threads. Later changes fail with [`FsError::ReadOnly`].
    ///
    /// # Errors
    /// The CP's; the log still has what it could not write.
    pub fn close(&self) -> Result<()> {
        if self.shared.state.read().fault.is_some() {
            self.stop_threads();
            return Ok(());
        }
        let outcome = self.consistency_point().map(drop);
        {
            let mut st = self.shared.state.write();
            st.fault.get_or_insert(FsError::ReadOnly);
        }
        self.shared.io.memory.moved();
        // What came between the CP and the end is in the log.
        let flushed = self.shared.log.flush_once();
        self.shared.log.fail(&FsError::ReadOnly);
        self.stop_threads();
        outcome.and(flushed)
    }

    /// The volume's identity.
    pub fn uuid(&self) -> Uuid {
        self.shared.uuid
    }

    /// Size of the address space in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.shared.blocks() * BLOCK_SIZE_U64
    }

    /// Makes the address space `bytes` long, rounded down to whole blocks; durable when it returns. Operations go on
    /// meanwhile. The NVLOG stays as it is. A volume can be made smaller if nothing that the live file system or a snapshot
    /// uses stands behind the new end.
    ///
    /// # Errors
    /// [`FsError::Resize`] that names what stands behind the new end, or where the size is out of range;
    /// [`FsError::NoSpace`] if too little would be free; [`FsError::ReadOnly`], and the disk's.
    pub fn resize(&self, bytes: u64) -> Result<()> {
        self.shared.resize(bytes / BLOCK_SIZE_U64)
    }

    /// The fault that made the volume refuse changes, if any; [`FsError::ReadOnly`] after [`Volume::close`].
    pub fn fault(&self) -> Option<FsError> {
        self.shared.state.read().fault.clone().or_else(|| self.shared.log.fault())
    }

    /// Checks, logs and applies one mutation. Durable once [`Volume::durable`] of its `lsn` says so.
    /// May block for a CP when the log or the dirty set is full.
    ///
    /// # Errors
    /// Those of [`FsError`] that the operation can have; nothing has changed then.
    pub fn execute(&self, cx: &Context, op: Op) -> Result<Done> {
        self.run(cx, &op, false)
    }

    /// The same for a caller that does not tell case apart: a name that is to be new, also that of a stream, must differ from
    /// all that are there in more than case ([`fold_name`]), and [`FsError::Exists`] else. That is checked in one step
    /// with the change, so no two such callers make names that fold alike. What the name stands for already,
    /// byte by byte, is treated as ever; a rename may change the case of the name that it moves.
    ///
    /// # Errors
    /// As [`Volume::execute`].
    pub fn execute_folded(&self, cx: &Context, op: Op) -> Result<Done> {
        self.run(cx, &op, true)
    }

    fn run(&self, cx: &Context, op: &Op, folded: bool) -> Result<Done> {
        for (dir, name, makes) in ops::names(op).into_iter().flatten() {
            let taken = name == SNAPSHOT_DIR || folded && makes && fold_name(name)[..] == *SNAPSHOT_DIR;
            if taken && self.shared.snapshot_dir.shows_in(dir) {
                return Err(if makes { FsError::Exists } else { FsError::Access });
            }
        }
        if matches!(op, Op::CloneRange { .. } | Op::CloneFile { .. }) {
            // Only what stands on disk can be shared; the rest would be copied.
            let generation = self.shared.state.read().generation;
            self.shared.checkpoint_past(generation)?;
        }
        let outcome = match self.try_execute(cx, op, folded) {
            // Blocks that were freed since the last CP come back with the next.
            Err(FsError::NoSpace) if self.shared.may_free_blocks() => {
                let generation = self.shared.state.read().generation;
                self.shared.checkpoint_past(generation)?;
                self.try_execute(cx, op, folded)
            }
            outcome => outcome,
        };
        if outcome == Err(FsError::NoSpace) {
            self.shared.tell_full(cx.now);
        }
        outcome
    }

    fn try_execute(&self, cx: &Context, op: &Op, folded: bool) -> Result<Done> {
        let shared = &*self.shared;
        let direct = match op {
            Op::Write { file, offset, data } => match ops::direct_part(*offset, data) {
                Some(part) => Some(self.write_direct(cx, *file, *offset, data, part)?),
                None => None,
            },
            Op::Allocate { file, offset, len } => {
                let holes = |inode: &Inode| ops::missing_blocks(cx, inode, &shared.io, *offset, *len);
                let cost = shared.view(*file, holes)? + ops::cost(op);
                shared.need_space(&shared.state.read(), cost, false)?;
                None
            }
            _ => None,
        };
        let runs: Vec<_> =
            direct.iter().flat_map(|d| &d.runs).map(|(start, sums)| (*start, sums.len())).collect();
        let outcome = self.log_and_apply(cx, op, direct, folded);
        shared.watchers.tell();
        if outcome.is_err() {
            let mut walloc = shared.walloc.lock();
            runs.iter().for_each(|(start, len)| walloc.unalloc(*start, *len as u64));
        }
        outcome
    }

    fn log_and_apply(&self, cx: &Context, op: &Op, direct: Option<Direct>, folded: bool) -> Result<Done> {
        let shared = &*self.shared;
        // In a volume of many small gaps each block of a direct write is a run of its own: 32 bytes of log.
        let (bytes, cost) = match (op, &direct) {
            (Op::Write { data, .. }, None) => (data.len() + RECORD_OVERHEAD, ops::cost(op)),
            (Op::Write { data, .. }, Some(_)) => (data.len() / 128 + 3 * RECORD_OVERHEAD, 32),
            (Op::SetXattr { value, .. }, _) => (value.len() + RECORD_OVERHEAD, ops::cost(op)),
            _ => (RECORD_OVERHEAD, ops::cost(op)),
        };
        // Who has to wait does so in the order of arrival, and keeps its place until it is through.
        let mut turn = shared.pace.is_crowded().then(|| shared.pace.queue());
        let mut st = loop {
            let seen = shared.io.memory.events();
            let st = shared.state.write();
            if st.fault.is_some() {
                return Err(FsError::ReadOnly);
            }
            if shared.has_room(&st, bytes) {
                break st;
            }
            drop(st);
            match turn {
                None => turn = Some(shared.pace.queue()),
                Some(_) => shared.wait_for_room(bytes, seen)?,
            }
        };
        shared.need_space(&st, cost, ops::frees_space(op))?;
        let mut plan = ops::plan(&mut st, &shared.io, cx, op, direct)?;
        if folded {
            ops::need_new_name(&mut st, &shared.io, op)?;
        }
        if plan.extra > 0 {
            shared.need_space(&st, cost + plan.extra, ops::frees_space(op))?;
        }
        if let Some(act) = plan.act.take() {
            let noted = shared.watchers.any().then(|| Noted::before(&mut st, &shared.io, &act));
            let record = Record { lsn: ops::next_lsn(&st), now: cx.now, act };
            if let Err(error) = ops::apply(&mut st, &shared.io, &record) {
                drop(st);
                shared.latch(&error);
                return Err(error);
            }
            // Only what could be applied is logged, or a damaged block would keep the volume from being mounted: replay
            // would fail as this did. Nobody has seen it before the log has it: the state is still locked.
            shared.log.append(&record);
            shared.account(&mut st);
            if let Some(noted) = noted {
                shared.watchers.add(noted.after(&mut st, &shared.io));
            }
        }
        shared.maybe_start_cp(&st);
        ops::outcome(&mut st, &shared.io, plan)
    }

    /// Puts the whole blocks of a large write to where they will stay, before anything points to them.
    fn write_direct(
        &self,
        cx: &Context,
        file: FileId,
        offset: u64,
        data: &Bytes,
        part: Range<usize>,
    ) -> Result<Direct> {
        let shared = &*self.shared;
        ops::check_write(cx, &*shared.inode(file)?, offset, data)?;
        let first = Fbn((offset + part.start as u64) / BLOCK_SIZE_U64);
        let mut body = &data[part];
        let mut places = Vec::new();
        {
            let st = shared.state.read();
            let blocks = (body.len() / BLOCK_SIZE) as u64;
            shared.need_space(&st, blocks + 32, false)?;
            let mut walloc = shared.walloc.lock();
            let mut left = blocks;
            while left > 0 {
                let Some((start, len)) = walloc.alloc_run(&shared.io, left)? else {
                    places.iter().for_each(|(start, len)| walloc.unalloc(*start, *len));
                    return Err(FsError::NoSpace);
                };
                places.push((start, len));
                left -= len;
            }
        }
        let mut runs = Vec::new();
        for (start, len) in &places {
            let (run, rest) = body.split_at(usize::try_from(*len).unwrap_or(0) * BLOCK_SIZE);
            let sums = run.chunks(BLOCK_SIZE).map(checksum).collect();
            let written = shared.io.disk.write_at(&[IoSlice::new(run)], start.0 * BLOCK_SIZE_U64);
            if let Err(error) = written {
                let error = FsError::from(error);
                shared.latch(&error);
                return Err(error);
            }
            runs.push((*start, sums));
            body = rest;
        }
        Ok(Direct { first, runs })
    }

    /// Resolves once every operation up to `lsn` is durable. Flushes are shared (group commit).
    /// NFS's COMMIT is `durable(v.last_lsn())`.
    pub fn durable(&self, lsn: Lsn) -> impl Future<Output = Result<()>> + Send + 'static {
        Durable { log: self.shared.log.clone(), lsn, threads: self.shared.threads }
    }

    /// The same, blocking.
    ///
    /// # Errors
    /// The disk's: it is not known which of the operations are durable.
    pub fn wait_durable(&self, lsn: Lsn) -> Result<()> {
        if self.shared.threads { self.shared.log.wait_durable(lsn) } else { self.flush_log() }
    }

    /// The newest operation applied.
    pub fn last_lsn(&self) -> Lsn {
        self.shared.state.read().lsn
    }

    /// Space and inodes.
    pub fn statfs(&self) -> StatFs {
        self.shared.statfs()
    }

    /// Writes one batch of the log and flushes it. With threads, the flusher does that by itself.
    ///
    /// # Errors
    /// The disk's; the volume then takes no more changes.
    pub fn flush_log(&self) -> Result<()> {
        self.shared.log.flush_once().inspect_err(|error| self.shared.latch(error))
    }

    /// Takes a consistency point now, if anything has changed since the last.
    ///
    /// # Errors
    /// The disk's; the volume then takes no more changes.
    pub fn consistency_point(&self) -> Result<CpNumber> {
        self.shared.checkpoint(&mut self.shared.committed.lock(), &TableChange::Keep)
    }

    /// One step of a background scrub: reads and verifies about `budget_blocks` blocks (at least 16) of the committed
    /// image and the snapshots from `from` on. Other operations go on meanwhile.
    ///
    /// # Errors
    /// Those that are not about one block; what is wrong with blocks is in the step's findings.
    pub fn scrub(&self, from: &ScrubCursor, budget_blocks: u64) -> Result<ScrubStep> {
        check::scrub_step(&self.shared, from, budget_blocks)
    }

    /// Keeps the state of now, durable when it returns. O(1) in the size of the volume.
    ///
    /// # Errors
    /// [`FsError::Snapshot`] for a bad or taken name or the 256th, [`FsError::NoSpace`], and the disk's.
    pub fn snapshot_create(&self, name: &str, now: Time) -> Result<Snapshot> {
        self.snapshot_create_by(name, now, SnapshotMaker::Person)
    }

    /// The same, noting durably who takes it.
    ///
    /// # Errors
    /// As [`Volume::snapshot_create`].
    pub fn snapshot_create_by(&self, name: &str, now: Time, maker: SnapshotMaker) -> Result<Snapshot> {
        self.shared.snapshot_create(name, now, maker)
    }

    /// Lets a snapshot go; blocks that only it held become free.
    ///
    /// # Errors
    /// [`FsError::Snapshot`] if there is none, or a transfer reads it, and the disk's.
    pub fn snapshot_delete(&self, id: SnapshotId) -> Result<()> {
        self.shared.snapshot_delete(id)
    }

    /// Makes the active image what snapshot `id` is, durable when it returns. Snapshots stay, the newer ones too; files made
    /// since are stale. Its cost follows the change since the snapshot; operations wait meanwhile.
    ///
    /// # Errors
    /// [`FsError::Snapshot`] if there is none, [`FsError::NoSpace`], and the disk's.
    pub fn snapshot_restore(&self, id: SnapshotId) -> Result<CpNumber> {
        self.shared.need_space(&self.shared.state.read(), 16, true)?;
        self.shared.restore(&mut self.shared.committed.lock(), id)
    }

    /// All snapshots, oldest first.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        self.shared.snaps.read().iter().map(snapshot::view).collect()
    }

    /// Where the volume shows `.snapshot` from now on. Not kept: whoever mounts the volume says it again.
    pub fn show_snapshots(&self, shown: SnapshotDir) {
        self.shared.snapshot_dir.set(shown);
    }

    /// Whether clients may look into snapshots at all.
    pub fn shows_snapshots(&self) -> bool {
        !self.shared.snapshot_dir.is_off()
    }

    /// The runs of blocks, in block order, that any snapshot after `base` up to `to` uses and `base` does not
    /// (`None`: everything). Its cost follows the difference. The snapshots can't be deleted while it lives.
    ///
    /// # Errors
    /// [`FsError::Snapshot`] if one of them is not there, and the disk's.
    pub fn snapdiff(
        &self,
        base: Option<SnapshotId>,
        to: SnapshotId,
    ) -> Result<Box<dyn Iterator<Item = Result<VbnRange>> + Send>> {
        Ok(Box::new(self.shared.snapdiff(base, to)?))
    }

    /// Visits what changed from snapshot `base` to the newer `to`, by path, until `visit` breaks: first content and attributes
    /// in the order of inodes, then names. Its cost follows the change. The snapshots can't be deleted meanwhile.
    ///
    /// # Errors
    /// [`FsError::Snapshot`] if one of them is not there, and the disk's.
    pub fn changes(
        &self,
        base: SnapshotId,
        to: SnapshotId,
        visit: &mut dyn FnMut(PathChange) -> ControlFlow<()>,
    ) -> Result<()> {
        self.shared.changes(base, to, visit)
    }

    /// Reads blocks as they stand on disk, for replication. `buf` is whole blocks.
    ///
    /// # Errors
    /// The disk's, and [`FsError::Invalid`] for blocks outside of the volume.
    pub fn read_raw(&self, start: Vbn, buf: &mut [u8]) -> Result<()> {
        let count = (buf.len() / BLOCK_SIZE) as u64;
        let blocks = self.shared.blocks();
        if !buf.len().is_multiple_of(BLOCK_SIZE) || start.0 > blocks || count > blocks - start.0 {
            return Err(FsError::Invalid);
        }
        Ok(self.shared.io.disk.read_at(buf, start.0 * BLOCK_SIZE_U64)?)
    }

    /// What [`Replica::install`](crate::Replica::install) needs to make `to` a replica's state: one block, opaque.
    ///
    /// # Errors
    /// [`FsError::Snapshot`] if it is not there, and the disk's.
    pub fn image(&self, to: SnapshotId) -> Result<Vec<u8>> {
        self.shared.image(to)
    }

    /// An upper bound of the bytes that a snapdiff from `base` to now would hold.
    ///
    /// # Errors
    /// [`FsError::Snapshot`] if it is not there.
    pub fn bytes_changed_since(&self, base: SnapshotId) -> Result<u64> {
        self.shared.bytes_changed_since(base)
    }
}

/// A thread by its name, as `top` and `perf` show it.
///
/// # Panics
/// Where the host has no more threads: a volume can't run without its own.
fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    thread::Builder::new().name(name.to_owned()).spawn(run).expect("the host gives a thread")
}

impl Drop for Volume {
    /// As a crash: what was acknowledged is in the log. [`Volume::close`] ends a volume in order.
    fn drop(&mut self) {
        self.stop_threads();
    }
}
