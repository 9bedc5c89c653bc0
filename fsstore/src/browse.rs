//! Looking at a volume: names, attributes, content, entries. Changes nothing and waits for no consistency point.

use crate::access::{R, X, granted, may, need, need_or_owner};
use crate::directory;
use crate::error::{FsError, Result};
use crate::fold::fold_name;
use crate::ids::{Cookie, FileId, InodeNum, SnapshotId};
use crate::inode::{Hidden, Inode};
use crate::op::{Access, Attr, Context, DirEntry, FileKind, ROOT, ReadDone, SeekWhat};
use crate::read;
use crate::rope::Rope;
use crate::seek;
use crate::snapdir::SNAPSHOT_DIR;
use crate::volume::Volume;
use bytes::Bytes;
use std::ops::ControlFlow;

/// Entries that READDIR takes out of the directory at once.
const READDIR_BATCH: usize = 128;

/// An entry taken out of a directory.
type Listed = (Cookie, Bytes, FileId, FileKind);

impl Volume {
    /// The attributes, and so the [`FileId`], of the file of the live file system that has this number now.
    ///
    /// # Errors
    /// [`FsError::NotFound`] if none has, or no file that callers see.
    pub fn by_number(&self, ino: InodeNum) -> Result<Attr> {
        let mut st = self.shared.state.write();
        if ino >= st.next_ino {
            return Err(FsError::NotFound);
        }
        let inode = match st.load(&self.shared.io, ino) {
            Err(FsError::Stale) => return Err(FsError::NotFound),
            inode => inode?,
        };
        let seen = inode.kind.is_some() && inode.hidden == Hidden::No;
        if seen { Ok(inode.attr()) } else { Err(FsError::NotFound) }
    }

    /// Finds `name` in `dir` (search permission is checked); `.` and `..` work.
    ///
    /// # Errors
    /// [`FsError::NotFound`], [`FsError::NotDir`], [`FsError::Access`], [`FsError::NameTooLong`], [`FsError::Stale`].
    pub fn lookup(&self, cx: &Context, dir: FileId, name: &[u8]) -> Result<Attr> {
        Ok(self.find(cx, dir, name, false)?.0)
    }

    /// The same for a caller that does not tell case apart: `name` itself if it is there, else the first in the order of
    /// READDIR that folds alike ([`fold_name`]). Gives the name as it stands in the directory, too.
    ///
    /// # Errors
    /// As [`Volume::lookup`].
    pub fn lookup_folded(&self, cx: &Context, dir: FileId, name: &[u8]) -> Result<(Attr, Bytes)> {
        let (attr, real) = self.find(cx, dir, name, true)?;
        Ok((attr, real.unwrap_or_else(|| Bytes::copy_from_slice(name))))
    }

    /// LOOKUP; with `folded`, names that differ in case alone will do. Gives the name where it is another one.
    fn find(&self, cx: &Context, dir: FileId, name: &[u8], folded: bool) -> Result<(Attr, Option<Bytes>)> {
        let shared = &*self.shared;
        if name.len() > crate::op::NAME_MAX {
            return Err(FsError::NameTooLong);
        }
        let hash = shared.state.read().hash;
        let (found, real) = shared.view(dir, |inode| {
            if !inode.is_dir() {
                return Err(FsError::NotDir);
            }
            need(cx, inode, X)?;
            let snapshots = shared.snapshot_dir.shows_in(dir).then(|| dir.within(SnapshotId::LIST));
            match (name, snapshots) {
                (b".", _) => return Ok((Some(dir), None)),
                (b"..", _) => return Ok((None, None)),
                (SNAPSHOT_DIR, Some(list)) => return Ok((Some(list), None)),
                _ if dir.snapshot == SnapshotId::LIST => {
                    let (file, real) = shared.snapshot_named(dir, name, folded)?;
                    return Ok((Some(file), Some(real)));
                }
                _ => {}
            }
            let exact = || directory::lookup(inode, &shared.io, hash, name);
            if !folded {
                let target = exact()?.ok_or(FsError::NotFound)?;
                return Ok((Some(target.file.within(dir.snapshot)), None));
            }
            if snapshots.is_some() && fold_name(name)[..] == *SNAPSHOT_DIR && exact()?.is_none() {
                return Ok((snapshots, Some(Bytes::from_static(SNAPSHOT_DIR))));
            }
            let found = directory::lookup_folded(inode, &shared.io, hash, name)?;
            let (target, real) = found.ok_or(FsError::NotFound)?;
            Ok((Some(target.file.within(dir.snapshot)), Some(real)))
        })?;
        let file = match found {
            Some(file) => file,
            None => self.parent(&*shared.inode(dir)?)?,
        };
        match self.getattr(file) {
            // Removed between the two looks.
            Err(FsError::Stale) => Err(FsError::NotFound),
            outcome => Ok((outcome?, real)),
        }
    }

