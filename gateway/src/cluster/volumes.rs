//! Volumes of a vserver: create, look at, remount, delete.

use super::served::mounted_volume;
use super::{CloneView, Cluster, ClusterError, Result, ScrubView, Served, blocking, check_name, now};
use crate::store::{Guarantee, Record, SnapshotDirSetting, SnapshotSettings, StoreError, VolumeRecord};
use crate::vserver::{Namespace, POLICY_DEFAULT, VolumeId};
use fsstore::{FileDisk, NotBlank, VOLUME_BYTES_MIN, Volume, VolumeSpec};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use uuid::Uuid;

/// Largest volume, in bytes: 16 TiB.
const VOLUME_BYTES_MAX: u64 = 16 << 40;

/// What a new volume is to be.
#[derive(Clone, Debug, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewVolume {
    /// Name, unique in the vserver.
    pub name: String,
    /// Address space in bytes, at least 4 MiB. The file is sparse. With a device it may be left out (0): all of it.
    #[serde(default)]
    pub size_bytes: u64,
    /// Absolute path of a block device of the node, which this volume then has for itself; default: a file of the
    /// aggregate.
    pub device: Option<String>,
    /// Whether to lose what is on the device; default: a device that is not blank is refused.
    #[serde(default)]
    pub overwrite: bool,
    /// Where it is mounted; default: `/` for the first volume, `/NAME` for others.
    pub junction: Option<String>,
    /// Export policy; default `default`.
    pub policy: Option<String>,
    /// Where clients find `.snapshot`; default: in the volume's root.
    #[serde(default)]
    pub snapshot_dir: Option<SnapshotDirSetting>,
    /// Whether the host sets aside space for all of it; default `none`.
    #[serde(default)]
    pub guarantee: Guarantee,
}

/// What to change of a volume.
#[derive(Clone, Debug, Default, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumePatch {
    /// New place in the tree.
    pub junction: Option<String>,
    /// New export policy.
    pub policy: Option<String>,
    /// New size of the address space in bytes. Refused while the vserver migrates, and where something stands behind a
    /// smaller end.
    #[serde(default)]
    pub size_bytes: Option<u64>,
    /// Where clients find `.snapshot` from now on.
    #[serde(default)]
    pub snapshot_dir: Option<SnapshotDirSetting>,
}

/// A volume as the API shows it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct VolumeView {
    /// Name.
    pub name: String,
    /// Identity.
    pub uuid: Uuid,
    /// Address space in bytes.
    pub size_bytes: u64,
    /// The block device that holds it; none: a file of the aggregate.
    pub device: Option<String>,
    /// Where it is mounted.
    pub junction: String,
    /// Export policy.
    pub policy: String,
    /// Where clients find `.snapshot`.
    pub snapshot_dir: SnapshotDirSetting,
    /// When snapshots are taken, and how many stay.
    pub snapshot_schedule: Option<String>,
    /// Where its blocks come from, while it is a clone.
    pub clone_of: Option<CloneView>,
    /// Whether the host has set aside space for all of it.
    pub guarantee: Guarantee,
    /// Whether it is mounted now.
    pub mounted: bool,
    /// Free for new data, in bytes; only of a mounted volume.
    pub available_bytes: Option<u64>,
    /// Bytes that only snapshots hold; only of a mounted volume.
    pub snapshot_bytes: Option<u64>,
    /// Inodes in use; only of a mounted volume.
    pub files: Option<u64>,
    /// What stopped the volume from taking changes or from being mounted, if anything did.
    pub fault: Option<String>,
    /// How far the background scrub is, and what it found; only of a mounted volume.
    pub scrub: Option<ScrubView>,
}

impl Cluster {
    /// Formats and mounts a new volume.
    ///
    /// # Errors
    /// A bad or taken name or path, a size out of range, an unknown policy, a disk that fails.
    pub async fn create_volume(self: &Arc<Self>, vserver: &str, new: NewVolume) -> Result<VolumeView> {
        check_name("volume", &new.name)?;
        if new.overwrite && new.device.is_none() {
            return Err(ClusterError::Invalid("only a device can be overwritten: name one".to_owned()));
        }
        let device = new.device.map(|path| (PathBuf::from(path), not_blank(new.overwrite)));
        let all_of_it = device.is_some() && new.size_bytes == 0;
        if !all_of_it {
            check_size(new.size_bytes)?;
        }
        let _guard = self.lock(vserver).await;
        self.record_to_change(vserver)?;
        self.need_served(vserver)?;
        let existing = self.store.list::<VolumeRecord>(&format!("{vserver}/"))?;
        if existing.iter().any(|volume| volume.name == new.name) {
            return Err(ClusterError::exists("volume", &new.name));
        }
        let policy = new.policy.unwrap_or_else(|| POLICY_DEFAULT.to_owned());
        self.need_policy(vserver, &policy)?;
        let junction = new
            .junction
            .unwrap_or_else(|| if existing.is_empty() { "/".to_owned() } else { format!("/{}", new.name) });
        let record = VolumeRecord {
            vserver: vserver.to_owned(),
            name: new.name,
            uuid: Uuid::new_v4(),
            size_bytes: new.size_bytes,
            junction,
            policy,
            snapshots: SnapshotSettings { dir: new.snapshot_dir.unwrap_or_default(), schedule: None },
            clone_of: None,
            guarantee: new.guarantee,
        };
        let this = Arc::clone(self);
        blocking(move || this.format_and_mount(record, device.as_ref())).await
    }

