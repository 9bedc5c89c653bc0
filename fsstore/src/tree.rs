//! The buffer tree of one file: copy-on-write in memory as on disk.
//!
//! A slot is a hole, a block on disk, or a node in memory. A node belongs to the *generation* (the CP being
//! collected) in which it was made. While its generation is the open one it is changed in place; once a CP froze
//! it, a change makes a new node, so the CP writes exactly what it froze while operations go on. When the CP has
//! written a node it sets `home`, which turns the node clean for everybody who still shares it.

use crate::error::{FsError, Result};
use crate::ids::{BLOCK_SIZE, Fbn, InodeNum, Vbn};
use crate::io::Io;
use crate::layout::{BlockPtr, FANOUT, FANOUT_U64, Page, TreeRoot, zero_page};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// Tallest tree: 256^5 blocks of 4 KiB are far more than the largest file.
pub(crate) const HEIGHT_MAX: u8 = 5;

/// Memory of a data page that waits for a CP, in bytes.
pub(crate) const DATA_NODE_BYTES: u64 = (BLOCK_SIZE + size_of::<Node>() + 96) as u64;
/// The same of an index.
pub(crate) const INDEX_NODE_BYTES: u64 = (FANOUT * size_of::<Slot>() + size_of::<Node>() + 96) as u64;

/// Where a block of a file is.
#[derive(Clone)]
pub(crate) enum Slot {
    Hole,
    Disk(BlockPtr),
    Mem(Arc<Node>),
}

/// A block in memory that is not (or was not, until `home` was set) on disk in this form.
pub(crate) struct Node {
    pub(crate) body: Body,
    /// The block on disk that this one replaces.
    pub(crate) origin: Origin,
    pub(crate) generation: u64,
    pub(crate) home: Home,
}

/// Where a CP wrote a node. Whoever only needs to know that shares this and not the node, which would keep its page and, through
/// what it replaced, those of all CPs before in memory.
pub(crate) type Home = Arc<OnceLock<BlockPtr>>;

#[derive(Clone)]
pub(crate) enum Body {
    Data(Arc<Page>),
    Index(Box<[Slot; FANOUT]>),
}

/// What becomes free when a node is written or dropped.
#[derive(Clone)]
pub(crate) enum Origin {
    Nothing,
    Block(Vbn),
    /// A frozen node whose place is known once its CP is done.
    Frozen(Home),
}

/// What operations since the last freeze did to blocks; the next CP settles it.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Blocks that the new image does not use any more.
    pub(crate) freed: Vec<Vbn>,
    /// The same, of nodes whose place the running CP is about to say.
    pub(crate) freed_frozen: Vec<Home>,
    /// Runs of blocks that operations have allocated and written themselves.
    pub(crate) allocated: Vec<(Vbn, u64)>,
    /// Runs of blocks that got one more user.
    pub(crate) adopted: Vec<(Vbn, u64)>,
    /// Nodes that the CP will have to find a block for.
    pub(crate) dirty_blocks: u64,
    /// Those of them that are indexes.
    pub(crate) dirty_indexes: u64,
}

impl Ledger {
    pub(crate) fn is_empty(&self) -> bool {
        self.freed.is_empty()
            && self.freed_frozen.is_empty()
            && self.allocated.is_empty()
            && self.adopted.is_empty()
            && self.dirty_blocks == 0
    }

    /// Bytes of memory that wait for the next CP, inodes apart.
    pub(crate) fn bytes(&self) -> u64 {
        let lists = (self.freed.len() + self.freed_frozen.len()) * size_of::<Vbn>()
            + (self.allocated.len() + self.adopted.len()) * size_of::<(Vbn, u64)>();
        let data = self.dirty_blocks - self.dirty_indexes;
        data * DATA_NODE_BYTES + self.dirty_indexes * INDEX_NODE_BYTES + lists as u64
    }

    /// A node that the CP has to find a block for.
    fn node(&mut self, body: Body, origin: Origin, generation: u64) -> Node {
        self.dirty_blocks += 1;
        self.dirty_indexes += u64::from(matches!(body, Body::Index(_)));
        Node::new(body, origin, generation)
    }

