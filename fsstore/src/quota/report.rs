//! What a volume says of its qtrees and quotas.

use super::charge::Quotas;
use super::limit::left;
use super::pages::{Key, Usage, bytes};
use super::{QuotaLimits, QuotaTarget, Rule};
use crate::directory;
use crate::error::{FsError, Result};
use crate::ids::{FileId, InodeNum, QtreeId, SnapshotId};
use crate::op::{Attr, ROOT_INO, StatFs};
use crate::state::State;
use crate::volume::Volume;
use bytes::Bytes;
use std::collections::BTreeMap;

/// A qtree: a directory in the volume's root whose content is counted, and may be limited, as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qtree {
    /// Its number, kept while it lives.
    pub id: QtreeId,
    /// The name of its directory.
    pub name: Bytes,
    /// Its directory.
    pub dir: Attr,
    /// Bytes of data blocks in it.
    pub used_bytes: u64,
    /// Inodes in it, its directory too.
    pub files: u64,
}

/// A rule that somebody has set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaRule {
    /// Whom it is for.
    pub target: QuotaTarget,
    /// What they may use.
    pub limits: QuotaLimits,
    /// When it was set, in seconds since 1970.
    pub set: i64,
}

/// What somebody uses, and the limits that they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaUse {
    /// Whom it is of, never a default. [`QuotaTarget::Tree`] of qtree 0 is what is in no qtree, which has no limit.
    pub target: QuotaTarget,
    /// Bytes of data blocks.
    pub used_bytes: u64,
    /// Inodes.
    pub files: u64,
    /// The limits of the rule that is in force, if there is one.
    pub limits: Option<QuotaLimits>,
    /// Whether that is a default rule.
    pub by_default: bool,
    /// Since when it is over the soft limit of bytes, in seconds since 1970.
    pub disk_over_since: Option<i64>,
    /// The same of files.
    pub files_over_since: Option<i64>,
}

impl Key {
    fn target(self) -> QuotaTarget {
        match self {
            Key::Tree(qtree) => QuotaTarget::Tree(Some(qtree)),
            Key::User(qtree, uid) => QuotaTarget::User { qtree, uid: Some(uid) },
            Key::Group(qtree, gid) => QuotaTarget::Group { qtree, gid: Some(gid) },
        }
    }
}

impl QuotaTarget {
    /// Whose usage it is; `None` for a default.
    fn key(self) -> Option<Key> {
        Some(match self {
            QuotaTarget::Tree(qtree) => Key::Tree(qtree?),
            QuotaTarget::User { qtree, uid } => Key::User(qtree, uid?),
            QuotaTarget::Group { qtree, gid } => Key::Group(qtree, gid?),
        })
    }
}

impl Quotas {
    fn used(&self, key: Key, usage: &Usage) -> QuotaUse {
        let rule = self.rule_for(key);
        let since = |since: Option<i64>| since.filter(|since| rule.is_some_and(|rule| *since >= rule.set));
        QuotaUse {
            target: key.target(),
            used_bytes: bytes(usage.blocks),
            files: usage.files,
            limits: rule.map(|rule| rule.limits),
            by_default: rule.is_some() && !self.rules.contains_key(&key.target()),
            disk_over_since: since(usage.disk_since),
            files_over_since: since(usage.files_since),
        }
    }
}

impl Volume {
    /// All qtrees, by number.
    ///
    /// # Errors
    /// The disk's.
    pub fn qtrees(&self) -> Result<Vec<Qtree>> {
        let qtrees = self.shared.state.read().quota.qtrees.clone();
        let mut found = Vec::with_capacity(qtrees.len());
        for (id, dir) in qtrees {
            match self.describe_qtree(id, dir) {
                // Removed between the two looks.
                Err(FsError::Stale) => {}
                qtree => found.push(qtree?),
            }
        }
        Ok(found)
    }

    fn describe_qtree(&self, id: QtreeId, dir: InodeNum) -> Result<Qtree> {
        let io = &*self.shared.io;
        let mut st = self.shared.state.write();
        let root = st.load(io, ROOT_INO)?.clone();
        let dir = st.load(io, dir)?.clone();
        if !State::is_qtree(&dir) || dir.qtree != id {
            return Err(FsError::Stale);
        }
        let (name, _) = directory::name_of(&root, io, dir.name_key)?;
        let usage = st.quota.usage(io, Key::Tree(id))?;
        Ok(Qtree { id, name, dir: dir.attr(), used_bytes: bytes(usage.blocks), files: usage.files })
    }

    /// The qtree that a file is in; 0 for none.
    ///
    /// # Errors
    /// [`FsError::Stale`] if the file is gone.
    pub fn qtree_of(&self, file: FileId) -> Result<QtreeId> {
        Ok(self.shared.inode(file)?.qtree)
    }

    /// All rules, in the order of qtree, user, group.
    pub fn quota_rules(&self) -> Vec<QuotaRule> {
        let st = self.shared.state.read();
        let rules = st.quota.rules.iter();
        rules
            .map(|(target, (_, Rule { limits, set }))| QuotaRule {
                target: *target,
                limits: *limits,
                set: *set,
            })
            .collect()
    }

    /// What every qtree, user and group uses that uses anything, or has a rule. Operations wait meanwhile; its cost follows
    /// their number.
    ///
    /// # Errors
    /// The disk's.
    pub fn quota_report(&self) -> Result<Vec<QuotaUse>> {
        let io = &*self.shared.io;
        let st = self.shared.state.read();
        let mut uses: BTreeMap<QuotaTarget, QuotaUse> = BTreeMap::new();
        for key in st.quota.rules.keys().filter_map(|target| target.key()) {
            uses.insert(key.target(), st.quota.used(key, &Usage::default()));
        }
        Quotas::for_each(&st.quota.tree, io, &mut |key, usage| {
            if (usage.blocks, usage.files) != (0, 0) {
                uses.insert(key.target(), st.quota.used(key, &usage));
            }
        })?;
        Ok(uses.into_values().collect())
    }

    /// Space and inodes as they are for `file`: within a qtree that has a limit, that is the size.
    ///
    /// # Errors
    /// [`FsError::Stale`] if the file is gone, and the disk's.
    pub fn statfs_of(&self, file: FileId) -> Result<StatFs> {
        let mut all = self.statfs();
        if file.snapshot != SnapshotId::ACTIVE {
            return Ok(all);
        }
        let inode = self.shared.inode(file)?;
        let key = Key::Tree(inode.qtree);
        let st = self.shared.state.read();
        let Some(rule) = st.quota.rule_for(key) else { return Ok(all) };
        let (disk, files) = left(rule, &st.quota.usage(&self.shared.io, key)?);
        if let Some((limit, left)) = disk {
            all.total_bytes = all.total_bytes.min(limit);
            all.free_bytes = all.free_bytes.min(left);
            all.available_bytes = all.available_bytes.min(left);
        }
        if let Some((limit, left)) = files {
            (all.free_files, all.files) = (all.free_files.min(left), limit - left);
        }
        Ok(all)
    }
}
