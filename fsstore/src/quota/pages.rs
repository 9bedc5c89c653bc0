//! The quota tree: where the usage of each user, group and qtree stands, and the rules. Byte layouts only.
//!
//! ```text
//! page 0 ..     usage outside of qtrees of users and groups 0 to 8191
//!      128 ..   qtrees, 64 bytes each, by number: | directory u64 | usage 32 |
//!      192 ..   rules, 64 bytes each, in no order
//!      256 ..   all other usage: for 64 users and groups of a qtree a page
//!
//! usage page: | user n | ... x 64 | group n | ... x 64 |
//! usage: | blocks u64 | files u64 | over the soft limit of bytes since i64 | of files since i64 |    0: not over it
//! rule:  | kind u8 | default u8 | 0 u16 | qtree u32 | id u32 | grace u32 | hard bytes, soft bytes, hard files, soft files u64 | set i64 |
//! ```
//!
//! Whom nobody has charged has no page: a tree with a million possible users costs what the few real ones need.

use super::{QuotaLimits, QuotaTarget, Rule};
use crate::ids::{BLOCK_SIZE, BLOCK_SIZE_U64, Fbn, InodeNum, QtreeId};
use crate::layout::{Page, Reader, Writer};
use crate::op::QTREES_MAX;

const USAGE_BYTES: usize = 32;
/// Users, and as many groups, of one page.
const IDS_PER_PAGE: u32 = 64;
const SLOT_BYTES: usize = 64;
pub(crate) const SLOTS_PER_PAGE: u64 = (BLOCK_SIZE / SLOT_BYTES) as u64;
pub(crate) const QTREES_FIRST: u64 = 128;
pub(crate) const RULES_FIRST: u64 = 192;
/// Where usage goes on behind the fixed tables.
const USAGE_AGAIN: u64 = 256;
/// Most rules of a volume.
pub const RULES_MAX: usize = 4096;
/// Pages of rules.
pub(crate) const RULE_PAGES: u64 = USAGE_AGAIN - RULES_FIRST;
const NO_LIMIT: u64 = u64::MAX;

/// Whom something is charged to. Every inode is charged to three: its qtree, its owner and its group in that qtree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Key {
    Tree(QtreeId),
    User(QtreeId, u32),
    Group(QtreeId, u32),
}

/// What is charged, and since when it is over a soft limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) blocks: u64,
    pub(crate) files: u64,
    /// Seconds as in [`Time`](crate::Time), never 0.
    pub(crate) disk_since: Option<i64>,
    pub(crate) files_since: Option<i64>,
}

impl Key {
    /// The page that the usage is in, and the byte there.
    pub(crate) fn place(self) -> (Fbn, usize) {
        let (qtree, id, group) = match self {
            Key::Tree(qtree) => {
                let (fbn, at) = qtree_place(qtree);
                return (fbn, at + 8);
            }
            Key::User(qtree, id) => (qtree, id, 0),
            Key::Group(qtree, id) => (qtree, id, IDS_PER_PAGE as usize),
        };
        let (high, low) = (u64::from(id >> 13), u64::from(id / IDS_PER_PAGE % 128));
        let page = ((high << 12 | u64::from(qtree.0)) << 7) | low;
        let page = if page < QTREES_FIRST { page } else { page + QTREES_FIRST };
        let slot = group + (id % IDS_PER_PAGE) as usize;
        (Fbn(page), slot * USAGE_BYTES)
    }
}

/// The qtree and the first id that a usage page speaks of; `None` for the other pages.
fn ids_of(fbn: Fbn) -> Option<(QtreeId, u32)> {
    let page = match fbn.0 {
        page @ 0..QTREES_FIRST => page,
        QTREES_FIRST..USAGE_AGAIN => return None,
        page => page - QTREES_FIRST,
    };
    let (high, low) = (u32::try_from(page >> 19).ok()?, u32::try_from(page % 128).ok()?);
    let qtree = u32::try_from(page >> 7 & u64::from(QTREES_MAX)).ok()?;
    let first = high.checked_mul(1 << 13)? | (low * IDS_PER_PAGE);
    Some((QtreeId(qtree), first))
}

