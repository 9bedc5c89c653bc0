//! Writable clones: what they share with their parent, what stays apart, and how they become volumes of their own.

#![allow(clippy::unwrap_used, reason = "a test may; clippy knows that only of functions marked as tests")]

use bytes::Bytes;
use fsstore::{
    CLONE_BASE, CheckOptions, Context, CreateHow, Disk, FileDisk, FileId, FsError, Op, Parents, ROOT,
    Replica, SetAttrs, SnapshotId, SnapshotMaker, Time, Tuning, Volume, VolumeSpec, check, clone_origin,
    rebuild_maps,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

const BYTES: u64 = 64 << 20;

fn cx() -> Context {
    Context::root(Time { secs: 1000, nanos: 0 })
}

fn tuning() -> Tuning {
    Tuning { threads: false, ..Tuning::default() }
}

/// Volumes in files of one directory, by number.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }
    fn path(&self, number: u128) -> PathBuf {
        self.0.path().join(format!("{number}"))
    }
    fn disk(&self, number: u128) -> Arc<dyn Disk> {
        Arc::new(FileDisk::open(&self.path(number)).unwrap())
    }
    fn blank(&self, number: u128) -> Arc<dyn Disk> {
        Arc::new(FileDisk::create(&self.path(number), BYTES).unwrap())
    }
    fn volume(&self, number: u128) -> Arc<Volume> {
        let spec = VolumeSpec { uuid: Uuid::from_u128(number), size_bytes: BYTES };
        Volume::create(self.blank(number), &spec, cx().now, tuning()).unwrap()
    }
    fn clone_of(&self, number: u128, parent: &Volume, snapshot: SnapshotId) -> Arc<Volume> {
        let uuid = Uuid::from_u128(number);
        Volume::create_clone(self.blank(number), uuid, parent, snapshot, tuning()).unwrap()
    }
    fn open_clone(&self, number: u128, parent: &Volume) -> Arc<Volume> {
        Volume::open_clone(self.disk(number), parent, tuning()).unwrap()
    }
    fn check(&self, number: u128, parents: &[u128]) -> Result<Vec<String>, FsError> {
        let parents = Parents(parents.iter().map(|number| self.disk(*number)).collect());
        let mut findings = Vec::new();
        let options = CheckOptions { parents, ..CheckOptions::default() };
        check(self.disk(number), &options, &mut |event| {
            if let fsstore::CheckEvent::Finding(finding) = event {
                findings.push(finding.to_string());
            }
        })?;
        Ok(findings)
    }
}

fn host_blocks(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).unwrap().blocks() / 8
}

fn create(volume: &Volume, name: &'static str) -> FileId {
    let how = CreateHow::Guarded(SetAttrs { mode: Some(0o640), ..SetAttrs::default() });
    volume.execute(&cx(), Op::Create { dir: ROOT, name: name.into(), how }).unwrap().object.after.id
}

fn write(volume: &Volume, file: FileId, offset: u64, data: Bytes) {
    volume.execute(&cx(), Op::Write { file, offset, data }).unwrap();
}

fn read(volume: &Volume, file: FileId) -> Bytes {
    volume.read(&cx(), file, 0, 16 << 20).unwrap().data
}

fn named(volume: &Volume, name: &str) -> Option<FileId> {
    volume.lookup(&cx(), ROOT, name.as_bytes()).ok().map(|attr| attr.id)
}

fn remove(volume: &Volume, name: &'static str) {
    volume.execute(&cx(), Op::Remove { dir: ROOT, name: name.into() }).unwrap();
}

/// Whole blocks that follow from their number and `salt`.
fn content(blocks: u64, salt: u8) -> Bytes {
    (0..blocks).flat_map(|block| [block.to_le_bytes()[0].wrapping_add(salt); 4096]).collect()
}

/// A volume with a file `a` of 1000 blocks, and its snapshot.
fn with_snapshot(place: &Place) -> (Arc<Volume>, FileId, SnapshotId) {
    let parent = place.volume(1);
    let a = create(&parent, "a");
    write(&parent, a, 0, content(1000, 1));
    let snapshot = parent.snapshot_create("monday", cx().now).unwrap().id;
    (parent, a, snapshot)
}

