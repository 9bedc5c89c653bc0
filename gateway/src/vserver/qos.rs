//! Quality of service of a virtual server: the write throttle and the byte counters.
//!
//! Only client writes are ever held back, reads are counted. What the limit is, and why, is decided elsewhere.

use arc_swap::ArcSwapOption;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;

/// Bytes in one cell of the limiter. Cells of one byte are off by 10 to 100 % above 150 MB/s.
const CELL_BYTES: u64 = 1024;
/// Most cells taken at once, so that a new limit takes hold soon.
const CHUNK_CELLS_MAX: u64 = 64;
/// The lowest limit that can be set, in bytes per second: one cell a second.
pub const WRITE_LIMIT_MIN: u64 = CELL_BYTES;

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
    bytes_per_s: u64,
    chunk_cells: u64,
    clock: RuntimeClock,
    limiter: Limiter,
}

impl Throttle {
    fn new(bytes_per_s: u64) -> Self {
        let bytes_per_s = bytes_per_s.max(WRITE_LIMIT_MIN);
        let period_ns = (CELL_BYTES * 1_000_000_000 / bytes_per_s).max(1);
        // A burst of about 10 ms; a chunk is half of it, so that a timer that fires late loses nothing.
        let burst_cells = (10_000_000 / period_ns).clamp(2, u64::from(u32::MAX));
        let burst =
            NonZeroU32::new(u32::try_from(burst_cells).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(Duration::from_nanos(period_ns))
            .unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN))
            .allow_burst(burst);
        let clock = RuntimeClock { origin: Instant::now() };
        let limiter = RateLimiter::direct_with_clock(quota, clock.clone());
        Throttle { bytes_per_s, chunk_cells: (burst_cells / 2).clamp(1, CHUNK_CELLS_MAX), clock, limiter }
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

/// Bytes and operations since the vserver was mounted here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QosCounters {
    /// Bytes that clients read.
    pub read_bytes: u64,
    /// READ operations.
    pub read_ops: u64,
    /// Bytes that clients wrote (admitted).
    pub write_bytes: u64,
    /// WRITE operations (admitted).
    pub write_ops: u64,
    /// Time that writes spent waiting for the throttle, in microseconds, over all writes.
    pub throttled_us: u64,
}

/// The throttle and the counters of one vserver.
#[derive(Debug, Default)]
pub struct Qos {
    throttle: ArcSwapOption<Throttle>,
    /// Woken when the limit changes, so that a write that waits under an old limit looks again.
    changed: Notify,
    /// Writers wait in line; the value is what is left, in bytes, of the last cell taken.
    line: Mutex<u64>,
    read_bytes: AtomicU64,
    read_ops: AtomicU64,
    write_bytes: AtomicU64,
    write_ops: AtomicU64,
    throttled_us: AtomicU64,
}

impl Qos {
    /// No limit, all counters 0.
    pub fn new() -> Self {
        Qos::default()
    }

    /// Waits until `bytes` may be written under the limit in force, first come first served. Call it before the
    /// gate.
    pub async fn admit_write(&self, bytes: u32) {
        if self.throttle.load().is_some() {
            let start = Instant::now();
            self.wait_in_line(u64::from(bytes)).await;
            let waited_us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.throttled_us.fetch_add(waited_us, Relaxed);
        }
        self.write_bytes.fetch_add(u64::from(bytes), Relaxed);
        self.write_ops.fetch_add(1, Relaxed);
    }

