//! A volume that becomes larger and smaller while it is in use.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use bytes::Bytes;
use fsstore::*;
use std::path::PathBuf;
use std::sync::Arc;

const MIB: u64 = 1 << 20;

fn root() -> Context {
    Context::root(Time { secs: 1000, nanos: 0 })
}

struct Fixture {
    volume: Arc<Volume>,
    path: PathBuf,
    _dir: tempfile::TempDir,
}

fn fixture(mib: u64) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("v");
    let disk = Arc::new(FileDisk::create(&path, mib * MIB).unwrap());
    let spec = VolumeSpec { uuid: uuid::Uuid::from_u128(1), size_bytes: mib * MIB };
    let volume = Volume::create(disk, &spec, Time::default(), Tuning::default()).unwrap();
    Fixture { volume, path, _dir: dir }
}

impl Fixture {
    fn make(&self, name: &'static str) -> FileId {
        let how = CreateHow::Unchecked(SetAttrs::default());
        let op = Op::Create { dir: ROOT, name: Bytes::from_static(name.as_bytes()), how };
        self.volume.execute(&root(), op).unwrap().object.after.id
    }
    /// Writes whole MiB from `from`, each filled with its number.
    fn fill(&self, file: FileId, mib: std::ops::Range<u8>) -> Result<()> {
        for at in mib {
            let data = Bytes::from(vec![at; 1 << 20]);
            self.volume.execute(&root(), Op::Write { file, offset: u64::from(at) * MIB, data })?;
        }
        Ok(())
    }
    fn check(&self, file: FileId, mib: std::ops::Range<u8>) {
        for at in mib {
            let read = self.volume.read(&root(), file, u64::from(at) * MIB, 1 << 20).unwrap();
            assert!(read.data.len() == 1 << 20 && read.data.iter().all(|byte| *byte == at), "MiB {at}");
        }
    }
    fn remove(&self, name: &'static str) {
        let op = Op::Remove { dir: ROOT, name: Bytes::from_static(name.as_bytes()) };
        self.volume.execute(&root(), op).unwrap();
    }
    fn reopen(self) -> Fixture {
        self.volume.close().unwrap();
        let Fixture { volume, path, _dir } = self;
        drop(volume);
        let volume = Volume::open(Arc::new(FileDisk::open(&path).unwrap()), Tuning::default()).unwrap();
        Fixture { volume, path, _dir }
    }
}

#[test]
fn a_full_volume_grows_past_a_level_of_its_block_map_and_goes_on() {
    let f = fixture(16);
    let file = f.make("a");
    assert_eq!(f.fill(file, 0..16), Err(FsError::NoSpace));
    let before = f.volume.statfs();
    // One page of the block map speaks of 128 MiB.
    f.volume.resize(200 * MIB).unwrap();
    let after = f.volume.statfs();
    assert_eq!(f.volume.size_bytes(), 200 * MIB);
    assert_eq!(after.total_bytes - before.total_bytes, 184 * MIB);
    assert_eq!(after.free_bytes - before.free_bytes, 184 * MIB);
    f.fill(file, 0..180).unwrap();
    f.check(file, 0..180);
    let f = f.reopen();
    assert_eq!(f.volume.size_bytes(), 200 * MIB);
    f.check(file, 0..180);
    assert_eq!(std::fs::metadata(&f.path).unwrap().len(), 200 * MIB);
}

#[test]
fn an_empty_tail_goes_and_its_blocks_are_not_given_out_any_more() {
    let f = fixture(300);
    let file = f.make("a");
    f.fill(file, 0..10).unwrap();
    f.volume.resize(40 * MIB).unwrap();
    assert_eq!(f.volume.size_bytes(), 40 * MIB);
    assert!(f.volume.statfs().total_bytes < 40 * MIB);
    assert_eq!(std::fs::metadata(&f.path).unwrap().len(), 40 * MIB);
    assert_eq!(f.fill(file, 10..40), Err(FsError::NoSpace));
    f.check(file, 0..15);
    let f = f.reopen();
    f.check(file, 0..15);
    f.volume.resize(150 * MIB).unwrap();
    f.fill(file, 0..100).unwrap();
    f.check(file, 0..100);
}

#[test]
fn what_stands_behind_the_new_end_is_named_and_nothing_changes() {
    let f = fixture(64);
    f.fill(f.make("early"), 0..10).unwrap();
    f.volume.snapshot_create("monday", Time::default()).unwrap();
    f.fill(f.make("late"), 0..30).unwrap();
    let tuesday = f.volume.snapshot_create("tuesday", Time::default()).unwrap();
    let refused = |mib| match f.volume.resize(mib * MIB) {
        Err(FsError::Resize(why)) => why,
        other => panic!("{other:?}"),
    };
    let free = f.volume.statfs().free_bytes;
    let why = refused(30);
    assert!(why.contains("the live file system, snapshot `tuesday`") && !why.contains("monday"), "{why}");
    let now = f.volume.statfs().free_bytes;
    assert!(f.volume.size_bytes() == 64 * MIB && free.abs_diff(now) < 64 * BLOCK_SIZE_U64, "{free} {now}");
    f.remove("early");
    f.remove("late");
    let why = refused(30);
    assert!(why.contains("by snapshot `tuesday`;"), "{why}");
    // The size that it names is one that it takes.
    let least: u64 = why.split_whitespace().rev().nth(1).unwrap().parse().unwrap();
    f.volume.resize(least).unwrap();
    f.volume.snapshot_delete(tuesday.id).unwrap();
    f.volume.resize(30 * MIB).unwrap();
    assert_eq!(f.volume.size_bytes(), 30 * MIB);
    f.fill(f.make("new"), 0..12).unwrap();
}

