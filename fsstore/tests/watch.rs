//! What watchers of a volume are told: what each operation does to names, in the order in which operations were applied.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use bytes::Bytes;
use fsstore::*;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

fn root() -> Context {
    Context::root(Time { secs: 1000, nanos: 0 })
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn new_volume(dir: &tempfile::TempDir) -> Arc<Volume> {
    let disk = Arc::new(FileDisk::create(&dir.path().join("v"), 64 << 20).unwrap());
    let spec = VolumeSpec { uuid: uuid::Uuid::from_u128(1), size_bytes: 64 << 20 };
    Volume::create(disk, &spec, Time::default(), Tuning::default()).unwrap()
}

/// A volume, and what was told since it was last asked: `kind dir/name:stream`.
struct Fixture {
    volume: Arc<Volume>,
    told: Arc<Mutex<Vec<Event>>>,
    _watch: Watch,
    _dir: tempfile::TempDir,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let volume = new_volume(&dir);
    let told = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&told);
    let watch = volume.watch(move |event| into.lock().push(event.clone()));
    Fixture { volume, told, _watch: watch, _dir: dir }
}

impl Fixture {
    fn run(&self, op: Op) -> FileId {
        self.volume.execute(&root(), op).unwrap().object.after.id
    }

    fn mkdir(&self, dir: FileId, name: &str) -> FileId {
        self.run(Op::Mkdir { dir, name: bytes(name), attrs: SetAttrs::default() })
    }

    fn create(&self, dir: FileId, name: &str) -> FileId {
        self.run(Op::Create { dir, name: bytes(name), how: CreateHow::Unchecked(SetAttrs::default()) })
    }

    fn set(&self, file: FileId, attrs: SetAttrs) {
        self.run(Op::SetAttr { file, attrs, guard: None });
    }

    fn path(&self, dir: FileId, name: &[u8]) -> String {
        let mut path = String::from_utf8(name.to_vec()).unwrap();
        for (_, above) in self.volume.path_of(dir).unwrap() {
            path = format!("{}/{path}", String::from_utf8(above.to_vec()).unwrap());
        }
        path
    }

    fn told(&self) -> Vec<String> {
        let events = std::mem::take(&mut *self.told.lock());
        let words = |event| match event {
            Event::Lost => "lost".to_owned(),
            Event::Name(event) => {
                let path = self.path(event.dir, &event.name);
                let stream =
                    event.stream.map_or(String::new(), |stream| format!(":{}", stream.escape_ascii()));
                let slash = if event.is_dir { "/" } else { "" };
                let kind = match event.kind {
                    EventKind::Added => "+".to_owned(),
                    EventKind::Removed => "-".to_owned(),
                    EventKind::RenamedFrom => "from".to_owned(),
                    EventKind::RenamedTo => "to".to_owned(),
                    EventKind::Modified(Changed(bits)) => format!("{bits:#x}"),
                };
                format!("{kind} {path}{slash}{stream}")
            }
        };
        events.into_iter().map(words).collect()
    }
}

#[test]
fn names_come_go_and_move() {
    let f = fixture();
    let dir = f.mkdir(ROOT, "d");
    let below = f.mkdir(dir, "e");
    let file = f.create(below, "f");
    f.create(below, "f");
    assert_eq!(f.told(), ["+ d/", "+ d/e/", "+ d/e/f"]);
    f.run(Op::Link { file, dir: ROOT, name: bytes("g") });
    f.run(Op::Rename { from_dir: below, from: bytes("f"), to_dir: dir, to: bytes("h") });
    assert_eq!(f.told(), ["+ g", "from d/e/f", "to d/h"]);
    f.run(Op::Rename { from_dir: dir, from: bytes("h"), to_dir: ROOT, to: bytes("g") });
    assert_eq!(f.told(), [""; 0], "two names of one file");
    f.create(dir, "i");
    f.run(Op::Rename { from_dir: dir, from: bytes("i"), to_dir: dir, to: bytes("h") });
    assert_eq!(f.told(), ["+ d/i", "- d/h", "from d/i", "to d/h"]);
    f.run(Op::Rename { from_dir: dir, from: bytes("e"), to_dir: ROOT, to: bytes("e") });
    f.run(Op::Rmdir { dir: ROOT, name: bytes("e") });
    f.run(Op::Remove { dir, name: bytes("h") });
    assert_eq!(f.told(), ["from d/e/", "to e/", "- e/", "- d/h"]);
}

