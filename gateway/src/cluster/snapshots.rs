//! Snapshots of mounted volumes.

use super::{Cluster, ClusterError, Result, blocking, now};
use fsstore::{BLOCK_SIZE_U64, ChangeKind, CpNumber, FileKind, PathChange, Snapshot, SnapshotMaker, Volume};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::sync::Arc;
use tokio::sync::mpsc;

/// A snapshot as the API shows it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct SnapshotView {
    /// Name, unique in the volume.
    pub name: String,
    /// Id, never used again in the volume.
    pub id: u64,
    /// When it was taken, in seconds since 1970.
    pub created_s: i64,
    /// Who took it: `person`, `schedule`, `migration`, or `clone` for what a clone began with.
    pub made_by: &'static str,
    /// Clones that need it: it can't be deleted before they are split or deleted.
    pub clones: Vec<String>,
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

/// One difference between two snapshots.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ChangeView {
    /// `created`, `deleted`, `renamed`, `linked` or `unlinked` (one name more or less of a file that was and is there),
    /// `modified` (other content) or `attributes` (mode, owner, group, times).
    pub change: &'static str,
    /// Where: in the newer snapshot, for what is gone in the older. Bytes that are no UTF-8 are replaced. Missing for a file
    /// of several names whose newest was removed.
    pub path: Option<String>,
    /// For a rename: where it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Inode number.
    pub inode: u64,
    /// `file`, `directory`, `symlink` or `special`.
    pub kind: &'static str,
    /// Size in bytes; 0 for what is gone.
    pub size: u64,
    /// For other content: ranges of bytes, first and one past the last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<[u64; 2]>,
}

impl From<PathChange> for ChangeView {
    fn from(change: PathChange) -> Self {
        let text = |path: bytes::Bytes| String::from_utf8_lossy(&path).into_owned();
        ChangeView {
            change: match change.change {
                ChangeKind::Created => "created",
                ChangeKind::Deleted => "deleted",
                ChangeKind::Linked => "linked",
                ChangeKind::Unlinked => "unlinked",
                ChangeKind::Renamed => "renamed",
                ChangeKind::Modified => "modified",
                ChangeKind::Attributes => "attributes",
            },
            path: change.path.map(text),
            from: change.from.map(text),
            inode: change.file.ino.0,
            kind: match change.kind {
                FileKind::File => "file",
                FileKind::Dir => "directory",
                FileKind::Symlink => "symlink",
                _ => "special",
            },
            size: change.size,
            ranges: change.ranges.into_iter().map(|range| [range.start, range.end]).collect(),
        }
    }
}

/// What to bring back.
#[derive(Clone, Debug, Default, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Restore {
    /// A regular file, by its path in the volume. Missing: the whole volume.
    pub path: Option<String>,
}

/// Changes that wait for a slow reader.
const CHANGES_AHEAD: usize = 64;

impl From<Snapshot> for SnapshotView {
    fn from(snapshot: Snapshot) -> Self {
        SnapshotView {
            id: snapshot.id.0,
            created_s: snapshot.created.secs,
            made_by: match snapshot.maker {
                SnapshotMaker::Person => "person",
                SnapshotMaker::Schedule => "schedule",
                SnapshotMaker::Migration => "migration",
                SnapshotMaker::Clone => "clone",
            },
            clones: Vec::new(),
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
        let mounted = self.mounted(vserver, volume)?;
        let clones = self.clones_of(vserver, mounted.uuid())?;
        let view = |snapshot: Snapshot| {
            let of_it = clones.iter().filter(|(id, _)| *id == snapshot.id.0);
            SnapshotView { clones: of_it.map(|(_, name)| name.clone()).collect(), ..snapshot.into() }
        };
        Ok(mounted.snapshots().into_iter().map(view).collect())
    }

    /// One snapshot.
    ///
    /// # Errors
    /// Unknown names.
    pub fn snapshot(&self, vserver: &str, volume: &str, name: &str) -> Result<SnapshotView> {
        let all = self.snapshots(vserver, volume)?;
        let found = all.into_iter().find(|snapshot| snapshot.name == name);
        found.ok_or_else(|| ClusterError::not_found("snapshot", name))
    }

    /// Lets a snapshot go. Those that a running migration took are refused: the migration needs them.
    ///
    /// # Errors
    /// Unknown names.
    pub async fn delete_snapshot(&self, vserver: &str, volume: &str, name: &str) -> Result<()> {
        // Held, so that no clone of it is made meanwhile.
        let _guard = self.lock(vserver).await;
        if name.starts_with(migrate::SNAPSHOT_PREFIX) {
            self.record_to_change(vserver)?;
        }
        let (mounted, name) = (self.mounted(vserver, volume)?, name.to_owned());
        let id = find(&mounted, &name)?.id;
        self.need_no_clones(vserver, mounted.uuid(), Some(id.0))?;
        blocking(move || Ok(mounted.snapshot_delete(id)?)).await
    }

    /// Brings a volume, or one file, back to what it was. Clients see it at once; what was made since is stale for them.
    ///
    /// # Errors
    /// Unknown names, a vserver that is migrating, something else than a regular file, a full volume.
    pub async fn restore_snapshot(
        &self,
        vserver: &str,
        volume: &str,
        name: &str,
        what: Restore,
    ) -> Result<()> {
        let _guard = self.lock(vserver).await;
        self.record_to_change(vserver)?;
        let (mounted, name) = (self.mounted(vserver, volume)?, name.to_owned());
        blocking(move || {
            let snapshot = find(&mounted, &name)?;
            match what.path {
                Some(path) => super::restore::restore_file(&mounted, &snapshot, &path),
                None => Ok(mounted.snapshot_restore(snapshot.id).map(|_: CpNumber| ())?),
            }
        })
        .await
    }

    /// What changed from snapshot `base` to `to`, by path, as it is found. The channel ends with the last change; an
    /// error comes in its place.
    ///
    /// # Errors
    /// Unknown names.
    pub fn snapshot_changes(
        &self,
        vserver: &str,
        volume: &str,
        base: &str,
        to: &str,
    ) -> Result<mpsc::Receiver<Result<ChangeView>>> {
        let mounted = self.mounted(vserver, volume)?;
        let (base, to) = (find(&mounted, base)?.id, find(&mounted, to)?.id);
        let (changes, queue) = mpsc::channel(CHANGES_AHEAD);
        tokio::task::spawn_blocking(move || {
            let told = mounted.changes(base, to, &mut |change| {
                // Nobody listens any more: stop.
                match changes.blocking_send(Ok(change.into())) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                }
            });
            if let Err(error) = told {
                let _ = changes.blocking_send(Err(error.into()));
            }
        });
        Ok(queue)
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
