//! The mutations: each checks everything first and then changes, so that a failed one changes nothing.

use super::perm::{W, X};
use super::share::Clone;
use super::{Body, Model, NOBODY, Node, acl, change, comparable, content::Content, perm, regular};
use bytes::Bytes;
use fsstore::{
    AceMask, Attr, Change, Context, CreateHow, Done, DosAttributes, FILE_SIZE_MAX, FileId, FileKind, FsError,
    LINK_MAX, Lsn, NAME_MAX, Op, ROOT, Result, SYMLINK_MAX, SetAttrs, SetTime, Time, WRITE_MAX, XattrHow,
};
use std::collections::BTreeMap;
use std::sync::Arc;

const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;

/// A new file as an operation asks for it.
struct Fresh<'a> {
    kind: FileKind,
    attrs: &'a SetAttrs,
    rdev: (u32, u32),
    body: Body,
    size: u64,
}

impl Model {
    /// Runs one mutation. `given` is the id that the volume picked, if it made a file. The result's `lsn` is 0.
    pub fn execute(&mut self, cx: &Context, op: &Op, given: Option<FileId>) -> Result<Done> {
        let done = self.run(cx, op, given)?;
        // Streams follow their file.
        self.share_rights(done.object.after.id);
        Ok(done)
    }

    fn run(&mut self, cx: &Context, op: &Op, given: Option<FileId>) -> Result<Done> {
        match op {
            Op::Create { dir, name, how } => self.create(cx, *dir, name, how, given),
            Op::Mkdir { dir, name, attrs } => {
                let body = Body::Dir(BTreeMap::new());
                self.make(
                    cx,
                    *dir,
                    name,
                    Fresh { kind: FileKind::Dir, attrs, rdev: (0, 0), body, size: 0 },
                    given,
                )
            }
            Op::Symlink { dir, name, target, attrs } => self.symlink(cx, *dir, name, target, attrs, given),
            Op::Mknod { dir, name, kind, rdev, attrs } => {
                let special = !matches!(kind, FileKind::File | FileKind::Dir | FileKind::Symlink);
                if !special {
                    return Err(FsError::Invalid);
                }
                let device = matches!(kind, FileKind::BlockDevice | FileKind::CharDevice);
                if device && cx.uid != 0 {
                    return Err(FsError::Perm);
                }
                let rdev = if device { *rdev } else { (0, 0) };
                self.make(
                    cx,
                    *dir,
                    name,
                    Fresh { kind: *kind, attrs, rdev, body: Body::Special, size: 0 },
                    given,
                )
            }
            Op::Link { file, dir, name } => self.link(cx, *file, *dir, name),
            Op::Remove { dir, name } => self.remove(cx, *dir, name, false),
            Op::Rmdir { dir, name } => self.remove(cx, *dir, name, true),
            Op::Rename { from_dir, from, to_dir, to } => self.rename(cx, *from_dir, from, *to_dir, to),
            Op::SetAttr { file, attrs, guard } => self.setattr(cx, *file, attrs, *guard),
            Op::Write { file, offset, data } => self.write(cx, *file, *offset, data),
            Op::CloneRange { from, from_offset, to, to_offset, len } => {
                let (from_offset, to_offset) = (*from_offset, *to_offset);
                let what = Clone { from: *from, from_offset, to: *to, to_offset, len: *len, whole: false };
                self.clone_range(cx, what)
            }
            Op::CloneFile { from, to } => {
                let what = Clone { from: *from, from_offset: 0, to: *to, to_offset: 0, len: 0, whole: true };
                self.clone_range(cx, what)
            }
            Op::Deallocate { file, offset, len } => self.reserve(cx, *file, *offset, *len, true),
            Op::Allocate { file, offset, len } => self.reserve(cx, *file, *offset, *len, false),
            Op::SetXattr { file, name, value, how } => self.set_xattr(cx, *file, name, Some(value), *how),
            Op::RemoveXattr { file, name } => self.set_xattr(cx, *file, name, None, XattrHow::Replace),
            Op::MakeStream { file, name, guarded } => self.make_stream(cx, *file, name, *guarded, given),
            Op::RemoveStream { file, name } => self.remove_stream(cx, *file, name),
            Op::RenameStream { file, from, to, replace } => {
                self.rename_stream(cx, *file, (from, to), *replace)
            }
            Op::SetAcl { file, acl } => self.set_acl(cx, *file, acl.as_ref()),
            Op::MakeQtree { name, attrs } => self.make_qtree(cx, name, attrs, given),
            Op::SetQuota { target, limits } => self.set_quota(cx, *target, limits.as_ref()),
        }
    }

