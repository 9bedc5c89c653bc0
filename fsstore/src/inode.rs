//! Inodes: in memory with their trees, and the 256 bytes that each has in the inode file.

use crate::acl::Acl;
use crate::dos::DosAttributes;
use crate::error::{FsError, Result};
use crate::ids::{BLOCK_SIZE, Cookie, Fbn, FileId, Generation, InodeNum, QtreeId, SnapshotId};
use crate::io::Io;
use crate::layout::{Page, Reader, TreeRoot, Writer};
use crate::op::{Attr, FILE_SIZE_MAX, FileKind, PreAttr, QTREES_MAX, SYMLINK_MAX, Time};
use crate::tree::Tree;
use std::sync::Arc;

/// Bytes of one inode in the inode file.
pub(crate) const INODE_BYTES: usize = 256;
/// Inodes in a page of the inode file.
pub(crate) const INODES_PER_PAGE: u64 = (BLOCK_SIZE / INODE_BYTES) as u64;

/// One inode. `kind` is `None` while the number is free.
#[derive(Clone)]
pub(crate) struct Inode {
    pub(crate) ino: InodeNum,
    pub(crate) generation: Generation,
    /// The image that it was read from. Not on disk.
    pub(crate) snapshot: SnapshotId,
    pub(crate) kind: Option<FileKind>,
    pub(crate) mode: u32,
    pub(crate) nlink: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    /// Data blocks in use.
    pub(crate) blocks: u64,
    pub(crate) rdev: (u32, u32),
    pub(crate) atime: Time,
    pub(crate) mtime: Time,
    pub(crate) ctime: Time,
    pub(crate) btime: Time,
    /// The directory that the newest of its names is in; a directory's parent.
    pub(crate) parent: InodeNum,
    /// The key of that name in `parent`.
    pub(crate) name_key: Cookie,
    /// Entries of a directory.
    pub(crate) entries: u64,
    /// Next in the chain of free inodes.
    pub(crate) next_free: InodeNum,
    pub(crate) tree: Tree,
    /// The hidden directory of its extended attributes and named streams; 0: none.
    pub(crate) attrs: InodeNum,
    pub(crate) hidden: Hidden,
    /// The hidden file that its access control list is in; 0: none.
    pub(crate) acl_file: InodeNum,
    /// What is in there.
    pub(crate) acl: Option<Arc<Acl>>,
    /// The qtree that it is in. A hidden inode has owner, group and qtree of its file: it is charged to them.
    pub(crate) qtree: QtreeId,
    pub(crate) dos: Option<DosAttributes>,
}

/// Inodes that have no name in the namespace: they are parts of the file that `parent` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hidden {
    /// An ordinary file.
    No,
    /// The directory of a file's attributes and streams.
    AttrDir,
    /// The value of an extended attribute.
    Value,
    /// A named stream: the only one that has a `FileId` for callers.
    Stream,
}

/// Page of the inode file, and byte in it, of an inode.
pub(crate) fn place(ino: InodeNum) -> (Fbn, usize) {
    let slot = usize::try_from(ino.0 % INODES_PER_PAGE).unwrap_or(0);
    (Fbn(ino.0 / INODES_PER_PAGE), slot * INODE_BYTES)
}

impl Inode {
    pub(crate) fn new(ino: InodeNum, generation: Generation) -> Self {
        Inode {
            ino,
            generation,
            snapshot: SnapshotId::ACTIVE,
            kind: None,
            mode: 0,
            nlink: 0,
            uid: 0,
            gid: 0,
            size: 0,
            blocks: 0,
            rdev: (0, 0),
            atime: Time::default(),
            mtime: Time::default(),
            ctime: Time::default(),
            btime: Time::default(),
            parent: InodeNum(0),
            name_key: Cookie(0),
            entries: 0,
            next_free: InodeNum(0),
            tree: Tree::EMPTY,
            attrs: InodeNum(0),
            hidden: Hidden::No,
            acl_file: InodeNum(0),
            acl: None,
            qtree: QtreeId::NONE,
            dos: None,
        }
    }

