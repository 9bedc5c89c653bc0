//! Quotas: usage counted anew from the inodes against what the image says, and qtrees against their directories.

use super::Checker;
use super::finding::FindingKind;
use super::image::InodePages;
use crate::directory;
use crate::ids::{Fbn, InodeNum, QtreeId};
use crate::inode::{Hidden, INODES_PER_PAGE, Inode, place};
use crate::io::Io;
use crate::layout::{ImageRoot, Page, zero_page};
use crate::op::ROOT_INO;
use crate::quota::pages::{
    Key, QTREES_FIRST, RULE_PAGES, RULES_FIRST, Usage, bytes, qtrees_in, rules_in, usages,
};
use crate::quota::{Charge, Quotas};
use crate::state::State;
use crate::tree::Tree;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the inodes of an image are charged for: blocks and files.
#[derive(Default)]
pub(super) struct Counted {
    usage: BTreeMap<Key, (u64, u64)>,
    /// Qtree directories that were found.
    qtrees: BTreeMap<QtreeId, InodeNum>,
    /// Whether an inode does not have the blocks that it counts, so that sums of them mean nothing.
    pub(super) doubtful: bool,
}

impl Counted {
    pub(super) fn add(&mut self, inode: &Inode) {
        let Some(owner) = Charge::of(inode).owner else { return };
        for key in owner.keys() {
            let sum = self.usage.entry(key).or_default();
            *sum = (sum.0.saturating_add(inode.blocks), sum.1 + 1);
        }
        if State::is_qtree(inode) {
            self.qtrees.insert(inode.qtree, inode.ino);
        }
    }
}

fn whom(key: Key) -> String {
    let within = |qtree: QtreeId| match qtree {
        QtreeId::NONE => "outside of qtrees".to_owned(),
        qtree => format!("in qtree {qtree}"),
    };
    match key {
        Key::Tree(qtree) => format!("what is {}", within(qtree)),
        Key::User(qtree, uid) => format!("user {uid} {}", within(qtree)),
        Key::Group(qtree, gid) => format!("group {gid} {}", within(qtree)),
    }
}

/// An inode of a committed image, without its list.
fn load(inofile: &Tree, io: &Io, ino: InodeNum) -> Option<Inode> {
    let page = inofile.page(io, place(ino).0).ok()??;
    Inode::decode(ino, &page).ok().filter(|inode| inode.kind.is_some())
}

