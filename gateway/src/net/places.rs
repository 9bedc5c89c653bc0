//! What one connection has received and not answered: so many calls and so much memory, of the connection, its client and
//! its listener.

use super::limits::Seat;
use std::io;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Calls of one connection that were received and whose replies are not sent.
const CALLS_MAX: usize = 128;
/// KiB of one connection's calls and replies in that state.
const CALLS_KIB_MAX: u32 = 16 << 10;

/// The places of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    calls: Arc<Semaphore>,
    kib: Arc<Semaphore>,
    seat: Arc<Seat>,
}

/// A call's place among those of its connection; held until its reply is sent.
#[derive(Debug)]
pub(crate) struct Place {
    _call: OwnedSemaphorePermit,
    _kib: OwnedSemaphorePermit,
    _client_kib: OwnedSemaphorePermit,
    _listener_kib: OwnedSemaphorePermit,
}

impl Places {
    pub(crate) fn new(seat: Arc<Seat>) -> Self {
        Places {
            calls: Arc::new(Semaphore::new(CALLS_MAX)),
            kib: Arc::new(Semaphore::new(CALLS_KIB_MAX as usize)),
            seat,
        }
    }

    /// Waits until one more call may be received.
    pub(crate) async fn turn(&self) -> io::Result<OwnedSemaphorePermit> {
        Arc::clone(&self.calls).acquire_owned().await.map_err(io::Error::other)
    }

    /// Waits until there is room for a call whose bytes, with those of its reply, are so many.
    pub(crate) async fn place(&self, turn: OwnedSemaphorePermit, bytes: usize) -> io::Result<Place> {
        let most = CALLS_KIB_MAX.min(self.seat.call_kib_max()).max(1);
        let want = u32::try_from(bytes >> 10).unwrap_or(u32::MAX).min(most - 1) + 1;
        let take = async |kib: &Arc<Semaphore>| {
            Arc::clone(kib).acquire_many_owned(want).await.map_err(io::Error::other)
        };
        let kib = take(&self.kib).await?;
        let client_kib = take(&self.seat.client_kib).await?;
        let listener_kib = take(self.seat.kib()).await?;
        Ok(Place { _call: turn, _kib: kib, _client_kib: client_kib, _listener_kib: listener_kib })
    }
}
