//! Credits of one connection (MS-SMB2 §3.3.1.1): which message ids a client may use, each once.

use std::collections::BTreeSet;

/// Most credits that a client may have.
const CREDITS_MAX: u64 = 8192;

/// The message ids that a client may use.
#[derive(Debug)]
pub(super) struct Window {
    /// Everything below was used.
    first: u64,
    /// Nothing from here on was granted.
    end: u64,
    /// Used, from `first` on.
    used: BTreeSet<u64>,
}

/// A message id was used that was not granted, or was used before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct OutOfWindow;

impl Default for Window {
    /// A client begins with one credit, for NEGOTIATE.
    fn default() -> Self {
        Window { first: 0, end: 1, used: BTreeSet::new() }
    }
}

impl Window {
    /// Uses `charge` ids from `id`.
    pub(super) fn take(&mut self, id: u64, charge: u16) -> Result<(), OutOfWindow> {
        let end = id.checked_add(u64::from(charge.max(1))).ok_or(OutOfWindow)?;
        let fits = id >= self.first && end <= self.end && self.used.range(id..end).next().is_none();
        if !fits {
            return Err(OutOfWindow);
        }
        self.used.extend(id..end);
        while self.used.remove(&self.first) {
            self.first += 1;
        }
        Ok(())
    }

    /// Grants what a client asks for, as far as it may have it; one at least where it would have none. Gives how many.
    pub(super) fn grant(&mut self, wanted: u16) -> u16 {
        let has = self.end - self.first - self.used.len() as u64;
        // An id that is never used must not let the window grow for ever.
        let room =
            CREDITS_MAX.saturating_sub(has).min((2 * CREDITS_MAX).saturating_sub(self.end - self.first));
        let least = u64::from(has == 0);
        let granted = u64::from(wanted.max(1)).min(room).max(least);
        self.end += granted;
        u16::try_from(granted).unwrap_or(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_id_is_used_once_and_only_if_it_was_granted() {
        let mut window = Window::default();
        assert_eq!(window.take(1, 1), Err(OutOfWindow));
        assert_eq!(window.take(0, 0), Ok(()));
        assert_eq!(window.take(0, 1), Err(OutOfWindow));
        assert_eq!(window.grant(10), 10);
        assert_eq!(window.take(5, 4), Ok(()));
        assert_eq!(window.take(4, 2), Err(OutOfWindow));
        assert_eq!(window.take(10, 2), Err(OutOfWindow));
        assert_eq!(window.take(u64::MAX, 2), Err(OutOfWindow));
        assert_eq!(window.take(1, 4), Ok(()));
        assert_eq!(window.take(9, 2), Ok(()));
        assert_eq!(window.take(10, 1), Err(OutOfWindow));
    }

    #[test]
    fn a_client_has_so_many_at_the_most_and_never_none() {
        let mut window = Window::default();
        window.take(0, 1).unwrap();
        assert_eq!(window.grant(u16::MAX), 8192);
        assert_eq!(window.grant(100), 0);
        for id in 1..8193 {
            window.take(id, 1).unwrap();
        }
        assert_eq!(window.grant(0), 1);
        // One that is left out again and again.
        let mut next = 8194;
        while window.grant(8) > 0 {
            while window.take(next, 1).is_ok() {
                next += 1;
            }
        }
        assert!(next <= 8194 + 2 * CREDITS_MAX, "{next}");
        assert_eq!(window.take(8193, 1), Ok(()));
        assert!(window.grant(1) > 0);
    }
}