    /// A stream as callers see it: with the owner, the mode and the DOS attributes of its file.
    pub(crate) fn with_rights_of(&self, file: &Inode) -> Inode {
        Inode {
            mode: file.mode,
            uid: file.uid,
            gid: file.gid,
            acl: file.acl.clone(),
            dos: file.dos,
            ..self.clone()
        }
    }

    pub(crate) fn id(&self) -> FileId {
        FileId { ino: self.ino, generation: self.generation, snapshot: self.snapshot }
    }

    /// # Errors
    /// [`FsError::IsDir`], and [`FsError::Invalid`] for what else has no content that can be read and written.
    pub(crate) fn need_file(&self) -> Result<()> {
        match self.kind {
            Some(FileKind::File) => Ok(()),
            Some(FileKind::Dir) => Err(FsError::IsDir),
            _ => Err(FsError::Invalid),
        }
    }

    pub(crate) fn is_dir(&self) -> bool {
        self.kind == Some(FileKind::Dir)
    }

    pub(crate) fn attr(&self) -> Attr {
        Attr {
            id: self.id(),
            kind: self.kind.unwrap_or(FileKind::File),
            mode: self.mode,
            nlink: self.nlink,
            uid: self.uid,
            gid: self.gid,
            size: self.size,
            used: self.blocks.saturating_mul(crate::ids::BLOCK_SIZE_U64),
            rdev: self.rdev,
            atime: self.atime,
            mtime: self.mtime,
            ctime: self.ctime,
            btime: self.btime,
            dos: self.dos,
        }
    }

    pub(crate) fn pre_attr(&self) -> PreAttr {
        PreAttr { size: self.size, mtime: self.mtime, ctime: self.ctime }
    }

    /// The time for a change at `now`: always after the last, so that a client's cache sees every change.
    pub(crate) fn stamp(&self, now: Time) -> Time {
        if now > self.ctime {
            return now;
        }
        let Time { secs, nanos } = self.ctime;
        if nanos >= 999_999_999 {
            Time { secs: secs.saturating_add(1), nanos: 0 }
        } else {
            Time { secs, nanos: nanos + 1 }
        }
    }

    /// Its 256 bytes, with `root` as where the CP put its tree.
    pub(crate) fn encode(&self, root: TreeRoot) -> Vec<u8> {
        let mut out = Writer(Vec::with_capacity(INODE_BYTES));
        out.u8(self.kind.map_or(0, kind_code));
        out.u8(root.height);
        out.u16(u16::try_from(self.mode & 0o7777).unwrap_or(0));
        out.u32(self.generation.0);
        out.u32(self.nlink);
        out.u32(self.uid);
        out.u32(self.gid);
        out.u32(self.rdev.0);
        out.u32(self.rdev.1);
        out.u64(self.size);
        out.u64(self.blocks);
        for time in [self.atime, self.mtime, self.ctime, self.btime] {
            out.i64(time.secs);
            out.u32(time.nanos);
        }
        out.u64(self.parent.0);
        out.u64(self.entries);
        out.u64(self.next_free.0);
        out.pointer(root.ptr);
        out.u64(self.name_key.0);
        out.u64(self.attrs.0);
        out.u8(self.hidden as u8);
        out.u64(self.acl_file.0);
        out.u32(self.qtree.0);
        out.u32(DosAttributes::to_word(self.dos));
        out.0.resize(INODE_BYTES, 0);
        out.0
    }

