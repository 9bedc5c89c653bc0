//! WAFL-like copy-on-write volumes. Knows no socket, no protocol, no async runtime, no wall clock.

mod access;
mod acl;
mod blockmap;
mod browse;
mod changes;
mod check;
mod clones;
mod cp;
mod directory;
mod disk;
mod error;
mod fsinfo;
mod full;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzz;
mod ids;
mod inode;
mod inodes;
mod io;
mod layout;
mod memory;
mod mount;
mod nvlog;
mod op;
mod ops;
mod pace;
mod quota;
mod read;
mod record;
mod replica;
mod resize;
mod seek;
mod shared;
mod snapdir;
mod snapshot;
mod state;
mod tree;
mod volume;
mod walloc;
mod xattr;

pub use acl::{ACES_MAX, Ace, AceFlags, AceKind, AceMask, AceWho, Acl};
pub use changes::{ChangeKind, PathChange};
pub use check::*;
pub use clones::{CLONE_BASE, CloneOrigin, SplitStep, clone_origin};
pub use disk::{Disk, FileDisk, NotBlank};
pub use error::{FsError, Result};
pub use ids::*;
pub use memory::{Means, Memory, MemoryUse};
pub use op::*;
pub use quota::{Qtree, QuotaLimits, QuotaRule, QuotaTarget, QuotaUse, RULES_MAX as QUOTA_RULES_MAX};
pub use replica::Replica;
pub use snapdir::{SNAPSHOT_DIR, SnapshotDir, root_of};
pub use snapshot::SnapshotMaker;
pub use volume::*;
pub use xattr::Stream;
