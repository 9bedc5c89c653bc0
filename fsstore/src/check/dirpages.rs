//! The pages of one directory: the order of its index, its counts, and the key of every name.

use crate::directory::{
    CHILDREN_MAX, COLLISIONS, DEPTH_MAX, Entry, HEAD, INTERIOR, LEAF, NameHash, child_at, count, entry_at,
    leaf_end,
};
use crate::fold::fold_name;
use crate::ids::Fbn;
use crate::inode::{Hidden, Inode};
use crate::io::Io;
use crate::layout::Page;
use std::collections::HashSet;
use std::ops::Range;

/// Things wrong with one directory that are listed.
pub(super) const WRONG_MAX: usize = 1000;

/// One walk over a directory.
pub(super) struct DirWalk<'a> {
    pub(super) io: &'a Io,
    pub(super) hash: NameHash,
    pub(super) dir: &'a Inode,
    /// What is wrong, in words.
    pub(super) wrong: Vec<String>,
    /// Whether a page was missing, so that names may be.
    pub(super) lost: bool,
    pub(super) entries: u64,
    pages: HashSet<Fbn>,
    /// Names with the hashes of the last entry.
    same_hash: (u64, Vec<Vec<u8>>),
    /// Folded names with the hash of the last entry's, and their slots.
    folded: (u64, Vec<(u64, Vec<u8>)>),
}

impl<'a> DirWalk<'a> {
    pub(super) fn new(io: &'a Io, hash: NameHash, dir: &'a Inode) -> Self {
        DirWalk {
            io,
            hash,
            dir,
            wrong: Vec::new(),
            lost: false,
            entries: 0,
            pages: HashSet::new(),
            same_hash: (0, Vec::new()),
            folded: (0, Vec::new()),
        }
    }

    /// Visits every entry, noting what is wrong on the way.
    pub(super) fn run(&mut self, visit: &mut dyn FnMut(&Entry<'_>)) {
        self.page(Fbn(0), 0, 0..u64::MAX, visit);
        if self.lost {
            return;
        }
        if self.entries != self.dir.entries {
            self.wrong
                .push(format!("it says that it has {} names, and it has {}", self.dir.entries, self.entries));
        }
        let pages = self.pages.len() as u64;
        let all = self.dir.size / crate::ids::BLOCK_SIZE_U64;
        if self.entries > 0 && pages != all {
            self.note(format!("its index leads to {pages} of its {all} pages"));
        }
    }

    /// Keeps what is wrong, up to a bound: a page of damage must not take memory without end.
    fn note(&mut self, text: String) {
        match self.wrong.len() {
            0..WRONG_MAX => self.wrong.push(text),
            WRONG_MAX => self.wrong.push("and more that is not listed".to_owned()),
            _ => {}
        }
    }

    fn page(&mut self, fbn: Fbn, depth: usize, range: Range<u64>, visit: &mut dyn FnMut(&Entry<'_>)) {
        let page = match self.dir.tree.page(self.io, fbn) {
            Ok(Some(page)) => page,
            Ok(None) if depth == 0 && self.dir.entries == 0 => return,
            Ok(None) => {
                self.lost = true;
                return self.note(format!("its page {fbn} is missing: the names there are lost"));
            }
            // The walk over the image's blocks named the block.
            Err(_) => {
                self.lost = true;
                return;
            }
        };
        if !self.pages.insert(fbn) {
            return self.note(format!("its index leads to page {fbn} twice"));
        }
        match page[0] {
            INTERIOR if depth < DEPTH_MAX => self.interior(&page, fbn, depth, range, visit),
            0 | LEAF => self.leaf(&page, fbn, range, visit),
            kind => {
                self.lost = true;
                self.wrong
                    .push(format!("its page {fbn} is of an unknown kind {kind}: the names there are lost"));
            }
        }
    }

    fn interior(
        &mut self,
        page: &Page,
        fbn: Fbn,
        depth: usize,
        range: Range<u64>,
        visit: &mut dyn FnMut(&Entry<'_>),
    ) {
        let children = count(page);
        if children == 0 || children > CHILDREN_MAX {
            self.lost = true;
            return self
                .wrong
                .push(format!("page {fbn} of its index has {children} branches: names are lost"));
        }
        for index in 0..children {
            let (key, child) = child_at(page, index);
            let next = if index + 1 < children { child_at(page, index + 1).0 } else { range.end };
            // What is below the first key goes to the first child.
            let low = if index == 0 { range.start } else { key };
            if low > next || next > range.end || key > next || low < range.start {
                self.note(format!(
                    "page {fbn} of its index is out of order at branch {index}: names can't be found"
                ));
            }
            self.page(child, depth + 1, low..next, visit);
        }
    }

    fn leaf(&mut self, page: &Page, fbn: Fbn, range: Range<u64>, visit: &mut dyn FnMut(&Entry<'_>)) {
        let (mut at, mut found, mut last) = (HEAD, 0, 0);
        while at < leaf_end(page) {
            let Some((entry, next)) = entry_at(page, at) else {
                self.lost = true;
                self.note(format!(
                    "page {fbn} has a malformed entry at byte {at}: the names behind it are lost"
                ));
                break;
            };
            if entry.key.0 <= last || !range.contains(&entry.key.0) {
                let name = entry.name.escape_ascii();
                self.note(format!(
                    "the name `{name}` is at the wrong place of page {fbn}: it can't be found"
                ));
            }
            last = entry.key.0;
            self.name(&entry);
            visit(&entry);
            (at, found) = (next, found + 1);
        }
        self.entries += found;
        if found != count(page) as u64 {
            self.note(format!("page {fbn} says that it has {} names, and it has {found}", count(page)));
        }
    }

    fn name(&mut self, entry: &Entry<'_>) {
        let name = entry.name;
        let shown = name.escape_ascii();
        // Attributes have more to their names than files.
        let plain = self.dir.hidden == Hidden::No;
        if name.is_empty()
            || plain && (name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0))
        {
            self.note(format!("`{shown}` can't be a name"));
        }
        let key = self.hash.key(name);
        let slot = key.slot_of(entry.key);
        let Some((slot, keys)) =
            slot.map(|slot| (slot, key.keys(slot))).filter(|(_, keys)| keys.contains(&entry.key.0))
        else {
            return self
                .note(format!("the key of the name `{shown}` is not that of its hash: it can't be found"));
        };
        self.slot(key.folded, slot, name);
        let first = keys.start;
        if self.same_hash.0 != first {
            self.same_hash = (first, Vec::new());
        }
        if self.same_hash.1.iter().any(|other| other == name) {
            self.note(format!("the name `{shown}` is there twice"));
        }
        if (self.same_hash.1.len() as u64) < COLLISIONS {
            self.same_hash.1.push(name.to_vec());
        }
    }

    /// The names of a slot fold alike, and those of two slots with one hash do not.
    fn slot(&mut self, hash: u64, slot: u64, name: &[u8]) {
        if self.folded.0 != hash {
            self.folded = (hash, Vec::new());
        }
        let folded = fold_name(name);
        let known = self.folded.1.iter().find(|(other, known)| *other == slot || known[..] == *folded);
        match known {
            Some((other, known)) if *other != slot || known[..] != *folded => {
                let name = name.escape_ascii();
                self.note(format!(
                    "the name `{name}` is in the wrong slot of its hash: it may not be found in another case"
                ));
            }
            Some(_) => {}
            None => self.folded.1.push((slot, folded.into_owned())),
        }
    }
}
