//! Snapshots as clients see them: through `.snapshot`.

#![allow(clippy::unwrap_used, reason = "a test may; clippy knows that only of functions marked as tests")]

use bytes::Bytes;
use fsstore::{
    Context, Cookie, CreateHow, FileDisk, FileId, FsError, Op, ROOT, SetAttrs, SnapshotDir, SnapshotId, Time,
    Tuning, Volume, VolumeSpec,
};
use std::ops::ControlFlow;
use std::sync::Arc;

fn cx() -> Context {
    Context::root(Time { secs: 1000, nanos: 0 })
}

fn volume(dir: &tempfile::TempDir) -> Arc<Volume> {
    let disk = FileDisk::create(&dir.path().join("volume"), 64 << 20).unwrap();
    let spec = VolumeSpec { uuid: uuid::Uuid::from_u128(7), size_bytes: 64 << 20 };
    let tuning = Tuning { threads: false, ..Tuning::default() };
    Volume::create(Arc::new(disk), &spec, cx().now, tuning).unwrap()
}

fn write(volume: &Volume, dir: FileId, name: &'static str, text: &'static str) -> FileId {
    let how = CreateHow::Unchecked(SetAttrs { size: Some(0), ..SetAttrs::default() });
    let made = volume.execute(&cx(), Op::Create { dir, name: name.into(), how }).unwrap();
    let file = made.object.after.id;
    volume.execute(&cx(), Op::Write { file, offset: 0, data: text.into() }).unwrap();
    file
}

fn mkdir(volume: &Volume, dir: FileId, name: &'static str) -> FileId {
    let op = Op::Mkdir { dir, name: name.into(), attrs: SetAttrs::default() };
    volume.execute(&cx(), op).unwrap().object.after.id
}

/// Walks `path` from the root.
fn walk(volume: &Volume, path: &str) -> Result<FileId, FsError> {
    path.split('/').try_fold(ROOT, |dir, name| Ok(volume.lookup(&cx(), dir, name.as_bytes())?.id))
}

fn text(volume: &Volume, path: &str) -> Result<Bytes, FsError> {
    Ok(volume.read(&cx(), walk(volume, path)?, 0, 100)?.data)
}

fn names(volume: &Volume, dir: FileId) -> Vec<String> {
    let mut names = Vec::new();
    let mut after = Cookie(0);
    // One entry at a time: cookies must lead on.
    loop {
        let mut found = None;
        let end = volume.readdir(&cx(), dir, after, &mut |entry| {
            found = Some((entry.cookie, String::from_utf8_lossy(entry.name).into_owned()));
            ControlFlow::Break(())
        });
        let end = end.unwrap();
        let Some((cookie, name)) = found else {
            assert!(end);
            return names;
        };
        assert!(cookie > after);
        after = cookie;
        names.push(name);
    }
}

#[test]
fn a_snapshot_shows_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let volume = volume(&dir);
    let sub = mkdir(&volume, ROOT, "sub");
    write(&volume, sub, "a", "one");
    volume.snapshot_create("first", cx().now).unwrap();
    write(&volume, sub, "a", "two");
    write(&volume, sub, "b", "new");
    volume.snapshot_create("second", cx().now).unwrap();
    volume.execute(&cx(), Op::Remove { dir: sub, name: "a".into() }).unwrap();

    assert_eq!(text(&volume, ".snapshot/first/sub/a").unwrap(), "one");
    assert_eq!(text(&volume, ".snapshot/second/sub/a").unwrap(), "two");
    assert_eq!(text(&volume, "sub/a"), Err(FsError::NotFound));
    assert_eq!(text(&volume, ".snapshot/first/sub/b"), Err(FsError::NotFound));
    assert_eq!(text(&volume, ".snapshot/third"), Err(FsError::NotFound));
    assert_eq!(names(&volume, walk(&volume, ".snapshot").unwrap()), [".", "..", "first", "second"]);
    let old_sub = walk(&volume, ".snapshot/second/sub").unwrap();
    let mut old_names = names(&volume, old_sub);
    old_names.sort();
    assert_eq!(old_names, [".", "..", "a", "b"]);
    // Hidden: only who asks by name finds it.
    assert_eq!(names(&volume, ROOT), [".", "..", "sub"]);
}

