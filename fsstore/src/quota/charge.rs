//! Charging: what an operation changed is noted while it is applied, and put into the quota tree at its end.

use super::pages::{
    self, Key, PAGES_MAX, QTREES_FIRST, RULE_PAGES, RULES_FIRST, RULES_MAX, Usage, qtree_place, qtrees_in,
    rule_place, rules_in, set_qtree, set_rule,
};
use super::{QuotaTarget, Rule};
use crate::error::{FsError, Result};
use crate::ids::{Fbn, InodeNum, QtreeId};
use crate::inode::Inode;
use crate::io::Io;
use crate::layout::TreeRoot;
use crate::op::{QTREES_MAX, ROOT_INO, Time};
use crate::state::State;
use crate::tree::{Edit, Tree};
use std::collections::BTreeMap;

/// Qtrees, rules and usage of the active image. The tables are in memory, the usage is in the tree alone.
pub(crate) struct Quotas {
    pub(crate) tree: Tree,
    /// The directory of each qtree.
    pub(crate) qtrees: BTreeMap<QtreeId, InodeNum>,
    /// Each rule with its slot.
    pub(super) rules: BTreeMap<QuotaTarget, (u16, Rule)>,
    /// What the operation that is being applied has changed: blocks and files more.
    pending: Vec<(Key, i64, i64)>,
}

/// Whom an inode is charged to, and with how many blocks; `None`: a free one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Charge {
    pub(crate) owner: Option<Owner>,
    pub(crate) blocks: u64,
}

/// Qtree, user and group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Owner {
    pub(crate) qtree: QtreeId,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Owner {
    pub(crate) fn of(inode: &Inode) -> Owner {
        Owner { qtree: inode.qtree, uid: inode.uid, gid: inode.gid }
    }

    pub(crate) fn keys(self) -> [Key; 3] {
        [Key::Tree(self.qtree), Key::User(self.qtree, self.uid), Key::Group(self.qtree, self.gid)]
    }
}

impl Charge {
    pub(crate) const NONE: Charge = Charge { owner: None, blocks: 0 };

    pub(crate) fn of(inode: &Inode) -> Charge {
        Charge { owner: inode.kind.map(|_| Owner::of(inode)), blocks: inode.blocks }
    }
}