    /// It is not needed any more.
    fn forget(&mut self, node: &Node) {
        self.dirty_blocks -= 1;
        self.dirty_indexes -= u64::from(matches!(node.body, Body::Index(_)));
        self.free_origin(&node.origin);
    }

    /// One more user of a block.
    pub(crate) fn adopt(&mut self, vbn: Vbn) {
        match self.adopted.last_mut() {
            Some((start, len)) if start.0 + *len == vbn.0 => *len += 1,
            _ => self.adopted.push((vbn, 1)),
        }
    }

    fn free_origin(&mut self, origin: &Origin) {
        match origin {
            Origin::Nothing => {}
            Origin::Block(vbn) => self.freed.push(*vbn),
            Origin::Frozen(home) => self.freed_frozen.push(home.clone()),
        }
    }
}

/// What a change of a tree needs: blocks, the open generation, the ledger.
pub(crate) struct Edit<'a> {
    pub(crate) io: &'a Io,
    pub(crate) generation: u64,
    pub(crate) ledger: &'a mut Ledger,
}

/// What a reader finds at a block of a file that is no hole.
pub(crate) enum Found {
    Disk(BlockPtr),
    Page(Arc<Page>),
}

/// A file's blocks.
#[derive(Clone)]
pub(crate) struct Tree {
    pub(crate) height: u8,
    pub(crate) root: Slot,
}

/// Blocks under a slot of a tree at `level` (0: a data block).
fn span(level: u8) -> u64 {
    FANOUT_U64.pow(u32::from(level))
}

/// Which slot of an index at `level` (at least 1) leads to `fbn`.
fn slot_of(fbn: u64, level: u8) -> usize {
    usize::try_from(fbn / span(level - 1) % FANOUT_U64).unwrap_or(0)
}

impl Node {
    fn new(body: Body, origin: Origin, generation: u64) -> Self {
        Node { body, origin, generation, home: Home::default() }
    }
}

impl Body {
    /// The body of a node of `generation` that replaces this one's. What an earlier CP has written below is left to the disk: a
    /// tree that is always being read while it changes can't be pruned. The blocks of the last CP may be on their way yet.
    fn again(&self, generation: u64) -> Body {
        let Body::Index(slots) = self else { return self.clone() };
        let again = |slot: &Slot| match slot {
            Slot::Mem(node) if node.generation + 1 < generation => Slot::from_ptr(pointer_of(slot)),
            Slot::Mem(_) | Slot::Hole | Slot::Disk(_) => slot.clone(),
        };
        Body::Index(Box::new(std::array::from_fn(|index| again(&slots[index]))))
    }
}

impl Slot {
    pub(crate) fn from_ptr(ptr: BlockPtr) -> Slot {
        if ptr.is_hole() { Slot::Hole } else { Slot::Disk(ptr) }
    }
}

fn decode_index(page: &Page) -> Box<[Slot; FANOUT]> {
    Box::new(std::array::from_fn(|slot| Slot::from_ptr(BlockPtr::decode_at(page, slot))))
}

/// The page of an index whose children are all on disk.
pub(crate) fn encode_index(children: &[BlockPtr; FANOUT]) -> Page {
    let mut page = zero_page();
    for (slot, ptr) in children.iter().enumerate() {
        ptr.encode_at(&mut page, slot);
    }
    page
}

impl Tree {
    pub(crate) const EMPTY: Tree = Tree { height: 0, root: Slot::Hole };

    pub(crate) fn from_root(root: TreeRoot) -> Result<Tree> {
        if root.height > HEIGHT_MAX {
            return Err(FsError::Corrupt { ino: InodeNum(0), vbn: root.ptr.vbn });
        }
        Ok(Tree { height: root.height, root: Slot::from_ptr(root.ptr) })
    }

    /// Calls `visit` for each of `count` blocks from `start` that is no hole, in order. Its cost follows what is there:
    /// a hole of any size is one step.
    pub(crate) fn for_range(
        &self,
        io: &Io,
        start: Fbn,
        count: u64,
        visit: &mut dyn FnMut(Fbn, Found) -> Result<()>,
    ) -> Result<()> {
        let end = start.0.saturating_add(count).min(span(self.height));
        if start.0 >= end {
            return Ok(());
        }
        visit_range(&self.root, self.height, io, start.0..end, 0, visit)
    }

