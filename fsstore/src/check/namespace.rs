//! Names against inodes: every name leads to a file, every file has as many names as it says, every directory one
//! place, and the root leads to all of them.
//!
//! Names are counted for a bounded number of inodes at a time, with a pass over all directories for each such part.

use super::Checker;
use super::bits::BlockSet;
use super::dirpages::{DirWalk, WRONG_MAX};
use super::finding::FindingKind;
use super::image::InodePages;
use crate::directory::Entry;
use crate::ids::{InodeNum, Vbn};
use crate::inode::{Hidden, INODES_PER_PAGE, Inode};
use crate::layout::ImageRoot;
use crate::op::{FileKind, ROOT_INO};
use crate::tree::Tree;

/// An inode, and the names that lead to it.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// Whether its page could be read.
    known: bool,
    kind: Option<FileKind>,
    generation: u32,
    nlink: u32,
    names: u32,
    parent: u64,
    /// The key of its newest name, as it says, and of the name that was found.
    name_key: u64,
    named_as: u64,
    /// The directory that names it.
    named_in: u64,
    /// Whether only its file leads to it.
    hidden: bool,
}

/// Counts a file as the name of what only it leads to: its attribute directory, and its access control list.
fn note_hidden(file: &Inode, part: &mut Part<'_>) {
    for hidden in [file.attrs, file.acl_file] {
        if file.kind.is_some()
            && hidden != InodeNum(0)
            && let Some(slot) = slot_of(part.pages, hidden)
            && part.seen[slot].hidden
        {
            part.seen[slot].names += 1;
        }
    }
}

/// The inodes whose names are being counted.
struct Part<'p> {
    pages: &'p InodePages,
    seen: Vec<Seen>,
}

fn per_page() -> usize {
    usize::try_from(INODES_PER_PAGE).unwrap_or(1)
}

/// Where an inode stands among those of `pages`.
fn slot_of(pages: &InodePages, ino: InodeNum) -> Option<usize> {
    let page = pages.binary_search_by_key(&(ino.0 / INODES_PER_PAGE), |(fbn, _)| *fbn).ok()?;
    Some(page * per_page() + usize::try_from(ino.0 % INODES_PER_PAGE).ok()?)
}

/// What is wrong with a name, if anything.
fn judge(seen: &Seen, entry: &Entry<'_>) -> Option<String> {
    let ino = entry.file.ino;
    let name = entry.name.escape_ascii();
    match seen.kind {
        None => Some(format!("the name `{name}` leads to inode {ino}, which is free: the file is lost")),
        Some(_) if seen.generation != entry.file.generation.0 => Some(format!(
            "the name `{name}` leads to generation {} of inode {ino}, which is at generation {}: the file that it named \
             is gone",
            entry.file.generation, seen.generation
        )),
        Some(kind) if kind != entry.kind => {
            Some(format!("the name `{name}` says that inode {ino} is a {:?}; it is a {kind:?}", entry.kind))
        }
        Some(_) => None,
    }
}