    fn format_and_mount(
        &self,
        mut record: VolumeRecord,
        device: Option<&(PathBuf, NotBlank)>,
    ) -> Result<VolumeView> {
        let served = self.need_served(&record.vserver)?;
        let disk = match device {
            None => self.make_image(record.uuid, record.size_bytes, record.guarantee)?,
            Some((path, not_blank)) => {
                let disk = self.take_device(record.uuid, path, *not_blank)?;
                if let Err(error) = size_on_device(&mut record, &disk) {
                    drop(disk);
                    self.remove_image(record.uuid)?;
                    return Err(error);
                }
                disk
            }
        };
        let spec = VolumeSpec { uuid: record.uuid, size_bytes: record.size_bytes };
        let made = Volume::create(Arc::new(disk), &spec, now(), &self.memory).map_err(ClusterError::from);
        self.mount_new(&served, &record, made)
    }

    /// Mounts a volume that was just made, and makes its record durable. What could not be made leaves nothing behind.
    pub(super) fn mount_new(
        &self,
        served: &Served,
        record: &VolumeRecord,
        made: Result<Arc<Volume>>,
    ) -> Result<VolumeView> {
        let mounted = made.and_then(|volume| {
            let mut mounts = served.mounts();
            mounts.push(mounted_volume(record, volume));
            let namespace = Namespace::build(mounts, now())?;
            self.store.update(|tx| tx.put(record))?;
            served.vserver.set_namespace(namespace);
            Ok(())
        });
        match mounted {
            Ok(()) => Ok(self.volume_view(record)),
            Err(error) => {
                // Nothing refers to the image yet. The volume, which held it, is gone by now.
                if let Err(left) = self.remove_image(record.uuid) {
                    tracing::warn!(volume = record.name, error = %left, "an unfinished image is left behind");
                }
                Err(error)
            }
        }
    }

    pub(super) fn volume_record(&self, vserver: &str, name: &str) -> Result<VolumeRecord> {
        self.record(vserver)?;
        self.store.get(&format!("{vserver}/{name}"))?.ok_or_else(|| ClusterError::not_found("volume", name))
    }

    /// The mounted volume of that name.
    pub(crate) fn mounted(&self, vserver: &str, name: &str) -> Result<Arc<Volume>> {
        self.volume_record(vserver, name)?;
        let served = self.need_served(vserver)?;
        let found = served.mounts().into_iter().find(|mount| mount.name == name);
        found.map(|mount| mount.volume).ok_or_else(|| {
            ClusterError::Conflict(format!(
                "volume `{name}` is not mounted: `ferry vserver show {vserver}` says why"
            ))
        })
    }

    /// One volume.
    ///
    /// # Errors
    /// Unknown names.
    pub fn volume(&self, vserver: &str, name: &str) -> Result<VolumeView> {
        let record = self.volume_record(vserver, name)?;
        Ok(self.volume_view(&record))
    }

    /// All volumes of a vserver.
    ///
    /// # Errors
    /// An unknown vserver.
    pub fn volumes(&self, vserver: &str) -> Result<Vec<VolumeView>> {
        self.record(vserver)?;
        let records = self.store.list::<VolumeRecord>(&format!("{vserver}/"))?;
        Ok(records.iter().map(|record| self.volume_view(record)).collect())
    }

    pub(super) fn volume_view(&self, record: &VolumeRecord) -> VolumeView {
        let mut view = view(record, self.mounted(&record.vserver, &record.name).ok().as_ref());
        view.device = self.volume_device(record.uuid).map(|path| path.display().to_string());
        view.clone_of = self.clone_view(record);
        if view.mounted {
            view.scrub = self.scrub_of(record.uuid);
        } else if let Some(served) = self.served(&record.vserver) {
            view.fault = served.faults().remove(&format!("volume {}", record.name));
        }
        view
    }

