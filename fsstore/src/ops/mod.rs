//! Mutations: `plan` checks an operation and makes every choice, `apply` does what the record says.
//!
//! `plan` changes nothing. `apply` decides nothing: after a crash, replay gives exactly the same.

mod acl;
mod fold;
mod hole;
mod make;
mod qtree;
mod remove;
mod rename;
mod setattr;
mod share;
mod write;
mod xattr;

pub(crate) use fold::need_new_name;
pub(crate) use hole::missing_blocks;
pub(crate) use write::{Direct, check as check_write, direct_part};

use crate::error::{FsError, Result};
use crate::ids::{FileId, Lsn};
use crate::inode::Inode;
use crate::io::Io;
use crate::op::{Attr, Change, Context, Done, Op, PreAttr};
use crate::record::{Act, Record};
use crate::state::State;
use std::sync::Arc;

/// A checked operation: what to log, and what the caller gets to see of it.
pub(crate) struct Plan {
    /// `None`: nothing changes.
    pub(crate) act: Option<Act>,
    object: Seen,
    dir: Option<Seen>,
    to_dir: Option<Seen>,
    gone: Option<FileId>,
    count: usize,
    /// Blocks that it may cost besides [`cost`]: for the hidden inodes that it frees.
    pub(crate) extra: u64,
}

/// A file before the operation.
struct Seen {
    id: FileId,
    before: Option<PreAttr>,
    /// For a file that the operation frees. Not the inode itself: while anybody holds that, the change of its tree
    /// has to copy every index page on its way.
    last: Option<Attr>,
}

impl Seen {
    fn old(inode: &Arc<Inode>) -> Seen {
        Seen { id: inode.id(), before: Some(inode.pre_attr()), last: Some(inode.attr()) }
    }

    fn new(id: FileId) -> Seen {
        Seen { id, before: None, last: None }
    }
}

impl Plan {
    fn of(act: Option<Act>, object: Seen) -> Plan {
        Plan { act, object, dir: None, to_dir: None, gone: None, count: 0, extra: 0 }
    }

    fn in_dir(mut self, dir: &Arc<Inode>) -> Plan {
        self.dir = Some(Seen::old(dir));
        self
    }
}

/// Checks `op` against the state. `direct` is the part of a large write that is on disk already.
pub(crate) fn plan(st: &mut State, io: &Io, cx: &Context, op: &Op, direct: Option<Direct>) -> Result<Plan> {
    match op {
        Op::Create { dir, name, how } => make::create(st, io, cx, *dir, name, *how),
        Op::Mkdir { .. } | Op::Symlink { .. } | Op::Mknod { .. } => make::other(st, io, cx, op),
        Op::Link { file, dir, name } => make::link(st, io, cx, *file, *dir, name),
        Op::Remove { dir, name } => remove::remove(st, io, cx, *dir, name),
        Op::Rmdir { dir, name } => remove::rmdir(st, io, cx, *dir, name),
        Op::Rename { from_dir, from, to_dir, to } => {
            rename::plan(st, io, cx, (*from_dir, from), (*to_dir, to))
        }
        Op::SetAttr { file, attrs, guard } => setattr::plan(st, io, cx, *file, attrs, *guard),
        Op::Write { file, offset, data } => write::plan(st, io, cx, *file, *offset, data, direct),
        Op::CloneRange { from, from_offset, to, to_offset, len } => {
            let (from_offset, to_offset) = (*from_offset, *to_offset);
            let request =
                share::Request { from: *from, from_offset, to: *to, to_offset, len: *len, whole: false };
            share::plan(st, io, cx, &request)
        }
        Op::CloneFile { from, to } => {
            let request =
                share::Request { from: *from, from_offset: 0, to: *to, to_offset: 0, len: 0, whole: true };
            share::plan(st, io, cx, &request)
        }
        Op::Deallocate { file, offset, len } => hole::deallocate(st, io, cx, *file, *offset, *len),
        Op::Allocate { file, offset, len } => hole::allocate(st, io, cx, *file, *offset, *len),
        Op::SetXattr { file, name, value, how } => xattr::set(st, io, cx, *file, name, value, *how),
        Op::RemoveXattr { file, name } => xattr::remove(st, io, cx, *file, name),
        Op::MakeStream { file, name, guarded } => xattr::make_stream(st, io, cx, *file, name, *guarded),
        Op::RemoveStream { file, name } => xattr::remove_stream(st, io, cx, *file, name),
        Op::RenameStream { file, from, to, replace } => {
            xattr::rename_stream(st, io, cx, *file, (from, to), *replace)
        }
        Op::SetAcl { file, acl } => acl::set(st, io, cx, *file, acl.as_ref()),
        Op::MakeQtree { name, attrs } => qtree::make(st, io, cx, name, *attrs),
        Op::SetQuota { target, limits } => qtree::set_quota(st, io, cx, *target, limits.as_ref()),
    }
}

