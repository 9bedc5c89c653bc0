//! SETACL, and what other operations do to lists. What a list means is in [`crate::acl`].

use super::xattr::hidden;
use super::{Plan, Seen};
use crate::access::{SETGID, may_set_acl};
use crate::acl::Acl;
use crate::error::{FsError, Result};
use crate::ids::{Fbn, FileId, InodeNum};
use crate::inode::Hidden;
use crate::io::Io;
use crate::op::{Context, FileKind, Time};
use crate::quota::Demand;
use crate::record::{AclBlob, Act};
use crate::state::State;
use crate::tree::page_from;
use bytes::Bytes;
use std::sync::Arc;

pub(super) fn set(st: &mut State, io: &Io, cx: &Context, file: FileId, acl: Option<&Acl>) -> Result<Plan> {
    let inode = st.file(io, file)?;
    if inode.hidden != Hidden::No || inode.kind == Some(FileKind::Symlink) {
        return Err(FsError::Invalid);
    }
    if !may_set_acl(cx, &inode) {
        return Err(FsError::Perm);
    }
    let Some(acl) = acl else {
        let blob = AclBlob { made: None, bytes: Bytes::new() };
        let act = Act::SetAcl { file: inode.ino, acl: blob, mode: inode.mode };
        return Ok(Plan::of(inode.acl.is_some().then_some(act), Seen::old(&inode)));
    };
    if acl.aces.is_empty() && acl.nt.is_none() {
        // It would grant nothing to anybody; a caller who wants that denies it to everyone.
        return Err(FsError::Invalid);
    }
    let nine = acl.mode_of(inode.is_dir(), inode.uid, inode.gid);
    let says_more = *acl != Acl::from_mode(nine, inode.is_dir());
    if inode.acl.as_deref() == Some(acl).filter(|_| says_more) && inode.mode & 0o777 == nine {
        return Ok(Plan::of(None, Seen::old(&inode)));
    }
    // As with a chmod, setgid goes where the caller is not in the group.
    let kept = if cx.uid == 0 || cx.in_group(inode.gid) { !0o777 } else { !(0o777 | SETGID) };
    let mode = inode.mode & kept | nine;
    if !says_more {
        let blob = AclBlob { made: None, bytes: Bytes::new() };
        return Ok(Plan::of(Some(Act::SetAcl { file: inode.ino, acl: blob, mode }), Seen::old(&inode)));
    }
    let mut blob = blob(acl)?;
    if inode.acl_file == InodeNum(0) {
        blob.made = Some(st.next_id(io)?);
        st.need_quota(io, cx, &Demand::default().of(&inode, 1, 1))?;
    }
    Ok(Plan::of(Some(Act::SetAcl { file: inode.ino, acl: blob, mode }), Seen::old(&inode)))
}

/// A list as a record carries it, for a file that has one.
pub(super) fn blob(acl: &Acl) -> Result<AclBlob> {
    acl.check()?;
    Ok(AclBlob { made: None, bytes: acl.encode().into() })
}

/// Stores a list.
pub(super) fn put(st: &mut State, io: &Io, now: Time, file: InodeNum, blob: &AclBlob) -> Result<()> {
    if let Some(made) = blob.made {
        let file = st.load(io, file)?.clone();
        st.take_id(io, hidden(made, &file, now, Hidden::Value))?;
    }
    let acl =
        Acl::decode(&blob.bytes).ok_or_else(|| FsError::Format("the log holds a bad list".to_owned()))?;
    let at = st.edit(io, file, |inode, _| {
        inode.acl_file = blob.made.map_or(inode.acl_file, |made| made.ino);
        inode.acl = Some(Arc::new(acl));
        Ok(inode.acl_file)
    })?;
    st.edit(io, at, |inode, edit| {
        (inode.size, inode.blocks) = (blob.bytes.len() as u64, 1);
        inode.tree.put_page(edit, Fbn(0), page_from(&blob.bytes)).map(drop)
    })
}

pub(super) fn apply(
    st: &mut State,
    io: &Io,
    now: Time,
    file: InodeNum,
    blob: &AclBlob,
    mode: u32,
) -> Result<()> {
    if blob.bytes.is_empty() {
        let at = st.load(io, file)?.acl_file;
        if at != InodeNum(0) {
            st.free_one(io, at)?;
        }
        st.edit(io, file, |inode, _| {
            (inode.acl_file, inode.acl) = (InodeNum(0), None);
            Ok(())
        })?;
    } else {
        put(st, io, now, file, blob)?;
    }
    st.edit(io, file, |inode, _| {
        inode.mode = mode;
        inode.ctime = inode.stamp(now);
        Ok(())
    })
}