    fn create(
        &mut self,
        cx: &Context,
        dir: FileId,
        name: &Bytes,
        how: &CreateHow,
        given: Option<FileId>,
    ) -> Result<Done> {
        let none = SetAttrs::default();
        let existing = self.existing(cx, dir, name)?;
        let (attrs, times) = match (how, existing) {
            (CreateHow::Unchecked(attrs), Some(file)) => return self.reopen(cx, dir, file, attrs),
            (CreateHow::Exclusive(verifier), Some(file)) => return self.recreate(dir, file, *verifier),
            (CreateHow::Guarded(_), Some(_)) => return Err(FsError::Exists),
            (CreateHow::Unchecked(attrs) | CreateHow::Guarded(attrs), None) => (attrs, None),
            (CreateHow::Exclusive(verifier), None) => (&none, Some(verifier_times(*verifier))),
        };
        let size = attrs.size.unwrap_or(0);
        if size > FILE_SIZE_MAX {
            return Err(FsError::FileTooBig);
        }
        let mut content = Content::default();
        content.set_len(size);
        let fresh = Fresh { kind: FileKind::File, attrs, rdev: (0, 0), body: Body::File(content), size };
        let mut done = self.make(cx, dir, name, fresh, given)?;
        if let Some((atime, mtime)) = times {
            let attr = &mut self.node_mut(done.object.after.id).attr;
            (attr.atime, attr.mtime) = (atime, mtime);
            done.object.after = *attr;
        }
        Ok(done)
    }

    /// CREATE UNCHECKED of a name that exists: only a size is taken over.
    fn reopen(&mut self, cx: &Context, dir: FileId, file: FileId, attrs: &SetAttrs) -> Result<Done> {
        let before = self.nodes[&file].attr;
        // CHOICE: as knfsd, what exists is handed out as it is, also if it is no regular file.
        if attrs.size.is_some() && before.kind == FileKind::File {
            let size_only = SetAttrs { size: attrs.size, ..SetAttrs::default() };
            self.setattr(cx, file, &size_only, None)?;
        }
        Ok(self.done(change(&before, &self.nodes[&file].attr), Some(self.unchanged(dir))))
    }

    /// CREATE EXCLUSIVE again: the same verifier finds its own file.
    fn recreate(&mut self, dir: FileId, file: FileId, verifier: [u8; 8]) -> Result<Done> {
        let node = &self.nodes[&file];
        let same = (node.attr.atime, node.attr.mtime) == verifier_times(verifier);
        if node.attr.kind != FileKind::File || node.attr.size != 0 || !same {
            return Err(FsError::Exists);
        }
        Ok(self.done(self.unchanged(file), Some(self.unchanged(dir))))
    }

    fn symlink(
        &mut self,
        cx: &Context,
        dir: FileId,
        name: &Bytes,
        target: &Bytes,
        attrs: &SetAttrs,
        given: Option<FileId>,
    ) -> Result<Done> {
        if target.is_empty() || target.contains(&0) {
            return Err(FsError::Invalid);
        }
        if target.len() > SYMLINK_MAX {
            return Err(FsError::NameTooLong);
        }
        // CHOICE: a link's permission bits mean nothing and are always 0o777, as on Linux.
        let attrs = &SetAttrs { mode: Some(0o777), ..*attrs };
        let size = target.len() as u64;
        let fresh =
            Fresh { kind: FileKind::Symlink, attrs, rdev: (0, 0), body: Body::Symlink(target.clone()), size };
        self.make(cx, dir, name, fresh, given)
    }

