//! A volume in a file of the host: a sparse file, or a block device that was opened by `device.rs`.

use super::Disk;
use rustix::fs::Advice;
use rustix::io::{Errno, ReadWriteFlags, preadv, pwritev2, retry_on_intr};
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Most slices in one vectored write on Linux.
const IOV_MAX: usize = 1024;
/// Most bytes written by one call: the host lets nobody else write to a file meanwhile, and the NVLOG is in the same one.
const CALL_BYTES: usize = 256 << 10;
/// A write of so many bytes is sent to the disk at once, and what the host keeps of it goes when it is there: the volume
/// has a cache of its own, a later flush finds little to do, and the host uses the same pages again for the next one.
const PASSING_BYTES_MIN: usize = 64 << 10;
/// `RWF_DONTCACHE`, Linux 6.14.
const PASSING: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);

/// A volume in a sparse file or on a block device. Held exclusively, so that no two processes open one volume.
#[derive(Debug)]
pub struct FileDisk {
    pub(super) file: File,
    /// Whether the host has set aside all of it.
    reserved: AtomicBool,
    /// The host knows no [`PASSING`].
    keeps_pages: AtomicBool,
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

    /// Opens and locks an existing volume file or block device; a symbolic link to one will do.
    ///
    /// # Errors
    /// The host's, and `WouldBlock` where another process has it open, or a device is mounted.
    pub fn open(path: &Path) -> io::Result<Self> {
        if std::fs::metadata(path)?.file_type().is_block_device() {
            return Self::open_exclusively(path);
        }
        Self::lock(File::options().read(true).write(true).open(path)?)
    }

