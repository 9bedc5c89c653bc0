//! DEALLOCATE and ALLOCATE: holes made and filled.

use super::make::stamp_data;
use super::{Plan, Seen};
use crate::access::{W, mode_after_change, need_or_owner};
use crate::error::{FsError, Result};
use crate::ids::{BLOCK_SIZE_U64, Fbn, FileId, InodeNum};
use crate::inode::Inode;
use crate::io::Io;
use crate::op::{Context, FILE_SIZE_MAX, Time};
use crate::record::{Act, Late, SetAttr};
use crate::state::State;
use crate::tree::Edit;
use std::ops::Range;

/// Whether the caller may change that range: where it ends.
fn check(cx: &Context, inode: &Inode, offset: u64, len: u64) -> Result<u64> {
    inode.need_file()?;
    need_or_owner(cx, inode, W)?;
    offset.checked_add(len).filter(|end| *end <= FILE_SIZE_MAX).ok_or(FsError::FileTooBig)
}

pub(super) fn deallocate(
    st: &mut State,
    io: &Io,
    cx: &Context,
    file: FileId,
    offset: u64,
    len: u64,
) -> Result<Plan> {
    let inode = st.file(io, file)?;
    let to = check(cx, &inode, offset, len)?.min(inode.size);
    let act = Act::Punch { file: inode.ino, from: offset, to, mode: mode_after_change(cx, &inode) };
    Ok(Plan::of((offset < to).then_some(act), Seen::old(&inode)))
}

pub(super) fn allocate(
    st: &mut State,
    io: &Io,
    cx: &Context,
    file: FileId,
    offset: u64,
    len: u64,
) -> Result<Plan> {
    let inode = st.file(io, file)?;
    let end = check(cx, &inode, offset, len)?;
    if len > 0 {
        let first = offset / BLOCK_SIZE_U64;
        st.need_range(io, cx, &inode, Fbn(first), end.div_ceil(BLOCK_SIZE_U64) - first)?;
    }
    let grow = SetAttr {
        file: inode.ino,
        mode: mode_after_change(cx, &inode),
        uid: None,
        gid: None,
        size: Some(end),
        atime: None,
        mtime: None,
        acl: None,
        late: Late::default(),
    };
    Ok(Plan::of((len > 0 && end > inode.size).then_some(Act::SetAttr(grow)), Seen::old(&inode)))
}

/// Blocks that a write of the whole range would add to the file, for a caller who may write it. Looks at what is there.
pub(crate) fn missing_blocks(cx: &Context, inode: &Inode, io: &Io, offset: u64, len: u64) -> Result<u64> {
    let end = check(cx, inode, offset, len)?;
    let first = offset / BLOCK_SIZE_U64;
    let blocks = if len == 0 { 0 } else { end.div_ceil(BLOCK_SIZE_U64) - first };
    Ok(blocks - inode.tree.count(io, Fbn(first), blocks)?)
}

pub(super) fn apply(
    st: &mut State,
    io: &Io,
    now: Time,
    file: InodeNum,
    range: Range<u64>,
    mode: Option<u32>,
) -> Result<()> {
    st.edit(io, file, |inode, edit| {
        let first = range.start.div_ceil(BLOCK_SIZE_U64);
        // The block that the file ends in has nothing behind the end, so it may go as a whole.
        let to_end = range.end >= inode.size;
        let last = if to_end { range.end.div_ceil(BLOCK_SIZE_U64) } else { range.end / BLOCK_SIZE_U64 };
        if first <= last {
            inode.blocks -= inode.tree.punch(edit, Fbn(first), Fbn(last))?;
            zero(inode, edit, range.start..first * BLOCK_SIZE_U64)?;
            zero(inode, edit, last * BLOCK_SIZE_U64..range.end)?;
        } else {
            zero(inode, edit, range)?;
        }
        inode.mode = mode.unwrap_or(inode.mode);
        stamp_data(inode, now);
        Ok(())
    })
}

/// Zeros bytes within one block, if there is a block.
pub(super) fn zero(inode: &mut Inode, edit: &mut Edit<'_>, range: Range<u64>) -> Result<()> {
    let fbn = Fbn(range.start / BLOCK_SIZE_U64);
    if range.start < range.end && inode.tree.page(edit.io, fbn)?.is_some() {
        let within = |at: u64| usize::try_from(at - fbn.0 * BLOCK_SIZE_U64).unwrap_or(0);
        inode.tree.page_mut(edit, fbn)?[within(range.start)..within(range.end)].fill(0);
    }
    Ok(())
}
