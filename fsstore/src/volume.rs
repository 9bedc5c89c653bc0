//! A mounted volume: the front door of the store. STUB: signatures while the body is written.
#![allow(unused_variables, clippy::todo)]

use crate::disk::Disk;
use crate::error::{FsError, Result};
use crate::ids::{Cookie, CpNumber, FileId, Lsn, SnapshotId, Vbn};
use crate::op::{Access, Attr, Context, DirEntry, Done, Op, ReadDone, StatFs, Time};
use std::future::Future;
use std::ops::ControlFlow;
use std::sync::Arc;
use uuid::Uuid;

/// What a new volume is to be.
#[derive(Clone, Debug)]
pub struct VolumeSpec {
    /// Identity; also the fsid that clients see. Stays the same when the volume moves.
    pub uuid: Uuid,
    /// Size of its address space in bytes, at least [`VOLUME_BYTES_MIN`], rounded down to whole blocks.
    pub size_bytes: u64,
}

/// Smallest volume, in bytes.
pub const VOLUME_BYTES_MIN: u64 = 4 << 20;

/// How a volume is to run.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// Most bytes of clean metadata blocks kept in memory.
    pub cache_bytes: u64,
    /// Dirty bytes from which a consistency point starts by itself.
    pub dirty_bytes: u64,
    /// Threads for log flushes and CPs. `false`: the caller drives [`Volume::flush_log`] and
    /// [`Volume::consistency_point`], which makes every run repeatable (tests).
    pub threads: bool,
}

impl Default for Tuning {
    fn default() -> Self {
        Tuning { cache_bytes: 64 << 20, dirty_bytes: 128 << 20, threads: true }
    }
}

/// A kept consistency point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Which one.
    pub id: SnapshotId,
    /// Name, unique in the volume, 1 to 255 bytes.
    pub name: String,
    /// When it was taken.
    pub created: Time,
    /// The consistency point that it keeps.
    pub cp: CpNumber,
    /// Checksum of its root: two volumes with equal roots hold the same blocks.
    pub root_sum: u64,
}

/// A run of blocks in a volume's address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VbnRange {
    /// First block.
    pub start: Vbn,
    /// How many, at least 1.
    pub blocks: u64,
}

/// A volume that clients may read and change. All methods may be called from any thread.
#[derive(Debug)]
pub struct Volume {}

impl Volume {
    /// Formats `disk` and mounts the empty volume: a root directory, owner root, mode 0o755.
    pub fn create(disk: Arc<dyn Disk>, spec: &VolumeSpec, now: Time, tuning: Tuning) -> Result<Arc<Volume>> {
        todo!()
    }
    /// Mounts the volume on `disk`, replaying its log.
    pub fn open(disk: Arc<dyn Disk>, tuning: Tuning) -> Result<Arc<Volume>> {
        todo!()
    }
    /// Takes a last CP and stops the threads. Later operations fail with [`FsError::ReadOnly`].
    pub fn close(&self) -> Result<()> {
        todo!()
    }
    /// The volume's identity.
    pub fn uuid(&self) -> Uuid {
        todo!()
    }
    /// Size of the address space in bytes.
    pub fn size_bytes(&self) -> u64 {
        todo!()
    }
    /// The fault that made the volume refuse changes, if any.
    pub fn fault(&self) -> Option<FsError> {
        todo!()
    }