fn split(volume: &Volume, budget: u64) -> u64 {
    let mut copied = 0;
    for _ in 0..10_000 {
        let step = volume.split_step(budget).unwrap();
        copied += step.copied_blocks;
        if step.done {
            return copied;
        }
    }
    panic!("a split without end");
}

#[test]
fn a_clone_shows_the_snapshot_and_shares_its_blocks() {
    let place = Place::new();
    let (parent, a, snapshot) = with_snapshot(&place);
    write(&parent, a, 0, content(10, 99));
    let clone = place.clone_of(2, &parent, snapshot);
    assert_eq!(read(&clone, a), content(1000, 1), "as in the snapshot, not as now");
    assert_eq!(clone.uuid(), Uuid::from_u128(2));
    let own = host_blocks(&place.path(2));
    assert!(own < 64, "a clone of 1000 blocks took {own}");
    let base = clone.snapshots();
    assert_eq!((base[0].name.as_str(), base[0].maker), (CLONE_BASE, SnapshotMaker::Clone));
    assert_eq!(clone.origin().unwrap().snapshot, snapshot);
    assert_eq!(parent.origin(), None);
}

#[test]
fn changes_stay_apart_in_both_directions_and_across_crashes() {
    let place = Place::new();
    let (parent, a, snapshot) = with_snapshot(&place);
    let mut clone = place.clone_of(2, &parent, snapshot);
    write(&clone, a, 5 * 4096, content(100, 50));
    let b = create(&clone, "b");
    write(&clone, b, 0, content(300, 60));
    let want = read(&clone, a);
    // The parent does what it likes: it writes, deletes, restores, fills what it has freed.
    write(&parent, a, 0, content(1000, 7));
    parent.consistency_point().unwrap();
    remove(&parent, "a");
    let other = create(&parent, "other");
    write(&parent, other, 0, content(2000, 8));
    parent.consistency_point().unwrap();
    assert_eq!(named(&parent, "b"), None);
    for round in 0..3 {
        clone.flush_log().unwrap();
        drop(clone);
        clone = place.open_clone(2, &parent);
        assert_eq!((read(&clone, a), read(&clone, b)), (want.clone(), content(300, 60)), "round {round}");
        clone.consistency_point().unwrap();
    }
    parent.snapshot_restore(snapshot).unwrap();
    assert_eq!(read(&parent, a), content(1000, 1));
    assert_eq!(read(&clone, a), want);
    clone.close().unwrap();
    parent.close().unwrap();
    drop((clone, parent));
    assert_eq!(place.check(1, &[]).unwrap(), Vec::<String>::new());
    assert_eq!(place.check(2, &[1]).unwrap(), Vec::<String>::new());
}

#[test]
fn directories_of_the_parent_are_read_and_changed() {
    let place = Place::new();
    let parent = place.volume(1);
    for n in 0..2000 {
        let how = CreateHow::Guarded(SetAttrs::default());
        parent.execute(&cx(), Op::Create { dir: ROOT, name: format!("file {n}").into(), how }).unwrap();
    }
    let snapshot = parent.snapshot_create("s", cx().now).unwrap().id;
    let clone = place.clone_of(2, &parent, snapshot);
    for n in (0..2000).step_by(3) {
        let name = format!("file {n}").into();
        clone.execute(&cx(), Op::Remove { dir: ROOT, name }).unwrap();
    }
    let made = create(&clone, "new");
    clone.close().unwrap();
    drop(clone);
    let clone = place.open_clone(2, &parent);
    for n in 0..2000 {
        assert_eq!(named(&clone, &format!("file {n}")).is_some(), n % 3 != 0, "{n}");
    }
    assert_eq!(named(&clone, "new"), Some(made));
    // No file of the clone is taken for one that the parent makes.
    let theirs = create(&parent, "new");
    assert!(made.generation > theirs.generation, "{made:?} {theirs:?}");
}

