//! How fast operations may come while consistency points write what they have changed.
//!
//! A CP writes what it froze while operations fill the other half of the dirty memory and of the log. If they were let in until
//! that is full, they would all stand still until the CP ends. So how full it may be follows how much the CP has
//! written: who is faster than the disk waits a little for each operation, and nobody waits for long. There is no clock in this,
//! only progress.

use parking_lot::{Mutex, MutexGuard};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Parts of the room in which fullness is measured.
pub(crate) const FULL: u64 = 1000;
/// How full it is when a CP starts.
pub(crate) const START: u64 = 250;
/// How full it may be whatever the running CP has done.
const UNPACED: u64 = 350;
/// How full it may be when the CP has written all blocks; the rest is for its last flushes.
const WRITTEN: u64 = 900;
/// Blocks written between two wake-ups of who waits.
const STEP: u64 = 32;

/// The progress of a volume's CPs, and the operations that wait for it.
#[derive(Default)]
pub(crate) struct Pace {
    running: AtomicBool,
    /// Blocks that the running CP has to write, about, and has written.
    total: AtomicU64,
    written: AtomicU64,
    queued: AtomicUsize,
    turn: Mutex<()>,
}

/// A place in the queue, at its head.
pub(crate) struct Turn<'a> {
    pace: &'a Pace,
    _turn: MutexGuard<'a, ()>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.pace.queued.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pace {
    /// A CP begins that has so many blocks to write.
    pub(crate) fn begin(&self, blocks: u64) {
        self.total.store(blocks.max(1), Ordering::Relaxed);
        self.written.store(0, Ordering::Relaxed);
        self.running.store(true, Ordering::Relaxed);
    }

    /// It has ended.
    pub(crate) fn end(&self) {
        self.running.store(false, Ordering::Relaxed);
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }

    /// One block more is written; whether that is worth waking who waits.
    pub(crate) fn wrote_block(&self) -> bool {
        (self.written.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(STEP)
    }

    /// How full it may be now, of [`FULL`].
    pub(crate) fn allowed(&self) -> u64 {
        if !self.is_running() {
            return WRITTEN;
        }
        let total = self.total.load(Ordering::Relaxed).max(1);
        let written = self.written.load(Ordering::Relaxed).min(total);
        UNPACED + (WRITTEN - UNPACED) * written / total
    }

    /// Whether operations wait, so that a new one has to queue.
    pub(crate) fn is_crowded(&self) -> bool {
        self.queued.load(Ordering::Relaxed) > 0
    }

    /// Waits for all who came before.
    pub(crate) fn queue(&self) -> Turn<'_> {
        self.queued.fetch_add(1, Ordering::Relaxed);
        Turn { pace: self, _turn: self.turn.lock() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed_grows_with_what_the_cp_has_written() {
        let pace = Pace::default();
        assert_eq!(pace.allowed(), WRITTEN, "nothing to wait for");
        pace.begin(100);
        let mut last = pace.allowed();
        assert_eq!(last, UNPACED);
        for _ in 0..100 {
            pace.wrote_block();
            assert!(pace.allowed() >= last && pace.allowed() - last <= FULL / 100);
            last = pace.allowed();
        }
        assert_eq!(last, WRITTEN);
        pace.wrote_block();
        assert_eq!(pace.allowed(), WRITTEN, "it may have more to write than it thought");
    }
}
