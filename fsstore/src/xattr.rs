//! Extended attributes and named streams: where they are, what their names look like, who may see them.
//!
//! A file that has any has a hidden directory ([`Inode::attrs`]), which stands nowhere in the namespace. Its entries are
//! hidden files: the values and the streams. So both are copied on write, kept by snapshots and replicated as all files
//! are, and they go with the file in the same operation. The first byte of an entry's name says what it is:
//!
//! | entry | is |
//! | --- | --- |
//! | `u` name | the attribute `user.`name |
//! | `t` name | `trusted.`name |
//! | `s` name | `security.`name |
//! | `y` name | `system.`name |
//! | `:` name | the stream name |

use crate::access::{R, STICKY, W, need};
use crate::acl::Acl;
use crate::directory;
use crate::error::{FsError, Result};
use crate::fsinfo::SnapEntry;
use crate::ids::{BLOCK_SIZE_U64, Cookie, Fbn, FileId, InodeNum, SnapshotId};
use crate::inode::{Hidden, Inode};
use crate::io::Io;
use crate::op::{ATTRS_MAX, Attr, Context, FileKind, NAME_MAX, STREAM_NAME_MAX};
use crate::shared::delete_reserve;
use crate::state::State;
use crate::volume::Volume;
use bytes::{BufMut, Bytes, BytesMut};
use std::ops::ControlFlow;
use std::sync::Arc;

const NAMESPACES: [(u8, &[u8]); 4] =
    [(b'u', b"user."), (b't', b"trusted."), (b's', b"security."), (b'y', b"system.")];
const STREAM: u8 = b':';

/// A named stream of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stream {
    /// Its name, 1 to [`STREAM_NAME_MAX`] bytes.
    pub name: Bytes,
    /// Its attributes; owner, group and mode are those of the file.
    pub attr: Attr,
}

/// Most attributes and streams that a file may have in a volume of `data_blocks`: freeing them all may take a block each, of
/// those kept back so that a full volume can delete.
pub(crate) fn attrs_max(data_blocks: u64) -> u64 {
    (delete_reserve(data_blocks) / 2).min(ATTRS_MAX)
}

fn tagged(tag: u8, name: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(name.len() + 1);
    out.put_u8(tag);
    out.put_slice(name);
    out.freeze()
}

/// The entry's name of an attribute.
pub(crate) fn xattr_entry(name: &[u8]) -> Result<Bytes> {
    if name.len() > NAME_MAX {
        return Err(FsError::NameTooLong);
    }
    if name.is_empty() || name.contains(&0) {
        return Err(FsError::Invalid);
    }
    let found = NAMESPACES.iter().find_map(|(tag, prefix)| Some((*tag, name.strip_prefix(*prefix)?)));
    match found {
        Some((_, [])) => Err(FsError::Invalid),
        Some((tag, rest)) => Ok(tagged(tag, rest)),
        None => Err(FsError::NotSupported),
    }
}

/// The entry's name of a stream.
pub(crate) fn stream_entry(name: &[u8]) -> Result<Bytes> {
    if name.len() > STREAM_NAME_MAX {
        return Err(FsError::NameTooLong);
    }
    if name.is_empty() || name.contains(&b'/') || name.contains(&0) {
        return Err(FsError::Invalid);
    }
    Ok(tagged(STREAM, name))
}

/// The stream that an entry is.
pub(crate) fn stream_of_entry(entry: &Bytes) -> Option<Bytes> {
    (entry.first() == Some(&STREAM)).then(|| entry.slice(1..))
}

fn xattr_name(entry: &[u8]) -> Option<Bytes> {
    let (tag, rest) = entry.split_first()?;
    let (_, prefix) = NAMESPACES.iter().find(|(known, _)| known == tag)?;
    Some(Bytes::from([prefix, rest].concat()))
}

/// Only files and directories have streams; a stream has none.
pub(crate) fn check_has_streams(inode: &Inode) -> Result<()> {
    let kind = matches!(inode.kind, Some(FileKind::File | FileKind::Dir));
    if kind && inode.hidden == Hidden::No { Ok(()) } else { Err(FsError::Invalid) }
}

/// Whether the caller may read or change (`write`) an attribute: `user.` by the rights to the content, as Linux does
/// (xattr(7)), the others root only.
pub(crate) fn check_xattr(cx: &Context, inode: &Inode, entry: &[u8], write: bool) -> Result<()> {
    if inode.hidden != Hidden::No {
        return Err(FsError::Invalid);
    }
    if entry.first() != Some(&b'u') {
        return if cx.uid == 0 { Ok(()) } else { Err(FsError::Perm) };
    }
    if !matches!(inode.kind, Some(FileKind::File | FileKind::Dir)) {
        return Err(if write { FsError::Perm } else { FsError::NotFound });
    }
    let sticky = inode.is_dir() && inode.mode & STICKY != 0;
    if write && sticky && cx.uid != 0 && cx.uid != inode.uid {
        return Err(FsError::Perm);
    }
    need(cx, inode, if write { W } else { R })
}