    /// Checks, logs and applies one mutation. Durable once [`Volume::durable`] of its `lsn` says so.
    /// May block for a CP when the log or the dirty set is full.
    pub fn execute(&self, cx: &Context, op: Op) -> Result<Done> {
        todo!()
    }
    /// Resolves once every operation up to `lsn` is durable. Flushes are shared (group commit).
    /// NFS's COMMIT is `durable(v.last_lsn())`.
    pub fn durable(&self, lsn: Lsn) -> impl Future<Output = Result<()>> + Send + 'static {
        async { todo!() }
    }
    /// The same, blocking.
    pub fn wait_durable(&self, lsn: Lsn) -> Result<()> {
        todo!()
    }
    /// The newest operation applied.
    pub fn last_lsn(&self) -> Lsn {
        todo!()
    }

    /// Finds `name` in `dir` (search permission is checked); `.` and `..` work.
    pub fn lookup(&self, cx: &Context, dir: FileId, name: &[u8]) -> Result<Attr> {
        todo!()
    }
    /// Attributes.
    pub fn getattr(&self, file: FileId) -> Result<Attr> {
        todo!()
    }
    /// Which of the rights `want` the caller has.
    pub fn access(&self, cx: &Context, file: FileId, want: Access) -> Result<(Access, Attr)> {
        todo!()
    }
    /// Reads up to `len` bytes at `offset`. The owner may always read, as NFS servers allow (RFC 1813 §4.4).
    pub fn read(&self, cx: &Context, file: FileId, offset: u64, len: usize) -> Result<ReadDone> {
        todo!()
    }
    /// Target of a symbolic link.
    pub fn readlink(&self, cx: &Context, file: FileId) -> Result<(bytes::Bytes, Attr)> {
        todo!()
    }
    /// Visits entries after `after` in cookie order until `visit` breaks; `Ok(true)` at the directory's end.
    /// `visit` runs without any lock of the volume held, so it may call it.
    pub fn readdir(
        &self,
        cx: &Context,
        dir: FileId,
        after: Cookie,
        visit: &mut dyn FnMut(DirEntry<'_>) -> ControlFlow<()>,
    ) -> Result<bool> {
        todo!()
    }
    /// Space and inodes.
    pub fn statfs(&self) -> StatFs {
        todo!()
    }

    /// Writes one batch of the log and flushes it (only without threads).
    pub fn flush_log(&self) -> Result<()> {
        todo!()
    }
    /// Takes a consistency point now.
    pub fn consistency_point(&self) -> Result<CpNumber> {
        todo!()
    }

    /// Keeps the state of now, durable when it returns. O(1) in the size of the volume.
    pub fn snapshot_create(&self, name: &str, now: Time) -> Result<Snapshot> {
        todo!()
    }
    /// Lets a snapshot go; blocks that only it held become free.
    pub fn snapshot_delete(&self, id: SnapshotId) -> Result<()> {
        todo!()
    }
    /// All snapshots, oldest first.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        todo!()
    }
    /// The runs of blocks, in block order, that any snapshot after `base` up to `to` uses and `base` does not
    /// (`None`: everything). Its cost follows the difference.
    pub fn snapdiff(
        &self,
        base: Option<SnapshotId>,
        to: SnapshotId,
    ) -> Result<Box<dyn Iterator<Item = Result<VbnRange>> + Send>> {
        todo!()
    }
    /// Reads blocks as they stand on disk, for replication. `buf` is whole blocks.
    pub fn read_raw(&self, start: Vbn, buf: &mut [u8]) -> Result<()> {
        todo!()
    }
    /// What [`Replica::install`] needs to make `to` a replica's state: at most a block, opaque.
    pub fn image(&self, to: SnapshotId) -> Result<Vec<u8>> {
        todo!()
    }
    /// An upper bound of the bytes that a snapdiff from `base` to now would hold.
    pub fn bytes_changed_since(&self, base: SnapshotId) -> Result<u64> {
        todo!()
    }
}

/// A volume that is being received: block for block its source, at the source's last installed snapshot.
#[derive(Debug)]
pub struct Replica {}

impl Replica {
    /// Formats `disk` as an empty replica of the volume `spec`.
    pub fn create(disk: Arc<dyn Disk>, spec: &VolumeSpec) -> Result<Replica> {
        todo!()
    }
    /// Opens a replica, also one that was interrupted.
    pub fn open(disk: Arc<dyn Disk>) -> Result<Replica> {
        todo!()
    }
    /// Writes blocks at the place that they have at the source. Blocks in use by the installed image may not
    /// be overwritten with other content: the caller sends snapdiffs.
    pub fn write(&self, start: Vbn, blocks: &[u8]) -> Result<()> {
        todo!()
    }
    /// Makes everything written so far durable: a mark that a broken transfer can resume from.
    pub fn flush(&self) -> Result<()> {
        todo!()
    }
    /// Makes the image of [`Volume::image`] the replica's state, durable when it returns. All its blocks were written.
    pub fn install(&self, image: &[u8]) -> Result<()> {
        todo!()
    }
    /// The CP and root checksum of the installed image, if any.
    pub fn installed(&self) -> Option<(CpNumber, u64)> {
        todo!()
    }
    /// Lets the disk go. The volume can then be mounted with [`Volume::open`]; once it took a change of its own, it is
    /// no replica any more and [`Replica::open`] refuses it.
    pub fn close(self) -> Result<()> {
        todo!()
    }
}