    /// How many of `count` blocks from `start` are no holes.
    pub(crate) fn count(&self, io: &Io, start: Fbn, count: u64) -> Result<u64> {
        let mut there = 0;
        self.for_range(io, start, count, &mut |_, _| {
            there += 1;
            Ok(())
        })?;
        Ok(there)
    }

    /// The first block at or after `from` that is a hole (`hole`), or that is none; `None` if there is none below `end`.
    /// It looks at one index page for each whole subtree that it must pass over, at the most.
    pub(crate) fn seek(&self, io: &Io, from: Fbn, end: Fbn, hole: bool) -> Result<Option<Fbn>> {
        let covered = span(self.height).min(end.0);
        let found = if from.0 < covered {
            seek_in(&self.root, self.height, io, from.0..covered, 0, hole)?
        } else {
            None
        };
        // Behind what the tree covers, everything is a hole.
        let behind = || (hole && covered < end.0).then(|| covered.max(from.0)).filter(|fbn| *fbn < end.0);
        Ok(found.or_else(behind).map(Fbn))
    }

    /// Calls `visit` with each block of the file that is not the same on disk as in `older`: its number, what was there and
    /// what is there. Skips every subtree that both share, so the cost follows the difference.
    pub(crate) fn diff(
        &self,
        older: &Tree,
        io: &Io,
        visit: &mut dyn FnMut(Fbn, BlockPtr, BlockPtr) -> Result<()>,
    ) -> Result<()> {
        let height = self.height.max(older.height);
        let lift = |tree: &Tree| (tree.height, tree.root.clone());
        diff_at(lift(older), lift(self), height, 0, io, visit)
    }

    /// One block, through the metadata cache; `None` for a hole.
    pub(crate) fn page(&self, io: &Io, fbn: Fbn) -> Result<Option<Arc<Page>>> {
        let mut page = None;
        self.for_range(io, fbn, 1, &mut |_, found| {
            page = match found {
                Found::Disk(ptr) => Some(io.page(ptr)?),
                Found::Page(page) => Some(page),
            };
            Ok(())
        })?;
        Ok(page)
    }

    /// One block to change; a hole becomes a page of zeros.
    pub(crate) fn page_mut(&mut self, edit: &mut Edit<'_>, fbn: Fbn) -> Result<&mut Page> {
        self.grow(edit, fbn)?;
        let mut level = self.height;
        let mut slot = &mut self.root;
        loop {
            let node = own(slot, level, edit)?;
            match &mut node.body {
                Body::Data(page) => return Ok(Arc::make_mut(page)),
                Body::Index(slots) => {
                    slot = &mut slots[slot_of(fbn.0, level)];
                    level -= 1;
                }
            }
        }
    }

    /// Puts `new` at `fbn`, freeing what was there; says whether it was a hole.
    pub(crate) fn replace(&mut self, edit: &mut Edit<'_>, fbn: Fbn, new: Slot) -> Result<bool> {
        self.grow(edit, fbn)?;
        let mut level = self.height;
        let mut slot = &mut self.root;
        while level > 0 {
            let node = own(slot, level, edit)?;
            let Body::Index(slots) = &mut node.body else { unreachable!("levels above 0 hold indexes") };
            slot = &mut slots[slot_of(fbn.0, level)];
            level -= 1;
        }
        let old = std::mem::replace(slot, new);
        let was_hole = matches!(old, Slot::Hole);
        release(&old, 0, edit)?;
        Ok(was_hole)
    }

    /// Puts a whole new data page at `fbn` without reading the old one; says whether it was a hole.
    pub(crate) fn put_page(&mut self, edit: &mut Edit<'_>, fbn: Fbn, page: Arc<Page>) -> Result<bool> {
        let node = edit.ledger.node(Body::Data(page), Origin::Nothing, edit.generation);
        self.replace(edit, fbn, Slot::Mem(Arc::new(node)))
    }

    /// Drops all blocks from `end` on; gives the number of data blocks dropped.
    pub(crate) fn truncate(&mut self, edit: &mut Edit<'_>, end: Fbn) -> Result<u64> {
        if end.0 == 0 {
            let old = std::mem::replace(self, Tree::EMPTY);
            return release(&old.root, old.height, edit);
        }
        self.punch(edit, end, Fbn(u64::MAX))
    }