    fn make(
        &mut self,
        cx: &Context,
        dir: FileId,
        name: &Bytes,
        fresh: Fresh<'_>,
        given: Option<FileId>,
    ) -> Result<Done> {
        if self.existing(cx, dir, name)?.is_some() {
            return Err(FsError::Exists);
        }
        let parent = &self.nodes[&dir];
        perm::need(cx, parent, W | X)?;
        let is_dir = fresh.kind == FileKind::Dir;
        if is_dir && parent.attr.nlink >= LINK_MAX {
            return Err(FsError::TooManyLinks);
        }
        let id = given.unwrap_or(NOBODY);
        assert!(Arc::make_mut(&mut self.ever).insert(id), "{id:?} has been used before");
        let links = fresh.kind == FileKind::Symlink;
        // CHOICE: a mode that the caller leaves out is 0, as with knfsd.
        let mode = fresh.attrs.mode.unwrap_or(0) & 0o7777;
        let inherited = parent.acl.as_ref().filter(|_| !links).map(|acl| acl::inherited(acl, is_dir, mode));
        let (inherited, mode) = inherited.unwrap_or((None, mode));
        let attr = new_attr(cx, parent, id, &fresh, mode);
        let qtree = parent.qtree;
        let node = Node { acl: inherited, qtree, ..Node::new(attr, fresh.body, dir) };
        self.nodes.insert(id, Arc::new(node));
        self.entries_mut(dir).insert(name.clone(), id);
        let dir_change = self.touch_dir(cx, dir, i32::from(is_dir));
        Ok(self.done(Change { before: None, after: attr }, Some(dir_change)))
    }

    fn make_qtree(
        &mut self,
        cx: &Context,
        name: &Bytes,
        attrs: &SetAttrs,
        given: Option<FileId>,
    ) -> Result<Done> {
        if cx.uid != 0 {
            return Err(FsError::Perm);
        }
        let body = Body::Dir(BTreeMap::new());
        let fresh = Fresh { kind: FileKind::Dir, attrs, rdev: (0, 0), body, size: 0 };
        let done = self.make(cx, ROOT, name, fresh, given)?;
        self.found_qtree(done.object.after.id);
        Ok(done)
    }

    fn link(&mut self, cx: &Context, file: FileId, dir: FileId, name: &Bytes) -> Result<Done> {
        let before = self.node(file)?.attr;
        if self.existing(cx, dir, name)?.is_some() {
            return Err(FsError::Exists);
        }
        perm::need(cx, &self.nodes[&dir], W | X)?;
        if before.kind == FileKind::Dir || self.nodes[&file].stream_of.is_some() {
            return Err(FsError::Perm);
        }
        if self.nodes[&file].qtree != self.nodes[&dir].qtree {
            return Err(FsError::CrossDevice);
        }
        if before.nlink >= LINK_MAX {
            return Err(FsError::TooManyLinks);
        }
        let attr = &mut self.node_mut(file).attr;
        attr.nlink += 1;
        attr.ctime = stamp(attr, cx);
        let after = *attr;
        self.entries_mut(dir).insert(name.clone(), file);
        let dir_change = self.touch_dir(cx, dir, 0);
        Ok(self.done(change(&before, &after), Some(dir_change)))
    }

    fn remove(&mut self, cx: &Context, dir: FileId, name: &Bytes, rmdir: bool) -> Result<Done> {
        check_name(name)?;
        match (&name[..], rmdir) {
            // CHOICE: what Linux says to `rmdir .` and `rmdir ..`; unlink(2) of a directory is EISDIR.
            (b".", true) => return Err(FsError::Invalid),
            (b"..", true) => return Err(FsError::NotEmpty),
            (b"." | b"..", false) => return Err(FsError::IsDir),
            _ => {}
        }
        let file = self.existing(cx, dir, name)?.ok_or(FsError::NotFound)?;
        let victim = &self.nodes[&file];
        perm::may_delete(cx, &self.nodes[&dir], victim)?;
        match (&victim.body, rmdir) {
            (Body::Dir(_), false) => return Err(FsError::IsDir),
            (Body::Dir(entries), true) if !entries.is_empty() => return Err(FsError::NotEmpty),
            (Body::Dir(_), true) | (_, false) => {}
            (_, true) => return Err(FsError::NotDir),
        }
        let before = victim.attr;
        self.entries_mut(dir).remove(name);
        let (after, gone) = self.unlink(cx, file);
        let dir_change = self.touch_dir(cx, dir, -i32::from(rmdir));
        Ok(Done { gone, ..self.done(change(&before, &after), Some(dir_change)) })
    }

