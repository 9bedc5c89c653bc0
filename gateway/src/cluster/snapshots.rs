//! Snapshots of mounted volumes.

use super::{Cluster, ClusterError, Result, blocking, now};
use fsstore::{BLOCK_SIZE_U64, Snapshot, Volume};
use serde::Serialize;
use std::sync::Arc;

/// A snapshot as the API shows it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct SnapshotView {
    /// Name, unique in the volume.
    pub name: String,
    /// Id, never used again in the volume.
    pub id: u64,
    /// When it was taken, in seconds since 1970.
    pub created_s: i64,
    /// The consistency point that it keeps.
    pub consistency_point: u64,
    /// Checksum of its root, hexadecimal: equal on source and destination of a migration.
    pub root_checksum: String,
}

/// How much two snapshots differ.
#[derive(Clone, Copy, Debug, Serialize, utoipa::ToSchema)]
pub struct SnapshotDiff {
    /// Bytes of the blocks that only the newer one has.
    pub bytes: u64,
    /// Runs that those blocks form.
    pub runs: u64,
}

impl From<Snapshot> for SnapshotView {
    fn from(snapshot: Snapshot) -> Self {
        SnapshotView {
            id: snapshot.id.0,
            created_s: snapshot.created.secs,
            consistency_point: snapshot.cp.0,
            root_checksum: format!("{:016x}", snapshot.root_sum),
            name: snapshot.name,
        }
    }
}

fn find(volume: &Volume, name: &str) -> Result<Snapshot> {
    let found = volume.snapshots().into_iter().find(|snapshot| snapshot.name == name);
    found.ok_or_else(|| ClusterError::not_found("snapshot", name))
}

impl Cluster {
    /// Keeps the state of now.
    ///
    /// # Errors
    /// A taken name, or 255 snapshots already.
    pub async fn create_snapshot(&self, vserver: &str, volume: &str, name: &str) -> Result<SnapshotView> {
        super::check_name("snapshot", name)?;
        let (mounted, name) = (self.mounted(vserver, volume)?, name.to_owned());
        blocking(move || {
            if mounted.snapshots().iter().any(|snapshot| snapshot.name == name) {
                return Err(ClusterError::exists("snapshot", &name));
            }
            Ok(mounted.snapshot_create(&name, now())?.into())
        })
        .await
    }

    /// All snapshots of a volume, oldest first.
    ///
    /// # Errors
    /// Unknown names, or a volume that is not mounted.
    pub fn snapshots(&self, vserver: &str, volume: &str) -> Result<Vec<SnapshotView>> {
        Ok(self.mounted(vserver, volume)?.snapshots().into_iter().map(SnapshotView::from).collect())
    }

    /// One snapshot.
    ///
    /// # Errors
    /// Unknown names.
    pub fn snapshot(&self, vserver: &str, volume: &str, name: &str) -> Result<SnapshotView> {
        let mounted = self.mounted(vserver, volume)?;
        Ok(find(&mounted, name)?.into())
    }

    /// Lets a snapshot go. Those that a running migration took are refused: the migration needs them.
    ///
    /// # Errors
    /// Unknown names.
    pub async fn delete_snapshot(&self, vserver: &str, volume: &str, name: &str) -> Result<()> {
        if name.starts_with(migrate::SNAPSHOT_PREFIX) {
            self.record_to_change(vserver)?;
        }
        let (mounted, name) = (self.mounted(vserver, volume)?, name.to_owned());
        blocking(move || Ok(mounted.snapshot_delete(find(&mounted, &name)?.id)?)).await
    }

    /// How much of snapshot `to` is not in `base`; without a base, how much it holds.
    ///
    /// # Errors
    /// Unknown names; a base that is newer.
    pub async fn snapshot_diff(
        self: &Arc<Self>,
        vserver: &str,
        volume: &str,
        base: Option<String>,
        to: &str,
    ) -> Result<SnapshotDiff> {
        let (mounted, to) = (self.mounted(vserver, volume)?, to.to_owned());
        blocking(move || {
            let base = base.map(|name| find(&mounted, &name)).transpose()?.map(|snapshot| snapshot.id);
            let mut diff = SnapshotDiff { bytes: 0, runs: 0 };
            for run in mounted.snapdiff(base, find(&mounted, &to)?.id)? {
                diff.bytes += run?.blocks * BLOCK_SIZE_U64;
                diff.runs += 1;
            }
            Ok(diff)
        })
        .await
    }
}
