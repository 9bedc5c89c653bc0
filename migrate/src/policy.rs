//! When an update is enough, when the last diff fits, and how far to lower the write limit. Pure: numbers
//! in, a decision with its reason out.

use crate::estimate::duration_ms;
use crate::model::{MigrationSpec, ThrottlePolicy};

/// Rounds of one admin cutover; then the cutover window alone decides.
pub const ADMIN_ROUNDS_MAX: u32 = 24;
/// Updates that do not come within the lag goal before the throttle is to help.
pub const UPDATE_ROUNDS_MAX: u32 = 4;

/// What is known when a decision is due.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measurement {
    /// Bytes that the next diff would hold.
    pub remaining_bytes: u64,
    /// Blocks dirtied per second since the base snapshot, in bytes.
    pub dirty_bytes_per_s: u64,
    /// What clients write per second.
    pub write_bytes_per_s: u64,
    /// Transfer rate.
    pub rate_bytes_per_s: u64,
    /// Overhead of one round, in milliseconds.
    pub round_ms: u64,
    /// A pause but for its bytes, in milliseconds.
    pub fixed_ms: u64,
    /// The write limit in force.
    pub limit: Option<u64>,
}

impl Measurement {
    /// The pause if the cutover began now, in milliseconds.
    #[must_use]
    pub fn predicted_pause_ms(&self) -> u64 {
        duration_ms(self.remaining_bytes, self.rate_bytes_per_s).saturating_add(self.fixed_ms)
    }

    /// What remains after many more rounds if nothing else changes; `None`: it grows without end.
    fn settled_bytes(&self) -> Option<u64> {
        let (dirty, rate) = (self.dirty_bytes_per_s, self.rate_bytes_per_s);
        if dirty >= rate {
            return None;
        }
        // r = dirty * (round + r / rate), solved for r.
        let per_round = u128::from(dirty) * u128::from(self.round_ms) / 1000;
        u64::try_from(per_round * u128::from(rate) / u128::from(rate - dirty)).ok()
    }
}

/// What to do next in admin cutover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Begin the cutover.
    Cutover,
    /// Lower the write limit, then one more round.
    Throttle {
        /// The new limit, in bytes per second.
        limit: u64,
        /// For people.
        reason: String,
    },
    /// One more round: what remains is still shrinking.
    Round,
    /// It does not fit, and no step is left.
    GiveUp(String),
}

/// Most bytes that the last diff may hold. Where the fixed costs eat up the target, a quarter of it is the
/// goal still: less would throttle clients for no gain that anyone notices.
fn budget_bytes(spec: &MigrationSpec, m: &Measurement) -> u64 {
    let of_target = |ms: u64| u128::from(m.rate_bytes_per_s) * u128::from(ms) / 1000;
    let left_ms = spec.pause_target_ms.saturating_sub(m.fixed_ms);
    let bytes = (of_target(left_ms) * 4 / 5).max(of_target(spec.pause_target_ms) / 4);
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// The write limit under which what remains settles within `budget`, given how much clients' writes grow
/// on their way into blocks.
fn solved_limit(m: &Measurement, budget: u64) -> u64 {
    // settled = dirty * round / (1 - dirty / rate) = budget, solved for dirty.
    let rate = u128::from(m.rate_bytes_per_s.max(1));
    let round_bytes = rate * u128::from(m.round_ms) / 1000;
    let budget = u128::from(budget);
    let dirty = rate * budget / (round_bytes + budget).max(1);
    let write = u128::from(m.write_bytes_per_s.max(1));
    let grown = u128::from(m.dirty_bytes_per_s.max(1)).clamp(write, write * 16);
    u64::try_from(dirty * write / grown).unwrap_or(u64::MAX)
}

/// The limit one step below what is in force: by the policy's factor at most, as far as the measured
/// dirty rate asks, and at least a tenth down so that steps end.
fn next_limit(policy: &ThrottlePolicy, m: &Measurement, budget: u64) -> Option<u64> {
    // Writers come in bursts: what was written in the last second alone would take some steps too far.
    let observed = m.write_bytes_per_s.max(m.dirty_bytes_per_s).max(policy.floor_bytes_per_s);
    let current = m.limit.map_or(observed, |limit| limit.min(observed.saturating_mul(2)));
    if m.limit.is_some_and(|limit| limit <= policy.floor_bytes_per_s) {
        return None;
    }
    let factor = policy.factor.clamp(0.05, 0.95);
    let step = scaled(current, factor);
    let gentle = scaled(current, 0.9);
    Some(solved_limit(m, budget).clamp(step, gentle.max(step)).max(policy.floor_bytes_per_s))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a limit need not be exact to the byte"
)]
fn scaled(value: u64, factor: f64) -> u64 {
    (value as f64 * factor) as u64
}

