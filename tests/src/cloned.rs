//! A clone as the volume under test, beside a parent that goes on with a life of its own.

use crate::pair::{Pair, tuning};
use crate::random::Random;
use crate::sim_disk::SimDisk;
use crate::verify::Wrong;
use fsstore::{CheckOptions, Disk, Parents, Snapshot, SnapshotMaker, Volume, clone_origin};
use std::sync::Arc;

/// What a clone stands over: a mounted parent, and its disk.
#[derive(Clone)]
pub struct Parent {
    /// The parent, mounted.
    pub volume: Arc<Volume>,
    /// Where it stands.
    pub disk: Arc<SimDisk>,
}

/// The parent's snapshot that the clone is made of. No random step deletes it.
const KEPT: &str = "kept";

/// The snapshots that a test has taken: not what keeps a clone's blocks.
pub fn taken(volume: &Volume) -> Vec<Snapshot> {
    let all = volume.snapshots().into_iter();
    all.filter(|snapshot| snapshot.maker != SnapshotMaker::Clone && snapshot.name != KEPT).collect()
}

/// Opens a volume as the tests run it; a clone over its parent.
pub fn open_over(disk: Arc<dyn Disk>, parent: Option<&Parent>) -> Result<Arc<Volume>, Wrong> {
    match parent {
        Some(parent) => Volume::open_clone(disk, &parent.volume, tuning()),
        None => Volume::open(disk, tuning()),
    }
    .map_err(|e| format!("open: {e}"))
}

/// How to check a volume, and a clone with its parent.
///
/// # Errors
/// The disk holds no volume.
pub fn check_options(disk: &dyn Disk, parent: Option<&Parent>) -> Result<CheckOptions, Wrong> {
    let origin = clone_origin(disk).map_err(|e| format!("origin: {e}"))?;
    let parent = parent.filter(|_| origin.is_some()).map(|parent| parent.disk.clone() as Arc<dyn Disk>);
    Ok(CheckOptions {
        cache_bytes: 1 << 20,
        parents: Parents(parent.into_iter().collect()),
        ..CheckOptions::default()
    })
}

impl Pair {
    /// What a clone of this volume stands over.
    pub fn as_parent(&self) -> Parent {
        Parent { volume: self.volume.clone(), disk: self.disk.clone() }
    }

    /// A clone of the volume as it is now. It begins with the same files.
    ///
    /// # Errors
    /// The store's.
    pub fn make_clone(&mut self, mut random: Random) -> Result<Pair, Wrong> {
        let now = self.random.now();
        let kept =
            self.volume.snapshot_create(KEPT, now).map_err(|e| format!("the clone's snapshot: {e}"))?;
        let bytes = self.volume.size_bytes();
        let disk = SimDisk::new(bytes);
        let uuid = uuid::Uuid::from_u128(8);
        let volume = Volume::create_clone(disk.clone(), uuid, &self.volume, kept.id, tuning());
        let volume = volume.map_err(|e| format!("create_clone: {e}"))?;
        random.next_day();
        let mut pair = Pair::resume(disk, volume, self.model.clone(), random, bytes);
        pair.parent = Some(self.as_parent());
        Ok(pair)
    }

    /// One step of a split.
    ///
    /// # Errors
    /// The store's.
    pub fn split(&mut self, budget_blocks: u64) -> Result<bool, Wrong> {
        Ok(self.volume.split_step(budget_blocks).map_err(|e| format!("split: {e}"))?.done)
    }
}
