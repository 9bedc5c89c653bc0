//! The active image in memory: inodes in use, the committed inode file below them, and what the next CP has to do.

use crate::directory::{self, NameHash, Target};
use crate::error::{FsError, Result};
use crate::fsinfo::SnapEntry;
use crate::ids::{FileId, Generation, InodeNum, Lsn, SnapshotId, Vbn};
use crate::inode::{Hidden, INODES_PER_PAGE, Inode};
use crate::inodes::Inodes;
use crate::io::Io;
use crate::memory::DIRTY_INODE_BYTES;
use crate::op::ROOT_INO;
use crate::quota::{Charge, Quotas};
use crate::tree::{Edit, Ledger, Tree};
use std::sync::Arc;

/// Everything that operations change. Behind one lock; a CP freezes it by cloning a few roots.
pub(crate) struct State {
    /// The CP being collected.
    pub(crate) generation: u64,
    pub(crate) inodes: Inodes,
    /// Inode file of the last committed CP.
    pub(crate) inofile: Tree,
    pub(crate) next_ino: InodeNum,
    pub(crate) free_ino: InodeNum,
    pub(crate) files: u64,
    /// Newest operation applied.
    pub(crate) lsn: Lsn,
    pub(crate) ledger: Ledger,
    /// Nodes that the running CP has still to find blocks for, at the most.
    pub(crate) frozen_blocks: u64,
    /// Memory of what the running CP froze.
    pub(crate) frozen_bytes: u64,
    /// Bytes that the volume's memory knows of.
    pub(crate) accounted: u64,
    /// Why no change is taken any more.
    pub(crate) fault: Option<FsError>,
    pub(crate) hash: NameHash,
    /// Highest generation that a file has had.
    pub(crate) generation_max: u32,
    /// Lowest generation for new files.
    pub(crate) generation_floor: u32,
    /// Whether blocks are shared, so that frees may have counts of users to write.
    pub(crate) sharing: bool,
    /// Snapshots that operations may share blocks with.
    pub(crate) snaps: Arc<Vec<SnapEntry>>,
    /// Most extended attributes and streams of one file.
    pub(crate) attrs_max: u64,
    pub(crate) quota: Quotas,
}

impl State {
    /// The inode `ino`, free or not.
    pub(crate) fn load(&mut self, io: &Io, ino: InodeNum) -> Result<Arc<Inode>> {
        if let Some(inode) = self.inodes.get(ino) {
            return Ok(inode);
        }
        let inode = Arc::new(Inode::load(&self.inofile, io, ino)?.ok_or(FsError::Stale)?);
        self.inodes.keep(ino, inode.clone());
        Ok(inode)
    }

    /// Bytes of memory that wait for the next CP.
    pub(crate) fn dirty_bytes(&self) -> u64 {
        self.ledger.bytes() + self.inodes.dirty_len() as u64 * DIRTY_INODE_BYTES
    }

    /// The file that `id` names.
    pub(crate) fn file(&mut self, io: &Io, id: FileId) -> Result<Arc<Inode>> {
        if id.snapshot != SnapshotId::ACTIVE {
            return Err(FsError::ReadOnly);
        }
        if id.ino >= self.next_ino {
            return Err(FsError::Stale);
        }
        let inode = self.load(io, id.ino)?;
        if inode.kind.is_none() || inode.generation != id.generation {
            return Err(FsError::Stale);
        }
        match inode.hidden {
            Hidden::No => Ok(inode),
            Hidden::Stream => Ok(Arc::new(inode.with_rights_of(self.load(io, inode.parent)?.as_ref()))),
            Hidden::AttrDir | Hidden::Value => Err(FsError::Stale),
        }
    }

    /// An inode as callers see it, if what that takes is in memory.
    pub(crate) fn visible(&self, inode: &Arc<Inode>) -> Option<Arc<Inode>> {
        match inode.hidden {
            Hidden::No => Some(inode.clone()),
            Hidden::Stream => self.inodes.get(inode.parent).map(|file| Arc::new(inode.with_rights_of(&file))),
            Hidden::AttrDir | Hidden::Value => None,
        }
    }

    /// The directory that `id` names.
    pub(crate) fn dir(&mut self, io: &Io, id: FileId) -> Result<Arc<Inode>> {
        let inode = self.file(io, id)?;
        if inode.is_dir() { Ok(inode) } else { Err(FsError::NotDir) }
    }

