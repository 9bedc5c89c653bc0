//! Newtypes for every number that names something in a volume, so that one can't stand for another.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Bytes in a block; everything in a volume is counted in blocks of this size.
pub const BLOCK_SIZE: usize = 4096;
/// `BLOCK_SIZE` where offsets are computed.
pub const BLOCK_SIZE_U64: u64 = BLOCK_SIZE as u64;

macro_rules! id {
    ($(#[$meta:meta])* $name:ident($inner:ty)) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// Volume block number: block `n` of a volume stands at byte `4096 * n` of its file or device.
    Vbn(u64)
);
id!(
    /// File block number: block `n` of a file holds its bytes from `4096 * n`.
    Fbn(u64)
);
id!(
    /// Inode number, unique within a volume; never 0.
    InodeNum(u64)
);
id!(
    /// Tells apart the files that have had one inode number; raised each time the number is used again.
    Generation(u32)
);
id!(
    /// A snapshot of one volume; never used again in that volume.
    SnapshotId(u64)
);
id!(
    /// Number of a consistency point; each CP of a volume has the number after its predecessor's.
    CpNumber(u64)
);
id!(
    /// Log sequence number: the place of one operation in a volume's history, from 1.
    Lsn(u64)
);
id!(
    /// A qtree of one volume, 1 to [`QTREES_MAX`](crate::QTREES_MAX); 0: what is in no qtree. The number of a deleted qtree may
    /// be given to a new one.
    QtreeId(u32)
);
id!(
    /// Position in a directory for READDIR: stays valid across changes and restarts. 0 is the beginning.
    Cookie(u64)
);

impl SnapshotId {
    /// Not a snapshot: the active image.
    pub const ACTIVE: SnapshotId = SnapshotId(0);
    /// The list of snapshots that a `.snapshot` directory shows.
    pub const LIST: SnapshotId = SnapshotId(u64::MAX);
}

impl QtreeId {
    /// Outside of all qtrees.
    pub const NONE: QtreeId = QtreeId(0);
}

/// Names one file for ever: a removed file's `FileId` is never given to another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct FileId {
    /// Inode number.
    pub ino: InodeNum,
    /// Generation of that inode number.
    pub generation: Generation,
    /// The image in which it is seen: the active one, or a snapshot, where nothing can be changed.
    #[serde(default)]
    pub snapshot: SnapshotId,
}

impl FileId {
    /// A file of the active image.
    pub const fn active(ino: InodeNum, generation: Generation) -> FileId {
        FileId { ino, generation, snapshot: SnapshotId::ACTIVE }
    }

    /// The same file as `snapshot` has it.
    #[must_use]
    pub const fn within(self, snapshot: SnapshotId) -> FileId {
        FileId { snapshot, ..self }
    }
}
