//! Reading file data into the buffer that goes to the client, from the cache or from the disk; every block that comes
//! from there is verified.

use crate::error::{FsError, Result};
use crate::ids::{BLOCK_SIZE, BLOCK_SIZE_U64, Fbn, Vbn};
use crate::inode::Inode;
use crate::io::Io;
use crate::layout::BlockPtr;
use crate::tree::Found;
use bytes::{Bytes, BytesMut};

/// Whole blocks of a file, one after the other, as they are found. Nothing is written twice: a block goes to its place when it is there.
struct Filler<'a> {
    inode: &'a Inode,
    io: &'a Io,
    buf: BytesMut,
    /// Neighbours on disk, to be read by one call and put behind what is in `buf`.
    start: Vbn,
    sums: Vec<u64>,
}

impl Filler<'_> {
    /// Blocks that are there or waited for.
    fn filled(&self) -> u64 {
        (self.buf.len() / BLOCK_SIZE + self.sums.len()) as u64
    }

    /// Holes up to block `until`.
    fn skip(&mut self, until: u64) -> Result<()> {
        let holes = until - self.filled();
        if holes > 0 {
            self.read_run()?;
            let bytes = usize::try_from(holes).map_err(|_| FsError::Invalid)? * BLOCK_SIZE;
            self.buf.resize(self.buf.len() + bytes, 0);
        }
        Ok(())
    }

    fn block(&mut self, found: Found) -> Result<()> {
        let page = match found {
            Found::Page(page) => page,
            Found::Disk(ptr) => match self.io.cached(ptr) {
                Some(page) => page,
                None => return self.wait_for(ptr),
            },
        };
        self.read_run()?;
        self.buf.extend_from_slice(&page[..]);
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
            let at = self.buf.len();
            self.buf.resize(at + self.sums.len() * BLOCK_SIZE, 0);
            self.io.read_data(self.start, &mut self.buf[at..], &self.sums, self.inode.ino)?;
            self.sums.clear();
        }
        Ok(())
    }
}

/// Up to `len` bytes at `offset`; fewer only at the end of the file.
pub(crate) fn read(inode: &Inode, io: &Io, offset: u64, len: usize) -> Result<Bytes> {
    let end = offset.saturating_add(len as u64).min(inode.size);
    if offset >= end {
        return Ok(Bytes::new());
    }
    let first = offset / BLOCK_SIZE_U64;
    let blocks = end.div_ceil(BLOCK_SIZE_U64) - first;
    let bytes = usize::try_from(blocks).map_err(|_| FsError::Invalid)? * BLOCK_SIZE;
    let buf = BytesMut::with_capacity(bytes);
    let mut filler = Filler { inode, io, buf, start: Vbn(0), sums: Vec::new() };
    inode.tree.for_range(io, Fbn(first), blocks, &mut |fbn, found| {
        filler.skip(fbn.0 - first)?;
        filler.block(found)
    })?;
    filler.skip(blocks)?;
    filler.read_run()?;
    let skip = usize::try_from(offset - first * BLOCK_SIZE_U64).unwrap_or(0);
    let want = usize::try_from(end - offset).unwrap_or(0);
    Ok(filler.buf.freeze().slice(skip..skip + want))
}
