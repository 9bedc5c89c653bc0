//! Consistency points: from one on-disk image to the next, in one atomic step.
//!
//! 1. *Freeze*, under the state's lock: take the dirty inodes and the ledger, switch the log's half. O(1).
//! 2. Write their trees to new blocks, then the inode file, while operations go on.
//! 3. Bring the block map up to date. Its own blocks change it too, so places are given until none is missing.
//! 4. Write the map, the snapshot table, flush; write fsinfo, flush. That write is the atomic step.
//! 5. *Commit*, under the lock: the new inode file takes over, freed blocks become free, the old log half too.
//! 6. *Settle*: what was written becomes clean, piece by piece, and its memory free.
//!
//! Any error before the end latches the volume: the old image and the log are whole on disk.

mod map;
mod restore;
pub(crate) mod sharing;
mod table;
mod writeout;

use self::map::{mark_all, write_map};
use self::sharing::Sharing;
use self::table::{plan_table, write_table};
use self::writeout::{Writeout, place_of};
use crate::blockmap::{self, DiffRuns};
use crate::error::{FsError, Result};
use crate::fsinfo::{FsInfo, SNAPSHOTS_MAX, SnapEntry};
use crate::ids::{BLOCK_SIZE_U64, CpNumber, Fbn, InodeNum, SnapshotId, Vbn};
use crate::inode::{self, Inode};
use crate::inodes::InodeMap;
use crate::io::Io;
use crate::layout::{ImageRoot, TreeRoot};
use crate::mount::only_in_snapshots;
use crate::op::Time;
use crate::shared::Shared;
use crate::snapshot::SnapshotMaker;
use crate::state::State;
use crate::tree::{Edit, Ledger, Tree};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The last committed image. Its lock is what makes CPs come one after the other.
pub(crate) struct Committed {
    pub(crate) info: FsInfo,
    pub(crate) map: Tree,
    pub(crate) snaps: Arc<Vec<SnapEntry>>,
}

/// What a CP is to do to the snapshot table.
pub(crate) enum TableChange {
    Keep,
    Add {
        name: String,
        created: Time,
        maker: SnapshotMaker,
    },
    Delete(SnapshotId),
    /// The active image becomes the snapshot's.
    Restore(SnapshotId),
    /// Only puts it to other blocks.
    Rewrite,
}

/// The state as it was when the CP froze it.
struct Frozen {
    generation: u64,
    inodes: Arc<InodeMap>,
    inofile: Tree,
    quota: Tree,
    ledger: Ledger,
    image: ImageRoot,
    log_half: u8,
    log_seq: u64,
}

/// What a CP starts from: the last image, or the snapshot that is being restored.
struct Base {
    map: Tree,
    refs: TreeRoot,
    used_blocks: u64,
    mixed: bool,
    /// The snapshot table whose blocks are in `map`.
    table: (TreeRoot, u32),
}

impl Base {
    fn of(committed: &Committed, change: &TableChange) -> Result<Base> {
        let info = &committed.info;
        let (image, table, restored) = match change {
            TableChange::Restore(id) => {
                let entry = committed.snaps.iter().find(|snap| snap.id == *id);
                let entry = entry.ok_or(FsError::Snapshot("no such snapshot"))?;
                (entry.image, (entry.table, entry.table_len), true)
            }
            _ => (info.image, (info.table, info.table_len), false),
        };
        let map = if restored { Tree::from_root(image.map)? } else { committed.map.clone() };
        let mixed = restored || info.image.mixed;
        Ok(Base { map, refs: image.refs, used_blocks: image.used_blocks, mixed, table })
    }
}

/// Shortest run of freed blocks that is given back to the host (1 MiB): shorter ones are soon used again, and each
/// costs a system call.
const DISCARD_BLOCKS: usize = 256;
/// Inodes and slots of indexes that are looked at under one hold of the state's lock after a CP.
const SETTLE_INODES: usize = 64;
const SETTLE_SLOTS: usize = 4096;
/// Pages of the inode file that a CP gathers before it writes them (4 MiB).
const INODE_PAGES: usize = 1024;

