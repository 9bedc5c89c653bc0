//! Maps and counters are made anew, and nothing else changes.

use super::*;

fn rebuild(disk: &Arc<MemDisk>) -> Result<Rebuilt> {
    rebuild_maps(disk.clone(), &CheckOptions::default(), &mut |_| {})
}

#[track_caller]
fn mends(damage: impl FnOnce(&Sample, &mut Surgeon), images: &[ImageName]) {
    let (sample, mut surgeon) = Sample::closed();
    damage(&sample, &mut surgeon);
    surgeon.done();
    let (summary, _) = findings(&sample.disk);
    assert!(!summary.is_clean());
    let rebuilt = rebuild(&sample.disk).unwrap();
    assert!(rebuilt.written);
    assert_eq!(rebuilt.images, images);
    let (after, found) = findings(&sample.disk);
    assert_eq!(found, []);
    assert!(after.cp > summary.cp);
    // And the volume works.
    let volume = Volume::open(sample.disk.clone(), tuning()).unwrap();
    assert_eq!(volume.snapshots().len(), 2);
    let read = volume.read(&cx(), sample.big, 40_960, 65_536).unwrap();
    assert!(read.data.iter().all(|byte| *byte == 4));
    write(&volume, sample.big, 0, 5, 3 << 20);
    volume.snapshot_delete(volume.snapshots()[1].id).unwrap();
    volume.snapshot_delete(volume.snapshots()[0].id).unwrap();
    volume.close().unwrap();
    assert_eq!(findings(&sample.disk).1, []);
}

#[test]
fn a_wrong_map_is_made_anew() {
    let active = [ImageName::Active];
    mends(|sample, surgeon| surgeon.flip_map(surgeon.block_of(sample.big.ino, 0).vbn), &active);
    mends(|_, surgeon| surgeon.flip_map(surgeon.free_block()), &active);
}

#[test]
fn a_map_that_cant_be_read_is_made_anew() {
    mends(|sample, surgeon| sample.disk.flip(surgeon.info.image.map.ptr.vbn, 4000), &[ImageName::Active]);
}

#[test]
fn a_snapshots_map_is_made_anew_with_the_table() {
    let images = [ImageName::Active, ImageName::Snapshot("after".to_owned())];
    mends(|_, surgeon| surgeon.flip_snapshot_map(surgeon.free_block()), &images);
}

#[test]
fn wrong_counters_are_made_anew() {
    mends(|_, surgeon| surgeon.info.image.used_blocks += 3, &[ImageName::Active]);
    mends(|_, surgeon| surgeon.info.image.files += 3, &[ImageName::Active]);
    mends(|_, surgeon| surgeon.info.snapshot_only += 1, &[]);
}

#[test]
fn wrong_counts_of_users_are_made_anew() {
    for extra in [0, 1, 3] {
        let active = [ImageName::Active];
        mends(
            |sample, surgeon| surgeon.set_extra_users(surgeon.block_of(sample.copy.ino, 0).vbn, extra),
            &active,
        );
    }
}

#[test]
fn a_sound_volume_is_left_alone() {
    let (sample, _) = Sample::closed();
    let before = sample.disk.bytes();
    assert!(!rebuild(&sample.disk).unwrap().written);
    assert!(sample.disk.bytes() == before);
}

#[test]
fn nothing_is_written_while_it_is_not_known_what_is_in_use() {
    let (sample, mut surgeon) = Sample::closed();
    surgeon.flip_map(surgeon.free_block());
    surgeon.done();
    let root = image::root_of(&surgeon.inode(sample.big.ino).tree);
    sample.disk.flip(root.ptr.vbn, 9);
    let before = sample.disk.bytes();
    assert!(matches!(rebuild(&sample.disk), Err(FsError::Format(_))));
    assert!(sample.disk.bytes() == before);
}

/// Operations that are only in the log are still there afterwards, with their data.
#[test]
fn the_log_survives_a_rebuild() {
    let sample = Sample::new();
    sample.volume.consistency_point().unwrap();
    write(&sample.volume, sample.big, 0, 9, 1 << 17);
    write(&sample.volume, sample.linked, 0, 7, 10);
    sample.volume.flush_log().unwrap();
    let disk = MemDisk::of(sample.disk.bytes());
    let mut surgeon = Surgeon::new(disk.clone());
    surgeon.flip_map(surgeon.block_of(sample.linked.ino, 0).vbn);
    surgeon.done();
    assert!(rebuild(&disk).unwrap().written);
    let (summary, found) = findings(&disk);
    assert_eq!((found, summary.log_records), (Vec::new(), 2));
    let volume = Volume::open(disk, tuning()).unwrap();
    let data = volume.read(&cx(), sample.big, 0, 1 << 17).unwrap().data;
    assert!(data.iter().all(|byte| *byte == 9));
    assert_eq!(volume.read(&cx(), sample.linked, 0, 10).unwrap().data[..], [7; 10]);
}
