//! The grace period: after locks were lost, only clients that had some may take them, until they had time to.

use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// Of one vserver. Over unless it was begun.
#[derive(Debug, Default)]
pub struct Grace {
    until: Mutex<Option<Instant>>,
}

impl Grace {
    /// Begins it.
    pub fn begin(&self, period: Duration) {
        *self.until.lock() = Instant::now().checked_add(period);
    }

    /// Ends it now.
    pub fn end(&self) {
        *self.until.lock() = None;
    }

    /// How long it goes on; `None`: it is over.
    pub fn left(&self) -> Option<Duration> {
        let mut until = self.until.lock();
        let left = (*until)?.checked_duration_since(Instant::now()).filter(|left| !left.is_zero());
        if left.is_none() {
            *until = None;
        }
        left
    }

    /// Whether it goes on.
    pub fn is_on(&self) -> bool {
        self.left().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_over_unless_begun_and_ends_by_itself() {
        let grace = Grace::default();
        assert!(!grace.is_on());
        grace.begin(Duration::from_millis(40));
        assert!(grace.is_on());
        std::thread::sleep(Duration::from_millis(60));
        assert!(!grace.is_on());
        grace.begin(Duration::from_secs(60));
        grace.end();
        assert!(!grace.is_on());
    }
}
