//! The `.snapshot` directory: how clients look into snapshots. It stands on no disk. `.snapshot` in a directory lists the
//! snapshots in which that directory exists; each entry is the directory as its snapshot has it. Nothing below
//! can be changed.

use crate::error::{FsError, Result};
use crate::fold::fold_name;
use crate::fsinfo::SnapEntry;
use crate::ids::{Cookie, FileId, Generation, InodeNum, SnapshotId};
use crate::inode::{Hidden, Inode};
use crate::io::Io;
use crate::op::{FileKind, ROOT};
use crate::shared::Shared;
use crate::tree::Tree;
use bytes::Bytes;
use std::sync::atomic::{AtomicU8, Ordering};

/// The name under which a directory shows its snapshots.
pub const SNAPSHOT_DIR: &[u8] = b".snapshot";

/// Where a volume shows `.snapshot`. It is never in a listing: one has to ask for it by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SnapshotDir {
    /// In the volume's root.
    #[default]
    Root,
    /// In every directory.
    Everywhere,
    /// Nowhere.
    Off,
}

/// A [`SnapshotDir`] that can be changed while the volume is mounted.
#[derive(Default)]
pub(crate) struct SnapshotDirCell(AtomicU8);

impl SnapshotDirCell {
    pub(crate) fn set(&self, shown: SnapshotDir) {
        self.0.store(shown as u8, Ordering::Relaxed);
    }

    pub(crate) fn is_off(&self) -> bool {
        self.0.load(Ordering::Relaxed) == SnapshotDir::Off as u8
    }

    /// Whether `dir` of the active image has a `.snapshot`.
    pub(crate) fn shows_in(&self, dir: FileId) -> bool {
        let shown = self.0.load(Ordering::Relaxed);
        let everywhere = shown == SnapshotDir::Everywhere as u8;
        dir.snapshot == SnapshotId::ACTIVE
            && (everywhere || (shown == SnapshotDir::Root as u8 && dir == ROOT))
    }
}

impl SnapEntry {
    /// The inode `ino` as this snapshot has it; `None` where it has none.
    pub(crate) fn inode(&self, io: &Io, ino: InodeNum) -> Result<Option<Inode>> {
        if ino >= self.image.next_ino {
            return Ok(None);
        }
        let inofile = Tree::from_root(self.image.inofile)?;
        let inode = Inode::load(&inofile, io, ino)?.filter(|inode| inode.kind.is_some());
        Ok(inode.map(|inode| Inode { snapshot: self.id, ..inode }))
    }

    fn has(&self, io: &Io, file: FileId) -> Result<bool> {
        Ok(self.inode(io, file.ino)?.is_some_and(|inode| inode.generation == file.generation))
    }
}

/// A snapshot in a `.snapshot` directory: cookie, name, and the directory in it.
pub(crate) type ListedSnapshot = (Cookie, Bytes, FileId);

impl Shared {
    /// The inode that `file` names in a snapshot or in a list of snapshots.
    pub(crate) fn snapshot_inode(&self, file: FileId) -> Result<Inode> {
        if file.snapshot == SnapshotId::LIST {
            return self.snapshot_list(file);
        }
        let entry = self.snap(file.snapshot).map_err(|_| FsError::Stale)?;
        let found = entry.inode(&self.io, file.ino);
        // A deleted snapshot's blocks are soon something else.
        if self.snap(file.snapshot).is_err() {
            return Err(FsError::Stale);
        }
        let inode = found?.filter(|inode| inode.generation == file.generation).ok_or(FsError::Stale)?;
        match inode.hidden {
            Hidden::No => Ok(inode),
            Hidden::Stream => {
                let of = entry.inode(&self.io, inode.parent)?.ok_or(FsError::Stale)?;
                Ok(inode.with_rights_of(&of))
            }
            Hidden::AttrDir | Hidden::Value => Err(FsError::Stale),
        }
    }

    /// The `.snapshot` directory of a directory: owned by root, everybody may look.
    fn snapshot_list(&self, file: FileId) -> Result<Inode> {
        let dir = self.inode(file.within(SnapshotId::ACTIVE))?;
        if !dir.is_dir() {
            return Err(FsError::Stale);
        }
        let newest = self.snaps.read().last().map_or(dir.btime, |snap| snap.created);
        let mut list = Inode::new(file.ino, file.generation);
        list.snapshot = SnapshotId::LIST;
        list.kind = Some(FileKind::Dir);
        (list.mode, list.nlink, list.size) = (0o555, 2, crate::ids::BLOCK_SIZE_U64);
        (list.atime, list.mtime, list.ctime, list.btime) = (newest, newest, newest, dir.btime);
        Ok(list)
    }

    /// What `name`, or with `folded` one that differs from it in case alone, is in the list of `dir`, and how it is written.
    pub(crate) fn snapshot_named(&self, dir: FileId, name: &[u8], folded: bool) -> Result<(FileId, Bytes)> {
        let snaps = self.snaps.read().clone();
        let exact = snaps.iter().find(|snap| snap.name.as_bytes() == name);
        let alike = |snap: &&SnapEntry| folded && fold_name(snap.name.as_bytes()) == fold_name(name);
        let entry = exact.or_else(|| snaps.iter().find(alike)).ok_or(FsError::NotFound)?;
        let real = Bytes::copy_from_slice(entry.name.as_bytes());
        if entry.has(&self.io, dir)? { Ok((dir.within(entry.id), real)) } else { Err(FsError::NotFound) }
    }

    /// The entries of the list of `dir` after `after`, at most `max`; whether they are the last.
    pub(crate) fn snapshots_of(
        &self,
        dir: FileId,
        after: Cookie,
        max: usize,
    ) -> Result<(Vec<ListedSnapshot>, bool)> {
        /// Cookies 1 and 2 are those of `.` and `..`.
        const FIRST: u64 = 2;
        let snaps = self.snaps.read().clone();
        let mut entries = Vec::new();
        for snap in snaps.iter().filter(|snap| snap.id.0 + FIRST > after.0) {
            if !snap.has(&self.io, dir)? {
                continue;
            }
            if entries.len() == max {
                return Ok((entries, false));
            }
            let name = Bytes::copy_from_slice(snap.name.as_bytes());
            entries.push((Cookie(snap.id.0 + FIRST), name, dir.within(snap.id)));
        }
        Ok((entries, true))
    }

    /// What `..` leads to from a directory of a snapshot.
    pub(crate) fn above(&self, dir: &Inode) -> Result<FileId> {
        let id = dir.id();
        match id.snapshot {
            SnapshotId::LIST => Ok(id.within(SnapshotId::ACTIVE)),
            snapshot if id.within(SnapshotId::ACTIVE) == ROOT => {
                debug_assert_ne!(snapshot, SnapshotId::ACTIVE, "the active root is its own parent");
                Ok(ROOT.within(SnapshotId::LIST))
            }
            snapshot => {
                let entry = self.snap(snapshot).map_err(|_| FsError::Stale)?;
                let parent = entry.inode(&self.io, dir.parent)?.ok_or(FsError::Stale)?;
                Ok(parent.id())
            }
        }
    }
}

/// The root directory of a snapshot.
pub fn root_of(snapshot: SnapshotId) -> FileId {
    FileId { ino: ROOT.ino, generation: Generation(1), snapshot }
}
