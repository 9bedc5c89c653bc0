//! Where the images of volumes are: a file in the aggregate, or a symbolic link there to the block device that holds
//! the volume. Whoever opens an image need not know which.

use super::{Cluster, ClusterError, Result};
use crate::store::Guarantee;
use fsstore::{FileDisk, NotBlank};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use uuid::Uuid;

impl Cluster {
    /// Where the image of a volume is.
    pub(crate) fn volume_path(&self, uuid: Uuid) -> PathBuf {
        self.config.aggregate_dir().join(format!("{uuid}.vol"))
    }

    /// The device that holds a volume, if one does.
    pub(crate) fn volume_device(&self, uuid: Uuid) -> Option<PathBuf> {
        std::fs::read_link(self.volume_path(uuid)).ok()
    }

    /// A file for a new volume, sparse unless its space is guaranteed.
    pub(crate) fn make_image(&self, uuid: Uuid, size_bytes: u64, guarantee: Guarantee) -> Result<FileDisk> {
        let path = self.volume_path(uuid);
        let disk = FileDisk::create(&path, size_bytes)?;
        if guarantee == Guarantee::Volume
            && let Err(error) = disk.reserve()
        {
            drop(disk);
            std::fs::remove_file(path)?;
            return Err(ClusterError::Conflict(format!(
                "the host can't set aside {size_bytes} bytes: {error}; free space there, or leave the guarantee out"
            )));
        }
        self.sync_aggregate()?;
        Ok(disk)
    }

    /// Takes a device for a new volume.
    ///
    /// # Errors
    /// A path that is not absolute, or of something in the data directory; a device that another volume has, that is in
    /// use or, unless told otherwise, not blank.
    pub(crate) fn take_device(&self, uuid: Uuid, device: &Path, not_blank: NotBlank) -> Result<FileDisk> {
        let refuse = |what: &str| ClusterError::Invalid(format!("device {}: {what}", device.display()));
        if !device.is_absolute() {
            return Err(refuse("the path must be absolute"));
        }
        let real = device.canonicalize().map_err(|error| refuse(&error.to_string()))?;
        let data_dir = self.config.data_dir.canonicalize()?;
        if real.starts_with(&data_dir) {
            return Err(refuse("that is in the data directory"));
        }
        if self.is_taken(&real)? {
            return Err(ClusterError::Conflict(format!("device {}: a volume has it", device.display())));
        }
        let disk = FileDisk::create_on_device(device, not_blank).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists | ErrorKind::WouldBlock => {
                ClusterError::Conflict(format!("device {}: {error}", device.display()))
            }
            _ => refuse(&error.to_string()),
        })?;
        std::os::unix::fs::symlink(device, self.volume_path(uuid))?;
        self.sync_aggregate()?;
        Ok(disk)
    }

    /// Whether the image of some volume is a link to `real`.
    fn is_taken(&self, real: &Path) -> Result<bool> {
        for entry in std::fs::read_dir(self.config.aggregate_dir())? {
            let entry = entry?;
            if entry.file_type()?.is_symlink() && entry.path().canonicalize().is_ok_and(|path| path == real) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes the image of a volume; a missing one is removed already. A device is wiped, so that it is blank again.
    pub(crate) fn remove_image(&self, uuid: Uuid) -> Result<()> {
        let path = self.volume_path(uuid);
        if let Some(device) = self.volume_device(uuid) {
            match FileDisk::open(&path) {
                Ok(disk) => disk.wipe()?,
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    tracing::warn!(device = %device.display(), "a deleted volume's device is not there: not wiped");
                }
                Err(error) => {
                    return Err(ClusterError::Failed(format!("device {}: {error}", device.display())));
                }
            }
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Makes the names in the aggregate durable.
    fn sync_aggregate(&self) -> Result<()> {
        Ok(std::fs::File::open(self.config.aggregate_dir())?.sync_all()?)
    }
}
