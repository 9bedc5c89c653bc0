//! Makes block maps, counts of users and counters anew from what is reachable, as a consistency point of its own: new
//! blocks, then fsinfo.
//!
//! Nothing that any image or the log uses is touched, so a crash on the way leaves the volume as it was. An image whose
//! content can't be walked whole gets no new map: what can't be seen would be given out as free.

use super::bits::BlockSet;
use super::{CheckEvent, CheckOptions, CheckSummary, Checker, ImageName};
use crate::blockmap::{Bits, map_height};
use crate::cp::sharing::REFS_PER_PAGE;
use crate::disk::Disk;
use crate::error::{FsError, Result};
use crate::fsinfo::{Role, SnapEntry, encode_table};
use crate::ids::{BLOCK_SIZE, BLOCK_SIZE_U64, CpNumber, Vbn};
use crate::layout::{BlockPtr, FANOUT, FANOUT_U64, ImageRoot, Page, TreeRoot, checksum, zero_page};
use crate::tree::{encode_index, page_from};
use std::collections::BTreeMap;
use std::io::IoSlice;
use std::sync::Arc;

/// What a check keeps of each image for a rebuild.
pub(super) struct Kept {
    /// Everything that the image reaches, but the blocks in `map`.
    pub(super) content: BlockSet,
    /// Users beyond the first.
    pub(super) shared: BTreeMap<Vbn, u32>,
    /// Blocks of its map, its counts of users and its quotas: what a rebuild writes anew.
    pub(super) map: BlockSet,
    /// Its quotas as they should be.
    pub(super) quota: BTreeMap<u64, Page>,
    /// Whether `content` is all of it.
    pub(super) whole: bool,
    /// Whether its map or a counter is wrong.
    pub(super) wrong: bool,
    /// Whether blocks have two users that may have one only.
    pub(super) tangled: bool,
    pub(super) files: u64,
}

/// What a rebuild did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// What was found before.
    pub before: CheckSummary,
    /// The images whose map and counters are new; none if all were right.
    pub images: Vec<ImageName>,
    /// Whether a consistency point was written.
    pub written: bool,
}

/// Checks the volume on `disk`, which nobody has mounted, and makes wrong block maps and counters anew.
///
/// A snapshot with a new map has a new root: the next transfer of the volume to a replica begins from the start.
///
/// # Errors
/// [`FsError::Format`] that says why nothing was done: a replica, or images whose content can't be walked whole;
/// [`FsError::NoSpace`], and the disk's. In all of them the volume is as it was.
pub fn rebuild_maps(
    disk: Arc<dyn Disk>,
    options: &CheckOptions,
    report: &mut dyn FnMut(CheckEvent),
) -> Result<Rebuilt> {
    let mut checker = Checker::open(disk, options, report)?;
    if checker.info.base.is_some() {
        // What a new map leaves out would be written over, and still be read from the parent.
        let text = "it is a clone, and its blocks are its parent's too: split it first";
        return Err(FsError::Format(text.to_owned()));
    }
    if checker.info.role == Role::Replica {
        let text = "it is a replica: mend its source, or receive it again";
        return Err(FsError::Format(text.to_owned()));
    }
    checker.keep = Some(Vec::new());
    checker.run();
    let kept = checker.keep.take().unwrap_or_default();
    if !checker.readable || checker.snaps.len() + 1 != kept.len() || kept.iter().any(|image| !image.whole) {
        let text =
            "blocks that lead to others can't be read, so it is not known what is free; nothing was written";
        return Err(FsError::Format(text.to_owned()));
    }
    if kept.iter().any(|image| image.tangled) {
        let text = "blocks that lead to others have two users: no map can be right; nothing was written";
        return Err(FsError::Format(text.to_owned()));
    }
    Rebuild { cursor: checker.info.first_data(), taken: BlockSet::default(), new: Vec::new(), checker }
        .run(kept)
}

struct Rebuild<'a> {
    checker: Checker<'a>,
    /// Where the search for free blocks goes on.
    cursor: u64,
    taken: BlockSet,
    new: Vec<ImageName>,
}

