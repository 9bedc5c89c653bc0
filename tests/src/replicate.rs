//! Replication without a network: snapdiff from one volume, blocks and image into a replica.

use crate::sim_disk::SimDisk;
use crate::verify::Wrong;
use fsstore::{BLOCK_SIZE, BLOCK_SIZE_U64, Replica, Snapshot, SnapshotId, Vbn, Volume, VolumeSpec};
use std::sync::Arc;

/// Blocks carried by one record at the most.
const RECORD_BLOCKS: u64 = 64;

/// Sends what `to` has and `base` has not, and installs it: the number of blocks sent.
pub fn send(
    volume: &Volume,
    base: Option<SnapshotId>,
    to: SnapshotId,
    replica: &Replica,
) -> Result<u64, Wrong> {
    let sent = send_blocks(volume, base, to, replica)?;
    let image = volume.image(to).map_err(|e| format!("image: {e}"))?;
    if image.len() > BLOCK_SIZE {
        return Err(format!("an image of {} bytes", image.len()));
    }
    replica.install(&image).map_err(|e| format!("install: {e}"))?;
    Ok(sent)
}

/// The same without the last step.
pub fn send_blocks(
    volume: &Volume,
    base: Option<SnapshotId>,
    to: SnapshotId,
    replica: &Replica,
) -> Result<u64, Wrong> {
    let (mut sent, mut next) = (0, 0);
    for range in volume.snapdiff(base, to).map_err(|e| format!("snapdiff: {e}"))? {
        let range = range.map_err(|e| format!("snapdiff: {e}"))?;
        if range.blocks == 0 || range.start.0 < next {
            return Err(format!("snapdiff out of order: {range:?} after block {next}"));
        }
        next = range.start.0 + range.blocks;
        let mut at = range.start.0;
        while at < next {
            let count = (next - at).min(RECORD_BLOCKS);
            let mut buf = vec![0; usize::try_from(count * BLOCK_SIZE_U64).expect("a short record")];
            volume.read_raw(Vbn(at), &mut buf).map_err(|e| format!("read_raw: {e}"))?;
            replica.write(Vbn(at), &buf).map_err(|e| format!("replica write: {e}"))?;
            at += count;
        }
        sent += range.blocks;
    }
    Ok(sent)
}

/// A fresh disk that holds a replica of one snapshot, closed; and the number of blocks sent.
pub fn copy(volume: &Volume, snapshot: &Snapshot) -> Result<(Arc<SimDisk>, u64), Wrong> {
    let disk = SimDisk::new(volume.size_bytes());
    let spec = VolumeSpec { uuid: volume.uuid(), size_bytes: volume.size_bytes() };
    let replica = Replica::create(disk.clone(), &spec).map_err(|e| format!("replica create: {e}"))?;
    let sent = send(volume, None, snapshot.id, &replica)?;
    if replica.installed() != Some((snapshot.cp, snapshot.root_sum)) {
        return Err(format!("installed {:?}, not {snapshot:?}", replica.installed()));
    }
    replica.close().map_err(|e| format!("replica close: {e}"))?;
    Ok((disk, sent))
}
