//! Who waits for a lock, and how it learns that it has it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// How one who waits is reached.
#[derive(Clone, Debug)]
pub enum Wait {
    /// Over the network: the protocol knows by these bytes how. It survives a move of the vserver.
    Told(Box<[u8]>),
    /// A request of a connection that is still there.
    Here(Arc<Waiter>),
}

impl PartialEq for Wait {
    fn eq(&self, other: &Wait) -> bool {
        match (self, other) {
            (Wait::Told(one), Wait::Told(other)) => one == other,
            (Wait::Here(one), Wait::Here(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Eq for Wait {}

/// A request that waits for a lock.
#[derive(Debug, Default)]
pub struct Waiter {
    granted: AtomicBool,
    told: Notify,
}

impl Waiter {
    /// Ends when the lock is its own.
    pub async fn granted(&self) {
        while !self.is_granted() {
            // A permit is kept for who comes late.
            self.told.notified().await;
        }
    }

    /// Whether the lock is its own.
    pub fn is_granted(&self) -> bool {
        self.granted.load(Ordering::Acquire)
    }

    pub(super) fn grant(&self) {
        self.granted.store(true, Ordering::Release);
        self.told.notify_one();
    }
}
