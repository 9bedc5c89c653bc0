//! Writable clones of a snapshot: making one, opening it over its parent, splitting it off.
//!
//! A clone begins with the snapshot's image root, in the same address space and with a log of the same size. Its first
//! snapshot, [`CLONE_BASE`], is the parent's, so the blocks that the parent keeps are in use in the clone as long as it
//! needs them. fsinfo names the parent until a split has copied those blocks, and is then written without it.

use crate::cp::TableChange;
use crate::disk::Disk;
use crate::disk::overlay::{Base, Overlay};
use crate::error::{FsError, Result};
use crate::fsinfo::{CloneBase, FsInfo, Role, SnapEntry};
use crate::ids::{BLOCK_SIZE, BLOCK_SIZE_U64, SnapshotId};
use crate::io::Io;
use crate::layout::ImageRoot;
use crate::memory::Means;
use crate::mount::{assemble, fresh_log_id};
use crate::shared::Shared;
use crate::snapshot::{Pinned, SnapshotMaker};
use std::io::IoSlice;
use std::sync::Arc;
use uuid::Uuid;

/// Name of the snapshot that a clone begins with.
pub const CLONE_BASE: &str = ".base";

/// Clones of clones of clones: each level costs every read of a shared block a look into one more map.
const DEPTH_MAX: usize = 8;

/// Blocks copied by one write (1 MiB).
const COPY_BLOCKS: u64 = 256;

/// Where a clone comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloneOrigin {
    /// UUID of the parent.
    pub parent: Uuid,
    /// The parent's snapshot.
    pub snapshot: SnapshotId,
}

impl From<CloneBase> for CloneOrigin {
    fn from(base: CloneBase) -> Self {
        CloneOrigin { parent: base.parent, snapshot: base.snapshot }
    }
}

/// How far the split of a clone is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitStep {
    /// Blocks that this step has copied.
    pub copied_blocks: u64,
    /// How much of the parent's address space is done, in percent.
    pub percent: u8,
    /// Whether the volume has all its blocks itself and needs no parent any more.
    pub done: bool,
}

/// The parent of the clone on `disk`; `None` for a volume that has all its blocks itself.
///
/// # Errors
/// [`FsError::Format`] for what is no volume, and the disk's.
pub fn clone_origin(disk: &dyn Disk) -> Result<Option<CloneOrigin>> {
    Ok(FsInfo::read(disk)?.base.map(CloneOrigin::from))
}

fn wrong(text: String) -> FsError {
    FsError::Format(text)
}

/// The disk through which the volume of `info` is seen, over its mounted parent if it is a clone.
pub(crate) fn over_volume(
    own: Arc<dyn Disk>,
    info: &FsInfo,
    parent: Option<&Shared>,
) -> Result<Option<Arc<Overlay>>> {
    let Some(origin) = info.base else { return Ok(None) };
    let parent = parent.filter(|parent| parent.uuid == origin.parent);
    let parent = parent.ok_or_else(|| {
        wrong(format!("it is a clone of volume {}, which must be there to open it", origin.parent))
    })?;
    let pinned = Pinned::new(parent, &[origin.snapshot])?;
    if parent.snap(origin.snapshot)?.image.map != origin.map {
        return Err(wrong("the parent's snapshot is not the one that this clone was made of".to_owned()));
    }
    let base = Base::new(parent.io.disk.clone(), parent.blocks(), origin, Some(pinned))?;
    Ok(Some(Overlay::new(own, base)))
}

/// The same over parents that nobody has mounted: the nearest first.
pub(crate) fn over_disks(
    own: Arc<dyn Disk>,
    info: &FsInfo,
    parents: &[Arc<dyn Disk>],
) -> Result<Arc<dyn Disk>> {
    let Some(origin) = info.base else { return Ok(own) };
    let Some((parent, above)) = parents.split_first().filter(|_| parents.len() <= DEPTH_MAX) else {
        let (parent, snapshot) = (origin.parent, origin.snapshot);
        return Err(wrong(format!(
            "it is a clone of volume {parent} (its snapshot {snapshot}) and can't be read without it: name the parent's \
             file too"
        )));
    };
    let theirs = FsInfo::read(&**parent)?;
    if theirs.uuid != origin.parent {
        let (is, wanted) = (theirs.uuid, origin.parent);
        return Err(wrong(format!("it is a clone of volume {wanted}, but the parent given is volume {is}")));
    }
    let below = over_disks(parent.clone(), &theirs, above)?;
    Ok(Overlay::new(own, Base::new(below, theirs.blocks, origin, None)?))
}