impl State {
    /// The hidden directory of a file; `None` if it has no attributes and no streams.
    pub(crate) fn attr_dir(&mut self, io: &Io, file: &Inode) -> Result<Option<Arc<Inode>>> {
        if file.attrs == InodeNum(0) {
            return Ok(None);
        }
        let dir = self.load(io, file.attrs)?;
        if dir.hidden == Hidden::AttrDir && dir.parent == file.ino {
            Ok(Some(dir))
        } else {
            Err(FsError::Corrupt { ino: file.ino, vbn: crate::ids::Vbn(0) })
        }
    }

    /// The hidden file of an entry.
    pub(crate) fn attr_file(&mut self, io: &Io, file: &Inode, entry: &[u8]) -> Result<Option<Arc<Inode>>> {
        let Some(dir) = self.attr_dir(io, file)? else { return Ok(None) };
        let target = self.find(io, &dir, entry)?;
        target.map(|target| self.load(io, target.file.ino)).transpose()
    }

    /// The entries of the attribute directory `dir`.
    pub(crate) fn attr_entries(&mut self, io: &Io, dir: InodeNum) -> Result<Vec<(Bytes, FileId)>> {
        let dir = self.load(io, dir)?;
        let mut entries = Vec::new();
        directory::scan(&dir, io, Cookie(0), &mut |entry| {
            entries.push((Bytes::copy_from_slice(entry.name), entry.file));
            ControlFlow::Continue(())
        })?;
        Ok(entries)
    }

    /// The hidden inodes behind a file.
    pub(crate) fn hidden_of(&mut self, io: &Io, file: &Inode) -> Result<Vec<InodeNum>> {
        let mut hidden = Vec::new();
        if let Some(dir) = self.attr_dir(io, file)? {
            hidden.push(dir.ino);
            hidden.extend(self.attr_entries(io, dir.ino)?.into_iter().map(|(_, id)| id.ino));
        }
        if file.acl_file != InodeNum(0) {
            hidden.push(file.acl_file);
        }
        Ok(hidden)
    }

