//! Snapshots: kept consistency points, and what differs between them.

use crate::blockmap::DiffRuns;
use crate::cp::TableChange;
use crate::error::{FsError, Result};
use crate::fsinfo::{FsInfo, Role, SNAPSHOTS_MAX, SnapEntry, read_table};
use crate::ids::{BLOCK_SIZE_U64, SnapshotId};
use crate::op::{NAME_MAX, Time};
use crate::shared::{Pins, Shared};
use crate::volume::{Snapshot, VbnRange};
use std::sync::Arc;

/// Who took a snapshot, and so who may let it go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SnapshotMaker {
    /// Somebody who asked for it.
    #[default]
    Person,
    /// A schedule, which lets it go when its time has come.
    Schedule,
    /// A migration.
    Migration,
    /// The making of a clone: what the clone began with. It stays until the clone is split from its parent.
    Clone,
}

impl SnapshotMaker {
    pub(crate) fn code(self) -> u8 {
        match self {
            SnapshotMaker::Person => 0,
            SnapshotMaker::Schedule => 1,
            SnapshotMaker::Migration => 2,
            SnapshotMaker::Clone => 3,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => SnapshotMaker::Person,
            1 => SnapshotMaker::Schedule,
            2 => SnapshotMaker::Migration,
            3 => SnapshotMaker::Clone,
            _ => return None,
        })
    }
}

pub(crate) fn view(entry: &SnapEntry) -> Snapshot {
    Snapshot {
        id: entry.id,
        name: entry.name.clone(),
        created: entry.created,
        maker: entry.maker,
        cp: entry.image.cp,
        root_sum: entry.image.sum(),
    }
}

/// Keeps snapshots from being deleted while they are read.
pub(crate) struct Pinned {
    pins: Pins,
    ids: Vec<SnapshotId>,
}

impl Pinned {
    /// # Errors
    /// [`FsError::Snapshot`] if one of them is not there.
    pub(crate) fn new(shared: &Shared, ids: &[SnapshotId]) -> Result<Pinned> {
        let mut pins = shared.pins.lock();
        for id in ids {
            shared.snap(*id)?;
        }
        for id in ids {
            *pins.entry(*id).or_default() += 1;
        }
        Ok(Pinned { pins: Arc::clone(&shared.pins), ids: ids.to_vec() })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let mut pins = self.pins.lock();
        for id in &self.ids {
            if let Some(count) = pins.get_mut(id) {
                *count -= 1;
                if *count == 0 {
                    pins.remove(id);
                }
            }
        }
    }
}

/// A diff that keeps its snapshots.
struct PinnedDiff {
    runs: DiffRuns,
    _pinned: Pinned,
}

impl Iterator for PinnedDiff {
    type Item = Result<VbnRange>;

    fn next(&mut self) -> Option<Self::Item> {
        self.runs.next()
    }
}

impl Shared {
    pub(crate) fn snap(&self, id: SnapshotId) -> Result<SnapEntry> {
        let snaps = self.snaps.read().clone();
        snaps.iter().find(|snap| snap.id == id).cloned().ok_or(FsError::Snapshot("no such snapshot"))
    }

    pub(crate) fn snapshot_create(
        &self,
        name: &str,
        created: Time,
        maker: SnapshotMaker,
    ) -> Result<Snapshot> {
        if name.is_empty()
            || name.len() > NAME_MAX
            || name.contains(['/', '\0'])
            || name == "."
            || name == ".."
        {
            return Err(FsError::Snapshot("a name has 1 to 255 bytes without '/'"));
        }
        let mut committed = self.committed.lock();
        if committed.snaps.iter().any(|snap| snap.name == name) {
            return Err(FsError::Snapshot("the name is taken"));
        }
        if committed.snaps.len() >= SNAPSHOTS_MAX {
            return Err(FsError::Snapshot("the volume has 255 snapshots already"));
        }
        // The table grows by a block or two; what is kept back for deletes covers that.
        self.need_space(&self.state.read(), 16, true)?;
        self.checkpoint(&mut committed, &TableChange::Add { name: name.to_owned(), created, maker })?;
        committed.snaps.last().map(view).ok_or(FsError::Snapshot("no such snapshot"))
    }

    pub(crate) fn snapshot_delete(&self, id: SnapshotId) -> Result<()> {
        let mut committed = self.committed.lock();
        let entry = committed.snaps.iter().find(|snap| snap.id == id);
        let entry = entry.ok_or(FsError::Snapshot("no such snapshot"))?;
        if entry.maker == SnapshotMaker::Clone && committed.info.base.is_some() {
            return Err(FsError::Snapshot("this clone needs it until it is split from its parent"));
        }
        // Held through the CP, so that no transfer begins meanwhile.
        let pins = self.pins.clone();
        let pins = pins.lock();
        if pins.contains_key(&id) {
            return Err(FsError::Snapshot("in use by a transfer or a clone"));
        }
        self.checkpoint(&mut committed, &TableChange::Delete(id)).map(drop)
    }

    pub(crate) fn snapdiff(
        &self,
        base: Option<SnapshotId>,
        to: SnapshotId,
    ) -> Result<impl Iterator<Item = Result<VbnRange>> + Send + use<>> {
        let snaps = self.snaps.read().clone();
        self.snap(to)?;
        let base = base.map(|id| self.snap(id)).transpose()?;
        let after = base.as_ref().map_or(SnapshotId(0), |base| base.id);
        let wanted: Vec<_> = snaps.iter().filter(|snap| snap.id > after && snap.id <= to).collect();
        let ids: Vec<_> =
            wanted.iter().map(|snap| snap.id).chain(base.as_ref().map(|base| base.id)).collect();
        let pinned = Pinned::new(self, &ids)?;
        let maps: Vec<_> = wanted.iter().map(|snap| snap.block_map()).collect::<Result<_>>()?;
        let without: Vec<_> = base.iter().map(|base| base.block_map()).collect::<Result<_>>()?;
        let runs = DiffRuns::new(self.io.clone(), &maps, &without)?;
        Ok(PinnedDiff { runs, _pinned: pinned })
    }

    /// The fsinfo of the CP that `to` keeps.
    pub(crate) fn image(&self, to: SnapshotId) -> Result<Vec<u8>> {
        let entry = self.snap(to)?;
        let committed = self.committed.lock();
        // The replica gets the table as it was written with `to`. What was deleted since has no blocks to send.
        let known = read_table(entry.table, entry.table_len, &self.io)?;
        let there = |id| committed.snaps.iter().any(|snap| snap.id == id);
        let gone = known.iter().map(|snap| snap.id).filter(|id| !there(*id)).collect();
        let info = FsInfo {
            role: Role::Replica,
            image: entry.image,
            table: entry.table,
            table_len: entry.table_len,
            next_snapshot: SnapshotId(entry.id.0 + 1),
            snapshot_only: entry.snapshot_only,
            gone,
            // The replica has all blocks itself.
            base: None,
            ..committed.info.clone()
        };
        Ok(info.encode().to_vec())
    }

    pub(crate) fn bytes_changed_since(&self, base: SnapshotId) -> Result<u64> {
        let entry = self.snap(base)?;
        let dirty = {
            let st = self.state.read();
            st.ledger.dirty_blocks + st.frozen_blocks + st.inodes.dirty_len() as u64
        };
        let allocated = self.walloc.lock().allocated_total;
        Ok((allocated.saturating_sub(entry.image.allocated_total) + dirty) * BLOCK_SIZE_U64)
    }
}
