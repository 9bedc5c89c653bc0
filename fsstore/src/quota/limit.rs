//! Whether an operation may use what it is about to use. Asked by plans, before anything changes.

use super::charge::Owner;
use super::pages::{self, Key, Usage};
use super::{QuotaLimits, Rule};
use crate::directory;
use crate::error::{FsError, Result};
use crate::ids::{BLOCK_SIZE_U64, Fbn, FileId};
use crate::inode::Inode;
use crate::io::Io;
use crate::op::{Context, FileKind};
use crate::state::State;
use crate::tree::{Edit, Ledger};

/// What an operation will charge, exactly, and to whom.
#[derive(Default)]
pub(crate) struct Demand {
    keys: Vec<(Key, i64, i64)>,
}

impl Demand {
    /// Adds blocks and files of an owner; negative: given back.
    pub(crate) fn add(&mut self, owner: Owner, blocks: i64, files: i64) {
        for key in owner.keys() {
            match self.keys.iter_mut().find(|(known, ..)| *known == key) {
                Some(sum) => (sum.1, sum.2) = (sum.1 + blocks, sum.2 + files),
                None => self.keys.push((key, blocks, files)),
            }
        }
    }

    /// The same of the owner of `inode`.
    pub(crate) fn of(mut self, inode: &Inode, blocks: i64, files: i64) -> Demand {
        self.add(Owner::of(inode), blocks, files);
        self
    }
}

/// Whether going from `used` by `more` is against the limits.
fn refuses(
    used: u64,
    more: i64,
    unit: u64,
    (hard, soft): (Option<u64>, Option<u64>),
    late: impl FnOnce() -> bool,
) -> bool {
    if more <= 0 {
        return false;
    }
    let after = used.saturating_add_signed(more).saturating_mul(unit);
    hard.is_some_and(|hard| after > hard) || (soft.is_some_and(|soft| after > soft) && late())
}

/// Whether the grace period is over. What was noted under an older rule counts from the newer one's next change on.
fn grace_is_over(rule: &Rule, since: Option<i64>, now: i64) -> bool {
    let since = since.filter(|since| *since >= rule.set);
    since.is_some_and(|since| now.saturating_sub(since) > i64::from(rule.limits.grace_secs))
}

fn allows(rule: &Rule, usage: &Usage, blocks: i64, files: i64, now: i64) -> bool {
    let QuotaLimits { disk_hard, disk_soft, files_hard, files_soft, .. } = rule.limits;
    let late = |since| move || grace_is_over(rule, since, now);
    !refuses(usage.blocks, blocks, BLOCK_SIZE_U64, (disk_hard, disk_soft), late(usage.disk_since))
        && !refuses(usage.files, files, 1, (files_hard, files_soft), late(usage.files_since))
}

impl State {
    /// Whether any rule limits what the caller charges to the owner of `inode`: if not, its demand need not be known.
    pub(crate) fn is_limited(&self, cx: &Context, inode: &Inode) -> bool {
        self.has_limits() && Owner::of(inode).keys().into_iter().any(|key| self.limit(cx, key).is_some())
    }

    /// Whether there are any rules.
    pub(crate) fn has_limits(&self) -> bool {
        !self.quota.rules.is_empty()
    }

    /// The rule that binds this caller.
    fn limit(&self, cx: &Context, key: Key) -> Option<&Rule> {
        let of_tree = matches!(key, Key::Tree(_));
        self.quota.rule_for(key).filter(|_| of_tree || cx.uid != 0)
    }

    /// # Errors
    /// [`FsError::Quota`] if a limit is in the way of `demand`.
    pub(crate) fn need_quota(&self, io: &Io, cx: &Context, demand: &Demand) -> Result<()> {
        for (key, blocks, files) in &demand.keys {
            if *blocks <= 0 && *files <= 0 {
                continue;
            }
            if let Some(rule) = self.limit(cx, *key)
                && !allows(rule, &self.quota.usage(io, *key)?, *blocks, *files, cx.now.secs)
            {
                return Err(FsError::Quota);
            }
        }
        Ok(())
    }

    /// Blocks that one more entry adds to a directory. It is tried on a copy, which shares every page that stays as it is.
    pub(crate) fn entry_cost(&self, io: &Io, dir: &Inode, name: &[u8]) -> Result<i64> {
        let mut trial = dir.clone();
        let mut ledger = Ledger::default();
        let mut edit = Edit { io, generation: self.generation, ledger: &mut ledger };
        let (id, kind) = (FileId::active(dir.ino, dir.generation), FileKind::File);
        directory::insert(&mut trial, &mut edit, self.hash, name, id, kind)?;
        Ok(i64::try_from(trial.blocks.saturating_sub(dir.blocks)).unwrap_or(i64::MAX))
    }

    /// The demand of a new name in `dir`.
    pub(crate) fn entry_demand(
        &self,
        io: &Io,
        cx: &Context,
        demand: Demand,
        dir: &Inode,
        name: &[u8],
    ) -> Result<Demand> {
        if !self.is_limited(cx, dir) {
            return Ok(demand);
        }
        Ok(demand.of(dir, self.entry_cost(io, dir, name)?, 0))
    }

    /// The demand of writing all of a range of `inode`: its holes.
    pub(crate) fn need_range(
        &self,
        io: &Io,
        cx: &Context,
        inode: &Inode,
        first: Fbn,
        blocks: u64,
    ) -> Result<()> {
        if !self.is_limited(cx, inode) {
            return Ok(());
        }
        let there = inode.tree.count(io, first, blocks)?;
        let holes = i64::try_from(blocks.saturating_sub(there)).unwrap_or(i64::MAX);
        self.need_quota(io, cx, &Demand::default().of(inode, holes, 0))
    }
}

/// A limit, and what is left of it.
type Left = (u64, u64);

/// How much of a limit is left, for what shows free space: bytes and files, `None` where nothing limits.
pub(crate) fn left(rule: &Rule, usage: &Usage) -> (Option<Left>, Option<Left>) {
    let QuotaLimits { disk_hard, disk_soft, files_hard, files_soft, .. } = rule.limits;
    let left = |limit: Option<u64>, used: u64| limit.map(|limit| (limit, limit.saturating_sub(used)));
    (left(disk_hard.or(disk_soft), pages::bytes(usage.blocks)), left(files_hard.or(files_soft), usage.files))
}
