//! CREATE, MKDIR, SYMLINK, MKNOD, LINK.

use super::{Plan, Seen, acl, setattr};
use crate::access::{SETGID, X, check_name, is_dots, mode_for_new, need, need_add};
use crate::directory;
use crate::dos::DosAttributes;
use crate::error::{FsError, Result};
use crate::ids::{BLOCK_SIZE_U64, Fbn, FileId, InodeNum, QtreeId};
use crate::inode::{Hidden, Inode};
use crate::io::Io;
use crate::op::{Context, CreateHow, FileKind, LINK_MAX, Op, SYMLINK_MAX, SetAttrs, SetTime, Time};
use crate::quota::{Demand, Owner};
use crate::record::{AclBlob, Act, Late, Make};
use crate::state::State;
use crate::tree::page_from;
use bytes::Bytes;
use std::sync::Arc;

/// The two times that an exclusive create keeps its verifier in.
fn verifier_times(verifier: [u8; 8]) -> (Time, Time) {
    let half = |at: usize| {
        let bytes = [verifier[at], verifier[at + 1], verifier[at + 2], verifier[at + 3]];
        Time { secs: i64::from(u32::from_le_bytes(bytes)), nanos: 0 }
    };
    (half(0), half(4))
}

/// The directory, checked for a new name, and what has the name already.
pub(super) fn place(
    st: &mut State,
    io: &Io,
    cx: &Context,
    dir: FileId,
    name: &Bytes,
) -> Result<(Arc<Inode>, Option<Arc<Inode>>)> {
    let dir = st.dir(io, dir)?;
    check_name(name)?;
    need(cx, &dir, X)?;
    if is_dots(name) {
        return Err(FsError::Exists);
    }
    let found = st.find(io, &dir, name)?;
    let existing = found.map(|target| st.load(io, target.file.ino)).transpose()?;
    Ok((dir, existing))
}

pub(super) fn create(
    st: &mut State,
    io: &Io,
    cx: &Context,
    dir: FileId,
    name: &Bytes,
    how: CreateHow,
) -> Result<Plan> {
    let (dir, existing) = place(st, io, cx, dir, name)?;
    if let Some(file) = existing {
        return reopen(st, io, cx, &dir, &file, how);
    }
    let mut attrs = SetAttrs::default();
    match how {
        CreateHow::Unchecked(set) | CreateHow::Guarded(set) => attrs = set,
        CreateHow::Exclusive(verifier) => {
            let (atime, mtime) = verifier_times(verifier);
            (attrs.atime, attrs.mtime) = (SetTime::To(atime), SetTime::To(mtime));
        }
    }
    new_file(st, io, cx, &dir, name, Kind::plain(FileKind::File), attrs)
}

/// CREATE of a name that exists.
fn reopen(
    st: &mut State,
    io: &Io,
    cx: &Context,
    dir: &Arc<Inode>,
    file: &Arc<Inode>,
    how: CreateHow,
) -> Result<Plan> {
    let regular = file.kind == Some(FileKind::File);
    let plan = match how {
        CreateHow::Guarded(_) => return Err(FsError::Exists),
        CreateHow::Unchecked(SetAttrs { size: size @ Some(_), .. }) if regular => {
            let attrs = SetAttrs { size, ..SetAttrs::default() };
            setattr::plan(st, io, cx, file.id(), &attrs, None)?
        }
        CreateHow::Unchecked(_) => Plan::of(None, Seen::old(file)),
        CreateHow::Exclusive(verifier) => {
            if !regular || file.size != 0 || (file.atime, file.mtime) != verifier_times(verifier) {
                return Err(FsError::Exists);
            }
            Plan::of(None, Seen::old(file))
        }
    };
    Ok(plan.in_dir(dir))
}

/// What a new inode is, besides its attributes.
pub(super) struct Kind {
    kind: FileKind,
    rdev: (u32, u32),
    target: Bytes,
    /// The new qtree whose directory it is.
    qtree: Option<QtreeId>,
}

impl Kind {
    fn plain(kind: FileKind) -> Kind {
        Kind { kind, rdev: (0, 0), target: Bytes::new(), qtree: None }
    }

    pub(super) fn qtree(qtree: QtreeId) -> Kind {
        Kind { qtree: Some(qtree), ..Kind::plain(FileKind::Dir) }
    }
}

