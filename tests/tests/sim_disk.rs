//! The simulated disk keeps to the contract that it is to test others by.

#![allow(clippy::unwrap_used, reason = "a test may; clippy knows that only of functions marked as tests")]

use ferry_tests::sim_disk::{BrokenFlush, SimDisk, Unflushed};
use fsstore::Disk;
use std::io::IoSlice;

const B: usize = fsstore::BLOCK_SIZE;

fn put(disk: &SimDisk, block: u64, byte: u8, blocks: usize) {
    disk.write_at(&[IoSlice::new(&vec![byte; B * blocks])], block * B as u64).unwrap();
}

fn get(disk: &SimDisk, block: u64) -> [u8; B] {
    let mut buf = [0xee; B];
    disk.read_at(&mut buf, block * B as u64).unwrap();
    buf
}

#[test]
fn unwritten_reads_zeros_and_ends_are_checked() {
    let disk = SimDisk::new(8 * B as u64);
    assert_eq!(get(&disk, 7), [0; B]);
    assert!(disk.read_at(&mut [0; B], 8 * B as u64).is_err());
    assert!(disk.write_at(&[IoSlice::new(&[0; 2 * B])], 7 * B as u64).is_err());
}

#[test]
fn flushed_writes_survive_every_crash_and_later_ones_as_told() {
    let disk = SimDisk::new(64 * B as u64);
    put(&disk, 1, 1, 1);
    disk.flush().unwrap();
    put(&disk, 1, 2, 1);
    disk.discard(B as u64, B as u64).unwrap();
    let history = disk.history();
    let mut cuts = history.cuts(BrokenFlush::None);
    assert_eq!(get(&cuts.crash(Unflushed::Survive), 1), [0; B]);
    while cuts.at() < 3 {
        assert!(cuts.advance());
    }
    assert_eq!(get(&cuts.crash(Unflushed::Vanish), 1), [1; B]);
    assert_eq!(get(&cuts.crash(Unflushed::Survive), 1), [2; B]);
    let torn: Vec<_> = (0..64).map(|seed| get(&cuts.crash(Unflushed::Torn(seed)), 1)).collect();
    assert!(torn.contains(&[1; B]) && torn.contains(&[2; B]));
    assert!(torn.iter().any(|b| b.contains(&1) && b.contains(&2)), "no write was torn");
    for block in &torn {
        assert!(
            block.chunks(512).all(|sector| sector.iter().all(|b| *b == sector[0])),
            "torn inside a sector"
        );
    }
    assert!(cuts.advance() && !cuts.advance());
    assert_eq!(get(&cuts.crash(Unflushed::Survive), 1), [0; B]);
}

#[test]
fn unflushed_writes_may_survive_in_any_order() {
    let disk = SimDisk::new(64 * B as u64);
    put(&disk, 1, 1, 1);
    put(&disk, 2, 2, 1);
    let history = disk.history();
    let mut cuts = history.cuts(BrokenFlush::None);
    while cuts.advance() {}
    let later_only = (0..64).any(|seed| {
        let crash = cuts.crash(Unflushed::Torn(seed));
        get(&crash, 1) == [0; B] && get(&crash, 2) == [2; B]
    });
    assert!(later_only);
}

#[test]
fn a_broken_flush_keeps_nothing() {
    let disk = SimDisk::new(64 * B as u64);
    put(&disk, 1, 1, 1);
    disk.flush().unwrap();
    let history = disk.history();
    for (broken, left) in [
        (BrokenFlush::None, 1),
        (BrokenFlush::AllFrom(0), 0),
        (BrokenFlush::Only(1), 0),
        (BrokenFlush::Only(0), 1),
    ] {
        let mut cuts = history.cuts(broken);
        while cuts.advance() {}
        assert_eq!(get(&cuts.crash(Unflushed::Vanish), 1), [left; B], "{broken:?}");
    }
}

#[test]
fn injected_failures_do_nothing_to_the_content() {
    let disk = SimDisk::new(64 * B as u64);
    put(&disk, 1, 1, 1);
    disk.fail_from(Some(2));
    put(&disk, 2, 1, 1);
    assert!(disk.write_at(&[IoSlice::new(&[9; B])], B as u64).is_err());
    assert!(disk.flush().is_err());
    disk.fail_from(None);
    assert_eq!(get(&disk, 1), [1; B]);
    disk.flush().unwrap();
}

#[test]
fn a_new_length_is_durable_when_it_is_flushed() {
    let disk = SimDisk::new(8 * B as u64);
    put(&disk, 7, 1, 1);
    disk.flush().unwrap();
    disk.resize(4 * B as u64).unwrap();
    assert!(disk.read_at(&mut [0; B], 7 * B as u64).is_err());
    disk.resize(16 * B as u64).unwrap();
    assert_eq!(get(&disk, 7), [0; B]);
    let history = disk.history();
    let mut cuts = history.cuts(BrokenFlush::None);
    while cuts.advance() {}
    assert_eq!(cuts.crash(Unflushed::Vanish).bytes(), 8 * B as u64);
    assert_eq!(cuts.crash(Unflushed::Survive).bytes(), 16 * B as u64);
    assert_eq!(cuts.kill().bytes(), 16 * B as u64);
}

#[test]
fn a_lying_disk_keeps_what_was_written() {
    let disk = SimDisk::new(64 * B as u64);
    put(&disk, 1, 1, 3);
    disk.lie(7, 2);
    let wrong = (0..32).filter(|_| get(&disk, 2) != [1; B]).count();
    assert!(wrong > 0 && wrong <= disk.lies_told());
    disk.lie(7, 0);
    assert_eq!(get(&disk, 2), [1; B]);
}
