//! Extended attributes and named streams: who may, how many, and that they go with their file.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use bytes::Bytes;
use fsstore::*;
use std::sync::Arc;

fn root() -> Context {
    Context::root(Time { secs: 1000, nanos: 0 })
}

fn user(uid: u32) -> Context {
    Context { uid, gid: uid, ..root() }
}

struct Fixture {
    volume: Arc<Volume>,
    dir: tempfile::TempDir,
}

fn fixture(mib: u64) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(FileDisk::create(&dir.path().join("v"), mib << 20).unwrap());
    let spec = VolumeSpec { uuid: uuid::Uuid::from_u128(1), size_bytes: mib << 20 };
    Fixture { volume: Volume::create(disk, &spec, Time::default(), Tuning::default()).unwrap(), dir }
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

impl Fixture {
    fn run(&self, op: Op) -> Result<Done> {
        self.volume.execute(&root(), op)
    }
    fn make(&self, name: &str, mode: u32) -> FileId {
        let attrs = SetAttrs { mode: Some(mode), uid: Some(1), gid: Some(1), ..SetAttrs::default() };
        let op = Op::Create { dir: ROOT, name: bytes(name), how: CreateHow::Guarded(attrs) };
        self.run(op).unwrap().object.after.id
    }
    fn set_as(&self, cx: &Context, file: FileId, name: &str, value: &[u8], how: XattrHow) -> Result<Done> {
        let value = Bytes::copy_from_slice(value);
        self.volume.execute(cx, Op::SetXattr { file, name: bytes(name), value, how })
    }
    fn set(&self, file: FileId, name: &str, value: &[u8]) -> Result<Done> {
        self.set_as(&root(), file, name, value, XattrHow::Either)
    }
    fn stream(&self, file: FileId, name: &str) -> FileId {
        let op = Op::MakeStream { file, name: bytes(name), guarded: false };
        self.run(op).unwrap().object.after.id
    }
    fn write(&self, file: FileId, data: &'static [u8]) -> Result<Done> {
        self.run(Op::Write { file, offset: 0, data: Bytes::from_static(data) })
    }
    fn files(&self) -> u64 {
        self.volume.statfs().files
    }
    fn free(&self) -> u64 {
        self.volume.consistency_point().unwrap();
        self.volume.statfs().free_bytes
    }
}

#[test]
fn a_value_comes_back_is_replaced_and_goes() {
    let f = fixture(64);
    let file = f.make("a", 0o644);
    let get = |name: &str| f.volume.xattr(&root(), file, name.as_bytes());
    let before = f.volume.getattr(file).unwrap();
    let done = f.set(file, "user.one", b"first").unwrap();
    assert!(done.object.after.ctime > before.ctime, "ctime moves");
    assert_eq!(done.object.after.mtime, before.mtime);
    assert_eq!(get("user.one").unwrap(), "first");
    let large = vec![9; XATTR_VALUE_MAX];
    f.set(file, "user.one", &large).unwrap();
    assert!(get("user.one").unwrap() == large);
    f.set(file, "user.one", b"").unwrap();
    assert_eq!(get("user.one").unwrap(), "");
    f.set(file, "security.label", b"x").unwrap();
    assert_eq!(f.volume.xattrs(&root(), file).unwrap(), ["security.label", "user.one"]);
    let remove = |name: &str| f.run(Op::RemoveXattr { file, name: bytes(name) });
    remove("user.one").unwrap();
    assert_eq!(remove("user.one"), Err(FsError::NotFound));
    assert_eq!(get("user.one"), Err(FsError::NotFound));
    assert_eq!(f.files(), 4, "the root, the file, its attribute directory, one value");
    remove("security.label").unwrap();
    assert_eq!(f.files(), 2, "the attribute directory goes with the last attribute");
}

