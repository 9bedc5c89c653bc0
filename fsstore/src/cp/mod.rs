//! Consistency points: from one on-disk image to the next, in one atomic step.
//!
//! 1. *Freeze*, under the state's lock: take the dirty inodes and the ledger, switch the log's half. O(dirty inodes).
//! 2. Write their trees to new blocks, then the inode file, while operations go on.
//! 3. Bring the block map up to date. Its own blocks change it too, so places are given until none is missing.
//! 4. Write the map, the snapshot table, flush; write fsinfo, flush. That write is the atomic step.
//! 5. *Commit*, under the lock: the new inode file takes over, freed blocks become free, the old log half too.
//!
//! Any error before the end latches the volume: the old image and the log are whole on disk.

mod map;
mod table;
mod writeout;

use self::map::{mark_all, write_map};
use self::table::{plan_table, write_table};
use self::writeout::{Writeout, home_of};
use crate::blockmap::{self, DiffRuns};
use crate::error::{FsError, Result};
use crate::fsinfo::{FsInfo, SNAPSHOTS_MAX, SnapEntry};
use crate::ids::{BLOCK_SIZE_U64, CpNumber, InodeNum, SnapshotId, Vbn};
use crate::inode::{self, Inode};
use crate::io::Io;
use crate::layout::{ImageRoot, TreeRoot};
use crate::op::Time;
use crate::shared::Shared;
use crate::tree::{Edit, Ledger, Tree};
use std::collections::{HashMap, HashSet};
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
    },
    Delete(SnapshotId),
    /// Only puts it to other blocks.
    Rewrite,
}

/// The state as it was when the CP froze it.
struct Frozen {
    generation: u64,
    inodes: Vec<(InodeNum, Arc<Inode>)>,
    inofile: Tree,
    ledger: Ledger,
    image: ImageRoot,
    log_half: u8,
    log_seq: u64,
}

/// Shortest run of freed blocks that is given back to the host (1 MiB): shorter ones are soon used again, and each
/// costs a system call.
const DISCARD_BLOCKS: u64 = 256;
impl Shared {
    /// Takes a CP, with a change of the snapshot table if asked for.
    pub(crate) fn checkpoint(&self, committed: &mut Committed, change: &TableChange) -> Result<CpNumber> {
        let outcome = self.freeze(change).and_then(|frozen| match frozen {
            None => Ok(committed.info.image.cp),
            Some(frozen) => self.write_image(committed, frozen, change),
        });
        if let Err(error) = &outcome {
            self.latch(error);
        }
        outcome
    }

    /// Step 1. `None` if there is nothing to write.
    fn freeze(&self, change: &TableChange) -> Result<Option<Frozen>> {
        let mut st = self.state.write();
        if st.fault.is_some() {
            return Err(FsError::ReadOnly);
        }
        let (log_used, _) = self.log.fill();
        let idle = st.dirty.is_empty() && st.ledger.is_empty() && log_used <= 1;
        if idle && matches!(change, TableChange::Keep) {
            return Ok(None);
        }
        let dirty = std::mem::take(&mut st.dirty);
        let inodes: Vec<_> =
            dirty.iter().filter_map(|ino| Some((*ino, st.inodes.get(ino)?.clone()))).collect();
        let ledger = std::mem::take(&mut st.ledger);
        st.frozen_blocks = ledger.dirty_blocks + inodes.len() as u64;
        let generation = st.generation;
        st.generation += 1;
        let (log_half, log_seq) = self.log.switch();
        let image = ImageRoot {
            cp: CpNumber(generation),
            lsn: st.lsn,
            next_ino: st.next_ino,
            free_ino: st.free_ino,
            files: st.files,
            ..ImageRoot::default()
        };
        let inofile = st.inofile.clone();
        Ok(Some(Frozen { generation, inodes, inofile, ledger, image, log_half, log_seq }))
    }

    fn write_image(
        &self,
        committed: &mut Committed,
        mut frozen: Frozen,
        change: &TableChange,
    ) -> Result<CpNumber> {
        let io = &*self.io;
        let mut out = Writeout::new(io, &self.walloc, std::mem::take(&mut frozen.ledger.freed));
        out.freed.extend(frozen.ledger.freed_frozen.iter().map(|node| home_of(node)));
        let roots = write_inodes(&mut out, &mut frozen)?;

        let mut snaps = (*committed.snaps).clone();
        let held_by = snaps.last().map(|snap| Tree::from_root(snap.image.map)).transpose()?;
        let deleted = change.apply(&mut snaps, &mut committed.info, frozen.image)?;
        let table_changed = !matches!(change, TableChange::Keep);
        let table_blocks = plan_table(&mut out, &committed.info, &snaps, table_changed)?;

        let mut map = committed.map.clone();
        let places = mark_all(&mut map, &mut out, frozen.generation, &frozen.ledger.allocated)?;
        let allocated =
            frozen.ledger.allocated.iter().map(|(_, len)| len).sum::<u64>() + out.taken.len() as u64;
        let before = committed.info.image.used_blocks;
        frozen.image.used_blocks = before + allocated - out.freed.len() as u64;
        frozen.image.allocated_total = self.walloc.lock().allocated_total;
        frozen.image.map = write_map(&map, &mut out, &places)?;

        let held = held_blocks(io, held_by.as_ref(), &out.freed)?;
        let mut info = committed.info.clone();
        info.snapshot_only += held.len() as u64;
        let dropped =
            deleted.map(|entry| only_in(self, &entry, &snaps, &map)).transpose()?.unwrap_or_default();
        info.snapshot_only -= dropped.len() as u64;
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

        let mut freed = std::mem::take(&mut out.freed);
        freed.retain(|vbn| !held.contains(vbn));
        freed.extend(dropped);
        self.discard(&mut freed);
        *committed = Committed { map: Tree::from_root(info.image.map)?, info, snaps: Arc::new(snaps) };
        self.commit(committed, &frozen, &roots, &freed)?;
        Ok(frozen.image.cp)
    }

