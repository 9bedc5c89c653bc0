//! SEEK_DATA and SEEK_HOLE. Holes are whole blocks; a hole of any size is passed over in a few steps.

use crate::error::Result;
use crate::ids::{BLOCK_SIZE_U64, Fbn};
use crate::inode::Inode;
use crate::io::Io;
use crate::op::SeekWhat;

/// The first byte at or after `offset` that is data or a hole. `None` where lseek(2) says ENXIO.
pub(crate) fn seek(inode: &Inode, io: &Io, offset: u64, what: SeekWhat) -> Result<Option<u64>> {
    if offset >= inode.size {
        return Ok(None);
    }
    let end = Fbn(inode.size.div_ceil(BLOCK_SIZE_U64));
    // A file without holes needs no look at its index pages, of which it may have millions.
    let full = what == SeekWhat::Hole && inode.blocks == end.0;
    let from = Fbn(offset / BLOCK_SIZE_U64);
    let found = if full { None } else { inode.tree.seek(io, from, end, what == SeekWhat::Hole)? };
    Ok(match (found, what) {
        (Some(fbn), _) => Some((fbn.0 * BLOCK_SIZE_U64).max(offset)),
        (None, SeekWhat::Hole) => Some(inode.size),
        (None, SeekWhat::Data) => None,
    })
}