    /// Takes one name from `file`: its last attributes, and its id if it is gone.
    fn unlink(&mut self, cx: &Context, file: FileId) -> (Attr, Option<FileId>) {
        let attr = &mut self.node_mut(file).attr;
        if attr.kind == FileKind::Dir || attr.nlink == 1 {
            // CHOICE: nobody can ask for the ctime of a file that is gone, so it stays as it was.
            let after = Attr { nlink: 0, ..*attr };
            self.forget(file);
            return (after, Some(file));
        }
        attr.nlink -= 1;
        attr.ctime = stamp(attr, cx);
        (*attr, None)
    }

    fn rename(
        &mut self,
        cx: &Context,
        from_dir: FileId,
        from: &Bytes,
        to_dir: FileId,
        to: &Bytes,
    ) -> Result<Done> {
        for dir in [from_dir, to_dir] {
            self.entries(dir)?;
        }
        for name in [from, to] {
            check_name(name)?;
        }
        for dir in [from_dir, to_dir] {
            perm::need(cx, &self.nodes[&dir], X)?;
        }
        if is_dots(from) || is_dots(to) {
            return Err(FsError::Invalid);
        }
        let moved = self.existing(cx, from_dir, from)?.ok_or(FsError::NotFound)?;
        let target = self.existing(cx, to_dir, to)?;
        let before = self.nodes[&moved].attr;
        let is_dir = before.kind == FileKind::Dir;
        if is_dir && self.is_within(to_dir, moved) {
            return Err(FsError::Invalid);
        }
        if target == Some(moved) {
            // Two names of one file: nothing happens, and both stay (rename(2)).
            let to_change = Some(self.unchanged(to_dir));
            return Ok(Done {
                to_dir: to_change,
                ..self.done(self.unchanged(moved), Some(self.unchanged(from_dir)))
            });
        }
        self.check_rename(cx, from_dir, moved, to_dir, target)?;
        let dirs_before = (self.nodes[&from_dir].attr, self.nodes[&to_dir].attr);
        self.entries_mut(from_dir).remove(from);
        self.entries_mut(to_dir).insert(to.clone(), moved);
        let gone = target.and_then(|target| self.unlink(cx, target).1);
        let crosses = is_dir && from_dir != to_dir;
        let loses = i32::from(is_dir && target.is_some());
        if from_dir == to_dir {
            self.touch_dir(cx, from_dir, -loses);
        } else {
            self.touch_dir(cx, from_dir, -i32::from(crosses));
            self.touch_dir(cx, to_dir, i32::from(crosses) - loses);
        }
        if is_dir {
            self.node_mut(moved).parent = to_dir;
        }
        let attr = &mut self.node_mut(moved).attr;
        attr.ctime = stamp(attr, cx);
        let dir = change(&dirs_before.0, &self.nodes[&from_dir].attr);
        let to_change = change(&dirs_before.1, &self.nodes[&to_dir].attr);
        Ok(Done {
            to_dir: Some(to_change),
            gone,
            ..self.done(change(&before, &self.nodes[&moved].attr), Some(dir))
        })
    }