impl Shared {
    /// Takes a CP, with a change of the snapshot table if asked for.
    pub(crate) fn checkpoint(&self, committed: &mut Committed, change: &TableChange) -> Result<CpNumber> {
        // A volume that is closed, or has failed before, is no new failure.
        let Some(frozen) = self.freeze(change)? else { return Ok(committed.info.image.cp) };
        let outcome =
            self.write_image(committed, frozen, change, None).inspect_err(|error| self.latch(error));
        self.pace.end();
        let mut st = self.state.write();
        st.frozen_bytes = 0;
        self.account(&mut st);
        self.maybe_start_cp(&st);
        drop(st);
        self.io.memory.moved();
        outcome
    }

    /// Step 1. `None` if there is nothing to write.
    fn freeze(&self, change: &TableChange) -> Result<Option<Frozen>> {
        let mut st = self.state.write();
        if st.fault.is_some() {
            return Err(FsError::ReadOnly);
        }
        let (log_used, _) = self.log.fill(0);
        let idle = st.inodes.dirty_len() == 0 && st.ledger.is_empty() && log_used <= 1;
        if idle && matches!(change, TableChange::Keep) {
            return Ok(None);
        }
        st.frozen_bytes = st.dirty_bytes();
        let inodes = st.inodes.freeze();
        let ledger = std::mem::take(&mut st.ledger);
        self.pace.begin(ledger.dirty_blocks + inodes.len() as u64 / inode::INODES_PER_PAGE);
        st.frozen_blocks = ledger.dirty_blocks + inodes.len() as u64;
        let generation = st.generation;
        st.generation += 1;
        let (log_half, log_seq) = self.log.switch();
        self.walloc.lock().freeze();
        let image = ImageRoot {
            cp: CpNumber(generation),
            lsn: st.lsn,
            next_ino: st.next_ino,
            free_ino: st.free_ino,
            files: st.files,
            generation_max: st.generation_max,
            generation_floor: st.generation_floor,
            ..ImageRoot::default()
        };
        if let TableChange::Delete(id) = change {
            // From here on its blocks are on their way out: no operation may share them any more.
            Arc::make_mut(&mut st.snaps).retain(|snap| snap.id != *id);
        }
        let (inofile, quota) = (st.inofile.clone(), st.quota.tree.clone());
        Ok(Some(Frozen { generation, inodes, inofile, quota, ledger, image, log_half, log_seq }))
    }

