//! The background scrub: reads and verifies the blocks of a mounted volume a few at a time, so that damage is found
//! while there may still be a replica to mend it from.
//!
//! One step looks at the committed image, or at a snapshot, from a cursor on. It holds no lock while it reads. A block
//! that does not match may have been freed and written again meanwhile: only if the image is still the volume's newest,
//! looked at with consistency points held off, it is a finding; else the next step looks again. What a
//! snapshot shares with its younger neighbour is skipped. Blocks written since the last CP are the next pass's.

use super::finding::{Finding, FindingKind, ImageName, Owner};
use super::image::root_of;
use crate::cp::Committed;
use crate::error::{FsError, Result};
use crate::ids::{InodeNum, SnapshotId};
use crate::inode::{INODES_PER_PAGE, Inode};
use crate::layout::{BlockPtr, FANOUT, FANOUT_U64, ImageRoot, TreeRoot};
use crate::shared::Shared;
use crate::tree::Tree;
use std::ops::ControlFlow;

/// Fewest blocks of a step: the index pages on the way to one block must fit.
const BUDGET_MIN: u64 = 16;

/// Where a scrub goes on. The default is the beginning of a pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubCursor {
    /// `None`: the active image.
    snapshot: Option<SnapshotId>,
    stage: Stage,
    /// Block of the map, the table or the inode file.
    block: u64,
    /// Inode within the page of the inode file, and block of its file.
    slot: u64,
    fbn: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Map,
    Refs,
    Quota,
    Table,
    Inodes,
}

/// What one step of a scrub did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrubStep {
    /// Where to go on; `None`: the pass is complete.
    pub next: Option<ScrubCursor>,
    /// Blocks read and verified.
    pub read_blocks: u64,
    /// Blocks in use now: about what a whole pass reads.
    pub total_blocks: u64,
    /// What is damaged.
    pub findings: Vec<Finding>,
}

/// An image being scrubbed, and the one with which it shares most.
struct Target {
    root: ImageRoot,
    table: TreeRoot,
    twin: Option<ImageRoot>,
}

/// What is done with a data block: its place in the file, and the pointer to it.
type Visit<'v, 'a> = dyn FnMut(&mut Scrub<'a>, u64, BlockPtr) -> Result<ControlFlow<()>> + 'v;

/// Where the walk stopped, for its caller to make a cursor of.
type Walk = ControlFlow<ScrubCursor>;

struct Scrub<'a> {
    shared: &'a Shared,
    image: ImageName,
    snapshot: Option<SnapshotId>,
    root: ImageRoot,
    budget: u64,
    read: u64,
    findings: Vec<Finding>,
}

/// Reads and verifies up to `budget` blocks from `from` on.
pub(crate) fn step(shared: &Shared, from: &ScrubCursor, budget: u64) -> Result<ScrubStep> {
    let mut cursor = from.clone();
    let mut step = ScrubStep { next: None, read_blocks: 0, total_blocks: 0, findings: Vec::new() };
    let budget = budget.max(BUDGET_MIN);
    loop {
        let target = {
            let committed = shared.committed.lock();
            step.total_blocks = committed.info.image.used_blocks + committed.info.snapshot_only;
            target(&committed, cursor.snapshot)
        };
        if let Some((target, image)) = target {
            let mut scrub = Scrub {
                shared,
                image,
                snapshot: cursor.snapshot,
                root: target.root,
                budget: budget - step.read_blocks.min(budget),
                read: 0,
                findings: Vec::new(),
            };
            let walked = scrub.image(&target, &cursor)?;
            step.read_blocks += scrub.read;
            step.findings.append(&mut scrub.findings);
            if let ControlFlow::Break(next) = walked {
                step.next = Some(next);
                return Ok(step);
            }
        }
        let Some(older) = older_than(shared, cursor.snapshot) else { return Ok(step) };
        cursor = ScrubCursor { snapshot: Some(older), ..ScrubCursor::default() };
        if step.read_blocks >= budget {
            step.next = Some(cursor);
            return Ok(step);
        }
    }
}

