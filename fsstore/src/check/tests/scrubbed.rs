//! A scrub reads every block in use once, finds damage while the volume is mounted, and is not misled by changes.

use super::*;

fn pass(volume: &Volume, budget: u64, mut between: impl FnMut()) -> (u64, Vec<Finding>) {
    let (mut cursor, mut read, mut found) = (ScrubCursor::default(), 0, Vec::new());
    for _ in 0..100_000 {
        let step = volume.scrub(&cursor, budget).unwrap();
        read += step.read_blocks;
        found.extend(step.findings);
        between();
        match step.next {
            Some(next) => cursor = next,
            None => return (read, found),
        }
    }
    panic!("the scrub does not end");
}

fn used(sample: &Sample) -> u64 {
    findings(&MemDisk::of(sample.disk.bytes())).0.used_blocks
}

#[test]
fn a_pass_reads_every_block_in_use() {
    let sample = Sample::new();
    sample.volume.consistency_point().unwrap();
    for budget in [1, 100, u64::MAX] {
        let (read, found) = pass(&sample.volume, budget, || {});
        assert_eq!(found, []);
        let used = used(&sample);
        // Some index blocks are read again where a step goes on, some tables too.
        assert!((used..used * 5 / 4).contains(&read), "{read} of {used} with steps of {budget}");
    }
}

/// The blocks that any image reaches.
fn reached(disk: &Arc<MemDisk>) -> Vec<Vbn> {
    let mut ignore = |_| {};
    let mut checker = Checker::open(disk.clone(), &CheckOptions::default(), &mut ignore).unwrap();
    checker.run();
    let mut all = checker.active.clone();
    all.add(&checker.in_snapshots);
    all.iter().collect()
}

#[test]
fn a_flipped_bit_in_any_block_is_found_by_scrub_and_check_and_never_served() {
    let sample = Sample::new();
    sample.volume.close().unwrap();
    let disk = MemDisk::of(sample.disk.bytes());
    let all = reached(&disk);
    let expected = everything(&Volume::open(disk.clone(), tuning()).unwrap()).unwrap();
    let volume = Volume::open(disk.clone(), tuning()).unwrap();
    for vbn in all.iter().step_by(3) {
        let bit = vbn.0 * 31 % 32_768;
        disk.flip(*vbn, bit);
        let (_, found) = pass(&volume, 64, || {});
        assert!(!found.is_empty(), "the scrub misses block {vbn}");
        for finding in &found {
            assert_eq!((finding.block, finding.kind), (Some(*vbn), FindingKind::Checksum), "{finding}");
        }
        assert!(!findings(&disk).0.is_clean(), "the check misses block {vbn}");
        // What was read before is in the cache; a new mount has none.
        for outcome in [Ok(volume.clone()), Volume::open(MemDisk::of(disk.bytes()), tuning())] {
            match outcome.and_then(|volume| everything(&volume)) {
                Ok(content) => assert!(content == expected, "wrong bytes with a flipped bit in block {vbn}"),
                Err(error) => assert!(matches!(error, FsError::Corrupt { .. }), "{error}"),
            }
        }
        disk.flip(*vbn, bit);
    }
    assert_eq!(pass(&volume, 64, || {}).1, []);
}

#[test]
fn changes_under_a_scrub_are_no_findings() {
    let sample = Sample::new();
    let mut turn = 0u64;
    let (read, found) = pass(&sample.volume, 16, || {
        turn += 1;
        if turn < 200 {
            write(&sample.volume, sample.big, turn % 16 * 65_536, 6, 65_536);
            sample.volume.consistency_point().unwrap();
        }
        if turn == 20 {
            sample.volume.snapshot_delete(sample.volume.snapshots()[0].id).unwrap();
        }
    });
    assert_eq!(found, []);
    assert!(read > 100);
}
