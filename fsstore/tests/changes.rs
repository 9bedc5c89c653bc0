//! What changed between two snapshots, by path; also against a comparison of everything.

#![allow(clippy::unwrap_used, reason = "a test may; clippy knows that only of functions marked as tests")]

use fsstore::{
    ChangeKind, Context, Cookie, CreateHow, FileDisk, FileId, FileKind, Op, PathChange, ROOT, SetAttrs,
    Snapshot, Time, Tuning, Volume, VolumeSpec, XattrHow, root_of,
};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

fn cx() -> Context {
    Context::root(Time { secs: 1000, nanos: 0 })
}

fn volume(dir: &tempfile::TempDir) -> Arc<Volume> {
    let disk = FileDisk::create(&dir.path().join("volume"), 256 << 20).unwrap();
    let spec = VolumeSpec { uuid: uuid::Uuid::from_u128(7), size_bytes: 256 << 20 };
    let tuning = Tuning { threads: false, ..Tuning::default() };
    Volume::create(Arc::new(disk), &spec, cx().now, tuning).unwrap()
}

fn run(volume: &Volume, op: Op) -> FileId {
    volume.execute(&cx(), op).unwrap().object.after.id
}

fn create(volume: &Volume, dir: FileId, name: &str) -> FileId {
    let how = CreateHow::Unchecked(SetAttrs::default());
    run(volume, Op::Create { dir, name: name.to_owned().into(), how })
}

fn mkdir(volume: &Volume, dir: FileId, name: &str) -> FileId {
    run(volume, Op::Mkdir { dir, name: name.to_owned().into(), attrs: SetAttrs::default() })
}

fn write(volume: &Volume, file: FileId, offset: u64, len: usize) {
    run(volume, Op::Write { file, offset, data: vec![7; len].into() });
}

fn rename(volume: &Volume, from_dir: FileId, from: &str, to_dir: FileId, to: &str) {
    run(volume, Op::Rename { from_dir, from: from.to_owned().into(), to_dir, to: to.to_owned().into() });
}

fn remove(volume: &Volume, dir: FileId, name: &str) {
    run(volume, Op::Remove { dir, name: name.to_owned().into() });
}

fn changes(volume: &Volume, base: &Snapshot, to: &Snapshot) -> Vec<PathChange> {
    let mut all = Vec::new();
    volume
        .changes(base.id, to.id, &mut |change| {
            all.push(change);
            ControlFlow::Continue(())
        })
        .unwrap();
    all
}

fn lines(volume: &Volume, base: &Snapshot, to: &Snapshot) -> BTreeSet<String> {
    let text = |path: &Option<bytes::Bytes>| {
        path.as_ref().map_or("?".to_owned(), |path| String::from_utf8_lossy(path).into_owned())
    };
    let line = |change: PathChange| match change.change {
        ChangeKind::Renamed => format!("Renamed {} to {}", text(&change.from), text(&change.path)),
        ChangeKind::Modified => format!("Modified {} {:?}", text(&change.path), change.ranges),
        what => format!("{what:?} {}", text(&change.path)),
    };
    changes(volume, base, to).into_iter().map(line).collect()
}

fn set<const N: usize>(lines: [&str; N]) -> BTreeSet<String> {
    lines.into_iter().map(str::to_owned).collect()
}

