//! One test for each kind of finding.

use super::*;
use crate::directory::HEAD;
use crate::ids::{BLOCK_SIZE_U64, InodeNum};
use crate::layout::BlockPtr;
use crate::op::FileKind;

/// Plants something, and gives what is found.
fn plant(damage: impl FnOnce(&Sample, &mut Surgeon)) -> Vec<Finding> {
    let (sample, mut surgeon) = Sample::closed();
    damage(&sample, &mut surgeon);
    surgeon.done();
    let (summary, found) = findings(&sample.disk);
    assert_eq!(summary.findings.values().sum::<u64>(), found.len() as u64);
    found
}

/// That exactly this kind is found, with these words and at this inode; remarks do not count.
#[track_caller]
fn only(found: &[Finding], kind: FindingKind, inode: Option<InodeNum>, words: &str) {
    let damage: Vec<&Finding> = found.iter().filter(|finding| finding.kind.is_damage()).collect();
    assert!(!damage.is_empty(), "nothing found, wanted {kind:?} {words}");
    for finding in &damage {
        assert_eq!(finding.kind, kind, "{finding}");
    }
    let named = damage.iter().any(|finding| finding.inode == inode && finding.text.contains(words));
    assert!(named, "{words:?} is not among {damage:#?}");
}

/// That this is among what is found.
#[track_caller]
fn among(found: &[Finding], kind: FindingKind, inode: Option<InodeNum>, words: &str) {
    let is =
        |finding: &&Finding| finding.kind == kind && finding.inode == inode && finding.text.contains(words);
    assert!(found.iter().any(|finding| is(&finding)), "{kind:?} {words:?} is not among {found:#?}");
}

#[test]
fn checksum_of_data() {
    let found = plant(|sample, surgeon| sample.disk.flip(surgeon.block_of(sample.big.ino, 0).vbn, 77));
    let (sample, surgeon) = Sample::closed();
    let vbn = surgeon.block_of(sample.big.ino, 0).vbn;
    only(&found, FindingKind::Checksum, Some(sample.big.ino), "the file's content");
    // The snapshots share the block, and it is told once.
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!((found[0].block, found[0].image.clone()), (Some(vbn), Some(ImageName::Active)));
    let words = found[0].to_string();
    assert!(words.starts_with(&format!("active image, inode {}, block {vbn}: ", sample.big.ino)), "{words}");
}

#[test]
fn checksum_of_what_only_a_snapshot_has() {
    let (sample, surgeon) = Sample::closed();
    let snaps = crate::fsinfo::read_table(surgeon.info.table, surgeon.info.table_len, &surgeon.io()).unwrap();
    let old = crate::tree::Tree::from_root(snaps[0].image.inofile).unwrap();
    let inode = crate::inode::Inode::load(&old, &surgeon.io(), sample.big.ino).unwrap().unwrap();
    let mut at = None;
    let mut visit = |_, found| {
        if let crate::tree::Found::Disk(ptr) = found {
            at = Some(ptr.vbn);
        }
        Ok(())
    };
    inode.tree.for_range(&surgeon.io(), crate::ids::Fbn(1), 1, &mut visit).unwrap();
    sample.disk.flip(at.unwrap(), 5);
    let (_, found) = findings(&sample.disk);
    only(&found, FindingKind::Checksum, Some(sample.big.ino), "the file's content");
    assert_eq!(found[0].image, Some(ImageName::Snapshot("before".to_owned())));
}

#[test]
fn checksum_of_an_index_block() {
    let found = plant(|sample, surgeon| {
        let root = image::root_of(&surgeon.inode(sample.big.ino).tree);
        sample.disk.flip(root.ptr.vbn, 9);
    });
    let (sample, _) = Sample::closed();
    only(&found, FindingKind::Checksum, Some(sample.big.ino), "can't be read");
    among(&found, FindingKind::NotJudged, None, "were not judged");
}

#[test]
fn a_pointer_out_of_the_volume() {
    let found = plant(|sample, surgeon| {
        let far = BlockPtr { vbn: Vbn(1 << 40), sum: 1 };
        surgeon.edit_file(sample.big.ino, 3, 1, |page| far.encode_at(page, 3));
    });
    let (sample, _) = Sample::closed();
    among(&found, FindingKind::BadPointer, Some(sample.big.ino), "outside of the volume");
}

#[test]
fn a_tree_that_is_too_tall() {
    let found = plant(|sample, surgeon| surgeon.edit_inode(sample.big.ino, |_, root| root.height = 9));
    let (sample, _) = Sample::closed();
    among(&found, FindingKind::Inode, Some(sample.big.ino), "makes no sense");
}

#[test]
fn an_unmarked_block() {
    let found = plant(|sample, surgeon| surgeon.flip_map(surgeon.block_of(sample.big.ino, 0).vbn));
    only(&found, FindingKind::NotMarked, None, "could overwrite it");
}

