//! What a volume says when it is full: how full, and who holds the space. Once a minute at the most.

use crate::ids::BLOCK_SIZE_U64;
use crate::op::Time;
use crate::shared::Shared;
use crate::volume::Volume;
use std::sync::atomic::{AtomicI64, Ordering};

/// Seconds between two lines.
const EVERY_SECS: i64 = 60;
/// Snapshots that a line names.
const NAMED: usize = 3;

/// When the last line was written, in seconds since 1970.
pub(crate) struct LastTold(AtomicI64);

impl Default for LastTold {
    fn default() -> Self {
        LastTold(AtomicI64::new(i64::MIN))
    }
}

impl LastTold {
    /// Whether it is time for a line again; then it is noted.
    fn again(&self, now: i64) -> bool {
        let last = self.0.load(Ordering::Relaxed);
        // A clock that was set back does not silence it for ever.
        let due = now < last || now.saturating_sub(last) >= EVERY_SECS;
        due && self.0.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl Shared {
    /// Logs why an operation had no space.
    pub(crate) fn tell_full(&self, now: Time) {
        if !self.told_full.again(now.secs) {
            return;
        }
        let space = self.statfs();
        let mut holders = self.space_held();
        holders.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        let named = holders.iter().filter(|(_, bytes)| *bytes > 0).take(NAMED);
        let named: Vec<String> = named.map(|(name, bytes)| format!("{name} ({bytes} bytes)")).collect();
        tracing::warn!(
            volume = %self.uuid,
            total_bytes = space.total_bytes,
            free_bytes = space.free_bytes,
            snapshot_bytes = space.snapshot_bytes,
            largest_snapshots = %named.join(", "),
            "the volume is full: remove files, delete snapshots, or make it larger"
        );
    }

    fn space_held(&self) -> Vec<(String, u64)> {
        let snaps = self.snaps.read().clone();
        let now = self.snapshot_only.load(Ordering::Relaxed);
        let later = snaps.iter().skip(1).map(|snap| snap.snapshot_only).chain([now]);
        let held = snaps.iter().zip(later);
        held.map(|(snap, later)| {
            (snap.name.clone(), later.saturating_sub(snap.snapshot_only) * BLOCK_SIZE_U64)
        })
        .collect()
    }
}

impl Volume {
    /// Bytes that each snapshot holds and the live file system does not, oldest first: an estimate that costs nothing. It
    /// is what was removed or overwritten between a snapshot and the next. Deleting that snapshot alone does not
    /// free what older ones have too; and what was freed by deleting others is not taken off.
    pub fn space_held(&self) -> Vec<(String, u64)> {
        self.shared.space_held()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_minute() {
        let told = LastTold::default();
        let lines = [-5, 0, 54, 55, 56, 114, 115, 3, 4].map(|now| told.again(now));
        assert_eq!(lines, [true, false, false, true, false, false, true, true, false]);
    }
}
