//! One image: its trees, its inodes, its block map and its counters.

use super::bits::{BlockSet, Reach};
use super::finding::{FindingKind, Owner};
use super::quotas::Counted;
use super::rebuild::Kept;
use super::walk::{Walked, walk};
use super::{Checker, ImageName, Listed};
use crate::blockmap::{Bits, WORDS, add_page, map_height, runs};
use crate::ids::{BLOCK_SIZE_U64, Fbn, InodeNum};
use crate::inode::{INODES_PER_PAGE, Inode};
use crate::layout::{BlockPtr, ImageRoot, MAP_BLOCKS_PER_PAGE, TreeRoot};
use crate::op::{FILE_SIZE_MAX, FileKind, ROOT_INO};
use crate::resize::BLOCKS_MAX;
use crate::tree::{Slot, Tree};
use crate::volume::VbnRange;
use std::collections::VecDeque;

/// The pages of an inode file: file block and pointer, in order.
pub(super) type InodePages = [(u64, BlockPtr)];

/// What the inodes of an image add up to.
#[derive(Default)]
struct Tally {
    used: u64,
    free: u64,
    /// Whether something was lost, so that counts mean nothing.
    lost: bool,
    /// Whether an index block has two users, which none may have.
    tangled: bool,
    counted: Counted,
}

/// Where a file's tree stands on disk.
pub(super) fn root_of(tree: &Tree) -> TreeRoot {
    let ptr = match &tree.root {
        Slot::Disk(ptr) => *ptr,
        Slot::Hole | Slot::Mem(_) => BlockPtr::HOLE,
    };
    TreeRoot { height: tree.height, ptr }
}

/// Whether a block is both of the image's content and of its maps.
pub(super) fn overlap(maps: &Reach, content: &Reach) -> bool {
    maps.blocks.iter().any(|vbn| content.blocks.contains(vbn))
}

