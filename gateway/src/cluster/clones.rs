//! Clones: volumes that share the blocks of a snapshot with their parent. Who needs what, so that nothing is deleted
//! under a clone, mounted or not.

use super::{Cluster, ClusterError, Result};
use crate::store::VolumeRecord;
use uuid::Uuid;

impl Cluster {
    /// The clones of the volume `parent`: number of its snapshot, and the clone's name.
    pub(super) fn clones_of(&self, vserver: &str, parent: Uuid) -> Result<Vec<(u64, String)>> {
        let volumes = self.store.list::<VolumeRecord>(&format!("{vserver}/"))?;
        let clones = volumes.into_iter().filter_map(|volume| {
            let clone = volume.clone_of.filter(|clone| clone.parent == parent)?;
            Some((clone.snapshot, volume.name))
        });
        Ok(clones.collect())
    }

    /// Refuses what would take the blocks of clones away: of one snapshot, or of the whole volume.
    pub(super) fn need_no_clones(&self, vserver: &str, parent: Uuid, snapshot: Option<u64>) -> Result<()> {
        let clones = self.clones_of(vserver, parent)?;
        let needs = |(id, _): &&(u64, String)| snapshot.is_none_or(|snapshot| snapshot == *id);
        let names: Vec<String> = clones.iter().filter(needs).map(|(_, name)| format!("`{name}`")).collect();
        let Some(first) = clones.iter().find(needs) else { return Ok(()) };
        let what = if snapshot.is_some() { "this snapshot" } else { "this volume" };
        Err(ClusterError::Conflict(format!(
            "{what} is needed by its clone {}: delete the clone, or give it blocks of its own with `ferry volume split \
             {vserver} {}`",
            names.join(", "),
            first.1
        )))
    }
}
