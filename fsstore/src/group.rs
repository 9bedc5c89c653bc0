//! Verified blocks as they are kept in memory: alone, or several neighbours in one buffer; and sixteen places of the disk
//! as one thing to find, so that a large READ asks the cache once for them and not sixteen times.

use crate::ids::Vbn;
use crate::layout::{BlockPtr, Page, zero_page};
use std::io::IoSliceMut;
use std::sync::Arc;

/// Places in a group: 64 KiB.
pub(crate) const GROUP_BLOCKS: usize = 16;

/// The group of a place.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct GroupNum(u64);

impl GroupNum {
    pub(crate) fn of(vbn: Vbn) -> GroupNum {
        GroupNum(vbn.0 / GROUP_BLOCKS as u64)
    }
}

/// Cuts `blocks` neighbours from `start` on into those of one group each: how many they are.
pub(crate) fn by_group(start: Vbn, blocks: usize) -> impl Iterator<Item = usize> {
    let mut rest = blocks;
    let mut most = GROUP_BLOCKS - usize::try_from(start.0 % GROUP_BLOCKS as u64).unwrap_or(0);
    std::iter::from_fn(move || {
        let now = rest.min(most);
        (rest, most) = (rest - now, GROUP_BLOCKS);
        (now > 0).then_some(now)
    })
}

/// A block where a disk takes it from and puts it to without a copy by the host.
#[derive(Clone)]
#[repr(align(4096))]
struct Aligned(Page);

/// Neighbours on disk in one buffer, of one group at the most: what is left of a group in the cache is then all that it
/// holds in memory, or nearly.
#[derive(Clone)]
pub(crate) struct Run(Arc<Vec<Aligned>>);

impl Run {
    /// One for each group in these blocks, as `fill` fills them: with one slice for each block.
    pub(crate) fn read<E>(
        start: Vbn,
        blocks: usize,
        fill: impl FnOnce(&mut [IoSliceMut<'_>]) -> Result<(), E>,
    ) -> Result<Vec<Run>, E> {
        let mut runs: Vec<_> =
            by_group(start, blocks).map(|blocks| vec![Aligned(zero_page()); blocks]).collect();
        let mut slices: Vec<_> =
            runs.iter_mut().flatten().map(|block| IoSliceMut::new(&mut block.0[..])).collect();
        fill(&mut slices)?;
        Ok(runs.into_iter().map(|run| Run(Arc::new(run))).collect())
    }

    pub(crate) fn blocks(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn page(&self, at: usize) -> &Page {
        &self.0[at].0
    }

    pub(crate) fn pages(&self) -> impl Iterator<Item = &Page> {
        self.0.iter().map(|block| &block.0)
    }

    /// Whether they are one and the same memory.
    pub(crate) fn is(&self, other: &Run) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// A block in memory.
#[derive(Clone)]
pub(crate) enum Block {
    Page(Arc<Page>),
    Part(Run, usize),
}

impl Block {
    pub(crate) fn to_page(&self) -> Arc<Page> {
        match self {
            Block::Page(page) => page.clone(),
            Block::Part(run, at) => Arc::new(*run.page(*at)),
        }
    }
}

/// The blocks of a group that are in memory, each with its place and sum, which together are its name: a place that was
/// written again has another block.
#[derive(Clone, Default)]
pub(crate) struct Group(Vec<(BlockPtr, Block)>);

impl Group {
    pub(crate) fn get(&self, ptr: BlockPtr) -> Option<&Block> {
        self.0.iter().find(|(at, _)| *at == ptr).map(|(_, block)| block)
    }

    /// With these as well, in place of what it had at their places.
    pub(crate) fn with(&self, blocks: impl ExactSizeIterator<Item = (BlockPtr, Block)>) -> Group {
        let mut all = Vec::with_capacity(GROUP_BLOCKS.min(self.0.len() + blocks.len()));
        all.extend(blocks);
        let new = all.len();
        for (ptr, block) in &self.0 {
            if !all[..new].iter().any(|(at, _)| at.vbn == ptr.vbn) {
                all.push((*ptr, block.clone()));
            }
        }
        Group(all)
    }

    pub(crate) fn blocks(&self) -> usize {
        self.0.len()
    }
}
