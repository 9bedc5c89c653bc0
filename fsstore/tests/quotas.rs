//! Qtrees and quotas: what is charged to whom, what is refused when, and that usage is what a count from scratch gives.

#![allow(clippy::unwrap_used, reason = "a test may; clippy knows that only of functions marked as tests")]

use bytes::Bytes;
use fsstore::{
    Ace, AceKind, AceMask, AceWho, Acl, CheckEvent, CheckOptions, Context, CreateHow, FileDisk, FileId,
    FsError, Op, QtreeId, QuotaLimits, QuotaTarget, QuotaUse, ROOT, SetAttrs, Time, Tuning, Volume,
    VolumeSpec, XattrHow,
};
use std::path::Path;
use std::sync::Arc;

const BLOCK: u64 = 4096;
const OUTSIDE: QtreeId = QtreeId::NONE;

fn at(uid: u32, secs: i64) -> Context {
    Context { uid, gid: uid * 10, groups: vec![500], now: Time { secs, nanos: 0 } }
}

fn admin() -> Context {
    at(0, 1000)
}

fn tuning() -> Tuning {
    Tuning { threads: false, ..Tuning::default() }
}

fn volume(dir: &Path) -> Arc<Volume> {
    let disk = FileDisk::create(&dir.join("volume"), 64 << 20).unwrap();
    let spec = VolumeSpec { uuid: uuid::Uuid::from_u128(7), size_bytes: 64 << 20 };
    let volume = Volume::create(Arc::new(disk), &spec, admin().now, tuning()).unwrap();
    let open = SetAttrs { mode: Some(0o777), ..SetAttrs::default() };
    volume.execute(&admin(), Op::SetAttr { file: ROOT, attrs: open, guard: None }).unwrap();
    volume
}

fn open(dir: &Path) -> Arc<Volume> {
    Volume::open(Arc::new(FileDisk::open(&dir.join("volume")).unwrap()), tuning()).unwrap()
}

/// After a crash: what was flushed to the log comes back by replay.
fn reopen(volume: Arc<Volume>, dir: &Path) -> Arc<Volume> {
    volume.flush_log().unwrap();
    drop(volume);
    open(dir)
}

fn check(volume: Arc<Volume>, dir: &Path) {
    volume.close().unwrap();
    drop(volume);
    let disk = Arc::new(FileDisk::open(&dir.join("volume")).unwrap());
    let mut found = Vec::new();
    let mut note = |event| {
        if let CheckEvent::Finding(finding) = event {
            found.push(finding);
        }
    };
    fsstore::check(disk, &CheckOptions::default(), &mut note).unwrap();
    assert_eq!(found, []);
}

fn run(volume: &Volume, cx: &Context, op: Op) -> Result<FileId, FsError> {
    volume.execute(cx, op).map(|done| done.object.after.id)
}

fn create(volume: &Volume, cx: &Context, dir: FileId, name: &'static str) -> Result<FileId, FsError> {
    let how = CreateHow::Guarded(SetAttrs { mode: Some(0o666), ..SetAttrs::default() });
    run(volume, cx, Op::Create { dir, name: name.into(), how })
}

fn attrs(mode: u32) -> SetAttrs {
    SetAttrs { mode: Some(mode), ..SetAttrs::default() }
}

fn mkdir(volume: &Volume, cx: &Context, dir: FileId, name: &'static str) -> FileId {
    run(volume, cx, Op::Mkdir { dir, name: name.into(), attrs: attrs(0o777) }).unwrap()
}

fn make_qtree(volume: &Volume, name: &'static str) -> (QtreeId, FileId) {
    let dir = run(volume, &admin(), Op::MakeQtree { name: name.into(), attrs: attrs(0o777) }).unwrap();
    (volume.qtree_of(dir).unwrap(), dir)
}

fn write(volume: &Volume, cx: &Context, file: FileId, block: u64, blocks: usize) -> Result<(), FsError> {
    let data = Bytes::from(vec![7; blocks * 4096]);
    run(volume, cx, Op::Write { file, offset: block * BLOCK, data }).map(drop)
}