    /// Changes an inode that is there.
    pub(crate) fn edit<R>(
        &mut self,
        io: &Io,
        ino: InodeNum,
        change: impl FnOnce(&mut Inode, &mut Edit<'_>) -> Result<R>,
    ) -> Result<R> {
        let inofile = &self.inofile;
        let load = || Ok(Arc::new(Inode::load(inofile, io, ino)?.ok_or(FsError::Stale)?));
        let inode = self.inodes.change(ino, load)?;
        let before = Charge::of(inode);
        let mut edit = Edit { io, generation: self.generation, ledger: &mut self.ledger };
        let outcome = change(inode, &mut edit)?;
        let after = Charge::of(inode);
        if before != after {
            self.quota.note(before, after);
        }
        Ok(outcome)
    }

    /// What `name` leads to in `dir`; not for `.` and `..`.
    pub(crate) fn find(&self, io: &Io, dir: &Inode, name: &[u8]) -> Result<Option<Target>> {
        directory::lookup(dir, io, self.hash, name)
    }

    /// The identity that the next new file gets.
    pub(crate) fn next_id(&mut self, io: &Io) -> Result<FileId> {
        if self.free_ino == InodeNum(0) {
            return Ok(FileId::active(self.next_ino, Generation(self.generation_floor.max(1))));
        }
        let ino = self.free_ino;
        let free = self.load(io, ino)?;
        if free.kind.is_some() {
            return Err(FsError::Corrupt { ino, vbn: Vbn(0) });
        }
        let generation = Generation(free.generation.0.wrapping_add(1));
        let generation = generation.max(Generation(self.generation_floor.max(1)));
        Ok(FileId::active(ino, generation))
    }

    /// The identities that the next two new files get, one after the other.
    pub(crate) fn next_two_ids(&mut self, io: &Io) -> Result<(FileId, FileId)> {
        let first = self.next_id(io)?;
        let (free_ino, next_ino) = (self.free_ino, self.next_ino);
        if free_ino == InodeNum(0) {
            self.next_ino.0 += 1;
        } else {
            self.free_ino = self.load(io, free_ino)?.next_free;
        }
        let second = self.next_id(io);
        (self.free_ino, self.next_ino) = (free_ino, next_ino);
        Ok((first, second?))
    }

    /// Takes the number of `id`, which [`State::next_id`] gave, and puts the new inode there.
    pub(crate) fn take_id(&mut self, io: &Io, inode: Inode) -> Result<()> {
        let ino = inode.ino;
        if ino == self.free_ino {
            self.free_ino = self.load(io, ino)?.next_free;
        } else if ino == self.next_ino {
            self.next_ino.0 += 1;
        } else {
            return Err(FsError::Format(format!("the log makes inode {ino} out of turn")));
        }
        self.quota.note(Charge::NONE, Charge::of(&inode));
        self.files += 1;
        self.generation_max = self.generation_max.max(inode.generation.0);
        self.inodes.insert(ino, inode);
        Ok(())
    }

    /// Frees a file that has no name any more: its blocks, its attributes and streams, and its number for a later
    /// generation.
    pub(crate) fn free_inode(&mut self, io: &Io, ino: InodeNum) -> Result<()> {
        let attrs = self.load(io, ino)?.attrs;
        if attrs != InodeNum(0) {
            for (_, target) in self.attr_entries(io, attrs)? {
                self.free_one(io, target.ino)?;
            }
            self.free_one(io, attrs)?;
        }
        let acl = self.load(io, ino)?.acl_file;
        if acl != InodeNum(0) {
            self.free_one(io, acl)?;
        }
        self.free_one(io, ino)
    }

    /// The same for a file that has neither attributes nor streams, or has lost them.
    pub(crate) fn free_one(&mut self, io: &Io, ino: InodeNum) -> Result<()> {
        let next_free = self.free_ino;
        self.edit(io, ino, |inode, edit| {
            inode.tree.truncate(edit, crate::ids::Fbn(0))?;
            let mut empty = Inode::new(ino, inode.generation);
            empty.next_free = next_free;
            *inode = empty;
            Ok(())
        })?;
        self.free_ino = ino;
        self.files = self.files.saturating_sub(1);
        Ok(())
    }

    /// Whether `dir` is `ancestor` or below it; of a file, its newest name.
    pub(crate) fn is_below(&mut self, io: &Io, dir: InodeNum, ancestor: InodeNum) -> Result<bool> {
        let mut at = dir;
        // No way up is longer than there are files, except in a circle.
        for _ in 0..=self.files.min(io.blocks().saturating_mul(INODES_PER_PAGE)) {
            if at == ancestor {
                return Ok(true);
            }
            if at == ROOT_INO {
                return Ok(false);
            }
            at = self.load(io, at)?.parent;
        }
        Err(FsError::Corrupt { ino: dir, vbn: Vbn(0) })
    }
}