    /// Steps 2 to 5. `held` is the state where the caller has it locked, which only a restore needs.
    fn write_image(
        &self,
        committed: &mut Committed,
        mut frozen: Frozen,
        change: &TableChange,
        held: Option<&mut State>,
    ) -> Result<CpNumber> {
        let io = &*self.io;
        let base = Base::of(committed, change)?;
        let mut out = Writeout::new(self, std::mem::take(&mut frozen.ledger.freed));
        out.freed.extend(frozen.ledger.freed_frozen.iter().map(place_of));
        let roots = write_inodes(&mut out, &mut frozen)?;
        let back = write_refs(&mut out, &mut frozen, &base)?;

        let mut snaps = (*committed.snaps).clone();
        let deleted = change.apply(&mut snaps, &mut committed.info, frozen.image)?;
        let table_changed = !matches!(change, TableChange::Keep);
        let table_blocks = plan_table(&mut out, base.table, &snaps, table_changed)?;

        let mut map = base.map.clone();
        let used_again = back.iter().map(|vbn| (*vbn, 1));
        let mut allocated = std::mem::take(&mut frozen.ledger.allocated);
        allocated.extend(used_again);
        let places = mark_all(&mut map, &mut out, frozen.generation, &allocated)?;
        let allocated = allocated.iter().map(|(_, len)| len).sum::<u64>() + out.taken.len() as u64;
        frozen.image.used_blocks = base.used_blocks + allocated - out.freed.len() as u64;
        let mixed = base.mixed || !back.is_empty();
        frozen.image.mixed = mixed && !snaps.is_empty();
        frozen.image.map = write_map(&map, &mut out, &places)?;
        frozen.image.allocated_total = self.count_allocated(committed, change, &map, back.len() as u64)?;

        let mut info = committed.info.clone();
        let mut freed = std::mem::take(&mut out.freed);
        let held_blocks = held_blocks(io, &committed.snaps, mixed, &freed)?;
        info.snapshot_only = info.snapshot_only + held_blocks.len() as u64 - back.len() as u64;
        freed.retain(|vbn| !held_blocks.contains(vbn));
        if let Some(entry) = deleted {
            let dropped = only_in(self, &entry, &snaps, &map, mixed)?;
            info.snapshot_only -= dropped.len() as u64;
            freed.extend(dropped);
        }
        if let (TableChange::Restore(_), Some(st)) = (change, held.as_deref()) {
            freed.extend(self.left_behind(committed, &snaps, &map, st)?);
            info.snapshot_only = only_in_snapshots(&self.io, &snaps, &map)?;
        }
        if matches!(change, TableChange::Add { .. })
            && let Some(newest) = snaps.last_mut()
        {
            newest.image = frozen.image;
            newest.snapshot_only = info.snapshot_only;
        }
        if table_changed {
            (info.table, info.table_len) = write_table(&mut out, &snaps, &table_blocks)?;
            info.gone.clear();
        }
        out.batch.finish()?;
        io.disk.flush()?;
        info.image = frozen.image;
        (info.log_half, info.log_seq) = (frozen.log_half, frozen.log_seq);
        info.write(&*io.disk)?;
        if matches!(change, TableChange::Add { .. })
            && let Some(newest) = snaps.last_mut()
        {
            (newest.table, newest.table_len) = (info.table, info.table_len);
        }

        self.discard(&mut freed);
        *committed = Committed { map: Tree::from_root(info.image.map)?, info, snaps: Arc::new(snaps) };
        let inofile = Tree::from_root(committed.info.image.inofile)?;
        let maps = self.maps(committed)?;
        match held {
            Some(st) => {
                st.start_over(&self.io, &frozen.image)?;
                self.commit(st, committed, inofile, maps, &freed);
            }
            None => {
                self.commit(&mut self.state.write(), committed, inofile, maps, &freed);
                self.settle(&frozen.inodes, &roots)?;
            }
        }
        *self.snaps.write() = committed.snaps.clone();
        self.snapshot_only.store(committed.info.snapshot_only, Ordering::Relaxed);
        self.log.covered(frozen.image.lsn);
        Ok(frozen.image.cp)
    }

    /// Blocks that the allocator has handed out, and those that came into the image without it.
    fn count_allocated(
        &self,
        committed: &Committed,
        change: &TableChange,
        map: &Tree,
        back: u64,
    ) -> Result<u64> {
        let taken_back = match change {
            TableChange::Restore(_) => {
                let (now, before) = (std::slice::from_ref(map), std::slice::from_ref(&committed.map));
                DiffRuns::new(self.io.clone(), now, before)?.count_blocks()?
            }
            _ => 0,
        };
        let mut walloc = self.walloc.lock();
        walloc.allocated_total += back + taken_back;
        Ok(walloc.allocated_total)
    }

    /// Gives long runs of freed blocks back to the host, before anybody can write there again.
    fn discard(&self, freed: &mut [Vbn]) {
        freed.sort_unstable();
        for run in freed.chunk_by(|a, b| a.0 + 1 == b.0) {
            let Some(first) = run.first().filter(|_| run.len() >= DISCARD_BLOCKS) else { continue };
            // Piece by piece: the host lets nobody write to the file meanwhile, the log neither.
            for (piece, index) in run.chunks(DISCARD_BLOCKS).zip(0..) {
                let offset = (first.0 + index * DISCARD_BLOCKS as u64) * BLOCK_SIZE_U64;
                let bytes = piece.len() as u64 * BLOCK_SIZE_U64;
                if let Err(error) = self.io.disk.discard(offset, bytes) {
                    tracing::warn!(volume = %self.uuid, %error, "free blocks could not be given back to the host");
                }
            }
        }
    }

