//! Reading blocks: the disk, the checksum test on every block that comes in, and verified pages through the cache.
//!
//! A block in the cache is known by its pointer, place *and* checksum: one that was freed and written again is
//! another, so the cache needs no invalidation. It has file data too: verifying a block again takes as long as copying it.

use crate::disk::Disk;
use crate::error::{FsError, Result};
use crate::group::{Block, Group, GroupNum, Run};
use crate::ids::{BLOCK_SIZE, BLOCK_SIZE_U64, InodeNum, Vbn};
use crate::layout::{BlockPtr, Page, checksum, zero_page};
use crate::memory::{Memory, Space};
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The disk of one volume with its page cache.
pub(crate) struct Io {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) memory: Memory,
    space: Space,
    /// Blocks of the address space: a pointer past it is corrupt.
    pub(crate) blocks: AtomicU64,
}

impl Io {
    /// With memory of its own.
    pub(crate) fn new(disk: Arc<dyn Disk>, blocks: u64, cache_bytes: u64) -> Self {
        Io::within(disk, blocks, Memory::new(cache_bytes, 0))
    }

    /// With its part of that memory.
    pub(crate) fn within(disk: Arc<dyn Disk>, blocks: u64, memory: Memory) -> Self {
        let space = memory.new_space();
        Io { disk, memory, space, blocks: AtomicU64::new(blocks) }
    }

    /// Blocks of the address space.
    pub(crate) fn blocks(&self) -> u64 {
        self.blocks.load(Ordering::Relaxed)
    }

    /// The metadata page at `ptr`, verified.
    pub(crate) fn page(&self, ptr: BlockPtr) -> Result<Arc<Page>> {
        if let Some(page) = self.memory.page(self.space, ptr) {
            return Ok(page);
        }
        let page = self.read_page(ptr)?;
        self.memory.keep_page(self.space, ptr, page.clone());
        Ok(page)
    }

    /// The page at `ptr`, verified, without a place in the cache.
    pub(crate) fn read_page(&self, ptr: BlockPtr) -> Result<Arc<Page>> {
        let mut page = Arc::new(zero_page());
        self.read_run(ptr.vbn, &mut Arc::make_mut(&mut page)[..], &[ptr.sum], InodeNum(0))?;
        Ok(page)
    }

    /// Keeps a page that was just written.
    pub(crate) fn remember(&self, ptr: BlockPtr, page: Arc<Page>) {
        self.memory.keep_page(self.space, ptr, page);
    }

    /// What is in memory of a group of blocks.
    pub(crate) fn cached(&self, group: GroupNum) -> Option<Arc<Group>> {
        self.memory.group(self.space, group)
    }

    /// Reads neighbouring blocks of file data and verifies each, and keeps them.
    pub(crate) fn read_data(&self, start: Vbn, sums: &[u64], ino: InodeNum) -> Result<Vec<Run>> {
        self.check_run(start, sums.len(), ino)?;
        let offset = start.0 * BLOCK_SIZE_U64;
        let runs = Run::read(start, sums.len(), |bufs| self.disk.read_vectored_at(bufs, offset))?;
        verify(start, runs.iter().flat_map(Run::pages).map(|page| &page[..]), sums, ino)?;
        self.keep_runs(start, &runs, sums);
        Ok(runs)
    }

    /// Keeps verified neighbours from `start` on.
    fn keep_runs(&self, start: Vbn, runs: &[Run], sums: &[u64]) {
        let (mut start, mut sums) = (start.0, sums);
        for run in runs {
            let (now, later) = sums.split_at(run.blocks());
            let blocks = now.iter().enumerate().map(|(at, sum)| {
                let ptr = BlockPtr { vbn: Vbn(start + at as u64), sum: *sum };
                (ptr, Block::Part(run.clone(), at))
            });
            self.memory.keep(self.space, GroupNum::of(Vbn(start)), blocks);
            (start, sums) = (start + now.len() as u64, later);
        }
    }

    /// Reads `sums.len()` neighbouring blocks into `buf` and verifies each.
    pub(crate) fn read_run(&self, start: Vbn, buf: &mut [u8], sums: &[u64], ino: InodeNum) -> Result<()> {
        self.check_run(start, sums.len(), ino)?;
        self.disk.read_at(buf, start.0 * BLOCK_SIZE_U64)?;
        verify(start, buf.chunks(BLOCK_SIZE), sums, ino)
    }

    /// A pointer past the end is damaged.
    fn check_run(&self, start: Vbn, count: usize, ino: InodeNum) -> Result<()> {
        let blocks = self.blocks();
        let inside = start.0 < blocks && count as u64 <= blocks - start.0;
        if inside { Ok(()) } else { Err(FsError::Corrupt { ino, vbn: start }) }
    }
}

fn verify<'a>(start: Vbn, blocks: impl Iterator<Item = &'a [u8]>, sums: &[u64], ino: InodeNum) -> Result<()> {
    for (index, (block, sum)) in blocks.zip(sums).enumerate() {
        if checksum(block) != *sum {
            return Err(FsError::Corrupt { ino, vbn: Vbn(start.0 + index as u64) });
        }
    }
    Ok(())
}

impl Drop for Io {
    fn drop(&mut self) {
        self.memory.leave(self.space);
    }
}

/// Gathers pages for neighbouring blocks, so that they reach the disk in few calls.
pub(crate) struct WriteBatch<'a> {
    disk: &'a dyn Disk,
    start: Vbn,
    pages: Vec<Arc<Page>>,
    unflushed: usize,
}

/// Pages written by one call at the most (1 MiB).
const BATCH_PAGES: usize = 256;
/// Pages after which the host is made to write them (4 MiB). Else most of a CP would come to its last flush, and whoever
/// flushes the log meanwhile would wait for all of it.
const FLUSH_PAGES: usize = 1024;

impl<'a> WriteBatch<'a> {
    pub(crate) fn new(disk: &'a dyn Disk) -> Self {
        WriteBatch { disk, start: Vbn(0), pages: Vec::new(), unflushed: 0 }
    }

    pub(crate) fn push(&mut self, vbn: Vbn, page: Arc<Page>) -> Result<()> {
        let follows = vbn.0 == self.start.0 + self.pages.len() as u64;
        if !follows || self.pages.len() == BATCH_PAGES {
            self.finish()?;
            self.start = vbn;
        }
        self.pages.push(page);
        Ok(())
    }

    pub(crate) fn finish(&mut self) -> Result<()> {
        if !self.pages.is_empty() {
            let slices: Vec<IoSlice<'_>> = self.pages.iter().map(|p| IoSlice::new(&p[..])).collect();
            self.disk.write_at(&slices, self.start.0 * BLOCK_SIZE_U64)?;
            self.unflushed += self.pages.len();
            self.pages.clear();
            if self.unflushed >= FLUSH_PAGES {
                self.disk.flush()?;
                self.unflushed = 0;
            }
        }
        Ok(())
    }
}
