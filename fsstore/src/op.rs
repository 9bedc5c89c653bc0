//! The operation type: what a protocol asks of a volume, and what it gets back.
//!
//! [`Op`] holds every mutation. It is the API and, with the choices that the check made, the NVLOG record.

use crate::acl::Acl;
use crate::dos::DosAttributes;
use crate::ids::{Cookie, FileId, Generation, InodeNum, Lsn};
use crate::quota::{QuotaLimits, QuotaTarget};
use bytes::Bytes;

/// Longest name of a directory entry, in bytes.
pub const NAME_MAX: usize = 255;
/// Longest symlink target, in bytes.
pub const SYMLINK_MAX: usize = 4095;
/// Largest file size, in bytes.
pub const FILE_SIZE_MAX: u64 = 16 << 40;
/// Most links that one file may have.
pub const LINK_MAX: u32 = 65_000;

/// Most qtrees of one volume.
pub const QTREES_MAX: u32 = 4095;

/// A point in time, since 1970-01-01 00:00 UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct Time {
    /// Whole seconds.
    pub secs: i64,
    /// Nanoseconds, 0 to 999,999,999.
    pub nanos: u32,
}

/// On whose behalf an operation runs, and when. The store has no clock: the caller says.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Effective user; 0 may do everything.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// The time that the operation stamps.
    pub now: Time,
}

impl Context {
    /// The superuser, at `now`.
    pub fn root(now: Time) -> Self {
        Context { uid: 0, gid: 0, groups: Vec::new(), now }
    }

    /// Whether the caller is in `gid`.
    pub fn in_group(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }
}

/// What an inode is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum FileKind {
    /// Regular file.
    File,
    /// Directory.
    Dir,
    /// Symbolic link.
    Symlink,
    /// Block device node.
    BlockDevice,
    /// Character device node.
    CharDevice,
    /// Socket node.
    Socket,
    /// Named pipe.
    Fifo,
}

/// Attributes of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attr {
    /// Which file.
    pub id: FileId,
    /// What it is.
    pub kind: FileKind,
    /// Permission bits with setuid, setgid and sticky: 0 to 0o7777.
    pub mode: u32,
    /// Number of names (for a directory: 2 + its subdirectories).
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes.
    pub size: u64,
    /// Bytes of the volume that it takes up.
    pub used: u64,
    /// Device numbers (major, minor) of a device node, else zeros.
    pub rdev: (u32, u32),
    /// Last read, as far as it is kept: set by SETATTR and by changes, not by reads.
    pub atime: Time,
    /// Last change of the content.
    pub mtime: Time,
    /// Last change of content or attributes.
    pub ctime: Time,
    /// Creation.
    pub btime: Time,
    /// What a client of SMB set; `None`: none ever did.
    pub dos: Option<DosAttributes>,
}

/// The attributes from before an operation that NFSv3's weak cache consistency wants (RFC 1813 §2.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PreAttr {
    /// Size in bytes.
    pub size: u64,
    /// Last change of the content.
    pub mtime: Time,
    /// Last change of content or attributes.
    pub ctime: Time,
}

/// What SETATTR sets a time to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SetTime {
    /// Leave it.
    #[default]
    Keep,
    /// The time of the operation.
    Now,
    /// This time.
    To(Time),
}

/// Attributes to set; `None` and `Keep` leave what is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SetAttrs {
    /// Permission bits, 0 to 0o7777.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Size in bytes; growing makes a hole.
    pub size: Option<u64>,
    /// Last read.
    pub atime: SetTime,
    /// Last change of the content.
    pub mtime: SetTime,
    /// Last change of content or attributes: what the operation leaves instead of its own time.
    pub ctime: SetTime,
    /// Creation.
    pub btime: SetTime,
    /// DOS attributes, all of them.
    pub dos: Option<DosAttributes>,
}

impl SetTime {
    /// The time to set, if any, for an operation at `now`.
    pub(crate) fn fixed(self, now: Time) -> Option<Time> {
        match self {
            SetTime::Keep => None,
            SetTime::Now => Some(now),
            SetTime::To(time) => Some(time),
        }
    }
}

/// How CREATE treats a name that exists (RFC 1813 §3.3.8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CreateHow {
    /// Take the existing file, setting the size if `attrs` has one.
    Unchecked(SetAttrs),
    /// Fail with [`FsError::Exists`](crate::FsError::Exists).
    Guarded(SetAttrs),
    /// Succeed once per verifier: a repeated call with the same verifier finds its own file.
    /// The verifier is kept in the new file's atime and mtime until a SETATTR.
    Exclusive([u8; 8]),
}