/// The image that the cursor is in; `None` for a snapshot that was deleted.
fn target(committed: &Committed, snapshot: Option<SnapshotId>) -> Option<(Target, ImageName)> {
    let info = &committed.info;
    let Some(id) = snapshot else {
        return Some((Target { root: info.image, table: info.table, twin: None }, ImageName::Active));
    };
    let entry = committed.snaps.iter().find(|snap| snap.id == id)?;
    let younger = committed.snaps.iter().find(|snap| snap.id > id).map_or(info.image, |snap| snap.image);
    let target = Target { root: entry.image, table: entry.table, twin: Some(younger) };
    Some((target, ImageName::Snapshot(entry.name.clone())))
}

fn older_than(shared: &Shared, snapshot: Option<SnapshotId>) -> Option<SnapshotId> {
    let snaps = shared.snaps.read();
    snaps.iter().rev().map(|snap| snap.id).find(|id| snapshot.is_none_or(|than| *id < than))
}

impl<'a> Scrub<'a> {
    fn image(&mut self, target: &Target, from: &ScrubCursor) -> Result<Walk> {
        let at = |stage| {
            let here = stage == from.stage;
            let snapshot = from.snapshot;
            if here { from.clone() } else { ScrubCursor { snapshot, stage, ..ScrubCursor::default() } }
        };
        let twin = |pick: fn(&ImageRoot) -> TreeRoot| target.twin.as_ref().map(pick);
        if from.stage == Stage::Map {
            let cursor = at(Stage::Map);
            if let stop @ ControlFlow::Break(_) =
                self.plain(Owner::MAP, target.root.map, twin(|image| image.map), &cursor)?
            {
                return Ok(stop);
            }
        }
        if matches!(from.stage, Stage::Map | Stage::Refs) {
            let cursor = at(Stage::Refs);
            if let stop @ ControlFlow::Break(_) =
                self.plain(Owner::REFS, target.root.refs, twin(|image| image.refs), &cursor)?
            {
                return Ok(stop);
            }
        }
        if matches!(from.stage, Stage::Map | Stage::Refs | Stage::Quota) {
            let cursor = at(Stage::Quota);
            if let stop @ ControlFlow::Break(_) =
                self.plain(Owner::QUOTA, target.root.quota, twin(|image| image.quota), &cursor)?
            {
                return Ok(stop);
            }
        }
        if from.stage != Stage::Inodes {
            let cursor = at(Stage::Table);
            if let stop @ ControlFlow::Break(_) = self.plain(Owner::TABLE, target.table, None, &cursor)? {
                return Ok(stop);
            }
        }
        self.inodes(target.root.inofile, twin(|image| image.inofile), &at(Stage::Inodes))
    }

    /// A tree of which only the blocks matter.
    fn plain(
        &mut self,
        owner: Owner,
        tree: TreeRoot,
        twin: Option<TreeRoot>,
        from: &ScrubCursor,
    ) -> Result<Walk> {
        let twin = same_height(tree, twin);
        let stopped =
            self.tree(tree.ptr, tree.height, 0, from.block, twin, owner, &mut |scrub, _, ptr| {
                scrub.verify(ptr, owner)
            })?;
        Ok(stopped.map_break(|block| ScrubCursor { block, ..from.clone() }))
    }

