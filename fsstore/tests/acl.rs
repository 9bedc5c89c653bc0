//! Access control lists beside mode bits: one test for each row of the table in the store's `acl` module.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod lists;

use bytes::Bytes;
use fsstore::*;
use lists::{Fixture, user};
use std::sync::Arc;

const READ: u32 = AceMask::READ_DATA;
const WRITE: u32 = AceMask::WRITE_DATA | AceMask::APPEND_DATA;

fn allow(who: AceWho, mask: u32) -> Ace {
    Ace { kind: AceKind::Allow, who, flags: 0, mask }
}

fn deny(who: AceWho, mask: u32) -> Ace {
    Ace { kind: AceKind::Deny, ..allow(who, mask) }
}

fn set(f: &Fixture, file: FileId, aces: &[Ace]) -> Attr {
    f.set(file, Acl { aces: aces.to_vec(), nt: None })
}

#[test]
fn without_a_list_the_mode_is_one_and_says_the_same() {
    let f = Fixture::new();
    let file = f.make(ROOT, "a", 0, false);
    for mode in 0..0o1000 {
        for dir in [false, true] {
            assert_eq!(Acl::from_mode(mode, dir).mode(dir), mode, "{mode:o}");
        }
    }
    // The same users get the same, whether the mode is asked or the list that stands for it.
    let member = Context { groups: vec![10], ..user(2) };
    let in_own_group = Context { gid: 10, ..user(1) };
    let rights = [Access::READ, Access::MODIFY, Access::EXECUTE];
    let who = [user(1), in_own_group, member, user(3)];
    for mode in (0..0o1000).step_by(7) {
        f.chmod(file, mode);
        let by_mode: Vec<bool> =
            who.iter().flat_map(|cx| rights.map(|right| f.may(cx, file, right))).collect();
        let list = f.volume.acl(file).unwrap();
        f.run(Op::SetAcl { file, acl: Some(list) });
        assert_eq!(f.mode(file), mode);
        let by_acl: Vec<bool> =
            who.iter().flat_map(|cx| rights.map(|right| f.may(cx, file, right))).collect();
        assert_eq!(by_mode, by_acl, "{mode:o}");
        f.run(Op::SetAcl { file, acl: None });
    }
}

#[test]
fn the_mode_follows_from_a_stored_list() {
    let f = Fixture::new();
    let file = f.make(ROOT, "a", 0o4000, false);
    let after = set(
        &f,
        file,
        &[
            deny(AceWho::Group, WRITE),
            allow(AceWho::Owner, READ | AceMask::WRITE_DATA),
            allow(AceWho::User(7), READ | WRITE),
            allow(AceWho::Everyone, READ | WRITE),
        ],
    );
    assert_eq!(after.mode, 0o4646, "one half of write is none; who is named does not show");
    assert_eq!(f.volume.getattr(file).unwrap().mode, 0o4646);
}

#[test]
fn the_first_entry_that_speaks_of_a_bit_decides() {
    let f = Fixture::new();
    let file = f.make(ROOT, "a", 0o777, false);
    set(
        &f,
        file,
        &[
            allow(AceWho::User(2), READ),
            deny(AceWho::GroupId(20), READ | WRITE),
            allow(AceWho::Everyone, READ | WRITE),
        ],
    );
    assert!(f.may(&user(2), file, Access::READ), "allowed before it is denied");
    assert!(!f.may(&user(2), file, Access::MODIFY), "user 2 is in group 20");
    assert!(!f.may(&Context { groups: vec![20], ..user(4) }, file, Access::READ));
    assert!(f.may(&user(3), file, Access::READ | Access::MODIFY));
    assert!(!f.may(&user(3), file, Access::EXECUTE), "what nobody grants is refused");
    let write = Op::Write { file, offset: 0, data: Bytes::from_static(b"x") };
    assert_eq!(f.volume.execute(&user(2), write.clone()).map(drop), Err(FsError::Access));
    f.volume.execute(&user(3), write).unwrap();
    assert!(f.may(&user(0), file, Access::READ | Access::MODIFY), "lists do not bind root");
}

