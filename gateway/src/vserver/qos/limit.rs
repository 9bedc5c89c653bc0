//! One limited quantity: who wants some of it waits in line until the limit in force lets it through.

use arc_swap::ArcSwapOption;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;

/// Most cells taken at once, so that a new limit takes hold soon.
const CHUNK_CELLS_MAX: u64 = 64;

/// Time as the async runtime sees it, so that tests may pause it.
#[derive(Clone, Debug)]
struct RuntimeClock {
    origin: Instant,
}

impl Clock for RuntimeClock {
    type Instant = Duration;
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, RuntimeClock, NoOpMiddleware<Duration>>;

/// One limit in force. It is replaced, never changed: a governor quota is fixed.
#[derive(Debug)]
struct Throttle {
    per_s: u64,
    chunk_cells: u64,
    clock: RuntimeClock,
    limiter: Limiter,
}

impl Throttle {
    fn new(per_s: u64, cell: u64) -> Self {
        let per_s = per_s.max(cell);
        let period_ns = (cell * 1_000_000_000 / per_s).max(1);
        // A burst of about 10 ms; a chunk is half of it, so that a timer that fires late loses nothing.
        let burst_cells = (10_000_000 / period_ns).clamp(2, u64::from(u32::MAX));
        let burst =
            NonZeroU32::new(u32::try_from(burst_cells).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(Duration::from_nanos(period_ns))
            .unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN))
            .allow_burst(burst);
        let clock = RuntimeClock { origin: Instant::now() };
        let limiter = RateLimiter::direct_with_clock(quota, clock.clone());
        Throttle { per_s, chunk_cells: (burst_cells / 2).clamp(1, CHUNK_CELLS_MAX), clock, limiter }
    }

    /// `Err`: how long to wait before asking again.
    fn take(&self, cells: u64) -> Result<(), Duration> {
        let Some(cells) = u32::try_from(cells).ok().and_then(NonZeroU32::new) else { return Ok(()) };
        match self.limiter.check_n(cells) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(not_until)) => Err(not_until.wait_time_from(self.clock.now())),
            // Never: a chunk is at most half the burst. Letting it through beats holding it for ever.
            Err(_) => Ok(()),
        }
    }
}

/// A line before a limit that may change or go at any time.
#[derive(Debug)]
pub(super) struct Limit {
    /// How much of the quantity is one cell of the limiter.
    cell: u64,
    throttle: ArcSwapOption<Throttle>,
    /// Woken when the limit changes, so that who waits under an old limit looks again.
    changed: Notify,
    /// The value is what is left, of the quantity, of the last cell taken.
    line: Mutex<u64>,
}

impl Limit {
    /// No limit, in a quantity that is counted in cells of this size.
    pub(super) fn new(cell: u64) -> Self {
        Limit { cell, throttle: ArcSwapOption::empty(), changed: Notify::new(), line: Mutex::default() }
    }

    /// The limit in force, per second.
    pub(super) fn get(&self) -> Option<u64> {
        self.throttle.load().as_ref().map(|throttle| throttle.per_s)
    }

    /// Sets the limit, per second, or lifts it. Takes hold within one chunk, also for who already waits. Less than
    /// one cell counts as one.
    pub(super) fn set(&self, per_s: Option<u64>) {
        self.throttle.store(per_s.map(|per_s| Arc::new(Throttle::new(per_s, self.cell))));
        self.changed.notify_waiters();
    }

    /// Waits until `amount` is let through, first come first served.
    pub(super) async fn pass(&self, amount: u64) {
        if amount == 0 || self.throttle.load().is_none() {
            return;
        }
        let mut left = self.line.lock().await;
        let from_last_cell = (*left).min(amount);
        *left -= from_last_cell;
        let mut need = amount - from_last_cell;
        while need > 0 {
            // Noted before the limit is read: a change between the two is then not missed.
            let changed = self.changed.notified();
            let Some(throttle) = self.throttle.load_full() else {
                *left = 0;
                return;
            };
            let cells = need.div_ceil(self.cell).min(throttle.chunk_cells);
            match throttle.take(cells) {
                Ok(()) => {
                    let taken = cells * self.cell;
                    *left += taken.saturating_sub(need);
                    need = need.saturating_sub(taken);
                }
                Err(wait) => tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = changed => {}
                },
            }
        }
    }
}
