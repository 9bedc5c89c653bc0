//! Making a volume, and mounting one: newest fsinfo, replay of the log, a fresh log.

use crate::blockmap::{DiffRuns, map_height};
use crate::clones;
use crate::cp::{Committed, TableChange};
use crate::directory::NameHash;
use crate::disk::Disk;
use crate::error::{FsError, Result};
use crate::fsinfo::{FsInfo, Role, SnapEntry, log_half_blocks, read_table};
use crate::full::LastTold;
use crate::ids::{BLOCK_SIZE, BLOCK_SIZE_U64, CpNumber, Generation, InodeNum, Lsn, SnapshotId};
use crate::inode::Inode;
use crate::inodes::Inodes;
use crate::io::Io;
use crate::layout::{ImageRoot, TreeRoot};
use crate::memory::Means;
use crate::nvlog::{self, Batch, Log};
use crate::op::{FileKind, ROOT_INO, Time};
use crate::ops;
use crate::pace::Pace;
use crate::quota::Quotas;
use crate::record::{Act, Piece, Record};
use crate::shared::{CpSignal, Shared};
use crate::snapdir::SnapshotDirCell;
use crate::state::State;
use crate::tree::{Ledger, Slot, Tree};
use crate::volume::{VOLUME_BYTES_MIN, VolumeSpec};
use crate::walloc::Walloc;
use crate::xattr::attrs_max;
use parking_lot::{Condvar, Mutex, RwLock};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// A number that no earlier mount of this volume has used for its log.
pub(crate) fn fresh_log_id() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().1
}

/// The fsinfo of a volume that is about to be made.
pub(crate) fn new_info(spec: &VolumeSpec, role: Role) -> Result<FsInfo> {
    if spec.size_bytes < VOLUME_BYTES_MIN {
        return Err(FsError::Format(format!("a volume needs at least {VOLUME_BYTES_MIN} bytes")));
    }
    let blocks = spec.size_bytes / BLOCK_SIZE_U64;
    Ok(FsInfo {
        uuid: spec.uuid,
        blocks,
        role,
        serial: 0,
        log_half_blocks: log_half_blocks(blocks),
        log_id: fresh_log_id(),
        log_half: 0,
        log_seq: 1,
        image: ImageRoot { next_ino: InodeNum(ROOT_INO.0 + 1), ..ImageRoot::default() },
        table: TreeRoot::default(),
        table_len: 0,
        next_snapshot: SnapshotId(1),
        snapshot_only: 0,
        name_key: spec.uuid,
        base: None,
        gone: Vec::new(),
    })
}

/// Formats `disk` with an empty volume and mounts it.
pub(crate) fn create(disk: Arc<dyn Disk>, spec: &VolumeSpec, now: Time, means: Means) -> Result<Shared> {
    let Means { memory, threads } = means;
    let info = new_info(spec, Role::Volume)?;
    info.format_log(&*disk)?;
    let io = Arc::new(Io::within(disk, info.blocks, memory));
    let map = Tree { height: map_height(info.blocks), root: Slot::Hole };
    let shared = assemble(io, info, map, Vec::new(), threads)?;
    let mut root = Inode::new(ROOT_INO, Generation(1));
    root.kind = Some(FileKind::Dir);
    (root.mode, root.nlink, root.size, root.parent) = (0o755, 2, BLOCK_SIZE_U64, ROOT_INO);
    (root.atime, root.mtime, root.ctime, root.btime) = (now, now, now, now);
    {
        let mut st = shared.state.write();
        st.charge_new(&shared.io, &root, now)?;
        st.inodes.insert(ROOT_INO, root);
        st.files = 1;
    }
    shared.checkpoint(&mut shared.committed.lock(), &TableChange::Keep)?;
    Ok(shared)
}

/// Mounts the volume on `disk`; a clone over its parent, which is mounted.
pub(crate) fn open(disk: Arc<dyn Disk>, parent: Option<&Shared>, means: Means) -> Result<Shared> {
    let Means { memory, threads } = means;
    // A process that died may have left writes that the host has not made durable. What is about to be read must not
    // vanish once something is written that counts on it: both fsinfo blocks could be torn, or blocks that only
    // a vanishing image freed be overwritten.
    disk.flush()?;
    let mut info = FsInfo::read(&*disk)?;
    if info.image.cp == CpNumber(0) {
        return Err(FsError::Format("a replica that has not received an image yet".to_owned()));
    }
    let overlay = clones::over_volume(disk.clone(), &info, parent)?;
    let disk = overlay.clone().map_or(disk, |overlay| overlay as Arc<dyn Disk>);
    let batches = if info.role == Role::Volume { nvlog::read(&*disk, &info)? } else { Vec::new() };
    let io = Arc::new(Io::within(disk, info.blocks, memory));
    let mut snaps = read_table(info.table, info.table_len, &io)?;
    let map = Tree::from_root(info.image.map)?;
    if !info.gone.is_empty() {
        snaps.retain(|snap| !info.gone.contains(&snap.id));
        info.snapshot_only = only_in_snapshots(&io, &snaps, &map)?;
    }
    info.role = Role::Volume;
    info.log_id = fresh_log_id();
    let mut shared = assemble(io, info, map, snaps, threads)?;
    if overlay.is_some() {
        shared.clone_depth = parent.map_or(0, Shared::clone_depth) + 1;
        shared.overlay = overlay;
    }
    replay(&shared, &batches)?;
    // The old log is needed until this is durable; then its records are refused by their log id.
    let mut committed = shared.committed.lock();
    let idle = {
        let st = shared.state.read();
        st.inodes.dirty_len() == 0 && st.ledger.is_empty()
    };
    if idle {
        committed.info.write(&*shared.io.disk)?;
    } else {
        shared.checkpoint(&mut committed, &TableChange::Keep)?;
    }
    drop(committed);
    Ok(shared)
}

