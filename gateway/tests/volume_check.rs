//! `ferry volume check` as its users see it: exit status, words, JSON, and a volume that is in use.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use bytes::Bytes;
use fsstore::{Context, CreateHow, FileDisk, Op, ROOT, SetAttrs, Time, Tuning, Volume, VolumeSpec};
use serde_json::Value;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

const BYTES: u64 = 16 << 20;

fn ferry(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ferry")).args(["volume", "check"]).args(arguments).output();
    let output = output.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn make(path: &Path) -> Arc<Volume> {
    let disk = Arc::new(FileDisk::create(path, BYTES).unwrap());
    let spec = VolumeSpec { uuid: uuid::Uuid::from_u128(3), size_bytes: BYTES };
    let now = Time { secs: 1, nanos: 0 };
    let volume = Volume::create(disk, &spec, now, Tuning::default()).unwrap();
    let how = CreateHow::Guarded(SetAttrs::default());
    let op = Op::Create { dir: ROOT, name: Bytes::from_static(b"file"), how };
    let file = volume.execute(&Context::root(now), op).unwrap().object.after.id;
    let data = Bytes::from(vec![0xa5; 100_000]);
    volume.execute(&Context::root(now), Op::Write { file, offset: 0, data }).unwrap();
    volume.snapshot_create("monday", now).unwrap();
    volume
}

#[test]
fn a_volume_file_is_judged_by_exit_status_and_words() {
    let dir = std::env::temp_dir().join(format!("ferry-check-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&dir).unwrap();
    let path = dir.join("v.vol");
    let file = path.to_str().unwrap();
    let volume = make(&path);

    let (status, _, error) = ferry(&[file]);
    assert!(status == 2 && error.contains("another process has this volume open"), "{status} {error}");
    volume.close().unwrap();
    drop(volume);

    let (status, out, error) = ferry(&[file]);
    assert!(status == 0 && out.contains("clean") && out.contains("1 snapshots"), "{status} {out}{error}");
    let (status, out, _) = ferry(&[file, "--rebuild-maps"]);
    assert!(status == 0 && out.contains("nothing was written"), "{status} {out}");

    // One wrong byte in the file's data.
    let raw = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    let (mut block, mut place) = ([0; 4096], 0);
    while block != [0xa5; 4096] {
        place += 4096;
        raw.read_exact_at(&mut block, place).unwrap();
    }
    raw.write_all_at(&[1], place).unwrap();
    let (status, out, error) = ferry(&[file]);
    assert_eq!(status, 1, "{out}{error}");
    assert!(
        out.contains("checksum: active image, inode 3, block ") && out.contains("DAMAGED, 1 finding"),
        "{out}"
    );
    let (status, out, _) = ferry(&[file, "--output", "json", "--max-findings", "0"]);
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((status, &answer["damage"], &answer["findings_total"]), (1, &Value::from(1), &Value::from(1)));
    assert_eq!(answer["summary"]["findings"]["checksum"], Value::from(1), "{out}");

    // No volume at all.
    std::fs::write(&path, vec![0; 1 << 20]).unwrap();
    let (status, _, error) = ferry(&[file]);
    assert!(status == 2 && error.contains("v.vol"), "{status} {error}");
    let (status, _, error) = ferry(&[dir.join("none").to_str().unwrap()]);
    assert!(status == 2 && error.contains("No such file"), "{status} {error}");
    std::fs::remove_dir_all(&dir).unwrap();
}

fn put(volume: &Volume, name: &'static str, data: &'static [u8]) {
    let cx = Context::root(Time { secs: 2, nanos: 0 });
    let how = CreateHow::Unchecked(SetAttrs::default());
    let file = volume.execute(&cx, Op::Create { dir: ROOT, name: name.into(), how }).unwrap().object.after.id;
    let done = volume.execute(&cx, Op::Write { file, offset: 0, data: data.into() }).unwrap();
    volume.wait_durable(done.lsn).unwrap();
}

fn first_byte(volume: &Volume, name: &str) -> Option<u8> {
    let cx = Context::root(Time { secs: 3, nanos: 0 });
    let file = volume.lookup(&cx, ROOT, name.as_bytes()).ok()?.id;
    volume.read(&cx, file, 0, 1).unwrap().data.first().copied()
}

/// A log that is damaged in its middle keeps the volume from being mounted, until somebody gives up what is behind.
#[test]
fn a_damaged_log_is_cut_off_on_request() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("v.vol");
    let file = path.to_str().unwrap();
    let volume = make(&path);
    volume.consistency_point().unwrap();
    put(&volume, "one", b"the first, which stays");
    put(&volume, "two", b"the second, which is damaged");
    put(&volume, "three", b"the third, which says that the second was durable");
    // As in a crash: the operations are in the log alone.
    drop(volume);
    let (status, out, _) = ferry(&[file]);
    assert!(status == 0 && out.contains("6 operations in the log"), "{out}");
    let (status, out, _) = ferry(&[file, "--cut-log"]);
    assert!(status == 0 && out.contains("nothing was cut off"), "{out}");

    let mut bytes = std::fs::read(&path).unwrap();
    let needle = b"the second, which";
    let places: Vec<usize> = bytes
        .windows(needle.len())
        .enumerate()
        .filter(|(_, found)| found == needle)
        .map(|(at, _)| at)
        .collect();
    assert_eq!(places.len(), 1, "in the log, and nowhere else");
    bytes[places[0]] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let (status, out, _) = ferry(&[file]);
    assert!(status == 1 && out.contains("log:") && out.contains("--cut-log gives up"), "{status} {out}");
    let opened = Volume::open(Arc::new(FileDisk::open(&path).unwrap()), Tuning::default());
    assert!(opened.is_err(), "mounted with a damaged log");

    let (status, out, error) = ferry(&[file, "--cut-log"]);
    assert!(status == 0 && out.contains("batches of operations are lost"), "{status} {out}{error}");
    let (status, out, _) = ferry(&[file, "--cut-log"]);
    assert!(status == 0 && out.contains("nothing was cut off"), "{out}");
    let volume = Volume::open(Arc::new(FileDisk::open(&path).unwrap()), Tuning::default()).unwrap();
    assert_eq!((first_byte(&volume, "one"), first_byte(&volume, "three")), (Some(b't'), None));
}

/// A clone is checked over its parent's file, which has to be the right one.
#[test]
fn a_clone_is_checked_with_its_parent() {
    let dir = tempfile::tempdir().unwrap();
    let [parent, clone, other] = ["parent", "clone", "other"].map(|name| dir.path().join(name));
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let volume = make(&parent);
    let snapshot = volume.snapshots()[0].id;
    let disk = Arc::new(FileDisk::create(&clone, BYTES).unwrap());
    let cloned =
        Volume::create_clone(disk, uuid::Uuid::from_u128(4), &volume, snapshot, Tuning::default()).unwrap();
    put(&cloned, "one", b"of the clone");
    cloned.close().unwrap();
    drop(cloned);
    volume.close().unwrap();
    drop(volume);
    make(&other).close().unwrap();
    std::fs::write(&other, std::fs::read(&clone).unwrap()).unwrap();

    let (status, _, error) = ferry(&[&text(&clone)]);
    assert!(
        status == 2 && error.contains("clone of volume") && error.contains("--parent"),
        "{status} {error}"
    );
    let (status, out, error) = ferry(&[&text(&clone), "--parent", &text(&parent)]);
    assert!(status == 0 && out.contains("clean"), "{status} {out}{error}");
    let (status, _, error) = ferry(&[&text(&clone), "--parent", &text(&other)]);
    assert!(status == 2 && error.contains("the parent given is volume"), "{status} {error}");
    let (status, _, error) = ferry(&[&text(&clone), "--parent", &text(&parent), "--rebuild-maps"]);
    assert!(status == 2 && error.contains("split it first"), "{status} {error}");
}
