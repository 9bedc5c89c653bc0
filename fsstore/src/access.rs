//! POSIX permission checks by mode bits, as Linux servers do them.

use crate::acl::{AceMask, Acl};
use crate::error::{FsError, Result};
use crate::inode::Inode;
use crate::op::{Access, Context, FileKind, NAME_MAX};

/// Permission bits as in one octal digit of a mode.
pub(crate) const R: u32 = 4;
pub(crate) const W: u32 = 2;
pub(crate) const X: u32 = 1;

pub(crate) const SETUID: u32 = 0o4000;
pub(crate) const SETGID: u32 = 0o2000;
pub(crate) const STICKY: u32 = 0o1000;
const GROUP_EXEC: u32 = 0o010;

/// Whether the caller has all bits of `want` on `inode`.
pub(crate) fn may(cx: &Context, inode: &Inode, want: u32) -> bool {
    if cx.uid == 0 {
        // Root may all, but executes only what somebody may execute.
        return want & X == 0 || inode.is_dir() || inode.mode & 0o111 != 0;
    }
    if let Some(acl) = &inode.acl {
        // NT lets everybody pass through a directory.
        let want = if acl.nt.is_some() && inode.is_dir() { want & !X } else { want };
        return acl.grants(cx, inode.uid, inode.gid, AceMask::of_permissions(want, inode.is_dir()));
    }
    let shift = if cx.uid == inode.uid {
        6
    } else if cx.in_group(inode.gid) {
        3
    } else {
        0
    };
    inode.mode >> shift & want == want
}

/// As [`may`], as a result.
pub(crate) fn need(cx: &Context, inode: &Inode, want: u32) -> Result<()> {
    if may(cx, inode, want) { Ok(()) } else { Err(FsError::Access) }
}

/// As [`need`], but the owner may always: an open file stays usable after a chmod (RFC 1813 §4.4).
pub(crate) fn need_or_owner(cx: &Context, inode: &Inode, want: u32) -> Result<()> {
    if cx.uid == inode.uid { Ok(()) } else { need(cx, inode, want) }
}

/// Whether the caller may change who may what: the owner, and whom a list says so of.
pub(crate) fn may_set_acl(cx: &Context, inode: &Inode) -> bool {
    let by_acl = |acl: &Acl| acl.grants(cx, inode.uid, inode.gid, AceMask::WRITE_ACL);
    cx.uid == 0 || cx.uid == inode.uid || inode.acl.as_deref().is_some_and(by_acl)
}

/// Whether the list of `inode`, if it has one, grants the caller this.
fn by_acl(cx: &Context, inode: &Inode, bit: u32) -> bool {
    inode.acl.as_ref().is_some_and(|acl| acl.grants(cx, inode.uid, inode.gid, bit))
}

/// Whether the caller may put a new name into `dir`, of a directory or of something else.
pub(crate) fn need_add(cx: &Context, dir: &Inode, child_is_dir: bool) -> Result<()> {
    if cx.uid == 0 || !dir.has_nt_acl() {
        return need(cx, dir, W | X);
    }
    let bit = if child_is_dir { AceMask::APPEND_DATA } else { AceMask::WRITE_DATA };
    if by_acl(cx, dir, bit) { Ok(()) } else { Err(FsError::Access) }
}

/// Whether the caller may set times and attributes as they like: the owner, and whom a list says so of (RFC 8881 §6.2.1.3.1).
pub(crate) fn may_set_attributes(cx: &Context, inode: &Inode) -> bool {
    let by_acl = |acl: &Acl| acl.grants(cx, inode.uid, inode.gid, AceMask::WRITE_ATTRIBUTES);
    cx.uid == 0 || cx.uid == inode.uid || inode.acl.as_deref().is_some_and(by_acl)
}

/// Whether the caller may take `victim`'s name out of `dir`.
pub(crate) fn need_delete(cx: &Context, dir: &Inode, victim: &Inode) -> Result<()> {
    // With lists, DELETE of the file or DELETE_CHILD of the directory is enough (RFC 8881 §6.2.1.3.2).
    let by_acl = |inode: &Inode, bit: u32| by_acl(cx, inode, bit);
    if by_acl(victim, AceMask::DELETE) || by_acl(dir, AceMask::DELETE_CHILD) {
        need(cx, dir, X)?;
    } else if cx.uid != 0 && dir.has_nt_acl() {
        return Err(FsError::Access);
    } else {
        need(cx, dir, W | X)?;
    }
    let sticky = dir.mode & STICKY != 0;
    if sticky && cx.uid != 0 && cx.uid != victim.uid && cx.uid != dir.uid {
        Err(FsError::Perm)
    } else {
        Ok(())
    }
}

/// The mode of a new file: setgid goes where the caller is not in the group.
pub(crate) fn mode_for_new(cx: &Context, dir: &Inode, kind: FileKind, mode: u32, gid: u32) -> u32 {
    let mode = mode & 0o7777;
    if dir.mode & SETGID != 0 && kind == FileKind::Dir {
        return mode | SETGID;
    }
    let both = SETGID | GROUP_EXEC;
    if mode & both == both && cx.uid != 0 && !cx.in_group(gid) { mode & !SETGID } else { mode }
}

/// A mode without the bits that a change of owner or of content takes away.
pub(crate) fn without_setid(mode: u32) -> u32 {
    let mode = mode & !SETUID;
    if mode & GROUP_EXEC != 0 { mode & !SETGID } else { mode }
}

/// The mode that a change of the content by this caller leaves, if it is another one.
pub(crate) fn mode_after_change(cx: &Context, inode: &Inode) -> Option<u32> {
    Some(without_setid(inode.mode)).filter(|mode| cx.uid != 0 && *mode != inode.mode)
}

/// Checks the form of a name.
pub(crate) fn check_name(name: &[u8]) -> Result<()> {
    if name.len() > NAME_MAX {
        return Err(FsError::NameTooLong);
    }
    if name.is_empty() || name.contains(&b'/') || name.contains(&0) {
        return Err(FsError::Invalid);
    }
    Ok(())
}

/// Whether a name is `.` or `..`.
pub(crate) fn is_dots(name: &[u8]) -> bool {
    name == b"." || name == b".."
}

/// Which of the rights `want` the caller has (RFC 1813 §3.3.4).
pub(crate) fn granted(cx: &Context, inode: &Inode, want: Access) -> Access {
    let dir = inode.is_dir();
    let owner_or = |bit: u32| may(cx, inode, bit);
    let mut have = 0;
    if owner_or(R) {
        have |= Access::READ;
    }
    if dir && owner_or(X) {
        have |= Access::LOOKUP;
    }
    if !dir && owner_or(X) {
        have |= Access::EXECUTE;
    }
    // Without search permission no entry can be changed, whatever the write bit says.
    if owner_or(if dir { W | X } else { W }) {
        have |= Access::MODIFY | Access::EXTEND;
        if dir {
            have |= Access::DELETE;
        }
    }
    Access(have & want.0)
}
