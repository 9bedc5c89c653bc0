//! Finding the pages of file data, in the cache or on the disk; every block that comes from there is verified.

use crate::error::{FsError, Result};
use crate::group::{Group, GroupNum};
use crate::ids::{BLOCK_SIZE_U64, Fbn, Vbn};
use crate::inode::Inode;
use crate::io::Io;
use crate::layout::{BlockPtr, Page};
use crate::rope::{Pages, Rope};
use crate::tree::Found;
use std::sync::Arc;

/// Whole blocks of a file, one after the other, as they are found.
struct Gatherer<'a> {
    inode: &'a Inode,
    io: &'a Io,
    pages: Pages,
    /// The group of the last block on disk, as it is in the cache.
    group: Option<(GroupNum, Option<Arc<Group>>)>,
    /// Neighbours on disk, to be read by one call and put behind what is in `pages`.
    start: Vbn,
    sums: Vec<u64>,
    /// Give up at a block that is not in memory.
    cached_only: bool,
    missed: bool,
}

impl<'a> Gatherer<'a> {
    fn new(inode: &'a Inode, io: &'a Io, cached_only: bool) -> Self {
        let (pages, sums) = (Pages::default(), Vec::new());
        Gatherer { inode, io, pages, group: None, start: Vbn(0), sums, cached_only, missed: false }
    }

    fn gather(&mut self, offset: u64, len: usize) -> Result<Rope> {
        let end = offset.saturating_add(len as u64).min(self.inode.size);
        if offset >= end {
            return Ok(Rope::default());
        }
        let first = offset / BLOCK_SIZE_U64;
        let count = end.div_ceil(BLOCK_SIZE_U64) - first;
        let blocks = usize::try_from(count).map_err(|_| FsError::Invalid)?;
        self.inode.tree.for_range(self.io, Fbn(first), count, &mut |fbn, found| {
            self.skip(usize::try_from(fbn.0 - first).unwrap_or(blocks))?;
            self.block(found)
        })?;
        self.skip(blocks)?;
        self.read_run()?;
        let skip = usize::try_from(offset - first * BLOCK_SIZE_U64).unwrap_or(0);
        let want = usize::try_from(end - offset).unwrap_or(0);
        Ok(std::mem::take(&mut self.pages).rope(skip, want))
    }

    fn block(&mut self, found: Found) -> Result<()> {
        match found {
            Found::Page(page) => self.page(page),
            Found::Disk(ptr) if self.in_cache(ptr)? => Ok(()),
            Found::Disk(_) if self.cached_only => {
                self.missed = true;
                Err(FsError::Invalid)
            }
            Found::Disk(ptr) => self.wait_for(ptr),
        }
    }

    /// Takes that block from the cache, if it is there.
    fn in_cache(&mut self, ptr: BlockPtr) -> Result<bool> {
        let number = GroupNum::of(ptr.vbn);
        let group = match self.group.take() {
            Some((last, group)) if last == number => group,
            _ => self.io.cached(number),
        };
        let found = group.as_ref().and_then(|group| group.get(ptr));
        if let Some(block) = found {
            self.read_run()?;
            self.pages.block(block);
        }
        let found = found.is_some();
        self.group = Some((number, group));
        Ok(found)
    }

    /// Holes up to block `until`.
    fn skip(&mut self, until: usize) -> Result<()> {
        if until > self.pages.blocks() + self.sums.len() {
            self.read_run()?;
            self.pages.hole(until - self.pages.blocks());
        }
        Ok(())
    }

    fn page(&mut self, page: Arc<Page>) -> Result<()> {
        self.read_run()?;
        self.pages.page(page);
        Ok(())
    }

    fn wait_for(&mut self, ptr: BlockPtr) -> Result<()> {
        if ptr.vbn.0 != self.start.0.saturating_add(self.sums.len() as u64) {
            self.read_run()?;
        }
        if self.sums.is_empty() {
            self.start = ptr.vbn;
        }
        self.sums.push(ptr.sum);
        Ok(())
    }

    fn read_run(&mut self) -> Result<()> {
        if !self.sums.is_empty() {
            let runs = self.io.read_data(self.start, &self.sums, self.inode.ino)?;
            runs.into_iter().for_each(|run| self.pages.run(run));
            self.sums.clear();
        }
        Ok(())
    }
}

/// Up to `len` bytes at `offset`; fewer only at the end of the file.
pub(crate) fn read(inode: &Inode, io: &Io, offset: u64, len: usize) -> Result<Rope> {
    Gatherer::new(inode, io, false).gather(offset, len)
}

/// The same if all of it is in memory.
pub(crate) fn cached(inode: &Inode, io: &Io, offset: u64, len: usize) -> Result<Option<Rope>> {
    let mut gatherer = Gatherer::new(inode, io, true);
    match gatherer.gather(offset, len) {
        Err(_) if gatherer.missed => Ok(None),
        outcome => outcome.map(Some),
    }
}