    pub(super) fn lock(file: File) -> io::Result<Self> {
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            let error = io::Error::from(error);
            if error.kind() == io::ErrorKind::WouldBlock {
                return io::Error::new(error.kind(), "another process has this volume open");
            }
            error
        })?;
        Ok(FileDisk::of(file))
    }

    pub(super) fn of(file: File) -> Self {
        FileDisk { file, reserved: AtomicBool::new(false), keeps_pages: AtomicBool::new(false) }
    }

    /// Makes the host set aside blocks for all of the file, and for what it grows by: no write fails for want of space on
    /// the host from now on, and nothing is given back. What is in the file stays. Of a device there is nothing to set aside.
    ///
    /// # Errors
    /// The host's: `StorageFull` if it has no room, `Unsupported` if it can't set anything aside.
    pub fn reserve(&self) -> io::Result<()> {
        let meta = self.file.metadata()?;
        if meta.file_type().is_file() {
            self.set_aside(0, meta.len())?;
        }
        self.reserved.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn set_aside(&self, offset: u64, len: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        if len == 0 {
            return Ok(());
        }
        // A host that runs out on the way would have been full for everybody meanwhile.
        let there = self.file.metadata()?.blocks().saturating_mul(512);
        let host = rustix::fs::fstatvfs(&self.file)?;
        let room = host.f_bavail.saturating_mul(host.f_frsize);
        if (offset + len).saturating_sub(there) > room {
            let text = format!("{room} bytes are free there");
            return Err(io::Error::new(io::ErrorKind::StorageFull, text));
        }
        Ok(retry_on_intr(|| fallocate(&self.file, FallocateFlags::empty(), offset, len))?)
    }

    fn write_passing(&self, bufs: &[IoSlice<'_>], offset: u64, bytes: u64) -> io::Result<()> {
        if !self.keeps_pages.load(Ordering::Relaxed) {
            match self.write(bufs, offset, PASSING) {
                Err(error) if Errno::from_io_error(&error) == Some(Errno::OPNOTSUPP) => {
                    self.keeps_pages.store(true, Ordering::Relaxed);
                }
                written => return written,
            }
        }
        self.write(bufs, offset, ReadWriteFlags::empty())?;
        // An older host begins to write what it is told to forget.
        let _ = rustix::fs::fadvise(&self.file, offset, NonZeroU64::new(bytes), Advice::DontNeed);
        Ok(())
    }

    /// In calls of [`CALL_BYTES`], but what is durable when it is written in one.
    fn write(&self, bufs: &[IoSlice<'_>], offset: u64, flags: ReadWriteFlags) -> io::Result<()> {
        let most = if flags.contains(ReadWriteFlags::DSYNC) { usize::MAX } else { CALL_BYTES };
        let mut position = offset;
        let mut group = Vec::with_capacity(bufs.len().min(IOV_MAX));
        let mut held = 0;
        for buf in bufs {
            let mut rest = &buf[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(most - held));
                group.push(IoSlice::new(now));
                held += now.len();
                rest = later;
                if held == most || group.len() == IOV_MAX {
                    position = self.write_group(&group, held, position, flags)?;
                    group.clear();
                    held = 0;
                }
            }
        }
        self.write_group(&group, held, position, flags)?;
        Ok(())
    }

    /// Gives where it ends.
    fn write_group(
        &self,
        group: &[IoSlice<'_>],
        want: usize,
        offset: u64,
        flags: ReadWriteFlags,
    ) -> io::Result<u64> {
        if want > 0 {
            let wrote = retry_on_intr(|| pwritev2(&self.file, group, offset, flags))?;
            if wrote < want {
                self.finish(group, wrote, offset, flags)?;
            }
        }
        Ok(offset + want as u64)
    }

    /// The rest of a short read, piece by piece.
    fn finish_reading(&self, group: &mut [IoSliceMut<'_>], read: usize, offset: u64) -> io::Result<()> {
        let mut skip = read;
        let mut at = offset + read as u64;
        for piece in group {
            let len = piece.len();
            let rest = piece.get_mut(skip..).unwrap_or_default();
            skip = skip.saturating_sub(len);
            self.file.read_exact_at(rest, at)?;
            at += rest.len() as u64;
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

    fn read_vectored_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<()> {
        let mut at = offset;
        for group in bufs.chunks_mut(IOV_MAX) {
            let want: usize = group.iter().map(|buf| buf.len()).sum();
            let read = retry_on_intr(|| preadv(&self.file, group, at))?;
            if read < want {
                self.finish_reading(group, read, at)?;
            }
            at += want as u64;
        }
        Ok(())
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let bytes: usize = bufs.iter().map(|buf| buf.len()).sum();
        if bytes < PASSING_BYTES_MIN {
            return self.write(bufs, offset, ReadWriteFlags::empty());
        }
        self.write_passing(bufs, offset, bytes as u64)
    }

    /// With RWF_DSYNC: `fdatasync` would wait for all that a CP is writing to the same file.
    fn write_durable(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.write(bufs, offset, ReadWriteFlags::DSYNC)
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        if self.file.metadata()?.file_type().is_block_device() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "a device can't change its size"));
        }
        let old = self.file.metadata()?.len();
        if bytes > old && self.reserved.load(Ordering::Relaxed) {
            // Part of it may have been set aside when the host runs out.
            return self.set_aside(old, bytes - old).or_else(|error| {
                self.file.set_len(old)?;
                Err(error)
            });
        }
        self.file.set_len(bytes)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        if self.reserved.load(Ordering::Relaxed) {
            return Ok(());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(&self.file, flags, offset, len) {
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{BLOCK_SIZE, BLOCK_SIZE_U64};

    /// `blocks` blocks, no two alike, from an odd place in memory.
    fn blocks(count: usize, seed: usize) -> Vec<u8> {
        (0..count * BLOCK_SIZE + 1).map(|at| (at / 7 + at / BLOCK_SIZE + seed).to_le_bytes()[0]).collect()
    }

    #[test]
    fn writes_of_any_size_are_read_back_whatever_the_host_can() {
        let dir = tempfile::tempdir().unwrap();
        let disk = FileDisk::create(&dir.path().join("disk"), 64 << 20).unwrap();
        let (least, call) = (PASSING_BYTES_MIN / BLOCK_SIZE, CALL_BYTES / BLOCK_SIZE);
        for (seed, count) in
            [least - 1, least, call - 1, call, call + 1, 3 * call + 5].into_iter().enumerate()
        {
            let data = blocks(count, seed);
            let data = &data[1..];
            let (first, rest) = data.split_at(3 * BLOCK_SIZE);
            let bufs = [IoSlice::new(first), IoSlice::new(rest)];
            let offset = (seed as u64 + 1) * BLOCK_SIZE_U64;
            for keeps_pages in [false, true] {
                disk.write_at(&[IoSlice::new(&vec![0; data.len()])], offset).unwrap();
                disk.keeps_pages.fetch_or(keeps_pages, Ordering::Relaxed);
                disk.write_at(&bufs, offset).unwrap();
                let mut seen = vec![0; data.len()];
                disk.read_at(&mut seen, offset).unwrap();
                assert!(seen == data, "{count} blocks");
            }
        }
    }
}