    /// The inode file and every file in it.
    fn inodes(&mut self, tree: TreeRoot, twin: Option<TreeRoot>, from: &ScrubCursor) -> Result<Walk> {
        let before = twin.map(Tree::from_root).transpose()?;
        let twin = same_height(tree, twin);
        // Where in the page the walk stopped, if it was inside of one.
        let mut inside = (0, 0);
        let stopped =
            self.tree(tree.ptr, tree.height, 0, from.block, twin, Owner::INODES, &mut |scrub, fbn, ptr| {
                let start = if fbn == from.block { (from.slot, from.fbn) } else { (0, 0) };
                if start == (0, 0)
                    && let ControlFlow::Break(()) = scrub.verify(ptr, Owner::INODES)?
                {
                    inside = (0, 0);
                    return Ok(ControlFlow::Break(()));
                }
                // A page that can't be read is a finding already.
                let Ok(page) = scrub.shared.io.page(ptr) else { return Ok(ControlFlow::Continue(())) };
                for slot in start.0..INODES_PER_PAGE {
                    let ino = InodeNum(fbn * INODES_PER_PAGE + slot);
                    let Ok(inode) = Inode::decode(ino, &page) else { continue };
                    let twin = before.as_ref().and_then(|tree| Inode::load(tree, &scrub.shared.io, ino).ok());
                    let twin = twin.flatten().map(|twin| root_of(&twin.tree));
                    let begin = if slot == start.0 { start.1 } else { 0 };
                    let owner = Owner::file(ino, inode.is_dir());
                    if let ControlFlow::Break(at) = scrub.file(root_of(&inode.tree), twin, begin, owner)? {
                        inside = (slot, at);
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Ok(ControlFlow::Continue(()))
            })?;
        Ok(stopped.map_break(|block| ScrubCursor { block, slot: inside.0, fbn: inside.1, ..from.clone() }))
    }

    fn file(
        &mut self,
        tree: TreeRoot,
        twin: Option<TreeRoot>,
        from: u64,
        owner: Owner,
    ) -> Result<ControlFlow<u64>> {
        let twin = same_height(tree, twin);
        self.tree(tree.ptr, tree.height, 0, from, twin, owner, &mut |scrub, _, ptr| scrub.verify(ptr, owner))
    }

    /// Visits the data blocks from `from` on that `twin` does not share, verifying index blocks on the way. Gives the
    /// block at which it stopped.
    #[allow(clippy::too_many_arguments, reason = "a recursion over a tree, its twin and the place in both")]
    fn tree(
        &mut self,
        ptr: BlockPtr,
        level: u8,
        base: u64,
        from: u64,
        twin: Option<BlockPtr>,
        owner: Owner,
        visit: &mut Visit<'_, 'a>,
    ) -> Result<ControlFlow<u64>> {
        let span = FANOUT_U64.pow(u32::from(level));
        if ptr.is_hole() || base + span <= from || twin == Some(ptr) {
            return Ok(ControlFlow::Continue(()));
        }
        if level == 0 {
            if self.read >= self.budget {
                return Ok(ControlFlow::Break(base));
            }
            return Ok(visit(self, base, ptr)?.map_break(|()| base));
        }
        if base >= from && self.verify(ptr, owner)?.is_break() {
            return Ok(ControlFlow::Break(base));
        }
        // One that can't be read is a finding already.
        let Ok(page) = self.shared.io.page(ptr) else { return Ok(ControlFlow::Continue(())) };
        let beside = twin.filter(|ptr| !ptr.is_hole()).and_then(|ptr| self.shared.io.page(ptr).ok());
        for slot in 0..FANOUT {
            let below = beside.as_ref().map(|page| BlockPtr::decode_at(page, slot));
            let child = BlockPtr::decode_at(&page, slot);
            let start = base + slot as u64 * (span / FANOUT_U64);
            let walked = self.tree(child, level - 1, start, from, below, owner, visit)?;
            if walked.is_break() {
                return Ok(walked);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Reads a block past all caches of this process. Breaks if the image is not the newest any more: the next step
    /// looks at the same place in the new one.
    fn verify(&mut self, ptr: BlockPtr, owner: Owner) -> Result<ControlFlow<()>> {
        self.read += 1;
        if self.shared.io.read_page(ptr).is_ok() {
            return Ok(ControlFlow::Continue(()));
        }
        // With this lock held no CP ends, so nothing that the image uses becomes free.
        let committed = self.shared.committed.lock();
        let current = match self.snapshot {
            None => committed.info.image == self.root,
            Some(id) => committed.snaps.iter().any(|snap| snap.id == id),
        };
        if !current {
            return Ok(ControlFlow::Break(()));
        }
        match self.shared.io.read_page(ptr) {
            Ok(_) => {}
            Err(error @ (FsError::Corrupt { .. } | FsError::Io(_))) => {
                let mut finding = owner.lost_block(&self.image, ptr.vbn, &error);
                if ptr.vbn.0 >= self.shared.blocks() {
                    finding.kind = FindingKind::BadPointer;
                }
                self.findings.push(finding);
            }
            Err(error) => return Err(error),
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Where the twin's root stands, if the two trees can be walked side by side.
fn same_height(tree: TreeRoot, twin: Option<TreeRoot>) -> Option<BlockPtr> {
    twin.filter(|twin| twin.height == tree.height).map(|twin| twin.ptr)
}
