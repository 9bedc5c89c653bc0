//! RENAME, as rename(2) on Linux.

use super::make::{add_name, stamp_content};
use super::remove::{drop_link, dropped_rules};
use super::{Plan, Seen};
use crate::access::{W, X, check_name, is_dots, need, need_add, need_delete};
use crate::directory;
use crate::error::{FsError, Result};
use crate::ids::{FileId, InodeNum};
use crate::inode::Inode;
use crate::io::Io;
use crate::op::{Context, LINK_MAX, Time};
use crate::quota::Demand;
use crate::record::Act;
use crate::state::State;
use bytes::Bytes;
use std::sync::Arc;

pub(super) fn plan(
    st: &mut State,
    io: &Io,
    cx: &Context,
    (from_dir, from): (FileId, &Bytes),
    (to_dir, to): (FileId, &Bytes),
) -> Result<Plan> {
    let from_dir = st.dir(io, from_dir)?;
    let to_dir = st.dir(io, to_dir)?;
    check_name(from)?;
    check_name(to)?;
    need(cx, &from_dir, X)?;
    need(cx, &to_dir, X)?;
    if is_dots(from) || is_dots(to) {
        return Err(FsError::Invalid);
    }
    let moved = st.find(io, &from_dir, from)?.ok_or(FsError::NotFound)?;
    let moved = st.load(io, moved.file.ino)?;
    let replaced = st.find(io, &to_dir, to)?;
    let replaced = replaced.map(|target| st.load(io, target.file.ino)).transpose()?;
    check_loops(st, io, &from_dir, &to_dir, &moved, replaced.as_ref())?;

    let same = replaced.as_ref().is_some_and(|file| file.ino == moved.ino);
    if !same {
        check_qtrees(&from_dir, &to_dir, &moved)?;
        check_rights(cx, &from_dir, &to_dir, &moved, replaced.as_ref())?;
    }
    let extra = match &replaced {
        Some(file) => st.attr_count(io, file)? + dropped_rules(st, file),
        None => {
            let demand = st.entry_demand(io, cx, Demand::default(), &to_dir, to)?;
            st.need_quota(io, cx, &demand)?;
            0
        }
    };
    let act = Act::Rename { from_dir: from_dir.ino, from: from.clone(), to_dir: to_dir.ino, to: to.clone() };
    let mut plan = Plan::of((!same).then_some(act), Seen::old(&moved)).in_dir(&from_dir);
    plan.to_dir = Some(Seen::old(&to_dir));
    plan.extra = extra;
    plan.gone = replaced.filter(|file| !same && (file.is_dir() || file.nlink == 1)).map(|file| file.id());
    Ok(plan)
}

/// Nothing moves into itself, and no directory replaces one that it is in.
fn check_loops(
    st: &mut State,
    io: &Io,
    from_dir: &Inode,
    to_dir: &Inode,
    moved: &Inode,
    replaced: Option<&Arc<Inode>>,
) -> Result<()> {
    if from_dir.ino == to_dir.ino {
        return Ok(());
    }
    if moved.is_dir() && st.is_below(io, to_dir.ino, moved.ino)? {
        return Err(FsError::Invalid);
    }
    match replaced {
        Some(file) if file.is_dir() && st.is_below(io, from_dir.ino, file.ino)? => Err(FsError::NotEmpty),
        _ => Ok(()),
    }
}

/// What a file is charged to stays as it is. A qtree itself stays in the root.
fn check_qtrees(from_dir: &Inode, to_dir: &Inode, moved: &Inode) -> Result<()> {
    let stays = if State::is_qtree(moved) { from_dir.ino == to_dir.ino } else { moved.qtree == to_dir.qtree };
    if stays { Ok(()) } else { Err(FsError::CrossDevice) }
}

fn check_rights(
    cx: &Context,
    from_dir: &Inode,
    to_dir: &Inode,
    moved: &Inode,
    replaced: Option<&Arc<Inode>>,
) -> Result<()> {
    need_delete(cx, from_dir, moved)?;
    let changes_parent = moved.is_dir() && from_dir.ino != to_dir.ino;
    match replaced {
        None => {
            need_add(cx, to_dir, moved.is_dir())?;
            if changes_parent && to_dir.nlink >= LINK_MAX {
                return Err(FsError::TooManyLinks);
            }
        }
        Some(file) => {
            need_delete(cx, to_dir, file)?;
            match (moved.is_dir(), file.is_dir()) {
                (true, false) => return Err(FsError::NotDir),
                (false, true) => return Err(FsError::IsDir),
                _ => {}
            }
        }
    }
    if changes_parent && !moved.has_nt_acl() {
        // Its `..` changes.
        need(cx, moved, W)?;
    }
    if replaced.is_some_and(|file| file.is_dir() && file.entries > 0) {
        Err(FsError::NotEmpty)
    } else {
        Ok(())
    }
}

pub(super) fn apply(
    st: &mut State,
    io: &Io,
    now: Time,
    (from_dir, from): (InodeNum, &Bytes),
    (to_dir, to): (InodeNum, &Bytes),
) -> Result<()> {
    let source = st.load(io, from_dir)?;
    let moved = st.find(io, &source, from)?.ok_or(FsError::NotFound)?;
    let dest = st.load(io, to_dir)?;
    let replaced = st.find(io, &dest, to)?;
    drop((source, dest));

    if let Some(old) = replaced {
        st.edit(io, to_dir, |dir, edit| {
            directory::retarget(dir, edit, old.key, moved.file, moved.kind)?;
            stamp_content(dir, now);
            Ok(())
        })?;
        drop_link(st, io, now, to_dir, old.file.ino)?;
        st.edit(io, moved.file.ino, |inode, _| {
            (inode.parent, inode.name_key) = (to_dir, old.key);
            Ok(())
        })?;
    } else {
        add_name(st, io, now, to_dir, to, moved.file, moved.kind)?;
    }
    st.edit(io, from_dir, |dir, edit| {
        directory::remove(dir, edit, moved.key)?;
        if from_dir != to_dir {
            // Within one directory it has its stamp already, and each stamp is a tick later than the last.
            stamp_content(dir, now);
        }
        Ok(())
    })?;
    let is_dir = st.edit(io, moved.file.ino, |inode, _| {
        inode.ctime = inode.stamp(now);
        Ok(inode.is_dir())
    })?;
    if is_dir && from_dir != to_dir {
        for (dir, more) in [(from_dir, false), (to_dir, true)] {
            st.edit(io, dir, |dir, _| {
                dir.nlink = if more { dir.nlink + 1 } else { dir.nlink - 1 };
                Ok(())
            })?;
        }
    }
    Ok(())
}
