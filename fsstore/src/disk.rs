//! What a volume needs of a disk, and the two real ones: a file, later a block device.
//!
//! Offsets and lengths are whole blocks, except in the NVLOG, which writes whole blocks too.

use rustix::io::{ReadWriteFlags, pwritev2, retry_on_intr};
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A disk that holds one volume. Calls may come from several threads at once.
///
/// A write is durable only after a later [`flush`](Disk::flush) returned `Ok`; until then a crash may keep it,
/// lose it or tear it at any 512-byte boundary, in any order with other unflushed writes.
pub trait Disk: Send + Sync {
    /// Fills `buf` from `offset`. Bytes never written read as zeros.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `bufs`, one after the other, from `offset`.
    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()>;
    /// Makes every write that returned before this call durable.
    fn flush(&self) -> io::Result<()>;
    /// Writes all of `bufs` from `offset`, durable when it returns; says nothing of other writes.
    fn write_durable(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.write_at(bufs, offset)?;
        self.flush()
    }
    /// Gives the range back to the host; it may read as zeros or as what it was.
    fn discard(&self, offset: u64, len: u64) -> io::Result<()>;
    /// Makes the disk `bytes` long; what is added reads as zeros. Durable after a [`flush`](Disk::flush), as a write is.
    ///
    /// # Errors
    /// `Unsupported` for a disk whose length is fixed.
    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let _ = bytes;
        Err(io::Error::new(io::ErrorKind::Unsupported, "this disk can't change its size"))
    }
}

/// Most slices in one vectored write on Linux.
const IOV_MAX: usize = 1024;

/// A volume in a sparse file. Held under an exclusive lock, so that no two processes open one volume.
#[derive(Debug)]
pub struct FileDisk {
    file: File,
}

impl FileDisk {
    /// Creates `path` (it must not exist) with `bytes` of address space and locks it.
    ///
    /// # Errors
    /// The host's, and `WouldBlock` where another process holds the lock.
    pub fn create(path: &Path, bytes: u64) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create_new(true).open(path)?;
        file.set_len(bytes)?;
        Self::lock(file)
    }

    /// Opens and locks an existing volume file.
    ///
    /// # Errors
    /// The host's, and `WouldBlock` where another process holds the lock.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::lock(File::options().read(true).write(true).open(path)?)
    }

    fn lock(file: File) -> io::Result<Self> {
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            let error = io::Error::from(error);
            if error.kind() == io::ErrorKind::WouldBlock {
                return io::Error::new(error.kind(), "another process has this volume open");
            }
            error
        })?;
        Ok(FileDisk { file })
    }

    fn write(&self, bufs: &[IoSlice<'_>], offset: u64, flags: ReadWriteFlags) -> io::Result<()> {
        let mut position = offset;
        for group in bufs.chunks(IOV_MAX) {
            let want: usize = group.iter().map(|b| b.len()).sum();
            let wrote = retry_on_intr(|| pwritev2(&self.file, group, position, flags))?;
            if wrote < want {
                self.finish(group, wrote, position, flags)?;
            }
            position += want as u64;
        }
        Ok(())
    }

    /// The rest of a short write, piece by piece.
    fn finish(
        &self,
        group: &[IoSlice<'_>],
        wrote: usize,
        offset: u64,
        flags: ReadWriteFlags,
    ) -> io::Result<()> {
        let mut skip = wrote;
        let mut at = offset + wrote as u64;
        for piece in group {
            let mut rest = piece.get(skip..).unwrap_or(&[]);
            skip = skip.saturating_sub(piece.len());
            while !rest.is_empty() {
                let wrote = retry_on_intr(|| pwritev2(&self.file, &[IoSlice::new(rest)], at, flags))?;
                if wrote == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                rest = &rest[wrote..];
                at += wrote as u64;
            }
        }
        Ok(())
    }
}

impl Disk for FileDisk {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.write(bufs, offset, ReadWriteFlags::empty())
    }

    /// With RWF_DSYNC: `fdatasync` would wait for all that a CP is writing to the same file.
    fn write_durable(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.write(bufs, offset, ReadWriteFlags::DSYNC)
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(&self.file, flags, offset, len) {
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
