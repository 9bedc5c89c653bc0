//! The one error type of the store. It is closed and knows no protocol: each protocol maps it in one
//! exhaustive `match`.

use crate::ids::{InodeNum, Vbn};

/// What can go wrong in a volume. The comment names the POSIX error where one exists.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FsError {
    /// ENOENT: no such name.
    #[error("no such file or directory")]
    NotFound,
    /// EEXIST: the name is taken.
    #[error("file exists")]
    Exists,
    /// ENOTDIR: a directory was needed.
    #[error("not a directory")]
    NotDir,
    /// EISDIR: anything but a directory was needed.
    #[error("is a directory")]
    IsDir,
    /// ENOTEMPTY: the directory has entries.
    #[error("directory not empty")]
    NotEmpty,
    /// EACCES: permission bits forbid it.
    #[error("permission denied")]
    Access,
    /// EPERM: only the owner or root may.
    #[error("operation not permitted")]
    Perm,
    /// ESTALE: the file that this `FileId` named is gone, or never was.
    #[error("stale file id")]
    Stale,
    /// ENAMETOOLONG: a name over 255 bytes, or a symlink target over 4095.
    #[error("name too long")]
    NameTooLong,
    /// EINVAL: the arguments make no sense for this file (e.g. a rename into itself, READLINK of a file).
    #[error("invalid argument")]
    Invalid,
    /// ENOSPC: no free blocks.
    #[error("no space left in the volume")]
    NoSpace,
    /// EDQUOT: a quota of the qtree, user or group is used up.
    #[error("quota exceeded")]
    Quota,
    /// EXDEV: a name can't go from one qtree to another.
    #[error("in another qtree")]
    CrossDevice,
    /// A qtree or a quota rule can't be as asked for; the text says why.
    #[error("quotas: {0}")]
    QuotaConfig(&'static str),
    /// EFBIG: past the largest file size.
    #[error("file too large")]
    FileTooBig,
    /// EMLINK: too many links to one file.
    #[error("too many links")]
    TooManyLinks,
    /// EROFS: a replica, a snapshot, or a volume that latched after a fault.
    #[error("read-only volume")]
    ReadOnly,
    /// SETATTR's guard: the file's ctime is not the one that the caller saw.
    #[error("changed since the caller looked")]
    NotSync,
    /// A directory cookie that this directory never gave out.
    #[error("bad directory cookie")]
    BadCookie,
    /// The operation makes no sense for this kind of object (e.g. READ of a device).
    #[error("not supported")]
    NotSupported,
    /// Another snapshot has the name, the snapshot does not exist, or there are already 255.
    #[error("snapshot: {0}")]
    Snapshot(&'static str),
    /// EIO: the disk failed; the volume takes no more changes until it is opened again.
    #[error("input/output error: {0}")]
    Io(String),
    /// A block does not match its checksum. It is never served.
    #[error("corrupt block {vbn} of inode {ino}")]
    Corrupt {
        /// The inode whose block it is; 0 for the volume's own maps.
        ino: InodeNum,
        /// Where the block stands.
        vbn: Vbn,
    },
    /// Not a volume, a volume of another format version, or one that is damaged beyond opening.
    #[error("not a usable volume: {0}")]
    Format(String),
    /// ENOSPC of setxattr(2): the file has as many attributes and streams as it may.
    #[error("too many attributes and streams of one file")]
    AttrsFull,
    /// EBUSY: the volume can't have the size asked for; the text says why.
    #[error("can't resize: {0}")]
    Resize(String),
}

impl From<std::io::Error> for FsError {
    fn from(error: std::io::Error) -> Self {
        FsError::Io(error.to_string())
    }
}

/// Result of a store operation.
pub type Result<T, E = FsError> = std::result::Result<T, E>;