/// Applies a record. Its only error is the disk's, or a log that does not fit the image.
pub(crate) fn apply(st: &mut State, io: &Io, record: &Record) -> Result<()> {
    let now = record.now;
    match &record.act {
        Act::Make(make) => make::apply(st, io, now, make)?,
        Act::Link { file, dir, name } => make::apply_link(st, io, now, *file, *dir, name)?,
        Act::Unlink { dir, name } => remove::apply(st, io, now, *dir, name)?,
        Act::Rename { from_dir, from, to_dir, to } => {
            rename::apply(st, io, now, (*from_dir, from), (*to_dir, to))?;
        }
        Act::SetAttr(set) => setattr::apply(st, io, now, set)?,
        Act::Write(write) => write::apply(st, io, now, write)?,
        Act::Share(share) => share::apply(st, io, now, share)?,
        Act::Punch { file, from, to, mode } => hole::apply(st, io, now, *file, *from..*to, *mode)?,
        Act::PutAttr(put) => xattr::apply(st, io, now, put)?,
        Act::DropAttr { file, name } => xattr::apply_drop(st, io, now, *file, name)?,
        Act::RenameAttr { file, from, to } => xattr::apply_rename(st, io, now, *file, (from, to))?,
        Act::SetAcl { file, acl, mode } => acl::apply(st, io, now, *file, acl, *mode)?,
        Act::SetQuota { target, limits } => qtree::apply(st, io, now, *target, *limits)?,
    }
    st.settle_quotas(io, now)?;
    st.lsn = record.lsn;
    Ok(())
}

/// What the caller gets, once the plan is applied.
pub(crate) fn outcome(st: &mut State, io: &Io, plan: Plan) -> Result<Done> {
    let lsn = st.lsn;
    let gone = plan.gone;
    let mut change = |seen: Seen| -> Result<Change> {
        let after = match st.file(io, seen.id) {
            Ok(inode) => inode.attr(),
            Err(_) => {
                let last = seen.last.ok_or(FsError::Stale)?;
                Attr { nlink: 0, ..last }
            }
        };
        Ok(Change { before: seen.before, after })
    };
    Ok(Done {
        object: change(plan.object)?,
        dir: plan.dir.map(&mut change).transpose()?,
        to_dir: plan.to_dir.map(&mut change).transpose()?,
        gone,
        count: plan.count,
        lsn,
    })
}

/// Blocks that the next CP may have to write for an operation, at the most.
pub(crate) fn cost(op: &Op) -> u64 {
    /// Directory splits to the root, index pages, inodes; usage of a user and a group whose numbers are far from all others.
    const METADATA: u64 = 40;
    match op {
        Op::Write { data, .. } => {
            METADATA + data.len() as u64 / crate::ids::BLOCK_SIZE_U64 + data.len() as u64 / (1 << 20)
        }
        Op::SetXattr { value, .. } => METADATA + 8 + value.len() as u64 / crate::ids::BLOCK_SIZE_U64,
        _ => METADATA,
    }
}

/// The names that an operation makes or takes away, and whether it makes them.
pub(crate) fn names(op: &Op) -> [Option<(FileId, &[u8], bool)>; 2] {
    match op {
        Op::Create { dir, name, .. }
        | Op::Mkdir { dir, name, .. }
        | Op::Symlink { dir, name, .. }
        | Op::Mknod { dir, name, .. }
        | Op::Link { dir, name, .. } => [Some((*dir, name, true)), None],
        Op::MakeQtree { name, .. } => [Some((crate::op::ROOT, name, true)), None],
        Op::Remove { dir, name } | Op::Rmdir { dir, name } => [Some((*dir, name, false)), None],
        Op::Rename { from_dir, from, to_dir, to } => {
            [Some((*from_dir, from, false)), Some((*to_dir, to, true))]
        }
        _ => [None, None],
    }
}

/// Whether an operation may use the blocks kept back so that a full volume can still delete.
pub(crate) fn frees_space(op: &Op) -> bool {
    match op {
        Op::Remove { .. } | Op::Rmdir { .. } => true,
        Op::SetAttr { attrs, .. } => attrs.size == Some(0),
        Op::Deallocate { .. } | Op::RemoveXattr { .. } | Op::RemoveStream { .. } => true,
        // A rule that is in the way of what an administrator wants to do.
        Op::SetQuota { limits, .. } => limits.is_none(),
        _ => false,
    }
}

/// The position that a record takes.
pub(crate) fn next_lsn(st: &State) -> Lsn {
    Lsn(st.lsn.0 + 1)
}
