//! Guessing passwords takes too long: after ten failures within ten minutes a user can't log in for ten minutes.
//!
//! Callers pass the time. What was counted is forgotten at a restart and when the vserver moves.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// So many failures within [`WINDOW`] lock a user out.
const FAILURES_MAX: usize = 10;
const WINDOW: Duration = Duration::from_secs(600);
/// How long a user is locked out. Attempts meanwhile do not prolong it.
const LOCKED: Duration = Duration::from_secs(600);
/// Most users that are counted at a time. Only users that exist are, so there are never more.
const COUNTED_MAX: usize = super::users::USERS_MAX;

/// Failed logins of the users of a vserver, by RID.
#[derive(Debug, Default)]
pub struct Lockout {
    failures: Mutex<HashMap<u32, Failures>>,
}

#[derive(Debug)]
enum Failures {
    /// When they were, the oldest first.
    Some(Vec<Instant>),
    /// Too many.
    LockedUntil(Instant),
}

impl Failures {
    fn counts(&self, now: Instant) -> bool {
        match self {
            Failures::Some(times) => times.last().is_some_and(|last| now.duration_since(*last) < WINDOW),
            Failures::LockedUntil(until) => now < *until,
        }
    }
}

impl Lockout {
    /// Whether the user can't log in now, whatever the password. To be asked before a password is looked at.
    pub fn is_locked(&self, rid: u32, now: Instant) -> bool {
        matches!(self.failures.lock().get(&rid), Some(Failures::LockedUntil(until)) if now < *until)
    }

    /// Counts a wrong password of a user who exists. Says whether the user is locked out now.
    pub fn failed(&self, rid: u32, now: Instant) -> bool {
        let mut failures = self.failures.lock();
        if failures.len() >= COUNTED_MAX {
            failures.retain(|_, found| found.counts(now));
        }
        if failures.len() >= COUNTED_MAX && !failures.contains_key(&rid) {
            return false;
        }
        let found = failures.entry(rid).or_insert_with(|| Failures::Some(Vec::new()));
        if !found.counts(now) {
            *found = Failures::Some(Vec::new());
        }
        let Failures::Some(times) = found else { return true };
        times.retain(|time| now.duration_since(*time) < WINDOW);
        times.push(now);
        let locked = times.len() >= FAILURES_MAX;
        if locked {
            *found = Failures::LockedUntil(now + LOCKED);
        }
        locked
    }

    /// Forgets the failures of a user who has logged in or was given a new password, or whom an administrator lets in again.
    pub fn forget(&self, rid: u32) {
        self.failures.lock().remove(&rid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn ten_failures_lock_a_user_out_for_ten_minutes() {
        let (lockout, start) = (Lockout::default(), Instant::now());
        for nth in 1..10 {
            assert!(!lockout.failed(1, start + nth * SECOND), "{nth}");
        }
        assert!(!lockout.is_locked(1, start + 9 * SECOND));
        assert!(lockout.failed(1, start + 10 * SECOND));
        assert!(lockout.is_locked(1, start + 11 * SECOND) && !lockout.is_locked(2, start + 11 * SECOND));
        assert!(lockout.failed(1, start + 500 * SECOND), "still");
        assert!(lockout.is_locked(1, start + 609 * SECOND));
        assert!(!lockout.is_locked(1, start + 610 * SECOND), "attempts meanwhile did not prolong it");
        assert!(!lockout.failed(1, start + 610 * SECOND), "and it begins anew");
    }

    #[test]
    fn old_failures_and_those_before_a_login_do_not_count() {
        let (lockout, start) = (Lockout::default(), Instant::now());
        for nth in 0..100 {
            assert!(!lockout.failed(1, start + nth * 70 * SECOND), "{nth}: at most nine in ten minutes");
        }
        for _ in 0..100 {
            assert!(!lockout.failed(2, start));
            lockout.forget(2);
        }
    }

    #[test]
    fn the_table_is_bounded_and_keeps_what_counts() {
        let (lockout, start) = (Lockout::default(), Instant::now());
        let most = u32::try_from(COUNTED_MAX).unwrap();
        for _ in 0..FAILURES_MAX {
            lockout.failed(0, start);
        }
        for rid in 1..2 * most {
            lockout.failed(rid, start);
        }
        assert_eq!(lockout.failures.lock().len(), COUNTED_MAX);
        assert!(lockout.is_locked(0, start));
        lockout.failed(3 * most, start + WINDOW);
        assert_eq!(lockout.failures.lock().len(), 1, "what is over makes room");
    }
}
