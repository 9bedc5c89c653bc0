//! What the threads of a mounted volume share, its locks, and the limits that hold operations back.
//!
//! Lock order: `committed`, then `state`, then `walloc` or the log's own. Nobody waits for the disk under `state`,
//! except to load a page that is not in memory.

use crate::blockmap::map_blocks_max;
use crate::cp::sharing::refs_blocks_max;
use crate::cp::{Committed, TableChange};
use crate::disk::overlay::Overlay;
use crate::error::{FsError, Result};
use crate::fsinfo::SnapEntry;
use crate::full::LastTold;
use crate::ids::{BLOCK_SIZE_U64, CpNumber, FileId, SnapshotId};
use crate::inode::Inode;
use crate::io::Io;
use crate::memory::Dirty;
use crate::nvlog::Log;
use crate::op::StatFs;
use crate::pace::{self, Pace};
use crate::snapdir::SnapshotDirCell;
use crate::state::State;
use crate::walloc::Walloc;
use crate::watch::Watchers;
use parking_lot::{Condvar, Mutex, RwLock, RwLockWriteGuard};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use uuid::Uuid;

/// Snapshots that a transfer reads: they can't be deleted.
pub(crate) type Pins = Arc<Mutex<HashMap<SnapshotId, usize>>>;

/// A mounted volume.
pub(crate) struct Shared {
    pub(crate) uuid: Uuid,
    /// First block behind the NVLOG.
    pub(crate) first_data: u64,
    /// Whether flusher and CPs have threads of their own.
    pub(crate) threads: bool,
    pub(crate) pace: Pace,
    pub(crate) io: Arc<Io>,
    pub(crate) state: RwLock<State>,
    pub(crate) walloc: Mutex<Walloc>,
    pub(crate) log: Arc<Log>,
    pub(crate) committed: Mutex<Committed>,
    pub(crate) snaps: RwLock<Arc<Vec<SnapEntry>>>,
    /// Blocks that only snapshots hold.
    pub(crate) snapshot_only: AtomicU64,
    pub(crate) pins: Pins,
    pub(crate) snapshot_dir: SnapshotDirCell,
    /// The disk, where the volume is a clone.
    pub(crate) overlay: Option<Arc<Overlay>>,
    /// How many parents are behind it, when it was opened.
    pub(crate) clone_depth: usize,
    pub(crate) told_full: LastTold,
    pub(crate) watchers: Arc<Watchers>,
    pub(crate) cp_signal: Mutex<CpSignal>,
    /// The CP thread has work.
    pub(crate) cp_work: Condvar,
}

impl Dirty for Shared {
    fn dirty_bytes(&self) -> u64 {
        let st = self.state.read();
        // What has failed can't be cleaned any more.
        if self.pace.is_running() || st.fault.is_some() { 0 } else { st.dirty_bytes() }
    }

    fn clean(&self) {
        self.request_cp();
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let accounted = std::mem::take(&mut self.state.get_mut().accounted);
        self.io.memory.account(accounted, 0);
    }
}

/// Orders for the CP thread.
#[derive(Default)]
pub(crate) struct CpSignal {
    pub(crate) wanted: bool,
    pub(crate) stop: bool,
}

/// Blocks of a volume kept back so that a full one can still delete.
pub(crate) fn delete_reserve(data_blocks: u64) -> u64 {
    (data_blocks / 128).max(64)
}

impl Shared {
    /// The volume takes no more changes; whoever waits learns why.
    pub(crate) fn latch(&self, error: &FsError) {
        let mut st = self.state.write();
        if st.fault.is_none() {
            tracing::error!(volume = %self.uuid, %error, "the volume takes no more changes");
            st.fault = Some(error.clone());
        }
        drop(st);
        self.log.fail(error);
        self.io.memory.moved();
    }

    /// Asks the CP thread for a CP.
    pub(crate) fn request_cp(&self) {
        self.cp_signal.lock().wanted = true;
        self.cp_work.notify_one();
    }

    /// The CP thread's loop.
    pub(crate) fn run_cps(&self) {
        loop {
            {
                let mut signal = self.cp_signal.lock();
                while !signal.wanted && !signal.stop {
                    self.cp_work.wait(&mut signal);
                }
                if signal.stop {
                    return;
                }
                signal.wanted = false;
            }
            // An error is latched; the next operation reports it.
            let _ = self.checkpoint(&mut self.committed.lock(), &TableChange::Keep);
        }
    }

    /// Makes sure that everything up to generation `generation` is in a durable CP.
    pub(crate) fn checkpoint_past(&self, generation: u64) -> Result<CpNumber> {
        let mut committed = self.committed.lock();
        if committed.info.image.cp.0 >= generation {
            return Ok(committed.info.image.cp);
        }
        self.checkpoint(&mut committed, &TableChange::Keep)
    }

    /// Tells the volume's memory what has become dirty, or clean.
    pub(crate) fn account(&self, st: &mut State) {
        let bytes = st.dirty_bytes() + st.frozen_bytes;
        self.io.memory.account(st.accounted, bytes);
        st.accounted = bytes;
    }

    /// How full the log half and this volume's part of the dirty memory are with `bytes` more in the log: the fuller one, of
    /// [`pace::FULL`]. A CP has one half of the memory, what is collected meanwhile the other; and less where other volumes
    /// have more.
    fn fullness(&self, st: &State, bytes: usize) -> u64 {
        let memory = &self.io.memory;
        let dirty = st.dirty_bytes();
        let others = memory.dirty().saturating_sub(dirty);
        let part = (memory.dirty_max() / 2).min(memory.dirty_max().saturating_sub(others)).max(1);
        let (used, all) = self.log.fill(bytes);
        (dirty * pace::FULL / part).max(used * pace::FULL / all.max(1))
    }