#[test]
fn changes_say_what_has_changed() {
    let f = fixture();
    let dir = f.mkdir(ROOT, "d");
    let file = f.create(dir, "f");
    f.told();
    let at = Time { secs: 5, nanos: 0 };
    f.run(Op::Write { file, offset: 0, data: bytes("ab") });
    f.run(Op::Write { file, offset: 0, data: bytes("ba") });
    f.set(file, SetAttrs { size: Some(1), ..SetAttrs::default() });
    f.set(file, SetAttrs { mtime: SetTime::To(at), ..SetAttrs::default() });
    f.set(file, SetAttrs { mtime: SetTime::To(at), ..SetAttrs::default() });
    f.set(file, SetAttrs { atime: SetTime::To(at), btime: SetTime::To(at), ..SetAttrs::default() });
    f.set(file, SetAttrs { mode: Some(0o600), ..SetAttrs::default() });
    f.set(dir, SetAttrs { dos: Some(DosAttributes(DosAttributes::HIDDEN)), ..SetAttrs::default() });
    assert_eq!(f.told(), ["0x18 d/f", "0x10 d/f", "0x18 d/f", "0x10 d/f", "0x60 d/f", "0x104 d/f", "0x4 d/"]);
    let (name, value) = (bytes("user.a"), bytes("v"));
    f.run(Op::SetXattr { file, name: name.clone(), value, how: XattrHow::Either });
    f.run(Op::RemoveXattr { file, name });
    let ace = Ace { kind: AceKind::Allow, who: AceWho::User(3), flags: 0, mask: AceMask::READ_DATA };
    f.run(Op::SetAcl { file, acl: Some(Acl { aces: vec![ace], nt: None }) });
    assert_eq!(f.told()[..2], ["0x80 d/f", "0x80 d/f"]);
    let stream = f.run(Op::MakeStream { file, name: bytes("s"), guarded: true });
    f.run(Op::Write { file: stream, offset: 0, data: bytes("ab") });
    f.run(Op::RemoveStream { file, name: bytes("s") });
    assert_eq!(f.told(), ["+ d/f:s", "0x18 d/f:s", "- d/f:s"]);
    // The newest name is gone: nobody knows what to call it.
    f.run(Op::Link { file, dir: ROOT, name: bytes("g") });
    f.run(Op::Remove { dir: ROOT, name: bytes("g") });
    f.run(Op::Write { file, offset: 0, data: bytes("ab") });
    assert_eq!(f.told(), ["+ g", "- g"]);
    assert_eq!(f.volume.path_of(file), Err(FsError::NotFound));
    let snapshot = f.volume.snapshot_create("s", at).unwrap().id;
    f.volume.snapshot_restore(snapshot).unwrap();
    assert_eq!(f.told(), ["lost"]);
}

/// A directory as the events have it.
type Names = BTreeMap<Bytes, FileId>;

fn follow(names: &mut HashMap<FileId, Names>, event: &Event) {
    let Event::Name(event) = event else { panic!("nothing was to be lost") };
    let dir = names.entry(event.dir).or_default();
    match event.kind {
        EventKind::Added | EventKind::RenamedTo => {
            assert_eq!(dir.insert(event.name.clone(), event.file), None, "{event:?}");
        }
        EventKind::Removed | EventKind::RenamedFrom => {
            assert_eq!(dir.remove(&event.name), Some(event.file), "{event:?}");
        }
        EventKind::Modified(_) => assert_eq!(dir.get(&event.name), Some(&event.file), "{event:?}"),
    }
}

#[test]
fn events_of_many_threads_tell_what_the_directories_hold() {
    let dir = tempfile::tempdir().unwrap();
    let volume = new_volume(&dir);
    let dirs: Vec<FileId> = ["a", "b", "c"]
        .map(|name| {
            let op = Op::Mkdir { dir: ROOT, name: bytes(name), attrs: SetAttrs::default() };
            volume.execute(&root(), op).unwrap().object.after.id
        })
        .to_vec();
    let names = Arc::new(Mutex::new(HashMap::new()));
    let into = Arc::clone(&names);
    let watch = volume.watch(move |event| follow(&mut into.lock(), event));
    std::thread::scope(|scope| {
        for thread in 1..5_u64 {
            let (volume, dirs) = (&volume, &dirs);
            scope.spawn(move || {
                let mut seed = thread;
                let mut pick = |most: usize| {
                    seed =
                        seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    usize::try_from(seed >> 33).unwrap() % most
                };
                for _ in 0..1500 {
                    let (dir, to_dir) = (dirs[pick(3)], dirs[pick(3)]);
                    let [name, to] = [pick(8), pick(8)].map(|name| bytes(&name.to_string()));
                    let op = match pick(6) {
                        0 | 1 => Op::Create { dir, name, how: CreateHow::Guarded(SetAttrs::default()) },
                        2 => Op::Mkdir { dir, name, attrs: SetAttrs::default() },
                        3 => Op::Remove { dir, name },
                        4 => Op::Rmdir { dir, name },
                        _ => Op::Rename { from_dir: dir, from: name, to_dir, to },
                    };
                    // Most fail; the events know.
                    let _ = volume.execute(&root(), op);
                }
            });
        }
    });
    drop(watch);
    let told = std::mem::take(&mut *names.lock());
    for dir in dirs {
        let mut held = Names::new();
        let mut keep = |entry: DirEntry<'_>| {
            held.insert(Bytes::copy_from_slice(entry.name), entry.file);
            std::ops::ControlFlow::Continue(())
        };
        volume.readdir(&root(), dir, Cookie(2), &mut keep).unwrap();
        assert_eq!(told.get(&dir).cloned().unwrap_or_default(), held);
    }
}