pub(super) fn other(st: &mut State, io: &Io, cx: &Context, op: &Op) -> Result<Plan> {
    let (dir, name, kind, attrs) = match op {
        Op::Mkdir { dir, name, attrs } => (dir, name, Kind::plain(FileKind::Dir), attrs),
        Op::Symlink { dir, name, target, attrs } => {
            if target.is_empty() || target.contains(&0) {
                return Err(FsError::Invalid);
            }
            if target.len() > SYMLINK_MAX {
                return Err(FsError::NameTooLong);
            }
            (dir, name, Kind { target: target.clone(), ..Kind::plain(FileKind::Symlink) }, attrs)
        }
        Op::Mknod { dir, name, kind, rdev, attrs } => {
            use FileKind::{BlockDevice, CharDevice, Fifo, Socket};
            match kind {
                BlockDevice | CharDevice if cx.uid != 0 => return Err(FsError::Perm),
                BlockDevice | CharDevice => (dir, name, Kind { rdev: *rdev, ..Kind::plain(*kind) }, attrs),
                Fifo | Socket => (dir, name, Kind::plain(*kind), attrs),
                _ => return Err(FsError::Invalid),
            }
        }
        _ => return Err(FsError::Invalid),
    };
    let (dir, existing) = place(st, io, cx, *dir, name)?;
    if existing.is_some() {
        return Err(FsError::Exists);
    }
    if kind.kind == FileKind::Dir && dir.nlink >= LINK_MAX {
        return Err(FsError::TooManyLinks);
    }
    new_file(st, io, cx, &dir, name, kind, *attrs)
}

pub(super) fn new_file(
    st: &mut State,
    io: &Io,
    cx: &Context,
    dir: &Arc<Inode>,
    name: &Bytes,
    what: Kind,
    attrs: SetAttrs,
) -> Result<Plan> {
    let Kind { kind, rdev, target, qtree } = what;
    need_add(cx, dir, kind == FileKind::Dir)?;
    let (mut uid, mut gid) = (cx.uid, if dir.mode & SETGID == 0 { cx.gid } else { dir.gid });
    if cx.uid == 0 {
        // Others' wishes for an owner are left out, as knfsd does, not refused.
        uid = attrs.uid.unwrap_or(uid);
        gid = attrs.gid.unwrap_or(gid);
    }
    let mode = if kind == FileKind::Symlink { 0o777 } else { attrs.mode.unwrap_or(0) };
    attrs.dos.map_or(Ok(()), DosAttributes::check)?;
    let fixed = |time: SetTime| time.fixed(cx.now);
    let size = match kind {
        FileKind::File => attrs.size.unwrap_or(0),
        FileKind::Dir => BLOCK_SIZE_U64,
        FileKind::Symlink => target.len() as u64,
        _ => 0,
    };
    if size > crate::op::FILE_SIZE_MAX {
        return Err(FsError::FileTooBig);
    }
    // A link's rights mean nothing.
    let inherited = dir.acl.as_ref().filter(|_| kind != FileKind::Symlink);
    let is_dir = kind == FileKind::Dir;
    let inherited = inherited.and_then(|acl| acl.inherited(is_dir, mode, (uid, gid)));
    let (inherited, mode) = inherited.unwrap_or((None, mode));
    let (id, acl) = match &inherited {
        None => (st.next_id(io)?, None),
        Some(acl) => {
            let (id, made) = st.next_two_ids(io)?;
            (id, Some(AclBlob { made: Some(made), ..acl::blob(acl)? }))
        }
    };
    let make = Make {
        dir: dir.ino,
        name: name.clone(),
        id,
        kind,
        mode: mode_for_new(cx, dir, kind, mode, gid),
        uid,
        gid,
        rdev,
        target,
        size,
        atime: fixed(attrs.atime),
        mtime: fixed(attrs.mtime),
        acl,
        qtree,
        late: Late { ctime: fixed(attrs.ctime), btime: fixed(attrs.btime), dos: attrs.dos },
    };
    need_quota(st, io, cx, dir, &make)?;
    Ok(Plan::of(Some(Act::Make(make)), Seen::new(id)).in_dir(dir))
}

/// The new inode, its list, its target, and what the directory grows by.
fn need_quota(st: &State, io: &Io, cx: &Context, dir: &Inode, make: &Make) -> Result<()> {
    if !st.has_limits() {
        return Ok(());
    }
    let list = i64::from(make.acl.is_some());
    let target = i64::from(make.kind == FileKind::Symlink);
    let owner = Owner { qtree: make.qtree.unwrap_or(dir.qtree), uid: make.uid, gid: make.gid };
    let mut demand = Demand::default();
    demand.add(owner, list + target, 1 + list);
    let demand = st.entry_demand(io, cx, demand, dir, &make.name)?;
    st.need_quota(io, cx, &demand)
}

