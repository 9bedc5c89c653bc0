//! Extended attributes and named streams.

use super::content::Content;
use super::ops::stamp;
use super::{Body, Model, NOBODY, Node, change, comparable, perm};
use bytes::Bytes;
use fsstore::{
    Attr, Change, Context, Done, FileId, FileKind, FsError, NAME_MAX, Result, STREAM_NAME_MAX,
    XATTR_VALUE_MAX, XattrHow,
};
use std::sync::Arc;

fn check_xattr_name(name: &[u8]) -> Result<()> {
    if name.len() > NAME_MAX {
        return Err(FsError::NameTooLong);
    }
    if name.is_empty() || name.contains(&0) {
        return Err(FsError::Invalid);
    }
    let dot = name.iter().position(|byte| *byte == b'.').ok_or(FsError::NotSupported)?;
    match &name[..dot] {
        b"user" | b"trusted" | b"security" | b"system" if dot + 1 < name.len() => Ok(()),
        b"user" | b"trusted" | b"security" | b"system" => Err(FsError::Invalid),
        _ => Err(FsError::NotSupported),
    }
}

/// xattr(7) of Linux.
fn may_xattr(cx: &Context, node: &Node, name: &[u8], write: bool) -> Result<()> {
    if node.stream_of.is_some() {
        return Err(FsError::Invalid);
    }
    if !name.starts_with(b"user.") {
        // CHOICE: `security.` and `system.` mean nothing here, so root keeps them.
        return if cx.uid == 0 { Ok(()) } else { Err(FsError::Perm) };
    }
    if !matches!(node.attr.kind, FileKind::File | FileKind::Dir) {
        return Err(if write { FsError::Perm } else { FsError::NotFound });
    }
    let sticky = node.attr.kind == FileKind::Dir && node.attr.mode & 0o1000 != 0;
    if write && sticky && cx.uid != 0 && cx.uid != node.attr.uid {
        return Err(FsError::Perm);
    }
    perm::need(cx, node, if write { perm::W } else { perm::R })
}

fn check_stream_name(name: &[u8]) -> Result<()> {
    if name.len() > STREAM_NAME_MAX {
        return Err(FsError::NameTooLong);
    }
    if name.is_empty() || name.iter().any(|byte| matches!(byte, b'/' | 0)) {
        return Err(FsError::Invalid);
    }
    Ok(())
}

fn check_stream(node: &Node, name: &[u8]) -> Result<()> {
    check_stream_name(name)?;
    let kind = matches!(node.attr.kind, FileKind::File | FileKind::Dir);
    if kind && node.stream_of.is_none() { Ok(()) } else { Err(FsError::Invalid) }
}

impl Model {
    /// getxattr(2).
    pub fn xattr(&self, cx: &Context, file: FileId, name: &[u8]) -> Result<Bytes> {
        check_xattr_name(name)?;
        let node = self.node(file)?;
        may_xattr(cx, node, name, false)?;
        node.xattrs.get(name).cloned().ok_or(FsError::NotFound)
    }

    /// SETXATTR, or REMOVEXATTR of what must be there.
    pub(super) fn set_xattr(
        &mut self,
        cx: &Context,
        file: FileId,
        name: &Bytes,
        value: Option<&Bytes>,
        how: XattrHow,
    ) -> Result<Done> {
        let node = self.node(file)?;
        check_xattr_name(name)?;
        may_xattr(cx, node, name, true)?;
        if value.is_some_and(|value| value.len() > XATTR_VALUE_MAX) {
            return Err(FsError::FileTooBig);
        }
        match (how, node.xattrs.contains_key(name)) {
            (XattrHow::Create, true) => return Err(FsError::Exists),
            (XattrHow::Replace, false) => return Err(FsError::NotFound),
            _ => {}
        }
        let node = self.node_mut(file);
        match value {
            Some(value) => node.xattrs.insert(name.clone(), value.clone()),
            None => node.xattrs.remove(name),
        };
        Ok(self.changed_attrs(cx, file))
    }

