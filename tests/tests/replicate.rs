//! A replica is block for block its source, at every update, and an interrupted update leaves the old one.

use ferry_tests::pair::{Pair, open};
use ferry_tests::random::{Limits, Random};
use ferry_tests::replicate::{copy, send, send_blocks};
use ferry_tests::seeds::for_each_seed;
use ferry_tests::sim_disk::{BrokenFlush, SimDisk, Unflushed};
use ferry_tests::verify::{Wrong, verify};
use fsstore::{Context, CreateHow, Op, ROOT, Replica, SetAttrs, Snapshot, Time, Vbn, VolumeSpec};
use rand::RngExt;
use std::sync::Arc;

const BYTES: u64 = 32 << 20;

fn snapshot(pair: &mut Pair, name: &str) -> Result<Snapshot, Wrong> {
    let now = pair.random.now();
    let snapshot = pair.volume.snapshot_create(name, now).map_err(|e| e.to_string())?;
    pair.snapshots.push((snapshot.clone(), pair.model.clone()));
    Ok(snapshot)
}

fn wrong(error: fsstore::FsError) -> Wrong {
    error.to_string()
}

/// Opens what is on a replica's disk, in a copy, and compares it.
fn check_image(disk: &Arc<SimDisk>, pair: &Pair, which: usize) -> Result<(), Wrong> {
    let volume = open(SimDisk::from_image(disk.image(), BYTES))?;
    let (snapshot, model) = &pair.snapshots[which];
    verify(&volume, model)?;
    let known: Vec<_> = pair.snapshots.iter().map(|(s, _)| s.id).collect();
    for other in volume.snapshots() {
        if other.cp > snapshot.cp || !known.contains(&other.id) {
            return Err(format!("the replica of {snapshot:?} knows {other:?}"));
        }
    }
    Ok(())
}

fn updates(seed: u64) -> Result<(), Wrong> {
    let mut pair = Pair::new(Random::new(seed, Limits::SMALL), BYTES)?;
    let disk = SimDisk::new(BYTES);
    let spec = VolumeSpec { uuid: pair.volume.uuid(), size_bytes: BYTES };
    let mut replica = Replica::create(disk.clone(), &spec).map_err(wrong)?;
    if replica.installed().is_some() {
        return Err("a fresh replica has an image".to_owned());
    }
    let mut base: Option<Snapshot> = None;
    for round in 0..6 {
        for _ in 0..60 {
            pair.mutate()?;
        }
        let to = snapshot(&mut pair, &format!("u{round}"))?;
        // What happens after the snapshot must not get into the replica.
        for _ in 0..10 {
            pair.mutate()?;
        }
        if pair.random.chance(50) {
            pair.volume.consistency_point().map_err(wrong)?;
        }
        let sent = send(&pair.volume, base.as_ref().map(|b| b.id), to.id, &replica)?;
        if let Some(base) = &base {
            let bound = pair.volume.bytes_changed_since(base.id).map_err(wrong)?;
            if sent * 4096 > bound {
                return Err(format!("{sent} blocks sent, but at most {bound} bytes were announced"));
            }
        }
        if replica.installed() != Some((to.cp, to.root_sum)) {
            return Err(format!("installed {:?}, not {to:?}", replica.installed()));
        }
        check_image(&disk, &pair, round)?;
        check_blocks(&pair, &disk, to.id)?;
        if pair.random.chance(30) {
            replica.close().map_err(wrong)?;
            replica = Replica::open(disk.clone()).map_err(wrong)?;
        }
        base = Some(to);
    }
    replica.close().map_err(wrong)?;
    // A replica that takes a change of its own is none any more.
    let volume = open(disk.clone())?;
    let random = Random::new(seed, Limits::SMALL);
    let model = pair.snapshots.last().expect("six of them").1.clone();
    let there = volume.snapshots();
    let mut moved = Pair::resume(disk.clone(), volume, model, random, BYTES);
    moved.snapshots = pair.snapshots.into_iter().filter(|(s, _)| there.contains(s)).collect();
    moved.verify_snapshots()?;
    for _ in 0..50 {
        moved.mutate()?;
    }
    moved.reopen_clean()?;
    if Replica::open(moved.disk.clone()).is_ok() {
        return Err("a volume with changes of its own was taken for a replica".to_owned());
    }
    Ok(())
}

