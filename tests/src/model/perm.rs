//! Who may do what, as Linux decides it (knfsd over ext4), with the exceptions that NFS servers make for owners.

use super::{Body, Model, Node, acl};
use fsstore::{Access, AceMask, Context, FileKind, FsError, Result};

/// Read permission bit.
pub const R: u32 = 4;
/// Write permission bit.
pub const W: u32 = 2;
/// Execute (file) or search (directory) permission bit.
pub const X: u32 = 1;
const SETGID: u32 = 0o2000;
const STICKY: u32 = 0o1000;

/// Whether the permission bits give the caller all of `want`.
pub fn allowed(cx: &Context, node: &Node, want: u32) -> bool {
    let mode = node.attr.mode;
    if cx.uid == 0 {
        // Root may execute only what somebody may execute; it may search any directory.
        return want & X == 0 || node.attr.kind == FileKind::Dir || mode & 0o111 != 0;
    }
    if let Some(acl) = &node.acl {
        return acl::allows(acl, cx, node, want);
    }
    let bits = if cx.uid == node.attr.uid {
        mode >> 6
    } else if cx.in_group(node.attr.gid) {
        mode >> 3
    } else {
        mode
    };
    bits & want == want
}

/// [`FsError::Access`] unless [`allowed`].
pub fn need(cx: &Context, node: &Node, want: u32) -> Result<()> {
    if allowed(cx, node, want) { Ok(()) } else { Err(FsError::Access) }
}

/// The same, but the owner may always read and write (RFC 1813 §4.4): a client that opened the file
/// and then took its own rights away must be able to go on.
pub fn need_or_owner(cx: &Context, node: &Node, want: u32) -> Result<()> {
    if cx.uid == node.attr.uid { Ok(()) } else { need(cx, node, want) }
}

/// May the caller take `child`'s name out of `dir`? Linux's `may_delete`: rights first, then the sticky bit.
pub fn may_delete(cx: &Context, dir: &Node, child: &Node) -> Result<()> {
    // RFC 8881 §6.2.1.3.2: with lists, either of the two is enough.
    let by_list = |node: &Node, bit| node.acl.as_ref().is_some_and(|acl| acl::grants_to(acl, cx, node, bit));
    let listed = by_list(child, AceMask::DELETE) || by_list(dir, AceMask::DELETE_CHILD);
    need(cx, dir, if listed { X } else { W | X })?;
    let sticky = dir.attr.mode & STICKY != 0;
    if sticky && cx.uid != 0 && cx.uid != child.attr.uid && cx.uid != dir.attr.uid {
        return Err(FsError::Perm);
    }
    Ok(())
}

/// Group and mode of a new file in `dir`: a setgid directory gives its group, and itself to new directories.
pub fn inherit(cx: &Context, dir: &Node, kind: FileKind, mode: u32) -> (u32, u32) {
    if dir.attr.mode & SETGID == 0 {
        return (cx.gid, mode);
    }
    if kind == FileKind::Dir {
        return (dir.attr.gid, mode | SETGID);
    }
    // Without group execute the bit means no privilege (it once asked for mandatory locks), so it may stay.
    let mode = if mode & 0o010 != 0 { strip_setgid(cx, dir.attr.gid, mode) } else { mode };
    (dir.attr.gid, mode)
}

/// A setgid bit for a group that the caller is not in is dropped.
pub fn strip_setgid(cx: &Context, gid: u32, mode: u32) -> u32 {
    if cx.uid != 0 && !cx.in_group(gid) { mode & !SETGID } else { mode }
}

/// What ACCESS answers (RFC 1813 §3.3.4); the bits are mapped as knfsd does.
pub fn access(cx: &Context, node: &Node, want: Access) -> Access {
    let is_dir = matches!(node.body, Body::Dir(_));
    let rules: &[(u32, u32)] = if is_dir {
        &[
            (Access::READ, R),
            (Access::LOOKUP, X),
            (Access::MODIFY, W | X),
            (Access::EXTEND, W | X),
            (Access::DELETE, W | X),
        ]
    } else {
        &[(Access::READ, R), (Access::MODIFY, W), (Access::EXTEND, W), (Access::EXECUTE, X)]
    };
    let granted = rules.iter().filter(|(bit, need)| want.0 & bit != 0 && allowed(cx, node, *need));
    Access(granted.fold(0, |sum, (bit, _)| sum | bit))
}

impl Model {
    /// Is `node` or anything above it the directory `ancestor`?
    pub(super) fn is_within(&self, node: fsstore::FileId, ancestor: fsstore::FileId) -> bool {
        let mut at = node;
        while at != ancestor {
            let parent = self.nodes[&at].parent;
            if parent == at {
                return false;
            }
            at = parent;
        }
        true
    }
}
