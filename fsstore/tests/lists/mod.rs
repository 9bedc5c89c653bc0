//! What the tests of access control lists stand on: a volume, and files of user 1 and group 10.

use bytes::Bytes;
use fsstore::*;
use std::sync::Arc;

pub(crate) struct Fixture {
    pub(crate) volume: Arc<Volume>,
    pub(crate) dir: tempfile::TempDir,
}

pub(crate) fn user(uid: u32) -> Context {
    Context { uid, gid: uid * 10, groups: vec![], now: Time { secs: 1000, nanos: 0 } }
}

impl Fixture {
    pub(crate) fn new() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(FileDisk::create(&dir.path().join("v"), 64 << 20).unwrap());
        let spec = VolumeSpec { uuid: uuid::Uuid::from_u128(1), size_bytes: 64 << 20 };
        let volume = Volume::create(disk, &spec, Time::default(), Tuning::default()).unwrap();
        Fixture { volume, dir }
    }
    pub(crate) fn run(&self, op: Op) -> Attr {
        self.volume.execute(&user(0), op).unwrap().object.after
    }
    pub(crate) fn make(&self, dir: FileId, name: &'static str, mode: u32, is_dir: bool) -> FileId {
        let attrs = SetAttrs { mode: Some(mode), uid: Some(1), gid: Some(10), ..SetAttrs::default() };
        let name = Bytes::from_static(name.as_bytes());
        let op = if is_dir {
            Op::Mkdir { dir, name, attrs }
        } else {
            Op::Create { dir, name, how: CreateHow::Guarded(attrs) }
        };
        self.run(op).id
    }
    pub(crate) fn set(&self, file: FileId, acl: Acl) -> Attr {
        self.run(Op::SetAcl { file, acl: Some(acl) })
    }
    pub(crate) fn chmod(&self, file: FileId, mode: u32) -> Attr {
        let attrs = SetAttrs { mode: Some(mode), ..SetAttrs::default() };
        self.run(Op::SetAttr { file, attrs, guard: None })
    }
    pub(crate) fn mode(&self, file: FileId) -> u32 {
        self.volume.getattr(file).unwrap().mode
    }
    pub(crate) fn may(&self, cx: &Context, file: FileId, want: u32) -> bool {
        self.volume.access(cx, file, Access(want)).unwrap().0 == Access(want)
    }
    pub(crate) fn acl(&self, file: FileId) -> Acl {
        self.volume.acl(file).unwrap()
    }
}