impl Checker<'_> {
    /// Checks all directories of an image. `whole` is false if blocks were lost.
    pub(super) fn check_names(&mut self, image: &ImageRoot, pages: &InodePages, whole: bool) {
        let step = (self.options.inodes_per_pass / per_page()).max(1);
        let mut judge_links = whole;
        for (at, part) in pages.chunks(step).enumerate() {
            let mut part = self.load_part(part);
            judge_links &= self.scan_directories(pages, &mut part, at == 0);
            if judge_links {
                self.check_links(&part);
            }
        }
        if !judge_links {
            let text = "because of what can't be read, names, links and files without a name were not judged";
            return self.find(FindingKind::NotJudged, None, None, text.to_owned());
        }
        self.check_loops(image, pages);
    }

    fn load_part<'p>(&self, pages: &'p InodePages) -> Part<'p> {
        let mut seen = vec![Seen::default(); pages.len() * per_page()];
        for ((fbn, ptr), slots) in pages.iter().zip(seen.chunks_mut(per_page())) {
            let Ok(page) = self.io.page(*ptr) else { continue };
            for (slot, ino) in slots.iter_mut().zip(fbn * INODES_PER_PAGE..) {
                let Ok(inode) = Inode::decode(InodeNum(ino), &page) else { continue };
                *slot = Seen {
                    known: true,
                    kind: inode.kind,
                    generation: inode.generation.0,
                    nlink: inode.nlink,
                    names: 0,
                    parent: inode.parent.0,
                    name_key: inode.name_key.0,
                    named_as: 0,
                    named_in: 0,
                    hidden: inode.hidden != Hidden::No,
                };
            }
        }
        Part { pages, seen }
    }

    /// Scans every directory for names of this part. The first time, also judges the directories themselves. Gives
    /// whether all of them could be read.
    fn scan_directories(&mut self, pages: &InodePages, part: &mut Part<'_>, first: bool) -> bool {
        let mut whole = true;
        for (fbn, ptr) in pages {
            let Ok(page) = self.io.page(*ptr) else {
                whole = false;
                continue;
            };
            for ino in fbn * INODES_PER_PAGE..(fbn + 1) * INODES_PER_PAGE {
                match Inode::decode(InodeNum(ino), &page) {
                    Ok(inode) => {
                        note_hidden(&inode, part);
                        if inode.is_dir() {
                            whole &= self.scan_directory(&inode, pages, part, first);
                        }
                    }
                    Err(_) => whole = false,
                }
            }
        }
        whole
    }

    fn scan_directory(&mut self, dir: &Inode, pages: &InodePages, part: &mut Part<'_>, first: bool) -> bool {
        let (io, mut subdirs, mut dangling) = (self.io.clone(), 0u64, Vec::new());
        let mut walk = DirWalk::new(&io, self.hash, dir);
        walk.run(&mut |entry| {
            subdirs += u64::from(entry.kind == FileKind::Dir);
            if let Some(slot) = slot_of(part.pages, entry.file.ino) {
                let seen = &mut part.seen[slot];
                if !seen.known {
                    return;
                }
                if let Some(text) = judge(seen, entry) {
                    if dangling.len() < WRONG_MAX {
                        dangling.push(text);
                    }
                } else {
                    seen.names = seen.names.saturating_add(1);
                    seen.named_in = dir.ino.0;
                    seen.named_as = entry.key.0;
                }
            } else if first && dangling.len() < WRONG_MAX && slot_of(pages, entry.file.ino).is_none() {
                dangling.push(format!(
                    "the name `{}` leads to inode {}, which does not exist: the file is lost",
                    entry.name.escape_ascii(),
                    entry.file.ino
                ));
            }
        });
        let (wrong, lost) = (std::mem::take(&mut walk.wrong), walk.lost);
        if first {
            wrong.into_iter().for_each(|text| self.find(FindingKind::Directory, Some(dir.ino), None, text));
            if !lost && u64::from(dir.nlink) != 2 + subdirs {
                let text = format!(
                    "it has {} links; with {subdirs} directories in it, it should have {}",
                    dir.nlink,
                    2 + subdirs
                );
                self.find(FindingKind::LinkCount, Some(dir.ino), None, text);
            }
        }
        for text in dangling {
            self.find(FindingKind::DanglingName, Some(dir.ino), None, text);
        }
        !lost
    }

    /// Names counted against links.
    fn check_links(&mut self, part: &Part<'_>) {
        for (slot, seen) in part.seen.iter().enumerate() {
            let (page, within) = (slot / per_page(), slot % per_page());
            let ino = InodeNum(part.pages[page].0 * INODES_PER_PAGE + within as u64);
            let Some(kind) = seen.kind else { continue };
            let mut find = |kind, text| self.find(kind, Some(ino), None, text);
            if ino == ROOT_INO {
                if seen.names > 0 || seen.parent != ROOT_INO.0 || kind != FileKind::Dir {
                    find(
                        FindingKind::Parent,
                        "this is the root; it has no name and is its own parent".to_owned(),
                    );
                }
            } else if seen.names == 0 {
                let text = format!("this {kind:?} is in use, but no name leads to it: nobody can reach it");
                find(FindingKind::Orphan, text);
            } else if kind != FileKind::Dir {
                if seen.names != seen.nlink {
                    let text = format!(
                        "it says that it has {} links, and {} names lead to it{}",
                        seen.nlink,
                        seen.names,
                        if seen.nlink < seen.names {
                            ": it would go with one of them, under the others"
                        } else {
                            ""
                        }
                    );
                    find(FindingKind::LinkCount, text);
                }
            } else if seen.names > 1 {
                find(
                    FindingKind::LinkCount,
                    format!("this directory has {} names; it may have one", seen.names),
                );
            } else if seen.hidden {
                // Its parent is its file, which was counted as its name.
            } else if seen.parent != seen.named_in {
                let text = format!(
                    "this directory says that it is in directory {}, but its name is in {}",
                    seen.parent, seen.named_in
                );
                find(FindingKind::Parent, text);
            } else if seen.name_key != seen.named_as {
                let text =
                    "this directory does not know its name: changes below it would be told with a wrong path";
                find(FindingKind::Parent, text.to_owned());
            }
        }
    }

    /// Directories that lead only to one another, not to the root.
    fn check_loops(&mut self, image: &ImageRoot, pages: &InodePages) {
        let Ok(inofile) = Tree::from_root(image.inofile) else { return };
        // Numbers, not blocks; the set does not mind.
        let mut connected = BlockSet::default();
        connected.insert(Vbn(ROOT_INO.0));
        for (fbn, ptr) in pages {
            let Ok(page) = self.io.page(*ptr) else { continue };
            for ino in fbn * INODES_PER_PAGE..(fbn + 1) * INODES_PER_PAGE {
                let Ok(inode) = Inode::decode(InodeNum(ino), &page) else { continue };
                if inode.is_dir() && self.climb(&inofile, inode, &mut connected) {
                    let text = "this directory is inside of itself: the root does not lead to it";
                    self.find(FindingKind::Orphan, Some(InodeNum(ino)), None, text.to_owned());
                }
            }
        }
    }

    /// Goes up from a directory to one that is known to lead to the root; whether it came back to where it was.
    fn climb(&self, inofile: &Tree, dir: Inode, connected: &mut BlockSet) -> bool {
        let mut path = BlockSet::default();
        let mut way = Vec::new();
        let mut at = dir;
        let looped = loop {
            if connected.contains(Vbn(at.ino.0)) {
                break false;
            }
            if !path.insert(Vbn(at.ino.0)) {
                break true;
            }
            way.push(at.ino);
            match Inode::load(inofile, &self.io, at.parent) {
                Ok(Some(parent)) if parent.is_dir() => at = parent,
                // A wrong parent has a finding of its own.
                _ => break false,
            }
        };
        // A loop is told once, for the first of its directories.
        for ino in way {
            connected.insert(Vbn(ino.0));
        }
        looped
    }
}
