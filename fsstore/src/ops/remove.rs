//! REMOVE and RMDIR.

use super::make::stamp_content;
use super::{Plan, Seen};
use crate::access::{X, check_name, is_dots, need, need_delete};
use crate::directory;
use crate::error::{FsError, Result};
use crate::ids::{FileId, InodeNum};
use crate::inode::Inode;
use crate::io::Io;
use crate::op::{Context, Time};
use crate::record::Act;
use crate::state::State;
use bytes::Bytes;
use std::sync::Arc;

/// The directory and the file that `name` leads to.
pub(super) fn victim(
    st: &mut State,
    io: &Io,
    cx: &Context,
    dir: FileId,
    name: &Bytes,
) -> Result<(Arc<Inode>, Arc<Inode>)> {
    let dir = st.dir(io, dir)?;
    need(cx, &dir, X)?;
    let target = st.find(io, &dir, name)?.ok_or(FsError::NotFound)?;
    let file = st.load(io, target.file.ino)?;
    Ok((dir, file))
}

pub(super) fn remove(st: &mut State, io: &Io, cx: &Context, dir: FileId, name: &Bytes) -> Result<Plan> {
    check_name(name)?;
    if is_dots(name) {
        return Err(FsError::IsDir);
    }
    let (dir, file) = victim(st, io, cx, dir, name)?;
    need_delete(cx, &dir, &file)?;
    if file.is_dir() {
        return Err(FsError::IsDir);
    }
    let mut plan =
        Plan::of(Some(Act::Unlink { dir: dir.ino, name: name.clone() }), Seen::old(&file)).in_dir(&dir);
    plan.extra = st.attr_count(io, &file)?;
    plan.gone = (file.nlink == 1).then(|| file.id());
    Ok(plan)
}

pub(super) fn rmdir(st: &mut State, io: &Io, cx: &Context, dir: FileId, name: &Bytes) -> Result<Plan> {
    check_name(name)?;
    match &name[..] {
        b"." => return Err(FsError::Invalid),
        b".." => return Err(FsError::NotEmpty),
        _ => {}
    }
    let (dir, file) = victim(st, io, cx, dir, name)?;
    need_delete(cx, &dir, &file)?;
    if !file.is_dir() {
        return Err(FsError::NotDir);
    }
    if file.entries > 0 {
        return Err(FsError::NotEmpty);
    }
    let mut plan =
        Plan::of(Some(Act::Unlink { dir: dir.ino, name: name.clone() }), Seen::old(&file)).in_dir(&dir);
    plan.extra = st.attr_count(io, &file)? + dropped_rules(st, &file);
    plan.gone = Some(file.id());
    Ok(plan)
}

/// Pages of quota rules that change if this file goes: those of the qtree that it is.
pub(super) fn dropped_rules(st: &State, file: &Inode) -> u64 {
    if State::is_qtree(file) { st.quota.rule_pages_of(file.qtree) } else { 0 }
}

pub(super) fn apply(st: &mut State, io: &Io, now: Time, dir: InodeNum, name: &Bytes) -> Result<()> {
    let parent = st.load(io, dir)?;
    let target = st.find(io, &parent, name)?.ok_or(FsError::NotFound)?;
    drop(parent);
    st.edit(io, dir, |dir, edit| {
        directory::remove(dir, edit, target.key)?;
        stamp_content(dir, now);
        Ok(())
    })?;
    drop_link(st, io, now, dir, target.file.ino)
}

/// Takes one link from a file whose name in `parent` is gone already.
pub(super) fn drop_link(st: &mut State, io: &Io, now: Time, parent: InodeNum, ino: InodeNum) -> Result<()> {
    let file = st.load(io, ino)?.clone();
    if file.is_dir() {
        if State::is_qtree(&file) {
            st.drop_qtree(io, file.qtree)?;
        }
        drop(file);
        st.edit(io, parent, |dir, _| {
            dir.nlink = dir.nlink.saturating_sub(1);
            Ok(())
        })?;
        return st.free_inode(io, ino);
    }
    drop(file);
    let left = st.edit(io, ino, |inode, _| {
        inode.nlink = inode.nlink.saturating_sub(1);
        inode.ctime = inode.stamp(now);
        Ok(inode.nlink)
    })?;
    if left == 0 { st.free_inode(io, ino) } else { Ok(()) }
}