    /// Attributes.
    ///
    /// # Errors
    /// [`FsError::Stale`] if the file is gone.
    pub fn getattr(&self, file: FileId) -> Result<Attr> {
        Ok(self.shared.inode(file)?.attr())
    }

    /// Whether a file's newest name is in `dir`, or in a directory below it.
    ///
    /// # Errors
    /// [`FsError::Stale`] if the file is gone.
    pub fn is_below(&self, file: FileId, dir: FileId) -> Result<bool> {
        let shared = &*self.shared;
        let file = shared.inode(file)?.ino;
        Ok(file != dir.ino && shared.state.write().is_below(&shared.io, file, dir.ino)?)
    }

    /// Which of the rights `want` the caller has.
    ///
    /// # Errors
    /// [`FsError::Stale`] if the file is gone.
    pub fn access(&self, cx: &Context, file: FileId, want: Access) -> Result<(Access, Attr)> {
        let inode = self.shared.inode(file)?;
        let changes = Access::MODIFY | Access::EXTEND | Access::DELETE;
        let want = if file.snapshot == SnapshotId::ACTIVE { want } else { Access(want.0 & !changes) };
        Ok((granted(cx, &inode, want), inode.attr()))
    }

    /// Reads up to `len` bytes at `offset`. The owner may always read, as NFS servers allow (RFC 1813 §4.4), and
    /// who may execute a file too.
    ///
    /// # Errors
    /// [`FsError::IsDir`], [`FsError::Invalid`] for other than files, [`FsError::Access`], [`FsError::Stale`], and
    /// [`FsError::Corrupt`] for a block that is not what was written.
    pub fn read(&self, cx: &Context, file: FileId, offset: u64, len: usize) -> Result<ReadDone<Bytes>> {
        let ReadDone { data, eof, attr } = self.read_rope(cx, file, offset, len)?;
        Ok(ReadDone { data: data.to_bytes(), eof, attr })
    }

    /// As [`Volume::read`], but what is in memory is not copied.
    ///
    /// # Errors
    /// As those of [`Volume::read`].
    pub fn read_rope(&self, cx: &Context, file: FileId, offset: u64, len: usize) -> Result<ReadDone<Rope>> {
        self.shared.view(file, |inode| {
            check_read(cx, inode)?;
            let data = read::read(inode, &self.shared.io, offset, len)?;
            Ok(ReadDone { eof: ends(inode, offset, &data), data, attr: inode.attr() })
        })
    }

    /// As [`Volume::read_rope`], if all of the data is in memory; else `None`, without waiting for it.
    ///
    /// # Errors
    /// As those of [`Volume::read`].
    pub fn read_cached(
        &self,
        cx: &Context,
        file: FileId,
        offset: u64,
        len: usize,
    ) -> Result<Option<ReadDone<Rope>>> {
        self.shared.view(file, |inode| {
            check_read(cx, inode)?;
            let cached = read::cached(inode, &self.shared.io, offset, len)?;
            Ok(cached.map(|data| ReadDone { eof: ends(inode, offset, &data), data, attr: inode.attr() }))
        })
    }

    /// Where data or a hole begins, at or after byte `offset` (lseek's SEEK_DATA and SEEK_HOLE, RFC 7862 §15.11 SEEK).
    /// `None` if `offset` is not before the end of the file, or no data follows. Who may read the file may ask.
    ///
    /// # Errors
    /// As those of [`Volume::read`].
    pub fn seek(&self, cx: &Context, file: FileId, offset: u64, what: SeekWhat) -> Result<Option<u64>> {
        self.shared.view(file, |inode| {
            check_read(cx, inode)?;
            seek::seek(inode, &self.shared.io, offset, what)
        })
    }