/// Decides what admin cutover does after a measurement, having taken `steps` and `rounds` so far.
#[must_use]
pub fn decide(spec: &MigrationSpec, steps: u32, rounds: u32, m: &Measurement) -> Decision {
    let predicted = m.predicted_pause_ms();
    let fits_window = predicted <= spec.cutover_window_ms / 2;
    if predicted <= spec.pause_target_ms && fits_window {
        return Decision::Cutover;
    }
    let budget = budget_bytes(spec, m);
    if m.remaining_bytes <= budget && fits_window {
        // Only fixed costs are left over the target; no throttle makes those smaller.
        return Decision::Cutover;
    }
    let settles = m.settled_bytes().is_some_and(|bytes| bytes <= budget);
    if rounds < ADMIN_ROUNDS_MAX && settles {
        return Decision::Round;
    }
    if steps < spec.throttle.steps_max
        && let Some(limit) = next_limit(&spec.throttle, m, budget)
    {
        let reason = format!(
            "{} to send at {}/s is a pause of {predicted} ms (goal {} ms); clients dirty {}/s",
            size(m.remaining_bytes),
            size(m.rate_bytes_per_s),
            spec.pause_target_ms,
            size(m.dirty_bytes_per_s),
        );
        return Decision::Throttle { limit, reason };
    }
    if fits_window {
        return Decision::Cutover;
    }
    Decision::GiveUp(format!(
        "predicted pause {predicted} ms does not fit the cutover window of {} ms after {steps} throttle steps",
        spec.cutover_window_ms
    ))
}

/// Whether updates have done what they can: the lag is within its goal, or does not shrink.
#[must_use]
pub fn update_done(spec: &MigrationSpec, rounds: u32, m: &Measurement) -> bool {
    duration_ms(m.remaining_bytes, m.rate_bytes_per_s) <= spec.lag_goal_ms || rounds >= UPDATE_ROUNDS_MAX
}

/// A byte count for people.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..0x10_0000 => format!("{} KiB", bytes >> 10),
        0x10_0000..0x4000_0000 => format!("{} MiB", bytes >> 20),
        _ => format!("{}.{} GiB", bytes >> 30, ((bytes >> 20) & 1023) * 10 / 1024),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn measurement(remaining: u64, dirty: u64, rate: u64, limit: Option<u64>) -> Measurement {
        Measurement {
            remaining_bytes: remaining,
            dirty_bytes_per_s: dirty,
            write_bytes_per_s: dirty,
            rate_bytes_per_s: rate,
            round_ms: 50,
            fixed_ms: 100,
            limit,
        }
    }

    fn spec() -> MigrationSpec {
        MigrationSpec::new("v", "d")
    }

    #[test]
    fn an_idle_vserver_cuts_over_at_once() {
        assert_eq!(decide(&spec(), 0, 0, &measurement(0, 0, 100 * MIB, None)), Decision::Cutover);
    }

    #[test]
    fn rounds_go_on_without_a_throttle_while_they_converge() {
        let m = measurement(100 * MIB, 20 * MIB, 200 * MIB, None);
        assert_eq!(decide(&spec(), 0, 0, &m), Decision::Round);
    }

    #[test]
    fn a_writer_faster_than_the_link_is_slowed_by_at_most_the_factor() {
        let m = measurement(500 * MIB, 400 * MIB, 200 * MIB, None);
        let Decision::Throttle { limit, reason } = decide(&spec(), 0, 0, &m) else { panic!() };
        assert_eq!(limit, 200 * MIB);
        assert!(reason.contains("500 MiB to send at 200 MiB/s"), "{reason}");
    }

    #[test]
    fn steps_end_at_the_floor_and_then_the_window_decides() {
        let spec = spec();
        let mut m = measurement(u64::from(u32::MAX), 400 * MIB, 10 * MIB, None);
        let mut steps = 0;
        while let Decision::Throttle { limit, .. } = decide(&spec, steps, 30, &m) {
            assert!(m.limit.is_none_or(|before| limit < before));
            assert!(limit >= spec.throttle.floor_bytes_per_s);
            m.limit = Some(limit);
            steps += 1;
        }
        assert!((4..=16).contains(&steps), "{steps}");
        assert!(matches!(decide(&spec, steps, 30, &m), Decision::GiveUp(_)));
        m.remaining_bytes = 20 * MIB;
        assert_eq!(decide(&spec, steps, 30, &m), Decision::Cutover);
    }

    #[test]
    fn fixed_costs_over_the_target_do_not_throttle_for_ever() {
        let mut m = measurement(10 * MIB, 5 * MIB, 200 * MIB, None);
        m.fixed_ms = 2_000;
        assert_eq!(decide(&spec(), 0, 0, &m), Decision::Cutover);
    }

    #[test]
    fn a_simulated_writer_converges_below_the_target() {
        // Each loop is one round: what is dirtied while it runs remains for the next.
        let spec = spec();
        let (rate, wish) = (200 * MIB, 350 * MIB);
        let mut m = measurement(300 * MIB, wish, rate, None);
        let (mut steps, mut rounds) = (0, 0);
        loop {
            match decide(&spec, steps, rounds, &m) {
                Decision::Cutover => break,
                Decision::Throttle { limit, .. } => {
                    m.limit = Some(limit);
                    steps += 1;
                }
                Decision::Round => {}
                Decision::GiveUp(why) => panic!("{why}"),
            }
            rounds += 1;
            let write = m.limit.unwrap_or(wish).min(wish);
            let round_ms = duration_ms(m.remaining_bytes, rate) + m.round_ms;
            m.remaining_bytes = write * round_ms / 1000;
            m.dirty_bytes_per_s = write;
            m.write_bytes_per_s = write;
        }
        assert!(m.predicted_pause_ms() <= spec.pause_target_ms);
        assert!((1..=6).contains(&steps), "{steps} steps");
    }
}