/// Counters are far below `i64::MAX`; what a damaged inode says is not worth more.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Quotas {
    /// Reads the tables of an image.
    pub(crate) fn load(io: &Io, root: TreeRoot) -> Result<Quotas> {
        let tree = Tree::from_root(root)?;
        let (mut qtrees, mut rules) = (BTreeMap::new(), BTreeMap::new());
        for fbn in (QTREES_FIRST..RULES_FIRST).map(Fbn) {
            if let Some(page) = tree.page(io, fbn)? {
                qtrees.extend(qtrees_in(fbn, &page));
            }
        }
        for fbn in (RULES_FIRST..RULES_FIRST + RULE_PAGES).map(Fbn) {
            if let Some(page) = tree.page(io, fbn)? {
                let (found, bad) = rules_in(fbn, &page);
                if bad > 0 {
                    return Err(FsError::Format("damaged quota rules".to_owned()));
                }
                rules.extend(found.into_iter().map(|(slot, target, rule)| (target, (slot, rule))));
            }
        }
        Ok(Quotas { tree, qtrees, rules, pending: Vec::new() })
    }

    /// Notes that an inode has become another.
    pub(crate) fn note(&mut self, before: Charge, after: Charge) {
        if before.owner == after.owner {
            if let Some(owner) = after.owner {
                self.add(owner, signed(after.blocks) - signed(before.blocks), 0);
            }
            return;
        }
        if let Some(owner) = before.owner {
            self.add(owner, -signed(before.blocks), -1);
        }
        if let Some(owner) = after.owner {
            self.add(owner, signed(after.blocks), 1);
        }
    }

    fn add(&mut self, owner: Owner, blocks: i64, files: i64) {
        for key in owner.keys() {
            match self.pending.iter_mut().find(|(known, ..)| *known == key) {
                Some((_, more_blocks, more_files)) => {
                    *more_blocks += blocks;
                    *more_files += files;
                }
                None => self.pending.push((key, blocks, files)),
            }
        }
    }

    /// What is charged to `key`.
    pub(crate) fn usage(&self, io: &Io, key: Key) -> Result<Usage> {
        let (fbn, at) = key.place();
        Ok(self.tree.page(io, fbn)?.map_or_else(Usage::default, |page| Usage::decode_at(&page, at)))
    }

    /// The rule that limits `key`, if any.
    pub(crate) fn rule_for(&self, key: Key) -> Option<&Rule> {
        let (own, default) = match key {
            Key::Tree(QtreeId::NONE) | Key::User(_, 0) => return None,
            Key::Tree(qtree) => (QuotaTarget::Tree(Some(qtree)), QuotaTarget::Tree(None)),
            Key::User(qtree, uid) => {
                let target = |uid| QuotaTarget::User { qtree, uid };
                (target(Some(uid)), target(None))
            }
            Key::Group(qtree, gid) => {
                let target = |gid| QuotaTarget::Group { qtree, gid };
                (target(Some(gid)), target(None))
            }
        };
        self.rules.get(&own).or_else(|| self.rules.get(&default)).map(|(_, rule)| rule)
    }

    pub(crate) fn has_rule(&self, target: QuotaTarget) -> bool {
        self.rules.contains_key(&target)
    }

    /// A number for a new qtree.
    pub(crate) fn next_qtree(&self) -> Result<QtreeId> {
        let free = (1..=QTREES_MAX).map(QtreeId).find(|qtree| !self.qtrees.contains_key(qtree));
        free.ok_or(FsError::QuotaConfig("the volume has as many qtrees as it may"))
    }

    /// The slot of a rule, or one for a new rule.
    fn rule_slot(&self, target: QuotaTarget) -> Result<u16> {
        if let Some((slot, _)) = self.rules.get(&target) {
            return Ok(*slot);
        }
        let full = FsError::QuotaConfig("the volume has as many quota rules as it may");
        if self.rules.len() >= RULES_MAX {
            return Err(full);
        }
        let mut taken = vec![false; RULES_MAX];
        self.rules.values().for_each(|(slot, _)| taken[usize::from(*slot) % RULES_MAX] = true);
        let slot = taken.iter().position(|taken| !taken).and_then(|slot| u16::try_from(slot).ok());
        slot.ok_or(full)
    }

    /// How many pages of rules a change of the rules of `qtree` may touch.
    pub(crate) fn rule_pages_of(&self, qtree: QtreeId) -> u64 {
        let of = self.rules.keys().filter(|target| target.qtree() == Some(qtree)).count() as u64;
        of.min(RULE_PAGES)
    }

    /// Calls `visit` with everything that is charged with anything, in the order of places.
    pub(crate) fn for_each(tree: &Tree, io: &Io, visit: &mut dyn FnMut(Key, Usage)) -> Result<()> {
        tree.for_range(io, Fbn(0), PAGES_MAX, &mut |fbn, found| {
            let page = match found {
                crate::tree::Found::Disk(ptr) => io.page(ptr)?,
                crate::tree::Found::Page(page) => page,
            };
            pages::usages(fbn, &page, visit);
            Ok(())
        })
    }
}

impl Usage {
    /// Starts and ends the times over soft limits.
    fn judge(&mut self, rule: Option<&Rule>, now: i64) {
        let now = if now == 0 { 1 } else { now };
        let (disk, files, set) = match rule {
            Some(Rule { limits, set }) => (limits.disk_soft, limits.files_soft, *set),
            None => (None, None, now),
        };
        let since = |used: u64, soft: Option<u64>, since: Option<i64>| {
            let over = soft.is_some_and(|soft| used > soft);
            over.then(|| since.filter(|since| *since >= set).unwrap_or(now))
        };
        self.disk_since = since(pages::bytes(self.blocks), disk, self.disk_since);
        self.files_since = since(self.files, files, self.files_since);
    }
}

