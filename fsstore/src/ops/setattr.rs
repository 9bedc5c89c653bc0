//! SETATTR.

use super::hole::zero;
use super::make::to_archive;
use super::{Plan, Seen, acl};
use crate::access::{SETGID, W, may_set_attributes, need, need_or_owner, without_setid};
use crate::dos::DosAttributes;
use crate::error::{FsError, Result};
use crate::ids::{BLOCK_SIZE_U64, Fbn, FileId};
use crate::inode::{Hidden, Inode};
use crate::io::Io;
use crate::op::{Context, FILE_SIZE_MAX, SetAttrs, SetTime, Time};
use crate::quota::{Demand, Owner};
use crate::record::{Act, Late, SetAttr};
use crate::state::State;
use crate::tree::Edit;

pub(super) fn plan(
    st: &mut State,
    io: &Io,
    cx: &Context,
    file: FileId,
    attrs: &SetAttrs,
    guard: Option<Time>,
) -> Result<Plan> {
    let inode = st.file(io, file)?;
    if guard.is_some_and(|ctime| ctime != inode.ctime) {
        return Err(FsError::NotSync);
    }
    if *attrs == SetAttrs::default() {
        return Ok(Plan::of(None, Seen::old(&inode)));
    }
    let of_file = (attrs.mode, attrs.uid, attrs.gid, attrs.dos);
    if inode.hidden != Hidden::No && of_file != (None, None, None, None) {
        // They are those of the file that the stream is of.
        return Err(FsError::Invalid);
    }
    attrs.dos.map_or(Ok(()), DosAttributes::check)?;
    check_owner(cx, &inode, attrs)?;
    check_times(cx, &inode, attrs)?;
    if let Some(size) = attrs.size {
        check_size(cx, &inode, size)?;
    }
    let chown = attrs.uid.is_some() || attrs.gid.is_some();
    let resize = attrs.size.is_some_and(|size| size != inode.size);
    let fixed = |time: SetTime| time.fixed(cx.now);
    let mode = new_mode(cx, &inode, attrs, chown, resize);
    let acl = match (&inode.acl, attrs.mode.and(mode)) {
        (Some(acl), Some(mode)) => Some(acl::blob(&acl.with_mode(mode, inode.is_dir()))?),
        _ => None,
    };
    let set = SetAttr {
        file: inode.ino,
        acl,
        mode,
        uid: attrs.uid,
        gid: attrs.gid,
        size: attrs.size,
        atime: fixed(attrs.atime),
        mtime: fixed(attrs.mtime),
        late: Late { ctime: fixed(attrs.ctime), btime: fixed(attrs.btime), dos: attrs.dos },
    };
    let (uid, gid) = (attrs.uid.unwrap_or(inode.uid), attrs.gid.unwrap_or(inode.gid));
    let moves = move_owner(st, io, cx, &inode, (uid, gid), inode.blocks, inode.blocks)?;
    let mut plan = Plan::of(Some(Act::SetAttr(set)), Seen::old(&inode));
    plan.extra = moves;
    Ok(plan)
}

/// Whether a file, with what is hidden behind it, may be charged to others: then it has `blocks` instead of those that it
/// `had`. Gives the blocks that it may cost to write that down.
pub(super) fn move_owner(
    st: &mut State,
    io: &Io,
    cx: &Context,
    inode: &Inode,
    (uid, gid): (u32, u32),
    had: u64,
    blocks: u64,
) -> Result<u64> {
    let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let stays = (uid, gid) == (inode.uid, inode.gid);
    if stays && had == blocks {
        return Ok(0);
    }
    let hidden = if stays { Vec::new() } else { st.hidden_of(io, inode)? };
    if st.has_limits() {
        let mut behind = 0;
        for ino in &hidden {
            behind += st.load(io, *ino)?.blocks;
        }
        let files = 1 + signed(hidden.len() as u64);
        let mut demand = Demand::default().of(inode, -signed(had + behind), -files);
        demand.add(Owner { qtree: inode.qtree, uid, gid }, signed(blocks + behind), files);
        st.need_quota(io, cx, &demand)?;
    }
    /// Usage of a user and a group besides those that every operation may touch.
    const USAGE_BLOCKS: u64 = 12;
    Ok(if stays { 0 } else { USAGE_BLOCKS + hidden.len() as u64 })
}

