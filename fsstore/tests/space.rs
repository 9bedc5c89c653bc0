//! Space: guaranteed by the host or taken from it as it is needed; who holds it.

#![allow(clippy::unwrap_used, reason = "a test may; clippy knows that only of functions marked as tests")]

use bytes::Bytes;
use fsstore::{
    Context, CreateHow, Disk, FileDisk, FileId, Op, ROOT, SetAttrs, Time, Tuning, Volume, VolumeSpec,
};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

const MIB: u64 = 1 << 20;

fn cx() -> Context {
    Context::root(Time { secs: 1000, nanos: 0 })
}

fn volume(disk: FileDisk) -> Arc<Volume> {
    let spec = VolumeSpec { uuid: uuid::Uuid::from_u128(7), size_bytes: 64 * MIB };
    let tuning = Tuning { threads: false, ..Tuning::default() };
    Volume::create(Arc::new(disk), &spec, cx().now, tuning).unwrap()
}

fn create(volume: &Volume, name: &'static str) -> FileId {
    let how = CreateHow::Guarded(SetAttrs::default());
    volume.execute(&cx(), Op::Create { dir: ROOT, name: name.into(), how }).unwrap().object.after.id
}

fn write(volume: &Volume, file: FileId, at: u64, mib: u64) {
    for part in at..at + mib {
        let data = Bytes::from(vec![7; usize::try_from(MIB).unwrap()]);
        volume.execute(&cx(), Op::Write { file, offset: part * MIB, data }).unwrap();
    }
}

/// What the host has set aside for a file, in MiB.
fn host_mib(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().blocks() * 512 / MIB
}

fn fill_and_empty(volume: &Volume) {
    let file = create(volume, "a");
    write(volume, file, 0, 30);
    volume.consistency_point().unwrap();
    volume.execute(&cx(), Op::Remove { dir: ROOT, name: "a".into() }).unwrap();
    volume.consistency_point().unwrap();
    volume.consistency_point().unwrap();
}

#[test]
fn free_blocks_go_back_to_the_host_unless_they_are_reserved() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("thin");
    let thin = volume(FileDisk::create(&path, 64 * MIB).unwrap());
    let before = host_mib(&path);
    fill_and_empty(&thin);
    assert!(host_mib(&path) < before + 10, "{} MiB", host_mib(&path));

    let path = dir.path().join("thick");
    let disk = FileDisk::create(&path, 64 * MIB).unwrap();
    disk.reserve().unwrap();
    assert!(host_mib(&path) >= 64);
    let thick = volume(disk);
    fill_and_empty(&thick);
    assert!(host_mib(&path) >= 64);
    // What is added is reserved, too.
    thick.resize(80 * MIB).unwrap();
    assert!(host_mib(&path) >= 80);
    thick.close().unwrap();
}

#[test]
fn reserving_changes_no_byte() {
    let dir = tempfile::tempdir().unwrap();
    let disk = FileDisk::create(&dir.path().join("disk"), 8 * MIB).unwrap();
    disk.write_at(&[std::io::IoSlice::new(&[5; 4096])], MIB).unwrap();
    disk.reserve().unwrap();
    let mut buf = [1; 8192];
    disk.read_at(&mut buf, MIB).unwrap();
    assert!(buf[..4096].iter().all(|byte| *byte == 5) && buf[4096..].iter().all(|byte| *byte == 0));
}

#[test]
fn snapshots_that_hold_space_are_known() {
    let dir = tempfile::tempdir().unwrap();
    let volume = volume(FileDisk::create(&dir.path().join("volume"), 64 * MIB).unwrap());
    let file = create(&volume, "a");
    write(&volume, file, 0, 20);
    for (name, mib) in [("small", 2), ("large", 9), ("last", 1)] {
        volume.snapshot_create(name, cx().now).unwrap();
        write(&volume, file, 0, mib);
    }
    volume.consistency_point().unwrap();
    let held = volume.space_held();
    let names: Vec<_> = held.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["small", "large", "last"]);
    for ((name, bytes), mib) in held.iter().zip([2, 9, 1]) {
        assert!((mib * MIB..(mib + 1) * MIB).contains(bytes), "{name}: {bytes}");
    }
}