fn limit(volume: &Volume, target: QuotaTarget, limits: QuotaLimits) {
    run(volume, &admin(), Op::SetQuota { target, limits: Some(limits) }).unwrap();
}

fn disk(blocks: u64) -> QuotaLimits {
    QuotaLimits { disk_hard: Some(blocks * BLOCK), ..QuotaLimits::default() }
}

fn files(files: u64) -> QuotaLimits {
    QuotaLimits { files_hard: Some(files), ..QuotaLimits::default() }
}

fn user(qtree: QtreeId, uid: u32) -> QuotaTarget {
    QuotaTarget::User { qtree, uid: Some(uid) }
}

fn group(qtree: QtreeId, gid: u32) -> QuotaTarget {
    QuotaTarget::Group { qtree, gid: Some(gid) }
}

fn of(volume: &Volume, target: QuotaTarget) -> Option<QuotaUse> {
    volume.quota_report().unwrap().into_iter().find(|found| found.target == target)
}

/// Blocks and files.
fn used(volume: &Volume, target: QuotaTarget) -> (u64, u64) {
    of(volume, target).map_or((0, 0), |found| (found.used_bytes / BLOCK, found.files))
}

#[test]
fn every_kind_of_change_is_charged_to_owner_group_and_qtree() {
    let dir = tempfile::tempdir().unwrap();
    let mut volume = volume(dir.path());
    let (qtree, top) = make_qtree(&volume, "projects");
    let cx = at(1, 1000);
    let all = |volume: &Volume| {
        let targets = [user(qtree, 1), group(qtree, 10), QuotaTarget::Tree(Some(qtree))];
        let found = targets.map(|target| used(volume, target));
        assert_eq!(found[0], found[1]);
        // The qtree's directory is root's.
        assert_eq!((found[0].0, found[0].1 + 1), found[2]);
        found[0]
    };
    let file = create(&volume, &cx, top, "file").unwrap();
    assert_eq!(all(&volume), (0, 1));
    write(&volume, &cx, file, 3, 5).unwrap();
    write(&volume, &cx, file, 4, 100).unwrap();
    assert_eq!(all(&volume), (101, 1));
    run(&volume, &cx, Op::Deallocate { file, offset: 0, len: 5 * BLOCK }).unwrap();
    assert_eq!(all(&volume), (99, 1));
    let shorter = SetAttrs { size: Some(50 * BLOCK), ..SetAttrs::default() };
    run(&volume, &cx, Op::SetAttr { file, attrs: shorter, guard: None }).unwrap();
    assert_eq!(all(&volume), (45, 1));
    run(
        &volume,
        &cx,
        Op::Symlink { dir: top, name: "link".into(), target: "x".into(), attrs: SetAttrs::default() },
    )
    .unwrap();
    assert_eq!(all(&volume), (46, 2));
    let copy = create(&volume, &cx, top, "copy").unwrap();
    run(&volume, &cx, Op::CloneRange { from: file, from_offset: 0, to: copy, to_offset: 0, len: 0 }).unwrap();
    assert_eq!(all(&volume), (91, 3));
    let (name, value) = (Bytes::from("user.a"), Bytes::from(vec![1; 9000]));
    run(&volume, &cx, Op::SetXattr { file, name: name.clone(), value, how: XattrHow::Either }).unwrap();
    assert_eq!(all(&volume), (94, 5));
    let stream = run(&volume, &cx, Op::MakeStream { file, name: "s".into(), guarded: true }).unwrap();
    write(&volume, &cx, stream, 0, 2).unwrap();
    assert_eq!(all(&volume), (96, 6));
    let ace = Ace { kind: AceKind::Allow, who: AceWho::Everyone, flags: 0, mask: AceMask::ALL };
    run(&volume, &cx, Op::SetAcl { file, acl: Some(Acl { aces: vec![ace], nt: None }) }).unwrap();
    assert_eq!(all(&volume), (97, 7));
    volume = reopen(volume, dir.path());
    assert_eq!(all(&volume), (97, 7));

    // A new owner gets all of it, with what is hidden.
    let chown = SetAttrs { uid: Some(2), gid: Some(20), ..SetAttrs::default() };
    run(&volume, &admin(), Op::SetAttr { file, attrs: chown, guard: None }).unwrap();
    assert_eq!((used(&volume, user(qtree, 2)), used(&volume, group(qtree, 20))), ((51, 5), (51, 5)));
    assert_eq!(used(&volume, user(qtree, 1)), (46, 2));
    assert_eq!(used(&volume, QuotaTarget::Tree(Some(qtree))), (97, 8));
    run(&volume, &admin(), Op::RemoveXattr { file, name }).unwrap();
    run(&volume, &admin(), Op::RemoveStream { file, name: "s".into() }).unwrap();
    assert_eq!(used(&volume, user(qtree, 2)), (46, 2));
    run(&volume, &cx, Op::Remove { dir: top, name: "file".into() }).unwrap();
    assert_eq!(used(&volume, user(qtree, 2)), (0, 0));
    volume = reopen(volume, dir.path());
    assert_eq!(used(&volume, QuotaTarget::Tree(Some(qtree))), (46, 3));
    check(volume, dir.path());
}