    /// Reads an inode from its page of the inode file.
    pub(crate) fn decode(ino: InodeNum, page: &Page) -> Result<Inode> {
        let (_, at) = place(ino);
        let mut input = Reader::new(&page[at..at + INODE_BYTES]);
        let mut inode = Inode::new(ino, Generation(0));
        let kind = input.u8();
        let height = input.u8();
        inode.kind = kind_from(kind);
        inode.mode = u32::from(input.u16());
        inode.generation = Generation(input.u32());
        inode.nlink = input.u32();
        inode.uid = input.u32();
        inode.gid = input.u32();
        inode.rdev = (input.u32(), input.u32());
        inode.size = input.u64();
        inode.blocks = input.u64();
        let mut times = [Time::default(); 4];
        for time in &mut times {
            *time = Time { secs: input.i64(), nanos: input.u32() };
        }
        [inode.atime, inode.mtime, inode.ctime, inode.btime] = times;
        inode.parent = InodeNum(input.u64());
        inode.entries = input.u64();
        inode.next_free = InodeNum(input.u64());
        let ptr = input.pointer();
        inode.name_key = Cookie(input.u64());
        inode.attrs = InodeNum(input.u64());
        inode.hidden = match input.u8() {
            0 => Hidden::No,
            1 => Hidden::AttrDir,
            2 => Hidden::Value,
            3 => Hidden::Stream,
            _ => return Err(FsError::Corrupt { ino, vbn: ptr.vbn }),
        };
        inode.acl_file = InodeNum(input.u64());
        inode.qtree = QtreeId(input.u32());
        let corrupt = FsError::Corrupt { ino, vbn: ptr.vbn };
        inode.dos = DosAttributes::from_word(input.u32()).ok_or(corrupt)?;
        // A link's target is read in one piece.
        let size_max = if inode.kind == Some(FileKind::Symlink) { SYMLINK_MAX as u64 } else { FILE_SIZE_MAX };
        if (kind != 0 && inode.kind.is_none()) || inode.size > size_max || inode.qtree.0 > QTREES_MAX {
            return Err(FsError::Corrupt { ino, vbn: ptr.vbn });
        }
        inode.tree = Tree::from_root(TreeRoot { height, ptr })?;
        Ok(inode)
    }

    /// Reads an inode from the committed inode file; `None` where there never was one.
    pub(crate) fn load(inofile: &Tree, io: &Io, ino: InodeNum) -> Result<Option<Inode>> {
        let (fbn, _) = place(ino);
        let Some(page) = inofile.page(io, fbn)? else { return Ok(None) };
        let mut inode = Inode::decode(ino, &page)?;
        if inode.acl_file != InodeNum(0) {
            inode.acl = Some(Arc::new(inode.load_acl(inofile, io)?));
        }
        Ok(Some(inode))
    }

    /// Whether it has the list of an NT security descriptor.
    pub(crate) fn has_nt_acl(&self) -> bool {
        self.acl.as_ref().is_some_and(|acl| acl.nt.is_some())
    }

    /// Its list, which is never changed without it: so both are in the same committed inode file.
    fn load_acl(&self, inofile: &Tree, io: &Io) -> Result<Acl> {
        let corrupt = || FsError::Corrupt { ino: self.ino, vbn: crate::ids::Vbn(0) };
        let (fbn, _) = place(self.acl_file);
        let page = inofile.page(io, fbn)?.ok_or_else(corrupt)?;
        let file = Inode::decode(self.acl_file, &page)?;
        let len = usize::try_from(file.size).unwrap_or(usize::MAX);
        let page = file.tree.page(io, Fbn(0))?.ok_or_else(corrupt)?;
        let ours = file.hidden == Hidden::Value && file.parent == self.ino;
        page.get(..len).filter(|_| ours).and_then(Acl::decode).ok_or_else(corrupt)
    }
}

/// Code of a kind on disk and in the log.
pub(crate) fn kind_code(kind: FileKind) -> u8 {
    match kind {
        FileKind::File => 1,
        FileKind::Dir => 2,
        FileKind::Symlink => 3,
        FileKind::BlockDevice => 4,
        FileKind::CharDevice => 5,
        FileKind::Socket => 6,
        FileKind::Fifo => 7,
    }
}

/// The kind of a code.
pub(crate) fn kind_from(code: u8) -> Option<FileKind> {
    Some(match code {
        1 => FileKind::File,
        2 => FileKind::Dir,
        3 => FileKind::Symlink,
        4 => FileKind::BlockDevice,
        5 => FileKind::CharDevice,
        6 => FileKind::Socket,
        7 => FileKind::Fifo,
        _ => return None,
    })
}
