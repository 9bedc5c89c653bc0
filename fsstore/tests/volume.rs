//! A volume through its front door, on a real file.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test may fail loudly, and makes up bytes"
)]

use bytes::Bytes;
use fsstore::*;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

const MIB: u64 = 1 << 20;

fn at(secs: i64) -> Time {
    Time { secs, nanos: 0 }
}

fn root() -> Context {
    Context::root(at(1000))
}

fn spec(mib: u64) -> VolumeSpec {
    VolumeSpec {
        uuid: uuid::Uuid::from_u128(0x1234_5678_9abc_def0_1111_2222_3333_4444),
        size_bytes: mib * MIB,
    }
}

fn create(path: &Path, mib: u64) -> Arc<Volume> {
    let disk = Arc::new(FileDisk::create(path, mib * MIB).unwrap());
    Volume::create(disk, &spec(mib), at(1), Tuning::default()).unwrap()
}

fn open(path: &Path) -> Arc<Volume> {
    Volume::open(Arc::new(FileDisk::open(path).unwrap()), Tuning::default()).unwrap()
}

fn make(volume: &Volume, dir: FileId, name: &str) -> FileId {
    let attrs = SetAttrs { mode: Some(0o644), ..SetAttrs::default() };
    let op =
        Op::Create { dir, name: Bytes::copy_from_slice(name.as_bytes()), how: CreateHow::Guarded(attrs) };
    volume.execute(&root(), op).unwrap().object.after.id
}

fn write(volume: &Volume, file: FileId, offset: u64, data: &[u8]) -> Result<Done> {
    volume.execute(&root(), Op::Write { file, offset, data: Bytes::copy_from_slice(data) })
}

fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    })
    .take(len)
    .collect()
}

fn list(volume: &Volume, dir: FileId) -> Vec<String> {
    let mut names = Vec::new();
    volume
        .readdir(&root(), dir, Cookie(2), &mut |entry| {
            names.push(String::from_utf8_lossy(entry.name).into_owned());
            ControlFlow::Continue(())
        })
        .unwrap();
    names.sort();
    names
}

#[test]
fn what_was_written_comes_back_also_after_a_crash_and_after_a_close() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("v");
    let volume = create(&path, 64);
    let file = make(&volume, ROOT, "file");
    let small = pattern(1, 10_000);
    let large = pattern(2, 1 << 20);
    write(&volume, file, 5, &small).unwrap();
    let done = write(&volume, file, 100_001, &large).unwrap();
    volume.wait_durable(done.lsn).unwrap();
    let check = |volume: &Volume| {
        let read = volume.read(&root(), file, 5, small.len()).unwrap();
        assert!(read.data == small, "small write");
        let read = volume.read(&root(), file, 100_001, large.len() + 1).unwrap();
        assert!(read.data == large && read.eof, "large write");
        assert!(volume.read(&root(), file, 20_000, 1000).unwrap().data.iter().all(|b| *b == 0), "hole");
    };
    check(&volume);
    drop(volume);
    let volume = open(&path);
    check(&volume);
    volume.consistency_point().unwrap();
    check(&volume);
    volume.close().unwrap();
    drop(volume);
    check(&open(&path));
}

#[test]
fn a_large_directory_finds_and_lists_every_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("v");
    let volume = create(&path, 256);
    let mut names: Vec<String> = (0..20_000).map(|n| format!("file number {n}")).collect();
    for name in &names {
        make(&volume, ROOT, name);
    }
    names.sort();
    assert_eq!(list(&volume, ROOT), names);
    for name in names.iter().step_by(2) {
        let op = Op::Remove { dir: ROOT, name: Bytes::copy_from_slice(name.as_bytes()) };
        volume.execute(&root(), op).unwrap();
    }
    volume.close().unwrap();
    drop(volume);
    let volume = open(&path);
    let left: Vec<String> = names.iter().skip(1).step_by(2).cloned().collect();
    assert_eq!(list(&volume, ROOT), left);
    for name in &left {
        volume.lookup(&root(), ROOT, name.as_bytes()).unwrap();
    }
}

#[test]
fn a_full_volume_says_so_and_can_delete() {
    let dir = tempfile::tempdir().unwrap();
    let volume = create(&dir.path().join("v"), 8);
    let free = volume.statfs().available_bytes;
    for round in 0..3 {
        let mut files = Vec::new();
        let mut written = 0;
        loop {
            let name = format!("f{}", files.len());
            let attrs = SetAttrs::default();
            let op = Op::Create { dir: ROOT, name: Bytes::from(name), how: CreateHow::Guarded(attrs) };
            let Ok(done) = volume.execute(&root(), op) else { break };
            files.push(());
            match write(&volume, done.object.after.id, 0, &pattern(3, 200_000)) {
                Ok(_) => written += 200_000,
                Err(FsError::NoSpace) => break,
                Err(error) => panic!("{error}"),
            }
        }
        assert!(written > free / 2, "round {round}: {written} of {free}");
        for n in 0..files.len() {
            volume.execute(&root(), Op::Remove { dir: ROOT, name: Bytes::from(format!("f{n}")) }).unwrap();
        }
        volume.consistency_point().unwrap();
        // The inode file keeps the few blocks that it has grown by.
        let lost = free - volume.statfs().available_bytes;
        assert!(lost <= 16 << 10, "round {round}: {lost} bytes are gone");
    }
}