#[test]
fn a_hard_limit_is_exact_for_users_groups_and_qtrees() {
    let dir = tempfile::tempdir().unwrap();
    let volume = volume(dir.path());
    let (qtree, top) = make_qtree(&volume, "q");
    let targets = [
        (user(OUTSIDE, 1), ROOT),
        (group(OUTSIDE, 10), ROOT),
        (user(qtree, 1), top),
        (group(qtree, 10), top),
        (QuotaTarget::Tree(Some(qtree)), top),
        (QuotaTarget::Tree(None), top),
        (QuotaTarget::User { qtree, uid: None }, top),
        (QuotaTarget::Group { qtree: OUTSIDE, gid: None }, ROOT),
    ];
    let cx = at(1, 1000);
    for (target, place) in targets {
        limit(&volume, target, disk(100));
        let file = create(&volume, &cx, place, "file").unwrap();
        // A large one goes to its blocks before it is refused.
        for (from, blocks) in [(0, 101), (0, 1000)] {
            assert_eq!(write(&volume, &cx, file, from, blocks), Err(FsError::Quota), "{target:?}");
        }
        write(&volume, &cx, file, 0, 60).unwrap();
        // What is there already can be written again.
        write(&volume, &cx, file, 0, 60).unwrap();
        assert_eq!(write(&volume, &cx, file, 30, 71), Err(FsError::Quota), "{target:?}");
        write(&volume, &cx, file, 30, 70).unwrap();
        assert_eq!(write(&volume, &cx, file, 500, 1), Err(FsError::Quota), "{target:?}");
        let allocate = |blocks: u64| Op::Allocate { file, offset: 0, len: blocks * BLOCK };
        assert_eq!(run(&volume, &cx, allocate(101)), Err(FsError::Quota));
        run(&volume, &cx, allocate(100)).unwrap();
        let other = create(&volume, &cx, place, "other").unwrap();
        let clone = |len: u64| Op::CloneRange {
            from: file,
            from_offset: 0,
            to: other,
            to_offset: 0,
            len: len * BLOCK,
        };
        assert_eq!(run(&volume, &cx, clone(1)), Err(FsError::Quota));
        run(&volume, &cx, Op::Deallocate { file, offset: 0, len: 10 * BLOCK }).unwrap();
        assert_eq!(run(&volume, &cx, clone(30)), Err(FsError::Quota));
        run(&volume, &cx, clone(15)).unwrap();
        write(&volume, &cx, file, 0, 5).unwrap();
        assert_eq!(write(&volume, &cx, file, 0, 6), Err(FsError::Quota));
        // The limit may fall below what is used; then things can only get less.
        limit(&volume, target, disk(10));
        assert_eq!(write(&volume, &cx, file, 500, 1), Err(FsError::Quota));
        write(&volume, &cx, file, 0, 5).unwrap();
        for name in ["file", "other"] {
            run(&volume, &cx, Op::Remove { dir: place, name: name.into() }).unwrap();
        }
        run(&volume, &admin(), Op::SetQuota { target, limits: None }).unwrap();
    }
    assert_eq!(volume.quota_rules(), []);
    check(volume, dir.path());
}