#[test]
fn what_a_clone_needs_stays() {
    let place = Place::new();
    let (parent, _, snapshot) = with_snapshot(&place);
    let clone = place.clone_of(2, &parent, snapshot);
    assert!(matches!(parent.snapshot_delete(snapshot), Err(FsError::Snapshot(_))));
    let base = clone.snapshots()[0].id;
    assert!(matches!(clone.snapshot_delete(base), Err(FsError::Snapshot(why)) if why.contains("split")));
    drop(clone);
    assert!(
        matches!(Volume::open(place.disk(2), tuning()), Err(FsError::Format(why)) if why.contains("clone of volume"))
    );
    let stranger = place.volume(3);
    assert!(matches!(Volume::open_clone(place.disk(2), &stranger, tuning()), Err(FsError::Format(_))));
    assert_eq!(clone_origin(&*place.disk(2)).unwrap().unwrap().parent, Uuid::from_u128(1));
    drop(stranger);
    assert_eq!(clone_origin(&*place.disk(3)).unwrap(), None);
    parent.snapshot_delete(snapshot).unwrap();
    assert!(matches!(Volume::open_clone(place.disk(2), &parent, tuning()), Err(FsError::Snapshot(_))));
}

#[test]
fn a_split_goes_on_where_a_crash_stopped_it() {
    let place = Place::new();
    let (parent, a, snapshot) = with_snapshot(&place);
    let mut clone = place.clone_of(2, &parent, snapshot);
    write(&clone, a, 0, content(20, 33));
    let want = read(&clone, a);
    let mut copied = 0;
    for step in 0..4 {
        let done = clone.split_step(150).unwrap();
        assert!(!done.done && done.copied_blocks == 150, "{done:?}");
        copied += done.copied_blocks;
        // Operations go on meanwhile.
        write(&clone, a, (100 + step) * 4096, content(1, 5));
        clone.flush_log().unwrap();
        drop(clone);
        clone = place.open_clone(2, &parent);
    }
    copied += split(&clone, 150);
    assert!((1000..1100).contains(&copied), "{copied} blocks copied: none twice");
    assert_eq!(clone.origin(), None);
    assert_eq!(clone.snapshots(), []);
    parent.snapshot_delete(snapshot).unwrap();
    remove(&parent, "a");
    let other = create(&parent, "other");
    write(&parent, other, 0, content(2000, 8));
    parent.close().unwrap();
    drop(parent);
    std::fs::remove_file(place.path(1)).unwrap();
    let mut after = want.to_vec();
    (0..4).for_each(|step| after[(100 + step) * 4096..(101 + step) * 4096].fill(5));
    assert_eq!(read(&clone, a), after);
    clone.close().unwrap();
    drop(clone);
    assert_eq!(place.check(2, &[]).unwrap(), Vec::<String>::new());
    let volume = Volume::open(place.disk(2), tuning()).unwrap();
    assert_eq!(read(&volume, a), after);
    assert!(split(&volume, 1) == 0, "a volume that is no clone has nothing to split");
}

#[test]
fn a_clone_grows_and_says_what_keeps_it_from_shrinking() {
    let place = Place::new();
    let parent = place.volume(1);
    let a = create(&parent, "a");
    (0..9).for_each(|part| write(&parent, a, part * 1000 * 4096, content(1000, 1)));
    let snapshot = parent.snapshot_create("s", cx().now).unwrap().id;
    let clone = place.clone_of(2, &parent, snapshot);
    clone.resize(BYTES * 4).unwrap();
    let b = create(&clone, "b");
    for part in 0..20 {
        write(&clone, b, part * 1000 * 4096, content(1000, 9));
    }
    clone.consistency_point().unwrap();
    remove(&clone, "b");
    remove(&clone, "a");
    assert!(matches!(clone.resize(BYTES / 2), Err(FsError::Resize(why)) if why.contains(CLONE_BASE)));
    assert_eq!(read(&parent, a)[..4096 * 1000], content(1000, 1));
}