#[test]
fn a_replica_equals_its_source_and_updates_cost_what_changed() {
    let dir = tempfile::tempdir().unwrap();
    let source = create(&dir.path().join("a"), 64);
    let target = Arc::new(FileDisk::create(&dir.path().join("b"), 64 * MIB).unwrap());
    let replica = Replica::create(target, &spec(64)).unwrap();
    let file = make(&source, ROOT, "file");
    write(&source, file, 0, &pattern(4, 4 << 20)).unwrap();
    let mut base = None;
    let mut sent = Vec::new();
    for round in 0..4u64 {
        write(&source, file, round * 8192, &pattern(round, 4096)).unwrap();
        make(&source, ROOT, &format!("n{round}"));
        let snap = source.snapshot_create(&format!("s{round}"), at(5)).unwrap();
        let mut blocks = 0;
        for run in source.snapdiff(base, snap.id).unwrap() {
            let run = run.unwrap();
            let mut buf = vec![0; run.blocks as usize * BLOCK_SIZE];
            source.read_raw(run.start, &mut buf).unwrap();
            replica.write(run.start, &buf).unwrap();
            blocks += run.blocks;
        }
        replica.install(&source.image(snap.id).unwrap()).unwrap();
        assert_eq!(replica.installed(), Some((snap.cp, snap.root_sum)));
        sent.push(blocks);
        base = Some(snap.id);
    }
    assert!(sent[0] > 1024, "{sent:?}");
    assert!(sent[1..].iter().all(|blocks| *blocks < 16), "{sent:?}");
    replica.close().unwrap();
    let copy = open(&dir.path().join("b"));
    assert_eq!(list(&copy, ROOT), list(&source, ROOT));
    let want = source.read(&root(), file, 0, 4 << 20).unwrap().data;
    assert!(copy.read(&root(), file, 0, 4 << 20).unwrap().data == want);
    let ids = |volume: &Volume| volume.snapshots().iter().map(|snap| snap.root_sum).collect::<Vec<_>>();
    assert_eq!(ids(&copy), ids(&source));
    assert_eq!(copy.statfs().snapshot_bytes, source.statfs().snapshot_bytes);
}

#[test]
fn deleting_snapshots_gives_their_space_back() {
    let dir = tempfile::tempdir().unwrap();
    let volume = create(&dir.path().join("v"), 64);
    let file = make(&volume, ROOT, "file");
    volume.consistency_point().unwrap();
    let before = volume.statfs().free_bytes;
    let mut ids = Vec::new();
    for round in 0..6 {
        write(&volume, file, 0, &pattern(round, 1 << 20)).unwrap();
        ids.push(volume.snapshot_create(&format!("s{round}"), at(1)).unwrap().id);
    }
    assert!(volume.statfs().snapshot_bytes >= 5 * MIB);
    for id in [1, 3, 0, 5, 4, 2].map(|n| ids[n]) {
        volume.snapshot_delete(id).unwrap();
    }
    assert_eq!(volume.statfs().snapshot_bytes, 0);
    write(&volume, file, 0, b"x").unwrap();
    let op = Op::SetAttr { file, attrs: SetAttrs { size: Some(0), ..SetAttrs::default() }, guard: None };
    volume.execute(&root(), op).unwrap();
    volume.consistency_point().unwrap();
    assert_eq!(volume.statfs().free_bytes, before);
}

#[test]
fn many_writers_share_flushes_and_all_survive_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("v");
    let volume = create(&path, 128);
    let files: Vec<FileId> = (0..8).map(|n| make(&volume, ROOT, &format!("w{n}"))).collect();
    std::thread::scope(|scope| {
        for (n, file) in files.iter().enumerate() {
            let volume = &volume;
            scope.spawn(move || {
                for block in 0..300u64 {
                    let done =
                        write(volume, *file, block * 4096, &pattern(n as u64 * 1000 + block, 4096)).unwrap();
                    volume.wait_durable(done.lsn).unwrap();
                }
            });
        }
    });
    drop(volume);
    let volume = open(&path);
    for (n, file) in files.iter().enumerate() {
        for block in 0..300u64 {
            let read = volume.read(&root(), *file, block * 4096, 4096).unwrap();
            assert!(read.data == pattern(n as u64 * 1000 + block, 4096), "file {n} block {block}");
        }
    }
}

#[test]
fn a_flipped_bit_is_found_and_not_served() {
    use std::os::unix::fs::FileExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("v");
    let volume = create(&path, 64);
    let file = make(&volume, ROOT, "file");
    let data = pattern(9, 1 << 20);
    write(&volume, file, 0, &data).unwrap();
    volume.close().unwrap();
    drop(volume);
    let raw = std::fs::read(&path).unwrap();
    let place = raw.windows(64).position(|bytes| bytes == &data[500_000..500_064]).unwrap() as u64;
    let host = std::fs::File::options().write(true).open(&path).unwrap();
    host.write_all_at(&[!data[500_000]], place).unwrap();
    let volume = open(&path);
    assert!(matches!(volume.read(&root(), file, 0, 1 << 20), Err(FsError::Corrupt { .. })));
    assert!(volume.read(&root(), file, 0, 4096).unwrap().data == data[..4096]);
}
