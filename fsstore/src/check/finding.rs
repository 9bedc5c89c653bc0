//! What a check or a scrub has to say: findings in words for an administrator, each with a kind for programs.

use crate::error::FsError;
use crate::ids::{InodeNum, Vbn};
use serde::Serialize;
use std::fmt;

/// Which image of a volume something belongs to.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageName {
    /// What clients see.
    Active,
    /// The snapshot of this name.
    Snapshot(String),
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageName::Active => f.write_str("active image"),
            ImageName::Snapshot(name) => write!(f, "snapshot `{name}`"),
        }
    }
}

/// What is wrong, for programs. The names are stable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// One of the two fsinfo copies can't be used. A crash may leave that: it is a remark.
    FsInfoCopy,
    /// Counters or addresses in fsinfo or an image root that can't be.
    ImageRoot,
    /// The snapshot table can't be read, or says what can't be.
    SnapshotTable,
    /// A block can't be read from the disk.
    Unreadable,
    /// A block's content does not match its checksum.
    Checksum,
    /// A pointer leads outside of the volume's blocks.
    BadPointer,
    /// A tree of blocks has a height that can't be, or blocks where none may be.
    Tree,
    /// A block is in use and the block map says that it is free: new data would overwrite it.
    NotMarked,
    /// A block is marked as used and nothing uses it: space is lost.
    Leaked,
    /// More pointers lead to a block than may: a change of one file changes another.
    MultiplyUsed,
    /// The count of a shared block's users is higher than the number of them: its space is never freed.
    Users,
    /// A counter of the image does not fit what it counts.
    Counter,
    /// What a qtree, user or group is charged with is not what they have, or a rule makes no sense.
    Quota,
    /// An inode is charged to another qtree or owner than what it is in, or belongs to.
    Qtree,
    /// The chain of free inodes is broken: making a file could destroy another.
    FreeChain,
    /// Fields of an inode that contradict one another, or its content.
    Inode,
    /// A directory's index or entries are out of order.
    Directory,
    /// A name leads to a file that is not there, or to another one than it says.
    DanglingName,
    /// An inode's number of links does not fit its names.
    LinkCount,
    /// A directory is not where it says it is.
    Parent,
    /// A file in use that no name leads to.
    Orphan,
    /// The log of acknowledged operations is damaged.
    Log,
    /// Something could not be judged because of another finding. A remark.
    NotJudged,
}

impl FindingKind {
    /// Whether it is damage. A remark is not: it explains, or a crash may leave it.
    pub fn is_damage(self) -> bool {
        !matches!(self, FindingKind::FsInfoCopy | FindingKind::NotJudged)
    }
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// For programs.
    pub kind: FindingKind,
    /// In which image; `None` for what belongs to none.
    pub image: Option<ImageName>,
    /// Which file, if any.
    pub inode: Option<InodeNum>,
    /// Which block, if any: the first of several.
    pub block: Option<Vbn>,
    /// What is wrong and what it means, in words, without the place.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if let Some(image) = &self.image {
            write!(f, "{image}")?;
            separator = ", ";
        }
        if let Some(ino) = self.inode {
            write!(f, "{separator}inode {ino}")?;
            separator = ", ";
        }
        if let Some(vbn) = self.block {
            write!(f, "{separator}block {vbn}")?;
            separator = ", ";
        }
        if !separator.is_empty() {
            f.write_str(": ")?;
        }
        f.write_str(&self.text)
    }
}

/// Where a block or a tree belongs, for the words of a finding.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    pub(super) ino: Option<InodeNum>,
    /// E.g. "the block map", "the file's data".
    pub(super) what: &'static str,
}

impl Owner {
    pub(super) const MAP: Owner = Owner { ino: None, what: "the block map" };
    pub(super) const TABLE: Owner = Owner { ino: None, what: "the snapshot table" };
    pub(super) const REFS: Owner = Owner { ino: None, what: "the counts of shared blocks' users" };
    pub(super) const QUOTA: Owner = Owner { ino: None, what: "quotas and their usage" };
    pub(super) const INODES: Owner = Owner { ino: None, what: "the inode file" };

    pub(super) fn file(ino: InodeNum, is_dir: bool) -> Owner {
        Owner { ino: Some(ino), what: if is_dir { "the directory" } else { "the file's content" } }
    }

    /// The finding for a block of this owner that could not be read.
    pub(super) fn lost_block(self, image: &ImageName, vbn: Vbn, error: &FsError) -> Finding {
        let (kind, why) = match error {
            FsError::Corrupt { .. } => {
                (FindingKind::Checksum, "the content does not match its checksum".to_owned())
            }
            other => (FindingKind::Unreadable, format!("the disk does not give it: {other}")),
        };
        let text = format!("{why}; it is a part of {}, which can't be read there", self.what);
        Finding { kind, image: Some(image.clone()), inode: self.ino, block: Some(vbn), text }
    }
}
