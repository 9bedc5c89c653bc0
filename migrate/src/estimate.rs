//! How fast transfers are, and how long the vserver would pause if the cutover began now. Pure arithmetic.

use std::collections::VecDeque;

/// Active transfer time that the rate looks back over, in microseconds.
const WINDOW_US: u64 = 5_000_000;
/// Transfers smaller than this say more about round trips than about the rate.
const SAMPLE_BYTES_MIN: u64 = 1 << 20;
/// Taken as the rate while nothing was measured.
const RATE_DEFAULT: u64 = 64 << 20;
/// What mounting, importing the open state and round trips are taken to cost, in milliseconds.
const MOUNT_MS: u64 = 30;
/// Durable records in the frozen part that follow one another: the edge twice on either side, the handover.
const FROZEN_RECORDS: u64 = 5;
/// One durable record, before one was measured, in milliseconds.
const RECORD_MS_DEFAULT: u64 = 10;

/// Transfer rate over a window of *active* time: pauses between transfers do not count.
#[derive(Clone, Debug, Default)]
pub struct RateEstimator {
    samples: VecDeque<(u64, u64)>,
    bytes: u64,
    elapsed_us: u64,
}

impl RateEstimator {
    /// Takes in a transfer, or a part of one.
    pub fn record(&mut self, bytes: u64, elapsed_us: u64) {
        if bytes < SAMPLE_BYTES_MIN || elapsed_us == 0 {
            return;
        }
        self.samples.push_back((bytes, elapsed_us));
        self.bytes += bytes;
        self.elapsed_us += elapsed_us;
        while self.samples.len() > 1 {
            let Some(&(old_bytes, old_us)) = self.samples.front() else { break };
            if self.elapsed_us - old_us < WINDOW_US {
                break;
            }
            self.samples.pop_front();
            self.bytes -= old_bytes;
            self.elapsed_us -= old_us;
        }
    }

    /// Bytes per second, if anything was measured.
    #[must_use]
    pub fn measured(&self) -> Option<u64> {
        let rate = u128::from(self.bytes) * 1_000_000 / u128::from(self.elapsed_us.max(1));
        (self.elapsed_us > 0).then(|| u64::try_from(rate).unwrap_or(u64::MAX).max(1))
    }

    /// Bytes per second, or a cautious guess.
    #[must_use]
    pub fn rate(&self) -> u64 {
        self.measured().unwrap_or(RATE_DEFAULT)
    }
}

/// What a round costs that does not grow with its bytes, and what follows the last one.
#[derive(Clone, Debug, Default)]
pub struct FixedCosts {
    overhead_ms: Option<u64>,
    record_ms: Option<u64>,
}

impl FixedCosts {
    /// Takes in a round: all its time but that of the bytes is overhead (CP, handshake, install).
    pub fn record_round(&mut self, bytes: u64, total_ms: u64, rate: u64) {
        let overhead = total_ms.saturating_sub(duration_ms(bytes, rate));
        // Recent rounds are most like the last one: weigh the newest by half.
        self.overhead_ms = Some(self.overhead_ms.map_or(overhead, |old| u64::midpoint(old, overhead)));
    }

    /// Takes in the time that a durable record took here; the destination's are taken to be alike.
    pub fn record_saved(&mut self, took_ms: u64) {
        self.record_ms = Some(self.record_ms.map_or(took_ms, |old| u64::midpoint(old, took_ms)));
    }

    /// Overhead of one round, in milliseconds.
    #[must_use]
    pub fn round_ms(&self) -> u64 {
        self.overhead_ms.unwrap_or(40).max(1)
    }

    /// All of a pause but the time of its bytes, in milliseconds.
    #[must_use]
    pub fn pause_ms(&self) -> u64 {
        self.round_ms() + MOUNT_MS + FROZEN_RECORDS * self.record_ms.unwrap_or(RECORD_MS_DEFAULT)
    }
}

/// Time that `bytes` take at `rate`, rounded up, in milliseconds.
#[must_use]
pub fn duration_ms(bytes: u64, rate: u64) -> u64 {
    let ms = (u128::from(bytes) * 1000).div_ceil(u128::from(rate.max(1)));
    u64::try_from(ms).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_follows_the_last_window_and_ignores_tiny_transfers() {
        let mut rate = RateEstimator::default();
        assert_eq!(rate.measured(), None);
        rate.record(100, 1);
        assert_eq!(rate.measured(), None);
        rate.record(100 << 20, 1_000_000);
        assert_eq!(rate.rate(), 100 << 20);
        for _ in 0..6 {
            rate.record(10 << 20, 1_000_000);
        }
        assert_eq!(rate.rate(), 10 << 20);
    }

    #[test]
    fn durations_round_up_and_never_divide_by_zero() {
        assert_eq!(duration_ms(1, 1000), 1);
        assert_eq!(duration_ms(1001, 1000), 1001);
        assert_eq!(duration_ms(5, 0), 5000);
        assert_eq!(duration_ms(u64::MAX, 1), u64::MAX);
    }

    #[test]
    fn overhead_is_what_the_bytes_do_not_explain() {
        let mut costs = FixedCosts::default();
        costs.record_round(1000, 1030, 1000);
        assert_eq!(costs.round_ms(), 30);
        costs.record_round(0, 10, 1000);
        assert_eq!(costs.round_ms(), 20);
    }
}