#[test]
fn a_volume_does_not_become_too_small_for_what_is_in_it() {
    let f = fixture(64);
    f.fill(f.make("a"), 0..30).unwrap();
    let free = f.volume.statfs().free_bytes;
    let refused = f.volume.resize(24 * MIB);
    assert!(matches!(refused, Err(FsError::NoSpace | FsError::Resize(_))), "{refused:?}");
    let now = f.volume.statfs().free_bytes;
    assert!(f.volume.size_bytes() == 64 * MIB && free.abs_diff(now) < 64 * BLOCK_SIZE_U64, "{free} {now}");
}

#[test]
fn sizes_out_of_range_are_refused() {
    let f = fixture(16);
    for bytes in [0, VOLUME_BYTES_MIN - 1, u64::MAX] {
        assert!(matches!(f.volume.resize(bytes), Err(FsError::Resize(_))), "{bytes}");
    }
    f.volume.resize(16 * MIB).unwrap();
    f.volume.close().unwrap();
    assert_eq!(f.volume.resize(32 * MIB), Err(FsError::ReadOnly));
}

/// Writers go on while the volume grows and shrinks under them.
#[test]
fn operations_go_on_meanwhile() {
    let f = fixture(64);
    let files: Vec<FileId> = ["a", "b", "c"].map(|name| f.make(name)).to_vec();
    std::thread::scope(|scope| {
        for file in &files {
            scope.spawn(|| {
                for _ in 0..6 {
                    f.fill(*file, 0..4).unwrap();
                }
            });
        }
        scope.spawn(|| {
            for round in 0..40 {
                match f.volume.resize((64 + round % 5 * 60) * MIB) {
                    Ok(()) | Err(FsError::Resize(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
    });
    files.iter().for_each(|file| f.check(*file, 0..4));
    let f = f.reopen();
    files.iter().for_each(|file| f.check(*file, 0..4));
}

/// A resized volume keeps the log that it was made with; its replica, of the same size, would have made another.
#[test]
fn a_resized_volume_is_replicated() {
    let f = fixture(16);
    let file = f.make("a");
    f.fill(file, 0..5).unwrap();
    f.volume.resize(200 * MIB).unwrap();
    f.fill(file, 0..20).unwrap();
    let snapshot = f.volume.snapshot_create("s", Time::default()).unwrap();
    let path = f.path.with_extension("replica");
    let disk = Arc::new(FileDisk::create(&path, f.volume.size_bytes()).unwrap());
    let spec = VolumeSpec { uuid: f.volume.uuid(), size_bytes: f.volume.size_bytes() };
    let replica = Replica::create(disk, &spec).unwrap();
    for run in f.volume.snapdiff(None, snapshot.id).unwrap() {
        let run = run.unwrap();
        for vbn in run.start.0..run.start.0 + run.blocks {
            let mut block = [0; BLOCK_SIZE];
            f.volume.read_raw(Vbn(vbn), &mut block).unwrap();
            replica.write(Vbn(vbn), &block).unwrap();
        }
    }
    replica.install(&f.volume.image(snapshot.id).unwrap()).unwrap();
    replica.close().unwrap();
    let volume = Volume::open(Arc::new(FileDisk::open(&path).unwrap()), Tuning::default()).unwrap();
    let copy = Fixture { volume, path, _dir: tempfile::tempdir().unwrap() };
    copy.check(file, 0..20);
    copy.fill(file, 20..60).unwrap();
    copy.reopen().check(file, 0..60);
}

/// The snapshot from before has a lower block map than the one from after.
#[test]
fn a_snapdiff_across_a_growth_holds_what_is_new() {
    let f = fixture(64);
    let file = f.make("a");
    f.fill(file, 0..20).unwrap();
    let before = f.volume.snapshot_create("before", Time::default()).unwrap();
    f.volume.resize(400 * MIB).unwrap();
    f.fill(file, 20..200).unwrap();
    let after = f.volume.snapshot_create("after", Time::default()).unwrap();
    let blocks =
        |base| -> u64 { f.volume.snapdiff(base, after.id).unwrap().map(|run| run.unwrap().blocks).sum() };
    let (all, new) = (blocks(None), blocks(Some(before.id)));
    assert!((180 * 256..181 * 256).contains(&new), "{new} blocks");
    assert!((200 * 256..202 * 256).contains(&all), "{all} blocks");
    f.volume.snapshot_delete(before.id).unwrap();
    f.check(file, 0..200);
}
