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
