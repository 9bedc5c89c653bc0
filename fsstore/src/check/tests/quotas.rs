//! Damage of quotas is named, and usage is made anew.

use super::*;
use crate::ids::{Fbn, QtreeId};
use crate::quota::pages::{Key, Usage, qtree_place, rule_place, set_qtree};
use crate::quota::{QuotaLimits, QuotaTarget};

const QTREE: QtreeId = QtreeId(1);
const DISK: QuotaLimits = QuotaLimits {
    disk_hard: Some(1 << 30),
    disk_soft: None,
    files_hard: None,
    files_soft: None,
    grace_secs: 0,
};

/// A closed volume with a qtree, in which user 5 has a file of 10 blocks with an attribute; and rules.
fn sample() -> (Arc<MemDisk>, Surgeon, FileId, FileId) {
    let disk = MemDisk::new(BYTES);
    let spec = VolumeSpec { uuid: Uuid::from_u128(77), size_bytes: BYTES };
    let volume = Volume::create(disk.clone(), &spec, now(), tuning()).unwrap();
    // Of what comes later, the snapshot shares no page.
    volume.snapshot_create("s", now()).unwrap();
    create(&volume, ROOT, "outside");
    let attrs = SetAttrs { mode: Some(0o777), ..SetAttrs::default() };
    let dir = make(&volume, Op::MakeQtree { name: name("q"), attrs });
    let attrs = SetAttrs { uid: Some(5), gid: Some(100_000), ..SetAttrs::default() };
    let file = make(&volume, Op::Create { dir, name: name("f"), how: CreateHow::Guarded(attrs) });
    write(&volume, file, 0, 1, 40_960);
    let (value, how) = (Bytes::from_static(b"x"), crate::op::XattrHow::Either);
    make(&volume, Op::SetXattr { file, name: name("user.a"), value, how });
    for target in [QuotaTarget::Tree(Some(QTREE)), QuotaTarget::User { qtree: QTREE, uid: Some(5) }] {
        make(&volume, Op::SetQuota { target, limits: Some(DISK) });
    }
    volume.close().unwrap();
    let surgeon = Surgeon::new(disk.clone());
    (disk, surgeon, dir, file)
}

fn report(disk: &Arc<MemDisk>) -> Vec<crate::quota::QuotaUse> {
    let volume = Volume::open(disk.clone(), tuning()).unwrap();
    let report = volume.quota_report().unwrap();
    volume.close().unwrap();
    report
}

fn charge(surgeon: &mut Surgeon, key: Key, change: impl Fn(&mut Usage)) {
    let (fbn, at) = key.place();
    surgeon.edit_quotas(fbn.0, |page| {
        let mut usage = Usage::decode_at(page, at);
        change(&mut usage);
        usage.encode_at(page, at);
    });
}

#[test]
fn wrong_usage_is_found_and_counted_anew() {
    let damages: [fn(&mut Surgeon); 5] = [
        |surgeon| charge(surgeon, Key::User(QTREE, 5), |usage| usage.blocks += 1),
        |surgeon| charge(surgeon, Key::Group(QTREE, 100_000), |usage| usage.files = 0),
        |surgeon| charge(surgeon, Key::Tree(QTREE), |usage| *usage = Usage::default()),
        |surgeon| charge(surgeon, Key::User(QtreeId::NONE, 6), |usage| usage.files = 9),
        |surgeon| {
            let (fbn, at) = qtree_place(QTREE);
            surgeon.edit_quotas(fbn.0, |page| set_qtree(page, at, InodeNum(0)));
        },
    ];
    for damage in damages {
        let (disk, mut surgeon, ..) = sample();
        let good = report(&disk);
        surgeon.info = FsInfo::read(&*disk).unwrap();
        damage(&mut surgeon);
        surgeon.done();
        let (_, found) = findings(&disk);
        assert!(!found.is_empty() && found.iter().all(|f| f.kind == FindingKind::Quota), "{found:#?}");
        assert!(found.iter().all(|f| f.image == Some(ImageName::Active)), "{found:#?}");
        let rebuilt = rebuild_maps(disk.clone(), &CheckOptions::default(), &mut |_| {}).unwrap();
        assert_eq!(rebuilt.images, [ImageName::Active]);
        assert_eq!(findings(&disk).1, []);
        assert_eq!(report(&disk), good);
        let volume = Volume::open(disk.clone(), tuning()).unwrap();
        assert_eq!((volume.qtrees().unwrap().len(), volume.quota_rules().len()), (1, 2));
    }
}

#[test]
fn rules_that_make_no_sense_are_found_and_dropped() {
    let (disk, mut surgeon, ..) = sample();
    let (fbn, at) = rule_place(1);
    surgeon.edit_quotas(fbn.0, |page| page[at] = 9);
    surgeon.done();
    assert!(matches!(Volume::open(disk.clone(), tuning()), Err(FsError::Format(_))));
    let (_, found) = findings(&disk);
    assert_eq!(found.iter().map(|f| f.kind).collect::<Vec<_>>(), [FindingKind::Quota], "{found:#?}");
    rebuild_maps(disk.clone(), &CheckOptions::default(), &mut |_| {}).unwrap();
    assert_eq!(findings(&disk).1, []);
    assert_eq!(Volume::open(disk, tuning()).unwrap().quota_rules().len(), 1);
}

/// A page of it can't be read: usage comes back whole, rules of other pages stay.
#[test]
fn quotas_that_cant_be_read_are_made_anew() {
    let (disk, ..) = sample();
    let good = report(&disk);
    let surgeon = Surgeon::new(disk.clone());
    let (fbn, _) = Key::User(QTREE, 5).place();
    let tree = crate::tree::Tree::from_root(surgeon.info.image.quota).unwrap();
    let mut at = None;
    let mut visit = |_, found| {
        if let crate::tree::Found::Disk(ptr) = found {
            at = Some(ptr.vbn);
        }
        Ok(())
    };
    tree.for_range(&surgeon.io(), Fbn(fbn.0), 1, &mut visit).unwrap();
    disk.flip(at.unwrap(), 77);
    let (_, found) = findings(&disk);
    assert!(found.iter().any(|f| f.text.contains("quotas and their usage")), "{found:#?}");
    rebuild_maps(disk.clone(), &CheckOptions::default(), &mut |_| {}).unwrap();
    assert_eq!(findings(&disk).1, []);
    assert_eq!(report(&disk), good);
}

#[test]
fn inodes_in_the_wrong_qtree_are_found() {
    let (disk, mut surgeon, dir, file) = sample();
    surgeon.edit_inode(file.ino, |inode, _| inode.qtree = QtreeId::NONE);
    surgeon.done();
    let (_, found) = findings(&disk);
    let of_kind = |kind| found.iter().filter(move |f| f.kind == kind).map(|f| f.inode).collect::<Vec<_>>();
    assert!(of_kind(FindingKind::Qtree).contains(&Some(file.ino)), "{found:#?}");
    let attrs = surgeon.inode(file.ino).attrs;
    let (disk, mut surgeon, ..) = sample();
    surgeon.edit_inode(attrs, |inode, _| inode.uid = 6);
    surgeon.done();
    let (_, found) = findings(&disk);
    assert!(found.iter().any(|f| f.kind == FindingKind::Qtree && f.inode == Some(attrs)), "{found:#?}");
    assert_ne!(dir, file);
}