    /// Whether the log and the dirty set have room for an operation of about `bytes` in the log.
    pub(crate) fn has_room(&self, st: &State, bytes: usize) -> bool {
        // Where nothing waits for a CP, none can bring more room.
        let empty = || st.dirty_bytes() == 0 && self.log.fill(0).0 <= 1;
        self.log.fits(bytes) && (self.fullness(st, bytes) <= self.pace.allowed() || empty())
    }

    /// Waits until a CP, or the flusher, has got on; sees to it that there is one. `seen`: the memory's [`Memory::events`] from before
    /// there was no room.
    pub(crate) fn wait_for_room(&self, bytes: usize, seen: u64) -> Result<()> {
        if !self.threads {
            let generation = self.state.read().generation;
            self.checkpoint_past(generation)?;
            // What is pending in memory counts against the new half too.
            return self.log.flush_once();
        }
        if !self.log.fits_pending(bytes) {
            self.log.hurry();
        }
        if !self.pace.is_running() {
            self.request_cp();
            // Where it has nothing to write itself, others have all the memory.
            self.io.memory.clean_most();
        }
        self.io.memory.wait(seen);
        Ok(())
    }

    /// Starts a CP when there is enough for one.
    pub(crate) fn maybe_start_cp(&self, st: &State) {
        if self.threads && !self.pace.is_running() && self.fullness(st, 0) >= pace::START {
            self.request_cp();
        }
    }

    /// Blocks that are neither in use nor spoken for by the next CP.
    pub(crate) fn spare_blocks(&self, st: &State) -> u64 {
        let sharing = st.sharing || !st.ledger.adopted.is_empty();
        let refs_blocks = if sharing { refs_blocks_max(self.blocks()) } else { 0 };
        let operations = st.ledger.dirty_blocks + st.frozen_blocks + st.inodes.dirty_len() as u64;
        let spoken_for = operations + self.map_blocks() + refs_blocks + 16;
        self.walloc.lock().free.saturating_sub(spoken_for)
    }

    /// Blocks kept back so that a full volume can still delete.
    pub(crate) fn delete_reserve(&self) -> u64 {
        delete_reserve(self.data_blocks())
    }

    /// Blocks of the address space.
    pub(crate) fn blocks(&self) -> u64 {
        self.io.blocks.load(Ordering::Relaxed)
    }

    /// Blocks for data and metadata.
    pub(crate) fn data_blocks(&self) -> u64 {
        self.blocks() - self.first_data
    }

    /// Most blocks of the map that one CP can have to write.
    fn map_blocks(&self) -> u64 {
        map_blocks_max(self.blocks())
    }

    pub(crate) fn need_space(&self, st: &State, cost: u64, frees: bool) -> Result<()> {
        let keep = if frees { 0 } else { self.delete_reserve() };
        if self.spare_blocks(st) >= cost + keep { Ok(()) } else { Err(FsError::NoSpace) }
    }

    /// Whether a CP could bring free blocks.
    pub(crate) fn may_free_blocks(&self) -> bool {
        let st = self.state.read();
        !st.ledger.is_empty() || st.frozen_blocks > 0
    }

    pub(crate) fn statfs(&self) -> StatFs {
        let st = self.state.read();
        let spare = self.spare_blocks(&st);
        let free = self.walloc.lock().free;
        let files = st.files;
        drop(st);
        let available = spare.saturating_sub(self.delete_reserve());
        let snapshot_only = self.snapshot_only.load(Ordering::Relaxed);
        StatFs {
            total_bytes: self.data_blocks() * BLOCK_SIZE_U64,
            free_bytes: free * BLOCK_SIZE_U64,
            available_bytes: available * BLOCK_SIZE_U64,
            snapshot_bytes: snapshot_only * BLOCK_SIZE_U64,
            files,
            free_files: available,
        }
    }

    /// The inode of `id`, as it is now. What the caller holds does not change any more.
    pub(crate) fn inode(&self, id: FileId) -> Result<Arc<Inode>> {
        if id.snapshot != SnapshotId::ACTIVE {
            return self.snapshot_inode(id).map(Arc::new);
        }
        {
            let st = self.state.read();
            if let Some(inode) = st.inodes.get(id.ino) {
                let ours = inode.kind.is_some() && inode.generation == id.generation;
                match st.visible(&inode) {
                    _ if !ours => return Err(FsError::Stale),
                    Some(inode) => return Ok(inode),
                    None => {}
                }
            }
        }
        self.state.write().file(&self.io, id)
    }

    /// Reads through an inode without holding up anybody. A block may be freed and written again under a reader
    /// that is slower than a CP; its checksum tells, and the reader looks again with CPs held off.
    pub(crate) fn view<R>(&self, id: FileId, read: impl Fn(&Inode) -> Result<R>) -> Result<R> {
        let inode = self.inode(id)?;
        match read(&inode) {
            Err(FsError::Corrupt { .. }) => {}
            outcome => return outcome,
        }
        drop(inode);
        if id.snapshot != SnapshotId::ACTIVE {
            let outcome = read(&*self.inode(id)?);
            // Deleted meanwhile, or damaged indeed.
            return if self.snap(id.snapshot).is_err() { Err(FsError::Stale) } else { outcome };
        }
        let mut st = self.state.write();
        let inode = st.file(&self.io, id)?;
        let _held = RwLockWriteGuard::downgrade(st);
        let outcome = read(&inode);
        if let Err(error @ FsError::Corrupt { .. }) = &outcome {
            tracing::error!(volume = %self.uuid, inode = %id.ino, %error, "corruption found");
        }
        outcome
    }
}