#[test]
fn a_limit_of_files_counts_all_that_makes_inodes() {
    let dir = tempfile::tempdir().unwrap();
    let volume = volume(dir.path());
    let cx = at(1, 1000);
    let file = create(&volume, &cx, ROOT, "a").unwrap();
    limit(&volume, user(OUTSIDE, 1), files(1));
    let none = SetAttrs::default();
    let everyone = Ace { kind: AceKind::Allow, who: AceWho::Everyone, flags: 0, mask: AceMask::READ_DATA };
    let more = [
        Op::Create { dir: ROOT, name: "b".into(), how: CreateHow::Unchecked(none) },
        Op::Mkdir { dir: ROOT, name: "b".into(), attrs: none },
        Op::Symlink { dir: ROOT, name: "b".into(), target: "t".into(), attrs: none },
        Op::SetXattr { file, name: "user.a".into(), value: Bytes::new(), how: XattrHow::Either },
        Op::MakeStream { file, name: "s".into(), guarded: false },
        Op::SetAcl { file, acl: Some(Acl { aces: vec![everyone], nt: None }) },
    ];
    for op in &more {
        assert_eq!(run(&volume, &cx, op.clone()), Err(FsError::Quota), "{op:?}");
    }
    // A name is none, and root makes what it likes.
    run(&volume, &cx, Op::Link { file, dir: ROOT, name: "again".into() }).unwrap();
    limit(&volume, user(OUTSIDE, 1), files(2));
    // The first attribute takes two: a directory for attributes, and the value.
    assert_eq!(run(&volume, &cx, more[3].clone()), Err(FsError::Quota));
    assert_eq!(run(&volume, &cx, more[4].clone()), Err(FsError::Quota));
    run(&volume, &cx, more[5].clone()).unwrap();
    run(&volume, &admin(), more[3].clone()).unwrap();
    assert_eq!(used(&volume, user(OUTSIDE, 1)), (1, 4));
    check(volume, dir.path());
}

#[test]
fn root_is_bound_by_qtrees_alone() {
    let dir = tempfile::tempdir().unwrap();
    let volume = volume(dir.path());
    let (qtree, top) = make_qtree(&volume, "q");
    for target in [
        QuotaTarget::User { qtree, uid: None },
        QuotaTarget::Group { qtree, gid: None },
        user(qtree, 0),
        user(qtree, 1),
    ] {
        limit(&volume, target, disk(1));
    }
    let file = create(&volume, &admin(), top, "roots").unwrap();
    write(&volume, &admin(), file, 0, 10).unwrap();
    let theirs = create(&volume, &at(1, 1000), top, "theirs").unwrap();
    assert_eq!(write(&volume, &at(1, 1000), theirs, 0, 2), Err(FsError::Quota));
    write(&volume, &admin(), theirs, 0, 10).unwrap();
    assert_eq!(used(&volume, user(qtree, 1)), (10, 1));
    limit(&volume, QuotaTarget::Tree(Some(qtree)), disk(25));
    write(&volume, &admin(), file, 10, 5).unwrap();
    assert_eq!(write(&volume, &admin(), file, 15, 1), Err(FsError::Quota));
}

