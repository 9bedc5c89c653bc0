//! The disk of a clone: its own file, and below it the blocks of one snapshot of its parent, which stay where they are.
//!
//! A block that the snapshot's map has is read from the parent, for ever the same: the parent keeps the snapshot, so it
//! never writes there. The clone keeps the snapshot in its own table, so its allocator never hands such a block out.
//! Everything else, and every write, is the clone's own. Nothing here knows what is in a block.

use super::Disk;
use crate::blockmap::{Bits, WORDS, add_page, runs};
use crate::error::Result;
use crate::fsinfo::CloneBase;
use crate::ids::{BLOCK_SIZE_U64, Fbn};
use crate::io::Io;
use crate::layout::MAP_BLOCKS_PER_PAGE;
use crate::snapshot::Pinned;
use crate::tree::{Found, Tree};
use crate::volume::VbnRange;
use parking_lot::RwLock;
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Memory for the map of the parent's blocks, in bytes: that of 128 GiB of address space is always at hand.
const MAP_CACHE_BYTES: u64 = 4 << 20;

/// The blocks that a clone has of its parent.
pub(crate) struct Base {
    /// What fsinfo says of them; how far a split is, is in `copied`.
    pub(crate) origin: CloneBase,
    /// The parent's disk.
    io: Io,
    map: Tree,
    /// Blocks below this number are in the clone's own file already.
    copied: AtomicU64,
    /// Keeps the parent from deleting the snapshot; none where nobody has the parent mounted.
    _pinned: Option<Pinned>,
}

impl Base {
    /// The blocks that `origin` names, on the disk of the parent. The parent has `blocks` of address space.
    pub(crate) fn new(
        parent: Arc<dyn Disk>,
        blocks: u64,
        origin: CloneBase,
        pinned: Option<Pinned>,
    ) -> Result<Base> {
        let copied = AtomicU64::new(origin.copied);
        let io = Io::new(parent, blocks, MAP_CACHE_BYTES);
        Ok(Base { origin, io, map: Tree::from_root(origin.map)?, copied, _pinned: pinned })
    }

    /// How far a split is.
    pub(crate) fn copied(&self) -> u64 {
        self.copied.load(Ordering::Acquire)
    }

    /// The blocks below `end` are durably in the clone's own file.
    pub(crate) fn set_copied(&self, end: u64) {
        self.copied.store(end, Ordering::Release);
    }

    /// Runs of the parent's blocks from `start` on, until they are `budget` blocks or more; and where to go on.
    pub(crate) fn runs_from(&self, start: u64, budget: u64) -> Result<(Vec<VbnRange>, Option<u64>)> {
        let first = start / MAP_BLOCKS_PER_PAGE;
        let pages = self.io.blocks().div_ceil(MAP_BLOCKS_PER_PAGE);
        let mut found = Vec::new();
        let mut blocks = 0;
        for page in first..pages {
            let Some(bits) = self.bits(page)? else { continue };
            let mut ready = VecDeque::new();
            runs(&bits, page * MAP_BLOCKS_PER_PAGE, &mut ready);
            for mut run in ready {
                let end = run.start.0 + run.blocks;
                if end <= start {
                    continue;
                }
                run.start.0 = run.start.0.max(start);
                run.blocks = (end - run.start.0).min(budget - blocks);
                blocks += run.blocks;
                let next = run.start.0 + run.blocks;
                found.push(run);
                if blocks >= budget {
                    return Ok((found, Some(next)));
                }
            }
        }
        Ok((found, None))
    }

    fn bits(&self, page: u64) -> Result<Option<Bits>> {
        Ok(self.map.page(&self.io, Fbn(page))?.map(|page| {
            let mut bits: Bits = [0; WORDS];
            add_page(&mut bits, &page);
            bits
        }))
    }

    /// Reads a run of the parent's blocks as they stand there.
    pub(crate) fn read(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.io.disk.read_at(buf, offset)
    }

