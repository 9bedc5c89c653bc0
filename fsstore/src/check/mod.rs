//! Verifies a volume that nobody has mounted: every block, pointer, counter, name and log record of every image.
//!
//! It reads only; [`rebuild_maps`] is the one thing here that writes, and it writes a new consistency point as any
//! other: copy-on-write, fsinfo last. What is wrong comes out as [`Finding`]s, in words for an administrator.
//!
//! Images are looked at one after the other, from the active one to the oldest snapshot. A subtree that an image
//! shares with the one looked at just before has been read and verified; only its blocks are counted again.
//! Memory: a few bits per block in use, and a bounded number of inodes at a time.

mod bits;
mod dirpages;
mod finding;
mod image;
mod log;
mod namespace;
mod quotas;
mod rebuild;
mod report;
mod scrub;
#[cfg(test)]
mod tests;
mod users;
mod walk;

pub use finding::{Finding, FindingKind, ImageName};
pub use log::cut_damaged_log;
pub use rebuild::{Rebuilt, rebuild_maps};
pub use report::{CheckEvent, CheckOptions, CheckProgress, CheckSummary, Parents};
pub use scrub::{ScrubCursor, ScrubStep};

pub(crate) use scrub::step as scrub_step;

use self::bits::{BlockSet, Reach};
use self::finding::Owner;
use self::rebuild::Kept;
use crate::clones;
use crate::directory::NameHash;
use crate::disk::Disk;
use crate::error::{FsError, Result};
use crate::fsinfo::{FsInfo, Role, SnapEntry, read_table};
use crate::ids::{BLOCK_SIZE_U64, CpNumber, InodeNum, Vbn};
use crate::io::Io;
use crate::layout::{FSINFO_BLOCKS, ImageRoot, TreeRoot, zero_page};
use crate::snapshot::SnapshotMaker;
use std::sync::Arc;

/// Verifies the volume on `disk`, which nobody has mounted, without writing to it.
///
/// # Errors
/// [`FsError::Format`] if neither fsinfo block says what volume this is, or it is a clone and its parent is not given;
/// the disk's for those.
pub fn check(
    disk: Arc<dyn Disk>,
    options: &CheckOptions,
    report: &mut dyn FnMut(CheckEvent),
) -> Result<CheckSummary> {
    let mut checker = Checker::open(disk, options, report)?;
    checker.run();
    Ok(checker.summary)
}

/// An image in the order in which they are looked at.
struct Listed {
    name: ImageName,
    root: ImageRoot,
    table: (TreeRoot, u32),
}

/// A check that is running.
struct Checker<'a> {
    io: Arc<Io>,
    info: FsInfo,
    hash: NameHash,
    snaps: Vec<SnapEntry>,
    options: CheckOptions,
    report: &'a mut dyn FnMut(CheckEvent),
    summary: CheckSummary,
    /// The image being looked at.
    image: ImageName,
    total_blocks: u64,
    progress_at: u64,
    /// What each image reaches; only kept for a rebuild.
    keep: Option<Vec<Kept>>,
    active: BlockSet,
    in_snapshots: BlockSet,
    /// Blocks that pending log records point to.
    in_log: BlockSet,
    /// Whether every image could be walked whole.
    whole: bool,
    /// Whether the log and the snapshot table could be read.
    readable: bool,
}

/// Blocks between two reports of progress.
const PROGRESS_BLOCKS: u64 = 2048;

