//! FILETIME (MS-DTYP §2.3.3): steps of 100 ns since 1601, as against Unix time.

use super::Malformed;

/// Seconds from 1601 to 1970.
const EPOCH_SECS: i64 = 11_644_473_600;
const TICKS_PER_SEC: u64 = 10_000_000;
const NANOS_PER_TICK: u32 = 100;

/// The FILETIME of a Unix time. What is before 1601 becomes 0, what is after the year 30827 the last one that is positive as
/// a signed number.
#[must_use]
pub fn from_unix(secs: i64, nanos: u32) -> u64 {
    let Ok(secs) = u64::try_from(secs.saturating_add(EPOCH_SECS)) else { return 0 };
    secs.saturating_mul(TICKS_PER_SEC)
        .saturating_add(u64::from(nanos / NANOS_PER_TICK))
        .min(i64::MAX.unsigned_abs())
}

/// The Unix time of a FILETIME: seconds and nanoseconds. What is negative as a signed number becomes the last that is not.
#[must_use]
pub fn to_unix(filetime: u64) -> (i64, u32) {
    let ticks = filetime.min(i64::MAX.unsigned_abs());
    let secs = (ticks / TICKS_PER_SEC).cast_signed() - EPOCH_SECS;
    let nanos = u32::try_from(ticks % TICKS_PER_SEC).unwrap_or_default() * NANOS_PER_TICK;
    (secs, nanos)
}

/// A time in a request to set times (MS-FSCC §2.4.7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TimeChange {
    /// 0: leave it.
    Keep,
    /// -1: leave it, and what this handle does from now on does not change it either.
    Suspend,
    /// -2: what this handle does changes it again.
    Resume,
    /// To this FILETIME.
    Set(u64),
}

impl TimeChange {
    /// # Errors
    /// [`Malformed`] for other negative numbers.
    pub fn of(filetime: u64) -> Result<TimeChange, Malformed> {
        match filetime.cast_signed() {
            0 => Ok(TimeChange::Keep),
            -1 => Ok(TimeChange::Suspend),
            -2 => Ok(TimeChange::Resume),
            1.. => Ok(TimeChange::Set(filetime)),
            _ => Err(Malformed::new("time")),
        }
    }
}