    /// What an operation on attributes does to the file itself: its ctime moves.
    fn changed_attrs(&mut self, cx: &Context, file: FileId) -> Done {
        let attr = &mut self.node_mut(file).attr;
        let before = *attr;
        attr.ctime = stamp(attr, cx);
        let after = *attr;
        self.done(change(&before, &after), None)
    }

    pub(super) fn make_stream(
        &mut self,
        cx: &Context,
        file: FileId,
        name: &Bytes,
        guarded: bool,
        given: Option<FileId>,
    ) -> Result<Done> {
        let node = self.node(file)?;
        check_stream(node, name)?;
        match node.streams.get(name) {
            Some(_) if guarded => return Err(FsError::Exists),
            Some(stream) => return Ok(self.done(self.unchanged(*stream), None)),
            None => perm::need(cx, node, perm::W)?,
        }
        let (now, of_file) = (cx.now, node.attr);
        let (acl, qtree) = (node.acl.clone(), node.qtree);
        let id = given.unwrap_or(NOBODY);
        assert!(Arc::make_mut(&mut self.ever).insert(id), "{id:?} has been used before");
        let attr = comparable(Attr {
            id,
            kind: FileKind::File,
            nlink: 1,
            size: 0,
            rdev: (0, 0),
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            ..of_file
        });
        let stream = Node {
            stream_of: Some(file),
            acl,
            qtree,
            ..Node::new(attr, Body::File(Content::default()), file)
        };
        self.nodes.insert(id, Arc::new(stream));
        self.node_mut(file).streams.insert(name.clone(), id);
        self.changed_attrs(cx, file);
        Ok(self.done(Change { before: None, after: attr }, None))
    }

    pub(super) fn remove_stream(&mut self, cx: &Context, file: FileId, name: &Bytes) -> Result<Done> {
        let node = self.node(file)?;
        check_stream(node, name)?;
        let stream = *node.streams.get(name).ok_or(FsError::NotFound)?;
        perm::need(cx, node, perm::W)?;
        self.node_mut(file).streams.remove(name);
        self.forget(stream);
        Ok(Done { gone: Some(stream), ..self.changed_attrs(cx, file) })
    }

    pub(super) fn rename_stream(
        &mut self,
        cx: &Context,
        file: FileId,
        (from, to): (&Bytes, &Bytes),
        replace: bool,
    ) -> Result<Done> {
        let node = self.node(file)?;
        check_stream_name(from)?;
        check_stream_name(to)?;
        check_stream(node, from)?;
        let stream = *node.streams.get(from).ok_or(FsError::NotFound)?;
        if from == to {
            return Ok(self.done(self.unchanged(stream), None));
        }
        perm::need(cx, node, perm::W)?;
        let replaced = node.streams.get(to).copied();
        if replaced.is_some() && !replace {
            return Err(FsError::Exists);
        }
        if let Some(replaced) = replaced {
            self.forget(replaced);
        }
        let streams = &mut self.node_mut(file).streams;
        streams.remove(from);
        streams.insert(to.clone(), stream);
        self.changed_attrs(cx, file);
        Ok(Done { gone: replaced, ..self.done(self.unchanged(stream), None) })
    }

    /// Takes a file out, with its streams.
    pub(super) fn forget(&mut self, file: FileId) {
        self.forget_quotas(file);
        if let Some(node) = self.nodes.remove(&file) {
            node.streams.values().for_each(|stream| drop(self.nodes.remove(stream)));
        }
    }

    /// The streams of a file have its owner, group, mode and DOS attributes.
    pub(super) fn share_rights(&mut self, file: FileId) {
        let Some(node) = self.nodes.get(&file).cloned() else { return };
        for stream in node.streams.values() {
            let stream = self.node_mut(*stream);
            let attr = &mut stream.attr;
            (attr.uid, attr.gid, attr.mode) = (node.attr.uid, node.attr.gid, node.attr.mode);
            attr.dos = node.attr.dos;
            stream.acl.clone_from(&node.acl);
        }
    }
}