    /// Target of a symbolic link.
    ///
    /// # Errors
    /// [`FsError::Invalid`] for other than symbolic links, [`FsError::Stale`].
    pub fn readlink(&self, _cx: &Context, file: FileId) -> Result<(Bytes, Attr)> {
        self.shared.view(file, |inode| {
            if inode.kind != Some(FileKind::Symlink) {
                return Err(FsError::Invalid);
            }
            let len = usize::try_from(inode.size).unwrap_or(0);
            Ok((read::read(inode, &self.shared.io, 0, len)?.to_bytes(), inode.attr()))
        })
    }

    /// Visits entries after `after` in cookie order until `visit` breaks; `Ok(true)` at the directory's end.
    /// `visit` runs without any lock of the volume held, so it may call it.
    ///
    /// # Errors
    /// [`FsError::NotDir`], [`FsError::Access`], [`FsError::Stale`].
    pub fn readdir(
        &self,
        cx: &Context,
        dir: FileId,
        after: Cookie,
        visit: &mut dyn FnMut(DirEntry<'_>) -> ControlFlow<()>,
    ) -> Result<bool> {
        let mut after = after;
        let parent = self.parent(&*self.shared.inode(dir)?)?;
        loop {
            let (entries, end) = self.shared.view(dir, |inode| self.entries(cx, inode, parent, after))?;
            for (cookie, name, file, kind) in &entries {
                if visit(DirEntry { cookie: *cookie, name, file: *file, kind: *kind }).is_break() {
                    return Ok(false);
                }
                after = *cookie;
            }
            if end {
                return Ok(true);
            }
        }
    }

    fn entries(
        &self,
        cx: &Context,
        inode: &Inode,
        parent: FileId,
        after: Cookie,
    ) -> Result<(Vec<Listed>, bool)> {
        if !inode.is_dir() {
            return Err(FsError::NotDir);
        }
        if cx.uid != inode.uid {
            need(cx, inode, R)?;
        }
        let mut entries: Vec<Listed> = Vec::new();
        if after < Cookie(1) {
            entries.push((Cookie(1), Bytes::from_static(b"."), inode.id(), FileKind::Dir));
        }
        if after < Cookie(2) {
            entries.push((Cookie(2), Bytes::from_static(b".."), parent, FileKind::Dir));
        }
        if inode.snapshot == SnapshotId::LIST {
            let (snaps, end) = self.shared.snapshots_of(inode.id(), after, READDIR_BATCH)?;
            entries.extend(snaps.into_iter().map(|(cookie, name, file)| (cookie, name, file, FileKind::Dir)));
            return Ok((entries, end));
        }
        let end = directory::scan(inode, &self.shared.io, after, &mut |entry| {
            if entries.len() >= READDIR_BATCH {
                return ControlFlow::Break(());
            }
            entries.push((
                entry.key,
                Bytes::copy_from_slice(entry.name),
                entry.file.within(inode.snapshot),
                entry.kind,
            ));
            ControlFlow::Continue(())
        })?;
        Ok((entries, end))
    }

    /// The directory above; the root's is the root.
    fn parent(&self, inode: &Inode) -> Result<FileId> {
        if inode.snapshot != SnapshotId::ACTIVE {
            return self.shared.above(inode);
        }
        if inode.id() == ROOT || !inode.is_dir() {
            return Ok(ROOT);
        }
        if let Some(parent) = self.shared.state.read().inodes.get(inode.parent) {
            return Ok(parent.id());
        }
        self.shared.state.write().load(&self.shared.io, inode.parent).map(|parent| parent.id())
    }
}

fn ends(inode: &Inode, offset: u64, data: &Rope) -> bool {
    offset.saturating_add(data.len() as u64) >= inode.size
}

/// Whether the caller may read what the file holds.
fn check_read(cx: &Context, inode: &Inode) -> Result<()> {
    inode.need_file()?;
    if may(cx, inode, X) { Ok(()) } else { need_or_owner(cx, inode, R) }
}