#[test]
fn a_leaked_block() {
    let found = plant(|_, surgeon| surgeon.flip_map(surgeon.free_block()));
    only(&found, FindingKind::Leaked, None, "nothing leads there");
}

#[test]
fn map_damage_of_a_snapshot() {
    let found = plant(|_, surgeon| surgeon.flip_snapshot_map(surgeon.free_block()));
    only(&found, FindingKind::Leaked, None, "nothing leads there");
    assert_eq!(found[0].image, Some(ImageName::Snapshot("after".to_owned())));
}

#[test]
fn a_block_used_twice() {
    let found = plant(|sample, surgeon| {
        let other = surgeon.block_of(sample.linked.ino, 0);
        surgeon.edit_file(sample.big.ino, 3, 1, |page| other.encode_at(page, 3));
    });
    among(&found, FindingKind::MultiplyUsed, None, "2 pointers");
}

#[test]
fn users_of_a_shared_block() {
    // Three files use it. Counted as two, then as four.
    let count = |extra: u8| {
        plant(|sample, surgeon| {
            let vbn = surgeon.block_of(sample.copy.ino, 0).vbn;
            surgeon.set_extra_users(vbn, extra);
        })
    };
    only(&count(1), FindingKind::MultiplyUsed, None, "3 pointers lead to this block where 2 may");
    only(&count(3), FindingKind::Users, None, "has 4 users, and there are 3");
    assert_eq!(count(2), []);
}

#[test]
fn wrong_counters() {
    let found = plant(|_, surgeon| surgeon.info.image.used_blocks += 3);
    only(&found, FindingKind::Counter, None, "blocks in use");
    let found = plant(|_, surgeon| surgeon.info.image.files -= 1);
    only(&found, FindingKind::Counter, None, "inodes in use");
    let found = plant(|_, surgeon| surgeon.info.snapshot_only += 1);
    only(&found, FindingKind::Counter, None, "only snapshots hold");
}

#[test]
fn a_broken_chain_of_free_inodes() {
    let found = plant(|sample, surgeon| surgeon.info.image.free_ino = sample.big.ino);
    let (sample, surgeon) = Sample::closed();
    only(&found, FindingKind::FreeChain, Some(sample.big.ino), "in use");
    let first = surgeon.info.image.free_ino;
    assert_ne!(first, InodeNum(0));
    let found = plant(|_, surgeon| surgeon.edit_inode(first, |inode, _| inode.next_free = first));
    only(&found, FindingKind::FreeChain, Some(first), "a loop");
    let found = plant(|_, surgeon| surgeon.info.image.free_ino = InodeNum(0));
    only(&found, FindingKind::FreeChain, None, "0 of 4");
}

#[test]
fn inodes_that_contradict_themselves() {
    let (sample, _) = Sample::closed();
    let inode = |ino, words, edit: fn(&mut crate::inode::Inode)| {
        let found = plant(|_, surgeon| surgeon.edit_inode(ino, |inode, _| edit(inode)));
        only(&found, FindingKind::Inode, Some(ino), words);
    };
    inode(sample.big.ino, "its size is 5000", |inode| inode.size = 5000);
    inode(sample.big.ino, "blocks, and it has 256", |inode| inode.blocks = 9);
    inode(sample.dir.ino, "can't have a size", |inode| inode.size = 4097);
    inode(sample.symlink.ino, "without a target", |inode| inode.size = 0);
    let found = plant(|sample, surgeon| surgeon.edit_inode_bytes(sample.big.ino, |bytes| bytes[0] = 99));
    among(&found, FindingKind::Inode, Some(sample.big.ino), "makes no sense");
}

#[test]
fn disorder_in_directories() {
    let (sample, _) = Sample::closed();
    let ino = sample.wide.ino;
    let page = |fbn, words, edit: fn(&mut crate::layout::Page)| {
        let found = plant(|_, surgeon| surgeon.edit_file(ino, fbn, 0, edit));
        among(&found, FindingKind::Directory, Some(ino), words);
    };
    // Swaps the keys of two branches.
    page(0, "out of order", |page| {
        let (a, b) = (HEAD + 16, HEAD + 32);
        (a..a + 8).zip(b..b + 8).for_each(|(a, b)| page.swap(a, b));
    });
    page(1, "says that it has", |page| page[2] += 1);
    page(1, "its hash", |page| page[HEAD + 22 + 3] ^= 1);
    page(1, "wrong place", |page| page[HEAD + 7] = 0xff);
    page(1, "can't be a name", |page| page[HEAD + 22 + 3] = b'/');
    page(1, "unknown kind", |page| page[0] = 7);
    let found = plant(|_, surgeon| surgeon.edit_inode(ino, |inode, _| inode.entries += 1));
    only(&found, FindingKind::Directory, Some(ino), "says that it has 396 names");
}

