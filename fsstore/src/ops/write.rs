//! WRITE. Whole blocks of a large write reach the disk once, before the record that points to them; the rest
//! goes into the record.

use super::make::stamp_data;
use super::{Plan, Seen};
use crate::access::{W, mode_after_change, need_or_owner};
use crate::error::{FsError, Result};
use crate::ids::{BLOCK_SIZE, BLOCK_SIZE_U64, Fbn, FileId, Vbn};
use crate::inode::Inode;
use crate::io::Io;
use crate::layout::BlockPtr;
use crate::op::{Context, FILE_SIZE_MAX, Time, WRITE_MAX};
use crate::record::{Act, Piece, Write};
use crate::state::State;
use crate::tree::{Edit, Slot, page_from};
use bytes::Bytes;

/// Whole blocks in a write from which they go to their place at once and not into the log. Below, the log's one
/// sequential write is cheaper than a write of its own.
const DIRECT_MIN: usize = 64 << 10;

/// Blocks of a write that stand on disk already.
pub(crate) struct Direct {
    pub(crate) first: Fbn,
    pub(crate) runs: Vec<(Vbn, Vec<u64>)>,
}

/// The whole blocks of a write that is large enough to go direct: a range of `data`.
pub(crate) fn direct_part(offset: u64, data: &Bytes) -> Option<std::ops::Range<usize>> {
    let end = offset.checked_add(data.len() as u64)?;
    let first = offset.checked_next_multiple_of(BLOCK_SIZE_U64)?;
    let last = end - end % BLOCK_SIZE_U64;
    if last < first {
        return None;
    }
    let part = usize::try_from(first - offset).ok()?..usize::try_from(last - offset).ok()?;
    (part.len() >= DIRECT_MIN).then_some(part)
}

/// Whether the caller may write that: where the write ends. Large writes ask before they put anything on disk.
pub(crate) fn check(cx: &Context, inode: &Inode, offset: u64, data: &Bytes) -> Result<u64> {
    inode.need_file()?;
    need_or_owner(cx, inode, W)?;
    if data.len() > WRITE_MAX {
        return Err(FsError::Invalid);
    }
    let end = offset.checked_add(data.len() as u64).filter(|end| *end <= FILE_SIZE_MAX);
    end.ok_or(FsError::FileTooBig)
}

pub(super) fn plan(
    st: &mut State,
    io: &Io,
    cx: &Context,
    file: FileId,
    offset: u64,
    data: &Bytes,
    direct: Option<Direct>,
) -> Result<Plan> {
    let inode = st.file(io, file)?;
    let end = check(cx, &inode, offset, data)?;
    if data.is_empty() {
        return Ok(Plan::of(None, Seen::old(&inode)));
    }
    let first = offset / BLOCK_SIZE_U64;
    st.need_range(io, cx, &inode, Fbn(first), end.div_ceil(BLOCK_SIZE_U64) - first)?;
    let pieces = match direct {
        None => vec![Piece::Bytes { offset, data: data.clone() }],
        Some(direct) => with_direct(offset, data, direct),
    };
    let mode = mode_after_change(cx, &inode);
    let act = Act::Write(Write { file: inode.ino, end, mode, pieces });
    let mut plan = Plan::of(Some(act), Seen::old(&inode));
    plan.count = data.len();
    Ok(plan)
}

fn with_direct(offset: u64, data: &Bytes, direct: Direct) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut fbn = direct.first;
    let head = usize::try_from(fbn.0 * BLOCK_SIZE_U64 - offset).unwrap_or(0);
    if head > 0 {
        pieces.push(Piece::Bytes { offset, data: data.slice(..head) });
    }
    for (start, sums) in direct.runs {
        let next = Fbn(fbn.0 + sums.len() as u64);
        pieces.push(Piece::Blocks { fbn, start, sums });
        fbn = next;
    }
    let tail = fbn.0 * BLOCK_SIZE_U64;
    let at = usize::try_from(tail - offset).unwrap_or(data.len());
    if at < data.len() {
        pieces.push(Piece::Bytes { offset: tail, data: data.slice(at..) });
    }
    pieces
}

pub(super) fn apply(st: &mut State, io: &Io, now: Time, write: &Write) -> Result<()> {
    st.edit(io, write.file, |inode, edit| {
        for piece in &write.pieces {
            match piece {
                Piece::Bytes { offset, data } => put_bytes(inode, edit, *offset, data)?,
                Piece::Blocks { fbn, start, sums } => {
                    edit.ledger.allocated.push((*start, sums.len() as u64));
                    for (index, sum) in sums.iter().enumerate() {
                        let index = index as u64;
                        let ptr = BlockPtr { vbn: Vbn(start.0 + index), sum: *sum };
                        let new = inode.tree.replace(edit, Fbn(fbn.0 + index), Slot::Disk(ptr))?;
                        inode.blocks += u64::from(new);
                    }
                }
            }
        }
        inode.size = inode.size.max(write.end);
        inode.mode = write.mode.unwrap_or(inode.mode);
        stamp_data(inode, now);
        Ok(())
    })
}

fn put_bytes(inode: &mut Inode, edit: &mut Edit<'_>, offset: u64, data: &[u8]) -> Result<()> {
    let mut at = offset;
    let mut rest = data;
    while !rest.is_empty() {
        let fbn = Fbn(at / BLOCK_SIZE_U64);
        let start = usize::try_from(at % BLOCK_SIZE_U64).unwrap_or(0);
        let (part, more) = rest.split_at(rest.len().min(BLOCK_SIZE - start));
        // Nothing of the file is behind the end, so a block there needs no reading.
        let whole = start == 0 && (part.len() == BLOCK_SIZE || at + part.len() as u64 >= inode.size);
        let new = if whole {
            inode.tree.put_page(edit, fbn, page_from(part))?
        } else {
            let hole = inode.tree.page(edit.io, fbn)?.is_none();
            inode.tree.page_mut(edit, fbn)?[start..start + part.len()].copy_from_slice(part);
            hole
        };
        inode.blocks += u64::from(new);
        at += part.len() as u64;
        rest = more;
    }
    Ok(())
}