/// Who is over a soft limit has the grace period to get below it; then it is a hard one.
#[test]
fn a_soft_limit_is_hard_after_its_grace_period() {
    let dir = tempfile::tempdir().unwrap();
    let mut volume = volume(dir.path());
    let target = user(OUTSIDE, 1);
    let soft = QuotaLimits {
        disk_soft: Some(10 * BLOCK),
        disk_hard: Some(30 * BLOCK),
        files_soft: Some(1),
        grace_secs: 100,
        ..QuotaLimits::default()
    };
    limit(&volume, target, soft);
    let file = create(&volume, &at(1, 2000), ROOT, "a").unwrap();
    write(&volume, &at(1, 2000), file, 0, 10).unwrap();
    assert_eq!(of(&volume, target).unwrap().disk_over_since, None);
    write(&volume, &at(1, 3000), file, 10, 5).unwrap();
    assert_eq!(of(&volume, target).unwrap().disk_over_since, Some(3000));
    volume = reopen(volume, dir.path());
    write(&volume, &at(1, 3100), file, 15, 5).unwrap();
    assert_eq!(write(&volume, &at(1, 3101), file, 20, 1), Err(FsError::Quota));
    volume = reopen(volume, dir.path());
    assert_eq!(write(&volume, &at(1, 3101), file, 20, 1), Err(FsError::Quota));
    // Files are apart from that.
    create(&volume, &at(1, 3200), ROOT, "b").unwrap();
    assert_eq!(of(&volume, target).unwrap().files_over_since, Some(3200));
    assert_eq!(create(&volume, &at(1, 3301), ROOT, "c"), Err(FsError::Quota));
    // Below the limit for a moment, and time begins anew.
    run(&volume, &at(1, 4000), Op::Deallocate { file, offset: 0, len: 10 * BLOCK }).unwrap();
    assert_eq!(of(&volume, target).unwrap().disk_over_since, None);
    write(&volume, &at(1, 5000), file, 20, 10).unwrap();
    assert_eq!(of(&volume, target).unwrap().disk_over_since, Some(5000));
    assert_eq!(write(&volume, &at(1, 5101), file, 30, 1), Err(FsError::Quota));
    // So it does when the rule is set anew: from the next change on.
    run(&volume, &at(0, 6000), Op::SetQuota { target, limits: Some(soft) }).unwrap();
    write(&volume, &at(1, 7000), file, 30, 1).unwrap();
    write(&volume, &at(1, 7100), file, 31, 1).unwrap();
    assert_eq!(write(&volume, &at(1, 7101), file, 32, 1), Err(FsError::Quota));
    check(volume, dir.path());
}

#[test]
fn names_stay_in_their_qtree() {
    let dir = tempfile::tempdir().unwrap();
    let volume = volume(dir.path());
    let (a, b) = (make_qtree(&volume, "a"), make_qtree(&volume, "b"));
    let plain = mkdir(&volume, &admin(), ROOT, "plain");
    let sub = mkdir(&volume, &admin(), a.1, "sub");
    let file = create(&volume, &admin(), sub, "f").unwrap();
    assert_eq!(volume.qtree_of(file).unwrap(), a.0);
    let rename = |from_dir, from: &'static str, to_dir, to: &'static str| {
        run(&volume, &admin(), Op::Rename { from_dir, from: from.into(), to_dir, to: to.into() })
    };
    let link = |dir| run(&volume, &admin(), Op::Link { file, dir, name: "l".into() });
    for elsewhere in [ROOT, plain, b.1] {
        assert_eq!(rename(sub, "f", elsewhere, "f"), Err(FsError::CrossDevice));
        assert_eq!(rename(a.1, "sub", elsewhere, "sub"), Err(FsError::CrossDevice));
        assert_eq!(link(elsewhere), Err(FsError::CrossDevice));
    }
    assert_eq!(rename(ROOT, "plain", a.1, "plain"), Err(FsError::CrossDevice));
    rename(sub, "f", a.1, "g").unwrap();
    link(sub).unwrap();
    // A qtree is renamed in the root, and stays there.
    assert_eq!(rename(ROOT, "b", plain, "b"), Err(FsError::CrossDevice));
    assert_eq!(rename(ROOT, "b", a.1, "b"), Err(FsError::CrossDevice));
    rename(ROOT, "b", ROOT, "c").unwrap();
    let names: Vec<_> = volume.qtrees().unwrap().into_iter().map(|qtree| (qtree.id, qtree.name)).collect();
    assert_eq!(names, [(a.0, Bytes::from("a")), (b.0, Bytes::from("c"))]);
    assert_eq!(
        run(&volume, &at(1, 1), Op::MakeQtree { name: "x".into(), attrs: attrs(0) }),
        Err(FsError::Perm)
    );
    let op = |name: &'static str| Op::MakeQtree { name: name.into(), attrs: attrs(0) };
    assert_eq!(run(&volume, &admin(), op("a")), Err(FsError::Exists));
    check(volume, dir.path());
}

