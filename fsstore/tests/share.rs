//! Shared blocks: clones of files and ranges, files and volumes restored from snapshots.

#![allow(clippy::unwrap_used, reason = "a test may; clippy knows that only of functions marked as tests")]

use bytes::Bytes;
use fsstore::{
    Context, CreateHow, FileDisk, FileId, FsError, Op, ROOT, SetAttrs, Time, Tuning, Volume, VolumeSpec,
};
use std::path::Path;
use std::sync::Arc;

const BLOCK: u64 = 4096;

fn cx() -> Context {
    Context::root(Time { secs: 1000, nanos: 0 })
}

fn tuning() -> Tuning {
    Tuning { threads: false, ..Tuning::default() }
}

fn volume(dir: &Path) -> Arc<Volume> {
    let disk = FileDisk::create(&dir.join("volume"), 64 << 20).unwrap();
    let spec = VolumeSpec { uuid: uuid::Uuid::from_u128(7), size_bytes: 64 << 20 };
    Volume::create(Arc::new(disk), &spec, cx().now, tuning()).unwrap()
}

fn reopen(dir: &Path) -> Arc<Volume> {
    Volume::open(Arc::new(FileDisk::open(&dir.join("volume")).unwrap()), tuning()).unwrap()
}

fn create(volume: &Volume, name: &'static str) -> FileId {
    let how = CreateHow::Guarded(SetAttrs { mode: Some(0o640), ..SetAttrs::default() });
    volume.execute(&cx(), Op::Create { dir: ROOT, name: name.into(), how }).unwrap().object.after.id
}

/// `blocks` blocks, each filled with a byte that follows from its number and `salt`.
fn content(blocks: u64, salt: u8) -> Bytes {
    (0..blocks).flat_map(|block| [block.to_le_bytes()[0].wrapping_add(salt); 4096]).collect()
}

fn write(volume: &Volume, file: FileId, offset: u64, data: Bytes) {
    volume.execute(&cx(), Op::Write { file, offset, data }).unwrap();
}

fn read(volume: &Volume, file: FileId) -> Bytes {
    volume.read(&cx(), file, 0, 8 << 20).unwrap().data
}

fn used(volume: &Volume) -> u64 {
    volume.consistency_point().unwrap();
    let space = volume.statfs();
    (space.total_bytes - space.free_bytes) / BLOCK
}

fn remove(volume: &Volume, name: &'static str) {
    volume.execute(&cx(), Op::Remove { dir: ROOT, name: name.into() }).unwrap();
}

#[test]
fn a_clone_shares_and_each_goes_its_own_way() {
    let dir = tempfile::tempdir().unwrap();
    let volume = volume(dir.path());
    let empty = used(&volume);
    let a = create(&volume, "a");
    write(&volume, a, 0, content(1000, 1));
    let one = used(&volume);
    let b = create(&volume, "b");
    let (from, to) = (a, b);
    volume.execute(&cx(), Op::CloneRange { from, from_offset: 0, to, to_offset: 0, len: 0 }).unwrap();
    let both = used(&volume);
    assert!(both - one < 30, "a clone of 1000 blocks took {} more", both - one);
    assert_eq!(read(&volume, b), content(1000, 1));
    // A change of one is not seen in the other, nor after a crash.
    write(&volume, b, 10 * BLOCK, content(1, 99));
    write(&volume, a, 500 * BLOCK, content(200, 77));
    let (want_a, want_b) = (read(&volume, a), read(&volume, b));
    assert_ne!(want_a, want_b);
    volume.flush_log().unwrap();
    drop(volume);
    let volume = reopen(dir.path());
    assert_eq!((read(&volume, a), read(&volume, b)), (want_a, want_b.clone()));
    remove(&volume, "a");
    volume.consistency_point().unwrap();
    // What was shared is the other's alone now, and nobody else's.
    let other = create(&volume, "other");
    write(&volume, other, 0, content(2000, 5));
    volume.consistency_point().unwrap();
    assert_eq!(read(&volume, b), want_b);
    remove(&volume, "b");
    remove(&volume, "other");
    assert!(used(&volume) <= empty + 8, "{} blocks leaked", used(&volume) - empty);
}

#[test]
fn many_users_of_one_block() {
    let dir = tempfile::tempdir().unwrap();
    let volume = volume(dir.path());
    let a = create(&volume, "a");
    write(&volume, a, 0, content(64, 1));
    let one = used(&volume);
    for at in 1..50 {
        let op =
            Op::CloneRange { from: a, from_offset: 0, to: a, to_offset: at * 64 * BLOCK, len: 64 * BLOCK };
        volume.execute(&cx(), op).unwrap();
    }
    assert!(used(&volume) - one < 40);
    // Dropped from the end, one user after the other.
    for at in (0..50).rev() {
        assert_eq!(read(&volume, a).slice(..64 * 4096), content(64, 1));
        let attrs = SetAttrs { size: Some(at * 64 * BLOCK), ..SetAttrs::default() };
        volume.execute(&cx(), Op::SetAttr { file: a, attrs, guard: None }).unwrap();
        volume.consistency_point().unwrap();
    }
    assert!(used(&volume) < one);
}