#[test]
fn create_and_replace_mean_what_they_say() {
    let f = fixture(64);
    let file = f.make("a", 0o644);
    let set = |how| f.set_as(&root(), file, "user.x", b"v", how).map(drop);
    assert_eq!(set(XattrHow::Replace), Err(FsError::NotFound));
    assert_eq!(set(XattrHow::Create), Ok(()));
    assert_eq!(set(XattrHow::Create), Err(FsError::Exists));
    assert_eq!(set(XattrHow::Replace), Ok(()));
}

#[test]
fn names_and_values_are_bounded() {
    let f = fixture(64);
    let file = f.make("a", 0o644);
    let set = |name: &str| f.set(file, name, b"v").map(drop);
    assert_eq!(set("plain"), Err(FsError::NotSupported));
    assert_eq!(set("user."), Err(FsError::Invalid));
    assert_eq!(set(""), Err(FsError::Invalid));
    assert_eq!(set(&format!("user.{}", "x".repeat(251))), Err(FsError::NameTooLong));
    assert_eq!(set(&format!("user.{}", "x".repeat(250))), Ok(()));
    assert_eq!(f.set(file, "user.v", &vec![0; XATTR_VALUE_MAX + 1]).map(drop), Err(FsError::FileTooBig));
}

#[test]
fn user_attributes_follow_the_rights_to_the_content_others_are_roots() {
    let f = fixture(64);
    let file = f.make("a", 0o640);
    let (owner, other) = (user(1), user(2));
    let set = |cx, name: &str| f.set_as(cx, file, name, b"v", XattrHow::Either).map(drop);
    assert_eq!(set(&owner, "user.x"), Ok(()));
    assert_eq!(set(&other, "user.x"), Err(FsError::Access));
    assert_eq!(f.volume.xattr(&other, file, b"user.x"), Err(FsError::Access));
    assert_eq!(set(&owner, "trusted.x"), Err(FsError::Perm));
    assert_eq!(set(&root(), "trusted.x"), Ok(()));
    assert_eq!(f.volume.xattr(&owner, file, b"trusted.x"), Err(FsError::Perm));
    assert_eq!(f.volume.xattrs(&owner, file).unwrap(), ["user.x"]);

    let fifo = Op::Mknod {
        dir: ROOT,
        name: bytes("p"),
        kind: FileKind::Fifo,
        rdev: (0, 0),
        attrs: SetAttrs { mode: Some(0o666), ..SetAttrs::default() },
    };
    let fifo = f.run(fifo).unwrap().object.after.id;
    assert_eq!(f.set(fifo, "user.x", b"v").map(drop), Err(FsError::Perm), "files and directories only");
    assert_eq!(f.set(fifo, "trusted.x", b"v").map(drop), Ok(()));

    let attrs = SetAttrs { mode: Some(0o1777), ..SetAttrs::default() };
    let dir = f.run(Op::Mkdir { dir: ROOT, name: bytes("tmp"), attrs }).unwrap().object.after.id;
    let in_tmp = f.set_as(&other, dir, "user.x", b"v", XattrHow::Either).map(drop);
    assert_eq!(in_tmp, Err(FsError::Perm), "a sticky directory's are its owner's");
}

