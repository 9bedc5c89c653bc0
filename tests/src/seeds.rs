//! Running random cases: one seed each, which a failure names, so that just that case can be run again.
//!
//! `SEED=n` runs only case `n`; `CASES=n` runs that many.

use parking_lot::Mutex;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The number that an environment variable holds.
pub fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

fn seeds(default: u64) -> Range<u64> {
    let count = variable("CASES").unwrap_or(default);
    variable("SEED").map_or(0..count, |seed| seed..seed + 1)
}

/// What is wrong with a case, if anything. A panic of the code under test is a finding like any other.
fn outcome(seed: u64, case: impl FnOnce(u64) -> Result<(), String>) -> Result<(), String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| case(seed)));
    // The panic's own message has been printed where it happened.
    outcome.unwrap_or_else(|_| Err("panicked".to_owned())).map_err(|wrong| format!("SEED={seed}: {wrong}"))
}

/// Runs `case` for seed after seed.
pub fn for_each_seed(default: u64, case: impl Fn(u64) -> Result<(), String>) {
    for seed in seeds(default) {
        outcome(seed, &case).unwrap_or_else(|wrong| panic!("{wrong}"));
    }
}

/// Runs `case` for seed after seed for so long, and `tell` after each, with how many there were; says how many there were in
/// the end.
pub fn for_each_seed_within(
    time: Duration,
    case: impl Fn(u64) -> Result<(), String>,
    tell: impl Fn(u64),
) -> u64 {
    let start = Instant::now();
    let mut seed = 0;
    while start.elapsed() < time {
        outcome(seed, &case).unwrap_or_else(|wrong| panic!("{wrong}"));
        seed += 1;
        tell(seed);
    }
    seed
}

/// Runs `case` for all seeds, on all processors. Each case is as repeatable as if it ran alone.
pub fn for_each_seed_on_all_cores(default: u64, case: impl Fn(u64) -> Result<(), String> + Sync) {
    let seeds = seeds(default);
    let next = AtomicU64::new(seeds.start);
    let first_wrong: Mutex<Option<String>> = Mutex::new(None);
    let work = || {
        while first_wrong.lock().is_none() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            if let Err(wrong) = outcome(seed, &case) {
                first_wrong.lock().get_or_insert(wrong);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    if let Some(wrong) = first_wrong.into_inner() {
        panic!("{wrong}");
    }
}