/// Every mutation of a volume.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the fields are what their names say")]
pub enum Op {
    /// Makes or opens a regular file.
    Create { dir: FileId, name: Bytes, how: CreateHow },
    /// Makes a directory.
    Mkdir { dir: FileId, name: Bytes, attrs: SetAttrs },
    /// Makes a symbolic link.
    Symlink { dir: FileId, name: Bytes, target: Bytes, attrs: SetAttrs },
    /// Makes a device node, socket or named pipe. `kind` is one of those.
    Mknod { dir: FileId, name: Bytes, kind: FileKind, rdev: (u32, u32), attrs: SetAttrs },
    /// Gives `file` (not a directory) one more name.
    Link { file: FileId, dir: FileId, name: Bytes },
    /// Removes a name of anything but a directory; the file goes with its last name.
    Remove { dir: FileId, name: Bytes },
    /// Removes an empty directory.
    Rmdir { dir: FileId, name: Bytes },
    /// Moves a name, replacing what has the new name if that is allowed (rename(2)), within one qtree.
    Rename { from_dir: FileId, from: Bytes, to_dir: FileId, to: Bytes },
    /// Sets attributes; with `guard`, only if the ctime is still that one.
    SetAttr { file: FileId, attrs: SetAttrs, guard: Option<Time> },
    /// Writes `data` at `offset`, at most [`WRITE_MAX`] bytes.
    Write { file: FileId, offset: u64, data: Bytes },
    /// Makes a range of `to` use the blocks of a range of `from`, which may be in a snapshot (RFC 7862 §15.13 CLONE). `len` 0:
    /// to the source's end. Offsets are multiples of 4096, and so is `len` unless it ends with the source and
    /// reaches the target's end; at most [`CLONE_MAX`] bytes. Anything else is [`FsError::Invalid`](crate::FsError::Invalid).
    CloneRange { from: FileId, from_offset: u64, to: FileId, to_offset: u64, len: u64 },
    /// Makes `to` what the file `from`, of at most [`CLONE_MAX`] bytes, is: content (its blocks are shared), size, mode, owner
    /// and times. With `from` in a snapshot, this restores a file. Only the owner and root may.
    CloneFile { from: FileId, to: FileId },
    /// Makes a hole (RFC 7862 §15.4 DEALLOCATE; `FALLOC_FL_PUNCH_HOLE`): the bytes read as zeros, whole blocks become
    /// free, the size stays. What is behind the end of the file is left out.
    Deallocate { file: FileId, offset: u64, len: u64 },
    /// Makes sure that the range is part of the file (RFC 7862 §15.1 ALLOCATE; `fallocate`), raising the size if it has
    /// to. Every write of a copy-on-write volume takes a new block, so nothing can be set aside for the range: it is
    /// only checked that the volume has room for its holes now ([`FsError::NoSpace`](crate::FsError::NoSpace)).
    Allocate { file: FileId, offset: u64, len: u64 },
    /// Sets an extended attribute, as setxattr(2): the name with its namespace (`user.`, `trusted.`, `security.`,
    /// `system.`), at most 255 bytes; the value at most [`XATTR_VALUE_MAX`] bytes.
    SetXattr { file: FileId, name: Bytes, value: Bytes, how: XattrHow },
    /// Removes an extended attribute.
    RemoveXattr { file: FileId, name: Bytes },
    /// Makes a named stream of a file or directory, or opens the one that is there unless `guarded`. Its `FileId` is in
    /// the outcome; it is read, written and truncated like a file, under the rights of the file that it is of.
    MakeStream { file: FileId, name: Bytes, guarded: bool },
    /// Removes a named stream.
    RemoveStream { file: FileId, name: Bytes },
    /// Gives a named stream another name. One that has it goes with `replace`, and is in the way
    /// ([`FsError::Exists`](crate::FsError::Exists)) without.
    RenameStream { file: FileId, from: Bytes, to: Bytes, replace: bool },
    /// Sets the access control list, and the mode bits that follow from it; `None` takes it away, and one that says
    /// no more than its mode is not kept. For the owner, and for whom the list in force grants WRITE_ACL.
    SetAcl { file: FileId, acl: Option<Acl> },
    /// Makes a qtree: a directory in the root whose content is charged, and may be limited, as a whole. It is renamed, within
    /// the root, and removed, when it is empty, as the directory that it is; its quota rules go with it. No name goes from one
    /// qtree to another ([`FsError::CrossDevice`](crate::FsError::CrossDevice)). For root only.
    MakeQtree { name: Bytes, attrs: SetAttrs },
    /// Sets a quota rule, or (`None`) takes it away. For root only.
    SetQuota { target: QuotaTarget, limits: Option<QuotaLimits> },
}