impl Checker<'_> {
    /// Whether an inode is in the qtree of what it is in, and what is hidden is charged to its file's owner.
    pub(super) fn check_owner(&mut self, image: &ImageRoot, inode: &Inode, counted: &Counted) {
        let hidden = inode.hidden != Hidden::No;
        if State::is_qtree(inode) && counted.qtrees.get(&inode.qtree) != Some(&inode.ino) {
            let text = format!("there is another directory that is qtree {}", inode.qtree);
            return self.find(FindingKind::Qtree, Some(inode.ino), None, text);
        }
        let somewhere = inode.qtree != QtreeId::NONE || !counted.qtrees.is_empty();
        if inode.ino == ROOT_INO || State::is_qtree(inode) || !(hidden || somewhere) {
            return;
        }
        let Ok(inofile) = Tree::from_root(image.inofile) else { return };
        // What has no parent has a finding of its own.
        let Some(parent) = load(&inofile, &self.io, inode.parent) else { return };
        // What a file says of its newest name may be out of date: the name can have gone, and its directory be another one by now.
        let sure = hidden
            || directory::name_of(&parent, &self.io, inode.name_key)
                .is_ok_and(|(_, file)| file.ino == inode.ino);
        if sure && inode.qtree != parent.qtree {
            let text = format!(
                "it is charged to qtree {}, and what it is in is in qtree {}: the quota of one of them is wrong",
                inode.qtree, parent.qtree
            );
            self.find(FindingKind::Qtree, Some(inode.ino), None, text);
        }
        if hidden && (inode.uid, inode.gid) != (parent.uid, parent.gid) {
            let text = format!(
                "it belongs to inode {}, and is charged to user {} and group {} instead of {} and {}",
                inode.parent, inode.uid, inode.gid, parent.uid, parent.gid
            );
            self.find(FindingKind::Qtree, Some(inode.ino), None, text);
        }
    }

    /// Goes over all inodes once more, now that it is known which qtrees there are.
    pub(super) fn check_owners(&mut self, image: &ImageRoot, pages: &InodePages, counted: &Counted) {
        for (fbn, ptr) in pages {
            let Ok(page) = self.io.page(*ptr) else { continue };
            for ino in fbn * INODES_PER_PAGE..(fbn + 1) * INODES_PER_PAGE {
                if let Ok(inode) = Inode::decode(InodeNum(ino), &page)
                    && inode.kind.is_some()
                {
                    self.check_owner(image, &inode, counted);
                }
            }
        }
    }

    /// The image's usage and its qtrees against what was counted. Gives whether all of it could be read.
    pub(super) fn check_quotas(&mut self, image: &ImageRoot, counted: &Counted, judged: bool) -> bool {
        let Ok(tree) = Tree::from_root(image.quota) else { return false };
        let mut said: BTreeMap<Key, (u64, u64)> = BTreeMap::new();
        let mut note = |key, usage: Usage| {
            if (usage.blocks, usage.files) != (0, 0) {
                said.insert(key, (usage.blocks, usage.files));
            }
        };
        if Quotas::for_each(&tree, &self.io, &mut note).is_err() {
            return false;
        }
        if judged {
            let keys: std::collections::BTreeSet<_> =
                said.keys().chain(counted.usage.keys()).copied().collect();
            for key in keys {
                let (has, is) = (
                    counted.usage.get(&key).copied().unwrap_or_default(),
                    said.get(&key).copied().unwrap_or_default(),
                );
                if has != is {
                    let text = format!(
                        "{} is charged with {} bytes and {} files, and has {} bytes and {} files: limits are applied \
                         wrongly until --rebuild-maps",
                        whom(key),
                        bytes(is.0),
                        is.1,
                        bytes(has.0),
                        has.1
                    );
                    self.find(FindingKind::Quota, None, None, text);
                }
            }
        }
        self.check_tables(&tree, counted, judged)
    }

    fn check_tables(&mut self, tree: &Tree, counted: &Counted, judged: bool) -> bool {
        let mut qtrees = BTreeMap::new();
        for fbn in (QTREES_FIRST..RULES_FIRST).map(Fbn) {
            match tree.page(&self.io, fbn) {
                Ok(Some(page)) => qtrees.extend(qtrees_in(fbn, &page)),
                Ok(None) => {}
                Err(_) => return false,
            }
        }
        for fbn in (RULES_FIRST..RULES_FIRST + RULE_PAGES).map(Fbn) {
            match tree.page(&self.io, fbn) {
                Ok(Some(page)) => self.check_rules(fbn, &page, &qtrees),
                Ok(None) => {}
                Err(_) => return false,
            }
        }
        if judged && qtrees != counted.qtrees {
            let text = format!(
                "the table of qtrees has {} and there are the directories of {}, or not the same ones",
                qtrees.len(),
                counted.qtrees.len()
            );
            self.find(FindingKind::Quota, None, None, text);
        }
        true
    }

    fn check_rules(&mut self, fbn: Fbn, page: &Page, qtrees: &BTreeMap<QtreeId, InodeNum>) {
        let (rules, bad) = rules_in(fbn, page);
        let known = |qtree: &QtreeId| *qtree == QtreeId::NONE || qtrees.contains_key(qtree);
        let astray = rules.iter().filter(|(_, target, _)| target.qtree().is_some_and(|qtree| !known(&qtree)));
        let wrong = bad + astray.count();
        if wrong > 0 {
            let text = format!("{wrong} quota rules make no sense, or are of no qtree that there is");
            self.find(FindingKind::Quota, None, None, text);
        }
    }

    /// The quota tree as it should be: rules and times as they are, as far as they can be read, and usage as counted.
    pub(super) fn mended_quotas(&self, leaves: &InodePages, counted: &Counted) -> BTreeMap<u64, Page> {
        let mut pages: BTreeMap<u64, Page> = BTreeMap::new();
        for (fbn, ptr) in leaves {
            let Ok(old) = self.io.page(*ptr) else { continue };
            let mut page: Page = Arc::unwrap_or_clone(old);
            let mut gone = Vec::new();
            usages(Fbn(*fbn), &page, &mut |key, usage| gone.push((key.place().1, usage)));
            for (at, usage) in gone {
                Usage { blocks: 0, files: 0, ..usage }.encode_at(&mut page, at);
            }
            self.mend_tables(Fbn(*fbn), &mut page, counted);
            pages.insert(*fbn, page);
        }
        for (qtree, dir) in &counted.qtrees {
            let (fbn, at) = crate::quota::pages::qtree_place(*qtree);
            crate::quota::pages::set_qtree(pages.entry(fbn.0).or_insert_with(zero_page), at, *dir);
        }
        for (key, (blocks, files)) in &counted.usage {
            let (fbn, at) = key.place();
            let page = pages.entry(fbn.0).or_insert_with(zero_page);
            let usage = Usage { blocks: *blocks, files: *files, ..Usage::decode_at(page, at) };
            usage.encode_at(page, at);
        }
        pages
    }

    /// Takes out qtrees that are not there, and rules that make no sense.
    fn mend_tables(&self, fbn: Fbn, page: &mut Page, counted: &Counted) {
        use crate::quota::pages::{SLOTS_PER_PAGE, qtree_place, rule_place, set_qtree, set_rule};
        if (QTREES_FIRST..RULES_FIRST).contains(&fbn.0) {
            let listed: Vec<_> = qtrees_in(fbn, page).collect();
            for (qtree, _) in listed.into_iter().filter(|(qtree, _)| !counted.qtrees.contains_key(qtree)) {
                set_qtree(page, qtree_place(qtree).1, InodeNum(0));
            }
        } else if (RULES_FIRST..RULES_FIRST + RULE_PAGES).contains(&fbn.0) {
            let known = |qtree: QtreeId| qtree == QtreeId::NONE || counted.qtrees.contains_key(&qtree);
            let (rules, _) = rules_in(fbn, page);
            page.fill(0);
            for (slot, target, rule) in rules {
                if target.qtree().is_none_or(known) && u64::from(slot) < RULE_PAGES * SLOTS_PER_PAGE {
                    set_rule(page, rule_place(slot).1, Some((target, &rule)));
                }
            }
        }
    }
}