/// Every block that the snapshot uses is the same on both sides.
fn check_blocks(pair: &Pair, disk: &SimDisk, snapshot: fsstore::SnapshotId) -> Result<(), Wrong> {
    let image = disk.image();
    for range in pair.volume.snapdiff(None, snapshot).map_err(wrong)? {
        let range = range.map_err(wrong)?;
        for vbn in range.start.0..range.start.0 + range.blocks {
            let (mut source, mut copied) = ([0; 4096], [0; 4096]);
            pair.volume.read_raw(Vbn(vbn), &mut source).map_err(wrong)?;
            image.read(&mut copied, vbn * 4096);
            if source != copied {
                return Err(format!("block {vbn} differs"));
            }
        }
    }
    Ok(())
}

#[test]
fn every_update_makes_the_replica_equal_to_its_snapshot() {
    for_each_seed(12, updates);
}

fn interrupted(seed: u64) -> Result<(), Wrong> {
    let mut pair = Pair::new(Random::new(seed, Limits::SMALL), BYTES)?;
    for _ in 0..60 {
        pair.mutate()?;
    }
    let base = snapshot(&mut pair, "base")?;
    let (disk, _) = copy(&pair.volume, &base)?;
    for _ in 0..60 {
        pair.mutate()?;
    }
    let to = snapshot(&mut pair, "to")?;
    disk.settle();
    let replica = Replica::open(disk.clone()).map_err(wrong)?;
    send_blocks(&pair.volume, Some(base.id), to.id, &replica)?;
    replica.flush().map_err(wrong)?;
    let before_install = disk.events();
    replica.install(&pair.volume.image(to.id).map_err(wrong)?).map_err(wrong)?;
    let installed = disk.events();
    replica.close().map_err(wrong)?;

    let history = disk.history();
    let mut cuts = history.cuts(BrokenFlush::None);
    loop {
        for unflushed in
            [Unflushed::Vanish, Unflushed::Survive, Unflushed::Torn(seed), Unflushed::Torn(seed + 1000)]
        {
            let crashed = cuts.crash(unflushed);
            let place = |wrong| format!("cut at {} {unflushed:?}: {wrong}", cuts.at());
            let old = check_image(&crashed, &pair, 0);
            let new = check_image(&crashed, &pair, 1);
            if cuts.at() <= before_install {
                old.clone().map_err(place)?;
            } else if cuts.at() >= installed {
                new.clone().map_err(place)?;
            } else {
                old.clone().or(new.clone()).map_err(place)?;
            }
            // The transfer goes on from the start and ends well.
            let replica = Replica::open(crashed.clone()).map_err(|e| place(wrong(e)))?;
            if old.is_ok() {
                send(&pair.volume, Some(base.id), to.id, &replica).map_err(place)?;
            }
            replica.close().map_err(wrong)?;
            check_image(&crashed, &pair, 1).map_err(place)?;
        }
        if !cuts.advance() {
            return Ok(());
        }
    }
}

#[test]
fn an_interrupted_update_leaves_the_old_image_or_the_new_one() {
    for_each_seed(4, interrupted);
}

/// Snapshots that come and go at the source between updates do not disturb the replica.
#[test]
fn snapshots_deleted_at_the_source_do_no_harm() {
    for_each_seed(8, deletions);
}