/// How SETXATTR treats a name that exists, or does not (RFC 8276 §8.4.3, setxattr(2)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum XattrHow {
    /// Make or replace.
    Either,
    /// Fail with [`FsError::Exists`](crate::FsError::Exists) if it is there.
    Create,
    /// Fail with [`FsError::NotFound`](crate::FsError::NotFound) if it is not.
    Replace,
}

/// Most bytes in the value of an extended attribute.
pub const XATTR_VALUE_MAX: usize = 64 << 10;
/// Most extended attributes and named streams of one file, together; in a volume below 1 GiB in proportion, so that a full
/// volume can still remove the file. More fail with [`FsError::AttrsFull`](crate::FsError::AttrsFull).
pub const ATTRS_MAX: u64 = 1024;
/// Longest name of a named stream, in bytes.
pub const STREAM_NAME_MAX: usize = 254;

/// What [`Volume::seek`](crate::Volume::seek) looks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SeekWhat {
    /// Bytes that are in a block (`SEEK_DATA`); they may be zeros.
    Data,
    /// Bytes that are in none (`SEEK_HOLE`); every file ends with a hole that has no length.
    Hole,
}

/// Most bytes in one [`Op::CloneRange`].
pub const CLONE_MAX: u64 = 1 << 30;
/// Most bytes in one [`Op::Write`].
pub const WRITE_MAX: usize = 8 << 20;

/// A file that an operation made, changed or looked at: its attributes before (if it existed) and after.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// Before the operation; `None` if the operation made the file.
    pub before: Option<PreAttr>,
    /// After the operation; for a removed file, its last attributes (`nlink` 0).
    pub after: Attr,
}

/// What a mutation did. It is applied, and readers see it; it is durable once [`Volume::durable`]
/// (`lsn`) says so.
///
/// [`Volume::durable`]: crate::Volume::durable
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Done {
    /// The file made, opened, linked, removed, written or set (for a rename: the file that moved).
    pub object: Change,
    /// The directory whose entry changed (for a rename: the one moved from).
    pub dir: Option<Change>,
    /// For a rename, the directory moved to (the same as `dir` where both are one).
    pub to_dir: Option<Change>,
    /// For a rename or remove: the file whose last name went, so that opens of it can be ended.
    pub gone: Option<FileId>,
    /// Bytes written, for a write.
    pub count: usize,
    /// Its place in the log.
    pub lsn: Lsn,
}

/// Rights that ACCESS asks about; the values are those of RFC 1813 §3.3.4.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Access(pub u32);

impl Access {
    /// Read a file or list a directory.
    pub const READ: u32 = 0x01;
    /// Look up a name in a directory.
    pub const LOOKUP: u32 = 0x02;
    /// Change existing data or entries.
    pub const MODIFY: u32 = 0x04;
    /// Append data or add entries.
    pub const EXTEND: u32 = 0x08;
    /// Delete an entry of a directory.
    pub const DELETE: u32 = 0x10;
    /// Execute a file.
    pub const EXECUTE: u32 = 0x20;
}

/// What READ gave.
#[derive(Clone, Debug)]
pub struct ReadDone<D> {
    /// The bytes; fewer than asked for only at the end of the file.
    pub data: D,
    /// Whether the file ends with them.
    pub eof: bool,
    /// The file's attributes.
    pub attr: Attr,
}

/// One entry that READDIR visits.
#[derive(Clone, Copy, Debug)]
pub struct DirEntry<'a> {
    /// Pass it to go on after this entry.
    pub cookie: Cookie,
    /// The name; `.` and `..` come first.
    pub name: &'a [u8],
    /// The file it names.
    pub file: FileId,
    /// What it is.
    pub kind: FileKind,
}

/// Space and inodes of a volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StatFs {
    /// Size for files, in bytes.
    pub total_bytes: u64,
    /// Free, in bytes.
    pub free_bytes: u64,
    /// Free for new data, in bytes (some is kept back so that a full volume can still delete).
    pub available_bytes: u64,
    /// Bytes that only snapshots hold.
    pub snapshot_bytes: u64,
    /// Inodes in use.
    pub files: u64,
    /// Inodes that could still be made, by the space for them.
    pub free_files: u64,
}

/// Inode number of a volume's root directory.
pub const ROOT_INO: InodeNum = InodeNum(2);

/// The root directory of every volume.
pub const ROOT: FileId = FileId::active(ROOT_INO, Generation(1));
