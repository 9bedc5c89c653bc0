//! Lists of NT security descriptors: one test for each row of the table in the store's `acl::nt` module.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod lists;

use bytes::Bytes;
use fsstore::*;
use lists::{Fixture, user};
use std::sync::Arc;

use AceFlags as F;

const READ: u32 = AceMask::READ_DATA;
const WRITE: u32 = AceMask::WRITE_DATA | AceMask::APPEND_DATA;

/// `S-1-5-21-1-2-3-4`, who is nobody here.
const STRANGER: &[u8] =
    &[1, 5, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0];

fn sid(bytes: &[u8]) -> AceWho {
    AceWho::Sid(Sid::from_bytes(bytes).unwrap())
}

fn allow(who: AceWho, mask: u32, flags: u8) -> Ace {
    Ace { kind: AceKind::Allow, who, flags, mask }
}

fn nt(control: u8, aces: &[Ace]) -> Acl {
    Acl { aces: aces.to_vec(), nt: Some(Nt { control, ..Nt::default() }) }
}

fn run(f: &Fixture, cx: &Context, op: Op) -> Result<FileId, FsError> {
    f.volume.execute(cx, op).map(|done| done.object.after.id)
}

fn create(dir: FileId, name: &'static str) -> Op {
    let how = CreateHow::Guarded(SetAttrs { mode: Some(0o644), ..SetAttrs::default() });
    Op::Create { dir, name: Bytes::from_static(name.as_bytes()), how }
}

fn mkdir(dir: FileId, name: &'static str) -> Op {
    Op::Mkdir { dir, name: Bytes::from_static(name.as_bytes()), attrs: SetAttrs::default() }
}

#[test]
fn what_was_set_is_there_after_a_restart() {
    let f = Fixture::new();
    let (file, empty) = (f.make(ROOT, "a", 0o600, false), f.make(ROOT, "b", 0o600, false));
    let AceWho::Sid(stranger) = sid(STRANGER) else { unreachable!() };
    let mut list = nt(
        NtControl::PROTECTED,
        &[allow(sid(STRANGER), READ, F::INHERITED), allow(AceWho::User(1), READ | WRITE, 0)],
    );
    list.nt = Some(Nt { owner: Some((1, stranger)), ..list.nt.unwrap() });
    f.set(file, list.clone());
    f.set(empty, nt(0, &[]));
    assert_eq!((f.mode(file), f.mode(empty)), (0o600, 0));
    f.volume.wait_durable(f.volume.last_lsn()).unwrap();
    let Fixture { volume, dir } = f;
    drop(volume);
    let disk = Arc::new(FileDisk::open(&dir.path().join("v")).unwrap());
    let volume = Volume::open(disk, Tuning::default()).unwrap();
    assert_eq!((volume.acl(file).unwrap(), volume.acl(empty).unwrap()), (list, nt(0, &[])));
}

#[test]
fn a_name_needs_its_own_right_and_the_way_to_it_none() {
    let f = Fixture::new();
    let dir = f.make(ROOT, "d", 0o700, true);
    let everyone = |mask| allow(AceWho::Everyone, mask, 0);
    f.set(dir, nt(0, &[everyone(AceMask::WRITE_DATA)]));
    let file = run(&f, &user(2), create(dir, "a")).unwrap();
    assert_eq!(run(&f, &user(2), mkdir(dir, "sub")), Err(FsError::Access));
    assert_eq!(f.volume.lookup(&user(3), dir, b"a").unwrap().id, file);
    let name = Bytes::from_static(b"a");
    let remove = || run(&f, &user(3), Op::Remove { dir, name: name.clone() });
    assert_eq!(remove(), Err(FsError::Access));
    f.set(dir, nt(0, &[everyone(AceMask::DELETE_CHILD | AceMask::APPEND_DATA)]));
    assert_eq!(remove(), Ok(file));
    assert!(run(&f, &user(2), mkdir(dir, "sub")).is_ok());
    assert_eq!(run(&f, &user(2), create(dir, "a")), Err(FsError::Access));
}

#[test]
fn new_files_inherit_as_with_windows() {
    let f = Fixture::new();
    let dir = f.make(ROOT, "d", 0o700, true);
    let creator = AceWho::Sid(Sid::CREATOR_OWNER);
    let all = allow(AceWho::Everyone, AceMask::FULL_CONTROL, 0);
    let both = F::FILE_INHERIT | F::DIRECTORY_INHERIT;
    f.set(dir, nt(NtControl::AUTO_INHERITED, &[allow(creator, READ | WRITE, both), all]));
    let (file, below) =
        (run(&f, &user(2), create(dir, "a")).unwrap(), run(&f, &user(2), mkdir(dir, "b")).unwrap());
    let own = allow(AceWho::User(2), READ | WRITE, F::INHERITED);
    let further = allow(creator, READ | WRITE, both | F::INHERIT_ONLY | F::INHERITED);
    assert_eq!(f.acl(file), nt(NtControl::AUTO_INHERITED, &[own]));
    assert_eq!(f.acl(below), nt(NtControl::AUTO_INHERITED, &[own, further]));
    assert_eq!(f.mode(file), 0o600);

    f.set(dir, nt(0, &[all]));
    let alone = run(&f, &user(2), create(dir, "c")).unwrap();
    assert_eq!(f.mode(alone), 0o700, "nothing to inherit: it is its owner's");
    assert!(!f.may(&user(3), alone, Access::READ));
}

#[test]
fn a_chmod_keeps_what_the_descriptor_says_beside_its_list() {
    let f = Fixture::new();
    let file = f.make(ROOT, "a", 0o600, false);
    f.set(file, nt(NtControl::PROTECTED | NtControl::NO_LIST, &[allow(AceWho::Everyone, AceMask::ALL, 0)]));
    assert_eq!(f.mode(file), 0o777);
    f.chmod(file, 0o640);
    assert_eq!((f.mode(file), f.acl(file).nt.unwrap().control), (0o640, NtControl::PROTECTED));
    assert!(!f.may(&user(3), file, Access::READ));
}
