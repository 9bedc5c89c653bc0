//! Making a snapshot the active image again. Blocks stay where they are: the image takes the snapshot's roots,
//! so the cost follows what has changed since, not the volume.

use super::{Committed, Frozen, TableChange};
use crate::blockmap::DiffRuns;
use crate::error::{FsError, Result};
use crate::fsinfo::SnapEntry;
use crate::ids::{CpNumber, SnapshotId, Vbn};
use crate::io::Io;
use crate::layout::ImageRoot;
use crate::quota::Quotas;
use crate::shared::Shared;
use crate::state::State;
use crate::tree::{Ledger, Tree};
use crate::watch::Event;
use std::sync::Arc;

impl Shared {
    /// Replaces the active image by that of snapshot `id`. Operations wait meanwhile: one that was logged after
    /// the change and before the CP that makes it durable could not be replayed.
    pub(crate) fn restore(&self, committed: &mut Committed, id: SnapshotId) -> Result<CpNumber> {
        let entry = self.snap(id)?;
        self.checkpoint(committed, &TableChange::Keep)?;
        let mut st = self.state.write();
        if st.fault.is_some() {
            return Err(FsError::ReadOnly);
        }
        let outcome = self.take_back(committed, &entry, &mut st);
        if self.watchers.any() {
            self.watchers.add([Event::Lost]);
        }
        drop(st);
        self.watchers.tell();
        if let Err(error) = &outcome {
            self.latch(error);
        }
        outcome
    }

    fn take_back(&self, committed: &mut Committed, entry: &SnapEntry, st: &mut State) -> Result<CpNumber> {
        let (log_half, log_seq) = self.log.switch();
        self.walloc.lock().freeze();
        let image = ImageRoot {
            cp: CpNumber(st.generation),
            lsn: st.lsn,
            // Handles of files made since must not come to name others.
            generation_max: st.generation_max,
            generation_floor: st.generation_max.saturating_add(1),
            mixed: true,
            ..entry.image
        };
        let frozen = Frozen {
            generation: st.generation,
            inodes: Arc::default(),
            inofile: Tree::from_root(entry.image.inofile)?,
            quota: Tree::from_root(entry.image.quota)?,
            ledger: Ledger::default(),
            image,
            log_half,
            log_seq,
        };
        st.generation += 1;
        self.write_image(committed, frozen, &TableChange::Restore(entry.id), Some(st))
    }

    /// Blocks that neither the new image nor a snapshot uses of those that the old image, and what operations have
    /// written since, did.
    pub(super) fn left_behind(
        &self,
        committed: &Committed,
        snaps: &[SnapEntry],
        map: &Tree,
        st: &State,
    ) -> Result<Vec<Vbn>> {
        let mut without = vec![map.clone()];
        for snap in snaps {
            without.push(snap.block_map()?);
        }
        let mut blocks =
            DiffRuns::new(self.io.clone(), std::slice::from_ref(&committed.map), &without)?.blocks()?;
        let written = st.ledger.allocated.iter().flat_map(|(start, len)| start.0..start.0 + len);
        blocks.extend(written.map(Vbn));
        Ok(blocks)
    }
}

impl State {
    /// Takes up the image that was restored.
    pub(super) fn start_over(&mut self, io: &Io, image: &ImageRoot) -> Result<()> {
        self.inodes.clear();
        self.ledger = Ledger::default();
        (self.next_ino, self.free_ino, self.files) = (image.next_ino, image.free_ino, image.files);
        self.generation_floor = image.generation_floor;
        self.quota = Quotas::load(io, image.quota)?;
        Ok(())
    }
}
