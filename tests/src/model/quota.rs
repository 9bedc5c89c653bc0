//! Qtrees and quotas in the model. Usage is not kept but counted, from all files, before and after each operation: what an
//! operation charges is the difference, whatever the operation is.

use super::{Body, Model, Node, change};
use bytes::Bytes;
use fsstore::{
    Context, Done, FileId, FsError, Op, QUOTA_RULES_MAX, QtreeId, QuotaLimits, QuotaTarget, ROOT, Result,
};
use std::collections::BTreeMap;

const BLOCK: u64 = 4096;
/// Blocks that one more entry may add to a directory, which the model does not know before.
const ENTRY_BLOCKS_MAX: u64 = 8;

/// Blocks and files of each qtree, user and group.
pub type Usage = BTreeMap<QuotaTarget, (u64, u64)>;

/// Rules, and what follows from them.
#[derive(Clone, Default)]
pub struct Quotas {
    rules: BTreeMap<QuotaTarget, (QuotaLimits, i64)>,
    /// Since when bytes and files are over a soft limit.
    since: BTreeMap<QuotaTarget, (Option<i64>, Option<i64>)>,
    /// Whether there ever was a rule: before, nothing needs counting.
    counting: bool,
    qtrees: BTreeMap<QtreeId, FileId>,
    /// Blocks of directories, as the volume says.
    directories: BTreeMap<FileId, u64>,
}

/// Whom a file is charged to.
fn keys(node: &Node) -> [QuotaTarget; 3] {
    let (qtree, uid, gid) = (node.qtree, Some(node.attr.uid), Some(node.attr.gid));
    [QuotaTarget::Tree(Some(qtree)), QuotaTarget::User { qtree, uid }, QuotaTarget::Group { qtree, gid }]
}

impl Quotas {
    /// The rule for somebody.
    fn rule(&self, key: QuotaTarget) -> Option<&(QuotaLimits, i64)> {
        let default = match key {
            QuotaTarget::Tree(Some(QtreeId::NONE)) | QuotaTarget::User { uid: Some(0), .. } => return None,
            QuotaTarget::Tree(_) => QuotaTarget::Tree(None),
            QuotaTarget::User { qtree, .. } => QuotaTarget::User { qtree, uid: None },
            QuotaTarget::Group { qtree, .. } => QuotaTarget::Group { qtree, gid: None },
        };
        self.rules.get(&key).or_else(|| self.rules.get(&default))
    }

    /// Whether going from `before` to `after` is against a limit of `key`.
    fn forbids(&self, cx: &Context, key: QuotaTarget, before: (u64, u64), after: (u64, u64)) -> bool {
        let for_root = matches!(key, QuotaTarget::Tree(_));
        let Some((limits, set)) = self.rule(key).filter(|_| for_root || cx.uid != 0) else { return false };
        let since = self.since.get(&key).copied().unwrap_or_default();
        let late = |since: Option<i64>| {
            since.is_some_and(|since| since >= *set && cx.now.secs - since > i64::from(limits.grace_secs))
        };
        let past = |limit: Option<u64>, used: u64| limit.is_some_and(|limit| used > limit);
        let disk = after.0 * BLOCK;
        let disk_bad = past(limits.disk_hard, disk) || (past(limits.disk_soft, disk) && late(since.0));
        let files_bad =
            past(limits.files_hard, after.1) || (past(limits.files_soft, after.1) && late(since.1));
        (after.0 > before.0 && disk_bad) || (after.1 > before.1 && files_bad)
    }

    /// Starts and ends times over soft limits of those whose usage changed.
    fn judge(&mut self, before: &Usage, after: &Usage, now: i64) {
        let now = if now == 0 { 1 } else { now };
        for key in before.keys().chain(after.keys()) {
            let used = after.get(key).copied().unwrap_or_default();
            if before.get(key).copied().unwrap_or_default() == used {
                continue;
            }
            let (limits, set) = self.rule(*key).copied().unwrap_or_default();
            let old = self.since.get(key).copied().unwrap_or_default();
            let next = |used: u64, soft: Option<u64>, since: Option<i64>| {
                let since = since.filter(|since| *since >= set).unwrap_or(now);
                soft.is_some_and(|soft| used > soft).then_some(since)
            };
            let since =
                (next(used.0 * BLOCK, limits.disk_soft, old.0), next(used.1, limits.files_soft, old.1));
            self.since.insert(*key, since);
        }
    }

    /// The qtree of this number is gone.
    fn forget(&mut self, qtree: QtreeId) {
        self.qtrees.remove(&qtree);
        self.rules.retain(|target, _| target.qtree() != Some(qtree));
    }
}

