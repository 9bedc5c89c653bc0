//! Each kind of damage, planted with all checksums made right again, is found and named; maps can be made anew.

mod faults;
mod planted;
mod quotas;
mod rebuilt;
mod scrubbed;
mod shared;
mod surgeon;

use self::surgeon::{MemDisk, Surgeon};
use super::*;
use crate::ids::{Cookie, FileId};
use crate::op::{Context, CreateHow, FileKind, Op, ROOT, SetAttrs, Time};
use crate::volume::{Tuning, Volume, VolumeSpec};
use bytes::Bytes;
use std::ops::ControlFlow;
use uuid::Uuid;

const BYTES: u64 = 24 << 20;

fn now() -> Time {
    Time { secs: 1_000, nanos: 0 }
}

fn cx() -> Context {
    Context::root(now())
}

fn tuning() -> Tuning {
    Tuning { cache_bytes: 1 << 20, threads: false, ..Tuning::default() }
}

fn name(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// A mounted volume with something of everything, and the disk below.
struct Sample {
    disk: Arc<MemDisk>,
    volume: Arc<Volume>,
    /// 1 MiB, with an index block.
    big: FileId,
    /// Shares 16 blocks with `big`, twice.
    copy: FileId,
    /// One block, two names.
    linked: FileId,
    dir: FileId,
    /// Enough names for an index.
    wide: FileId,
    symlink: FileId,
}

fn make(volume: &Volume, op: Op) -> FileId {
    volume.execute(&cx(), op).unwrap().object.after.id
}

fn create(volume: &Volume, dir: FileId, file: &str) -> FileId {
    make(volume, Op::Create { dir, name: name(file), how: CreateHow::Guarded(SetAttrs::default()) })
}

fn mkdir(volume: &Volume, dir: FileId, child: &str) -> FileId {
    make(volume, Op::Mkdir { dir, name: name(child), attrs: SetAttrs::default() })
}

fn write(volume: &Volume, file: FileId, offset: u64, byte: u8, len: usize) {
    let data = Bytes::from(vec![byte; len]);
    volume.execute(&cx(), Op::Write { file, offset, data }).unwrap();
}

impl Sample {
    fn new() -> Sample {
        let disk = MemDisk::new(BYTES);
        let spec = VolumeSpec { uuid: Uuid::from_u128(77), size_bytes: BYTES };
        let volume = Volume::create(disk.clone(), &spec, now(), tuning()).unwrap();
        let big = create(&volume, ROOT, "big");
        write(&volume, big, 0, 1, 1 << 20);
        let dir = mkdir(&volume, ROOT, "dir");
        mkdir(&volume, dir, "sub");
        let linked = create(&volume, dir, "one");
        write(&volume, linked, 0, 2, 100);
        volume.execute(&cx(), Op::Link { file: linked, dir: ROOT, name: name("two") }).unwrap();
        let op =
            Op::Symlink { dir: ROOT, name: name("way"), target: name("dir/one"), attrs: SetAttrs::default() };
        let symlink = make(&volume, op);
        let wide = mkdir(&volume, ROOT, "wide");
        for n in 0..400 {
            create(&volume, wide, &format!("a name that is long enough to fill pages {n}"));
        }
        volume.snapshot_create("before", now()).unwrap();
        write(&volume, big, 4096, 3, 8192);
        for n in 0..5 {
            let name = name(&format!("a name that is long enough to fill pages {n}"));
            volume.execute(&cx(), Op::Remove { dir: wide, name }).unwrap();
        }
        volume.snapshot_create("after", now()).unwrap();
        let copy = create(&volume, dir, "copy");
        for at in [0, 1 << 20] {
            let op = Op::CloneRange { from: big, from_offset: 131_072, to: copy, to_offset: at, len: 65_536 };
            volume.execute(&cx(), op).unwrap();
        }
        write(&volume, big, 40_960, 4, 65_536);
        Sample { disk, volume, copy, big, linked, dir, wide, symlink }
    }

    /// Closed, for surgery.
    fn closed() -> (Sample, Surgeon) {
        let sample = Sample::new();
        sample.volume.close().unwrap();
        let surgeon = Surgeon::new(sample.disk.clone());
        (sample, surgeon)
    }
}

/// Every name, and the content of every file.
fn everything(volume: &Volume) -> Result<Vec<(String, Bytes)>> {
    let (mut all, mut dirs) = (Vec::new(), vec![(String::new(), ROOT)]);
    while let Some((path, dir)) = dirs.pop() {
        let mut entries = Vec::new();
        volume.readdir(&cx(), dir, Cookie(2), &mut |entry| {
            let name = format!("{path}/{}", entry.name.escape_ascii());
            entries.push((name, entry.file, entry.kind));
            ControlFlow::Continue(())
        })?;
        for (path, file, kind) in entries {
            let size = usize::try_from(volume.getattr(file)?.size).unwrap();
            match kind {
                FileKind::Dir => dirs.push((path, file)),
                FileKind::Symlink => all.push((path, volume.readlink(&cx(), file)?.0)),
                _ => all.push((path, volume.read(&cx(), file, 0, size)?.data)),
            }
        }
    }
    all.sort();
    Ok(all)
}

fn findings(disk: &Arc<MemDisk>) -> (CheckSummary, Vec<Finding>) {
    let mut found = Vec::new();
    // Few inodes per pass, so that there are several.
    let options = CheckOptions { cache_bytes: 1 << 20, inodes_per_pass: 64, ..CheckOptions::default() };
    let summary = check(disk.clone(), &options, &mut |event| {
        if let CheckEvent::Finding(finding) = event {
            found.push(finding);
        }
    });
    (summary.unwrap(), found)
}

#[test]
fn a_sound_volume_has_no_findings_and_is_not_written_to() {
    let (sample, _) = Sample::closed();
    let before = sample.disk.bytes();
    let (summary, found) = findings(&sample.disk);
    assert_eq!(found, []);
    assert!(summary.is_clean() && summary.snapshots == 2 && summary.files > 400, "{summary:?}");
    assert!(summary.read_blocks >= summary.used_blocks * 9 / 10, "{summary:?}");
    assert!(sample.disk.bytes() == before, "a check must not write");
}

#[test]
fn what_images_share_is_read_once() {
    let (sample, _) = Sample::closed();
    let (summary, _) = findings(&sample.disk);
    assert!(summary.read_blocks < summary.used_blocks + 100, "{summary:?}");
}