#[test]
fn dots_lead_out_the_way_they_led_in() {
    let dir = tempfile::tempdir().unwrap();
    let volume = volume(&dir);
    mkdir(&volume, mkdir(&volume, ROOT, "sub"), "deep");
    volume.snapshot_create("s", cx().now).unwrap();
    let same = |path: &str, other: &str| {
        assert_eq!(walk(&volume, path).unwrap(), walk(&volume, other).unwrap(), "{path} and {other}");
    };
    same(".snapshot/s/sub/deep/..", ".snapshot/s/sub");
    same(".snapshot/s/sub/..", ".snapshot/s");
    same(".snapshot/s/..", ".snapshot");
    same(".snapshot/..", ".");
    same(".snapshot/s/.", ".snapshot/s");
}

#[test]
fn nothing_in_a_snapshot_can_be_changed() {
    let dir = tempfile::tempdir().unwrap();
    let volume = volume(&dir);
    write(&volume, ROOT, "a", "one");
    volume.snapshot_create("s", cx().now).unwrap();
    let (old_dir, file) = (walk(&volume, ".snapshot/s").unwrap(), walk(&volume, ".snapshot/s/a").unwrap());
    let name = Bytes::from_static(b"a");
    let attrs = SetAttrs { mode: Some(0), ..SetAttrs::default() };
    for op in [
        Op::Write { file, offset: 0, data: "x".into() },
        Op::Write { file, offset: 0, data: vec![1; 128 << 10].into() },
        Op::SetAttr { file, attrs, guard: None },
        Op::Remove { dir: old_dir, name: name.clone() },
        Op::Link { file, dir: ROOT, name: "b".into() },
        Op::Rename { from_dir: old_dir, from: name.clone(), to_dir: ROOT, to: "b".into() },
        Op::Rename { from_dir: ROOT, from: name.clone(), to_dir: old_dir, to: "b".into() },
        Op::Create { dir: old_dir, name: "b".into(), how: CreateHow::Guarded(SetAttrs::default()) },
        Op::Mkdir { dir: walk(&volume, ".snapshot").unwrap(), name: "b".into(), attrs: SetAttrs::default() },
    ] {
        assert_eq!(volume.execute(&cx(), op.clone()), Err(FsError::ReadOnly), "{op:?}");
    }
    let reserved = Bytes::from_static(b".snapshot");
    let mkdir = Op::Mkdir { dir: ROOT, name: reserved.clone(), attrs: SetAttrs::default() };
    assert_eq!(volume.execute(&cx(), mkdir), Err(FsError::Exists));
    assert_eq!(volume.execute(&cx(), Op::Rmdir { dir: ROOT, name: reserved }), Err(FsError::Access));
    assert_eq!(text(&volume, ".snapshot/s/a").unwrap(), "one");
}

#[test]
fn the_option_says_where_it_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let volume = volume(&dir);
    let sub = mkdir(&volume, ROOT, "sub");
    volume.snapshot_create("before", cx().now).unwrap();
    write(&volume, sub, "a", "one");
    let late = mkdir(&volume, ROOT, "late");
    volume.snapshot_create("s", cx().now).unwrap();
    assert_eq!(walk(&volume, "sub/.snapshot"), Err(FsError::NotFound));
    volume.show_snapshots(SnapshotDir::Everywhere);
    assert_eq!(text(&volume, "sub/.snapshot/s/a").unwrap(), "one");
    // Only the snapshots that have the directory.
    assert_eq!(names(&volume, late.within(SnapshotId::LIST)), [".", "..", "s"]);
    assert_eq!(walk(&volume, "late/.snapshot/before"), Err(FsError::NotFound));
    volume.show_snapshots(SnapshotDir::Off);
    assert_eq!(walk(&volume, ".snapshot"), Err(FsError::NotFound));
    mkdir(&volume, ROOT, ".snapshot");
}

#[test]
fn a_deleted_snapshot_is_stale() {
    let dir = tempfile::tempdir().unwrap();
    let volume = volume(&dir);
    write(&volume, ROOT, "a", "one");
    let snapshot = volume.snapshot_create("s", cx().now).unwrap();
    let file = walk(&volume, ".snapshot/s/a").unwrap();
    volume.execute(&cx(), Op::Remove { dir: ROOT, name: "a".into() }).unwrap();
    volume.snapshot_delete(snapshot.id).unwrap();
    for round in 0..20u8 {
        volume
            .execute(
                &cx(),
                Op::Write {
                    file: write(&volume, ROOT, "b", "other"),
                    offset: 0,
                    data: vec![round; 9000].into(),
                },
            )
            .unwrap();
        volume.consistency_point().unwrap();
        assert_eq!(volume.getattr(file), Err(FsError::Stale));
        assert_eq!(volume.read(&cx(), file, 0, 10).unwrap_err(), FsError::Stale);
    }
}