    fn check_rename(
        &self,
        cx: &Context,
        from_dir: FileId,
        moved: FileId,
        to_dir: FileId,
        target: Option<FileId>,
    ) -> Result<()> {
        let (source, into) = (&self.nodes[&moved], &self.nodes[&to_dir]);
        let is_dir = source.attr.kind == FileKind::Dir;
        // A target that is above the source is a directory with entries, whatever the rights say (Linux: lock_rename).
        if target.is_some_and(|target| self.is_within(from_dir, target)) {
            return Err(FsError::NotEmpty);
        }
        // CHOICE: a qtree is as a file system of its own: that comes before rights. The qtree itself stays in the root.
        let stays = if self.is_qtree(moved) { from_dir == to_dir } else { source.qtree == into.qtree };
        if !stays {
            return Err(FsError::CrossDevice);
        }
        perm::may_delete(cx, &self.nodes[&from_dir], source)?;
        match target.map(|target| &self.nodes[&target]) {
            None => perm::need(cx, into, W | X)?,
            Some(target) => {
                perm::may_delete(cx, into, target)?;
                match (&target.body, is_dir) {
                    (Body::Dir(_), false) => return Err(FsError::IsDir),
                    (Body::Dir(_), true) | (_, false) => {}
                    (_, true) => return Err(FsError::NotDir),
                }
            }
        }
        if is_dir && from_dir != to_dir {
            // Its `..` changes, so it must be writable.
            perm::need(cx, source, W)?;
            if target.is_none() && into.attr.nlink >= LINK_MAX {
                return Err(FsError::TooManyLinks);
            }
        }
        match target.map(|target| &self.nodes[&target].body) {
            Some(Body::Dir(entries)) if !entries.is_empty() => Err(FsError::NotEmpty),
            _ => Ok(()),
        }
    }

    fn write(&mut self, cx: &Context, file: FileId, offset: u64, data: &Bytes) -> Result<Done> {
        let node = self.node(file)?;
        let before = node.attr;
        regular(node)?;
        perm::need_or_owner(cx, node, W)?;
        if data.len() > WRITE_MAX {
            return Err(FsError::Invalid);
        }
        if offset.checked_add(data.len() as u64).is_none_or(|end| end > FILE_SIZE_MAX) {
            return Err(FsError::FileTooBig);
        }
        if !data.is_empty() {
            let node = self.node_mut(file);
            if let Body::File(content) = &mut node.body {
                content.write(offset, data);
                node.attr.size = content.len();
            }
            wrote(node, cx);
        }
        let object = change(&before, &self.nodes[&file].attr);
        Ok(Done { count: data.len(), ..self.done(object, None) })
    }

    /// DEALLOCATE (`punch`) and ALLOCATE.
    fn reserve(&mut self, cx: &Context, file: FileId, offset: u64, len: u64, punch: bool) -> Result<Done> {
        let node = self.node(file)?;
        let before = node.attr;
        regular(node)?;
        perm::need_or_owner(cx, node, W)?;
        let end = offset.checked_add(len).filter(|end| *end <= FILE_SIZE_MAX).ok_or(FsError::FileTooBig)?;
        // CHOICE: what changes no byte changes no time; Linux would stamp it.
        let changes = len > 0 && if punch { offset < before.size } else { end > before.size };
        if changes {
            let node = self.node_mut(file);
            if let Body::File(content) = &mut node.body {
                if punch {
                    content.punch(offset, end)
                } else {
                    content.set_len(end)
                }
                node.attr.size = content.len();
            }
            wrote(node, cx);
        }
        let object = change(&before, &self.nodes[&file].attr);
        Ok(self.done(object, None))
    }

    fn setattr(&mut self, cx: &Context, file: FileId, attrs: &SetAttrs, guard: Option<Time>) -> Result<Done> {
        let node = self.node(file)?;
        let before = node.attr;
        if guard.is_some_and(|guard| guard != before.ctime) {
            return Err(FsError::NotSync);
        }
        let of_file =
            attrs.mode.is_some() || attrs.uid.is_some() || attrs.gid.is_some() || attrs.dos.is_some();
        if node.stream_of.is_some() && of_file {
            return Err(FsError::Invalid);
        }
        check_dos(attrs)?;
        check_owner_only(cx, node, attrs)?;
        if let Some(size) = attrs.size {
            regular(node)?;
            perm::need_or_owner(cx, node, W)?;
            if size > FILE_SIZE_MAX {
                return Err(FsError::FileTooBig);
            }
        }
        if *attrs != SetAttrs::default() {
            let node = self.node_mut(file);
            apply_attrs(cx, node, attrs);
        }
        let object = change(&before, &self.nodes[&file].attr);
        Ok(self.done(object, None))
    }