#[test]
fn delete_of_the_file_or_delete_child_of_the_directory_is_enough() {
    let f = Fixture::new();
    let dir = f.make(ROOT, "d", 0o755, true);
    let file = f.make(dir, "a", 0o600, false);
    let remove = |uid, name: &'static str| {
        let op = Op::Remove { dir, name: Bytes::from_static(name.as_bytes()) };
        f.volume.execute(&user(uid), op).map(drop)
    };
    assert_eq!(remove(2, "a"), Err(FsError::Access));
    set(&f, file, &[allow(AceWho::User(2), AceMask::DELETE)]);
    assert_eq!(remove(2, "a"), Ok(()));
    f.make(dir, "b", 0o600, false);
    set(&f, dir, &[allow(AceWho::User(3), AceMask::DELETE_CHILD), allow(AceWho::Everyone, AceMask::EXECUTE)]);
    assert_eq!(remove(2, "b"), Err(FsError::Access));
    assert_eq!(remove(3, "b"), Ok(()));
}

#[test]
fn a_chmod_masks_the_list() {
    let f = Fixture::new();
    let file = f.make(ROOT, "a", 0o777, false);
    let refused = deny(AceWho::GroupId(50), READ);
    set(&f, file, &[refused, allow(AceWho::User(2), READ | WRITE), allow(AceWho::Everyone, READ | WRITE)]);
    f.chmod(file, 0o640);
    assert_eq!(f.mode(file), 0o640);
    assert!(f.may(&user(2), file, Access::READ), "a named user keeps what the group has");
    assert!(!f.may(&user(2), file, Access::MODIFY));
    assert!(!f.may(&user(3), file, Access::READ));
    assert!(f.acl(file).aces.contains(&refused), "what was refused stays refused");
    for mode in 0..0o1000 {
        f.chmod(file, mode);
        assert_eq!(f.volume.acl(file).unwrap().mode(false), mode, "{mode:o}");
    }
}

#[test]
fn a_chown_leaves_the_list() {
    let f = Fixture::new();
    let file = f.make(ROOT, "a", 0, false);
    set(&f, file, &[allow(AceWho::Owner, READ)]);
    let before = f.acl(file).aces;
    let attrs = SetAttrs { uid: Some(2), ..SetAttrs::default() };
    f.run(Op::SetAttr { file, attrs, guard: None });
    assert_eq!(f.acl(file).aces, before);
    assert!(f.may(&user(2), file, Access::READ) && !f.may(&user(1), file, Access::READ));
}

#[test]
fn new_files_and_directories_inherit() {
    use AceFlags as F;
    let f = Fixture::new();
    let dir = f.make(ROOT, "d", 0o777, true);
    let with = |who, mask, flags| Ace { flags, ..allow(who, mask) };
    let below = READ | AceMask::EXECUTE;
    set(
        &f,
        dir,
        &[
            with(AceWho::User(2), READ | WRITE, F::FILE_INHERIT | F::INHERIT_ONLY),
            with(AceWho::User(3), below, F::DIRECTORY_INHERIT | F::FILE_INHERIT),
            with(AceWho::User(4), below, F::DIRECTORY_INHERIT | F::NO_PROPAGATE_INHERIT),
            with(AceWho::Owner, READ | WRITE, F::FILE_INHERIT),
            allow(AceWho::Everyone, AceMask::ALL),
        ],
    );
    let file = f.make(dir, "file", 0o4777, false);
    let inherited = |who, mask, flags| with(who, mask, flags | F::INHERITED);
    let of_file = [
        inherited(AceWho::User(2), READ | WRITE, 0),
        inherited(AceWho::User(3), below, 0),
        inherited(AceWho::Owner, READ | WRITE, 0),
    ];
    assert_eq!(f.acl(file).aces, of_file);
    assert_eq!(f.mode(file), 0o4600, "the list says the mode, but for setuid");
    let child = f.make(dir, "child", 0o777, true);
    let of_child = [
        inherited(AceWho::User(2), READ | WRITE, F::FILE_INHERIT | F::INHERIT_ONLY),
        inherited(AceWho::User(3), below, F::DIRECTORY_INHERIT | F::FILE_INHERIT),
        inherited(AceWho::User(4), below, 0),
        inherited(AceWho::Owner, READ | WRITE, F::FILE_INHERIT | F::INHERIT_ONLY),
    ];
    assert_eq!(f.acl(child).aces, of_child);
    let deep = f.make(child, "deep", 0o777, false);
    assert_eq!(f.acl(deep).aces, of_file);
    let plain = f.make(ROOT, "plain", 0o640, false);
    assert_eq!(f.acl(plain).aces, Acl::from_mode(0o640, false).aces);
}

