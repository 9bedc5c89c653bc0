//! Power fails at any moment: what was acknowledged is there, and nothing half-done is.
//!
//! A failure prints its seed: `SEED=17 cargo nextest run -p ferry-tests --test crash`. `CASES=1000` runs more.

#![allow(clippy::unwrap_used, reason = "a test may; clippy knows that only of functions marked as tests")]

use ferry_tests::crash::{BYTES, Effort, Run};
use ferry_tests::pair::{Pair, open};
use ferry_tests::random::{Limits, Random, for_each_seed};
use ferry_tests::sim_disk::{BrokenFlush, SimDisk};
use ferry_tests::verify::{Wrong, difference, dump, root};
use fsstore::{FsError, Op, ROOT};
use rand::RngExt;

const EFFORT: Effort = Effort { steps: 120, torn: 2, go_on_one_in: 12 };

#[test]
fn acknowledged_operations_survive_a_crash_at_every_event() {
    for_each_seed(16, |seed| {
        let crashes = Run::new(seed, EFFORT)?.check(BrokenFlush::None, EFFORT)?;
        if crashes < 100 { Err(format!("only {crashes} crashes")) } else { Ok(()) }
    });
}

/// The test above would notice a store, or a disk, that does not flush.
#[test]
fn a_deliberately_broken_flush_is_caught() {
    let effort = Effort { torn: 0, go_on_one_in: 1000, ..EFFORT };
    for_each_seed(3, |seed| match Run::new(seed, effort)?.check(BrokenFlush::AllFrom(0), effort) {
        Ok(_) => Err("not caught".to_owned()),
        Err(_) => Ok(()),
    });
}

/// A disk that fails stops the volume from acknowledging; what it acknowledged before is there when it is opened again.
#[test]
fn a_failing_disk_latches_and_loses_nothing_acknowledged() {
    for_each_seed(30, failing_disk);
}

fn failing_disk(seed: u64) -> Result<(), Wrong> {
    let mut pair = Pair::new(Random::new(seed, Limits::SMALL), BYTES)?;
    for _ in 0..40 {
        pair.mutate()?;
    }
    pair.volume.flush_log().unwrap();
    let survives = pair.random.rng.random_range(0..12);
    pair.disk.fail_from(Some(pair.disk.events() + survives));
    let mut states = vec![pair.model.clone()];
    let mut acknowledged = 0;
    let fault = loop {
        let (cx, op) = (pair.random.context(), pair.random.op(&pair.model));
        let done = match pair.volume.execute(&cx, op.clone()) {
            Err(error @ (FsError::Io(_) | FsError::ReadOnly)) => break error,
            other => other,
        };
        let id = done.ok().map(|done| done.object.after.id).filter(|id| pair.model.node(*id).is_err());
        drop(pair.model.execute(&cx, &op, id));
        states.push(pair.model.clone());
        let flushed = match pair.random.rng.random_range(0..10) {
            0..3 => pair.volume.flush_log(),
            3 => pair.volume.consistency_point().map(drop),
            _ => continue,
        };
        match flushed {
            Ok(()) => acknowledged = states.len() - 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(fault, FsError::Io(_) | FsError::ReadOnly), "{fault}");
    assert!(pair.volume.fault().is_some(), "{fault}, but no fault is shown");
    let more = pair.volume.execute(&root(), Op::Remove { dir: ROOT, name: "nothing".into() });
    assert!(matches!(more, Err(FsError::Io(_) | FsError::ReadOnly)), "{more:?} after a fault");
    assert!(pair.volume.wait_durable(pair.volume.last_lsn()).is_err(), "acknowledged after a fault");
    pair.volume.getattr(ROOT).unwrap();

    let found = dump(&*open(SimDisk::from_image(pair.disk.image(), BYTES))?)?;
    let known = states[acknowledged..].iter().any(|model| model.dump() == found);
    let missing = difference(&found, &states[acknowledged].dump());
    if known { Ok(()) } else { Err(format!("not a state from {acknowledged} on: {missing}")) }
}

/// A flipped bit is reported or does not matter; it is never served as data.
#[test]
fn a_flipped_bit_is_never_served() {
    for_each_seed(6, flipped_bits);
}

fn flipped_bits(seed: u64) -> Result<(), Wrong> {
    let mut pair = Pair::new(Random::new(seed, Limits::SMALL), BYTES)?;
    for _ in 0..120 {
        pair.mutate()?;
    }
    pair.reopen_clean()?;
    let (clean, want) = (pair.disk.image(), pair.model.dump());
    let mut noticed = 0;
    for block in clean.used_blocks() {
        let mut image = clean.clone();
        image.flip_bit(block, pair.random.rng.random_range(0..4096 * 8));
        // Either it is refused, or what is read is right: that block was not in use, or there is a second copy.
        match open(SimDisk::from_image(image, BYTES)).and_then(|volume| dump(&volume)) {
            Err(_) => noticed += 1,
            Ok(found) if found == want => {}
            Ok(found) => return Err(format!("bit in block {block}: {}", difference(&found, &want))),
        }
    }
    if noticed < 2 { Err(format!("only {noticed} flipped bits noticed")) } else { Ok(()) }
}
