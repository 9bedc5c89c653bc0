//! SETXATTR, REMOVEXATTR, and named streams made and removed.

use super::make::stamp_content;
use super::{Plan, Seen};
use crate::access::{W, need};
use crate::directory;
use crate::error::{FsError, Result};
use crate::ids::{BLOCK_SIZE, BLOCK_SIZE_U64, Fbn, FileId, InodeNum};
use crate::inode::{Hidden, Inode};
use crate::io::Io;
use crate::op::{Context, FileKind, Time, XATTR_VALUE_MAX, XattrHow};
use crate::quota::{Demand, Owner};
use crate::record::{Act, PutAttr};
use crate::state::State;
use crate::tree::page_from;
use crate::xattr::{check_has_streams, check_xattr, stream_entry, xattr_entry};
use bytes::Bytes;
use std::sync::Arc;

pub(super) fn set(
    st: &mut State,
    io: &Io,
    cx: &Context,
    file: FileId,
    name: &Bytes,
    value: &Bytes,
    how: XattrHow,
) -> Result<Plan> {
    let inode = st.file(io, file)?;
    let entry = xattr_entry(name)?;
    check_xattr(cx, &inode, &entry, true)?;
    if value.len() > XATTR_VALUE_MAX {
        return Err(FsError::FileTooBig);
    }
    let old = st.attr_file(io, &inode, &entry)?;
    let there = old.is_some();
    match how {
        XattrHow::Create if there => return Err(FsError::Exists),
        XattrHow::Replace if !there => return Err(FsError::NotFound),
        _ => {}
    }
    let put = put(st, io, &inode, entry, !there, Some(value.clone()))?;
    let pages = value.len().div_ceil(BLOCK_SIZE) as u64;
    need_quota(st, io, cx, &inode, &put, signed(pages) - old.map_or(0, |old| signed(old.blocks)))?;
    Ok(Plan::of(Some(Act::PutAttr(put)), Seen::old(&inode)))
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The value's blocks, the inodes that are made, and what the attribute directory grows by.
fn need_quota(st: &mut State, io: &Io, cx: &Context, file: &Inode, put: &PutAttr, blocks: i64) -> Result<()> {
    if !st.is_limited(cx, file) {
        return Ok(());
    }
    let mut demand = Demand::default();
    demand.add(Owner::of(file), blocks, i64::from(put.dir.is_some()) + i64::from(put.made.is_some()));
    if put.made.is_some() {
        let dir = match st.attr_dir(io, file)? {
            Some(dir) => dir,
            None => Arc::new(hidden(file.id(), file, Time::default(), Hidden::AttrDir)),
        };
        demand = st.entry_demand(io, cx, demand, &dir, &put.name)?;
    }
    st.need_quota(io, cx, &demand)
}

/// The record that puts `entry`, with the inodes that it needs.
fn put(
    st: &mut State,
    io: &Io,
    file: &Arc<Inode>,
    name: Bytes,
    new: bool,
    value: Option<Bytes>,
) -> Result<PutAttr> {
    let dir = st.attr_dir(io, file)?;
    if new && dir.as_ref().is_some_and(|dir| dir.entries >= st.attrs_max) {
        return Err(FsError::AttrsFull);
    }
    let (dir, made) = match (dir, new) {
        (None, _) => {
            let (dir, made) = st.next_two_ids(io)?;
            (Some(dir), Some(made))
        }
        (Some(_), true) => (None, Some(st.next_id(io)?)),
        (Some(_), false) => (None, None),
    };
    Ok(PutAttr { file: file.ino, dir, made, name, value })
}

pub(super) fn remove(st: &mut State, io: &Io, cx: &Context, file: FileId, name: &Bytes) -> Result<Plan> {
    let inode = st.file(io, file)?;
    let entry = xattr_entry(name)?;
    check_xattr(cx, &inode, &entry, true)?;
    st.attr_file(io, &inode, &entry)?.ok_or(FsError::NotFound)?;
    Ok(Plan::of(Some(Act::DropAttr { file: inode.ino, name: entry }), Seen::old(&inode)))
}

pub(super) fn make_stream(
    st: &mut State,
    io: &Io,
    cx: &Context,
    file: FileId,
    name: &Bytes,
    guarded: bool,
) -> Result<Plan> {
    let inode = st.file(io, file)?;
    let entry = stream_entry(name)?;
    check_has_streams(&inode)?;
    if let Some(stream) = st.attr_file(io, &inode, &entry)? {
        let stream = Arc::new(stream.with_rights_of(&inode));
        return if guarded { Err(FsError::Exists) } else { Ok(Plan::of(None, Seen::old(&stream))) };
    }
    need(cx, &inode, W)?;
    let put = put(st, io, &inode, entry, true, None)?;
    need_quota(st, io, cx, &inode, &put, 0)?;
    let made = put.made.ok_or(FsError::Stale)?;
    Ok(Plan::of(Some(Act::PutAttr(put)), Seen::new(made)))
}

pub(super) fn remove_stream(
    st: &mut State,
    io: &Io,
    cx: &Context,
    file: FileId,
    name: &Bytes,
) -> Result<Plan> {
    let inode = st.file(io, file)?;
    let entry = stream_entry(name)?;
    check_has_streams(&inode)?;
    let stream = st.attr_file(io, &inode, &entry)?.ok_or(FsError::NotFound)?;
    need(cx, &inode, W)?;
    let mut plan = Plan::of(Some(Act::DropAttr { file: inode.ino, name: entry }), Seen::old(&inode));
    plan.gone = Some(stream.id());
    Ok(plan)
}

pub(super) fn rename_stream(
    st: &mut State,
    io: &Io,
    cx: &Context,
    file: FileId,
    (from, to): (&Bytes, &Bytes),
    replace: bool,
) -> Result<Plan> {
    let inode = st.file(io, file)?;
    let (from, to) = (stream_entry(from)?, stream_entry(to)?);
    check_has_streams(&inode)?;
    let stream = st.attr_file(io, &inode, &from)?.ok_or(FsError::NotFound)?;
    let stream = Arc::new(stream.with_rights_of(&inode));
    if from == to {
        return Ok(Plan::of(None, Seen::old(&stream)));
    }
    need(cx, &inode, W)?;
    let replaced = st.attr_file(io, &inode, &to)?;
    if replaced.is_some() && !replace {
        return Err(FsError::Exists);
    }
    if replaced.is_none() && st.is_limited(cx, &inode) {
        let dir = st.attr_dir(io, &inode)?.ok_or(FsError::NotFound)?;
        let demand = st.entry_demand(io, cx, Demand::default(), &dir, &to)?;
        st.need_quota(io, cx, &demand)?;
    }
    let mut plan = Plan::of(Some(Act::RenameAttr { file: inode.ino, from, to }), Seen::old(&stream));
    plan.extra = u64::from(replaced.is_some());
    plan.gone = replaced.map(|replaced| replaced.id());
    Ok(plan)
}

/// A hidden inode, charged to those that its file is charged to.
pub(super) fn hidden(id: FileId, file: &Inode, now: Time, what: Hidden) -> Inode {
    let mut inode = Inode::new(id.ino, id.generation);
    let dir = what == Hidden::AttrDir;
    inode.kind = Some(if dir { FileKind::Dir } else { FileKind::File });
    (inode.nlink, inode.size) = if dir { (2, BLOCK_SIZE_U64) } else { (1, 0) };
    (inode.atime, inode.mtime, inode.ctime, inode.btime) = (now, now, now, now);
    (inode.parent, inode.hidden) = (file.ino, what);
    (inode.uid, inode.gid, inode.qtree) = (file.uid, file.gid, file.qtree);
    inode
}

pub(super) fn apply(st: &mut State, io: &Io, now: Time, put: &PutAttr) -> Result<()> {
    let file = st.load(io, put.file)?.clone();
    if let Some(dir) = put.dir {
        st.take_id(io, hidden(dir, &file, now, Hidden::AttrDir))?;
    }
    let dir = st.edit(io, put.file, |inode, _| {
        inode.attrs = put.dir.map_or(inode.attrs, |dir| dir.ino);
        inode.ctime = inode.stamp(now);
        Ok(inode.attrs)
    })?;
    let target = if let Some(made) = put.made {
        let what = if put.value.is_some() { Hidden::Value } else { Hidden::Stream };
        st.take_id(io, hidden(made, &file, now, what))?;
        let hash = st.hash;
        st.edit(io, dir, |dir, edit| directory::insert(dir, edit, hash, &put.name, made, FileKind::File))?;
        made.ino
    } else {
        let dir = st.load(io, dir)?;
        st.find(io, &dir, &put.name)?.ok_or(FsError::NotFound)?.file.ino
    };
    let Some(value) = &put.value else { return Ok(()) };
    st.edit(io, target, |inode, edit| {
        inode.tree.truncate(edit, Fbn(0))?;
        let pages = value.chunks(BLOCK_SIZE);
        (inode.size, inode.blocks) = (value.len() as u64, pages.len() as u64);
        for (index, page) in pages.enumerate() {
            inode.tree.put_page(edit, Fbn(index as u64), page_from(page))?;
        }
        stamp_content(inode, now);
        Ok(())
    })
}

pub(super) fn apply_drop(st: &mut State, io: &Io, now: Time, file: InodeNum, name: &Bytes) -> Result<()> {
    let attrs = st.load(io, file)?.attrs;
    let dir = st.load(io, attrs)?;
    let target = st.find(io, &dir, name)?.ok_or(FsError::NotFound)?;
    let last = dir.entries == 1;
    drop(dir);
    st.edit(io, attrs, |dir, edit| directory::remove(dir, edit, target.key))?;
    st.free_one(io, target.file.ino)?;
    if last {
        st.free_one(io, attrs)?;
    }
    st.edit(io, file, |inode, _| {
        if last {
            inode.attrs = InodeNum(0);
        }
        inode.ctime = inode.stamp(now);
        Ok(())
    })
}

pub(super) fn apply_rename(
    st: &mut State,
    io: &Io,
    now: Time,
    file: InodeNum,
    (from, to): (&Bytes, &Bytes),
) -> Result<()> {
    let attrs = st.load(io, file)?.attrs;
    let dir = st.load(io, attrs)?;
    let moved = st.find(io, &dir, from)?.ok_or(FsError::NotFound)?;
    let replaced = st.find(io, &dir, to)?;
    drop(dir);
    let hash = st.hash;
    st.edit(io, attrs, |dir, edit| {
        if let Some(old) = &replaced {
            directory::retarget(dir, edit, old.key, moved.file, moved.kind)?;
        } else {
            directory::insert(dir, edit, hash, to, moved.file, moved.kind)?;
        }
        directory::remove(dir, edit, moved.key)
    })?;
    if let Some(old) = replaced {
        st.free_one(io, old.file.ino)?;
    }
    st.edit(io, file, |inode, _| {
        inode.ctime = inode.stamp(now);
        Ok(())
    })
}