#[test]
fn a_list_that_is_taken_away_leaves_its_mode_and_no_inode() {
    let f = Fixture::new();
    let file = f.make(ROOT, "a", 0o777, false);
    let files = f.volume.statfs().files;
    set(&f, file, &[allow(AceWho::Owner, READ)]);
    assert_eq!(f.volume.statfs().files, files + 1);
    f.run(Op::SetAcl { file, acl: None });
    assert_eq!((f.mode(file), f.volume.statfs().files), (0o400, files));
    set(&f, file, &[allow(AceWho::Owner, READ)]);
    f.run(Op::Remove { dir: ROOT, name: Bytes::from_static(b"a") });
    assert_eq!(f.volume.statfs().files, files - 1);
}

#[test]
fn only_the_owner_and_whom_the_list_allows_set_it_and_it_is_bounded() {
    let f = Fixture::new();
    let file = f.make(ROOT, "a", 0o777, false);
    let mut aces = vec![allow(AceWho::User(2), AceMask::WRITE_ACL)];
    aces.extend((1..399).map(|n| deny(AceWho::GroupId(1000 + n), READ)));
    aces.push(allow(AceWho::Everyone, READ));
    assert_eq!(aces.len(), ACES_MAX);
    let set = |uid, aces: &[Ace]| {
        let acl = Some(Acl { aces: aces.to_vec(), nt: None });
        f.volume.execute(&user(uid), Op::SetAcl { file, acl }).map(drop)
    };
    assert_eq!(set(2, &aces), Err(FsError::Perm));
    assert_eq!(set(1, &aces), Ok(()));
    assert_eq!(set(2, &aces), Ok(()));
    assert_eq!(set(3, &aces), Err(FsError::Perm));
    assert_eq!(f.acl(file).aces, aces);
    aces.push(allow(AceWho::Everyone, READ));
    assert_eq!(set(1, &aces), Err(FsError::Invalid));
    assert_eq!(set(1, &[]), Err(FsError::Invalid));
    assert_eq!(set(1, &[allow(AceWho::Owner, 0x8000_0000)]), Err(FsError::Invalid));
}

#[test]
fn lists_survive_a_crash_and_a_close() {
    let f = Fixture::new();
    let dir = f.make(ROOT, "d", 0o777, true);
    let aces = [Ace { flags: AceFlags::FILE_INHERIT, ..allow(AceWho::User(2), READ) }];
    set(&f, dir, &aces);
    let file = f.make(dir, "a", 0, false);
    f.volume.wait_durable(f.volume.last_lsn()).unwrap();
    let path = f.dir.path().join("v");
    let check = |volume: &Volume| {
        assert_eq!(volume.acl(dir).unwrap().aces, aces);
        let inherited = Ace { flags: AceFlags::INHERITED, ..aces[0] };
        assert_eq!(volume.acl(file).unwrap().aces, [inherited]);
        let may = |uid| volume.read(&user(uid), file, 0, 1).map(drop);
        assert_eq!((may(2), may(3)), (Ok(()), Err(FsError::Access)));
    };
    check(&f.volume);
    drop(f.volume);
    let volume = Volume::open(Arc::new(FileDisk::open(&path).unwrap()), Tuning::default()).unwrap();
    check(&volume);
    volume.close().unwrap();
    drop(volume);
    check(&Volume::open(Arc::new(FileDisk::open(&path).unwrap()), Tuning::default()).unwrap());
}