fn deletions(seed: u64) -> Result<(), Wrong> {
    let mut pair = Pair::new(Random::new(seed, Limits::SMALL), BYTES)?;
    let disk = SimDisk::new(BYTES);
    let spec = VolumeSpec { uuid: pair.volume.uuid(), size_bytes: BYTES };
    let replica = Replica::create(disk.clone(), &spec).map_err(wrong)?;
    let mut base: Option<Snapshot> = None;
    for round in 0..8 {
        for n in 0..4 {
            for _ in 0..25 {
                pair.mutate()?;
            }
            snapshot(&mut pair, &format!("user {round} {n}"))?;
        }
        delete_some(&mut pair, base.as_ref())?;
        let to = snapshot(&mut pair, &format!("update {round}"))?;
        // A snapshot that is deleted now is still in the table that goes with `to`.
        delete_some(&mut pair, base.as_ref())?;
        for _ in 0..40 {
            pair.mutate()?;
        }
        pair.volume.consistency_point().map_err(wrong)?;
        send(&pair.volume, base.as_ref().map(|b| b.id), to.id, &replica)?;
        base = Some(to);
        let volume = open(SimDisk::from_image(disk.image(), BYTES))?;
        let there = volume.snapshots();
        let known: Vec<_> = pair.snapshots.iter().map(|(snapshot, _)| snapshot.clone()).collect();
        if there != known {
            return Err(format!("snapshots {known:?} here, {there:?} there"));
        }
        for (snapshot, model) in &pair.snapshots {
            let (copied, _) = copy(&volume, snapshot)?;
            verify(&*open(copied)?, model)?;
        }
        // The accounts are right too: without snapshots, both have as much space.
        for snapshot in &there {
            volume.snapshot_delete(snapshot.id).map_err(wrong)?;
        }
        if volume.statfs().snapshot_bytes != 0 {
            return Err(format!("no snapshots, but {:?}", volume.statfs()));
        }
    }
    Ok(())
}

/// Deletes some snapshots, but neither `base` nor the newest.
fn delete_some(pair: &mut Pair, base: Option<&Snapshot>) -> Result<(), Wrong> {
    let count = pair.random.rng.random_range(0..5);
    for _ in 0..count {
        if pair.snapshots.len() < 2 {
            break;
        }
        let which = pair.random.rng.random_range(0..pair.snapshots.len() - 1);
        if base == Some(&pair.snapshots[which].0) {
            continue;
        }
        let (gone, _) = pair.snapshots.remove(which);
        pair.volume.snapshot_delete(gone.id).map_err(wrong)?;
    }
    Ok(())
}

/// The cost of an update follows the change, not the volume.
#[test]
fn few_changed_blocks_are_few_sent_blocks() {
    let bytes = 256 << 20;
    let mut pair = Pair::new(Random::new(1, Limits::WIDE), bytes).unwrap();
    let cx = |n: i64| Context::root(Time { secs: 2_000_000_000 + n, nanos: 0 });
    let how = CreateHow::Guarded(SetAttrs::default());
    let file = pair.run(&cx(0), Op::Create { dir: ROOT, name: "large".into(), how }).unwrap().unwrap();
    let file = file.object.after.id;
    let mib = bytes::Bytes::from(vec![3; 1 << 20]);
    for n in 0..100 {
        pair.run(&cx(1), Op::Write { file, offset: n << 20, data: mib.clone() }).unwrap().unwrap();
    }
    let mut base = snapshot(&mut pair, "base").unwrap();
    let (disk, sent) = copy(&pair.volume, &base).unwrap();
    assert!(sent > 25_600);
    let replica = Replica::open(disk).unwrap();
    for changed in [1_u64, 10, 100] {
        for n in 0..changed {
            let data = bytes::Bytes::from(vec![4; 4096]);
            let offset = n * 1_000_003 % (100 << 20) / 4096 * 4096;
            pair.run(&cx(2), Op::Write { file, offset, data }).unwrap().unwrap();
        }
        let to = snapshot(&mut pair, &format!("after {changed}")).unwrap();
        let sent = send(&pair.volume, Some(base.id), to.id, &replica).unwrap();
        assert!(sent >= changed, "{sent} blocks sent for {changed}");
        assert!(sent <= 40 + 4 * changed, "{sent} blocks sent for {changed}");
        base = to;
    }
    let idle = snapshot(&mut pair, "idle").unwrap();
    let sent = send(&pair.volume, Some(base.id), idle.id, &replica).unwrap();
    assert!(sent <= 20, "{sent} blocks sent for nothing");
}