    /// Whether the block at byte `offset` is the parent's, and for how many bytes, at most `len`, that goes on.
    fn span(&self, offset: u64, len: u64) -> Result<(bool, u64)> {
        let end = offset.saturating_add(len);
        let copied = self.copied() * BLOCK_SIZE_U64;
        if offset < copied {
            return Ok((false, end.min(copied) - offset));
        }
        let first = offset / BLOCK_SIZE_U64;
        let mut page = None;
        let mut theirs = false;
        let mut block = first;
        while block * BLOCK_SIZE_U64 < end {
            let fbn = block / MAP_BLOCKS_PER_PAGE;
            if block == first || block.is_multiple_of(MAP_BLOCKS_PER_PAGE) {
                page = self.page(fbn)?;
            }
            let bit = block % MAP_BLOCKS_PER_PAGE;
            let at = usize::try_from(bit / 8).unwrap_or(0);
            let set = page.as_ref().is_some_and(|page| page[at] & (1 << (bit % 8)) != 0);
            if block == first {
                theirs = set;
            } else if set != theirs {
                return Ok((theirs, block * BLOCK_SIZE_U64 - offset));
            }
            block += 1;
        }
        Ok((theirs, len))
    }

    fn page(&self, page: u64) -> Result<Option<Arc<crate::layout::Page>>> {
        let mut found = None;
        self.map.for_range(&self.io, Fbn(page), 1, &mut |_, at| {
            if let Found::Disk(ptr) = at {
                found = Some(self.io.page(ptr)?);
            }
            Ok(())
        })?;
        Ok(found)
    }
}

/// A clone's own file over the blocks of its parent.
pub(crate) struct Overlay {
    own: Arc<dyn Disk>,
    /// Gone once a split has copied all of it.
    base: RwLock<Option<Arc<Base>>>,
}

impl Overlay {
    pub(crate) fn new(own: Arc<dyn Disk>, base: Base) -> Arc<Overlay> {
        Arc::new(Overlay { own, base: RwLock::new(Some(Arc::new(base))) })
    }

    /// What is still the parent's.
    pub(crate) fn base(&self) -> Option<Arc<Base>> {
        self.base.read().clone()
    }

    /// From here on everything is read from the clone's own file.
    pub(crate) fn detach(&self) {
        *self.base.write() = None;
    }

    /// The clone's own file.
    pub(crate) fn own(&self) -> &dyn Disk {
        &*self.own
    }

    /// An operation, a CP or the log never writes where the parent's blocks are seen.
    fn assert_own(&self, offset: u64, bufs: &[IoSlice<'_>]) {
        if cfg!(debug_assertions)
            && let Some(base) = self.base()
        {
            let len: usize = bufs.iter().map(|buf| buf.len()).sum();
            if let Ok((theirs, span)) = base.span(offset, len as u64) {
                assert!(
                    !theirs && (span == len as u64 || offset < base.copied() * BLOCK_SIZE_U64),
                    "a write over the parent's blocks"
                );
            }
        }
    }
}

impl Disk for Overlay {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let Some(base) = self.base() else { return self.own.read_at(buf, offset) };
        let (mut rest, mut at) = (buf, offset);
        while !rest.is_empty() {
            let (theirs, len) = base.span(at, rest.len() as u64).map_err(io::Error::other)?;
            let (part, tail) = rest.split_at_mut(usize::try_from(len).unwrap_or(0));
            if theirs {
                base.read(part, at)?;
            } else {
                self.own.read_at(part, at)?;
            }
            (rest, at) = (tail, at + len);
        }
        Ok(())
    }

    fn read_vectored_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<()> {
        let Some(base) = self.base() else { return self.own.read_vectored_at(bufs, offset) };
        let (mut rest, mut at) = (bufs, offset);
        while !rest.is_empty() {
            let (theirs, len) =
                base.span(at, rest.len() as u64 * BLOCK_SIZE_U64).map_err(io::Error::other)?;
            let (part, tail) = rest.split_at_mut(usize::try_from(len / BLOCK_SIZE_U64).unwrap_or(0));
            let disk = if theirs { &*base.io.disk } else { &*self.own };
            disk.read_vectored_at(part, at)?;
            (rest, at) = (tail, at + len);
        }
        Ok(())
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.assert_own(offset, bufs);
        self.own.write_at(bufs, offset)
    }

    fn flush(&self) -> io::Result<()> {
        self.own.flush()
    }

    fn write_durable(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.assert_own(offset, bufs);
        self.own.write_durable(bufs, offset)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.own.discard(offset, len)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.own.set_len(bytes)
    }
}