/// Blocks that snapshots hold and the active image does not: counted, where the count on disk has others in it.
pub(crate) fn only_in_snapshots(io: &Arc<Io>, snaps: &[SnapEntry], active: &Tree) -> Result<u64> {
    let maps: Vec<_> = snaps.iter().map(|snap| snap.block_map()).collect::<Result<_>>()?;
    if maps.is_empty() {
        return Ok(0);
    }
    DiffRuns::new(io.clone(), &maps, std::slice::from_ref(active))?.count_blocks()
}

pub(crate) fn assemble(
    io: Arc<Io>,
    info: FsInfo,
    map: Tree,
    snaps: Vec<SnapEntry>,
    threads: bool,
) -> Result<Shared> {
    let image = info.image;
    let mut maps = vec![map.clone()];
    for snap in &snaps {
        maps.push(snap.block_map()?);
    }
    let snaps = Arc::new(snaps);
    let used = image.used_blocks + info.snapshot_only;
    let free = info.data_blocks().checked_sub(used);
    let free = free.ok_or_else(|| FsError::Format("more blocks in use than there are".to_owned()))?;
    let state = State {
        generation: image.cp.0 + 1,
        inodes: Inodes::new(io.memory.clone()),
        inofile: Tree::from_root(image.inofile)?,
        next_ino: image.next_ino,
        free_ino: image.free_ino,
        files: image.files,
        lsn: image.lsn,
        ledger: Ledger::default(),
        frozen_blocks: 0,
        frozen_bytes: 0,
        accounted: 0,
        fault: None,
        hash: NameHash::new(info.name_key),
        generation_max: image.generation_max,
        generation_floor: image.generation_floor,
        sharing: !image.refs.ptr.is_hole(),
        snaps: snaps.clone(),
        attrs_max: attrs_max(info.data_blocks()),
        quota: Quotas::load(&io, image.quota)?,
    };
    let snapshot_only = info.snapshot_only;
    Ok(Shared {
        uuid: info.uuid,
        first_data: info.first_data(),
        threads,
        pace: Pace::default(),
        log: Arc::new(Log::new(io.disk.clone(), &info, image.lsn)),
        state: RwLock::new(state),
        walloc: Mutex::new(Walloc::new(info.first_data(), info.blocks, free, image.allocated_total, maps)),
        committed: Mutex::new(Committed { info, map, snaps: snaps.clone() }),
        io,
        snaps: RwLock::new(snaps),
        snapshot_only: AtomicU64::new(snapshot_only),
        pins: Arc::default(),
        snapshot_dir: SnapshotDirCell::default(),
        overlay: None,
        clone_depth: 0,
        told_full: LastTold::default(),
        watchers: Arc::default(),
        cp_signal: Mutex::new(CpSignal::default()),
        cp_work: Condvar::new(),
    })
}

/// Applies the logged operations that the image does not have.
fn replay(shared: &Shared, batches: &[Batch]) -> Result<()> {
    let io = &*shared.io;
    let durable_seq = batches.iter().map(|batch| batch.durable_seq).max().unwrap_or(0);
    let mut st = shared.state.write();
    for batch in batches {
        for record in &batch.records {
            if record.lsn <= st.lsn {
                continue;
            }
            if record.lsn != Lsn(st.lsn.0 + 1) {
                return Err(FsError::Format(format!("the log skips from {} to {}", st.lsn, record.lsn)));
            }
            match data_is_there(io, record) {
                Ok(()) => {}
                // Its flush never ended: nothing from here on was acknowledged.
                Err(FsError::Corrupt { .. }) if batch.seq > durable_seq => return Ok(()),
                Err(error) => return Err(error),
            }
            claim(shared, record)?;
            ops::apply(&mut st, io, record)?;
        }
    }
    Ok(())
}

/// The blocks of a write record, and where they stand.
pub(crate) fn block_pieces(record: &Record) -> impl Iterator<Item = (&crate::ids::Vbn, &Vec<u64>)> {
    let pieces = match &record.act {
        Act::Write(write) => &write.pieces[..],
        _ => &[],
    };
    pieces.iter().filter_map(|piece| match piece {
        Piece::Blocks { start, sums, .. } => Some((start, sums)),
        Piece::Bytes { .. } => None,
    })
}

pub(crate) fn data_is_there(io: &Io, record: &Record) -> Result<()> {
    for (start, sums) in block_pieces(record) {
        let mut buf = vec![0; sums.len() * BLOCK_SIZE];
        io.read_run(*start, &mut buf, sums, InodeNum(0))?;
    }
    Ok(())
}

fn claim(shared: &Shared, record: &Record) -> Result<()> {
    for (start, sums) in block_pieces(record) {
        shared.walloc.lock().claim(&shared.io, *start, sums.len() as u64)?;
    }
    Ok(())
}