#[test]
fn a_clone_of_a_clone_lives_on_when_the_one_between_is_split() {
    let place = Place::new();
    let (first, a, snapshot) = with_snapshot(&place);
    let second = place.clone_of(2, &first, snapshot);
    write(&second, a, 0, content(10, 20));
    let snapshot = second.snapshot_create("tuesday", cx().now).unwrap().id;
    let third = place.clone_of(3, &second, snapshot);
    write(&second, a, 0, content(10, 70));
    write(&third, a, 4096 * 900, content(10, 30));
    let want = read(&third, a);
    assert_eq!(&want[..4096 * 10], &content(10, 20)[..]);
    third.close().unwrap();
    second.close().unwrap();
    first.close().unwrap();
    drop((first, second, third));
    assert_eq!(place.check(3, &[2, 1]).unwrap(), Vec::<String>::new());
    assert!(matches!(place.check(3, &[2]), Err(FsError::Format(why)) if why.contains("parent")));
    assert!(matches!(place.check(3, &[1, 2]), Err(FsError::Format(why)) if why.contains("given is volume")));
    let options =
        CheckOptions { parents: Parents(vec![place.disk(2), place.disk(1)]), ..CheckOptions::default() };
    let rebuilt = rebuild_maps(place.disk(3), &options, &mut |_| {});
    assert!(matches!(rebuilt, Err(FsError::Format(why)) if why.contains("split it first")));
    drop(options);
    let first = Volume::open(place.disk(1), tuning()).unwrap();
    let second = place.open_clone(2, &first);
    let third = place.open_clone(3, &second);
    split(&second, 64);
    first.close().unwrap();
    drop(first);
    std::fs::remove_file(place.path(1)).unwrap();
    assert_eq!(read(&third, a), want);
    split(&third, 64);
    assert_eq!(read(&third, a), want);
}

#[test]
fn a_replica_of_a_clone_is_a_volume_of_its_own() {
    let place = Place::new();
    let (parent, a, snapshot) = with_snapshot(&place);
    let clone = place.clone_of(2, &parent, snapshot);
    write(&clone, a, 0, content(20, 33));
    let want = read(&clone, a);
    let to = clone.snapshot_create("move", cx().now).unwrap().id;
    let spec = VolumeSpec { uuid: clone.uuid(), size_bytes: BYTES };
    let replica = Replica::create(place.blank(4), &spec).unwrap();
    for run in clone.snapdiff(None, to).unwrap() {
        let run = run.unwrap();
        let mut buf = vec![0; usize::try_from(run.blocks).unwrap() * 4096];
        clone.read_raw(run.start, &mut buf).unwrap();
        replica.write(run.start, &buf).unwrap();
    }
    replica.install(&clone.image(to).unwrap()).unwrap();
    replica.close().unwrap();
    assert_eq!(place.check(4, &[]).unwrap(), Vec::<String>::new());
    let moved = Volume::open(place.disk(4), tuning()).unwrap();
    assert_eq!(moved.origin(), None);
    assert_eq!(read(&moved, a), want);
    assert!(moved.snapshots().iter().any(|snapshot| snapshot.maker == SnapshotMaker::Clone));
    assert_eq!(split(&moved, 1), 0);
    assert!(moved.snapshots().iter().all(|snapshot| snapshot.maker == SnapshotMaker::Person));
}

/// The parent's file must not be touched by anything that the clone does.
#[test]
fn a_clone_never_writes_to_its_parent() {
    let place = Place::new();
    let (parent, a, snapshot) = with_snapshot(&place);
    parent.close().unwrap();
    drop(parent);
    let parent = Volume::open(place.disk(1), tuning()).unwrap();
    let before = std::fs::read(place.path(1)).unwrap();
    let clone = place.clone_of(2, &parent, snapshot);
    for round in 0..5 {
        write(&clone, a, round * 100 * 4096, content(500, 3));
        clone.snapshot_create(&format!("{round}"), cx().now).unwrap();
    }
    remove(&clone, "a");
    clone.snapshot_restore(clone.snapshots()[0].id).unwrap();
    assert_eq!(read(&clone, a), content(1000, 1));
    split(&clone, 100);
    clone.close().unwrap();
    assert!(std::fs::read(place.path(1)).unwrap() == before);
}