#[test]
fn ranges_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let volume = volume(dir.path());
    let (a, b) = (create(&volume, "a"), create(&volume, "b"));
    write(&volume, a, 0, content(8, 1).slice(..30_000));
    write(&volume, b, 0, content(8, 2));
    let clone = |from, from_offset, to, to_offset, len| {
        volume.execute(&cx(), Op::CloneRange { from, from_offset, to, to_offset, len }).map(|done| done.count)
    };
    assert_eq!(clone(a, 1, b, 0, BLOCK), Err(FsError::Invalid), "not at a block");
    assert_eq!(clone(a, 0, b, 100, BLOCK), Err(FsError::Invalid), "not at a block");
    assert_eq!(clone(a, 0, b, 0, 100), Err(FsError::Invalid), "no whole block");
    assert_eq!(clone(a, 0, b, 0, 30_000), Err(FsError::Invalid), "the tail would cut the target's");
    assert_eq!(clone(a, 0, b, 0, 9 * BLOCK), Err(FsError::Invalid), "past the source's end");
    assert_eq!(clone(a, 0, a, BLOCK, 2 * BLOCK), Err(FsError::Invalid), "overlap");
    assert_eq!(clone(ROOT, 0, b, 0, BLOCK), Err(FsError::IsDir));
    assert_eq!(clone(a, 4 * BLOCK, b, 8 * BLOCK, 0), Ok(30_000 - 4 * 4096));
    assert_eq!(volume.getattr(b).unwrap().size, 4 * BLOCK + 30_000);
    // A hole is shared as a hole.
    let c = create(&volume, "c");
    write(&volume, c, 5 * BLOCK, content(1, 3));
    volume.execute(&cx(), Op::CloneRange { from: c, from_offset: 0, to: b, to_offset: 0, len: 0 }).unwrap();
    assert_eq!(read(&volume, b).slice(..6 * 4096), read(&volume, c));
    let stranger = Context { uid: 7, gid: 7, ..cx() };
    let op = Op::CloneRange { from: a, from_offset: 0, to: b, to_offset: 0, len: BLOCK };
    assert_eq!(volume.execute(&stranger, op), Err(FsError::Access));
}

#[test]
fn a_file_comes_back_from_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let volume = volume(dir.path());
    let a = create(&volume, "a");
    write(&volume, a, 0, content(500, 1));
    let old = volume.snapshot_create("old", cx().now).unwrap();
    let attrs = SetAttrs { mode: Some(0o600), uid: Some(5), size: Some(10), ..SetAttrs::default() };
    volume.execute(&cx(), Op::SetAttr { file: a, attrs, guard: None }).unwrap();
    volume.snapshot_create("newer", cx().now).unwrap();
    write(&volume, a, 0, content(500, 9));
    let before = used(&volume);
    volume.execute(&cx(), Op::CloneFile { from: a.within(old.id), to: a }).unwrap();
    assert!(used(&volume) < before, "the new content's blocks went, the old ones were there");
    assert_eq!(read(&volume, a), content(500, 1));
    let attr = volume.getattr(a).unwrap();
    assert_eq!((attr.mode, attr.uid, attr.size), (0o640, 0, 500 * BLOCK));
    // The blocks are the file's own: they outlive the snapshot, whichever goes first.
    volume.snapshot_delete(old.id).unwrap();
    let other = create(&volume, "other");
    write(&volume, other, 0, content(2000, 5));
    volume.consistency_point().unwrap();
    assert_eq!(read(&volume, a), content(500, 1));
    volume.close().unwrap();
    drop(volume);
    let volume = reopen(dir.path());
    assert_eq!(read(&volume, a), content(500, 1));
}

#[test]
fn a_block_of_old_and_new_snapshots_survives_the_newer_ones() {
    let dir = tempfile::tempdir().unwrap();
    let volume = volume(dir.path());
    let a = create(&volume, "a");
    write(&volume, a, 0, content(300, 1));
    let first = volume.snapshot_create("first", cx().now).unwrap();
    write(&volume, a, 0, content(300, 2));
    let second = volume.snapshot_create("second", cx().now).unwrap();
    volume.execute(&cx(), Op::CloneFile { from: a.within(first.id), to: a }).unwrap();
    let third = volume.snapshot_create("third", cx().now).unwrap();
    remove(&volume, "a");
    volume.consistency_point().unwrap();
    volume.snapshot_delete(third.id).unwrap();
    let other = create(&volume, "other");
    write(&volume, other, 0, content(2000, 5));
    volume.consistency_point().unwrap();
    assert_eq!(read(&volume, a.within(first.id)), content(300, 1));
    assert_eq!(read(&volume, a.within(second.id)), content(300, 2));
    volume.snapshot_delete(first.id).unwrap();
    volume.snapshot_delete(second.id).unwrap();
    remove(&volume, "other");
    assert!(used(&volume) < 40, "{} blocks are still in use", used(&volume));
    assert_eq!(volume.statfs().snapshot_bytes, 0);
}

