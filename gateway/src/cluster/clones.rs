//! Clones: volumes that share the blocks of a snapshot with their parent, which is in the same vserver. Making them, mounting
//! them over their parents, splitting them off; and who needs what, so that nothing is deleted under a clone, mounted or not.

use super::{Cluster, ClusterError, Result, VolumeView, blocking, check_name};
use crate::store::{CloneRecord, Guarantee, OwnershipState, SnapshotSettings, VolumeRecord};
use fsstore::{FileDisk, SnapshotMaker, SplitStep, Volume, clone_origin};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Blocks that one step of a split copies (4 MiB).
const STEP_BLOCKS: u64 = 1024;
/// How often to look for something to split, or to try again.
const IDLE: Duration = Duration::from_secs(3);
/// The shortest pause between two steps.
const PAUSE_MIN: Duration = Duration::from_millis(5);

/// What a clone is to be.
#[derive(Clone, Debug, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewClone {
    /// Name, unique in the vserver.
    pub name: String,
    /// Which of the parent's snapshots it begins with.
    pub snapshot: String,
    /// Where it is mounted; default: `/NAME`.
    pub junction: Option<String>,
    /// Export policy; default: the parent's.
    pub policy: Option<String>,
}

/// Where a clone comes from, as the API shows it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct CloneView {
    /// The parent.
    pub parent: String,
    /// The parent's snapshot.
    pub snapshot: String,
    /// Whether it is getting blocks of its own.
    pub splitting: bool,
    /// How far that is, in percent.
    pub split_percent: Option<u8>,
    /// What holds it up.
    pub problem: Option<String>,
}

/// How far the splits of clones are, by the clone's UUID.
#[derive(Debug, Default)]
pub(super) struct Splits(Mutex<HashMap<Uuid, Progress>>);

#[derive(Clone, Debug, Default)]
struct Progress {
    percent: Option<u8>,
    problem: Option<String>,
}

impl Cluster {
    /// The clones of the volume `parent`: number of its snapshot, and the clone's name.
    pub(super) fn clones_of(&self, vserver: &str, parent: Uuid) -> Result<Vec<(u64, String)>> {
        let volumes = self.store.list::<VolumeRecord>(&format!("{vserver}/"))?;
        let clones = volumes.into_iter().filter_map(|volume| {
            let clone = volume.clone_of.filter(|clone| clone.parent == parent)?;
            Some((clone.snapshot, volume.name))
        });
        Ok(clones.collect())
    }

    /// Refuses what would take the blocks of clones away: of one snapshot, or of the whole volume.
    pub(super) fn need_no_clones(&self, vserver: &str, parent: Uuid, snapshot: Option<u64>) -> Result<()> {
        let mut clones = self.clones_of(vserver, parent)?;
        clones.retain(|(id, _)| snapshot.is_none_or(|snapshot| snapshot == *id));
        let Some((_, first)) = clones.first() else { return Ok(()) };
        let names: Vec<String> = clones.iter().map(|(_, name)| format!("`{name}`")).collect();
        let what = if snapshot.is_some() { "this snapshot" } else { "this volume" };
        Err(ClusterError::Conflict(format!(
            "{what} is needed by its clone {}: delete the clone, or give it blocks of its own with `ferry volume split \
             {vserver} {first}`",
            names.join(", "),
        )))
    }

