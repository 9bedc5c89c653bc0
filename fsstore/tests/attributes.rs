//! DOS attributes and the times that clients set: kept through the log, a consistency point and a snapshot, and by whom they are set.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use bytes::Bytes;
use fsstore::*;
use std::sync::Arc;

const HIDDEN: DosAttributes = DosAttributes(DosAttributes::HIDDEN);

fn at(secs: i64) -> Time {
    Time { secs, nanos: 0 }
}

fn user(uid: u32) -> Context {
    Context { uid, gid: uid, groups: Vec::new(), now: at(1000) }
}

fn manual() -> Tuning {
    Tuning { threads: false, ..Tuning::default() }
}

fn disk(dir: &tempfile::TempDir) -> Arc<FileDisk> {
    Arc::new(FileDisk::open(&dir.path().join("v")).unwrap())
}

fn volume(dir: &tempfile::TempDir) -> Arc<Volume> {
    let disk = Arc::new(FileDisk::create(&dir.path().join("v"), 32 << 20).unwrap());
    let spec = VolumeSpec { uuid: uuid::Uuid::from_u128(1), size_bytes: 32 << 20 };
    Volume::create(disk, &spec, Time::default(), manual()).unwrap()
}

fn make(volume: &Volume, dos: Option<DosAttributes>) -> Attr {
    let attrs = SetAttrs { mode: Some(0o664), uid: Some(1), gid: Some(1), dos, ..SetAttrs::default() };
    let op = Op::Create { dir: ROOT, name: Bytes::from_static(b"f"), how: CreateHow::Guarded(attrs) };
    volume.execute(&user(0), op).unwrap().object.after
}

fn set(volume: &Volume, cx: &Context, file: FileId, attrs: SetAttrs) -> Result<Attr> {
    volume.execute(cx, Op::SetAttr { file, attrs, guard: None }).map(|done| done.object.after)
}

#[test]
fn what_is_set_stays_through_log_and_consistency_point() {
    let dir = tempfile::tempdir().unwrap();
    let held = volume(&dir);
    let file = make(&held, Some(HIDDEN)).id;
    let attrs = SetAttrs {
        btime: SetTime::To(at(-5)),
        ctime: SetTime::To(at(7)),
        mtime: SetTime::To(at(6)),
        dos: Some(DosAttributes::default()),
        ..SetAttrs::default()
    };
    let set = set(&held, &user(1), file, attrs).unwrap();
    assert_eq!((set.btime, set.ctime, set.mtime), (at(-5), at(7), at(6)));
    assert_eq!(set.dos, Some(DosAttributes::default()));
    held.flush_log().unwrap();
    drop(held);
    let replayed = Volume::open(disk(&dir), manual()).unwrap();
    assert_eq!(replayed.getattr(file), Ok(set));
    let snapshot = replayed.snapshot_create("s", at(0)).unwrap().id;
    replayed.close().unwrap();
    drop(replayed);
    let mounted = Volume::open(disk(&dir), manual()).unwrap();
    assert_eq!(mounted.getattr(file), Ok(set));
    assert_eq!(mounted.getattr(file.within(snapshot)).unwrap().dos, set.dos);
}

/// A backup has to find what clients of NFS write, too.
#[test]
fn new_content_is_to_be_archived_where_attributes_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let volume = volume(&dir);
    let file = make(&volume, Some(HIDDEN)).id;
    assert_eq!(volume.getattr(file).unwrap().dos, Some(HIDDEN));
    let write = Op::Write { file, offset: 0, data: Bytes::from_static(b"x") };
    let dos = volume.execute(&user(1), write).unwrap().object.after.dos;
    assert_eq!(dos, Some(DosAttributes(DosAttributes::HIDDEN | DosAttributes::ARCHIVE)));
    let plain = SetAttrs { dos: Some(HIDDEN), ..SetAttrs::default() };
    set(&volume, &user(1), file, plain).unwrap();
    let resized = set(&volume, &user(1), file, SetAttrs { size: Some(0), ..SetAttrs::default() }).unwrap();
    assert!(resized.dos.unwrap().has(DosAttributes::ARCHIVE));
}

#[test]
fn writers_set_attributes_and_others_only_what_a_list_lets_them() {
    let dir = tempfile::tempdir().unwrap();
    let volume = volume(&dir);
    let file = make(&volume, None).id;
    let hide = SetAttrs { dos: Some(HIDDEN), ..SetAttrs::default() };
    let born = SetAttrs { btime: SetTime::To(at(1)), ..SetAttrs::default() };
    let in_group = Context { gid: 1, ..user(2) };
    assert_eq!(set(&volume, &in_group, file, hide).unwrap().dos, Some(HIDDEN));
    assert_eq!(set(&volume, &in_group, file, born), Err(FsError::Perm));
    assert_eq!(set(&volume, &user(3), file, hide), Err(FsError::Access));
    let ace = Ace { kind: AceKind::Allow, who: AceWho::User(3), flags: 0, mask: AceMask::WRITE_ATTRIBUTES };
    let acl = Acl { aces: vec![ace], nt: None };
    volume.execute(&user(1), Op::SetAcl { file, acl: Some(acl) }).unwrap();
    assert_eq!(set(&volume, &user(3), file, hide).unwrap().dos, Some(HIDDEN));
    assert_eq!(set(&volume, &user(3), file, born).unwrap().btime, at(1));
    let unknown = SetAttrs { dos: Some(DosAttributes(0x10)), ..SetAttrs::default() };
    assert_eq!(set(&volume, &user(1), file, unknown), Err(FsError::Invalid));
}