/// A qtree goes as its directory goes, with its rules; its number may come again, and nothing of the old comes with it.
#[test]
fn a_qtree_goes_with_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let mut volume = volume(dir.path());
    let (first, top) = make_qtree(&volume, "a");
    let (second, _) = make_qtree(&volume, "b");
    for target in
        [QuotaTarget::Tree(Some(first)), user(first, 1), QuotaTarget::Group { qtree: first, gid: None }]
    {
        limit(&volume, target, disk(1));
    }
    limit(&volume, QuotaTarget::Tree(Some(second)), disk(1));
    limit(&volume, QuotaTarget::Tree(None), files(100));
    create(&volume, &at(1, 1000), top, "f").unwrap();
    let rmdir = |volume: &Volume| run(volume, &admin(), Op::Rmdir { dir: ROOT, name: "a".into() });
    assert_eq!(rmdir(&volume), Err(FsError::NotEmpty));
    run(&volume, &admin(), Op::Remove { dir: top, name: "f".into() }).unwrap();
    rmdir(&volume).unwrap();
    volume = reopen(volume, dir.path());
    let left: Vec<_> = volume.quota_rules().into_iter().map(|rule| rule.target).collect();
    assert_eq!(left, [QuotaTarget::Tree(None), QuotaTarget::Tree(Some(second))]);
    assert_eq!(volume.qtrees().unwrap().len(), 1);
    assert_eq!(used(&volume, QuotaTarget::Tree(Some(first))), (0, 0));
    let (again, top) = make_qtree(&volume, "new");
    assert_eq!(again, first);
    let file = create(&volume, &at(1, 1000), top, "f").unwrap();
    write(&volume, &at(1, 1000), file, 0, 5).unwrap();
    // A directory that takes the place of an empty qtree ends it, too.
    mkdir(&volume, &admin(), ROOT, "plain");
    run(&volume, &admin(), Op::Rename { from_dir: ROOT, from: "plain".into(), to_dir: ROOT, to: "b".into() })
        .unwrap();
    assert_eq!(volume.qtrees().unwrap().into_iter().map(|qtree| qtree.id).collect::<Vec<_>>(), [first]);
    check(volume, dir.path());
}

#[test]
fn rules_that_cant_be_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let volume = volume(dir.path());
    let set = |target, limits| run(&volume, &admin(), Op::SetQuota { target, limits: Some(limits) });
    let refused = |outcome| matches!(outcome, Err(FsError::QuotaConfig(_)));
    assert!(refused(set(QuotaTarget::Tree(Some(OUTSIDE)), disk(1))));
    assert!(refused(set(QuotaTarget::Tree(Some(QtreeId(3))), disk(1))));
    assert!(refused(set(user(QtreeId(3), 1), disk(1))));
    let soft = QuotaLimits { disk_soft: Some(2), disk_hard: Some(1), ..QuotaLimits::default() };
    assert!(refused(set(user(OUTSIDE, 1), soft)));
    assert!(refused(run(&volume, &admin(), Op::SetQuota { target: user(OUTSIDE, 1), limits: None })));
    let op = Op::SetQuota { target: user(OUTSIDE, 1), limits: Some(disk(1)) };
    assert_eq!(run(&volume, &at(1, 1), op), Err(FsError::Perm));
    for uid in 0..u32::try_from(fsstore::QUOTA_RULES_MAX).unwrap() {
        set(user(OUTSIDE, uid), disk(1)).unwrap();
    }
    assert!(refused(set(user(OUTSIDE, 1 << 20), disk(1))));
    set(user(OUTSIDE, 77), disk(2)).unwrap();
    run(&volume, &admin(), Op::SetQuota { target: user(OUTSIDE, 78), limits: None }).unwrap();
    set(user(OUTSIDE, 1 << 20), disk(1)).unwrap();
    let volume = reopen(volume, dir.path());
    assert_eq!(volume.quota_rules().len(), fsstore::QUOTA_RULES_MAX);
    check(volume, dir.path());
}

