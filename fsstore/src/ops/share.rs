//! Sharing of blocks between files: nothing is copied but what is not on disk yet.

use super::make::stamp_data;
use super::setattr::move_owner;
use super::{Plan, Seen};
use crate::access::{R, W, X, may, mode_after_change, need_or_owner};
use crate::cp::sharing::REFS_PER_PAGE;
use crate::error::{FsError, Result};
use crate::ids::{BLOCK_SIZE_U64, Fbn, FileId, SnapshotId};
use crate::inode::{Hidden, Inode};
use crate::io::Io;
use crate::op::{CLONE_MAX, Context, FILE_SIZE_MAX, Time};
use crate::record::{Act, Share};
use crate::state::State;
use crate::tree::{Found, Slot};
use std::sync::Arc;

/// What to share.
pub(crate) struct Request {
    pub(crate) from: FileId,
    pub(crate) from_offset: u64,
    pub(crate) to: FileId,
    pub(crate) to_offset: u64,
    pub(crate) len: u64,
    /// The target becomes what the source is, attributes and all.
    pub(crate) whole: bool,
}

fn source(st: &mut State, io: &Io, id: FileId) -> Result<Arc<Inode>> {
    if id.snapshot == SnapshotId::ACTIVE {
        return st.file(io, id);
    }
    let snap = st.snaps.iter().find(|snap| snap.id == id.snapshot).cloned().ok_or(FsError::Stale)?;
    let inode = snap.inode(io, id.ino)?.filter(|inode| inode.generation == id.generation);
    inode.map(Arc::new).ok_or(FsError::Stale)
}

/// A named stream has the owner of its file, which a clone could not give it.
fn need_plain_file(inode: &Inode) -> Result<()> {
    if inode.hidden == Hidden::No { inode.need_file() } else { Err(FsError::Invalid) }
}

pub(super) fn plan(st: &mut State, io: &Io, cx: &Context, request: &Request) -> Result<Plan> {
    let from = source(st, io, request.from)?;
    let to = st.file(io, request.to)?;
    need_plain_file(&from)?;
    need_plain_file(&to)?;
    if !may(cx, &from, X) {
        need_or_owner(cx, &from, R)?;
    }
    need_or_owner(cx, &to, W)?;
    if request.whole && cx.uid != 0 && cx.uid != to.uid {
        return Err(FsError::Perm);
    }
    let rest = from.size.saturating_sub(request.from_offset);
    let len = if request.len == 0 { rest } else { request.len };
    let end = request.to_offset.checked_add(len).filter(|end| *end <= FILE_SIZE_MAX);
    let end = end.ok_or(FsError::FileTooBig)?;
    check_range(request, &from, &to, len, end)?;
    let blocks = len.div_ceil(BLOCK_SIZE_U64);
    let mode = if request.whole {
        let gid = if cx.uid == 0 || cx.in_group(from.gid) { from.gid } else { to.gid };
        Some((from.mode, if cx.uid == 0 { from.uid } else { to.uid }, gid))
    } else {
        mode_after_change(cx, &to).map(|mode| (mode, to.uid, to.gid))
    };
    let share = Share {
        from: from.ino,
        snapshot: request.from.snapshot,
        from_fbn: Fbn(request.from_offset / BLOCK_SIZE_U64),
        to: to.ino,
        to_fbn: Fbn(request.to_offset / BLOCK_SIZE_U64),
        blocks,
        end,
        size: request.whole.then_some(from.size),
        mtime: request.whole.then_some(from.mtime),
        owner: mode,
        dos: from.dos.filter(|_| request.whole),
    };
    let moves = need_quota(st, io, cx, &from, &to, &share)?;
    let mut plan = Plan::of((len > 0 || request.whole).then_some(Act::Share(share)), Seen::old(&to));
    // Index pages, counts of users; and what is not on disk yet is copied.
    plan.extra =
        moves + blocks / 256 + blocks / REFS_PER_PAGE + blocks.min(st.ledger.dirty_blocks + st.frozen_blocks);
    plan.count = usize::try_from(len).unwrap_or(usize::MAX);
    Ok(plan)
}