/// Formats `own` as a clone of `parent`'s snapshot and mounts it. Its cost does not grow with the volume.
pub(crate) fn create(
    own: Arc<dyn Disk>,
    uuid: Uuid,
    parent: &Shared,
    snapshot: SnapshotId,
    means: Means,
) -> Result<Shared> {
    if parent.clone_depth() >= DEPTH_MAX {
        return Err(FsError::Snapshot("a clone of a clone, and so on, is eight deep at the most: split one"));
    }
    let pinned = Pinned::new(parent, &[snapshot])?;
    let entry = parent.snap(snapshot)?;
    if entry.maker == SnapshotMaker::Clone {
        return Err(FsError::Snapshot(
            "it goes when its volume is split: clone the parent's, or take another",
        ));
    }
    // Its log is not filled with zeros, as a new volume's is: that would take most of the time and of the room that a
    // clone takes. The first round through the log is slower instead.
    let info = first_info(uuid, parent, &entry);
    let origin = info.base.ok_or(FsError::Invalid)?;
    let base = Base::new(parent.io.disk.clone(), parent.blocks(), origin, Some(pinned))?;
    let overlay = Overlay::new(own, base);
    let io = Arc::new(Io::within(overlay.clone(), info.blocks, means.memory));
    let map = entry.block_map()?;
    let base = SnapEntry {
        name: CLONE_BASE.to_owned(),
        maker: SnapshotMaker::Clone,
        // No older snapshot is in the clone.
        snapshot_only: 0,
        ..entry
    };
    let mut shared = assemble(io, info, map, vec![base], means.threads)?;
    shared.overlay = Some(overlay);
    shared.clone_depth = parent.clone_depth() + 1;
    // Until this has written fsinfo, there is no clone.
    shared.checkpoint(&mut shared.committed.lock(), &TableChange::Rewrite)?;
    Ok(shared)
}

/// The fsinfo of a clone before its first CP.
fn first_info(uuid: Uuid, parent: &Shared, entry: &SnapEntry) -> FsInfo {
    let generation_max = parent.state.read().generation_max.max(entry.image.generation_max);
    let theirs = parent.committed.lock().info.clone();
    let image = ImageRoot {
        // No file of the clone is to look like one that the parent has made since.
        generation_max,
        generation_floor: generation_max.saturating_add(1),
        ..entry.image
    };
    let base = CloneBase { parent: parent.uuid, snapshot: entry.id, map: entry.image.map, copied: 0 };
    FsInfo {
        uuid,
        role: Role::Volume,
        serial: 0,
        log_id: fresh_log_id(),
        log_half: 0,
        log_seq: 1,
        image,
        table: entry.table,
        table_len: entry.table_len,
        next_snapshot: SnapshotId(entry.id.0 + 1),
        snapshot_only: 0,
        gone: Vec::new(),
        base: Some(base),
        ..theirs
    }
}

impl Shared {
    /// How many volumes deep this one's blocks may be.
    pub(crate) fn clone_depth(&self) -> usize {
        if self.origin().is_some() { self.clone_depth } else { 0 }
    }

    /// Where this volume comes from, while it is a clone.
    pub(crate) fn origin(&self) -> Option<CloneOrigin> {
        Some(self.overlay.as_ref()?.base()?.origin.into())
    }

    /// One step of a split: copies about `budget` blocks of the parent and makes them durable. A crash costs the step
    /// that it came into.
    pub(crate) fn split_step(&self, budget: u64) -> Result<SplitStep> {
        let Some((overlay, base)) = self.overlay.as_ref().and_then(|over| Some((over, over.base()?))) else {
            self.drop_base()?;
            return Ok(SplitStep { copied_blocks: 0, percent: 100, done: true });
        };
        if self.state.read().fault.is_some() {
            return Err(FsError::ReadOnly);
        }
        let (runs, next) = base.runs_from(base.copied(), budget.max(1))?;
        let mut buf = Vec::new();
        for run in &runs {
            let (mut at, end) = (run.start.0, run.start.0 + run.blocks);
            while at < end {
                let blocks = (end - at).min(COPY_BLOCKS);
                buf.resize(usize::try_from(blocks).unwrap_or(0) * BLOCK_SIZE, 0);
                base.read(&mut buf, at * BLOCK_SIZE_U64)?;
                overlay.own().write_at(&[IoSlice::new(&buf)], at * BLOCK_SIZE_U64)?;
                at += blocks;
            }
        }
        overlay.own().flush()?;
        let copied_blocks = runs.iter().map(|run| run.blocks).sum();
        self.note_copied(next)?;
        match next {
            Some(next) => {
                base.set_copied(next);
                let percent = u8::try_from(next * 100 / self.blocks().max(1)).unwrap_or(99).min(99);
                Ok(SplitStep { copied_blocks, percent, done: false })
            }
            None => {
                overlay.detach();
                drop(base);
                self.drop_base()?;
                Ok(SplitStep { copied_blocks, percent: 100, done: true })
            }
        }
    }

    /// Writes to fsinfo how far the copies are; without `next`, that the parent is not needed any more.
    fn note_copied(&self, next: Option<u64>) -> Result<()> {
        let mut committed = self.committed.lock();
        let info = &mut committed.info;
        match (next, &mut info.base) {
            (Some(next), Some(base)) => {
                base.copied = next;
                info.write(&*self.io.disk)
            }
            // Twice, so that neither copy of fsinfo asks for a parent that may soon be gone.
            _ => {
                info.base = None;
                info.write(&*self.io.disk).and_then(|()| info.write(&*self.io.disk))
            }
        }
        .inspect_err(|error| self.latch(error))
    }

    /// The snapshot that kept the parent's blocks goes once the volume has them itself.
    fn drop_base(&self) -> Result<()> {
        let snaps = self.snaps.read().clone();
        let bases = snaps.iter().filter(|snap| snap.maker == SnapshotMaker::Clone);
        bases.map(|snap| snap.id).try_for_each(|id| self.snapshot_delete(id))
    }
}
