//! Making a volume larger or smaller while it is in use.
//!
//! The size is in fsinfo, so one write of it is the atomic step: *grow* makes the disk longer, durably, before that write;
//! *shrink* makes it shorter after. A crash between leaves a disk that is longer than the volume, which does no harm.
//! The block map grows by itself: a map page is made when a block that it speaks of is first used, and the map's tree gets
//! taller when it has to. Snapshots keep the lower trees that they have.

use crate::blockmap::{DiffRuns, map_blocks_max};
use crate::cp::{Committed, TableChange};
use crate::error::{FsError, Result};
use crate::ids::{BLOCK_SIZE_U64, Vbn};
use crate::shared::{Shared, delete_reserve};
use crate::tree::Tree;
use crate::volume::VOLUME_BYTES_MIN;
use crate::xattr::attrs_max;
use std::sync::atomic::Ordering;

/// Most blocks of a volume: what fsinfo takes for possible.
pub(crate) const BLOCKS_MAX: u64 = (1 << 50) - 1;

impl Shared {
    /// Makes the address space `blocks` long.
    pub(crate) fn resize(&self, blocks: u64) -> Result<()> {
        let mut committed = self.committed.lock();
        if self.state.read().fault.is_some() {
            return Err(FsError::ReadOnly);
        }
        let least = (VOLUME_BYTES_MIN / BLOCK_SIZE_U64).max(self.first_data + 1);
        if !(least..=BLOCKS_MAX).contains(&blocks) {
            let bytes = |blocks: u64| blocks * BLOCK_SIZE_U64;
            let (least, most) = (bytes(least), bytes(BLOCKS_MAX));
            return Err(FsError::Resize(format!("this volume can have {least} to {most} bytes")));
        }
        match blocks.cmp(&self.blocks()) {
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => self.grow(&mut committed, blocks),
            std::cmp::Ordering::Less => self.shrink(&mut committed, blocks),
        }
    }

    fn grow(&self, committed: &mut Committed, blocks: u64) -> Result<()> {
        // A host that refuses has changed nothing: the volume goes on as it is.
        self.io.disk.set_len(blocks * BLOCK_SIZE_U64).map_err(|error| match error.kind() {
            std::io::ErrorKind::StorageFull => FsError::Resize(format!("the host has no room: {error}")),
            _ => error.into(),
        })?;
        self.write_size(committed, blocks, true)?;
        self.io.blocks.store(blocks, Ordering::Relaxed);
        self.walloc.lock().grow(blocks);
        self.state.write().attrs_max = attrs_max(blocks - self.first_data);
        Ok(())
    }

    fn shrink(&self, committed: &mut Committed, blocks: u64) -> Result<()> {
        self.walloc.lock().fence(&self.io, blocks)?;
        let outcome = self.shrink_fenced(committed, blocks);
        if outcome.is_err() {
            self.walloc.lock().unfence(&self.io)?;
        }
        outcome
    }

    fn shrink_fenced(&self, committed: &mut Committed, blocks: u64) -> Result<()> {
        self.has_room_in(blocks)?;
        // Frees what operations have left behind the fence, and moves the snapshot table from there.
        self.checkpoint(committed, &TableChange::Rewrite)?;
        self.has_room_in(blocks)?;
        if let (count @ 1.., Some(last)) = self.walloc.lock().used_from(&self.io, blocks)? {
            return Err(self.in_the_way(committed, blocks, count, last)?);
        }
        self.write_size(committed, blocks, false)?;
        self.walloc.lock().shrink();
        self.io.blocks.store(blocks, Ordering::Relaxed);
        self.state.write().attrs_max = attrs_max(blocks - self.first_data);
        if let Err(error) = self.io.disk.set_len(blocks * BLOCK_SIZE_U64) {
            tracing::warn!(volume = %self.uuid, %error, "the host keeps what a smaller volume does not need");
        }
        Ok(())
    }

    /// Whether CPs would go on to find blocks, and deletes too.
    fn has_room_in(&self, blocks: u64) -> Result<()> {
        let spare = self.spare_blocks(&self.state.read());
        let keep = delete_reserve(blocks - self.first_data) + map_blocks_max(blocks);
        if spare >= keep { Ok(()) } else { Err(FsError::NoSpace) }
    }

    /// The atomic step. An error leaves it open which size the volume has after the next mount, so it latches.
    fn write_size(&self, committed: &mut Committed, blocks: u64, flush: bool) -> Result<()> {
        let mut info = committed.info.clone();
        info.blocks = blocks;
        let disk = &*self.io.disk;
        let flushed = if flush { disk.flush().map_err(FsError::from) } else { Ok(()) };
        flushed.and_then(|()| info.write(disk)).inspect_err(|error| self.latch(error))?;
        committed.info = info;
        Ok(())
    }

    /// The error that says what stands behind the new end, and how small the volume could be.
    fn in_the_way(&self, committed: &Committed, blocks: u64, count: u64, last: Vbn) -> Result<FsError> {
        let holds = |map: Tree| -> Result<bool> {
            for run in DiffRuns::new(self.io.clone(), &[map], &[])? {
                let run = run?;
                if run.start.0 + run.blocks > blocks {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        let mut who = Vec::new();
        if holds(committed.map.clone())? {
            who.push("the live file system".to_owned());
        }
        for snap in committed.snaps.iter() {
            if holds(snap.block_map()?)? {
                who.push(format!("snapshot `{}`", snap.name));
            }
        }
        if who.is_empty() {
            who.push("writes that are under way".to_owned());
        }
        Ok(FsError::Resize(format!(
            "{count} blocks behind the new end are in use by {}; as it is, the volume needs {} bytes",
            who.join(", "),
            (last.0 + 1) * BLOCK_SIZE_U64,
        )))
    }
}