impl Model {
    /// What everybody has, counted.
    pub fn usage(&self) -> Usage {
        let mut usage = Usage::new();
        for (id, node) in &self.nodes {
            let mut blocks = match &node.body {
                Body::File(content) => content.blocks(),
                Body::Symlink(_) => 1,
                Body::Dir(_) => self.quota.directories.get(id).copied().unwrap_or(0),
                Body::Special => 0,
            };
            // The hidden directory of attributes and streams; streams are files of their own.
            let mut files = 1 + u64::from(!node.xattrs.is_empty() || !node.streams.is_empty());
            for value in node.xattrs.values() {
                blocks += (value.len() as u64).div_ceil(BLOCK);
                files += 1;
            }
            if node.acl.is_some() && node.stream_of.is_none() {
                (blocks, files) = (blocks + 1, files + 1);
            }
            for key in keys(node) {
                let sum = usage.entry(key).or_default();
                *sum = (sum.0 + blocks, sum.1 + files);
            }
        }
        usage
    }

    /// Runs a mutation that the volume ran, too. `got` is what it said: that gives the ids of new files, and how large
    /// directories are. Whether the volume was right to refuse it for a quota, or not to, is told here. `folded`: it was asked
    /// for by one who does not tell case apart.
    ///
    /// # Errors
    /// What the volume should have said.
    pub fn follow(&mut self, cx: &Context, op: &Op, folded: bool, got: &Result<Done>) -> Result<Done> {
        let made = got.as_ref().ok().map(|done| done.object.after.id).filter(|id| self.node(*id).is_err());
        let mut next = self.clone();
        let done = next.execute(cx, op, made)?;
        if let Ok(got) = got {
            for dir in [got.dir, got.to_dir].into_iter().flatten() {
                next.quota.directories.insert(dir.after.id, dir.after.used / BLOCK);
            }
        }
        if next.quota.counting {
            let (before, mut after) = (self.usage(), next.usage());
            let settled = after.clone();
            if let Op::Allocate { file, offset, len } = op {
                self.add_holes(&mut after, *file, *offset, *len);
            }
            let forbidden = |before: &Usage, after: &Usage| {
                let of = |usage: &Usage, key| usage.get(key).copied().unwrap_or_default();
                after.iter().any(|(key, used)| self.quota.forbids(cx, *key, of(before, key), *used))
            };
            if forbidden(&before, &after) {
                return Err(FsError::Quota);
            }
            if *got == Err(FsError::Quota) {
                self.add_entry(&mut after, op);
                if forbidden(&before, &after) {
                    return Err(FsError::Quota);
                }
            }
            next.quota.judge(&before, &settled, cx.now.secs);
        }
        if folded && self.repeats_a_name(op) {
            return Err(FsError::Exists);
        }
        *self = next;
        Ok(done)
    }

    /// ALLOCATE is refused as a write would be.
    fn add_holes(&self, usage: &mut Usage, file: FileId, offset: u64, len: u64) {
        let node = &self.nodes[&file];
        if let (Body::File(content), 1..) = (&node.body, len) {
            let holes = content.holes(offset / BLOCK, (offset + len).div_ceil(BLOCK));
            keys(node).into_iter().for_each(|key| usage.entry(key).or_default().0 += holes);
        }
    }

    /// The most that a name may cost its directory.
    fn add_entry(&self, usage: &mut Usage, op: &Op) {
        let dir = match op {
            Op::Create { dir, .. }
            | Op::Mkdir { dir, .. }
            | Op::Symlink { dir, .. }
            | Op::Mknod { dir, .. }
            | Op::Link { dir, .. }
            | Op::Rename { to_dir: dir, .. } => dir,
            Op::MakeQtree { .. } => &ROOT,
            _ => return,
        };
        if let Some(node) = self.nodes.get(dir) {
            keys(node).into_iter().for_each(|key| usage.entry(key).or_default().0 += ENTRY_BLOCKS_MAX);
        }
    }

    pub(super) fn is_qtree(&self, file: FileId) -> bool {
        self.quota.qtrees.values().any(|dir| *dir == file)
    }

    /// A directory that is gone takes its qtree with it.
    pub(super) fn forget_quotas(&mut self, file: FileId) {
        self.quota.directories.remove(&file);
        let qtree = self.quota.qtrees.iter().find(|(_, dir)| **dir == file).map(|(qtree, _)| *qtree);
        if let Some(qtree) = qtree {
            self.quota.forget(qtree);
        }
    }

