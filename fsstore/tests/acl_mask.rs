//! Lists with a mask, as POSIX ACLs are kept: one test for each row of the table in the store's `acl::mask` module.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod lists;

use fsstore::*;
use lists::{Fixture, user};
use std::sync::Arc;

const R: u32 = 4;
const W: u32 = 2;
const X: u32 = 1;
const TO_INHERIT: u8 = AceFlags::FILE_INHERIT | AceFlags::DIRECTORY_INHERIT | AceFlags::INHERIT_ONLY;

/// What a named user or group, or the file's group, gets and what they don't get from those behind.
fn class(who: AceWho, bits: u32) -> [Ace; 2] {
    let ace = |kind, bits| Ace { kind, who, flags: 0, mask: AceMask::of_permissions(bits, true) };
    [ace(AceKind::Allow, bits), ace(AceKind::Deny, 7)]
}

/// User 2 has all, the file's group may read.
fn two_and_group() -> Vec<Ace> {
    [class(AceWho::User(2), R | W | X), class(AceWho::Group, R)].concat()
}

fn to_inherit(acl: &Acl) -> Vec<Ace> {
    acl.aces.iter().map(|ace| Ace { flags: TO_INHERIT, ..*ace }).collect()
}

/// What a user may do with a file, as permission bits.
fn bits(f: &Fixture, cx: &Context, file: FileId) -> u32 {
    let one = |want, bit| if f.may(cx, file, want) { bit } else { 0 };
    one(Access::READ, R) | one(Access::MODIFY, W) | one(Access::EXECUTE, X)
}

#[test]
fn the_mask_limits_all_but_the_owner_and_everyone() {
    let f = Fixture::new();
    let file = f.make(ROOT, "a", 0, false);
    let named_group = class(AceWho::GroupId(70), R | W);
    let after = f.set(file, Acl::masked(0o756, [two_and_group(), named_group.to_vec()].concat(), false));
    assert_eq!(after.mode, 0o756, "the mode's group bits are the mask");
    let in_group = |gid| Context { groups: vec![gid], ..user(5) };
    assert_eq!(bits(&f, &user(1), file), 7);
    assert_eq!(bits(&f, &user(2), file), R | X);
    assert_eq!(bits(&f, &in_group(10), file), R);
    assert_eq!(bits(&f, &in_group(70), file), R);
    assert_eq!(bits(&f, &user(3), file), R | W);
}

#[test]
fn a_chmod_sets_the_mask_and_nothing_else_of_the_group_class() {
    let f = Fixture::new();
    let file = f.make(ROOT, "a", 0, false);
    let wide = Acl::masked(0o670, two_and_group(), false);
    f.set(file, wide.clone());
    assert_eq!(f.chmod(file, 0o4604).mode, 0o4604);
    assert_eq!(f.acl(file), Acl::masked(0o604, two_and_group(), false));
    assert_eq!(bits(&f, &user(2), file), 0);
    f.chmod(file, 0o670);
    assert_eq!(f.acl(file), wide, "what the mask took away comes back with it");
    assert_eq!(bits(&f, &user(2), file), 7);
}

#[test]
fn a_file_inherits_what_the_mode_asked_for_leaves() {
    let f = Fixture::new();
    let dir = f.make(ROOT, "d", 0o755, true);
    let default = to_inherit(&Acl::masked(0o775, two_and_group(), true));
    f.set(dir, Acl { aces: [Acl::from_mode(0o755, true).aces, default.clone()].concat(), nt: None });
    assert_eq!(f.mode(dir), 0o755);
    let file = f.make(dir, "a", 0o4664, false);
    assert_eq!(f.mode(file), 0o4664);
    assert_eq!(bits(&f, &user(2), file), R | W);
    assert_eq!(f.acl(file).mask(), Some(AceMask::of_permissions(R | W, false)));
    let child = f.make(dir, "child", 0o700, true);
    assert_eq!((f.mode(child), bits(&f, &user(2), child)), (0o700, 0));
    let handed_on: Vec<Ace> =
        f.acl(child).aces.iter().filter(|ace| ace.flags & TO_INHERIT != 0).copied().collect();
    assert_eq!(handed_on, default, "the limit is not inherited");
    assert_eq!(f.mode(f.make(child, "deep", 0o666, false)), 0o664);
}

#[test]
fn what_says_no_more_than_a_mode_is_just_that() {
    let f = Fixture::new();
    let dir = f.make(ROOT, "d", 0o700, true);
    let files = f.volume.statfs().files;
    let default = to_inherit(&Acl::masked(0o750, class(AceWho::Group, R | X).to_vec(), true));
    f.set(dir, Acl { aces: [Acl::from_mode(0o700, true).aces, default].concat(), nt: None });
    let file = f.make(dir, "a", 0o666, false);
    assert_eq!(f.mode(file), 0o640);
    assert_eq!(f.volume.statfs().files, files + 2, "the directory's list and the file, which has none");
    // With a mask that takes from the group, there is more to it.
    let default = to_inherit(&Acl::masked(0o740, class(AceWho::Group, R | X).to_vec(), true));
    f.set(dir, Acl { aces: [Acl::from_mode(0o700, true).aces, default].concat(), nt: None });
    let file = f.make(dir, "b", 0o666, false);
    assert_eq!((f.mode(file), f.volume.statfs().files), (0o640, files + 4));
    // A list that is set.
    f.set(file, Acl::from_mode(0o604, false));
    assert_eq!((f.mode(file), f.volume.statfs().files), (0o604, files + 3));
    f.set(file, Acl::from_mode(0o640, false));
    assert_eq!((f.mode(file), f.acl(file)), (0o640, Acl::from_mode(0o640, false)));
}

#[test]
fn a_mask_only_ever_allows_and_survives_the_log() {
    let f = Fixture::new();
    let file = f.make(ROOT, "a", 0o777, false);
    let deny = Ace { kind: AceKind::Deny, who: AceWho::Mask, flags: 0, mask: AceMask::READ_DATA };
    let set = Op::SetAcl { file, acl: Some(Acl { aces: vec![deny], nt: None }) };
    assert_eq!(f.volume.execute(&user(0), set).map(drop), Err(FsError::Invalid));
    let acl = Acl::masked(0o640, two_and_group(), false);
    f.set(file, acl.clone());
    f.volume.wait_durable(f.volume.last_lsn()).unwrap();
    drop(f.volume);
    let disk = Arc::new(FileDisk::open(&f.dir.path().join("v")).unwrap());
    assert_eq!(Volume::open(disk, Tuning::default()).unwrap().acl(file).unwrap(), acl);
}

#[test]
fn setgid_goes_where_the_setter_is_not_in_the_group() {
    let f = Fixture::new();
    let file = f.make(ROOT, "a", 0o2755, false);
    let set = |cx: &Context, mode| {
        let op = Op::SetAcl { file, acl: Some(Acl::from_mode(mode, false)) };
        f.volume.execute(cx, op).unwrap().object.after.mode
    };
    assert_eq!(set(&user(1), 0o775), 0o2775);
    let stranger = Context { gid: 99, ..user(1) };
    assert_eq!(set(&stranger, 0o775), 0o2775, "nothing was changed");
    assert_eq!(set(&stranger, 0o755), 0o755);
}
