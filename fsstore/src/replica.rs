//! A volume that is being received: block for block its source.

use crate::disk::Disk;
use crate::error::{FsError, Result};
use crate::fsinfo::{FsInfo, Role};
use crate::ids::{BLOCK_SIZE, BLOCK_SIZE_U64, CpNumber, Vbn};
use crate::layout::FSINFO_BLOCKS;
use crate::mount::{fresh_log_id, new_info};
use crate::volume::VolumeSpec;
use parking_lot::Mutex;
use std::io::IoSlice;
use std::sync::Arc;
use uuid::Uuid;

/// A volume that is being received: block for block its source, at the source's last installed snapshot.
pub struct Replica {
    disk: Arc<dyn Disk>,
    info: Mutex<FsInfo>,
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica").field("uuid", &self.uuid()).finish_non_exhaustive()
    }
}

impl Replica {
    /// Formats `disk` as an empty replica of the volume `spec`.
    ///
    /// # Errors
    /// The disk's, and [`FsError::Format`] for a volume that is too small.
    pub fn create(disk: Arc<dyn Disk>, spec: &VolumeSpec) -> Result<Replica> {
        let mut info = new_info(spec, Role::Replica)?;
        info.format_log(&*disk)?;
        info.write(&*disk)?;
        Ok(Replica { disk, info: Mutex::new(info) })
    }

    /// Opens a replica, also one that was interrupted.
    ///
    /// # Errors
    /// [`FsError::Format`] for what is no replica, or has been mounted since.
    pub fn open(disk: Arc<dyn Disk>) -> Result<Replica> {
        // As when a volume is mounted: what a process left behind that died must be durable before it is counted on.
        disk.flush()?;
        let info = FsInfo::read(&*disk)?;
        if info.role != Role::Replica {
            return Err(FsError::Format("it has been mounted and is no replica any more".to_owned()));
        }
        Ok(Replica { disk, info: Mutex::new(info) })
    }

    /// The volume's identity.
    pub fn uuid(&self) -> Uuid {
        self.info.lock().uuid
    }

    /// Writes blocks at the place that they have at the source. Blocks in use by the installed image may not
    /// be overwritten with other content: the caller sends snapdiffs.
    ///
    /// # Errors
    /// The disk's, and [`FsError::Invalid`] for blocks outside of the volume's data.
    pub fn write(&self, start: Vbn, blocks: &[u8]) -> Result<()> {
        let end = self.info.lock().blocks;
        let count = (blocks.len() / BLOCK_SIZE) as u64;
        // The source's data may begin where this replica, not being mounted, has no log yet: a volume keeps the log that it was
        // made with when it is resized.
        let inside = start.0 >= FSINFO_BLOCKS && start.0 <= end && count <= end - start.0;
        if !inside || !blocks.len().is_multiple_of(BLOCK_SIZE) {
            return Err(FsError::Invalid);
        }
        Ok(self.disk.write_at(&[IoSlice::new(blocks)], start.0 * BLOCK_SIZE_U64)?)
    }

    /// Makes everything written so far durable: a mark that a broken transfer can resume from.
    ///
    /// # Errors
    /// The disk's.
    pub fn flush(&self) -> Result<()> {
        Ok(self.disk.flush()?)
    }

    /// Makes the image of [`Volume::image`](crate::Volume::image) the replica's state, durable when it returns. All
    /// its blocks were written.
    ///
    /// # Errors
    /// The disk's, and [`FsError::Format`] for an image of another volume or size.
    pub fn install(&self, image: &[u8]) -> Result<()> {
        let new = FsInfo::decode(image)?;
        let mut info = self.info.lock();
        if new.uuid != info.uuid || new.blocks != info.blocks {
            return Err(FsError::Format("the image is of another volume".to_owned()));
        }
        self.disk.flush()?;
        let mut next = FsInfo { role: Role::Replica, serial: info.serial, log_id: fresh_log_id(), ..new };
        next.write(&*self.disk)?;
        *info = next;
        Ok(())
    }

    /// The CP and root checksum of the installed image, if any.
    pub fn installed(&self) -> Option<(CpNumber, u64)> {
        let image = self.info.lock().image;
        (image.cp != CpNumber(0)).then(|| (image.cp, image.sum()))
    }

    /// Lets the disk go. The volume can then be mounted with [`Volume::open`](crate::Volume::open), and is no
    /// replica from then on.
    ///
    /// # Errors
    /// The disk's.
    pub fn close(self) -> Result<()> {
        self.flush()
    }
}
