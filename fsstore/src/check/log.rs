//! The NVLOG: whether the next mount can repeat every operation that was acknowledged.

use super::Checker;
use super::finding::FindingKind;
use crate::error::FsError;
use crate::fsinfo::Role;
use crate::ids::{BLOCK_SIZE, InodeNum, Lsn, Vbn};
use crate::mount::block_pieces;
use crate::nvlog::{self, Batch};
use crate::record::Record;

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