impl State {
    /// Puts what the operation has changed into the quota tree. An operation is one step: a soft limit that is passed and
    /// left again within it was not passed.
    pub(crate) fn settle_quotas(&mut self, io: &Io, now: Time) -> Result<()> {
        let pending = std::mem::take(&mut self.quota.pending);
        for (key, blocks, files) in &pending {
            if (*blocks, *files) == (0, 0) {
                continue;
            }
            let rule = self.quota.rule_for(*key).copied();
            let (fbn, at) = key.place();
            let mut edit = Edit { io, generation: self.generation, ledger: &mut self.ledger };
            let page = self.quota.tree.page_mut(&mut edit, fbn)?;
            let mut usage = Usage::decode_at(page, at);
            usage.blocks = usage.blocks.saturating_add_signed(*blocks);
            usage.files = usage.files.saturating_add_signed(*files);
            usage.judge(rule.as_ref(), now.secs);
            usage.encode_at(page, at);
        }
        // The next operation notes as much again.
        self.quota.pending = pending;
        self.quota.pending.clear();
        Ok(())
    }

    /// Whether an inode is the directory of a qtree.
    pub(crate) fn is_qtree(inode: &Inode) -> bool {
        inode.qtree != QtreeId::NONE && inode.is_dir() && inode.parent == ROOT_INO
    }

    /// Notes a new qtree.
    pub(crate) fn add_qtree(&mut self, io: &Io, qtree: QtreeId, dir: InodeNum) -> Result<()> {
        self.quota.qtrees.insert(qtree, dir);
        self.write_qtree(io, qtree, dir)
    }

    /// Forgets a qtree, and the rules for it.
    pub(crate) fn drop_qtree(&mut self, io: &Io, qtree: QtreeId) -> Result<()> {
        self.quota.qtrees.remove(&qtree);
        self.write_qtree(io, qtree, InodeNum(0))?;
        let of = |target: &&QuotaTarget| target.qtree() == Some(qtree);
        let rules: Vec<_> = self.quota.rules.keys().filter(of).copied().collect();
        rules.into_iter().try_for_each(|target| self.set_quota(io, target, None))
    }

    fn write_qtree(&mut self, io: &Io, qtree: QtreeId, dir: InodeNum) -> Result<()> {
        let (fbn, at) = qtree_place(qtree);
        let mut edit = Edit { io, generation: self.generation, ledger: &mut self.ledger };
        set_qtree(self.quota.tree.page_mut(&mut edit, fbn)?, at, dir);
        Ok(())
    }

    /// Whether there would be a place for that rule.
    pub(crate) fn has_rule_slot(&self, target: QuotaTarget) -> Result<()> {
        self.quota.rule_slot(target).map(drop)
    }

    /// Sets a rule, or takes it away.
    pub(crate) fn set_quota(&mut self, io: &Io, target: QuotaTarget, rule: Option<Rule>) -> Result<()> {
        let slot = self.quota.rule_slot(target)?;
        match rule {
            Some(rule) => self.quota.rules.insert(target, (slot, rule)),
            None => self.quota.rules.remove(&target),
        };
        let (fbn, at) = rule_place(slot);
        let mut edit = Edit { io, generation: self.generation, ledger: &mut self.ledger };
        set_rule(self.quota.tree.page_mut(&mut edit, fbn)?, at, rule.as_ref().map(|rule| (target, rule)));
        Ok(())
    }

    /// Charges the first inode of a new volume.
    pub(crate) fn charge_new(&mut self, io: &Io, inode: &Inode, now: Time) -> Result<()> {
        self.quota.note(Charge::NONE, Charge::of(inode));
        self.settle_quotas(io, now)
    }
}
