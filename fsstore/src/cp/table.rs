//! Writing the snapshot table: its blocks are taken before the block map is settled, its bytes written after.

use super::writeout::Writeout;
use crate::error::Result;
use crate::fsinfo::{SnapEntry, encode_table};
use crate::ids::{BLOCK_SIZE, Fbn, Vbn};
use crate::layout::{BlockPtr, FANOUT, TreeRoot};
use crate::tree::{Found, Tree, encode_index, page_from};
use std::sync::Arc;

/// Takes blocks for the snapshot table, and frees those of the `table` before.
pub(super) fn plan_table(
    out: &mut Writeout<'_>,
    (table, table_len): (TreeRoot, u32),
    snaps: &[SnapEntry],
    changed: bool,
) -> Result<Vec<Vbn>> {
    if !changed {
        return Ok(Vec::new());
    }
    let old = Tree::from_root(table)?;
    let mut blocks: Vec<Vbn> = Vec::new();
    old.for_range(out.io, Fbn(0), u64::from(table_len).div_ceil(BLOCK_SIZE as u64), &mut |_, found| {
        if let Found::Disk(ptr) = found {
            blocks.push(ptr.vbn);
        }
        Ok(())
    })?;
    if old.height > 0 {
        blocks.push(table.ptr.vbn);
    }
    out.freed.append(&mut blocks);
    let pages = encode_table(snaps).len().div_ceil(BLOCK_SIZE);
    let needed = if pages > 1 { pages + 1 } else { pages };
    let taken = (0..needed).map(|_| out.alloc()).collect();
    out.give_back_spare();
    taken
}

/// Writes the table into the blocks that [`plan_table`] took.
pub(super) fn write_table(
    out: &mut Writeout<'_>,
    snaps: &[SnapEntry],
    blocks: &[Vbn],
) -> Result<(TreeRoot, u32)> {
    let bytes = encode_table(snaps);
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let mut children = [BlockPtr::HOLE; FANOUT];
    let chunks: Vec<_> = bytes.chunks(BLOCK_SIZE).collect();
    for ((chunk, vbn), child) in chunks.iter().zip(blocks).zip(children.iter_mut()) {
        *child = out.put(*vbn, page_from(chunk))?;
    }
    let root = match blocks {
        [] => TreeRoot::default(),
        [_] => TreeRoot { height: 0, ptr: children[0] },
        [.., last] => TreeRoot { height: 1, ptr: out.put(*last, Arc::new(encode_index(&children)))? },
    };
    Ok((root, len))
}
