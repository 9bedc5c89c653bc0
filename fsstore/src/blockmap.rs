//! The block map: one bit per block, a file whose frozen copies every snapshot keeps.
//!
//! A block is free when neither the active image's map nor any snapshot's has its bit. A block that a snapshot
//! holds is never written again, so a bit in two maps means the same block, and a difference of snapshots
//! is a difference of maps. Subtrees that two maps share are skipped: cost follows the change.

use crate::error::{FsError, Result};
use crate::ids::{Fbn, InodeNum, Vbn};
use crate::io::Io;
use crate::layout::{BlockPtr, FANOUT, FANOUT_U64, MAP_BLOCKS_PER_PAGE, Page};
use crate::tree::{Body, Edit, Slot, Tree};
use crate::volume::VbnRange;
use std::collections::VecDeque;
use std::sync::Arc;

/// Words of 64 bits in a map page.
pub(crate) const WORDS: usize = 512;
/// The bits of one map page.
pub(crate) type Bits = [u64; WORDS];

/// Height of the map's tree for a new volume of `blocks`; it grows with the first use of a block that it does not cover.
pub(crate) fn map_height(blocks: u64) -> u8 {
    let mut height = 0;
    let mut covered = MAP_BLOCKS_PER_PAGE;
    while covered < blocks {
        covered *= FANOUT_U64;
        height += 1;
    }
    height
}

/// Pages and index pages of a whole map: what a CP could have to write of it at the most.
pub(crate) fn map_blocks_max(blocks: u64) -> u64 {
    let mut level = blocks.div_ceil(MAP_BLOCKS_PER_PAGE);
    let mut total = level;
    while level > 1 {
        level = level.div_ceil(FANOUT_U64);
        total += level;
    }
    total
}

/// Map page and bit of a block.
pub(crate) fn place(vbn: Vbn) -> (Fbn, u64) {
    (Fbn(vbn.0 / MAP_BLOCKS_PER_PAGE), vbn.0 % MAP_BLOCKS_PER_PAGE)
}

/// Sets or clears the bit of `vbn`.
///
/// # Errors
/// [`FsError::Corrupt`] for a block that is not there, or whose bit is as it shall be already: two places point to it.
pub(crate) fn mark(map: &mut Tree, edit: &mut Edit<'_>, vbn: Vbn, used: bool) -> Result<()> {
    let corrupt = FsError::Corrupt { ino: InodeNum(0), vbn };
    if vbn.0 >= edit.io.blocks() {
        return Err(corrupt);
    }
    let (fbn, bit) = place(vbn);
    let page = map.page_mut(edit, fbn)?;
    let byte = &mut page[usize::try_from(bit / 8).unwrap_or(0)];
    let mask = 1u8 << (bit % 8);
    if (*byte & mask != 0) == used {
        return Err(corrupt);
    }
    if used {
        *byte |= mask;
    } else {
        *byte &= !mask;
    }
    Ok(())
}

/// Whether `map` has the bit of `vbn`.
pub(crate) fn is_set(map: &Tree, io: &Io, vbn: Vbn) -> Result<bool> {
    let (fbn, bit) = place(vbn);
    let page = map.page(io, fbn)?;
    Ok(page.is_some_and(|page| page[usize::try_from(bit / 8).unwrap_or(0)] & (1 << (bit % 8)) != 0))
}

/// Adds the bits of a page to `bits`.
pub(crate) fn add_page(bits: &mut Bits, page: &Page) {
    for (word, bytes) in bits.iter_mut().zip(page.chunks_exact(8)) {
        *word |= u64::from_le_bytes(bytes.try_into().unwrap_or([0; 8]));
    }
}

/// A map page in which `wanted` differ from `without`.
struct Leaf {
    page: u64,
    wanted: Vec<Slot>,
    without: Vec<Slot>,
}

/// Blocks that any of `wanted` uses and none of `without`, as runs in block order.
pub(crate) struct DiffRuns {
    io: Arc<Io>,
    leaves: std::vec::IntoIter<Leaf>,
    ready: VecDeque<VbnRange>,
}

impl DiffRuns {
    pub(crate) fn new(io: Arc<Io>, wanted: &[Tree], without: &[Tree]) -> Result<DiffRuns> {
        // Maps from before the volume grew may be lower.
        let height = wanted.iter().chain(without).map(|tree| tree.height).max().unwrap_or(0);
        let roots = |trees: &[Tree]| trees.iter().map(|tree| tree.root_at(height)).collect::<Vec<_>>();
        let mut leaves = Vec::new();
        collect(&io, height, 0, roots(wanted), roots(without), &mut leaves)?;
        Ok(DiffRuns { io, leaves: leaves.into_iter(), ready: VecDeque::new() })
    }

    fn load(&mut self, leaf: &Leaf) -> Result<()> {
        let mut bits: Bits = [0; WORDS];
        let mut minus: Bits = [0; WORDS];
        for (slots, into) in [(&leaf.wanted, &mut bits), (&leaf.without, &mut minus)] {
            for slot in slots {
                if let Some(page) = page_of(slot, &self.io)? {
                    add_page(into, &page);
                }
            }
        }
        bits.iter_mut().zip(minus).for_each(|(word, minus)| *word &= !minus);
        runs(&bits, leaf.page * MAP_BLOCKS_PER_PAGE, &mut self.ready);
        Ok(())
    }
}