    /// The maps whose blocks are in use: the image's and every snapshot's.
    fn maps(&self, committed: &Committed) -> Result<Vec<Tree>> {
        let snaps = committed.snaps.iter().map(SnapEntry::block_map);
        std::iter::once(Ok(committed.map.clone())).chain(snaps).collect()
    }

    /// Step 5. Operations wait: what can be done before or after is not done here.
    fn commit(&self, st: &mut State, committed: &Committed, inofile: Tree, maps: Vec<Tree>, freed: &[Vbn]) {
        st.inofile = inofile;
        st.frozen_blocks = 0;
        st.snaps = committed.snaps.clone();
        st.sharing = !committed.info.image.refs.ptr.is_hole();
        st.inodes.thaw();
        let mut walloc = self.walloc.lock();
        walloc.set_maps(maps);
        walloc.release_all(freed);
    }

    /// Step 6: what was written is clean now. Inodes that nobody has changed since go to the cache; others let their written nodes
    /// go. In small pieces, for operations go on. Whether a piece is done makes no difference to anybody but for the memory.
    fn settle(&self, inodes: &InodeMap, roots: &[(InodeNum, TreeRoot)]) -> Result<()> {
        for piece in roots.chunks(SETTLE_INODES) {
            let mut changed = Vec::new();
            let st = self.state.read();
            for (ino, root) in piece {
                if st.inodes.is_changed(*ino) {
                    changed.push(*ino);
                } else if let Some(inode) = inodes.get(ino) {
                    let tree = Tree::from_root(*root)?;
                    st.inodes.keep(*ino, Arc::new(Inode { tree, ..(**inode).clone() }));
                }
            }
            drop(st);
            for ino in changed {
                self.prune(|st| changed_tree(st, ino));
            }
        }
        self.prune(|st| Some(&mut st.quota.tree));
        Ok(())
    }

    fn prune(&self, tree: impl for<'s> Fn(&'s mut State) -> Option<&'s mut Tree>) {
        let mut from = Some(Fbn(0));
        while let Some(at) = from {
            let mut dead = Vec::new();
            let mut st = self.state.write();
            from = tree(&mut st).and_then(|tree| tree.prune(at, SETTLE_SLOTS, &mut dead));
            drop(st);
        }
    }
}

impl TableChange {
    /// Changes the entries; gives the one that goes.
    fn apply(
        &self,
        snaps: &mut Vec<SnapEntry>,
        info: &mut FsInfo,
        image: ImageRoot,
    ) -> Result<Option<SnapEntry>> {
        match self {
            TableChange::Keep | TableChange::Restore(_) | TableChange::Rewrite => Ok(None),
            TableChange::Add { name, created, maker } => {
                assert!(snaps.len() < SNAPSHOTS_MAX, "the caller checked the number of snapshots");
                let id = info.next_snapshot;
                info.next_snapshot.0 += 1;
                snaps.push(SnapEntry {
                    id,
                    name: name.clone(),
                    created: *created,
                    maker: *maker,
                    image,
                    table: TreeRoot::default(),
                    table_len: 0,
                    snapshot_only: 0,
                });
                Ok(None)
            }
            TableChange::Delete(id) => {
                let at = snaps.iter().position(|snap| snap.id == *id);
                Ok(Some(snaps.remove(at.ok_or(FsError::Snapshot("no such snapshot"))?)))
            }
        }
    }
}

/// The tree of an inode that was changed since the freeze. Where somebody reads it just now, the change that comes next prunes it.
fn changed_tree(st: &mut State, ino: InodeNum) -> Option<&mut Tree> {
    st.inodes.changed(ino).and_then(Arc::get_mut).map(|inode| &mut inode.tree)
}