    /// Gives long runs of freed blocks back to the host, before anybody can write there again.
    fn discard(&self, freed: &mut [Vbn]) {
        freed.sort_unstable();
        for run in freed.chunk_by(|a, b| a.0 + 1 == b.0) {
            let len = run.len() as u64;
            if len >= DISCARD_BLOCKS
                && let Some(first) = run.first()
                && let Err(error) = self.io.disk.discard(first.0 * BLOCK_SIZE_U64, len * BLOCK_SIZE_U64)
            {
                tracing::warn!(volume = %self.uuid, %error, "free blocks could not be given back to the host");
            }
        }
    }

    /// Step 5.
    fn commit(
        &self,
        committed: &Committed,
        frozen: &Frozen,
        roots: &HashMap<InodeNum, TreeRoot>,
        freed: &[Vbn],
    ) -> Result<()> {
        let inofile = Tree::from_root(committed.info.image.inofile)?;
        let mut maps = vec![committed.map.clone()];
        for snap in committed.snaps.iter() {
            maps.push(Tree::from_root(snap.image.map)?);
        }
        {
            let mut st = self.state.write();
            st.inofile = inofile;
            st.frozen_blocks = 0;
            for (ino, inode) in &frozen.inodes {
                let Some(current) = st.inodes.get_mut(ino) else { continue };
                let untouched = Arc::ptr_eq(current, inode);
                let inode = Arc::make_mut(current);
                if untouched {
                    inode.tree = Tree::from_root(roots.get(ino).copied().unwrap_or_default())?;
                } else {
                    inode.tree.prune();
                }
            }
            st.evict(self.inodes_max);
            let mut walloc = self.walloc.lock();
            walloc.set_maps(maps);
            freed.iter().for_each(|vbn| walloc.release(*vbn));
        }
        *self.snaps.write() = committed.snaps.clone();
        self.snapshot_only.store(committed.info.snapshot_only, Ordering::Relaxed);
        self.log.covered(frozen.image.lsn);
        Ok(())
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
            TableChange::Keep | TableChange::Rewrite => Ok(None),
            TableChange::Add { name, created } => {
                assert!(snaps.len() < SNAPSHOTS_MAX, "the caller checked the number of snapshots");
                let id = info.next_snapshot;
                info.next_snapshot.0 += 1;
                snaps.push(SnapEntry {
                    id,
                    name: name.clone(),
                    created: *created,
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

/// Step 2: the files' trees, then the inode file. Gives where each file's tree stands.
fn write_inodes(out: &mut Writeout<'_>, frozen: &mut Frozen) -> Result<HashMap<InodeNum, TreeRoot>> {
    let mut roots = HashMap::new();
    let mut ledger = Ledger::default();
    for (ino, inode) in &frozen.inodes {
        let root = out.flush_tree(&inode.tree, inode.is_dir())?;
        roots.insert(*ino, root);
        let (fbn, at) = inode::place(*ino);
        let mut edit = Edit { io: out.io, generation: frozen.generation, ledger: &mut ledger };
        let page = frozen.inofile.page_mut(&mut edit, fbn)?;
        page[at..at + inode::INODE_BYTES].copy_from_slice(&inode.encode(root));
    }
    out.freed.append(&mut ledger.freed);
    frozen.image.inofile = out.flush_tree(&frozen.inofile, true)?;
    out.give_back_spare();
    Ok(roots)
}

/// Which of the freed blocks the newest snapshot holds. A block is in a run of neighbouring snapshots, and the
/// image just left had it: if any snapshot has it, the newest has.
fn held_blocks(io: &Io, newest: Option<&Tree>, freed: &[Vbn]) -> Result<HashSet<Vbn>> {
    let mut held = HashSet::new();
    if let Some(map) = newest {
        for vbn in freed {
            if blockmap::is_set(map, io, *vbn)? {
                held.insert(*vbn);
            }
        }
    }
    Ok(held)
}

/// Blocks that only the deleted snapshot used: not its older neighbour, nor its younger, nor the new image.
fn only_in(shared: &Shared, entry: &SnapEntry, left: &[SnapEntry], active: &Tree) -> Result<Vec<Vbn>> {
    let mut without = Vec::new();
    if let Some(older) = left.iter().rev().find(|snap| snap.id < entry.id) {
        without.push(Tree::from_root(older.image.map)?);
    }
    match left.iter().find(|snap| snap.id > entry.id) {
        Some(younger) => without.push(Tree::from_root(younger.image.map)?),
        None => without.push(active.clone()),
    }
    let mut blocks = Vec::new();
    for run in DiffRuns::new(shared.io.clone(), &[Tree::from_root(entry.image.map)?], &without)? {
        let run = run?;
        blocks.extend((run.start.0..run.start.0 + run.blocks).map(Vbn));
    }
    Ok(blocks)
}
