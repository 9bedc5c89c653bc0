//! A volume answers every operation as the model does, also after reopening, beside snapshots and CPs.
//!
//! A failure prints its seed: `SEED=17 cargo nextest run -p ferry-tests --test model`. `CASES=1000` runs more.

use bytes::Bytes;
use ferry_tests::pair::Pair;
use ferry_tests::random::{KINDS, Limits, Random, kind_of};
use ferry_tests::seeds::for_each_seed;
use ferry_tests::verify::{Wrong, check_clean, list, root, verify};
use fsstore::{Context, Cookie, CreateHow, FsError, Op, ROOT, SetAttrs, Time};
use std::collections::BTreeSet;

const BYTES: u64 = 96 << 20;
const STEPS: usize = 1500;

fn run(seed: u64) -> Result<(), Wrong> {
    let mut pair = Pair::new(Random::new(seed, Limits::WIDE), BYTES)?;
    for step in 0..STEPS {
        pair.step().map_err(|wrong| format!("step {step}: {wrong}"))?;
        if pair.random.chance(1) {
            // The history is for crash tests; here it would only take memory.
            pair.disk.settle();
        }
    }
    verify(&pair.volume, &pair.model)?;
    pair.verify_snapshots()?;
    pair.verify_snapshot_copies()?;
    pair.reopen_clean()?;
    empty(&mut pair)
}

/// With everything removed, nearly all space is free again.
fn empty(pair: &mut Pair) -> Result<(), Wrong> {
    while !pair.snapshots.is_empty() {
        pair.delete_snapshot()?;
    }
    let cx = Context::root(pair.random.now());
    remove_below(pair, &cx, ROOT)?;
    let root = pair.model.node(ROOT).expect("there always").clone();
    let xattrs = root.xattrs.into_keys().map(|name| Op::RemoveXattr { file: ROOT, name });
    let streams = root.streams.into_keys().map(|name| Op::RemoveStream { file: ROOT, name });
    let list = root.acl.map(|_| Op::SetAcl { file: ROOT, acl: None });
    for op in xattrs.chain(streams).chain(list) {
        pair.run(&cx, op)?.map_err(|e| e.to_string())?;
    }
    for _ in 0..3 {
        pair.volume.consistency_point().map_err(|e| e.to_string())?;
    }
    let space = pair.volume.statfs();
    let used = space.total_bytes - space.free_bytes;
    let few = space.total_bytes / 32;
    if used > few || space.files > 1 || space.snapshot_bytes > 0 {
        return Err(format!("an empty volume: {space:?}"));
    }
    verify(&pair.volume, &pair.model)
}

fn remove_below(pair: &mut Pair, cx: &Context, dir: fsstore::FileId) -> Result<(), Wrong> {
    let entries: Vec<_> = pair.model.entries(dir).expect("a directory").clone().into_iter().collect();
    for (name, file) in entries {
        let op = if pair.model.entries(file).is_ok() {
            remove_below(pair, cx, file)?;
            Op::Rmdir { dir, name }
        } else {
            Op::Remove { dir, name }
        };
        pair.run(cx, op)?.map_err(|e| e.to_string())?;
    }
    Ok(())
}

#[test]
fn random_operations_give_what_the_model_gives() {
    for_each_seed(24, run);
}

/// A clone is a volume as others, whatever its parent does meanwhile, before, during and after a split.
#[test]
fn random_operations_on_a_clone_and_on_its_parent() {
    for_each_seed(16, |seed| {
        let mut parent = Pair::new(Random::new(seed, Limits::WIDE), BYTES)?;
        for _ in 0..300 {
            parent.step()?;
        }
        let mut clone = parent.make_clone(Random::new(!seed, Limits::WIDE))?;
        let mut split = false;
        for step in 0..900 {
            clone.step().map_err(|wrong| format!("step {step} of the clone: {wrong}"))?;
            parent.step().map_err(|wrong| format!("step {step} of the parent: {wrong}"))?;
            clone.parent = Some(parent.as_parent());
            if step > 600 && clone.random.chance(20) {
                split |= clone.split(200)?;
            }
            if clone.random.chance(1) {
                clone.disk.settle();
                parent.disk.settle();
            }
        }
        verify(&parent.volume, &parent.model)?;
        parent.verify_snapshots()?;
        clone.verify_snapshots()?;
        clone.verify_snapshot_copies()?;
        check_clean(clone.disk.clone(), clone.parent.as_ref())?;
        while !split {
            split = clone.split(1000)?;
        }
        clone.parent = None;
        clone.reopen_clean()?;
        empty(&mut clone)
    });
}