    /// Makes a directory of the root, which was just made, a qtree: the first number that is free.
    pub(super) fn found_qtree(&mut self, dir: FileId) {
        let free = (1..).map(QtreeId).find(|id| !self.quota.qtrees.contains_key(id)).expect("few qtrees");
        self.quota.qtrees.insert(free, dir);
        self.node_mut(dir).qtree = free;
    }

    /// The qtrees that there are.
    pub fn qtrees(&self) -> impl Iterator<Item = QtreeId> + '_ {
        self.quota.qtrees.keys().copied()
    }

    /// The rules that there are.
    pub fn rules(&self) -> impl Iterator<Item = QuotaTarget> + '_ {
        self.quota.rules.keys().copied()
    }

    pub(super) fn set_quota(
        &mut self,
        cx: &Context,
        target: QuotaTarget,
        limits: Option<&QuotaLimits>,
    ) -> Result<Done> {
        if cx.uid != 0 {
            return Err(FsError::Perm);
        }
        let known = match target {
            QuotaTarget::Tree(None) => true,
            QuotaTarget::Tree(Some(qtree)) => self.quota.qtrees.contains_key(&qtree),
            QuotaTarget::User { qtree, .. } | QuotaTarget::Group { qtree, .. } => {
                qtree == QtreeId::NONE || self.quota.qtrees.contains_key(&qtree)
            }
        };
        let above =
            |soft: Option<u64>, hard: Option<u64>| matches!((soft, hard), (Some(s), Some(h)) if s > h);
        let fits = match limits {
            None => self.quota.rules.contains_key(&target),
            Some(l) => !above(l.disk_soft, l.disk_hard) && !above(l.files_soft, l.files_hard),
        };
        if !known || !fits || self.quota.rules.len() >= QUOTA_RULES_MAX {
            return Err(FsError::QuotaConfig(""));
        }
        match limits {
            Some(limits) => self.quota.rules.insert(target, (*limits, cx.now.secs)),
            None => self.quota.rules.remove(&target),
        };
        self.quota.counting = true;
        let root = self.nodes[&ROOT].attr;
        Ok(self.done(change(&root, &root), None))
    }

    /// Usage, rules and qtrees as lines.
    pub fn dump_quotas(&self) -> Vec<String> {
        let usage = self.usage();
        let used = |key: &QuotaTarget| usage.get(key).copied().unwrap_or_default();
        let is_key = |target: &QuotaTarget| {
            !matches!(
                target,
                QuotaTarget::Tree(None)
                    | QuotaTarget::User { uid: None, .. }
                    | QuotaTarget::Group { gid: None, .. }
            )
        };
        let ruled = self.quota.rules.keys().filter(|target| is_key(target));
        let all: std::collections::BTreeSet<_> = usage.keys().chain(ruled).collect();
        let mut lines: Vec<String> = Vec::new();
        for key in all {
            let (blocks, files) = used(key);
            let rule = self.quota.rule(*key);
            let old = self.quota.since.get(key).copied().unwrap_or_default();
            let since = |since: Option<i64>| since.filter(|since| rule.is_some_and(|(_, set)| since >= set));
            lines.push(usage_line(
                *key,
                blocks * BLOCK,
                files,
                rule.map(|r| r.0),
                since(old.0),
                since(old.1),
            ));
        }
        lines.extend(self.quota.rules.iter().map(|(target, (limits, set))| rule_line(*target, limits, *set)));
        for (qtree, dir) in &self.quota.qtrees {
            let entries = self.entries(ROOT).expect("a directory");
            let name = entries.iter().find(|(_, file)| *file == dir).map(|(name, _)| name.clone());
            lines.push(qtree_line(*qtree, *dir, &name.expect("a qtree is in the root")));
        }
        lines
    }
}

/// What somebody uses, in a line.
pub fn usage_line(
    target: QuotaTarget,
    bytes: u64,
    files: u64,
    limits: Option<QuotaLimits>,
    disk_since: Option<i64>,
    files_since: Option<i64>,
) -> String {
    format!("usage of {target:?}: {bytes} {files} {disk_since:?} {files_since:?} {limits:?}")
}

/// A rule, in a line.
pub fn rule_line(target: QuotaTarget, limits: &QuotaLimits, set: i64) -> String {
    format!("rule for {target:?}: {limits:?} at {set}")
}

/// A qtree, in a line.
pub fn qtree_line(qtree: QtreeId, dir: FileId, name: &Bytes) -> String {
    format!("qtree {qtree}: {dir:?} {name:?}")
}