impl<'a> Checker<'a> {
    fn open(
        disk: Arc<dyn Disk>,
        options: &CheckOptions,
        report: &'a mut dyn FnMut(CheckEvent),
    ) -> Result<Checker<'a>> {
        let info = FsInfo::read(&*disk)?;
        let disk = clones::over_disks(disk, &info, &options.parents.0)?;
        let summary = CheckSummary {
            uuid: info.uuid,
            cp: info.image.cp.0,
            replica: info.role == Role::Replica,
            ..CheckSummary::default()
        };
        let total_blocks = info.image.used_blocks.saturating_add(info.snapshot_only).min(info.blocks);
        Ok(Checker {
            io: Arc::new(Io::new(disk, info.blocks, options.cache_bytes)),
            hash: NameHash::new(info.name_key),
            info,
            snaps: Vec::new(),
            options: options.clone(),
            report,
            summary,
            image: ImageName::Active,
            total_blocks,
            progress_at: 0,
            keep: None,
            active: BlockSet::default(),
            in_snapshots: BlockSet::default(),
            in_log: BlockSet::default(),
            whole: true,
            readable: true,
        })
    }

    fn run(&mut self) {
        self.check_copies();
        if self.info.image.cp == CpNumber(0) {
            return;
        }
        self.read_snapshots();
        let images = self.images();
        for (at, listed) in images.iter().enumerate() {
            self.image = listed.name.clone();
            let twin = at.checked_sub(1).and_then(|before| images.get(before)).map(|listed| &listed.root);
            let kept = self.check_image(listed, twin);
            let into = if at == 0 { &mut self.active } else { &mut self.in_snapshots };
            into.add(&kept.content);
            into.add(&kept.map);
            if let Some(keep) = &mut self.keep {
                keep.push(kept);
            }
        }
        self.image = ImageName::Active;
        self.check_space();
        self.check_log();
    }

    /// The active image, then the snapshots from the newest: neighbours share most.
    fn images(&self) -> Vec<Listed> {
        let (root, table) = (self.info.image, (self.info.table, self.info.table_len));
        let mut images = vec![Listed { name: ImageName::Active, root, table }];
        images.extend(self.snaps.iter().rev().map(|snap| Listed {
            name: ImageName::Snapshot(snap.name.clone()),
            root: snap.image,
            table: (snap.table, snap.table_len),
        }));
        images
    }

    /// Both fsinfo blocks.
    fn check_copies(&mut self) {
        for block in 0..FSINFO_BLOCKS {
            let mut page = zero_page();
            let decoded = match self.io.disk.read_at(&mut page, block * BLOCK_SIZE_U64) {
                Ok(()) => FsInfo::decode(&page),
                Err(error) => Err(error.into()),
            };
            match decoded {
                Ok(other) if other.uuid != self.info.uuid || other.blocks != self.info.blocks => {
                    let text = "this copy of fsinfo is of another volume or size; the newer copy is used";
                    self.volume_finding(FindingKind::FsInfoCopy, Some(Vbn(block)), text.to_owned());
                }
                Ok(_) => {}
                // A volume that is new, or was just received, has written one of them only.
                Err(FsError::Format(_)) if page.iter().all(|byte| *byte == 0) && self.info.serial <= 1 => {}
                Err(error) => {
                    let text = format!(
                        "this copy of fsinfo can't be used ({error}); the other one is. A crash while it was being \
                         written leaves that, and the next consistency point mends it"
                    );
                    self.volume_finding(FindingKind::FsInfoCopy, Some(Vbn(block)), text);
                }
            }
        }
    }

    fn read_snapshots(&mut self) {
        match read_table(self.info.table, self.info.table_len, &self.io) {
            Ok(snaps) => self.snaps = snaps,
            Err(error) => {
                self.readable = false;
                self.whole = false;
                let text = format!(
                    "the snapshot table can't be read ({error}): no snapshot could be looked at, and the volume can't \
                     be mounted"
                );
                self.volume_finding(FindingKind::SnapshotTable, Some(self.info.table.ptr.vbn), text);
            }
        }
        let gone = std::mem::take(&mut self.info.gone);
        self.snaps.retain(|snap| !gone.contains(&snap.id));
        self.info.gone = gone;
        self.summary.snapshots = self.snaps.len() as u64;
        let mut names: Vec<&str> = self.snaps.iter().map(|snap| snap.name.as_str()).collect();
        names.sort_unstable();
        let twice = names.windows(2).any(|pair| pair[0] == pair[1]);
        let ordered = self.snaps.windows(2).all(|pair| pair[0].id < pair[1].id);
        if twice || !ordered || self.snaps.iter().any(|snap| snap.id >= self.info.next_snapshot) {
            let text = "the snapshot table has entries out of order, or one name or number twice".to_owned();
            self.volume_finding(FindingKind::SnapshotTable, Some(self.info.table.ptr.vbn), text);
        }
        if let Some(base) = self.info.base
            && self.readable
            && !self.snaps.iter().any(|snap| snap.maker == SnapshotMaker::Clone && snap.image.map == base.map)
        {
            let text = "it is a clone without the snapshot that it was made of: its parent's blocks are not kept free";
            self.volume_finding(FindingKind::SnapshotTable, Some(self.info.table.ptr.vbn), text.to_owned());
        }
    }

    /// Counters of the volume as a whole.
    fn check_space(&mut self) {
        let only = self.in_snapshots.len_without(&self.active);
        self.summary.used_blocks = self.active.len() + only;
        // In a replica, or one that was just that, the count has snapshots in it that are gone; a mount counts anew.
        let known = self.whole && self.info.gone.is_empty();
        if known && only != self.info.snapshot_only {
            let text = format!(
                "fsinfo says that only snapshots hold {} blocks, but it is {only}: the free space shown is wrong",
                self.info.snapshot_only
            );
            self.volume_finding(FindingKind::Counter, None, text);
        }
    }

    /// The blocks of the active image's snapshot table. It was walked before; nothing new is reported.
    fn table_blocks(&mut self) -> Vec<Vbn> {
        let mut reach = Reach::default();
        walk::walk(self, &mut reach, Owner::TABLE, self.info.table, None, false);
        reach.blocks.iter().collect()
    }

    fn volume_finding(&mut self, kind: FindingKind, block: Option<Vbn>, text: String) {
        self.push(Finding { kind, image: None, inode: None, block, text });
    }

    /// A finding in the image that is being looked at.
    fn find(&mut self, kind: FindingKind, inode: Option<InodeNum>, block: Option<Vbn>, text: String) {
        self.push(Finding { kind, image: Some(self.image.clone()), inode, block, text });
    }

    fn push(&mut self, finding: Finding) {
        *self.summary.findings.entry(finding.kind).or_default() += 1;
        (self.report)(CheckEvent::Finding(finding));
    }

    /// Counts blocks that were read, and says so now and then.
    fn count_read(&mut self, blocks: u64) {
        self.summary.read_blocks += blocks;
        if self.summary.read_blocks >= self.progress_at {
            self.progress_at = self.summary.read_blocks + PROGRESS_BLOCKS;
            (self.report)(CheckEvent::Progress(CheckProgress {
                image: self.image.clone(),
                read_blocks: self.summary.read_blocks,
                total_blocks: self.total_blocks.max(self.summary.read_blocks),
            }));
        }
    }
}
