//! POSIX.1e, written down once more entry by entry, against the store with the lists that ACLs are kept as.

use super::posix::{self, PosixAcl};
use super::{AclEnt, AclTag};
use bytes::Bytes;
use fsstore::{
    Access, Ace, AceFlags, AceKind, AceMask, AceWho, Acl, Context, CreateHow, FileDisk, FileId, Op, ROOT,
    SetAttrs, Time, Tuning, Volume, VolumeSpec,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

const OWNERS: (u32, u32) = (1, 11);
const EVERYTHING: u32 = Access::READ | Access::MODIFY | Access::EXECUTE;

/// Entries as `setfacl` makes them.
fn ents() -> impl Strategy<Value = Vec<AclEnt>> {
    let named = || prop::collection::btree_map(0..5u32, 0..8u32, 0..4);
    (0..8u32, named(), 0..8u32, named(), prop::option::of(0..8u32), 0..8u32).prop_map(
        |(owner, users, group, groups, mask, other)| {
            let ent = |tag, id, perm| AclEnt { tag, id, perm };
            let mut ents = vec![ent(AclTag::OTHER_OBJ, 0, other), ent(AclTag::GROUP_OBJ, 0, group)];
            ents.extend(users.iter().map(|(id, perm)| ent(AclTag::USER, *id, *perm)));
            // One of them is the file's own group.
            ents.extend(groups.iter().map(|(id, perm)| ent(AclTag::GROUP, id + 10, *perm)));
            let named = !(users.is_empty() && groups.is_empty());
            if let Some(mask) = mask.or(named.then_some(5)) {
                ents.push(ent(AclTag::CLASS_OBJ, 0, mask));
            }
            ents.push(ent(AclTag::USER_OBJ, 0, owner));
            ents
        },
    )
}

fn callers() -> impl Strategy<Value = Context> {
    (1..6u32, 10..16u32, prop::collection::vec(10..16u32, 0..3)).prop_map(|(uid, gid, groups)| Context {
        uid,
        gid,
        groups,
        now: Time::default(),
    })
}

fn acl(ents: &[AclEnt]) -> PosixAcl {
    PosixAcl::of_entries(ents).unwrap().unwrap()
}

/// Without a mask that the protocol can't tell from none.
fn as_meant(ents: Vec<AclEnt>) -> Vec<AclEnt> {
    let minimal = acl(&ents) == PosixAcl::of_mode(mode_of(&ents));
    ents.into_iter().filter(|ent| !minimal || ent.tag != AclTag::CLASS_OBJ).collect()
}

fn perm(ents: &[AclEnt], tag: u32) -> Option<u32> {
    ents.iter().find(|ent| ent.tag == tag).map(|ent| ent.perm)
}

/// POSIX.1e §23.1.5: whether the caller gets one right (a bit).
fn may(ents: &[AclEnt], cx: &Context, right: u32) -> bool {
    let has = |perm: u32| perm & right != 0;
    let mask = perm(ents, AclTag::CLASS_OBJ).unwrap_or(7);
    if cx.uid == OWNERS.0 {
        return has(perm(ents, AclTag::USER_OBJ).unwrap());
    }
    if let Some(ent) = ents.iter().find(|ent| ent.tag == AclTag::USER && ent.id == cx.uid) {
        return has(ent.perm & mask);
    }
    let in_group = |ent: &&AclEnt| match ent.tag {
        AclTag::GROUP_OBJ => cx.gid == OWNERS.1 || cx.groups.contains(&OWNERS.1),
        AclTag::GROUP => cx.gid == ent.id || cx.groups.contains(&ent.id),
        _ => false,
    };
    let mut groups = ents.iter().filter(in_group).peekable();
    if groups.peek().is_some() {
        return groups.any(|ent| has(ent.perm & mask));
    }
    has(perm(ents, AclTag::OTHER_OBJ).unwrap())
}

/// The entries after a chmod.
fn after_chmod(ents: &[AclEnt], mode: u32) -> Vec<AclEnt> {
    let has_mask = perm(ents, AclTag::CLASS_OBJ).is_some();
    let perm = |ent: &AclEnt| match ent.tag {
        AclTag::USER_OBJ => mode >> 6 & 7,
        AclTag::CLASS_OBJ => mode >> 3 & 7,
        AclTag::GROUP_OBJ if !has_mask => mode >> 3 & 7,
        AclTag::OTHER_OBJ => mode & 7,
        _ => ent.perm,
    };
    ents.iter().map(|ent| AclEnt { perm: perm(ent), ..*ent }).collect()
}

fn mode_of(ents: &[AclEnt]) -> u32 {
    let group = perm(ents, AclTag::CLASS_OBJ).or(perm(ents, AclTag::GROUP_OBJ));
    perm(ents, AclTag::USER_OBJ).unwrap() << 6 | group.unwrap() << 3 | perm(ents, AclTag::OTHER_OBJ).unwrap()
}

struct Store {
    volume: Arc<Volume>,
    made: u32,
    _dir: tempfile::TempDir,
}

impl Store {
    fn new() -> Store {
        let dir = tempfile::tempdir().unwrap();
        let disk = Arc::new(FileDisk::create(&dir.path().join("v"), 64 << 20).unwrap());
        let spec = VolumeSpec { uuid: uuid::Uuid::from_u128(1), size_bytes: 64 << 20 };
        let volume = Volume::create(disk, &spec, Time::default(), Tuning::default()).unwrap();
        Store { volume, made: 0, _dir: dir }
    }

    fn run(&self, op: Op) -> FileId {
        self.volume.execute(&Context::root(Time::default()), op).unwrap().object.after.id
    }

    fn make(&mut self, dir: FileId, is_dir: bool, mode: u32) -> FileId {
        self.made += 1;
        let name = Bytes::from(self.made.to_string());
        let (uid, gid) = (Some(OWNERS.0), Some(OWNERS.1));
        let attrs = SetAttrs { mode: Some(mode), uid, gid, ..SetAttrs::default() };
        self.run(if is_dir {
            Op::Mkdir { dir, name, attrs }
        } else {
            Op::Create { dir, name, how: CreateHow::Guarded(attrs) }
        })
    }

    fn set(&self, file: FileId, acl: Acl) {
        self.run(Op::SetAcl { file, acl: Some(acl) });
    }

    fn chmod(&self, file: FileId, mode: u32) {
        let attrs = SetAttrs { mode: Some(mode), ..SetAttrs::default() };
        self.run(Op::SetAttr { file, attrs, guard: None });
    }

    fn acls(&self, file: FileId, is_dir: bool) -> (PosixAcl, Option<PosixAcl>) {
        posix::of_list(&self.volume.acl(file).unwrap(), OWNERS.0, is_dir)
    }

    /// Everybody gets what the entries say, and clients see the entries.
    fn check(&self, file: FileId, is_dir: bool, ents: &[AclEnt], callers: &[Context]) {
        assert_eq!(self.acls(file, is_dir).0, acl(ents));
        assert_eq!(self.volume.getattr(file).unwrap().mode & 0o777, mode_of(ents));
        for cx in callers {
            let got = self.volume.access(cx, file, Access(EVERYTHING | Access::LOOKUP)).unwrap().0.0;
            let search = if is_dir { Access::LOOKUP } else { Access::EXECUTE };
            // Without search, nobody changes a directory.
            let write = may(ents, cx, 2) && (!is_dir || may(ents, cx, 1));
            let wanted =
                [(Access::READ, may(ents, cx, 4)), (Access::MODIFY, write), (search, may(ents, cx, 1))];
            for (right, wanted) in wanted {
                // Rights of several groups add up.
                let both = is_dir && right == Access::MODIFY && got & right != 0;
                assert!(both || (got & right != 0) == wanted, "{right:#x} of {cx:?} by {ents:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_list_grants_what_its_acl_does_and_gives_it_back(
        cases in prop::collection::vec((ents().prop_map(as_meant), any::<bool>(), 0..0o1000u32), 20),
        callers in prop::collection::vec(callers(), 20),
    ) {
        let mut store = Store::new();
        for (ents, is_dir, mode) in cases {
            let file = store.make(ROOT, is_dir, 0o700);
            store.set(file, posix::list(&acl(&ents), None, is_dir));
            store.check(file, is_dir, &ents, &callers);
            store.chmod(file, mode);
            store.check(file, is_dir, &after_chmod(&ents, mode), &callers);
        }
    }

    #[test]
    fn a_default_acl_is_inherited_as_posix_says(
        cases in prop::collection::vec((ents().prop_map(as_meant), ents().prop_map(as_meant), 0..0o1000u32), 20),
        callers in prop::collection::vec(callers(), 20),
    ) {
        let mut store = Store::new();
        for (access, default, mode) in cases {
            let dir = store.make(ROOT, true, 0o700);
            store.set(dir, posix::list(&acl(&access), Some(&acl(&default)), true));
            store.check(dir, true, &access, &callers);
            prop_assert_eq!(store.acls(dir, true).1, Some(acl(&default)));
            let made = after_chmod(&default, mode_of(&default) & mode);
            let file = store.make(dir, false, mode);
            store.check(file, false, &made, &callers);
            prop_assert_eq!(store.acls(file, false).1, None);
            let child = store.make(dir, true, mode);
            store.check(child, true, &made, &callers);
            prop_assert_eq!(store.acls(child, true).1, Some(acl(&default)));
            // A chmod says nothing about the default ACL.
            store.chmod(dir, mode);
            prop_assert_eq!(store.acls(dir, true).1, Some(acl(&default)));
        }
    }

    #[test]
    fn no_list_shows_more_than_it_grants(
        lists in prop::collection::vec((prop::collection::vec(aces(), 1..8), any::<bool>()), 20),
        callers in prop::collection::vec(callers(), 20),
    ) {
        let mut store = Store::new();
        for (aces, is_dir) in lists {
            let file = store.make(ROOT, is_dir, 0o700);
            store.set(file, Acl { aces, nt: None });
            let (acl, _) = store.acls(file, is_dir);
            let ents = acl.entries(OWNERS);
            prop_assert_eq!(PosixAcl::of_entries(&ents).unwrap(), Some(acl));
            for cx in &callers {
                let got = store.volume.access(cx, file, Access(EVERYTHING | Access::LOOKUP)).unwrap().0.0;
                let search = if is_dir { Access::LOOKUP } else { Access::EXECUTE };
                for (bit, right) in [(4, Access::READ), (2, Access::MODIFY), (1, search)] {
                    let shown = may(&ents, cx, bit) && (bit != 2 || !is_dir || may(&ents, cx, 1));
                    prop_assert!(!shown || got & right != 0, "{:#x} of {:?} by {:?}", right, cx, ents);
                }
            }
        }
    }
}

/// Entries of any kind for few users and groups.
fn aces() -> impl Strategy<Value = Ace> {
    let who = prop_oneof![
        3 => prop::sample::select(vec![AceWho::Owner, AceWho::Group, AceWho::Everyone]),
        1 => Just(AceWho::Mask),
        2 => (1..6u32).prop_map(AceWho::User),
        2 => (10..16u32).prop_map(AceWho::GroupId),
    ];
    let flags = prop_oneof![4 => Just(0), 1 => any::<u8>().prop_map(|flags| flags & AceFlags::ALL)];
    let mask = prop_oneof![
        3 => (0..8u32).prop_map(|bits| AceMask::of_permissions(bits, true)),
        1 => any::<u32>().prop_map(|mask| mask & AceMask::ALL),
    ];
    (any::<bool>(), who, flags, mask).prop_map(|(deny, who, flags, mask)| {
        let kind = if deny && who != AceWho::Mask { AceKind::Deny } else { AceKind::Allow };
        Ace { kind, who, flags, mask }
    })
}

#[test]
fn what_is_no_acl_is_refused() {
    let ent = |tag, id, perm| AclEnt { tag, id, perm };
    let base = [
        ent(AclTag::USER_OBJ, 0, 7),
        ent(AclTag::GROUP_OBJ, 0, 5),
        ent(AclTag::CLASS_OBJ, 0, 5),
        ent(AclTag::OTHER_OBJ, 0, 0),
    ];
    let with = |more: AclEnt| PosixAcl::of_entries(&[&base[..], &[more]].concat());
    assert_eq!(PosixAcl::of_entries(&[]), Ok(None));
    assert_eq!(PosixAcl::of_entries(&base), Ok(Some(PosixAcl::of_mode(0o750))));
    assert!(with(ent(AclTag::USER | AclTag::DEFAULT, 5, 7)).is_ok());
    for bad in [ent(0, 0, 0), ent(AclTag::USER, 5, 8), ent(AclTag::GROUP, u32::MAX, 4), base[0], base[2]] {
        assert!(with(bad).is_err(), "{bad:?}");
    }
    for left_out in [0, 1, 3] {
        let rest: Vec<_> =
            base.iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, ent)| *ent).collect();
        assert!(PosixAcl::of_entries(&rest).is_err());
    }
    let without_mask = [base[0], base[1], base[3], ent(AclTag::USER, 5, 7)];
    assert!(PosixAcl::of_entries(&without_mask).is_err(), "who is named needs a mask");
}

#[test]
fn what_a_list_of_another_kind_shows() {
    let ace = |kind, who, bits| Ace { kind, who, flags: 0, mask: AceMask::of_permissions(bits, false) };
    let (allow, deny) = (AceKind::Allow, AceKind::Deny);
    let list = Acl {
        aces: vec![
            ace(deny, AceWho::GroupId(70), 2),
            ace(allow, AceWho::User(5), 6),
            ace(allow, AceWho::Owner, 7),
            ace(allow, AceWho::Group, 4),
            ace(allow, AceWho::Everyone, 1),
        ],
        nt: None,
    };
    let (acl, default) = posix::of_list(&list, 1, false);
    let by_tag: BTreeMap<(u32, u32), u32> =
        acl.entries(OWNERS).iter().map(|ent| ((ent.tag, ent.id), ent.perm)).collect();
    let wanted = [
        // Both may be in group 70.
        ((AclTag::USER_OBJ, 1), 5),
        ((AclTag::USER, 5), 5),
        ((AclTag::GROUP_OBJ, 11), 5),
        ((AclTag::GROUP, 70), 1),
        ((AclTag::CLASS_OBJ, 0), 5),
        ((AclTag::OTHER_OBJ, 0), 1),
    ];
    assert_eq!((by_tag, default), (wanted.into(), None));
}
