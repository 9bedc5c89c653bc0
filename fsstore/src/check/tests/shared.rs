//! Sharing of blocks, files and whole volumes taken back from snapshots: sound after any order of them.

use super::*;

/// Numbers that are the same in every run of a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

fn turn(volume: &Volume, files: &[FileId], dice: &mut Dice, turn: u64) {
    let pick = |dice: &mut Dice| files[usize::try_from(dice.roll(files.len() as u64)).unwrap()];
    let snapshots = volume.snapshots();
    let snapshot = usize::try_from(dice.roll(snapshots.len().max(1) as u64)).unwrap();
    let snapshot = snapshots.get(snapshot).map(|snapshot| snapshot.id);
    let (from, to) = (pick(dice), pick(dice));
    let (a, b) = (dice.roll(40) * 4096, dice.roll(40) * 4096);
    // Some of these are refused, as of a file that a restore took away.
    let _ = match (dice.roll(16), snapshot) {
        (0..5, _) => {
            let op = Op::CloneRange { from, from_offset: a, to, to_offset: b, len: 1 + dice.roll(10) };
            volume.execute(&cx(), op).map(drop)
        }
        (5..7, _) => {
            let len = (1 + dice.roll(10)) * 4096;
            let op = Op::CloneRange { from, from_offset: a, to, to_offset: b, len };
            volume.execute(&cx(), op).map(drop)
        }
        (7..10, _) => {
            let data =
                Bytes::from(vec![turn.to_le_bytes()[0]; usize::try_from(1 + dice.roll(100_000)).unwrap()]);
            volume.execute(&cx(), Op::Write { file: to, offset: b, data }).map(drop)
        }
        (10, _) => {
            let attrs = SetAttrs { size: Some(a), ..SetAttrs::default() };
            volume.execute(&cx(), Op::SetAttr { file: to, attrs, guard: None }).map(drop)
        }
        (11, Some(id)) => volume.execute(&cx(), Op::CloneFile { from: from.within(id), to }).map(drop),
        (12, Some(id)) => volume.snapshot_delete(id),
        (13, Some(id)) if dice.roll(2) == 0 => volume.snapshot_restore(id).map(drop),
        (14, _) => volume.consistency_point().map(drop),
        _ if snapshots.len() < 4 => volume.snapshot_create(&format!("s{turn}"), now()).map(drop),
        _ => Ok(()),
    };
}

#[test]
fn a_volume_stays_sound_while_files_share_blocks() {
    for seed in 0..12 {
        let disk = MemDisk::new(BYTES);
        let spec = VolumeSpec { uuid: Uuid::from_u128(5), size_bytes: BYTES };
        let mut volume = Volume::create(disk.clone(), &spec, now(), tuning()).unwrap();
        let files: Vec<FileId> = (0..4).map(|n| create(&volume, ROOT, &format!("f{n}"))).collect();
        let mut dice = Dice(seed);
        for n in 0..150 {
            turn(&volume, &files, &mut dice, n);
            assert_eq!(volume.fault(), None, "seed {seed}, turn {n}");
            if n % 25 == 24 {
                volume.flush_log().unwrap();
                // As a crash leaves it, and opened again.
                let (_, found) = findings(&MemDisk::of(disk.bytes()));
                assert_eq!(found, [], "seed {seed}, turn {n}");
                drop(volume);
                volume = Volume::open(disk.clone(), tuning()).unwrap();
                let (_, found) = findings(&MemDisk::of(disk.bytes()));
                assert_eq!(found, [], "seed {seed}, turn {n}, opened again");
            }
        }
    }
}