/// Calls `visit` with everything in a page that is charged with anything.
pub(crate) fn usages(fbn: Fbn, page: &Page, visit: &mut dyn FnMut(Key, Usage)) {
    let mut see = |key: Key, at: usize| {
        let usage = Usage::decode_at(page, at);
        if usage != Usage::default() {
            visit(key, usage);
        }
    };
    if (QTREES_FIRST..RULES_FIRST).contains(&fbn.0) {
        for slot in 0..SLOTS_PER_PAGE {
            let qtree = u32::try_from((fbn.0 - QTREES_FIRST) * SLOTS_PER_PAGE + slot).unwrap_or(0);
            let key = Key::Tree(QtreeId(qtree));
            see(key, key.place().1);
        }
    } else if let Some((qtree, first)) = ids_of(fbn) {
        for id in first..=first.saturating_add(IDS_PER_PAGE - 1) {
            for key in [Key::User(qtree, id), Key::Group(qtree, id)] {
                see(key, key.place().1);
            }
        }
    }
}

const _: () = assert!(2 * IDS_PER_PAGE as usize * USAGE_BYTES == BLOCK_SIZE);
const _: () = assert!(RULES_MAX as u64 == (USAGE_AGAIN - RULES_FIRST) * SLOTS_PER_PAGE);

/// Last page that a usage can stand in.
pub(crate) const PAGES_MAX: u64 = (1 << 38) + QTREES_FIRST;

impl Usage {
    pub(crate) fn decode_at(page: &Page, at: usize) -> Usage {
        let mut input = Reader::new(&page[at..at + USAGE_BYTES]);
        let since = |secs: i64| Some(secs).filter(|secs| *secs != 0);
        Usage {
            blocks: input.u64(),
            files: input.u64(),
            disk_since: since(input.i64()),
            files_since: since(input.i64()),
        }
    }

    pub(crate) fn encode_at(&self, page: &mut Page, at: usize) {
        let mut out = Writer::default();
        out.u64(self.blocks);
        out.u64(self.files);
        out.i64(self.disk_since.unwrap_or(0));
        out.i64(self.files_since.unwrap_or(0));
        page[at..at + USAGE_BYTES].copy_from_slice(&out.0);
    }
}

fn slot_place(first: u64, slot: u64) -> (Fbn, usize) {
    let within = usize::try_from(slot % SLOTS_PER_PAGE).unwrap_or(0);
    (Fbn(first + slot / SLOTS_PER_PAGE), within * SLOT_BYTES)
}

/// Where a qtree stands in the table.
pub(crate) fn qtree_place(qtree: QtreeId) -> (Fbn, usize) {
    slot_place(QTREES_FIRST, u64::from(qtree.0))
}

/// Says which directory the qtree at `at` is; 0: there is none.
pub(crate) fn set_qtree(page: &mut Page, at: usize, dir: InodeNum) {
    page[at..at + 8].copy_from_slice(&dir.0.to_le_bytes());
}

/// The qtrees of a page of the table, with their directories.
pub(crate) fn qtrees_in(fbn: Fbn, page: &Page) -> impl Iterator<Item = (QtreeId, InodeNum)> + '_ {
    let first = fbn.0.saturating_sub(QTREES_FIRST) * SLOTS_PER_PAGE;
    let slots = page.chunks_exact(SLOT_BYTES).zip(first..);
    slots.filter_map(|(slot, number)| {
        let dir = InodeNum(Reader::new(slot).u64());
        let qtree = QtreeId(u32::try_from(number).ok()?);
        (dir != InodeNum(0) && qtree != QtreeId::NONE).then_some((qtree, dir))
    })
}

/// Where a rule stands.
pub(crate) fn rule_place(slot: u16) -> (Fbn, usize) {
    slot_place(RULES_FIRST, u64::from(slot))
}

/// Writes a rule, or that there is none.
pub(crate) fn set_rule(page: &mut Page, at: usize, rule: Option<(QuotaTarget, &Rule)>) {
    let mut out = Writer::default();
    if let Some((target, rule)) = rule {
        put_target(&mut out, target);
        put_limits(&mut out, &rule.limits);
        out.i64(rule.set);
    }
    out.0.resize(SLOT_BYTES, 0);
    page[at..at + SLOT_BYTES].copy_from_slice(&out.0);
}

/// The rules of a page: slot, target, rule. What makes no sense is left out and counted.
pub(crate) fn rules_in(fbn: Fbn, page: &Page) -> (Vec<(u16, QuotaTarget, Rule)>, usize) {
    let first = fbn.0.saturating_sub(RULES_FIRST) * SLOTS_PER_PAGE;
    let (mut rules, mut bad) = (Vec::new(), 0);
    for (bytes, slot) in page.chunks_exact(SLOT_BYTES).zip(first..) {
        if bytes[0] == 0 {
            continue;
        }
        let mut input = Reader::new(bytes);
        let target = take_target(&mut input);
        let limits = take_limits(&mut input);
        match (target, u16::try_from(slot)) {
            (Some(target), Ok(slot)) => rules.push((slot, target, Rule { limits, set: input.i64() })),
            _ => bad += 1,
        }
    }
    (rules, bad)
}

