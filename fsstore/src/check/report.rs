//! How a check is asked for, and what it tells: events while it runs, numbers at its end.

use super::finding::{Finding, FindingKind, ImageName};
use crate::disk::Disk;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// How to check.
#[derive(Clone, Debug)]
pub struct CheckOptions {
    /// Most bytes of metadata blocks kept in memory.
    pub cache_bytes: u64,
    /// Inodes whose names are counted in one pass over the directories; each takes about 48 bytes of memory.
    pub inodes_per_pass: usize,
    /// For a clone.
    pub parents: Parents,
}

/// The disks of a clone's parent, of the parent's parent, and so on; nobody has them mounted.
#[derive(Clone, Default)]
pub struct Parents(pub Vec<Arc<dyn Disk>>);

impl std::fmt::Debug for Parents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Parents({})", self.0.len())
    }
}

impl Default for CheckOptions {
    fn default() -> Self {
        CheckOptions { cache_bytes: 64 << 20, inodes_per_pass: 4 << 20, parents: Parents::default() }
    }
}

/// What a check tells while it runs.
#[derive(Clone, Debug)]
pub enum CheckEvent {
    /// Something is wrong, or worth a remark.
    Finding(Finding),
    /// How far it is.
    Progress(CheckProgress),
}

/// How far a check is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckProgress {
    /// The image that is being looked at.
    pub image: ImageName,
    /// Blocks read so far.
    pub read_blocks: u64,
    /// Blocks that there are to read, as the volume's counters say.
    pub total_blocks: u64,
}

/// What a check found, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct CheckSummary {
    /// The volume.
    pub uuid: Uuid,
    /// Consistency point of the active image; 0 for a replica that has not received one.
    pub cp: u64,
    /// Whether it is a replica that has not been mounted.
    pub replica: bool,
    /// Snapshots looked at.
    pub snapshots: u64,
    /// Inodes in use in the active image.
    pub files: u64,
    /// Blocks in use by any image.
    pub used_blocks: u64,
    /// Blocks read and compared with their checksums.
    pub read_blocks: u64,
    /// Operations in the log that the next mount will repeat.
    pub log_records: u64,
    /// How many findings of each kind, remarks included.
    pub findings: BTreeMap<FindingKind, u64>,
}

impl CheckSummary {
    /// How many findings are damage.
    pub fn damage(&self) -> u64 {
        self.findings.iter().filter(|(kind, _)| kind.is_damage()).map(|(_, count)| count).sum()
    }

    /// Whether nothing is damaged.
    pub fn is_clean(&self) -> bool {
        self.damage() == 0
    }
}