/// Names that fold alike are in one slot, and no others: of two, one says that it is in the next.
#[test]
fn names_that_fold_alike_apart() {
    let sample = Sample::new();
    let dir = mkdir(&sample.volume, ROOT, "case");
    create(&sample.volume, dir, "name");
    create(&sample.volume, dir, "NAME");
    sample.volume.close().unwrap();
    let (_, found) = findings(&sample.disk);
    assert!(found.iter().all(|finding| !finding.kind.is_damage()), "{found:#?}");
    let mut surgeon = Surgeon::new(sample.disk.clone());
    surgeon.edit_file(dir.ino, 0, 0, |page| page[HEAD + 22 + 4 + 3] |= 1);
    surgeon.done();
    let (_, found) = findings(&sample.disk);
    among(&found, FindingKind::Directory, Some(dir.ino), "wrong slot");
}

/// Leads the only name in `dir/sub`'s place elsewhere: the first entry of the page.
fn retarget(page: &mut crate::layout::Page, ino: u64, generation: u32, kind: FileKind) {
    page[HEAD + 8..HEAD + 16].copy_from_slice(&ino.to_le_bytes());
    page[HEAD + 16..HEAD + 20].copy_from_slice(&generation.to_le_bytes());
    page[HEAD + 20] = crate::inode::kind_code(kind);
}

#[test]
fn names_that_lead_nowhere() {
    let (sample, surgeon) = Sample::closed();
    let (big, free) = (sample.big.ino.0, surgeon.info.image.free_ino.0);
    let dir = sample.wide.ino;
    let name = |words, ino, generation, kind| {
        let found = plant(|_, surgeon| {
            surgeon.edit_file(dir, 1, 0, |page| retarget(page, ino, generation, kind));
        });
        among(&found, FindingKind::DanglingName, Some(dir), words);
        assert!(found.iter().any(|finding| finding.kind == FindingKind::Orphan), "{found:#?}");
    };
    name("does not exist", 1 << 30, 1, FileKind::File);
    name("which is free", free, 1, FileKind::File);
    name("generation 7", big, 7, FileKind::File);
    name("says that inode", big, 1, FileKind::Fifo);
}

#[test]
fn link_counts() {
    let (sample, _) = Sample::closed();
    let links = |ino, words| {
        let found = plant(|_, surgeon| surgeon.edit_inode(ino, |inode, _| inode.nlink = 1));
        only(&found, FindingKind::LinkCount, Some(ino), words);
    };
    links(sample.linked.ino, "1 links, and 2 names");
    links(sample.dir.ino, "it should have 3");
}

#[test]
fn a_directory_with_a_wrong_parent() {
    let found = plant(|sample, surgeon| {
        let wide = sample.wide.ino;
        surgeon.edit_inode(sample.dir.ino, |inode, _| inode.parent = wide);
    });
    let (sample, _) = Sample::closed();
    only(&found, FindingKind::Parent, Some(sample.dir.ino), "but its name is in 2");
    let found = plant(|sample, surgeon| surgeon.edit_inode(sample.dir.ino, |inode, _| inode.name_key.0 += 1));
    only(&found, FindingKind::Parent, Some(sample.dir.ino), "does not know its name");
}

#[test]
fn directories_that_are_inside_of_one_another() {
    let (sample, mut surgeon) = Sample::closed();
    // `sub` is in `dir`; the entry of `dir` in the root becomes that of `sub`, and `sub` names `dir`.
    let cx = cx();
    let volume = Volume::open(sample.disk.clone(), tuning()).unwrap();
    let inner = volume.lookup(&cx, sample.dir, b"sub").unwrap().id;
    let child = mkdir(&volume, inner, "child");
    volume.close().unwrap();
    drop(volume);
    surgeon.info = crate::fsinfo::FsInfo::read(&*sample.disk).unwrap();
    let (dir, child) = (sample.dir, child);
    surgeon.edit_inode(sample.dir.ino, |inode, _| inode.parent = inner.ino);
    surgeon.edit_file(inner.ino, 0, 0, |page| retarget(page, dir.ino.0, dir.generation.0, FileKind::Dir));
    surgeon.done();
    let (_, found) = findings(&sample.disk);
    among(&found, FindingKind::Orphan, Some(child.ino), "no name leads to it");
    let looped = found.iter().filter(|finding| finding.text.contains("inside of itself")).count();
    assert_eq!(looped, 1, "{found:#?}");
}