    /// Makes a writable clone of a snapshot and mounts it. No block is copied.
    ///
    /// # Errors
    /// Unknown names, a bad or taken one, a snapshot that a migration took, too many clones of clones.
    pub async fn create_clone(
        self: &Arc<Self>,
        vserver: &str,
        parent: &str,
        new: NewClone,
    ) -> Result<VolumeView> {
        check_name("volume", &new.name)?;
        let _guard = self.lock(vserver).await;
        self.record_to_change(vserver)?;
        let of = self.volume_record(vserver, parent)?;
        let mounted = self.mounted(vserver, parent)?;
        let existing = self.store.list::<VolumeRecord>(&format!("{vserver}/"))?;
        if existing.iter().any(|volume| volume.name == new.name) {
            return Err(ClusterError::exists("volume", &new.name));
        }
        let snapshot = mounted.snapshots().into_iter().find(|snapshot| snapshot.name == new.snapshot);
        let snapshot = snapshot.ok_or_else(|| ClusterError::not_found("snapshot", &new.snapshot))?;
        if snapshot.maker == SnapshotMaker::Migration {
            return Err(ClusterError::Conflict(format!(
                "snapshot `{}` is a migration's, which deletes it: take one with `ferry snapshot create {vserver} {parent} \
                 NAME` and clone that",
                snapshot.name
            )));
        }
        let policy = new.policy.unwrap_or(of.policy);
        self.need_policy(vserver, &policy)?;
        let record = VolumeRecord {
            // It shares its parent's blocks: to set aside space for all of it would undo that.
            guarantee: Guarantee::None,
            vserver: vserver.to_owned(),
            junction: new.junction.unwrap_or_else(|| format!("/{}", new.name)),
            name: new.name,
            uuid: Uuid::new_v4(),
            size_bytes: mounted.size_bytes(),
            policy,
            snapshots: SnapshotSettings { dir: of.snapshots.dir, schedule: None },
            clone_of: Some(CloneRecord {
                parent: of.uuid,
                snapshot: snapshot.id.0,
                snapshot_name: snapshot.name,
                splitting: false,
            }),
        };
        let served = self.need_served(vserver)?;
        let this = Arc::clone(self);
        blocking(move || {
            let disk = Arc::new(this.make_image(record.uuid, record.size_bytes, record.guarantee)?);
            let made = Volume::create_clone(disk, record.uuid, &mounted, snapshot.id, &this.memory);
            this.mount_new(&served, &record, made.map_err(ClusterError::from))
        })
        .await
    }

    /// Begins to give a clone blocks of its own. It goes on in the background, also after a restart of the node.
    ///
    /// # Errors
    /// Unknown names, a volume that is no clone, a vserver that is migrating.
    pub async fn split_clone(self: &Arc<Self>, vserver: &str, name: &str) -> Result<VolumeView> {
        let _guard = self.lock(vserver).await;
        self.record_to_change(vserver)?;
        let mut record = self.volume_record(vserver, name)?;
        let Some(clone) = &mut record.clone_of else {
            return Err(ClusterError::Conflict(format!(
                "volume `{name}` is no clone: all its blocks are its own"
            )));
        };
        clone.splitting = true;
        let this = Arc::clone(self);
        blocking(move || {
            this.store.update(|tx| tx.put(&record))?;
            Ok(this.volume_view(&record))
        })
        .await
    }

    /// Where a volume comes from.
    pub(super) fn clone_view(&self, record: &VolumeRecord) -> Option<CloneView> {
        let clone = record.clone_of.as_ref()?;
        let volumes = self.store.list::<VolumeRecord>(&format!("{}/", record.vserver)).unwrap_or_default();
        let parent = volumes.into_iter().find(|volume| volume.uuid == clone.parent);
        let progress = self.splits.0.lock().get(&record.uuid).cloned().unwrap_or_default();
        Some(CloneView {
            parent: parent.map_or_else(|| clone.parent.to_string(), |volume| volume.name),
            snapshot: clone.snapshot_name.clone(),
            splitting: clone.splitting,
            split_percent: progress.percent.or(clone.splitting.then_some(0)),
            problem: progress.problem,
        })
    }

    /// Opens the images of volumes, parents before their clones.
    pub(super) fn open_volumes(
        &self,
        mut waiting: Vec<VolumeRecord>,
    ) -> Vec<(VolumeRecord, Result<Arc<Volume>>)> {
        let mut opened: Vec<(VolumeRecord, Result<Arc<Volume>>)> = Vec::new();
        loop {
            let awaited = |record: &VolumeRecord, waiting: &[VolumeRecord]| {
                let parent = record.clone_of.as_ref().map(|clone| clone.parent);
                waiting.iter().any(|other| Some(other.uuid) == parent && other.uuid != record.uuid)
            };
            let next = waiting.iter().position(|record| !awaited(record, &waiting));
            // Records that wait for one another can't come about; if they did, each would say that its parent is not there.
            let Some(next) = next.or_else(|| waiting.len().checked_sub(1)) else { return opened };
            let record = waiting.remove(next);
            let parent = record.clone_of.as_ref().and_then(|clone| {
                let parent = opened.iter().find(|(other, _)| other.uuid == clone.parent)?;
                parent.1.as_ref().ok().cloned()
            });
            let volume = self.open_volume(&record, parent.as_ref());
            opened.push((record, volume));
        }
    }

