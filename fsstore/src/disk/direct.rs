//! Large writes past the host's page cache. What they bring would be copied there, stand in memory twice, and be written
//! later at somebody's flush; and the host lets only one thread at a time put things there.

use parking_lot::Mutex;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

/// Least bytes of such a write: the disk's answer is waited for.
pub(super) const DIRECT_BYTES_MIN: usize = 256 << 10;
/// Most bytes of one call.
const CHUNK_BYTES: usize = 1 << 20;
/// What any disk wants memory, offset and length to be a multiple of.
const ALIGN: usize = 4096;
/// Buffers kept for the next write.
const SPARES_MAX: usize = 4;

/// A file or block device, opened once more with `O_DIRECT`.
#[derive(Debug)]
pub(super) struct Direct {
    file: File,
    /// Writes come from anywhere in memory: each is copied into one of these.
    spares: Mutex<Vec<Vec<u8>>>,
    refused: AtomicBool,
}

impl Direct {
    /// `None` where the host can't.
    pub(super) fn of(file: &File) -> Option<Direct> {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let flags = OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty()).ok()?;
        Some(Direct { file: file.into(), spares: Mutex::default(), refused: AtomicBool::new(false) })
    }

    /// Writes all of `bufs`, whole blocks, from `offset`, and says `true`; or `false` where the host would not.
    pub(super) fn write(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<bool> {
        if self.refused.load(Ordering::Relaxed) || !offset.is_multiple_of(ALIGN as u64) {
            return Ok(false);
        }
        let mut buffer = self.spares.lock().pop().unwrap_or_else(|| vec![0; CHUNK_BYTES + ALIGN]);
        let written = self.write_from(&mut buffer, bufs, offset);
        let mut spares = self.spares.lock();
        if spares.len() < SPARES_MAX {
            spares.push(buffer);
        }
        match written {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.refused.store(true, Ordering::Relaxed);
                Ok(false)
            }
            written => written.map(|()| true),
        }
    }

    fn write_from(&self, buffer: &mut [u8], bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let start = buffer.as_ptr().align_offset(ALIGN);
        let chunk = &mut buffer[start..][..CHUNK_BYTES];
        let (mut held, mut at) = (0, offset);
        for buf in bufs {
            let mut rest = &buf[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(CHUNK_BYTES - held));
                chunk[held..][..now.len()].copy_from_slice(now);
                held += now.len();
                rest = later;
                if held == CHUNK_BYTES {
                    self.file.write_all_at(chunk, at)?;
                    at += held as u64;
                    held = 0;
                }
            }
        }
        self.file.write_all_at(&chunk[..held], at)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Disk, FileDisk};
    use super::*;
    use crate::ids::{BLOCK_SIZE, BLOCK_SIZE_U64};

    /// `blocks` blocks, no two alike, from an odd place in memory.
    fn blocks(count: usize, seed: usize) -> Vec<u8> {
        (0..count * BLOCK_SIZE + 1).map(|at| (at / 7 + at / BLOCK_SIZE + seed).to_le_bytes()[0]).collect()
    }

    #[test]
    fn large_writes_are_read_back_from_wherever_they_came() {
        let dir = tempfile::tempdir().unwrap();
        let disk = FileDisk::create(&dir.path().join("disk"), 64 << 20).unwrap();
        let (least, chunk) = (DIRECT_BYTES_MIN / BLOCK_SIZE, CHUNK_BYTES / BLOCK_SIZE);
        for (seed, count) in
            [least - 1, least, chunk - 1, chunk, chunk + 1, 3 * chunk + 5].into_iter().enumerate()
        {
            let data = blocks(count, seed);
            let data = &data[1..];
            let (first, rest) = data.split_at(3 * BLOCK_SIZE);
            let offset = (seed as u64 + 1) * BLOCK_SIZE_U64;
            // What the host has of the old content must not be seen again.
            let mut seen = vec![0; data.len()];
            disk.read_at(&mut seen, offset).unwrap();
            disk.write_at(&[IoSlice::new(first), IoSlice::new(rest)], offset).unwrap();
            disk.read_at(&mut seen, offset).unwrap();
            assert!(seen == data, "{count} blocks");
        }
        let direct = disk.direct.as_ref().map(|direct| direct.spares.lock().len());
        assert!(direct.is_none_or(|spares| spares == 1), "one thread uses one buffer: {direct:?}");
    }

    #[test]
    fn a_host_that_wants_other_places_gets_them_the_usual_way() {
        let dir = tempfile::tempdir().unwrap();
        let disk = FileDisk::create(&dir.path().join("disk"), 8 << 20).unwrap();
        let data = blocks(256, 5);
        let Some(direct) = &disk.direct else { return };
        assert!(!direct.write(&[IoSlice::new(&data[1..])], 100).unwrap());
        disk.write_at(&[IoSlice::new(&data[1..])], 100).unwrap();
        let mut seen = vec![0; data.len() - 1];
        disk.read_at(&mut seen, 100).unwrap();
        assert!(seen == data[1..]);
    }
}
