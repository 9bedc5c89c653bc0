//! A disk that fails from the n-th read, write or flush on: the volume says so, takes no more changes once it can't
//! promise durability, goes on reading, and has lost nothing acknowledged when it is opened again. Other volumes go on.

use super::*;
use std::sync::atomic::{AtomicU64, Ordering};

type Which = fn(&MemDisk) -> &AtomicU64;

const WRITES: Which = |disk| &disk.writes_left;
const FLUSHES: Which = |disk| &disk.flushes_left;
const READS: Which = |disk| &disk.reads_left;

/// What was acknowledged: the number of the last durable round.
struct Outcome {
    acknowledged: u8,
    failed: Option<FsError>,
}

/// Rounds of work, each ending in durability: small and large writes, names, consistency points, snapshots.
fn work(volume: &Volume, file: FileId, rounds: std::ops::Range<u8>) -> Outcome {
    let mut outcome = Outcome { acknowledged: rounds.start.saturating_sub(1), failed: None };
    for round in rounds {
        let step = || -> Result<()> {
            let data = Bytes::from(vec![round; 100 + usize::from(round % 3) * 100_000]);
            volume.execute(&cx(), Op::Write { file, offset: 0, data })?;
            let how = CreateHow::Unchecked(SetAttrs::default());
            volume.execute(&cx(), Op::Create { dir: ROOT, name: name(&format!("n{round}")), how })?;
            volume.flush_log()
        };
        if let Err(error) = step() {
            outcome.failed = Some(error);
            return outcome;
        }
        outcome.acknowledged = round;
        let more = match round % 4 {
            1 => volume.consistency_point().map(drop),
            3 => volume.snapshot_create(&format!("s{round}"), now()).map(drop),
            _ => Ok(()),
        };
        if let Err(error) = more {
            outcome.failed = Some(error);
            return outcome;
        }
    }
    outcome
}

fn fresh(uuid: u128) -> (Arc<MemDisk>, Arc<Volume>, FileId) {
    let disk = MemDisk::new(BYTES);
    let spec = VolumeSpec { uuid: Uuid::from_u128(uuid), size_bytes: BYTES };
    let volume = Volume::create(disk.clone(), &spec, now(), tuning()).unwrap();
    let file = create(&volume, ROOT, "file");
    volume.consistency_point().unwrap();
    (disk, volume, file)
}

/// That a volume has everything up to round `acknowledged`, and nothing half-done.
fn assert_kept(volume: &Volume, file: FileId, acknowledged: u8, rounds: u8, when: &str) {
    let byte = volume.read(&cx(), file, 0, 100).unwrap().data;
    if acknowledged > 0 {
        let last = byte[0];
        assert!((acknowledged..=rounds).contains(&last), "{when}: {last}, acknowledged {acknowledged}");
        assert!(byte.iter().all(|byte| *byte == last), "{when}: torn");
    }
    for round in 1..=acknowledged {
        volume.lookup(&cx(), ROOT, format!("n{round}").as_bytes()).unwrap();
    }
}

#[test]
fn a_disk_that_does_not_write_or_flush_latches_its_volume_alone() {
    for which in [WRITES, FLUSHES] {
        for n in 0.. {
            let (disk, volume, file) = fresh(1);
            let (other_disk, other, other_file) = fresh(2);
            which(&disk).store(n, Ordering::SeqCst);
            let outcome = work(&volume, file, 1..13);
            let when = format!("after {n} calls");
            let Some(error) = outcome.failed else {
                assert!(n > 12, "only {n} calls in the whole run");
                break;
            };
            assert!(matches!(error, FsError::Io(_)), "{when}: {error}");
            assert!(matches!(volume.fault(), Some(FsError::Io(_))), "{when}: {:?}", volume.fault());
            let refused = volume.execute(&cx(), Op::Remove { dir: ROOT, name: name("file") });
            assert_eq!(refused, Err(FsError::ReadOnly), "{when}");
            assert!(volume.wait_durable(volume.last_lsn()).is_err(), "{when}: acknowledged after a fault");
            // Reads go on.
            assert_kept(&volume, file, outcome.acknowledged, 13, &when);
            // So does the other volume.
            let outcome_there = work(&other, other_file, 1..9);
            assert_eq!((outcome_there.acknowledged, outcome_there.failed), (8, None));
            assert_eq!(other.fault(), None);
            assert!(findings(&MemDisk::of(other_disk.bytes())).0.is_clean());
            // The disk is mended and the volume opened again.
            drop(volume);
            let disk = MemDisk::of(disk.bytes());
            assert!(findings(&disk).0.is_clean(), "{when}");
            let volume = Volume::open(disk.clone(), tuning()).expect(&when);
            assert_eq!(volume.fault(), None);
            assert_kept(&volume, file, outcome.acknowledged, 13, &when);
            assert_eq!(work(&volume, file, 20..24).failed, None, "{when}");
            volume.close().unwrap();
            assert!(findings(&disk).0.is_clean(), "{when}");
        }
    }
}

#[test]
fn a_disk_that_does_not_read_for_a_while_loses_nothing() {
    for n in 0..12 {
        let (disk, volume, file) = fresh(1);
        assert_eq!(work(&volume, file, 1..9).failed, None);
        volume.close().unwrap();
        drop(volume);
        let volume = Volume::open(disk.clone(), tuning()).unwrap();
        READS(&disk).store(n, Ordering::SeqCst);
        let outcome = work(&volume, file, 9..13);
        let read = volume.read(&cx(), file, 0, 100_000);
        READS(&disk).store(u64::MAX, Ordering::SeqCst);
        if let Some(error) = &outcome.failed {
            assert!(matches!(error, FsError::Io(_)), "{n}: {error}");
        }
        assert!(read.is_ok() || matches!(read, Err(FsError::Io(_))), "{n}: {read:?}");
        // An operation that failed before it changed anything leaves the volume as it was; one that a change needs
        // may latch it. Either way it reads, and has everything when it is opened again.
        assert_kept(&volume, file, outcome.acknowledged, 13, "reading again");
        if volume.fault().is_none() {
            assert_eq!(work(&volume, file, 13..15).failed, None, "{n}");
        }
        drop(volume);
        let disk = MemDisk::of(disk.bytes());
        let volume = Volume::open(disk.clone(), tuning()).unwrap();
        assert_kept(&volume, file, outcome.acknowledged, 15, "opened again");
        volume.close().unwrap();
        assert!(findings(&disk).0.is_clean(), "{n}");
    }
}