impl DiffRuns {
    /// All blocks of the runs.
    pub(crate) fn blocks(self) -> Result<Vec<Vbn>> {
        let mut blocks = Vec::new();
        for run in self {
            let run = run?;
            blocks.extend((run.start.0..run.start.0 + run.blocks).map(Vbn));
        }
        Ok(blocks)
    }

    /// How many blocks the runs have.
    pub(crate) fn count_blocks(self) -> Result<u64> {
        self.map(|run| Ok(run?.blocks)).sum()
    }
}

impl Iterator for DiffRuns {
    type Item = Result<VbnRange>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() {
            let leaf = self.leaves.next()?;
            if let Err(error) = self.load(&leaf) {
                return Some(Err(error));
            }
        }
        self.ready.pop_front().map(Ok)
    }
}

/// The runs of set bits.
pub(crate) fn runs(bits: &Bits, base: u64, out: &mut VecDeque<VbnRange>) {
    let mut start: Option<u64> = None;
    for (index, word) in bits.iter().enumerate() {
        let at = base + index as u64 * 64;
        if (*word == 0 && start.is_none()) || (*word == u64::MAX && start.is_some()) {
            continue;
        }
        for bit in 0..64 {
            match (word >> bit & 1 == 1, start) {
                (true, None) => start = Some(at + bit),
                (false, Some(from)) => {
                    out.push_back(VbnRange { start: Vbn(from), blocks: at + bit - from });
                    start = None;
                }
                _ => {}
            }
        }
    }
    if let Some(from) = start {
        out.push_back(VbnRange { start: Vbn(from), blocks: base + MAP_BLOCKS_PER_PAGE - from });
    }
}

/// Finds the pages that differ, going down only where the trees do.
fn collect(
    io: &Io,
    level: u8,
    index: u64,
    mut wanted: Vec<Slot>,
    without: Vec<Slot>,
    leaves: &mut Vec<Leaf>,
) -> Result<()> {
    wanted.retain(|slot| !matches!(slot, Slot::Hole) && !without.iter().any(|other| same(slot, other)));
    let mut kept: Vec<Slot> = Vec::new();
    for slot in wanted {
        if !kept.iter().any(|other| same(&slot, other)) {
            kept.push(slot);
        }
    }
    if kept.is_empty() {
        return Ok(());
    }
    if level == 0 {
        leaves.push(Leaf { page: index, wanted: kept, without });
        return Ok(());
    }
    let wanted: Vec<_> = kept.iter().map(|slot| children(slot, io)).collect::<Result<_>>()?;
    let without: Vec<_> = without.iter().map(|slot| children(slot, io)).collect::<Result<_>>()?;
    for child in 0..FANOUT {
        let pick = |sets: &[Vec<Slot>]| {
            sets.iter().filter_map(|slots| slots.get(child).cloned()).collect::<Vec<_>>()
        };
        let below = index * FANOUT_U64 + child as u64;
        collect(io, level - 1, below, pick(&wanted), pick(&without), leaves)?;
    }
    Ok(())
}

/// Whether two slots are surely the same block.
fn same(a: &Slot, b: &Slot) -> bool {
    match (a, b) {
        (Slot::Hole, Slot::Hole) => true,
        (Slot::Disk(a), Slot::Disk(b)) => a == b,
        (Slot::Mem(a), Slot::Mem(b)) => Arc::ptr_eq(a, b),
        (Slot::Mem(node), Slot::Disk(ptr)) | (Slot::Disk(ptr), Slot::Mem(node)) => {
            node.home.get() == Some(ptr)
        }
        _ => false,
    }
}

fn children(slot: &Slot, io: &Io) -> Result<Vec<Slot>> {
    Ok(match slot {
        Slot::Hole => Vec::new(),
        Slot::Disk(ptr) => {
            let page = io.page(*ptr)?;
            (0..FANOUT).map(|index| Slot::from_ptr(BlockPtr::decode_at(&page, index))).collect()
        }
        Slot::Mem(node) => match &node.body {
            Body::Index(slots) => slots.to_vec(),
            Body::Data(_) => Vec::new(),
        },
    })
}

fn page_of(slot: &Slot, io: &Io) -> Result<Option<Arc<Page>>> {
    Ok(match slot {
        Slot::Hole => None,
        Slot::Disk(ptr) => Some(io.page(*ptr)?),
        Slot::Mem(node) => match &node.body {
            Body::Data(page) => Some(page.clone()),
            Body::Index(_) => None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_join_across_words_and_end_with_the_page() {
        let mut bits: Bits = [0; WORDS];
        bits[0] = 1 << 63;
        bits[1] = u64::MAX;
        bits[2] = 0b101;
        bits[WORDS - 1] = 1 << 63;
        let mut out = VecDeque::new();
        runs(&bits, 0, &mut out);
        let got: Vec<_> = out.iter().map(|run| (run.start.0, run.blocks)).collect();
        assert_eq!(got, [(63, 66), (130, 1), (MAP_BLOCKS_PER_PAGE - 1, 1)]);
    }

    #[test]
    fn height_follows_the_size() {
        assert_eq!(map_height(1), 0);
        assert_eq!(map_height(MAP_BLOCKS_PER_PAGE), 0);
        assert_eq!(map_height(MAP_BLOCKS_PER_PAGE + 1), 1);
        assert_eq!(map_height(MAP_BLOCKS_PER_PAGE * 256), 1);
        assert_eq!(map_blocks_max(MAP_BLOCKS_PER_PAGE * 257), 257 + 2 + 1);
    }
}
