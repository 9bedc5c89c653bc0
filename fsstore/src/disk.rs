//! What a volume needs of a disk. The real ones, a sparse file and a block device, and that of a clone, are
//! in `disk/`.
//!
//! Offsets and lengths are whole blocks, except in the NVLOG, which writes whole blocks too.

mod device;
mod file;
pub(crate) mod overlay;

pub use device::NotBlank;
pub use file::FileDisk;
use std::io::{self, IoSlice, IoSliceMut};

/// A disk that holds one volume. Calls may come from several threads at once.
///
/// A write is durable only after a later [`flush`](Disk::flush) returned `Ok`; until then a crash may keep it,
/// lose it or tear it at any 512-byte boundary, in any order with other unflushed writes.
pub trait Disk: Send + Sync {
    /// Fills `buf` from `offset`. Bytes never written read as anything, in a new file as zeros.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
    /// Fills all of `bufs`, whole blocks, one after the other, from `offset`.
    fn read_vectored_at(&self, bufs: &mut [IoSliceMut<'_>], offset: u64) -> io::Result<()> {
        let mut at = offset;
        for buf in bufs {
            self.read_at(buf, at)?;
            at += buf.len() as u64;
        }
        Ok(())
    }
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