#[test]
fn every_kind_of_change_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let volume = volume(&dir);
    let (d, e) = (mkdir(&volume, ROOT, "d"), mkdir(&volume, ROOT, "e"));
    let deep = mkdir(&volume, d, "deep");
    let big = create(&volume, deep, "big");
    write(&volume, big, 0, 2 << 20);
    for name in ["moved", "gone", "linked", "mode", "same", "replaced"] {
        write(&volume, create(&volume, d, name), 0, 5000);
    }
    let linked = volume.lookup(&cx(), d, b"linked").unwrap().id;
    let base = volume.snapshot_create("base", cx().now).unwrap();
    assert_eq!(lines(&volume, &base, &base), set([]));

    write(&volume, big, 40_960, 10);
    write(&volume, big, 1 << 20, 8192);
    write(&volume, big, (2 << 20) - 100, 200);
    rename(&volume, d, "moved", e, "here");
    rename(&volume, d, "replaced", d, "gone");
    run(&volume, Op::Link { file: linked, dir: e, name: "second".into() });
    let attrs = SetAttrs { mode: Some(0o600), ..SetAttrs::default() };
    run(&volume, Op::SetAttr { file: volume.lookup(&cx(), d, b"mode").unwrap().id, attrs, guard: None });
    rename(&volume, d, "deep", e, "deeper");
    let fresh = mkdir(&volume, e, "fresh");
    create(&volume, fresh, "file");
    let to = volume.snapshot_create("to", cx().now).unwrap();
    assert_eq!(
        lines(&volume, &base, &to),
        set([
            "Modified /e/deeper/big [40960..45056, 1048576..1056768, 2093056..2097252]",
            "Renamed /d/moved to /e/here",
            "Deleted /d/gone",
            "Renamed /d/replaced to /d/gone",
            "Linked /e/second",
            "Attributes /d/mode",
            "Renamed /d/deep to /e/deeper",
            "Created /e/fresh",
            "Created /e/fresh/file",
        ])
    );
    remove(&volume, e, "second");
    let last = volume.snapshot_create("last", cx().now).unwrap();
    assert_eq!(lines(&volume, &to, &last), set(["Unlinked /e/second"]));
    // What is hidden behind a file is its attributes.
    let put = |how| Op::SetXattr { file: linked, name: "user.a".into(), value: "1".into(), how };
    run(&volume, put(XattrHow::Create));
    let attributed = volume.snapshot_create("attributed", cx().now).unwrap();
    assert_eq!(lines(&volume, &last, &attributed), ["Attributes ?".to_owned()].into());
    // The newest name is gone: its content's change has no path to tell.
    write(&volume, linked, 0, 10);
    let after = volume.snapshot_create("after", cx().now).unwrap();
    assert_eq!(lines(&volume, &attributed, &after), set(["Modified ? [0..4096]"]));
}

/// Every name of a snapshot: the directory's inode, the name and the file; and the content of each file.
type Everything = (BTreeSet<(u64, Vec<u8>, FileId)>, BTreeMap<FileId, (Vec<u8>, u32)>);

fn everything(volume: &Volume, snapshot: &Snapshot) -> Everything {
    let (mut names, mut files) = (BTreeSet::new(), BTreeMap::new());
    let mut todo = vec![root_of(snapshot.id)];
    while let Some(dir) = todo.pop() {
        let mut entries = Vec::new();
        volume
            .readdir(&cx(), dir, Cookie(2), &mut |entry| {
                entries.push((entry.name.to_vec(), entry.file, entry.kind));
                ControlFlow::Continue(())
            })
            .unwrap();
        for (name, file, kind) in entries {
            names.insert((dir.ino.0, name, file.within(ROOT.snapshot)));
            if kind == FileKind::Dir {
                todo.push(file);
            } else {
                let read = volume.read(&cx(), file, 0, 1 << 20).unwrap();
                files.insert(file.within(ROOT.snapshot), (read.data.to_vec(), read.attr.mode));
            }
        }
    }
    (names, files)
}

fn walk(volume: &Volume, snapshot: &Snapshot, path: &[u8]) -> (u64, Vec<u8>) {
    let cut = path.iter().rposition(|byte| *byte == b'/').unwrap();
    let mut dir = root_of(snapshot.id);
    for name in path[..cut].split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        dir = volume.lookup(&cx(), dir, name).unwrap().id;
    }
    (dir.ino.0, path[cut + 1..].to_vec())
}

/// A small generator, so that a failure's seed says all.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