/// chmod is the owner's, chown root's, chgrp the owner's among the own groups.
fn check_owner(cx: &Context, inode: &Inode, attrs: &SetAttrs) -> Result<()> {
    let owner = cx.uid == inode.uid;
    if cx.uid == 0 {
        return Ok(());
    }
    let mode_ok = attrs.mode.is_none() || owner;
    let uid_ok = attrs.uid.is_none_or(|uid| owner && uid == inode.uid);
    let gid_ok = attrs.gid.is_none_or(|gid| owner && (gid == inode.gid || cx.in_group(gid)));
    if mode_ok && uid_ok && gid_ok { Ok(()) } else { Err(FsError::Perm) }
}

/// To a time of the caller's is for the owner, and for whom a list says so of; to now also for a writer, and so are DOS attributes.
fn check_times(cx: &Context, inode: &Inode, attrs: &SetAttrs) -> Result<()> {
    let times = [attrs.atime, attrs.mtime, attrs.ctime, attrs.btime];
    if times == [SetTime::Keep; 4] && attrs.dos.is_none() || may_set_attributes(cx, inode) {
        return Ok(());
    }
    if times.iter().any(|time| matches!(time, SetTime::To(_))) {
        return Err(FsError::Perm);
    }
    need(cx, inode, W)
}

fn check_size(cx: &Context, inode: &Inode, size: u64) -> Result<()> {
    inode.need_file()?;
    need_or_owner(cx, inode, W)?;
    if size > FILE_SIZE_MAX { Err(FsError::FileTooBig) } else { Ok(()) }
}

/// The mode to set, if any: a chown or a resize by others takes setuid and setgid away.
fn new_mode(cx: &Context, inode: &Inode, attrs: &SetAttrs, chown: bool, resize: bool) -> Option<u32> {
    let mut mode = attrs.mode.map(|mode| mode & 0o7777);
    if let Some(mode) = &mut mode {
        let gid = attrs.gid.unwrap_or(inode.gid);
        if cx.uid != 0 && !cx.in_group(gid) {
            *mode &= !SETGID;
        }
    }
    let strips = (chown && !inode.is_dir()) || (resize && cx.uid != 0);
    if !strips {
        return mode;
    }
    let was = mode.unwrap_or(inode.mode);
    let stripped = without_setid(was);
    if mode.is_some() || stripped != was { Some(stripped) } else { None }
}

pub(super) fn apply(st: &mut State, io: &Io, now: Time, set: &SetAttr) -> Result<()> {
    if let Some(blob) = &set.acl {
        acl::put(st, io, now, set.file, blob)?;
    }
    st.edit(io, set.file, |inode, edit| {
        let time = inode.stamp(now);
        inode.ctime = time;
        if let Some(size) = set.size.filter(|size| *size != inode.size) {
            resize(inode, edit, size)?;
            inode.mtime = time;
            to_archive(inode);
        }
        inode.mode = set.mode.unwrap_or(inode.mode);
        inode.uid = set.uid.unwrap_or(inode.uid);
        inode.gid = set.gid.unwrap_or(inode.gid);
        inode.atime = set.atime.unwrap_or(inode.atime);
        inode.mtime = set.mtime.unwrap_or(inode.mtime);
        inode.ctime = set.late.ctime.unwrap_or(inode.ctime);
        inode.btime = set.late.btime.unwrap_or(inode.btime);
        inode.dos = set.late.dos.or(inode.dos);
        Ok(())
    })?;
    if set.uid.is_some() || set.gid.is_some() { st.follow_owner(io, set.file) } else { Ok(()) }
}

fn resize(inode: &mut Inode, edit: &mut Edit<'_>, size: u64) -> Result<()> {
    if size < inode.size {
        let dropped = inode.tree.truncate(edit, Fbn(size.div_ceil(BLOCK_SIZE_U64)))?;
        inode.blocks = inode.blocks.saturating_sub(dropped);
        // What is behind the end of the last block must read as zeros if the file grows again.
        zero(inode, edit, size..size.next_multiple_of(BLOCK_SIZE_U64))?;
    }
    inode.size = size;
    Ok(())
}
