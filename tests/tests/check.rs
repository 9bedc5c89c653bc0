//! The offline check: silent about a sound volume, whatever has happened to it, and by name about each kind of damage.

#![allow(clippy::unwrap_used, reason = "a test may; clippy knows that only of functions marked as tests")]

use ferry_tests::pair::Pair;
use ferry_tests::random::{Limits, Random, for_each_seed};
use ferry_tests::sim_disk::SimDisk;
use ferry_tests::verify::check_clean;
use fsstore::VOLUME_BYTES_MIN;

#[test]
fn a_sound_volume_is_clean_after_anything() {
    for_each_seed(24, |seed| {
        let mut pair = Pair::new(Random::new(seed, Limits::SMALL), VOLUME_BYTES_MIN)?;
        for step in 0..600 {
            pair.step()?;
            if step % 40 == 0 {
                // A mounted volume, as a crash now would leave it.
                check_clean(SimDisk::from_image(pair.disk.image(), VOLUME_BYTES_MIN), None)?;
            }
        }
        pair.reopen_clean()?;
        check_clean(pair.disk.clone(), None)
    });
}