    /// What stands at a name that is to be made, removed or renamed. `.` and `..` are no such names.
    fn existing(&self, cx: &Context, dir: FileId, name: &Bytes) -> Result<Option<FileId>> {
        let node = self.node(dir)?;
        let entries = self.entries(dir)?;
        check_name(name)?;
        perm::need(cx, node, X)?;
        if is_dots(name) {
            return Err(FsError::Exists);
        }
        Ok(entries.get(name).copied())
    }

    fn touch_dir(&mut self, cx: &Context, dir: FileId, links: i32) -> Change {
        let attr = &mut self.node_mut(dir).attr;
        let before = *attr;
        let time = stamp(attr, cx);
        (attr.mtime, attr.ctime) = (time, time);
        attr.nlink = attr.nlink.checked_add_signed(links).expect("links add up");
        change(&before, attr)
    }

    pub(super) fn unchanged(&self, file: FileId) -> Change {
        let attr = &self.nodes[&file].attr;
        change(attr, attr)
    }

    pub(super) fn done(&self, object: Change, dir: Option<Change>) -> Done {
        Done { object, dir, to_dir: None, gone: None, count: 0, lsn: Lsn(0) }
    }
}

fn new_attr(cx: &Context, parent: &Node, id: FileId, fresh: &Fresh<'_>, mode: u32) -> Attr {
    let (gid, mode) = perm::inherit(cx, parent, fresh.kind, mode);
    let mut attr = Attr {
        id,
        kind: fresh.kind,
        mode,
        nlink: if fresh.kind == FileKind::Dir { 2 } else { 1 },
        uid: cx.uid,
        gid,
        size: fresh.size,
        used: 0,
        rdev: fresh.rdev,
        atime: cx.now,
        mtime: cx.now,
        ctime: cx.now,
        btime: cx.now,
        dos: fresh.attrs.dos,
    };
    // CHOICE: as knfsd, only root makes files for others; what anybody else says about the owner is ignored.
    if cx.uid == 0 {
        attr.uid = fresh.attrs.uid.unwrap_or(attr.uid);
        attr.gid = fresh.attrs.gid.unwrap_or(attr.gid);
    }
    attr.atime = time(cx, fresh.attrs.atime).unwrap_or(attr.atime);
    attr.mtime = time(cx, fresh.attrs.mtime).unwrap_or(attr.mtime);
    attr.ctime = time(cx, fresh.attrs.ctime).unwrap_or(attr.ctime);
    attr.btime = time(cx, fresh.attrs.btime).unwrap_or(attr.btime);
    comparable(attr)
}

fn time(cx: &Context, set: SetTime) -> Option<Time> {
    match set {
        SetTime::Keep => None,
        SetTime::Now => Some(cx.now),
        SetTime::To(time) => Some(time),
    }
}

/// Rules of chown, chmod and utimes (Linux `setattr_prepare`).
fn check_owner_only(cx: &Context, node: &Node, attrs: &SetAttrs) -> Result<()> {
    if cx.uid == 0 {
        return Ok(());
    }
    let owner = cx.uid == node.attr.uid;
    if attrs.uid.is_some_and(|uid| !owner || uid != node.attr.uid) {
        return Err(FsError::Perm);
    }
    if attrs.gid.is_some_and(|gid| !owner || (gid != node.attr.gid && !cx.in_group(gid))) {
        return Err(FsError::Perm);
    }
    if attrs.mode.is_some() && !owner {
        return Err(FsError::Perm);
    }
    // RFC 8881 §6.2.1.3.1: a list may say so of others.
    let may_set = |acl| acl::grants_to(acl, cx, node, AceMask::WRITE_ATTRIBUTES);
    let free = owner || node.acl.as_ref().is_some_and(may_set);
    let times = [attrs.atime, attrs.mtime, attrs.ctime, attrs.btime];
    if !free && times.iter().any(|t| matches!(t, SetTime::To(_))) {
        return Err(FsError::Perm);
    }
    if !free && (times.contains(&SetTime::Now) || attrs.dos.is_some()) {
        perm::need(cx, node, W)?;
    }
    Ok(())
}

fn check_dos(attrs: &SetAttrs) -> Result<()> {
    let known = attrs.dos.is_none_or(|dos| dos.0 & !DosAttributes::ALL == 0);
    if known { Ok(()) } else { Err(FsError::Invalid) }
}

