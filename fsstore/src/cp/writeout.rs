//! Writes the nodes of trees to new blocks, and keeps account of the blocks taken and freed.

use crate::error::{FsError, Result};
use crate::ids::{Fbn, Vbn};
use crate::io::{Io, WriteBatch};
use crate::layout::{BlockPtr, FANOUT, Page, TreeRoot, checksum};
use crate::pace::Pace;
use crate::shared::Shared;
use crate::tree::{Body, Home, Node, Origin, Slot, Tree, encode_index};
use crate::walloc::Walloc;
use parking_lot::Mutex;
use std::sync::Arc;

/// Blocks taken from the allocator at once.
const SPARE_BLOCKS: u64 = 256;

/// Writes nodes to new blocks and keeps account of blocks.
pub(super) struct Writeout<'a> {
    pub(super) io: &'a Io,
    pub(super) walloc: &'a Mutex<Walloc>,
    pub(super) batch: WriteBatch<'a>,
    pace: &'a Pace,
    spare: (Vbn, u64),
    pub(super) taken: Vec<Vbn>,
    pub(super) freed: Vec<Vbn>,
}

impl<'a> Writeout<'a> {
    pub(super) fn new(shared: &'a Shared, freed: Vec<Vbn>) -> Self {
        let (io, walloc, pace) = (&*shared.io, &shared.walloc, &shared.pace);
        let batch = WriteBatch::new(&*io.disk);
        Writeout { io, walloc, batch, pace, spare: (Vbn(0), 0), taken: Vec::new(), freed }
    }

    pub(super) fn alloc(&mut self) -> Result<Vbn> {
        if self.spare.1 == 0 {
            self.spare = self.walloc.lock().alloc_run(self.io, SPARE_BLOCKS)?.ok_or(FsError::NoSpace)?;
        }
        let vbn = self.spare.0;
        self.spare = (Vbn(vbn.0 + 1), self.spare.1 - 1);
        self.taken.push(vbn);
        Ok(vbn)
    }

    pub(super) fn give_back_spare(&mut self) {
        let (start, count) = std::mem::replace(&mut self.spare, (Vbn(0), 0));
        self.walloc.lock().unalloc(start, count);
    }

    fn free_origin(&mut self, origin: &Origin) {
        match origin {
            Origin::Nothing => {}
            Origin::Block(vbn) => self.freed.push(*vbn),
            Origin::Frozen(home) => self.freed.push(place_of(home)),
        }
    }

    /// Puts a page to a new block.
    pub(super) fn put(&mut self, vbn: Vbn, page: Arc<Page>) -> Result<BlockPtr> {
        let ptr = BlockPtr { vbn, sum: checksum(&page[..]) };
        self.batch.push(vbn, page)?;
        if self.pace.wrote_block() {
            self.io.memory.moved();
        }
        Ok(ptr)
    }

    /// Writes what is dirty under `slot`; gives where it stands.
    fn flush(&mut self, slot: &Slot, level: u8, metadata: bool) -> Result<BlockPtr> {
        let node = match slot {
            Slot::Hole => return Ok(BlockPtr::HOLE),
            Slot::Disk(ptr) => return Ok(*ptr),
            Slot::Mem(node) => node,
        };
        if let Some(ptr) = node.home.get() {
            return Ok(*ptr);
        }
        let page = match &node.body {
            Body::Data(page) => page.clone(),
            Body::Index(slots) => {
                let mut children = [BlockPtr::HOLE; FANOUT];
                for (child, below) in children.iter_mut().zip(slots.iter()) {
                    *child = self.flush(below, level.saturating_sub(1), metadata)?;
                }
                Arc::new(encode_index(&children))
            }
        };
        let vbn = self.alloc()?;
        self.free_origin(&node.origin);
        let ptr = self.put(vbn, page.clone())?;
        if metadata || level > 0 {
            self.io.remember(ptr, page);
        }
        settle(node, ptr);
        Ok(ptr)
    }

    /// Writes the data pages of a tree that is not shared, and lets them go from memory.
    pub(super) fn flush_leaves(&mut self, tree: &mut Tree) -> Result<()> {
        self.leaves(&tree.root, tree.height)?;
        self.batch.finish()?;
        tree.prune(Fbn(0), usize::MAX, &mut Vec::new());
        Ok(())
    }

    fn leaves(&mut self, slot: &Slot, level: u8) -> Result<()> {
        match slot {
            Slot::Mem(node) => match &node.body {
                Body::Data(_) => self.flush(slot, level, true).map(drop),
                Body::Index(slots) => slots.iter().try_for_each(|below| self.leaves(below, level - 1)),
            },
            Slot::Hole | Slot::Disk(_) => Ok(()),
        }
    }

    pub(super) fn flush_tree(&mut self, tree: &Tree, metadata: bool) -> Result<TreeRoot> {
        Ok(TreeRoot { height: tree.height, ptr: self.flush(&tree.root, tree.height, metadata)? })
    }
}

pub(super) fn settle(node: &Node, ptr: BlockPtr) {
    assert!(node.home.set(ptr).is_ok(), "a node is written once");
}

pub(super) fn place_of(home: &Home) -> Vbn {
    home.get().expect("a frozen node was written by the CP before this one").vbn
}