/// 12 bytes: whom a rule is for.
pub(crate) fn put_target(out: &mut Writer, target: QuotaTarget) {
    let (kind, qtree, id) = match target {
        QuotaTarget::Tree(qtree) => (1, qtree.unwrap_or_default(), qtree.map(|_| 0)),
        QuotaTarget::User { qtree, uid } => (2, qtree, uid),
        QuotaTarget::Group { qtree, gid } => (3, qtree, gid),
    };
    out.u8(kind);
    out.u8(u8::from(id.is_none()));
    out.u16(0);
    out.u32(qtree.0);
    out.u32(id.unwrap_or(0));
}

/// `None` for what [`put_target`] did not make.
pub(crate) fn take_target(input: &mut Reader<'_>) -> Option<QuotaTarget> {
    let (kind, default, _) = (input.u8(), input.u8() == 1, input.u16());
    let (qtree, id) = (QtreeId(input.u32()), input.u32());
    let id = (!default).then_some(id);
    match kind {
        _ if qtree.0 > QTREES_MAX => None,
        1 => Some(QuotaTarget::Tree(id.map(|_| qtree))),
        2 => Some(QuotaTarget::User { qtree, uid: id }),
        3 => Some(QuotaTarget::Group { qtree, gid: id }),
        _ => None,
    }
}

pub(crate) fn put_limits(out: &mut Writer, limits: &QuotaLimits) {
    out.u32(limits.grace_secs);
    for limit in [limits.disk_hard, limits.disk_soft, limits.files_hard, limits.files_soft] {
        out.u64(limit.unwrap_or(NO_LIMIT));
    }
}

pub(crate) fn take_limits(input: &mut Reader<'_>) -> QuotaLimits {
    let grace_secs = input.u32();
    let mut limit = || Some(input.u64()).filter(|limit| *limit != NO_LIMIT);
    QuotaLimits {
        disk_hard: limit(),
        disk_soft: limit(),
        files_hard: limit(),
        files_soft: limit(),
        grace_secs,
    }
}

/// Bytes of blocks.
pub(crate) fn bytes(blocks: u64) -> u64 {
    blocks.saturating_mul(BLOCK_SIZE_U64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::zero_page;
    use std::collections::HashMap;

    #[test]
    fn every_key_has_a_place_of_its_own_and_is_found_there() {
        let mut places = HashMap::new();
        let ids = [0, 1, 63, 64, 8191, 8192, 65_534, 100_000, 1 << 20, u32::MAX - 1, u32::MAX];
        for qtree in [0, 1, 63, 64, QTREES_MAX].map(QtreeId) {
            let users = ids.map(|id| Key::User(qtree, id));
            let groups = ids.map(|id| Key::Group(qtree, id));
            for key in users.into_iter().chain(groups).chain([Key::Tree(qtree)]) {
                let place = key.place();
                assert!(place.0.0 < PAGES_MAX);
                assert_eq!(places.insert(place, key), None, "{key:?}");
                let mut page = zero_page();
                let usage = Usage { blocks: 1, files: 2, disk_since: Some(3), files_since: None };
                usage.encode_at(&mut page, place.1);
                let mut found = Vec::new();
                usages(place.0, &page, &mut |key, usage| found.push((key, usage)));
                assert_eq!(found, [(key, usage)]);
            }
        }
    }

    #[test]
    fn rules_come_back() {
        let limits = QuotaLimits { disk_hard: Some(0), files_soft: Some(7), ..QuotaLimits::default() };
        let rule = Rule { limits, set: -5 };
        let targets = [
            QuotaTarget::Tree(None),
            QuotaTarget::Tree(Some(QtreeId(4095))),
            QuotaTarget::User { qtree: QtreeId::NONE, uid: Some(0) },
            QuotaTarget::Group { qtree: QtreeId(3), gid: None },
        ];
        let mut page = zero_page();
        for (slot, target) in targets.into_iter().enumerate() {
            let (fbn, at) = rule_place(u16::try_from(64 + slot).unwrap());
            assert_eq!(fbn, Fbn(RULES_FIRST + 1));
            set_rule(&mut page, at, Some((target, &rule)));
        }
        page[SLOT_BYTES * 9] = 77;
        let (found, bad) = rules_in(Fbn(RULES_FIRST + 1), &page);
        let want: Vec<_> = targets.into_iter().zip(64..).map(|(target, slot)| (slot, target, rule)).collect();
        assert_eq!((found, bad), (want, 1));
    }
}