/// The directory's owner pays for its pages, and for no more than it gets.
#[test]
fn pages_of_directories_are_charged_and_limited() {
    let dir = tempfile::tempdir().unwrap();
    let mut volume = volume(dir.path());
    let cx = at(1, 1000);
    let wide = mkdir(&volume, &cx, ROOT, "wide");
    limit(&volume, user(OUTSIDE, 1), disk(6));
    let name = |n: u32| Bytes::from(format!("{n:0>200}"));
    let make = |volume: &Volume, n: u32| {
        run(
            volume,
            &at(2, 1000),
            Op::Create { dir: wide, name: name(n), how: CreateHow::Unchecked(attrs(0)) },
        )
    };
    let mut made = 0;
    // Another user, who has no limit, makes entries; the pages are the owner's.
    while made < 1000 {
        match run(
            &volume,
            &cx,
            Op::Create { dir: wide, name: name(made), how: CreateHow::Unchecked(attrs(0)) },
        ) {
            Ok(_) => made += 1,
            Err(error) => {
                assert_eq!(error, FsError::Quota);
                break;
            }
        }
    }
    let (blocks, inodes) = used(&volume, user(OUTSIDE, 1));
    assert!((4..=6).contains(&blocks), "{blocks} blocks after {made} names");
    assert_eq!(inodes, u64::from(made) + 1);
    assert_eq!(make(&volume, made), Err(FsError::Quota));
    volume = reopen(volume, dir.path());
    for n in 0..made {
        run(&volume, &cx, Op::Remove { dir: wide, name: name(n) }).unwrap();
    }
    make(&volume, 0).unwrap();
    check(volume, dir.path());
}

/// Snapshots have their usage and rules; a volume that goes back has those of the snapshot.
#[test]
fn a_restored_volume_has_the_snapshots_usage_and_rules() {
    let dir = tempfile::tempdir().unwrap();
    let mut volume = volume(dir.path());
    let cx = at(1, 1000);
    let (qtree, top) = make_qtree(&volume, "q");
    let file = create(&volume, &cx, top, "f").unwrap();
    write(&volume, &cx, file, 0, 10).unwrap();
    limit(&volume, user(qtree, 1), disk(20));
    let (rules, report) = (volume.quota_rules(), volume.quota_report().unwrap());
    let snapshot = volume.snapshot_create("s", admin().now).unwrap();
    make_qtree(&volume, "later");
    limit(&volume, user(qtree, 1), disk(100));
    write(&volume, &cx, file, 0, 100).unwrap();
    volume.snapshot_restore(snapshot.id).unwrap();
    assert_eq!((volume.quota_rules(), volume.quota_report().unwrap()), (rules.clone(), report.clone()));
    assert_eq!(volume.qtrees().unwrap().len(), 1);
    assert_eq!(write(&volume, &cx, file, 0, 21), Err(FsError::Quota));
    write(&volume, &cx, file, 0, 10).unwrap();
    volume = reopen(volume, dir.path());
    assert_eq!((volume.quota_rules(), volume.quota_report().unwrap()), (rules, report));
    check(volume, dir.path());
}

/// Space as it is seen in a qtree is what its quota leaves.
#[test]
fn a_qtree_shows_its_quota_as_its_size() {
    let dir = tempfile::tempdir().unwrap();
    let volume = volume(dir.path());
    let (qtree, top) = make_qtree(&volume, "q");
    let all = volume.statfs();
    assert_eq!(volume.statfs_of(top).unwrap(), all);
    let limits = QuotaLimits { disk_hard: Some(100 * BLOCK), files_hard: Some(7), ..QuotaLimits::default() };
    limit(&volume, QuotaTarget::Tree(Some(qtree)), limits);
    let file = create(&volume, &at(1, 1000), top, "f").unwrap();
    write(&volume, &at(1, 1000), file, 0, 30).unwrap();
    let space = volume.statfs_of(file).unwrap();
    assert_eq!((space.total_bytes, space.available_bytes), (100 * BLOCK, 70 * BLOCK));
    assert_eq!((space.files, space.free_files), (2, 5));
    assert_eq!(volume.statfs_of(ROOT).unwrap().total_bytes, all.total_bytes);
}
