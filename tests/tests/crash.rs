//! Power fails at any moment: what was acknowledged is there, and nothing half-done is.
//!
//! A failure prints its seed: `SEED=17 cargo nextest run -p ferry-tests --test crash`. `CASES=1000` runs more.

#![allow(clippy::unwrap_used, reason = "a test may; clippy knows that only of functions marked as tests")]

use ferry_tests::crash::{Effort, Run};
use ferry_tests::pair::{Pair, open};
use ferry_tests::random::{Limits, Random};
use ferry_tests::seeds::{for_each_seed, for_each_seed_on_all_cores};
use ferry_tests::sim_disk::{BrokenFlush, FlushKind, SimDisk};
use ferry_tests::verify::{Wrong, difference, dump, root};
use fsstore::{FsError, Op, ROOT};
use rand::RngExt;

const BYTES: u64 = 24 << 20;

/// 200 histories with 500 cut points each; those of volumes that go on after a crash come on top.
#[test]
fn acknowledged_operations_survive_100_000_crashes() {
    for_each_seed_on_all_cores(200, |seed| {
        let run = Run::new(seed, Effort::CASE)?;
        let cuts = run.check(BrokenFlush::None, Effort::CASE)?;
        if cuts < Effort::CASE.cuts { Err(format!("only {cuts} cuts")) } else { Ok(()) }
    });
}

/// The same of clones: 40 histories. The parent of each is as the end of the history has left it, so that a block which the
/// clone still needs would be something else by now.
#[test]
fn acknowledged_operations_in_clones_survive_crashes() {
    for_each_seed_on_all_cores(40, |seed| {
        let run = Run::of_clone(seed, Effort::CASE)?;
        let cuts = run.check(BrokenFlush::None, Effort::CASE)?;
        if cuts < Effort::CASE.cuts { Err(format!("only {cuts} cuts")) } else { Ok(()) }
    });
}

/// How many cases a broken flush may pass before it is noticed.
const CASES_MAX: u64 = 12;

fn is_caught(broken: BrokenFlush) {
    let effort = Effort { cuts: 200, ..Effort::CASE };
    let violations: Vec<(u64, Wrong)> = (0..CASES_MAX)
        .filter_map(|seed| Some((seed, Run::new(seed, effort).unwrap().check(broken, effort).err()?)))
        .collect();
    let (seed, wrong) = violations.first().unwrap_or_else(|| panic!("{broken:?} is not noticed"));
    eprintln!(
        "{broken:?} is noticed in {} of {CASES_MAX} cases, e.g. {seed}: {wrong:.300}",
        violations.len()
    );
}

/// The test above would notice a store, or a disk, that does not flush.
#[test]
fn a_disk_that_ignores_all_flushes_is_caught() {
    is_caught(BrokenFlush::AllFrom(0));
}

#[test]
fn a_log_that_is_not_flushed_is_caught() {
    is_caught(BrokenFlush::Kind(FlushKind::LogRange));
}

#[test]
fn a_log_that_is_not_flushed_with_the_data_it_points_to_is_caught() {
    is_caught(BrokenFlush::Kind(FlushKind::LogAndData));
}

#[test]
fn a_missing_flush_before_fsinfo_is_caught() {
    is_caught(BrokenFlush::Kind(FlushKind::BeforeFsinfo));
}

#[test]
fn a_missing_flush_after_fsinfo_is_caught() {
    is_caught(BrokenFlush::Kind(FlushKind::AfterFsinfo));
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
        drop(pair.model.follow(&cx, &op, false, &done));
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