    async fn wait_in_line(&self, bytes: u64) {
        let mut left = self.line.lock().await;
        let from_last_cell = (*left).min(bytes);
        *left -= from_last_cell;
        let mut need = bytes - from_last_cell;
        while need > 0 {
            // Noted before the limit is read: a change between the two is then not missed.
            let changed = self.changed.notified();
            let Some(throttle) = self.throttle.load_full() else {
                *left = 0;
                return;
            };
            let cells = need.div_ceil(CELL_BYTES).min(throttle.chunk_cells);
            match throttle.take(cells) {
                Ok(()) => {
                    let taken = cells * CELL_BYTES;
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

    /// Counts a read. Reads are never throttled.
    pub fn admit_read(&self, bytes: u32) {
        self.read_bytes.fetch_add(u64::from(bytes), Relaxed);
        self.read_ops.fetch_add(1, Relaxed);
    }

    /// Sets the write limit, in bytes per second, or lifts it. Takes hold within one chunk, also for writes that
    /// already wait. Limits below [`WRITE_LIMIT_MIN`] count as that.
    pub fn set_write_limit(&self, bytes_per_s: Option<u64>) {
        if self.write_limit() == bytes_per_s.map(|limit| limit.max(WRITE_LIMIT_MIN)) {
            return;
        }
        self.throttle.store(bytes_per_s.map(|limit| Arc::new(Throttle::new(limit))));
        self.changed.notify_waiters();
    }

    /// The limit in force, in bytes per second.
    pub fn write_limit(&self) -> Option<u64> {
        self.throttle.load().as_ref().map(|throttle| throttle.bytes_per_s)
    }

    /// The counters. A rate is the difference of two readings over the time between them.
    pub fn counters(&self) -> QosCounters {
        QosCounters {
            read_bytes: self.read_bytes.load(Relaxed),
            read_ops: self.read_ops.load(Relaxed),
            write_bytes: self.write_bytes.load(Relaxed),
            write_ops: self.write_ops.load(Relaxed),
            throttled_us: self.throttled_us.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Eight writers write 32 KiB pieces for `secs` of paused time; the bytes that got through.
    async fn written_in(qos: &Arc<Qos>, piece: u32, secs: u64) -> u64 {
        let before = qos.counters().write_bytes;
        let writers: Vec<_> = (0..8)
            .map(|_| {
                let qos = Arc::clone(qos);
                tokio::spawn(async move {
                    loop {
                        qos.admit_write(piece).await;
                    }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_secs(secs)).await;
        let after = qos.counters().write_bytes;
        for writer in &writers {
            writer.abort();
        }
        after - before
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_the_limit_within_3_percent() {
        for (limit, piece) in [(100_000, 100), (1 << 20, 4096), (50 << 20, 32 << 10), (400 << 20, 1 << 20)] {
            let qos = Arc::new(Qos::new());
            qos.set_write_limit(Some(limit));
            let bytes = written_in(&qos, piece, 10).await;
            let off = (bytes as f64 / 10.0 / limit as f64) - 1.0;
            assert!(off.abs() < 0.03, "limit {limit}, pieces of {piece}: off by {:.2} %", off * 100.0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lifted_limit_frees_a_waiting_write_at_once() {
        let qos = Arc::new(Qos::new());
        qos.set_write_limit(Some(WRITE_LIMIT_MIN));
        let waiting = tokio::spawn({
            let qos = Arc::clone(&qos);
            async move { qos.admit_write(1 << 20).await }
        });
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(!waiting.is_finished());
        let start = Instant::now();
        qos.set_write_limit(None);
        waiting.await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(qos.write_limit(), None);
        assert!(qos.counters().throttled_us >= 3_000_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_limit_takes_hold_for_a_write_that_already_waits() {
        let qos = Arc::new(Qos::new());
        qos.set_write_limit(Some(WRITE_LIMIT_MIN));
        let waiting = tokio::spawn({
            let qos = Arc::clone(&qos);
            async move { qos.admit_write(1 << 20).await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        qos.set_write_limit(Some(1 << 20));
        let start = Instant::now();
        waiting.await.unwrap();
        let took_ms = start.elapsed().as_millis();
        assert!((900..=1050).contains(&took_ms), "{took_ms} ms");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nothing_waits_and_reads_are_only_counted() {
        let qos = Qos::new();
        let start = Instant::now();
        qos.admit_write(u32::MAX).await;
        qos.set_write_limit(Some(WRITE_LIMIT_MIN));
        qos.admit_read(u32::MAX);
        assert_eq!(start.elapsed(), Duration::ZERO);
        let counters = qos.counters();
        assert_eq!((counters.write_bytes, counters.read_bytes), (u64::from(u32::MAX), u64::from(u32::MAX)));
        assert_eq!((counters.write_ops, counters.read_ops), (1, 1));
    }
}