/// Step 2: the files' trees, then the inode file and the quota tree. Gives where each file's tree stands.
fn write_inodes(out: &mut Writeout<'_>, frozen: &mut Frozen) -> Result<Vec<(InodeNum, TreeRoot)>> {
    let mut inodes: Vec<_> = frozen.inodes.values().collect();
    inodes.sort_unstable_by_key(|inode| inode.ino);
    let mut roots = Vec::with_capacity(inodes.len());
    let mut ledger = Ledger::default();
    let (mut pages, mut last) = (0, None);
    for inode in inodes {
        let root = out.flush_tree(&inode.tree, inode.is_dir())?;
        roots.push((inode.ino, root));
        let (fbn, at) = inode::place(inode.ino);
        if last.replace(fbn) != Some(fbn) {
            pages += 1;
            if pages % INODE_PAGES == 0 {
                // No inode of these pages comes any more.
                out.flush_leaves(&mut frozen.inofile)?;
            }
        }
        let mut edit = Edit { io: out.io, generation: frozen.generation, ledger: &mut ledger };
        let page = frozen.inofile.page_mut(&mut edit, fbn)?;
        page[at..at + inode::INODE_BYTES].copy_from_slice(&inode.encode(root));
    }
    out.freed.append(&mut ledger.freed);
    frozen.image.inofile = out.flush_tree(&frozen.inofile, true)?;
    frozen.image.quota = out.flush_tree(&frozen.quota, true)?;
    out.give_back_spare();
    Ok(roots)
}

/// Counts the users of shared blocks anew. Gives the blocks that only snapshots used and the image uses again.
fn write_refs(out: &mut Writeout<'_>, frozen: &mut Frozen, base: &Base) -> Result<Vec<Vbn>> {
    let mut refs = Tree::from_root(base.refs)?;
    let sharing = Sharing {
        io: out.io,
        generation: frozen.generation,
        map: &base.map,
        allocated: &frozen.ledger.allocated,
        adopted: &frozen.ledger.adopted,
    };
    let back = sharing.settle(&mut refs, &mut out.freed)?;
    frozen.image.refs = out.flush_tree(&refs, true)?;
    out.give_back_spare();
    Ok(back)
}

/// Which of the freed blocks a snapshot holds. As a rule a block is in a run of neighbouring snapshots, and the
/// image just left had it: if any snapshot has it, the newest has. Not so where older blocks came back (`mixed`).
fn held_blocks(io: &Io, snaps: &[SnapEntry], mixed: bool, freed: &[Vbn]) -> Result<HashSet<Vbn>> {
    let mut held = HashSet::new();
    for snap in snaps.iter().rev().take(if mixed { snaps.len() } else { 1 }) {
        let map = snap.block_map()?;
        for vbn in freed {
            if blockmap::is_set(&map, io, *vbn)? {
                held.insert(*vbn);
            }
        }
    }
    Ok(held)
}

/// Blocks that only the deleted snapshot used: not its older neighbour, nor its younger, nor the new image. Where older
/// blocks came back, any other snapshot may have them.
fn only_in(
    shared: &Shared,
    entry: &SnapEntry,
    left: &[SnapEntry],
    active: &Tree,
    mixed: bool,
) -> Result<Vec<Vbn>> {
    let older = left.iter().rev().find(|snap| snap.id < entry.id);
    let younger = left.iter().find(|snap| snap.id > entry.id);
    let others: Vec<_> =
        if mixed { left.iter().collect() } else { older.into_iter().chain(younger).collect() };
    let mut without: Vec<_> = others.iter().map(|snap| snap.block_map()).collect::<Result<_>>()?;
    if mixed || younger.is_none() {
        without.push(active.clone());
    }
    DiffRuns::new(shared.io.clone(), &[entry.block_map()?], &without)?.blocks()
}
