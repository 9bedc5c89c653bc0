//! Volumes on block devices: taken only when blank, held exclusively, blank again when they are given back.
//!
//! The loop device needs root and losetup (package util-linux). What can be shown with a regular file in its place runs
//! everywhere.

#![allow(clippy::unwrap_used, reason = "a test may; clippy knows that only of functions marked as tests")]

use bytes::Bytes;
use fsstore::{Context, CreateHow, FileDisk, NotBlank, Op, ROOT, SetAttrs, Time, Tuning, Volume, VolumeSpec};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

const BYTES: u64 = 64 << 20;

fn cx() -> Context {
    Context::root(Time { secs: 1, nanos: 0 })
}

/// A volume with a file of 1 MiB; then closed, or dropped as if the process died.
fn make(path: &Path, not_blank: NotBlank, close: bool) {
    let disk = FileDisk::create_on_device(path, not_blank).unwrap();
    let size_bytes = disk.size_bytes().unwrap();
    assert_eq!(size_bytes, BYTES);
    let spec = VolumeSpec { uuid: uuid::Uuid::from_u128(5), size_bytes };
    let volume = Volume::create(Arc::new(disk), &spec, Time::default(), Tuning::default()).unwrap();
    let how = CreateHow::Guarded(SetAttrs::default());
    let file =
        volume.execute(&cx(), Op::Create { dir: ROOT, name: "f".into(), how }).unwrap().object.after.id;
    let data = Bytes::from(vec![7; 1 << 20]);
    let done = volume.execute(&cx(), Op::Write { file, offset: 0, data }).unwrap();
    volume.wait_durable(done.lsn).unwrap();
    if close {
        volume.close().unwrap();
    }
}

fn check(path: &Path) {
    let volume = Volume::open(Arc::new(FileDisk::open(path).unwrap()), Tuning::default()).unwrap();
    let file = volume.lookup(&cx(), ROOT, b"f").unwrap();
    let read = volume.read(&cx(), file.id, 0, 2 << 20).unwrap();
    assert!(read.data.len() == 1 << 20 && read.data.iter().all(|byte| *byte == 7));
    // Nobody else gets in meanwhile, neither to open nor to take it.
    assert_eq!(FileDisk::open(path).unwrap_err().kind(), ErrorKind::WouldBlock);
    let taken = FileDisk::create_on_device(path, NotBlank::Overwrite).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::WouldBlock);
}

fn everything(path: &Path) {
    make(path, NotBlank::Refuse, true);
    check(path);
    let refused = FileDisk::create_on_device(path, NotBlank::Refuse).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists, "a volume is on it");
    check(path);
    make(path, NotBlank::Overwrite, false);
    check(path);
    FileDisk::open(path).unwrap().wipe().unwrap();
    let gone = Volume::open(Arc::new(FileDisk::open(path).unwrap()), Tuning::default());
    assert!(matches!(gone, Err(fsstore::FsError::Format(_))));
    make(path, NotBlank::Refuse, true);
}

#[test]
fn a_regular_file_may_stand_in_for_a_device() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("device");
    let missing = FileDisk::create_on_device(&path, NotBlank::Refuse).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    // An odd end is left alone.
    std::fs::File::create(&path).unwrap().set_len(BYTES + 100).unwrap();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    everything(&link);
}

/// A loop device, detached at the end whatever happens.
struct Loop(PathBuf);

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.0).status();
    }
}

/// Why there can be no loop device here. In CI a missing tool is a failure.
fn attach(image: &Path) -> Result<Loop, String> {
    if !Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.trim_ascii() == b"0") {
        return Err("needs root".to_owned());
    }
    let Ok(output) = Command::new("losetup").args(["--find", "--show"]).arg(image).output() else {
        let missing = "needs losetup (package util-linux)";
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{missing}");
        return Err(missing.to_owned());
    };
    if output.status.success() {
        Ok(Loop(PathBuf::from(text(&output).trim())))
    } else {
        // Root of a container may be root in name only.
        Err(format!("needs root that may make loop devices: {}", text(&output)))
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(if output.status.success() { &output.stdout } else { &output.stderr })
        .into_owned()
}

#[test]
fn a_volume_on_a_loop_device() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    std::fs::File::create(&image).unwrap().set_len(BYTES).unwrap();
    let device = match attach(&image) {
        Ok(device) => device,
        Err(why) => {
            eprintln!("skipped: {why}");
            return;
        }
    };
    everything(&device.0);
    foreign_file_systems_are_left_alone(&device.0);
}

fn foreign_file_systems_are_left_alone(device: &Path) {
    FileDisk::open(device).unwrap().wipe().unwrap();
    match Command::new("mkfs.ext4").arg("-q").arg(device).output() {
        Ok(output) => assert!(output.status.success(), "{}", text(&output)),
        Err(_) => return eprintln!("skipped in part: needs mkfs.ext4 (package e2fsprogs)"),
    }
    let refused = FileDisk::create_on_device(device, NotBlank::Refuse).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists, "an ext4 is on it");
    let place = tempfile::tempdir().unwrap();
    if Command::new("mount").arg(device).arg(place.path()).status().is_ok_and(|status| status.success()) {
        let mounted = FileDisk::create_on_device(device, NotBlank::Overwrite).map_err(|error| error.kind());
        let unmounted = Command::new("umount").arg(place.path()).status().unwrap();
        assert!(unmounted.success());
        assert_eq!(mounted.unwrap_err(), ErrorKind::WouldBlock, "it is mounted");
    } else {
        eprintln!("skipped in part: mount does not work here");
    }
    make(device, NotBlank::Overwrite, true);
    check(device);
}