#[test]
fn a_stream_is_a_file_under_its_files_rights() {
    let f = fixture(64);
    let file = f.make("a", 0o640);
    let stream = f.stream(file, "notes");
    assert_eq!(f.stream(file, "notes"), stream, "opened, not made again");
    let again = f.run(Op::MakeStream { file, name: bytes("notes"), guarded: true });
    assert_eq!(again, Err(FsError::Exists));
    f.write(stream, b"hello").unwrap();
    let read = |cx: &Context| f.volume.read(cx, stream, 0, 100).map(|read| read.data);
    assert_eq!(read(&user(1)).unwrap(), "hello");
    assert_eq!(read(&user(2)), Err(FsError::Access));
    let chmod = SetAttrs { mode: Some(0o604), ..SetAttrs::default() };
    f.run(Op::SetAttr { file, attrs: chmod, guard: None }).unwrap();
    assert_eq!(read(&user(2)).unwrap(), "hello", "a chmod of the file holds for its streams");
    let of_stream = f.run(Op::SetAttr { file: stream, attrs: chmod, guard: None });
    assert_eq!(of_stream, Err(FsError::Invalid));
    let streams = f.volume.streams(file).unwrap();
    assert_eq!(streams, [Stream { name: bytes("notes"), attr: f.volume.getattr(stream).unwrap() }]);
    assert_eq!((streams[0].attr.size, streams[0].attr.mode, streams[0].attr.uid), (5, 0o604, 1));
    assert_eq!(f.volume.getattr(file).unwrap().size, 0);
    assert_eq!(
        f.run(Op::MakeStream { file: stream, name: bytes("x"), guarded: false }),
        Err(FsError::Invalid)
    );
    assert_eq!(f.run(Op::Link { file: stream, dir: ROOT, name: bytes("l") }), Err(FsError::Perm));
    let gone = f.run(Op::RemoveStream { file, name: bytes("notes") }).unwrap().gone;
    assert_eq!(gone, Some(stream));
    assert_eq!(read(&root()), Err(FsError::Stale));
}

#[test]
fn streams_and_attributes_of_one_name_are_apart_and_in_no_listing() {
    let f = fixture(64);
    let file = f.make("a", 0o644);
    let stream = f.stream(file, "user.x");
    f.set(file, "user.x", b"attribute").unwrap();
    f.write(stream, b"stream").unwrap();
    assert_eq!(f.volume.xattr(&root(), file, b"user.x").unwrap(), "attribute");
    assert_eq!(f.volume.read(&root(), stream, 0, 9).unwrap().data, "stream");
    let mut names = Vec::new();
    let visit = &mut |entry: DirEntry<'_>| {
        names.push(entry.name.to_vec());
        std::ops::ControlFlow::Continue(())
    };
    f.volume.readdir(&root(), ROOT, Cookie(2), visit).unwrap();
    assert_eq!(names, [b"a"]);
    // Neither the hidden directory nor a value answers to a FileId.
    for ino in 3..8 {
        let id = FileId::active(InodeNum(ino), Generation(1));
        let seen = f.volume.getattr(id).is_ok();
        assert_eq!(seen, id == file || id == stream, "inode {ino}");
    }
}

/// What has attributes and streams loses them with its last name, by whatever operation that goes.
#[test]
fn the_last_name_takes_everything_with_it() {
    let f = fixture(64);
    let (keep, free) = (f.make("keep", 0o644), f.free());
    let load = |file| {
        for n in 0..20 {
            f.set(file, &format!("user.{n}"), &vec![1; 9000]).unwrap();
            let stream = f.stream(file, &format!("s{n}"));
            f.write(stream, &[5; 5000]).unwrap();
        }
    };
    let files = f.files();
    load(f.make("removed", 0o644));
    assert_eq!(f.files(), files + 42);
    f.run(Op::Remove { dir: ROOT, name: bytes("removed") }).unwrap();
    assert_eq!(f.files(), files);

    load(f.make("replaced", 0o644));
    let (from, to) = (bytes("keep"), bytes("replaced"));
    f.run(Op::Rename { from_dir: ROOT, from, to_dir: ROOT, to }).unwrap();
    assert_eq!(f.files(), files);

    let made = f.run(Op::Mkdir { dir: ROOT, name: bytes("d"), attrs: SetAttrs::default() }).unwrap();
    load(made.object.after.id);
    f.run(Op::Rmdir { dir: ROOT, name: bytes("d") }).unwrap();
    assert_eq!(f.files(), files);
    f.volume.getattr(keep).unwrap();
    // A page of the inode file or two, for the numbers that were used.
    assert!(free - f.free() <= 5 * BLOCK_SIZE_U64, "blocks leak");
}