impl Checker<'_> {
    /// Looks at one image; gives what it reaches.
    pub(super) fn check_image(&mut self, listed: &Listed, twin: Option<&ImageRoot>) -> Kept {
        let image = listed.root;
        let before = self.map_findings();
        let (mut maps, mut reach) = (Reach::default(), Reach::default());
        let map = walk(self, &mut maps, Owner::MAP, image.map, twin.map(|twin| twin.map), false);
        let refs = walk(self, &mut maps, Owner::REFS, image.refs, twin.map(|twin| twin.refs), true);
        let quota = walk(self, &mut maps, Owner::QUOTA, image.quota, twin.map(|twin| twin.quota), true);
        self.check_map_shape(&image);
        let table = walk(self, &mut reach, Owner::TABLE, listed.table.0, None, false);
        let inodes =
            walk(self, &mut reach, Owner::INODES, image.inofile, twin.map(|twin| twin.inofile), true);
        let mut tally = Tally { lost: inodes.lost + table.lost > 0, ..Tally::default() };
        let twin = twin.and_then(|twin| Tree::from_root(twin.inofile).ok());
        for (fbn, ptr) in &inodes.leaves {
            self.check_inode_page(&image, (*fbn, *ptr), twin.as_ref(), &mut reach, &mut tally);
        }
        let maps_lost = map.lost + refs.lost + quota.lost > 0;
        let judged = !tally.lost && !maps_lost;
        self.whole &= judged;
        let users = self.check_users(&image, &refs.leaves, &maps, &reach, judged);
        let readable = self.check_map(&image, &maps.blocks, &reach.blocks, judged);
        self.check_owners(&image, &inodes.leaves, &tally.counted);
        let quotas = self.check_quotas(&image, &tally.counted, !tally.lost && !tally.counted.doubtful);
        if judged {
            self.check_counters(&image, maps.blocks.len() + reach.blocks.len(), &tally);
        }
        if tally.lost {
            let text = "because of the blocks above that can't be read, lost space, counters and free inodes were not judged";
            self.find(FindingKind::NotJudged, None, None, text.to_owned());
        }
        let wrong = !readable || !users || !quotas || maps_lost || self.map_findings() > before;
        let tangled = tally.tangled || maps.shared().next().is_some() || overlap(&maps, &reach);
        if !tally.lost {
            self.check_free_chain(&image, tally.free);
        }
        self.check_names(&image, &inodes.leaves, !tally.lost);
        if matches!(self.image, ImageName::Active) {
            self.summary.files = tally.used;
        }
        let mended = self.keep.is_some().then(|| self.mended_quotas(&quota.leaves, &tally.counted));
        let quota = mended.unwrap_or_default();
        let Reach { blocks: content, more: shared } = reach;
        Kept {
            quota,
            content,
            shared,
            map: maps.blocks,
            whole: !tally.lost,
            wrong,
            tangled,
            files: tally.used,
        }
    }

    /// How many findings there are that a new map and new counters mend.
    fn map_findings(&self) -> u64 {
        let mended = [
            FindingKind::NotMarked,
            FindingKind::Leaked,
            FindingKind::MultiplyUsed,
            FindingKind::Users,
            FindingKind::Counter,
            FindingKind::Quota,
            FindingKind::Tree,
        ];
        mended.iter().filter_map(|kind| self.summary.findings.get(kind)).sum()
    }

    fn check_map_shape(&mut self, image: &ImageRoot) {
        // A volume that has grown or shrunk has maps of its earlier size.
        let height = map_height(BLOCKS_MAX);
        if image.map.height > height {
            let text =
                format!("the block map is {} levels tall; the largest volume has {height}", image.map.height);
            self.find(FindingKind::Tree, None, Some(image.map.ptr.vbn), text);
        }
    }

    /// The 16 inodes of a page.
    fn check_inode_page(
        &mut self,
        image: &ImageRoot,
        (fbn, ptr): (u64, BlockPtr),
        before: Option<&Tree>,
        reach: &mut Reach,
        tally: &mut Tally,
    ) {
        // A page that is not what it should be was reported by the walk.
        let Ok(page) = self.io.page(ptr) else {
            tally.lost = true;
            return;
        };
        for slot in 0..INODES_PER_PAGE {
            let ino = InodeNum(fbn * INODES_PER_PAGE + slot);
            let inode = match Inode::decode(ino, &page) {
                Ok(inode) => inode,
                Err(error) => {
                    tally.lost = true;
                    let text = format!("this inode makes no sense ({error}); its file is lost");
                    self.find(FindingKind::Inode, Some(ino), Some(ptr.vbn), text);
                    continue;
                }
            };
            if inode.kind.is_none() {
                tally.free += u64::from(ino >= ROOT_INO && ino < image.next_ino);
                if !matches!(inode.tree.root, Slot::Hole) {
                    let text = "this inode is free, and yet it has blocks".to_owned();
                    self.find(FindingKind::Inode, Some(ino), Some(ptr.vbn), text);
                }
                continue;
            }
            tally.used += 1;
            tally.counted.add(&inode);
            if ino < ROOT_INO || ino >= image.next_ino {
                let text =
                    format!("in use, but numbers in use go from {ROOT_INO} to below {}", image.next_ino);
                self.find(FindingKind::Inode, Some(ino), Some(ptr.vbn), text);
            }
            let twin = before.and_then(|tree| Inode::load(tree, &self.io, ino).ok().flatten());
            let owner = Owner::file(ino, inode.is_dir());
            let twin = twin.map(|twin| root_of(&twin.tree));
            let walked = walk(self, reach, owner, root_of(&inode.tree), twin, false);
            tally.lost |= walked.lost > 0;
            tally.tangled |= walked.again > 0;
            tally.counted.doubtful |= !self.check_inode(&inode, &walked);
        }
    }

    /// Whether size, kind, counter and blocks of an inode fit together; gives whether it counts its blocks right.
    fn check_inode(&mut self, inode: &Inode, walked: &Walked) -> bool {
        let mut wrong = Vec::new();
        let pages = inode.size.div_ceil(BLOCK_SIZE_U64);
        if walked.end > pages {
            wrong.push(format!(
                "it has blocks up to byte {}, but its size is {}",
                walked.end * BLOCK_SIZE_U64,
                inode.size
            ));
        }
        if inode.size > FILE_SIZE_MAX {
            wrong.push(format!("its size of {} bytes is more than a file can have", inode.size));
        }
        // A directory's first page is not in its count.
        let uncounted = u64::from(inode.is_dir());
        let counted = walked.lost > 0
            || walked.again > 0
            || (inode.blocks..=inode.blocks + uncounted).contains(&walked.blocks);
        if !counted {
            wrong.push(format!("it says that it has {} blocks, and it has {}", inode.blocks, walked.blocks));
        }
        match inode.kind {
            Some(FileKind::Dir) if inode.size == 0 || !inode.size.is_multiple_of(BLOCK_SIZE_U64) => {
                wrong.push(format!("a directory can't have a size of {} bytes", inode.size));
            }
            Some(FileKind::Symlink) if inode.size == 0 || walked.blocks + walked.lost != 1 => {
                wrong.push("a symbolic link without a target".to_owned());
            }
            Some(FileKind::File | FileKind::Dir | FileKind::Symlink) | None => {}
            Some(_) if walked.blocks > 0 => wrong.push("a device, socket or pipe with content".to_owned()),
            Some(_) => {}
        }
        if inode.nlink == 0 {
            wrong.push("it is in use with no links".to_owned());
        }
        for text in wrong {
            self.find(FindingKind::Inode, Some(inode.ino), None, text);
        }
        counted
    }

    /// The block map against what is reached; whether all of the map could be read.
    fn check_map(&mut self, image: &ImageRoot, maps: &BlockSet, content: &BlockSet, judged: bool) -> bool {
        let Ok(map) = Tree::from_root(image.map) else { return false };
        if image.map.height > map_height(BLOCKS_MAX) {
            return false;
        }
        let mut readable = true;
        for page in 0..self.info.blocks.div_ceil(MAP_BLOCKS_PER_PAGE) {
            let mut marked: Bits = [0; WORDS];
            match map.page(&self.io, Fbn(page)) {
                Ok(Some(content)) => add_page(&mut marked, &content),
                Ok(None) => {}
                // Reported by the walk; nothing can be said of these blocks.
                Err(_) => {
                    readable = false;
                    continue;
                }
            }
            let (maps, content) = (maps.region(page), content.region(page));
            let (mut missing, mut leaked): (Bits, Bits) = ([0; WORDS], [0; WORDS]);
            for word in 0..WORDS {
                let reached = maps.map_or(0, |bits| bits[word]) | content.map_or(0, |bits| bits[word]);
                missing[word] = reached & !marked[word];
                leaked[word] = marked[word] & !reached;
            }
            self.report_runs(page, &missing, FindingKind::NotMarked);
            if judged {
                self.report_runs(page, &leaked, FindingKind::Leaked);
            }
        }
        readable
    }

    fn report_runs(&mut self, page: u64, bits: &Bits, kind: FindingKind) {
        let mut found = VecDeque::new();
        runs(bits, page * MAP_BLOCKS_PER_PAGE, &mut found);
        for VbnRange { start, blocks } in found {
            let which = match blocks {
                1 => "this block".to_owned(),
                _ => format!("this and the next {} blocks", blocks - 1),
            };
            let text = match kind {
                FindingKind::NotMarked => format!(
                    "the image uses {which}, but the block map says free: new data could overwrite it. Do not mount the \
                     volume before --rebuild-maps"
                ),
                _ => format!(
                    "the block map says that {which} are in use, but nothing leads there: the space is lost until \
                     --rebuild-maps"
                ),
            };
            self.find(kind, None, Some(start), text);
        }
    }

    fn check_counters(&mut self, image: &ImageRoot, blocks: u64, tally: &Tally) {
        let counters =
            [("blocks in use", image.used_blocks, blocks), ("inodes in use", image.files, tally.used)];
        for (what, said, counted) in counters {
            if said != counted {
                let text = format!("the image says {said} {what}, and there are {counted}");
                self.find(FindingKind::Counter, None, None, text);
            }
        }
    }

    /// Follows the chain of free inodes: each exactly once, and all of them.
    fn check_free_chain(&mut self, image: &ImageRoot, free: u64) {
        let Ok(inofile) = Tree::from_root(image.inofile) else { return };
        let mut at = image.free_ino;
        let mut steps = 0;
        while at != InodeNum(0) {
            let wrong = if at >= image.next_ino || at <= ROOT_INO {
                Some("a number that can't be free")
            } else if steps >= free {
                Some("a loop: a number would be given out twice")
            } else {
                None
            };
            let next = match Inode::load(&inofile, &self.io, at) {
                Ok(Some(inode)) if inode.kind.is_none() => Ok(inode.next_free),
                Ok(Some(_)) => Err("an inode that is in use: making a file would destroy it"),
                Ok(None) | Err(_) => Err("an inode that is not there"),
            };
            match (wrong, next) {
                (None, Ok(next)) => at = next,
                (Some(what), _) | (None, Err(what)) => {
                    let text = format!("the chain of free inodes leads to this one, {what}");
                    return self.find(FindingKind::FreeChain, Some(at), None, text);
                }
            }
            steps += 1;
        }
        if steps < free {
            let text =
                format!("the chain of free inodes has {steps} of {free}: the others are never used again");
            self.find(FindingKind::FreeChain, None, None, text);
        }
    }
}
