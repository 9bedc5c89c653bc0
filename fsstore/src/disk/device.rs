//! Block devices: opened exclusively, taken only when they are blank, blank again when they are given back.
//!
//! A regular file that is there already may stand in for one. Nothing here knows what a volume looks like.

use super::Disk;
use super::file::FileDisk;
use crate::ids::BLOCK_SIZE_U64;
use std::fs::File;
use std::io::{self, IoSlice, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// What to do with a device that something is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotBlank {
    /// Leave it alone.
    Refuse,
    /// Lose what is on it.
    Overwrite,
}

/// File systems, partition tables, RAID and volume managers, and volumes of Ferry leave their marks in the first or the
/// last MiB of a device.
const ENDS_BYTES: u64 = 1 << 20;

impl FileDisk {
    /// Takes the whole block device at `path` (or a regular file in its place) for a new volume, and wipes both of its
    /// ends. The volume may be of [`FileDisk::size_bytes`].
    ///
    /// # Errors
    /// The host's; `WouldBlock` where another process has it open or it is mounted; `AlreadyExists` for one that is not
    /// blank, if that is to be refused.
    pub fn create_on_device(path: &Path, not_blank: NotBlank) -> io::Result<Self> {
        let disk = FileDisk::open(path)?;
        if not_blank == NotBlank::Refuse && !disk.is_blank()? {
            let text = "there is something on this device: a file system, a partition table or a volume";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        disk.wipe()?;
        Ok(disk)
    }

    /// `O_EXCL` is what keeps the kernel's mounts, RAID and other exclusive users apart. The lock besides it keeps udev
    /// from probing; where udev just does, the device is ours all the same.
    pub(super) fn open_exclusively(path: &Path) -> io::Result<Self> {
        let flag = i32::try_from(rustix::fs::OFlags::EXCL.bits()).map_err(io::Error::other)?;
        let file = File::options().read(true).write(true).custom_flags(flag).open(path);
        let file = file.map_err(|error| {
            if error.kind() == io::ErrorKind::ResourceBusy {
                return io::Error::new(io::ErrorKind::WouldBlock, "the device is mounted or in use");
            }
            error
        })?;
        let _ = rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive);
        Ok(FileDisk::of(file))
    }

    /// Room for a volume, in bytes: the size of the device or file, in whole blocks.
    ///
    /// # Errors
    /// The host's.
    pub fn size_bytes(&self) -> io::Result<u64> {
        // What `BLKGETSIZE64` says too, and for files as well. Nothing here uses the file's position.
        let end = (&self.file).seek(SeekFrom::End(0))?;
        Ok(end / BLOCK_SIZE_U64 * BLOCK_SIZE_U64)
    }

    /// The first and the last MiB; on a small device they meet.
    fn ends(&self) -> io::Result<[(u64, u64); 2]> {
        let size = self.size_bytes()?;
        let len = ENDS_BYTES.min(size);
        Ok([(0, len), (size - len, len)])
    }

    fn is_blank(&self) -> io::Result<bool> {
        let mut buf = vec![0; usize::try_from(ENDS_BYTES).unwrap_or(0)];
        for (start, len) in self.ends()? {
            let part = &mut buf[..usize::try_from(len).unwrap_or(0)];
            self.read_at(part, start)?;
            if part.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Gives the device back blank: nothing can be mounted from it any more. What its blocks held may still be found
    /// there, if the device can't discard.
    ///
    /// # Errors
    /// The host's.
    pub fn wipe(&self) -> io::Result<()> {
        let zeros = vec![0; usize::try_from(ENDS_BYTES).unwrap_or(0)];
        self.discard(0, self.size_bytes()?)?;
        for (start, len) in self.ends()? {
            self.write_at(&[IoSlice::new(&zeros[..usize::try_from(len).unwrap_or(0)])], start)?;
        }
        self.flush()
    }
}