    fn open_volume(&self, record: &VolumeRecord, parent: Option<&Arc<Volume>>) -> Result<Arc<Volume>> {
        let path = self.volume_path(record.uuid);
        let disk = FileDisk::open(&path)
            .map_err(|error| ClusterError::Failed(format!("{}: {error}", path.display())))?;
        if record.guarantee == Guarantee::Volume
            && let Err(error) = disk.reserve()
        {
            // It is served all the same: to refuse would help nobody.
            tracing::warn!(path = %path.display(), %error, "the host can't set aside the space that was guaranteed");
        }
        if let Some(parent) = parent {
            return Ok(Volume::open_clone(Arc::new(disk), parent, &self.memory)?);
        }
        if record.clone_of.is_some() && clone_origin(&disk)?.is_some() {
            return Err(ClusterError::Failed("it is a clone, and its parent is not mounted".to_owned()));
        }
        Ok(Volume::open(Arc::new(disk), &self.memory)?)
    }

    /// Splits clones until the node stops: a step of each in turn, with pauses as long as the steps, so that half of the
    /// disk's time at the most goes there.
    pub(super) async fn run_splits(self: &Arc<Self>) {
        loop {
            let begun = Instant::now();
            let pause =
                if self.splits_turn(STEP_BLOCKS).await > 0 { begun.elapsed().max(PAUSE_MIN) } else { IDLE };
            tokio::time::sleep(pause).await;
        }
    }

    /// A volume is gone.
    pub(super) fn forget_split(&self, volume: Uuid) {
        self.splits.0.lock().remove(&volume);
    }

    /// One step of every split that was asked for; how many blocks were copied.
    pub(crate) async fn splits_turn(self: &Arc<Self>, budget_blocks: u64) -> u64 {
        let mut copied = 0;
        for served in self.all_served() {
            let name = served.vserver.name.clone();
            let _guard = self.lock(&name).await;
            let this = Arc::clone(self);
            match blocking(move || this.split_vserver(&served.vserver.name, budget_blocks)).await {
                Ok(blocks) => copied += blocks,
                Err(error) => tracing::error!(vserver = name, %error, "splits of clones"),
            }
        }
        copied
    }

    fn split_vserver(&self, vserver: &str, budget_blocks: u64) -> Result<u64> {
        let mut records = self.store.list::<VolumeRecord>(&format!("{vserver}/"))?;
        records.retain(|record| record.clone_of.as_ref().is_some_and(|clone| clone.splitting));
        // A vserver that moves has its clones whole where it arrives.
        if records.is_empty() || self.record(vserver)?.ownership.state != OwnershipState::Serving {
            return Ok(0);
        }
        let mut copied = 0;
        for mut record in records {
            let Ok(volume) = self.mounted(vserver, &record.name) else { continue };
            match volume.split_step(budget_blocks) {
                Ok(SplitStep { done: false, percent, copied_blocks }) => {
                    copied += copied_blocks;
                    let progress = Progress { percent: Some(percent), problem: None };
                    self.splits.0.lock().insert(record.uuid, progress);
                }
                Ok(SplitStep { copied_blocks, .. }) => {
                    copied += copied_blocks;
                    record.clone_of = None;
                    self.store.update(|tx| tx.put(&record))?;
                    self.splits.0.lock().remove(&record.uuid);
                    tracing::info!(vserver, volume = record.name, "the clone has all its blocks itself");
                }
                Err(error) => {
                    let problem = Some(error.to_string());
                    let mut splits = self.splits.0.lock();
                    let known = splits.entry(record.uuid).or_default();
                    if known.problem != problem {
                        tracing::warn!(vserver, volume = record.name, %error, "splitting a clone");
                        known.problem = problem;
                    }
                }
            }
        }
        Ok(copied)
    }
}