#[test]
fn a_files_attributes_are_bounded_so_that_a_full_volume_can_remove_it() {
    let f = fixture(8);
    let file = f.make("a", 0o644);
    let full = (0..ATTRS_MAX).find_map(|n| f.set(file, &format!("user.{n}"), b"v").err());
    assert_eq!(full, Some(FsError::AttrsFull));
    f.set(file, "user.0", b"replacing is no matter of number").unwrap();
    let big = f.make("b", 0o644);
    for n in 0.. {
        let op = Op::Write { file: big, offset: n * 4096, data: Bytes::from(vec![1; 4096]) };
        if f.run(op) == Err(FsError::NoSpace) {
            break;
        }
    }
    f.run(Op::Remove { dir: ROOT, name: bytes("a") }).unwrap();
    f.volume.consistency_point().unwrap();
    assert_eq!(f.volume.fault(), None);
}

#[test]
fn they_survive_a_crash_and_a_close() {
    let f = fixture(64);
    let file = f.make("a", 0o644);
    f.set(file, "user.x", &[3; 20_000]).unwrap();
    let stream = f.stream(file, "s");
    let lsn = f.write(stream, b"data").unwrap().lsn;
    f.volume.wait_durable(lsn).unwrap();
    let path = f.dir.path().join("v");
    let check = |volume: &Volume| {
        assert_eq!(volume.xattr(&root(), file, b"user.x").unwrap(), [3; 20_000][..]);
        assert_eq!(volume.stream(file, b"s").unwrap().id, stream);
        assert_eq!(volume.read(&root(), stream, 0, 10).unwrap().data, "data");
    };
    drop(f.volume);
    let volume = Volume::open(Arc::new(FileDisk::open(&path).unwrap()), Tuning::default()).unwrap();
    check(&volume);
    volume.close().unwrap();
    drop(volume);
    check(&Volume::open(Arc::new(FileDisk::open(&path).unwrap()), Tuning::default()).unwrap());
}

#[test]
fn a_stream_is_renamed_and_replaces_another_only_if_that_is_said() {
    let f = fixture(64);
    let file = f.make("a", 0o644);
    let (old, other) = (f.stream(file, "old"), f.stream(file, "other"));
    f.write(old, b"content").unwrap();
    let rename = |to: &str, replace| Op::RenameStream { file, from: bytes("old"), to: bytes(to), replace };
    assert_eq!(f.run(rename("other", false)), Err(FsError::Exists));
    assert_eq!(f.volume.execute_folded(&root(), rename("OTHER", false)), Err(FsError::Exists));
    assert_eq!(f.volume.execute(&user(5), rename("new", false)), Err(FsError::Access));
    let files = f.files();
    assert_eq!(f.run(rename("other", true)).unwrap().gone, Some(other));
    assert_eq!(f.files(), files - 1);
    let found = f.volume.stream(file, b"other").unwrap();
    assert_eq!((found.id, found.size), (old, 7));
    assert_eq!(f.run(rename("x", true)), Err(FsError::NotFound));
    // Its own name in another case is not in its way.
    let cased = Op::RenameStream { file, from: bytes("other"), to: bytes("Other"), replace: false };
    f.volume.execute_folded(&root(), cased).unwrap();
    assert_eq!(f.volume.streams(file).unwrap().len(), 1);
}

#[test]
fn a_number_leads_to_a_file_and_not_to_what_is_hidden() {
    let f = fixture(64);
    let file = f.make("a", 0o644);
    let stream = f.stream(file, "s");
    assert_eq!(f.volume.by_number(file.ino).map(|attr| attr.id), Ok(file));
    assert_eq!(f.volume.by_number(ROOT.ino).map(|attr| attr.id), Ok(ROOT));
    let none = |ino| assert_eq!(f.volume.by_number(ino), Err(FsError::NotFound), "{ino}");
    [stream.ino, InodeNum(0), InodeNum(1), InodeNum(1 << 40)].into_iter().for_each(none);
    f.run(Op::Remove { dir: ROOT, name: bytes("a") }).unwrap();
    none(file.ino);
}