pub(super) fn apply(st: &mut State, io: &Io, now: Time, make: &Make) -> Result<()> {
    let mut inode = Inode::new(make.id.ino, make.id.generation);
    let is_dir = make.kind == FileKind::Dir;
    inode.kind = Some(make.kind);
    inode.mode = make.mode;
    inode.nlink = if is_dir { 2 } else { 1 };
    (inode.uid, inode.gid, inode.rdev, inode.size) = (make.uid, make.gid, make.rdev, make.size);
    inode.ctime = make.late.ctime.unwrap_or(now);
    inode.btime = make.late.btime.unwrap_or(now);
    inode.dos = make.late.dos;
    inode.atime = make.atime.unwrap_or(now);
    inode.mtime = make.mtime.unwrap_or(now);
    inode.qtree = match make.qtree {
        Some(qtree) => qtree,
        None => st.load(io, make.dir)?.qtree,
    };
    st.take_id(io, inode)?;
    if let Some(blob) = &make.acl {
        acl::put(st, io, now, make.id.ino, blob)?;
    }
    if make.kind == FileKind::Symlink {
        st.edit(io, make.id.ino, |inode, edit| {
            inode.blocks = 1;
            inode.tree.put_page(edit, Fbn(0), page_from(&make.target)).map(drop)
        })?;
    }
    add_name(st, io, now, make.dir, &make.name, make.id, make.kind)?;
    if is_dir {
        st.edit(io, make.dir, |dir, _| {
            dir.nlink += 1;
            Ok(())
        })?;
    }
    match make.qtree {
        Some(qtree) => st.add_qtree(io, qtree, make.id.ino),
        None => Ok(()),
    }
}

/// Adds an entry, which the file remembers as its newest, and stamps the directory.
pub(super) fn add_name(
    st: &mut State,
    io: &Io,
    now: Time,
    dir: InodeNum,
    name: &Bytes,
    file: FileId,
    kind: FileKind,
) -> Result<()> {
    let hash = st.hash;
    let name_key = st.edit(io, dir, |dir, edit| {
        let key = directory::insert(dir, edit, hash, name, file, kind)?;
        stamp_content(dir, now);
        Ok(key)
    })?;
    st.edit(io, file.ino, |inode, _| {
        (inode.parent, inode.name_key) = (dir, name_key);
        Ok(())
    })
}

/// Stamps an inode whose content changed.
pub(super) fn stamp_content(inode: &mut Inode, now: Time) {
    let time = inode.stamp(now);
    (inode.mtime, inode.ctime) = (time, time);
}

/// The same for the bytes of a file, which are to be archived again.
pub(super) fn stamp_data(inode: &mut Inode, now: Time) {
    stamp_content(inode, now);
    to_archive(inode);
}

pub(super) fn to_archive(inode: &mut Inode) {
    if let Some(dos) = &mut inode.dos {
        dos.0 |= DosAttributes::ARCHIVE;
    }
}

pub(super) fn link(
    st: &mut State,
    io: &Io,
    cx: &Context,
    file: FileId,
    dir: FileId,
    name: &Bytes,
) -> Result<Plan> {
    let file = st.file(io, file)?;
    let (dir, existing) = place(st, io, cx, dir, name)?;
    if existing.is_some() {
        return Err(FsError::Exists);
    }
    need_add(cx, &dir, false)?;
    if file.is_dir() || file.hidden != Hidden::No {
        return Err(FsError::Perm);
    }
    if file.qtree != dir.qtree {
        return Err(FsError::CrossDevice);
    }
    if file.nlink >= LINK_MAX {
        return Err(FsError::TooManyLinks);
    }
    let demand = st.entry_demand(io, cx, Demand::default(), &dir, name)?;
    st.need_quota(io, cx, &demand)?;
    let act = Act::Link { file: file.ino, dir: dir.ino, name: name.clone() };
    Ok(Plan::of(Some(act), Seen::old(&file)).in_dir(&dir))
}

pub(super) fn apply_link(
    st: &mut State,
    io: &Io,
    now: Time,
    file: InodeNum,
    dir: InodeNum,
    name: &Bytes,
) -> Result<()> {
    let (id, kind) = st.edit(io, file, |inode, _| {
        inode.nlink += 1;
        inode.ctime = inode.stamp(now);
        Ok((inode.id(), inode.kind))
    })?;
    add_name(st, io, now, dir, name, id, kind.ok_or(FsError::Stale)?)
}