impl Rebuild<'_> {
    fn run(mut self, mut kept: Vec<Kept>) -> Result<Rebuilt> {
        let before = self.checker.summary.clone();
        let info = &self.checker.info;
        let only = self.checker.in_snapshots.len_without(&self.checker.active);
        let space_wrong = info.gone.is_empty() && only != info.snapshot_only;
        if !space_wrong && kept.iter().all(|image| !image.wrong) {
            return Ok(Rebuilt { before, images: Vec::new(), written: false });
        }
        let mut snaps = self.checker.snaps.clone();
        let newest_first = snaps.iter_mut().rev().zip(kept.iter_mut().skip(1));
        let mut table_wrong = false;
        for (snap, image) in newest_first.filter(|(_, image)| image.wrong) {
            table_wrong = true;
            self.new.push(ImageName::Snapshot(snap.name.clone()));
            self.remap(&mut snap.image, image)?;
        }
        if table_wrong {
            self.write_table(&snaps, kept.first_mut())?;
        }
        let mut image = self.checker.info.image;
        if let Some(active) = kept.first_mut().filter(|active| active.wrong || table_wrong) {
            self.new.insert(0, ImageName::Active);
            self.remap(&mut image, active)?;
        }
        self.finish(image, &kept)?;
        Ok(Rebuilt { before, images: self.new, written: true })
    }

    /// Flush, then fsinfo: the atomic step.
    fn finish(&mut self, mut image: ImageRoot, kept: &[Kept]) -> Result<()> {
        let disk = self.checker.io.disk.clone();
        disk.flush()?;
        let (mut active, mut in_snapshots) = (BlockSet::default(), BlockSet::default());
        for (at, kept) in kept.iter().enumerate() {
            let into = if at == 0 { &mut active } else { &mut in_snapshots };
            into.add(&kept.content);
            into.add(&kept.map);
        }
        image.cp = CpNumber(image.cp.0 + 1);
        image.allocated_total += self.taken.len();
        let info = &mut self.checker.info;
        info.image = image;
        info.snapshot_only = in_snapshots.len_without(&active);
        info.write(&*disk)
    }

    fn alloc(&mut self) -> Result<Vbn> {
        let checker = &self.checker;
        let used = [&checker.active, &checker.in_snapshots, &checker.in_log, &self.taken];
        let vbn = BlockSet::first_in_none(&used, self.cursor, checker.info.blocks).ok_or(FsError::NoSpace)?;
        self.cursor = vbn.0 + 1;
        self.taken.insert(vbn);
        Ok(vbn)
    }

    fn put(&self, vbn: Vbn, page: &Page) -> Result<BlockPtr> {
        self.checker.io.disk.write_at(&[IoSlice::new(page)], vbn.0 * BLOCK_SIZE_U64)?;
        Ok(BlockPtr { vbn, sum: checksum(page) })
    }

    /// Writes a new map of `kept`, and notes it in the image's root.
    fn remap(&mut self, image: &mut ImageRoot, kept: &mut Kept) -> Result<()> {
        let height = map_height(self.checker.info.blocks);
        kept.map = BlockSet::default();
        image.refs = self.write_refs(kept)?;
        image.quota = self.write_tree(std::mem::take(&mut kept.quota), kept)?;
        let mut all = kept.content.clone();
        all.add(&kept.map);
        let mut places: BTreeMap<(u8, u64), Vbn> = BTreeMap::new();
        // The map has bits for its own blocks: places are given until none is missing.
        loop {
            let missing: Vec<(u8, u64)> = all
                .pages()
                .flat_map(|(page, _)| {
                    (0..=height).map(move |level| (level, page / FANOUT_U64.pow(level.into())))
                })
                .filter(|place| !places.contains_key(place))
                .collect();
            if missing.is_empty() {
                break;
            }
            for place in missing {
                if let std::collections::btree_map::Entry::Vacant(entry) = places.entry(place) {
                    let vbn = self.alloc()?;
                    entry.insert(vbn);
                    all.insert(vbn);
                    kept.map.insert(vbn);
                }
            }
        }
        image.map = self.write_map(&all, height, &places)?;
        (image.used_blocks, image.files) = (all.len(), kept.files);
        Ok(())
    }

    fn write_map(&self, all: &BlockSet, height: u8, places: &BTreeMap<(u8, u64), Vbn>) -> Result<TreeRoot> {
        let mut level: BTreeMap<u64, BlockPtr> = BTreeMap::new();
        for (page, bits) in all.pages() {
            let place = places.get(&(0, page)).ok_or(FsError::NoSpace)?;
            level.insert(page, self.put(*place, &map_page(bits))?);
        }
        for above in 1..=height {
            let mut next: BTreeMap<u64, [BlockPtr; FANOUT]> = BTreeMap::new();
            for (index, ptr) in level {
                let children = next.entry(index / FANOUT_U64).or_insert([BlockPtr::HOLE; FANOUT]);
                children[usize::try_from(index % FANOUT_U64).unwrap_or(0)] = ptr;
            }
            level = BTreeMap::new();
            for (index, children) in next {
                let place = places.get(&(above, index)).ok_or(FsError::NoSpace)?;
                level.insert(index, self.put(*place, &encode_index(&children))?);
            }
        }
        let ptr = level.into_values().next().unwrap_or(BlockPtr::HOLE);
        Ok(TreeRoot { height, ptr })
    }

    /// Writes the counts of shared blocks' users.
    fn write_refs(&mut self, kept: &mut Kept) -> Result<TreeRoot> {
        let mut pages: BTreeMap<u64, Page> = BTreeMap::new();
        for (vbn, count) in &kept.shared {
            let page = pages.entry(vbn.0 / REFS_PER_PAGE).or_insert_with(zero_page);
            let at = usize::try_from(vbn.0 % REFS_PER_PAGE).unwrap_or(0) * 4;
            page[at..at + 4].copy_from_slice(&count.to_le_bytes());
        }
        self.write_tree(pages, kept)
    }

    /// Writes the tree of these pages, by number.
    fn write_tree(&mut self, mut pages: BTreeMap<u64, Page>, kept: &mut Kept) -> Result<TreeRoot> {
        let mut root = TreeRoot::default();
        let last = pages.keys().next_back().copied().unwrap_or(0);
        while !pages.is_empty() {
            let mut above: BTreeMap<u64, Page> = BTreeMap::new();
            for (index, page) in &pages {
                let vbn = self.alloc()?;
                kept.map.insert(vbn);
                root.ptr = self.put(vbn, page)?;
                let parent = above.entry(index / FANOUT_U64).or_insert_with(zero_page);
                root.ptr.encode_at(parent, usize::try_from(index % FANOUT_U64).unwrap_or(0));
            }
            if last < FANOUT_U64.pow(u32::from(root.height)) {
                break;
            }
            root.height += 1;
            pages = above;
        }
        Ok(root)
    }

    /// Writes the snapshot table with its new roots; the old one is not the active image's any more.
    fn write_table(&mut self, snaps: &[SnapEntry], active: Option<&mut Kept>) -> Result<()> {
        let Some(active) = active else { return Ok(()) };
        let old = self.checker.table_blocks();
        old.into_iter().for_each(|vbn| active.content.remove(vbn));
        let bytes = encode_table(snaps);
        let mut children = [BlockPtr::HOLE; FANOUT];
        let chunks = bytes.chunks(BLOCK_SIZE);
        let pages = chunks.len();
        for (chunk, child) in chunks.zip(children.iter_mut()) {
            let vbn = self.alloc()?;
            active.content.insert(vbn);
            *child = self.put(vbn, &page_from(chunk))?;
        }
        let table = if pages > 1 {
            let vbn = self.alloc()?;
            active.content.insert(vbn);
            TreeRoot { height: 1, ptr: self.put(vbn, &encode_index(&children))? }
        } else {
            TreeRoot { height: 0, ptr: children[0] }
        };
        let info = &mut self.checker.info;
        (info.table, info.table_len) = (table, u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        info.gone.clear();
        Ok(())
    }
}

fn map_page(bits: &Bits) -> Page {
    let mut page = zero_page();
    for (bytes, word) in page.chunks_exact_mut(8).zip(bits) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    page
}
