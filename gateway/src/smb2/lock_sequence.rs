//! LOCK requests that come twice (MS-SMB2 §3.3.5.14): a client that loses a connection sends what was under way once more. Each request is
//! in a bucket, with a number that differs from that of the one before it there; what has been done is not done again.

use super::dispatch::Asked;
use super::open::Open;
use super::wire::lock::LockRequest;
use super::wire::negotiate::CAP_MULTI_CHANNEL;
use parking_lot::Mutex;
use std::sync::Arc;

const BUCKETS: usize = 64;
/// Stands for no number: they have four bits.
const NONE: u8 = u8::MAX;

/// `Open.LockSequenceArray`: the numbers of the newest requests that were done.
#[derive(Debug)]
pub(super) struct LockSequences(Mutex<[Option<u8>; BUCKETS]>);

impl Default for LockSequences {
    fn default() -> Self {
        LockSequences(Mutex::new([None; BUCKETS]))
    }
}

impl Clone for LockSequences {
    fn clone(&self) -> Self {
        LockSequences(Mutex::new(*self.0.lock()))
    }
}

impl LockSequences {
    pub(super) fn to_bytes(&self) -> [u8; BUCKETS] {
        self.0.lock().map(|last| last.unwrap_or(NONE))
    }

    pub(super) fn of_bytes(bytes: &[u8; BUCKETS]) -> LockSequences {
        LockSequences(Mutex::new(bytes.map(|last| Some(last).filter(|last| *last != NONE))))
    }

    /// Whether a request has been done. If not, nothing in its bucket has until it is.
    fn has_done(&self, bucket: usize, number: u8) -> bool {
        let mut buckets = self.0.lock();
        let Some(last) = buckets.get_mut(bucket) else { return false };
        let done = *last == Some(number);
        if !done {
            *last = None;
        }
        done
    }

    fn set_done(&self, bucket: usize, number: u8) {
        if let Some(last) = self.0.lock().get_mut(bucket) {
            *last = Some(number);
        }
    }
}

/// A request's place among those of its open, if it has one.
pub(super) struct Sequenced {
    open: Arc<Open>,
    place: Option<(usize, u8)>,
}

impl Sequenced {
    /// As with Samba all opens of a client that may have several connections count, and those that outlive theirs.
    pub(super) fn of(asked: &Asked, open: &Arc<Open>, request: &LockRequest) -> Sequenced {
        let several = asked.agreed().is_some_and(|agreed| agreed.capabilities & CAP_MULTI_CHANNEL != 0);
        let counts = several || open.durable.is_some();
        let bucket = usize::try_from(request.sequence_index).ok().and_then(|index| index.checked_sub(1));
        let place = bucket.filter(|_| counts).map(|bucket| (bucket, request.sequence_number));
        Sequenced { open: Arc::clone(open), place }
    }

    /// Whether it has been done before.
    pub(super) fn is_done(&self) -> bool {
        self.place.is_some_and(|(bucket, number)| self.open.lock_sequences.has_done(bucket, number))
    }

    /// It is done now.
    pub(super) fn set_done(&self) {
        if let Some((bucket, number)) = self.place {
            self.open.lock_sequences.set_done(bucket, number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_knows_the_newest_request_that_was_done() {
        let sequences = LockSequences::default();
        assert!(!sequences.has_done(0, 1));
        sequences.set_done(0, 1);
        assert!(sequences.has_done(0, 1));
        assert!(!sequences.has_done(1, 1));
        // Another request begins, and fails.
        assert!(!sequences.has_done(0, 2));
        assert!(!sequences.has_done(0, 1));
        sequences.set_done(7, 15);
        let elsewhere = LockSequences::of_bytes(&sequences.to_bytes());
        assert!(elsewhere.has_done(7, 15) && !elsewhere.has_done(0, 1) && !elsewhere.has_done(8, 0));
        sequences.set_done(BUCKETS, 1);
        assert!(!sequences.has_done(BUCKETS, 1));
    }
}