fn scramble(volume: &Volume, random: &mut Random, dirs: &[FileId], steps: usize) {
    let name = |random: &mut Random| format!("n{}", random.below(60));
    for _ in 0..steps {
        let (dir, to_dir) = (dirs[random.below(dirs.len())], dirs[random.below(dirs.len())]);
        let (a, b) = (name(random), name(random));
        let how = CreateHow::Unchecked(SetAttrs::default());
        let found = volume.lookup(&cx(), dir, a.as_bytes()).map(|attr| attr.id);
        let op = match (random.below(7), found) {
            (0 | 1, _) => Op::Create { dir, name: a.into(), how },
            (2, _) => Op::Remove { dir, name: a.into() },
            (3, _) => Op::Rename { from_dir: dir, from: a.into(), to_dir, to: b.into() },
            (4, Ok(file)) => Op::Link { file, dir: to_dir, name: b.into() },
            (5, Ok(file)) => {
                let attrs = SetAttrs { size: Some(random.below(30_000) as u64), ..SetAttrs::default() };
                Op::SetAttr { file, attrs, guard: None }
            }
            (_, Ok(file)) => {
                let (offset, len) = (random.below(200_000) as u64, random.below(20_000));
                Op::Write { file, offset, data: vec![u8::try_from(random.below(255)).unwrap(); len].into() }
            }
            (_, Err(_)) => continue,
        };
        // Some don't apply; the store says so.
        let _ = volume.execute(&cx(), op);
    }
}

#[test]
fn the_changes_are_those_that_a_comparison_of_everything_finds() {
    let cases = std::env::var("CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(30);
    let first = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1u64);
    for seed in first..first + cases {
        println!("SEED={seed}");
        let dir = tempfile::tempdir().unwrap();
        let volume = volume(&dir);
        let mut random = Random(seed);
        let mut dirs = vec![ROOT];
        for number in 0..6 {
            let parent = dirs[random.below(dirs.len())];
            dirs.push(mkdir(&volume, parent, &format!("dir{number}")));
        }
        scramble(&volume, &mut random, &dirs, 300);
        let base = volume.snapshot_create("base", cx().now).unwrap();
        let steps = 1 + random.below(150);
        scramble(&volume, &mut random, &dirs, steps);
        let to = volume.snapshot_create("to", cx().now).unwrap();
        compare(&volume, &base, &to);
    }
}

fn compare(volume: &Volume, base: &Snapshot, to: &Snapshot) {
    let (old_names, old_files) = everything(volume, base);
    let (new_names, new_files) = everything(volume, to);
    let mut gone: BTreeSet<_> = old_names.difference(&new_names).cloned().collect();
    let mut new: BTreeSet<_> = new_names.difference(&old_names).cloned().collect();
    let mut modified: BTreeSet<_> = old_files
        .iter()
        .filter(|(file, (data, _))| new_files.get(file).is_some_and(|(now, _)| now != data))
        .map(|(file, _)| *file)
        .collect();
    for change in changes(volume, base, to) {
        let whose = |snapshot, path: &bytes::Bytes| {
            let (dir, name) = walk(volume, snapshot, path);
            (dir, name, change.file)
        };
        let path = || change.path.as_ref().unwrap();
        let there = |files: &BTreeMap<FileId, _>| files.contains_key(&change.file);
        match change.change {
            ChangeKind::Created => {
                assert!(new.remove(&whose(to, path())) && !there(&old_files), "{change:?}");
            }
            ChangeKind::Linked => assert!(new.remove(&whose(to, path())) && there(&old_files), "{change:?}"),
            ChangeKind::Deleted => {
                assert!(gone.remove(&whose(base, path())) && !there(&new_files), "{change:?}");
            }
            ChangeKind::Unlinked => {
                assert!(gone.remove(&whose(base, path())) && there(&new_files), "{change:?}");
            }
            ChangeKind::Renamed => {
                let from = whose(base, change.from.as_ref().unwrap());
                assert!(gone.remove(&from) && new.remove(&whose(to, path())), "{change:?}");
            }
            ChangeKind::Modified => {
                // What was overwritten with the same bytes is told too; what differs lies within the ranges.
                modified.remove(&change.file);
                let (was, is) = (&old_files[&change.file].0, &new_files[&change.file].0);
                for (at, byte) in is.iter().enumerate() {
                    let told = change.ranges.iter().any(|range| range.contains(&(at as u64)));
                    assert!(told || was.get(at).is_none_or(|old| old == byte), "byte {at} of {change:?}");
                }
            }
            ChangeKind::Attributes => assert!(!modified.contains(&change.file), "{change:?}"),
        }
    }
    assert_eq!((gone, new, modified), (BTreeSet::new(), BTreeSet::new(), BTreeSet::new()));
}