#[test]
fn a_volume_goes_back_and_forth() {
    let dir = tempfile::tempdir().unwrap();
    let volume = volume(dir.path());
    let (a, b) = (create(&volume, "a"), create(&volume, "b"));
    write(&volume, a, 0, content(300, 1));
    write(&volume, b, 0, content(300, 2));
    let monday = volume.snapshot_create("monday", cx().now).unwrap();
    remove(&volume, "b");
    write(&volume, a, 0, content(200, 3));
    let c = create(&volume, "c");
    write(&volume, c, 0, content(1000, 4));
    let tuesday = volume.snapshot_create("tuesday", cx().now).unwrap();
    write(&volume, c, 0, content(2000, 6));

    volume.snapshot_restore(monday.id).unwrap();
    assert_eq!((read(&volume, a), read(&volume, b)), (content(300, 1), content(300, 2)));
    assert_eq!(volume.getattr(c), Err(FsError::Stale));
    // A new file does not come under an old handle.
    for name in ["d", "e", "f"] {
        assert_ne!(create(&volume, name), c);
    }
    assert_eq!(volume.getattr(c), Err(FsError::Stale));
    write(&volume, b, 0, content(100, 8));
    let changed = read(&volume, b);
    volume.flush_log().unwrap();
    drop(volume);

    let volume = reopen(dir.path());
    assert_eq!((read(&volume, a), read(&volume, b)), (content(300, 1), changed));
    assert_eq!(read(&volume, c.within(tuesday.id)), content(1000, 4));
}

#[test]
fn going_back_leaves_no_block_behind() {
    let dir = tempfile::tempdir().unwrap();
    let volume = volume(dir.path());
    let a = create(&volume, "a");
    write(&volume, a, 0, content(300, 1));
    let monday = volume.snapshot_create("monday", cx().now).unwrap();
    let level = used(&volume);
    for round in 0..20 {
        let b = create(&volume, "b");
        write(&volume, b, 0, content(1000, round));
        write(&volume, a, 0, content(300, round));
        if round % 2 == 0 {
            volume.consistency_point().unwrap();
        }
        volume.snapshot_restore(monday.id).unwrap();
        assert_eq!(read(&volume, a), content(300, 1));
        assert!(used(&volume) <= level + 8, "round {round}: {} blocks, {level} at first", used(&volume));
    }
    volume.snapshot_delete(monday.id).unwrap();
    remove(&volume, "a");
    assert!(used(&volume) < 40);
}

#[test]
fn newer_snapshots_outlive_a_restore_of_an_older_one() {
    let dir = tempfile::tempdir().unwrap();
    let volume = volume(dir.path());
    let a = create(&volume, "a");
    write(&volume, a, 0, content(300, 1));
    let monday = volume.snapshot_create("monday", cx().now).unwrap();
    write(&volume, a, 0, content(300, 2));
    let tuesday = volume.snapshot_create("tuesday", cx().now).unwrap();
    volume.snapshot_restore(monday.id).unwrap();
    volume.snapshot_restore(tuesday.id).unwrap();
    assert_eq!(read(&volume, a), content(300, 2));
    volume.snapshot_restore(monday.id).unwrap();
    volume.snapshot_delete(monday.id).unwrap();
    let other = create(&volume, "other");
    write(&volume, other, 0, content(2000, 5));
    volume.consistency_point().unwrap();
    assert_eq!(read(&volume, a), content(300, 1));
    assert_eq!(read(&volume, a.within(tuesday.id)), content(300, 2));
    volume.snapshot_delete(tuesday.id).unwrap();
    assert_eq!(read(&volume, a), content(300, 1));
}

#[test]
fn a_block_that_comes_back_and_goes_within_one_consistency_point_is_the_snapshots() {
    let dir = tempfile::tempdir().unwrap();
    let volume = volume(dir.path());
    let a = create(&volume, "a");
    write(&volume, a, 0, content(300, 1));
    let old = volume.snapshot_create("old", cx().now).unwrap();
    write(&volume, a, 0, content(300, 2));
    let level = used(&volume);
    volume.execute(&cx(), Op::CloneFile { from: a.within(old.id), to: a }).unwrap();
    remove(&volume, "a");
    assert!(used(&volume) < level);
    let other = create(&volume, "other");
    write(&volume, other, 0, content(2000, 5));
    volume.consistency_point().unwrap();
    assert_eq!(read(&volume, a.within(old.id)), content(300, 1));
    volume.snapshot_delete(old.id).unwrap();
    remove(&volume, "other");
    assert!(used(&volume) < 40, "{} blocks are still in use", used(&volume));
}