#[test]
fn an_orphan() {
    let found = plant(|sample, surgeon| {
        let linked = sample.linked;
        // Both entries of `one` and `two` stay; the name of the first wide file leads to `linked` instead.
        surgeon.edit_file(sample.wide.ino, 1, 0, |page| {
            retarget(page, linked.ino.0, linked.generation.0, FileKind::File);
        });
    });
    among(&found, FindingKind::LinkCount, Some(Sample::closed().0.linked.ino), "3 names");
    assert!(found.iter().any(|finding| finding.kind == FindingKind::Orphan && finding.inode.is_some()));
}

#[test]
fn a_damaged_snapshot_table() {
    let found = plant(|sample, surgeon| sample.disk.flip(surgeon.info.table.ptr.vbn, 700));
    among(&found, FindingKind::SnapshotTable, None, "can't be read");
}

#[test]
fn a_damaged_copy_of_fsinfo_is_a_remark() {
    let (sample, surgeon) = Sample::closed();
    sample.disk.flip(Vbn((surgeon.info.serial + 1) % 2), 300);
    let (summary, found) = findings(&sample.disk);
    assert!(summary.is_clean(), "{found:#?}");
    among(&found, FindingKind::FsInfoCopy, None, "the other one is");
    sample.disk.flip(Vbn(surgeon.info.serial % 2), 300);
    let outcome = check(sample.disk.clone(), &CheckOptions::default(), &mut |_| {});
    assert!(matches!(outcome, Err(FsError::Format(_))), "{outcome:?}");
}

#[test]
fn a_damaged_log() {
    let (disk, linked) = (std::cell::RefCell::new(None), std::cell::Cell::new(None));
    let damaged = |batch: u64| {
        let sample = Sample::new();
        sample.volume.flush_log().unwrap();
        sample.volume.consistency_point().unwrap();
        for byte in 1..4 {
            write(&sample.volume, sample.linked, 0, byte, 100);
            sample.volume.flush_log().unwrap();
        }
        let surgeon = Surgeon::new(sample.disk.clone());
        let half = u64::from(surgeon.info.log_half) * surgeon.info.log_half_blocks;
        sample.disk.flip(Vbn(FSINFO_BLOCKS + half + batch), 600);
        // The volume goes away as in a crash.
        let image = MemDisk::of(sample.disk.bytes());
        disk.replace(Some(image.clone()));
        linked.set(Some(sample.linked));
        (findings(&image), Volume::open(MemDisk::of(image.bytes()), tuning()).map(drop))
    };
    // The last batch may never have become durable: a crash leaves the same.
    let ((summary, found), opened) = damaged(2);
    assert_eq!((found, summary.log_records, opened), (Vec::new(), 2, Ok(())));
    let ((_, found), opened) = damaged(1);
    only(&found, FindingKind::Log, None, "acknowledged");
    assert!(matches!(opened, Err(FsError::Format(_))), "{opened:?}");
    // Given up, it is mounted with what is before the damage.
    let disk = disk.into_inner().unwrap();
    assert_eq!(cut_damaged_log(disk.clone()), Ok(2));
    assert_eq!(cut_damaged_log(disk.clone()), Ok(0));
    let (summary, found) = findings(&disk);
    assert_eq!((found, summary.log_records), (Vec::new(), 1));
    let volume = Volume::open(disk, tuning()).unwrap();
    assert_eq!(volume.read(&cx(), linked.get().unwrap(), 0, 1).unwrap().data[..], [1]);
}

#[test]
fn damaged_data_that_the_log_counts_on() {
    let sample = Sample::new();
    sample.volume.consistency_point().unwrap();
    write(&sample.volume, sample.big, 0, 9, 1 << 17);
    sample.volume.flush_log().unwrap();
    write(&sample.volume, sample.big, 0, 8, 10);
    sample.volume.flush_log().unwrap();
    let disk = MemDisk::of(sample.disk.bytes());
    let (summary, found) = findings(&disk);
    assert_eq!((found, summary.log_records), (Vec::new(), 2));
    let nines = disk.bytes().chunks(4096).position(|block| block.iter().all(|byte| *byte == 9));
    let vbn = Vbn(nines.unwrap() as u64);
    disk.flip(vbn, 3);
    let (_, found) = findings(&disk);
    only(&found, FindingKind::Log, None, "acknowledged write is lost");
    assert_eq!(found[0].block, Some(vbn));
}

#[test]
fn a_block_that_the_disk_does_not_give() {
    let (sample, surgeon) = Sample::closed();
    let vbn = surgeon.block_of(sample.big.ino, 0).vbn;
    // A file that ends early.
    let mut bytes = sample.disk.bytes();
    bytes.truncate(usize::try_from(vbn.0 * BLOCK_SIZE_U64).unwrap());
    let (_, found) = findings(&MemDisk::of(bytes));
    assert!(found.iter().any(|finding| finding.kind == FindingKind::Unreadable), "{found:#?}");
}