/// In a volume that is too small for what is asked of it, everything else still holds.
#[test]
fn random_operations_in_a_nearly_full_volume() {
    for_each_seed(24, |seed| {
        let bytes = fsstore::VOLUME_BYTES_MIN + (seed % 4) * (1 << 20);
        let limits =
            Limits { total_bytes: 64 << 20, file_bytes: 1 << 20, write_bytes: 100_000, ..Limits::WIDE };
        let mut pair = Pair::new(Random::new(seed, Limits { far: false, ..limits }), bytes)?;
        pair.may_fill = true;
        for step in 0..1000 {
            pair.step().map_err(|wrong| format!("step {step}: {wrong}"))?;
        }
        while !pair.snapshots.is_empty() {
            pair.delete_snapshot()?;
        }
        // Whatever filled it, everything can be removed again.
        pair.may_fill = false;
        empty(&mut pair)
    });
}

/// The tests above would notice an operation that nobody ever asks for, or that never works.
#[test]
fn every_operation_is_tried_and_succeeds() {
    let mut pair = Pair::new(Random::new(3, Limits::WIDE), BYTES).unwrap();
    let (mut worked, mut failed) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..6000 {
        let (cx, op) = (pair.random.context(), pair.random.op(&pair.model));
        let kind = kind_of(&op);
        let into = if pair.run(&cx, op).unwrap().is_ok() { &mut worked } else { &mut failed };
        into.insert(kind);
    }
    assert_eq!(worked, BTreeSet::from(KINDS));
    assert_eq!(failed, BTreeSet::from(KINDS));
}

fn at(secs: i64) -> Context {
    Context::root(Time { secs, nanos: 0 })
}

fn create(name: impl Into<Bytes>) -> Op {
    Op::Create { dir: ROOT, name: name.into(), how: CreateHow::Guarded(SetAttrs::default()) }
}

/// Cookies stay where they are while thousands of names come and go, and across a reopen.
#[test]
fn a_listing_of_a_large_directory_survives_changes_and_a_reopen() {
    let mut pair = Pair::new(Random::new(1, Limits::WIDE), BYTES).unwrap();
    let name = |n: u32| format!("a file with a name of some length {n}");
    for n in 0..6000 {
        pair.run(&at(2_000_000_000 + i64::from(n)), create(name(n))).unwrap().unwrap();
    }
    let (first, end) = list(&pair.volume, &root(), ROOT, Cookie(0), 3000).unwrap();
    assert!(!end);
    let gone: Vec<u32> = (0..6000).filter(|n| n % 3 == 0).collect();
    for (step, n) in gone.iter().enumerate() {
        let cx = at(2_000_100_000 + i64::try_from(step).unwrap());
        pair.run(&cx, Op::Remove { dir: ROOT, name: name(*n).into() }).unwrap().unwrap();
        pair.run(&cx, create(format!("new {n}"))).unwrap().unwrap();
    }
    pair.reopen_dirty().unwrap();
    let (second, end) = list(&pair.volume, &root(), ROOT, first.last().unwrap().cookie, usize::MAX).unwrap();
    assert!(end);
    let mut seen: Vec<_> = first.iter().chain(&second).map(|e| e.name.clone()).collect();
    seen.sort();
    for n in (0..6000).filter(|n| n % 3 != 0) {
        let count = seen.iter().filter(|seen| ***seen == *name(n).as_bytes()).count();
        assert_eq!(count, 1, "{}", name(n));
    }
    pair.reopen_clean().unwrap();
}

/// A full volume says so, keeps serving, and takes changes again when something was removed.
#[test]
fn a_full_volume_recovers_when_files_are_removed() {
    let bytes = 8 << 20;
    let mut pair = Pair::new(Random::new(1, Limits::WIDE), bytes).unwrap();
    let cx = at(2_000_000_000);
    for round in 0..5 {
        let file = pair.run(&cx, create(format!("{round}"))).unwrap().unwrap().object.after.id;
        let mut offset = 0;
        let full = loop {
            let data = Bytes::from(vec![round + 1; 50_000]);
            // Not through `run`: the model has no end.
            match pair.volume.execute(&cx, Op::Write { file, offset, data: data.clone() }) {
                Ok(_) => drop(pair.model.execute(&cx, &Op::Write { file, offset, data }, None).unwrap()),
                Err(error) => break error,
            }
            offset += 50_000;
            assert!(offset < bytes, "no end");
        };
        assert_eq!(full, FsError::NoSpace);
        assert!(offset > bytes / 2, "full after {offset} bytes");
        verify(&pair.volume, &pair.model).unwrap();
        if round % 2 == 0 {
            pair.reopen_dirty().unwrap();
        }
        pair.run(&cx, Op::Remove { dir: ROOT, name: format!("{round}").into() }).unwrap().unwrap();
        pair.volume.consistency_point().unwrap();
        pair.volume.consistency_point().unwrap();
    }
}
