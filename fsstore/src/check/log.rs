//! The NVLOG: whether the next mount can repeat every operation that was acknowledged.

use super::Checker;
use super::finding::FindingKind;
use crate::disk::Disk;
use crate::error::{FsError, Result};
use crate::fsinfo::{FsInfo, Role};
use crate::ids::{BLOCK_SIZE, InodeNum, Lsn, Vbn};
use crate::io::Io;
use crate::mount::{block_pieces, data_is_there};
use crate::nvlog::{self, Batch};
use crate::record::Record;
use std::sync::Arc;

/// Gives up what a mount refuses: ends the log of the volume on `disk`, which nobody has mounted, before the first batch
/// that is damaged, or whose data is. **Acknowledged operations from there on are lost**; the volume can be mounted.
/// Gives how many batches were cut off: 0 where the log is sound, and then nothing is written.
///
/// # Errors
/// [`FsError::Format`] for what is no volume, and the disk's.
pub fn cut_damaged_log(disk: Arc<dyn Disk>) -> Result<u64> {
    let info = FsInfo::read(&*disk)?;
    if info.role == Role::Replica {
        return Ok(0);
    }
    let (batches, ends) = nvlog::read_whole(&*disk, &info)?;
    let durable = batches.iter().map(|batch| batch.durable_seq).max().unwrap_or(0);
    let io = Io::new(disk, info.blocks, 1 << 20);
    let lost = |batch: &&Batch| {
        let pending = batch.records.iter().filter(|record| record.lsn > info.image.lsn);
        batch.seq <= durable && pending.map(|record| data_is_there(&io, record)).any(|there| there.is_err())
    };
    if let Some(batch) = batches.iter().find(lost) {
        return nvlog::cut(&*io.disk, &info, batch.seq);
    }
    let seq = info.log_seq + batches.len() as u64;
    for (half, end) in ends {
        if nvlog::later_batch(&*io.disk, &info, half, end, seq)?.is_some() {
            return nvlog::cut(&*io.disk, &info, seq);
        }
    }
    Ok(0)
}

impl Checker<'_> {
    /// Reads the log as a mount would.
    pub(super) fn check_log(&mut self) {
        if self.info.role == Role::Replica {
            return;
        }
        match nvlog::read(&*self.io.disk, &self.info) {
            Ok(batches) => self.check_batches(&batches),
            Err(error) => {
                self.readable = false;
                let text = format!(
                    "the log can't be read: {error}. Operations that were acknowledged since the last consistency point \
                     would be lost, so the volume can't be mounted"
                );
                self.volume_finding(FindingKind::Log, None, text);
            }
        }
    }

    fn check_batches(&mut self, batches: &[Batch]) {
        let durable = batches.iter().map(|batch| batch.durable_seq).max().unwrap_or(0);
        let mut lsn = self.info.image.lsn;
        for batch in batches {
            for record in &batch.records {
                if record.lsn <= lsn {
                    continue;
                }
                if record.lsn != Lsn(lsn.0 + 1) {
                    let text = format!(
                        "the log goes from operation {lsn} to operation {}: those between are lost, and the volume can't be \
                         mounted",
                        record.lsn
                    );
                    return self.volume_finding(FindingKind::Log, None, text);
                }
                if let Some((vbn, error)) = self.missing_data(record) {
                    // As in a mount: this one's flush never ended, so nothing from here on was acknowledged.
                    if matches!(error, FsError::Corrupt { .. }) && batch.seq > durable {
                        return;
                    }
                    let text = format!(
                        "operation {} in the log counts on this block, which is damaged ({error}): the data of an \
                         acknowledged write is lost, and the volume can't be mounted",
                        record.lsn
                    );
                    return self.volume_finding(FindingKind::Log, Some(vbn), text);
                }
                lsn = record.lsn;
                self.summary.log_records += 1;
            }
        }
    }

    /// The first block of a write that is not what the record says. Notes all of them as spoken for.
    fn missing_data(&mut self, record: &Record) -> Option<(Vbn, FsError)> {
        let mut bad = None;
        for (start, sums) in block_pieces(record) {
            let mut buf = vec![0; sums.len() * BLOCK_SIZE];
            if let Err(error) = self.io.read_run(*start, &mut buf, sums, InodeNum(0)) {
                let vbn = match error {
                    FsError::Corrupt { vbn, .. } => vbn,
                    _ => *start,
                };
                bad.get_or_insert((vbn, error));
            }
            if start.0 < self.info.blocks && sums.len() as u64 <= self.info.blocks - start.0 {
                for vbn in start.0..start.0 + sums.len() as u64 {
                    self.in_log.insert(Vbn(vbn));
                }
            }
        }
        bad
    }
}