    /// Drops the blocks from `start` up to but without `end`; gives the number of data blocks dropped. Changes no page
    /// where nothing is, and leaves no index without a block below it.
    pub(crate) fn punch(&mut self, edit: &mut Edit<'_>, start: Fbn, end: Fbn) -> Result<u64> {
        let end = end.0.min(span(self.height));
        if start.0 >= end {
            return Ok(0);
        }
        if seek_in(&self.root, self.height, edit.io, start.0..end, 0, false)?.is_none() {
            return Ok(0);
        }
        cut(&mut self.root, self.height, edit, start.0..end)
    }

    /// Makes the tree tall enough for `fbn`.
    fn grow(&mut self, edit: &mut Edit<'_>, fbn: Fbn) -> Result<()> {
        if fbn.0 >= span(HEIGHT_MAX) {
            return Err(FsError::FileTooBig);
        }
        while fbn.0 >= span(self.height) {
            let old = std::mem::replace(&mut self.root, Slot::Hole);
            self.height += 1;
            if !matches!(old, Slot::Hole) {
                let mut slots: Box<[Slot; FANOUT]> = Box::new(std::array::from_fn(|_| Slot::Hole));
                slots[0] = old;
                let node = edit.ledger.node(Body::Index(slots), Origin::Nothing, edit.generation);
                self.root = Slot::Mem(Arc::new(node));
            }
        }
        Ok(())
    }

    /// The root that this tree would have if it were `height` tall (at least its own height).
    pub(crate) fn root_at(&self, height: u8) -> Slot {
        let mut root = self.root.clone();
        for _ in self.height..height {
            if !matches!(root, Slot::Hole) {
                let mut slots: Box<[Slot; FANOUT]> = Box::new(std::array::from_fn(|_| Slot::Hole));
                slots[0] = root;
                root = Slot::Mem(Arc::new(Node::new(Body::Index(slots), Origin::Nothing, 0)));
            }
        }
        root
    }

    /// Forgets nodes that a CP has written, for their blocks stand on disk: from block `from` on, looking at `budget` slots at
    /// the most. Gives where to go on; what was forgotten is in `dead`, for whoever holds a lock had better not free it.
    pub(crate) fn prune(&mut self, from: Fbn, mut budget: usize, dead: &mut Vec<Arc<Node>>) -> Option<Fbn> {
        prune_slot(&mut self.root, self.height, 0, from.0, &mut budget, dead).map(Fbn)
    }
}

fn prune_slot(
    slot: &mut Slot,
    level: u8,
    base: u64,
    from: u64,
    budget: &mut usize,
    dead: &mut Vec<Arc<Node>>,
) -> Option<u64> {
    let Slot::Mem(node) = slot else { return None };
    if let Some(ptr) = node.home.get().copied() {
        if let Slot::Mem(node) = std::mem::replace(slot, Slot::Disk(ptr)) {
            dead.push(node);
        }
        return None;
    }
    let Some(Node { body: Body::Index(slots), .. }) = Arc::get_mut(node) else { return None };
    let first = slot_of(from.max(base), level);
    for (index, below) in slots.iter_mut().enumerate().skip(first) {
        let at = base + index as u64 * span(level - 1);
        if *budget == 0 {
            return Some(at);
        }
        *budget -= 1;
        let rest = prune_slot(below, level - 1, at, from, budget, dead);
        if rest.is_some() {
            return rest;
        }
    }
    None
}

/// The part of `range` that the child `index` of a node at `level`, whose first block is `base`, covers, and the child's
/// first block.
fn part_of(range: &Range<u64>, level: u8, base: u64, index: usize) -> (u64, Range<u64>) {
    let width = span(level - 1);
    let from = base + index as u64 * width;
    (from, range.start.max(from)..range.end.min(from + width))
}

/// The children of an index; `None` for a hole or a data block.
fn below<'s>(slot: &'s Slot, level: u8, io: &Io) -> Result<Option<Cow<'s, [Slot; FANOUT]>>> {
    Ok(match slot {
        Slot::Disk(ptr) if level > 0 => Some(Cow::Owned(*decode_index(&*io.page(*ptr)?))),
        Slot::Mem(node) => match &node.body {
            Body::Index(slots) => Some(Cow::Borrowed(slots)),
            Body::Data(_) => None,
        },
        _ => None,
    })
}