    /// Mounts a volume elsewhere or under another policy, or changes its size.
    ///
    /// # Errors
    /// A bad or taken path, an unknown policy, a size out of range or too small for what is in the volume.
    pub async fn modify_volume(
        self: &Arc<Self>,
        vserver: &str,
        name: &str,
        patch: VolumePatch,
    ) -> Result<VolumeView> {
        let _guard = self.lock(vserver).await;
        self.record_to_change(vserver)?;
        let mut record = self.volume_record(vserver, name)?;
        if let Some(policy) = patch.policy {
            self.need_policy(vserver, &policy)?;
            record.policy = policy;
        }
        record.junction = patch.junction.unwrap_or(record.junction);
        record.snapshots.dir = patch.snapshot_dir.unwrap_or(record.snapshots.dir);
        let served = self.need_served(vserver)?;
        let resize = match patch.size_bytes {
            Some(bytes) => {
                check_size(bytes)?;
                Some((bytes, self.mounted(vserver, name)?))
            }
            None => None,
        };
        let this = Arc::clone(self);
        blocking(move || {
            let mut mounts = served.mounts();
            for mount in mounts.iter_mut().filter(|mount| mount.name == record.name) {
                *mount = mounted_volume(&record, Arc::clone(&mount.volume));
            }
            let namespace = Namespace::build(mounts, now())?;
            if let Some((bytes, volume)) = resize {
                volume.resize(bytes)?;
                record.size_bytes = volume.size_bytes();
            }
            this.store.update(|tx| tx.put(&record))?;
            served.vserver.set_namespace(namespace);
            this.volume(&record.vserver, &record.name)
        })
        .await
    }

    /// Unmounts a volume and removes it with everything in it.
    ///
    /// # Errors
    /// A volume under which others are mounted.
    pub async fn delete_volume(self: &Arc<Self>, vserver: &str, name: &str) -> Result<()> {
        let _guard = self.lock(vserver).await;
        self.record_to_change(vserver)?;
        let record = self.volume_record(vserver, name)?;
        self.need_no_clones(vserver, record.uuid, None)?;
        let below = format!("{}/", record.junction.trim_end_matches('/'));
        let all = self.store.list::<VolumeRecord>(&format!("{vserver}/"))?;
        if let Some(child) = all.iter().find(|other| other.name != name && other.junction.starts_with(&below))
        {
            return Err(ClusterError::Conflict(format!(
                "volume `{}` is mounted below `{name}` at {}; delete or move it first",
                child.name, child.junction
            )));
        }
        let this = Arc::clone(self);
        blocking(move || this.unmount_and_remove(&record)).await
    }

    fn unmount_and_remove(&self, record: &VolumeRecord) -> Result<()> {
        let mut gone = None;
        if let Some(served) = self.served(&record.vserver) {
            let (out, rest) = served.mounts().into_iter().partition(|mount| mount.name == record.name);
            let rest: Vec<_> = rest;
            served.vserver.set_namespace(Namespace::build(rest, now())?);
            served.vserver.locks.forget_volume(VolumeId::of(record.uuid));
            served.set_fault(format!("volume {}", record.name), None);
            gone = Vec::into_iter(out).next();
        }
        self.store.update(|tx| {
            tx.delete::<VolumeRecord>(&record.key());
            Ok::<(), StoreError>(())
        })?;
        self.forget_split(record.uuid);
        self.forget_schedule(record.uuid);
        if let Some(mount) = gone
            && let Err(error) = mount.volume.close()
        {
            tracing::warn!(volume = record.name, %error, "closing a volume that is being deleted");
        }
        self.remove_image(record.uuid)
    }
}

fn not_blank(overwrite: bool) -> NotBlank {
    if overwrite { NotBlank::Overwrite } else { NotBlank::Refuse }
}

/// Puts the size of the device into the record, unless it says a smaller one.
fn size_on_device(record: &mut VolumeRecord, disk: &FileDisk) -> Result<()> {
    let there = disk.size_bytes()?;
    if record.size_bytes == 0 {
        record.size_bytes = there.min(VOLUME_BYTES_MAX);
    }
    if there < record.size_bytes || record.size_bytes < VOLUME_BYTES_MIN {
        return Err(ClusterError::Invalid(format!(
            "the device has {there} bytes, the volume needs {}",
            record.size_bytes.max(VOLUME_BYTES_MIN)
        )));
    }
    Ok(())
}

fn check_size(bytes: u64) -> Result<()> {
    if (VOLUME_BYTES_MIN..=VOLUME_BYTES_MAX).contains(&bytes) {
        return Ok(());
    }
    Err(ClusterError::Invalid(format!(
        "a volume has {VOLUME_BYTES_MIN} to {VOLUME_BYTES_MAX} bytes, not {bytes}"
    )))
}

fn view(record: &VolumeRecord, volume: Option<&Arc<Volume>>) -> VolumeView {
    let space = volume.map(|volume| volume.statfs());
    VolumeView {
        name: record.name.clone(),
        uuid: record.uuid,
        // The volume knows best: a crash may have come between its resize and the record's.
        size_bytes: volume.map_or(record.size_bytes, |volume| volume.size_bytes()),
        junction: record.junction.clone(),
        policy: record.policy.clone(),
        snapshot_dir: record.snapshots.dir,
        snapshot_schedule: record.snapshots.schedule.as_ref().map(|schedule| schedule.rules.to_string()),
        guarantee: record.guarantee,
        mounted: volume.is_some(),
        available_bytes: space.map(|space| space.available_bytes),
        snapshot_bytes: space.map(|space| space.snapshot_bytes),
        files: space.map(|space| space.files),
        fault: volume.and_then(|volume| volume.fault()).map(|fault| fault.to_string()),
        device: None,
        clone_of: None,
        scrub: None,
    }
}