/// Shared blocks are charged to every file that has them, as ONTAP does: whoever is the last to have them would not want to
/// pay for all of them at once. Gives the blocks that a new owner may cost.
fn need_quota(st: &mut State, io: &Io, cx: &Context, from: &Inode, to: &Inode, share: &Share) -> Result<u64> {
    let (_, uid, gid) = share.owner.unwrap_or((to.mode, to.uid, to.gid));
    if !st.has_limits() && (uid, gid) == (to.uid, to.gid) {
        return Ok(0);
    }
    let gets = from.tree.count(io, share.from_fbn, share.blocks)?;
    let loses = match share.size {
        Some(_) => to.blocks,
        None => to.tree.count(io, share.to_fbn, share.blocks)?,
    };
    move_owner(st, io, cx, to, (uid, gid), to.blocks, (to.blocks + gets).saturating_sub(loses))
}

/// As Linux' FICLONERANGE: whole blocks, but for the source's last.
fn check_range(request: &Request, from: &Inode, to: &Inode, len: u64, end: u64) -> Result<()> {
    let from_end = request.from_offset.checked_add(len).ok_or(FsError::Invalid)?;
    let aligned = |offset: u64| offset.is_multiple_of(BLOCK_SIZE_U64);
    let ends_well = aligned(len) || (from_end == from.size && (end >= to.size || request.whole));
    let overlaps = request.from == request.to && request.from_offset < end && request.to_offset < from_end;
    let within = from_end <= from.size && len <= CLONE_MAX;
    let starts_well = aligned(request.from_offset) && aligned(request.to_offset);
    if starts_well && ends_well && within && !overlaps { Ok(()) } else { Err(FsError::Invalid) }
}

pub(super) fn apply(st: &mut State, io: &Io, now: Time, share: &Share) -> Result<()> {
    let from = if share.snapshot == SnapshotId::ACTIVE {
        st.load(io, share.from)?
    } else {
        let snap = st.snaps.iter().find(|snap| snap.id == share.snapshot).cloned();
        let inode = snap.map(|snap| snap.inode(io, share.from)).transpose()?.flatten();
        Arc::new(
            inode
                .ok_or_else(|| FsError::Format("the log shares with a file that is not there".to_owned()))?,
        )
    };
    st.edit(io, share.to, |inode, edit| {
        let end = Fbn(share.to_fbn.0 + share.blocks);
        inode.blocks -= match share.size {
            Some(_) => inode.tree.truncate(edit, Fbn(0))?,
            // The holes of the source are holes of the target.
            None => inode.tree.punch(edit, share.to_fbn, end)?,
        };
        let shift = |fbn: Fbn| Fbn(fbn.0 - share.from_fbn.0 + share.to_fbn.0);
        from.tree.for_range(io, share.from_fbn, share.blocks, &mut |fbn, found| {
            let at = shift(fbn);
            match found {
                // Not on disk yet: the CP gives it a block of its own.
                Found::Page(page) => inode.blocks += u64::from(inode.tree.put_page(edit, at, page)?),
                Found::Disk(ptr) => {
                    edit.ledger.adopt(ptr.vbn);
                    inode.blocks += u64::from(inode.tree.replace(edit, at, Slot::Disk(ptr))?);
                }
            }
            Ok(())
        })?;
        inode.size = share.size.unwrap_or_else(|| inode.size.max(share.end));
        stamp_data(inode, now);
        if let Some((mode, uid, gid)) = share.owner {
            (inode.mode, inode.uid, inode.gid) = (mode, uid, gid);
        }
        inode.mtime = share.mtime.unwrap_or(inode.mtime);
        if share.size.is_some() {
            inode.dos = share.dos;
        }
        Ok(())
    })?;
    if share.size.is_some() { st.follow_owner(io, share.to) } else { Ok(()) }
}