/// The first block of `range` (not empty, below `slot`) that is a hole, or that is none.
fn seek_in(slot: &Slot, level: u8, io: &Io, range: Range<u64>, base: u64, hole: bool) -> Result<Option<u64>> {
    if matches!(slot, Slot::Hole) {
        return Ok(hole.then_some(range.start));
    }
    let Some(slots) = below(slot, level, io)? else { return Ok((!hole).then_some(range.start)) };
    for index in slot_of(range.start, level)..=slot_of(range.end - 1, level) {
        let (from, part) = part_of(&range, level, base, index);
        if let Some(found) = seek_in(&slots[index], level - 1, io, part, from, hole)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn visit_range(
    slot: &Slot,
    level: u8,
    io: &Io,
    range: Range<u64>,
    base: u64,
    visit: &mut dyn FnMut(Fbn, Found) -> Result<()>,
) -> Result<()> {
    match slot {
        Slot::Hole => Ok(()),
        Slot::Disk(ptr) if level == 0 => visit(Fbn(base), Found::Disk(*ptr)),
        Slot::Disk(ptr) => {
            let page = io.page(*ptr)?;
            for index in slot_of(range.start, level)..=slot_of(range.end - 1, level) {
                let (from, part) = part_of(&range, level, base, index);
                let below = Slot::from_ptr(BlockPtr::decode_at(&page, index));
                visit_range(&below, level - 1, io, part, from, visit)?;
            }
            Ok(())
        }
        Slot::Mem(node) => match &node.body {
            Body::Data(page) => visit(Fbn(base), Found::Page(page.clone())),
            Body::Index(slots) => {
                for index in slot_of(range.start, level)..=slot_of(range.end - 1, level) {
                    let (from, part) = part_of(&range, level, base, index);
                    visit_range(&slots[index], level - 1, io, part, from, visit)?;
                }
                Ok(())
            }
        },
    }
}

/// The block that a slot of a tree on disk points to.
fn pointer_of(slot: &Slot) -> BlockPtr {
    match slot {
        Slot::Hole => BlockPtr::HOLE,
        Slot::Disk(ptr) => *ptr,
        Slot::Mem(node) => node.home.get().copied().unwrap_or(BlockPtr::HOLE),
    }
}

/// The part of [`Tree::diff`] at `level`. A tree that is not that tall has its root in the first slot.
fn diff_at(
    (old_height, old): (u8, Slot),
    (new_height, new): (u8, Slot),
    level: u8,
    base: u64,
    io: &Io,
    visit: &mut dyn FnMut(Fbn, BlockPtr, BlockPtr) -> Result<()>,
) -> Result<()> {
    let (was, is) = (pointer_of(&old), pointer_of(&new));
    if was == is && (old_height == new_height || was.is_hole()) {
        return Ok(());
    }
    if level == 0 {
        return visit(Fbn(base), was, is);
    }
    let children = |height: u8, slot: Slot| -> Result<(u8, Vec<Slot>)> {
        if height < level {
            return Ok((height, vec![slot]));
        }
        let ptr = pointer_of(&slot);
        if ptr.is_hole() {
            return Ok((level - 1, Vec::new()));
        }
        let page = io.page(ptr)?;
        let slots = (0..FANOUT).map(|index| Slot::from_ptr(BlockPtr::decode_at(&page, index)));
        Ok((level - 1, slots.collect()))
    };
    let (old_height, old) = children(old_height, old)?;
    let (new_height, new) = children(new_height, new)?;
    for index in 0..old.len().max(new.len()) {
        let old = old.get(index).cloned().unwrap_or(Slot::Hole);
        let new = new.get(index).cloned().unwrap_or(Slot::Hole);
        // Beside the root of a lower tree there are only holes, which have any height.
        let (old_height, new_height) =
            if index == 0 { (old_height, new_height) } else { (level - 1, level - 1) };
        let from = base + index as u64 * span(level - 1);
        diff_at((old_height, old), (new_height, new), level - 1, from, io, visit)?;
    }
    Ok(())
}

/// Makes `slot` a node of the open generation that nobody shares.
fn own<'s>(slot: &'s mut Slot, level: u8, edit: &mut Edit<'_>) -> Result<&'s mut Node> {
    let replacement = match slot {
        Slot::Hole => {
            let body = if level == 0 {
                Body::Data(Arc::new(zero_page()))
            } else {
                Body::Index(Box::new(std::array::from_fn(|_| Slot::Hole)))
            };
            Some(edit.ledger.node(body, Origin::Nothing, edit.generation))
        }
        Slot::Disk(ptr) => {
            let page = edit.io.page(*ptr)?;
            let body = if level == 0 { Body::Data(page) } else { Body::Index(decode_index(&page)) };
            Some(edit.ledger.node(body, Origin::Block(ptr.vbn), edit.generation))
        }
        Slot::Mem(node) if node.generation < edit.generation => {
            let origin = match node.home.get() {
                Some(ptr) => Origin::Block(ptr.vbn),
                None => Origin::Frozen(node.home.clone()),
            };
            Some(edit.ledger.node(node.body.again(edit.generation), origin, edit.generation))
        }
        // A reader holds it: it keeps the old content, and the new node stands in for this one.
        Slot::Mem(node) => match Arc::get_mut(node) {
            Some(_) => None,
            None => Some(Node::new(node.body.again(edit.generation), node.origin.clone(), edit.generation)),
        },
    };
    if let Some(node) = replacement {
        *slot = Slot::Mem(Arc::new(node));
    }
    let Slot::Mem(node) = slot else { unreachable!("the slot was just made a node") };
    Ok(Arc::get_mut(node).expect("a node that was just made has one owner"))
}

/// Frees everything under `slot`; gives the number of data blocks.
fn release(slot: &Slot, level: u8, edit: &mut Edit<'_>) -> Result<u64> {
    match slot {
        Slot::Hole => Ok(0),
        Slot::Disk(ptr) => {
            let mut dropped = u64::from(level == 0);
            if level > 0 {
                let page = edit.io.page(*ptr)?;
                for index in 0..FANOUT {
                    let below = Slot::from_ptr(BlockPtr::decode_at(&page, index));
                    dropped += release(&below, level - 1, edit)?;
                }
            }
            edit.ledger.freed.push(ptr.vbn);
            Ok(dropped)
        }
        Slot::Mem(node) => {
            let mut dropped = u64::from(level == 0);
            if let Body::Index(slots) = &node.body {
                for below in slots.iter() {
                    dropped += release(below, level - 1, edit)?;
                }
            }
            if node.generation == edit.generation {
                edit.ledger.forget(node);
            } else if let Some(ptr) = node.home.get() {
                edit.ledger.freed.push(ptr.vbn);
            } else {
                edit.ledger.freed_frozen.push(node.home.clone());
            }
            Ok(dropped)
        }
    }
}

/// Drops what a subtree holds of `range` (relative to the subtree, not empty and within its span).
fn cut(slot: &mut Slot, level: u8, edit: &mut Edit<'_>, range: Range<u64>) -> Result<u64> {
    if matches!(slot, Slot::Hole) {
        return Ok(0);
    }
    if range == (0..span(level)) {
        let old = std::mem::replace(slot, Slot::Hole);
        return release(&old, level, edit);
    }
    let node = own(slot, level, edit)?;
    let Body::Index(slots) = &mut node.body else { unreachable!("levels above 0 hold indexes") };
    let mut dropped = 0;
    for index in slot_of(range.start, level)..=slot_of(range.end - 1, level) {
        let (from, part) = part_of(&range, level, 0, index);
        dropped += cut(&mut slots[index], level - 1, edit, part.start - from..part.end - from)?;
    }
    if slots.iter().all(|below| matches!(below, Slot::Hole)) {
        let old = std::mem::replace(slot, Slot::Hole);
        release(&old, level, edit)?;
    }
    Ok(dropped)
}

/// The first `len` bytes of a page, with the rest zero.
pub(crate) fn page_from(bytes: &[u8]) -> Arc<Page> {
    let mut page = Arc::new(zero_page());
    let len = bytes.len().min(BLOCK_SIZE);
    Arc::make_mut(&mut page)[..len].copy_from_slice(&bytes[..len]);
    page
}
