//! Reading file data: straight from the disk into the buffer that goes to the client, every block verified.

use crate::error::{FsError, Result};
use crate::ids::{BLOCK_SIZE, BLOCK_SIZE_U64, Fbn, Vbn};
use crate::inode::Inode;
use crate::io::Io;
use crate::tree::Found;
use bytes::{Bytes, BytesMut};

/// Neighbouring blocks on disk that are neighbours in the file too.
#[derive(Default)]
struct Run {
    /// Where it goes in the buffer.
    at: usize,
    start: Vbn,
    sums: Vec<u64>,
}

impl Run {
    fn read(&mut self, inode: &Inode, io: &Io, buf: &mut [u8]) -> Result<()> {
        if !self.sums.is_empty() {
            let end = self.at + self.sums.len() * BLOCK_SIZE;
            io.read_run(self.start, &mut buf[self.at..end], &self.sums, inode.ino)?;
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
    let mut buf = BytesMut::zeroed(bytes);
    let mut run = Run::default();
    inode.tree.for_range(io, Fbn(first), blocks, &mut |fbn, found| {
        let at = usize::try_from(fbn.0 - first).unwrap_or(0) * BLOCK_SIZE;
        match found {
            Found::Page(page) => buf[at..at + BLOCK_SIZE].copy_from_slice(&page[..]),
            Found::Disk(ptr) => {
                let follows = Some(ptr.vbn.0) == run.start.0.checked_add(run.sums.len() as u64)
                    && at == run.at + run.sums.len() * BLOCK_SIZE;
                if run.sums.is_empty() || !follows {
                    run.read(inode, io, &mut buf)?;
                    (run.at, run.start) = (at, ptr.vbn);
                }
                run.sums.push(ptr.sum);
            }
        }
        Ok(())
    })?;
    run.read(inode, io, &mut buf)?;
    let skip = usize::try_from(offset - first * BLOCK_SIZE_U64).unwrap_or(0);
    let want = usize::try_from(end - offset).unwrap_or(0);
    Ok(buf.freeze().slice(skip..skip + want))
}