    /// Charges what is hidden behind a file to those that the file is charged to.
    pub(crate) fn follow_owner(&mut self, io: &Io, file: InodeNum) -> Result<()> {
        let file = self.load(io, file)?.clone();
        for ino in self.hidden_of(io, &file)? {
            if (self.load(io, ino)?.uid, self.load(io, ino)?.gid) != (file.uid, file.gid) {
                self.edit(io, ino, |inode, _| {
                    (inode.uid, inode.gid) = (file.uid, file.gid);
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    /// Hidden inodes that go with a file.
    pub(crate) fn attr_count(&mut self, io: &Io, file: &Inode) -> Result<u64> {
        Ok(self.attr_dir(io, file)?.map_or(0, |dir| dir.entries + 1))
    }
}

/// What a hidden file holds. Values are small and read as metadata is, through the cache.
fn value_of(inode: &Inode, io: &Io) -> Result<Bytes> {
    let len = usize::try_from(inode.size.min(crate::op::XATTR_VALUE_MAX as u64)).unwrap_or(0);
    let mut out = BytesMut::with_capacity(len.next_multiple_of(crate::ids::BLOCK_SIZE));
    for fbn in 0..inode.size.div_ceil(BLOCK_SIZE_U64) {
        if out.len() < len {
            let page = inode.tree.page(io, Fbn(fbn))?;
            out.put_slice(&page.ok_or(FsError::Corrupt { ino: inode.ino, vbn: crate::ids::Vbn(0) })?[..]);
        }
    }
    out.truncate(len);
    Ok(out.freeze())
}

/// A file of a snapshot with its hidden directory.
struct Kept {
    snapshot: SnapEntry,
    file: Inode,
    dir: Option<Inode>,
}

impl Kept {
    fn find(&self, volume: &Volume, entry: &[u8]) -> Result<Option<Inode>> {
        let Some(dir) = &self.dir else { return Ok(None) };
        let hash = volume.shared.state.read().hash;
        let target = directory::lookup(dir, &volume.shared.io, hash, entry)?;
        target.map_or(Ok(None), |target| self.snapshot.inode(&volume.shared.io, target.file.ino))
    }

    fn entries(&self, io: &Io) -> Result<Vec<(Bytes, FileId)>> {
        if self.file.hidden != Hidden::No {
            return Err(FsError::Invalid);
        }
        let mut entries = Vec::new();
        if let Some(dir) = &self.dir {
            directory::scan(dir, io, Cookie(0), &mut |entry| {
                entries.push((Bytes::copy_from_slice(entry.name), entry.file.within(self.snapshot.id)));
                ControlFlow::Continue(())
            })?;
        }
        Ok(entries)
    }
}

impl Volume {
    /// Looks at the attributes and streams of a file as a snapshot has them.
    fn in_snapshot<R>(&self, file: FileId, look: impl FnOnce(&Kept) -> Result<R>) -> Result<R> {
        let shared = &self.shared;
        let inode = shared.snapshot_inode(file)?;
        // The list of snapshots has neither.
        let snapshot = shared.snap(file.snapshot).map_err(|_| FsError::NotFound)?;
        let found = match inode.attrs {
            InodeNum(0) => Ok(None),
            attrs => snapshot.inode(&shared.io, attrs),
        };
        let outcome = found.and_then(|dir| {
            let dir = dir.filter(|dir| dir.hidden == Hidden::AttrDir && dir.parent == file.ino);
            if dir.is_none() && inode.attrs != InodeNum(0) {
                return Err(FsError::Corrupt { ino: file.ino, vbn: crate::ids::Vbn(0) });
            }
            look(&Kept { snapshot, file: inode, dir })
        });
        // A deleted snapshot's blocks are soon something else.
        if shared.snap(file.snapshot).is_err() { Err(FsError::Stale) } else { outcome }
    }

    /// The value of an extended attribute (getxattr(2)); the name with its namespace.
    ///
    /// # Errors
    /// [`FsError::NotFound`] if the file has no such attribute (ENODATA), [`FsError::NotSupported`] for another namespace,
    /// [`FsError::Access`], [`FsError::Perm`], [`FsError::Invalid`], [`FsError::NameTooLong`], [`FsError::Stale`].
    pub fn xattr(&self, cx: &Context, file: FileId, name: &[u8]) -> Result<Bytes> {
        let entry = xattr_entry(name)?;
        let io = &*self.shared.io;
        if file.snapshot != SnapshotId::ACTIVE {
            return self.in_snapshot(file, |kept| {
                check_xattr(cx, &kept.file, &entry, false)?;
                value_of(&kept.find(self, &entry)?.ok_or(FsError::NotFound)?, io)
            });
        }
        let mut st = self.shared.state.write();
        let inode = st.file(io, file)?;
        check_xattr(cx, &inode, &entry, false)?;
        let found = st.attr_file(io, &inode, &entry)?.ok_or(FsError::NotFound)?;
        value_of(&found, io)
    }

    /// The names of a file's extended attributes (listxattr(2)), sorted; for others than root, those of `user.`.
    ///
    /// # Errors
    /// [`FsError::Stale`], [`FsError::Invalid`] for a stream.
    pub fn xattrs(&self, cx: &Context, file: FileId) -> Result<Vec<Bytes>> {
        let entries = self.attr_list(file)?;
        let seen = entries.iter().filter(|(entry, _)| cx.uid == 0 || entry.first() == Some(&b'u'));
        let mut names: Vec<_> = seen.filter_map(|(entry, _)| xattr_name(entry)).collect();
        names.sort();
        Ok(names)
    }

    fn attr_list(&self, file: FileId) -> Result<Vec<(Bytes, FileId)>> {
        if file.snapshot != SnapshotId::ACTIVE {
            return self.in_snapshot(file, |kept| kept.entries(&self.shared.io));
        }
        let mut st = self.shared.state.write();
        let inode = st.file(&self.shared.io, file)?;
        if inode.hidden != Hidden::No {
            return Err(FsError::Invalid);
        }
        match st.attr_dir(&self.shared.io, &inode)? {
            Some(dir) => st.attr_entries(&self.shared.io, dir.ino),
            None => Ok(Vec::new()),
        }
    }

    /// The access control list in force: the stored one, or the one that says what the mode does.
    ///
    /// # Errors
    /// [`FsError::Stale`] if the file is gone.
    pub fn acl(&self, file: FileId) -> Result<Acl> {
        let inode = self.shared.inode(file)?;
        Ok(inode.acl.as_deref().cloned().unwrap_or_else(|| Acl::from_mode(inode.mode, inode.is_dir())))
    }

    /// A named stream. Like LOOKUP, it needs no right to the file itself.
    ///
    /// # Errors
    /// [`FsError::NotFound`], [`FsError::Invalid`] for what can't have streams, [`FsError::NameTooLong`], [`FsError::Stale`].
    pub fn stream(&self, file: FileId, name: &[u8]) -> Result<Attr> {
        let entry = stream_entry(name)?;
        let io = &*self.shared.io;
        if file.snapshot != SnapshotId::ACTIVE {
            return self.in_snapshot(file, |kept| {
                check_has_streams(&kept.file)?;
                let found = kept.find(self, &entry)?.ok_or(FsError::NotFound)?;
                Ok(found.with_rights_of(&kept.file).attr())
            });
        }
        let mut st = self.shared.state.write();
        let inode = st.file(io, file)?;
        check_has_streams(&inode)?;
        let found = st.attr_file(io, &inode, &entry)?.ok_or(FsError::NotFound)?;
        Ok(found.with_rights_of(&inode).attr())
    }

    /// A file's named streams, sorted by name.
    ///
    /// # Errors
    /// As those of [`Volume::xattrs`].
    pub fn streams(&self, file: FileId) -> Result<Vec<Stream>> {
        let mut streams = Vec::new();
        for (entry, id) in self.attr_list(file)? {
            if entry.first() == Some(&STREAM) {
                match self.getattr(id) {
                    Ok(attr) => streams.push(Stream { name: entry.slice(1..), attr }),
                    // Removed between the two looks.
                    Err(FsError::Stale) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        streams.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(streams)
    }
}