/// New content is to be archived again. CHOICE: not that of a stream.
pub(super) fn to_archive(node: &mut Node) {
    if let (Some(dos), None) = (&mut node.attr.dos, node.stream_of) {
        dos.0 |= DosAttributes::ARCHIVE;
    }
}

fn apply_attrs(cx: &Context, node: &mut Node, attrs: &SetAttrs) {
    let now = stamp(&node.attr, cx);
    let chown = attrs.uid.is_some() || attrs.gid.is_some();
    node.attr.uid = attrs.uid.unwrap_or(node.attr.uid);
    node.attr.gid = attrs.gid.unwrap_or(node.attr.gid);
    if let Some(mode) = attrs.mode {
        node.attr.mode = perm::strip_setgid(cx, node.attr.gid, mode & 0o7777);
    }
    if chown && node.attr.kind != FileKind::Dir {
        node.attr.mode = without_privilege(node.attr.mode);
    }
    if let (Some(acl), Some(_)) = (&node.acl, attrs.mode) {
        node.acl = Some(acl::after_chmod(acl, node.attr.mode, node.attr.kind == FileKind::Dir));
    }
    let len = if let Body::File(content) = &node.body { content.len() } else { 0 };
    if attrs.size.is_some_and(|size| size != len) {
        to_archive(node);
    }
    if let (Some(size), Body::File(content)) = (attrs.size, &mut node.body) {
        if size != content.len() {
            node.attr.mtime = now;
            if cx.uid != 0 && node.stream_of.is_none() {
                // CHOICE: as truncate(2), though knfsd leaves the bits.
                node.attr.mode = without_privilege(node.attr.mode);
            }
        }
        content.set_len(size);
        node.attr.size = size;
    }
    node.attr.atime = time(cx, attrs.atime).unwrap_or(node.attr.atime);
    node.attr.mtime = time(cx, attrs.mtime).unwrap_or(node.attr.mtime);
    node.attr.ctime = time(cx, attrs.ctime).unwrap_or(now);
    node.attr.btime = time(cx, attrs.btime).unwrap_or(node.attr.btime);
    node.attr.dos = attrs.dos.or(node.attr.dos);
}

/// The time of a change: that of the operation, but always after the last one, so that a client's cache sees it.
pub(super) fn stamp(attr: &Attr, cx: &Context) -> Time {
    let Time { secs, nanos } = attr.ctime;
    let next = if nanos == 999_999_999 {
        Time { secs: secs + 1, nanos: 0 }
    } else {
        Time { secs, nanos: nanos + 1 }
    };
    cx.now.max(next)
}

fn is_dots(name: &Bytes) -> bool {
    matches!(&name[..], b"." | b"..")
}

/// The form of a name.
pub(super) fn check_name(name: &[u8]) -> Result<()> {
    if name.len() > NAME_MAX {
        return Err(FsError::NameTooLong);
    }
    if name.is_empty() || name.iter().any(|b| matches!(b, b'/' | 0)) {
        return Err(FsError::Invalid);
    }
    Ok(())
}

/// Stamps a file whose content changed, and takes privileges away that a change by others ends.
pub(super) fn wrote(node: &mut Node, cx: &Context) {
    let time = stamp(&node.attr, cx);
    (node.attr.mtime, node.attr.ctime) = (time, time);
    to_archive(node);
    if cx.uid != 0 && node.stream_of.is_none() {
        node.attr.mode = without_privilege(node.attr.mode);
    }
}

/// Setuid goes, and setgid where it means privilege (group execute), when a file changes hands or content.
pub(super) fn without_privilege(mode: u32) -> u32 {
    let mode = mode & !SETUID;
    if mode & 0o010 != 0 { mode & !SETGID } else { mode }
}

/// Where an exclusive CREATE keeps its verifier: (atime, mtime).
fn verifier_times(verifier: [u8; 8]) -> (Time, Time) {
    let [a, b, c, d, e, f, g, h] = verifier;
    let secs = |bytes| Time { secs: i64::from(u32::from_le_bytes(bytes)), nanos: 0 };
    (secs([a, b, c, d]), secs([e, f, g, h]))
}
