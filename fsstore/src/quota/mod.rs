//! Qtrees and quotas: what each qtree, user and group uses, what it may use, and since when it is over a soft limit.
//!
//! Usage is always counted, in volumes without rules too, so a rule needs no scan. It is the sum over the inodes that are
//! charged to somebody: one file each, and the data blocks that the inode counts (what `du` shows; index blocks are not
//! in it). Every inode says itself whom it is charged to, hidden ones too. So each change goes through two places, an
//! inode's edit and its making ([`State::edit`](crate::state::State::edit), `take_id`), and a check can count anew.
//!
//! - A rule for a **qtree** limits all that is in it, for everybody.
//! - A rule for a **user** or a **group** is of one qtree, or (qtree 0) of what is in no qtree: it limits what they have there.
//!   Operations of root are not limited by those, and nothing that root owns is limited as that of a user, as with ONTAP.
//! - A **default** rule is for each qtree, user or group without a rule of its own. A rule without limits exempts.
//! - Over a *hard* limit nothing can grow. Over a *soft* limit it can for the grace period; setting the rule anew begins that
//!   anew. What frees space is never refused, nor is what changes none.
//!
//! Rules, qtrees and usage are in one tree of the image ([`pages`]): snapshots, replicas and recovery have what is their
//! own. **A volume that goes back to a snapshot has that snapshot's rules too.**

mod charge;
mod limit;
pub(crate) mod pages;
mod report;

pub(crate) use charge::{Charge, Owner, Quotas};
pub(crate) use limit::Demand;
pub use pages::RULES_MAX;
pub use report::{Qtree, QuotaRule, QuotaUse};

use crate::ids::QtreeId;

/// Whom a rule is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum QuotaTarget {
    /// All that is in a qtree; `None`: in each that has no rule of its own.
    Tree(Option<QtreeId>),
    /// What a user has in a qtree, or in none.
    User {
        /// Where.
        qtree: QtreeId,
        /// Whom; `None`: each user without a rule of their own there.
        uid: Option<u32>,
    },
    /// What a group has in a qtree, or in none.
    Group {
        /// Where.
        qtree: QtreeId,
        /// Which; `None`: each group without a rule of its own there.
        gid: Option<u32>,
    },
}

impl QuotaTarget {
    /// The qtree that the rule is of, and is gone with; `None` for the default of all qtrees.
    pub fn qtree(self) -> Option<QtreeId> {
        match self {
            QuotaTarget::Tree(qtree) => qtree,
            QuotaTarget::User { qtree, .. } | QuotaTarget::Group { qtree, .. } => Some(qtree),
        }
    }
}

/// What may be used; `None`: no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct QuotaLimits {
    /// Bytes of data blocks that can't be passed.
    pub disk_hard: Option<u64>,
    /// Bytes that can be passed for `grace_secs`.
    pub disk_soft: Option<u64>,
    /// Inodes that can't be passed: files, directories, links, and also streams, extended attributes and lists.
    pub files_hard: Option<u64>,
    /// Inodes that can be passed for `grace_secs`.
    pub files_soft: Option<u64>,
    /// Seconds over a soft limit after which it is as a hard one.
    pub grace_secs: u32,
}

/// A rule as it is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rule {
    pub(crate) limits: QuotaLimits,
    /// When it was set, in seconds: what was over a soft limit before counts from then on.
    pub(crate) set: i64,
}
