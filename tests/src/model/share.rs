//! Clones of ranges and files in the model: there is nothing to share here, so bytes are copied.

use super::ops::{stamp, to_archive, without_privilege};
use super::perm::{R, W, X};
use super::{Body, Model, Node, change, perm, regular};
use fsstore::{CLONE_MAX, Context, Done, FILE_SIZE_MAX, FileId, FsError, Result};

const BLOCK: u64 = 4096;

/// From where to where.
#[derive(Clone, Copy)]
pub(super) struct Clone {
    pub(super) from: FileId,
    pub(super) from_offset: u64,
    pub(super) to: FileId,
    pub(super) to_offset: u64,
    /// 0: to the source's end.
    pub(super) len: u64,
    /// The target becomes what the source is.
    pub(super) whole: bool,
}

impl Model {
    pub(super) fn clone_range(&mut self, cx: &Context, what: Clone) -> Result<Done> {
        let (len, end) = self.check_clone(cx, &what)?;
        let source = self.nodes[&what.from].clone();
        let target = &self.nodes[&what.to];
        let before = target.attr;
        if len == 0 && !what.whole {
            return Ok(self.done(self.unchanged(what.to), None));
        }
        let Body::File(content) = &source.body else { unreachable!("it was checked") };
        let mut copied = match &target.body {
            Body::File(old) if !what.whole => old.clone(),
            _ => super::content::Content::default(),
        };
        copied.copy_blocks(content, what.from_offset / BLOCK, what.to_offset / BLOCK, len.div_ceil(BLOCK));
        let size = if what.whole { source.attr.size } else { before.size.max(end) };
        copied.set_len(size);
        let node = self.node_mut(what.to);
        node.body = Body::File(copied);
        node.attr.size = size;
        let time = stamp(&node.attr, cx);
        (node.attr.mtime, node.attr.ctime) = (time, time);
        to_archive(node);
        if what.whole {
            node.attr.dos = source.attr.dos;
            let gid = source.attr.gid;
            node.attr.mode = source.attr.mode;
            node.attr.mtime = source.attr.mtime;
            if cx.uid == 0 {
                node.attr.uid = source.attr.uid;
            }
            if cx.uid == 0 || cx.in_group(gid) {
                node.attr.gid = gid;
            }
        } else if cx.uid != 0 {
            node.attr.mode = without_privilege(node.attr.mode);
        }
        let object = change(&before, &self.nodes[&what.to].attr);
        Ok(Done { count: usize::try_from(len).expect("at most CLONE_MAX"), ..self.done(object, None) })
    }

    /// The length to copy, and where it ends in the target.
    fn check_clone(&self, cx: &Context, what: &Clone) -> Result<(u64, u64)> {
        let (from, to) = (self.node(what.from)?, self.node(what.to)?);
        let plain = |node: &Node| if node.stream_of.is_some() { Err(FsError::Invalid) } else { Ok(()) };
        plain(from)?;
        let size = regular(from)?.len();
        plain(to)?;
        regular(to)?;
        if !perm::allowed(cx, from, X) {
            perm::need_or_owner(cx, from, R)?;
        }
        perm::need_or_owner(cx, to, W)?;
        if what.whole && cx.uid != 0 && cx.uid != to.attr.uid {
            return Err(FsError::Perm);
        }
        let len = if what.len == 0 { size.saturating_sub(what.from_offset) } else { what.len };
        let end = what.to_offset.checked_add(len).filter(|end| *end <= FILE_SIZE_MAX);
        let end = end.ok_or(FsError::FileTooBig)?;
        let from_end = what.from_offset.checked_add(len).ok_or(FsError::Invalid)?;
        let aligned = |at: u64| at.is_multiple_of(BLOCK);
        let tail = from_end == size && (end >= to.attr.size || what.whole);
        let overlap = what.from == what.to && what.from_offset < end && what.to_offset < from_end;
        let good = aligned(what.from_offset)
            && aligned(what.to_offset)
            && (aligned(len) || tail)
            && !overlap
            && from_end <= size
            && len <= CLONE_MAX;
        if good { Ok((len, end)) } else { Err(FsError::Invalid) }
    }
}
