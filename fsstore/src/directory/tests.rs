//! Names that fold alike, and names whose hashes meet.

use super::names::{Alike, NAME_BITS, SLOTS, alike, lookup_at};
use super::*;
use crate::disk::FileDisk;
use crate::ids::Generation;
use crate::tree::Ledger;
use std::collections::HashMap;
use uuid::Uuid;

/// A directory in memory.
struct Sample {
    io: Io,
    ledger: Ledger,
    dir: Inode,
    hash: NameHash,
    _files: tempfile::TempDir,
}

impl Sample {
    fn new() -> Sample {
        let files = tempfile::tempdir().unwrap();
        // Nothing is ever read from it.
        let disk = FileDisk::create(&files.path().join("disk"), BLOCK_SIZE_U64).unwrap();
        let mut dir = Inode::new(InodeNum(3), Generation(1));
        (dir.kind, dir.size) = (Some(FileKind::Dir), BLOCK_SIZE_U64);
        let hash = NameHash::new(Uuid::from_u128(77));
        Sample {
            io: Io::new(Arc::new(disk), 1 << 24, 0),
            ledger: Ledger::default(),
            dir,
            hash,
            _files: files,
        }
    }

    fn add_at(&mut self, key: NameKey, name: &[u8]) -> Result<Cookie> {
        let mut edit = Edit { io: &self.io, generation: 1, ledger: &mut self.ledger };
        let file = FileId::active(InodeNum(9), Generation(1));
        insert_at(&mut self.dir, &mut edit, key, name, file, FileKind::File)
    }

    fn add(&mut self, name: &[u8]) -> Result<Cookie> {
        self.add_at(self.hash.key(name), name)
    }

    fn drop(&mut self, key: Cookie) {
        let mut edit = Edit { io: &self.io, generation: 1, ledger: &mut self.ledger };
        remove(&mut self.dir, &mut edit, key).unwrap();
    }

    fn find(&self, name: &[u8]) -> Option<Cookie> {
        lookup(&self.dir, &self.io, self.hash, name).unwrap().map(|target| target.key)
    }

    fn find_at(&self, key: NameKey, name: &[u8]) -> Option<Cookie> {
        lookup_at(&self.dir, &self.io, key, name).unwrap().map(|target| target.key)
    }

    fn alike(&self, name: &[u8]) -> Option<Vec<u8>> {
        let found = lookup_folded(&self.dir, &self.io, self.hash, name).unwrap();
        found.map(|(_, name)| name.to_vec())
    }

    fn alike_at(&self, key: NameKey, name: &[u8]) -> Option<Vec<u8>> {
        let found = alike(&self.dir, &self.io, key, name).unwrap();
        found.and_then(|Alike { first, .. }| first).map(|(_, name)| name.to_vec())
    }
}

/// `base` with a letter in upper case for each bit of `number`.
fn in_case(base: &[u8], number: usize) -> Vec<u8> {
    let upper = |at: usize| at < 64 && number >> at & 1 == 1;
    base.iter().enumerate().map(|(at, c)| if upper(at) { c.to_ascii_uppercase() } else { *c }).collect()
}

const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwx";

/// Each is found by its own name in a few steps, and there is no end to them soon.
#[test]
fn a_hundred_thousand_names_that_fold_alike() {
    let count = std::env::var("NAMES").map_or(100_000, |names| names.parse().unwrap());
    let mut sample = Sample::new();
    let keys: HashMap<usize, Cookie> =
        (0..count).map(|number: usize| (number, sample.add(&in_case(LETTERS, number)).unwrap())).collect();
    assert_eq!(sample.dir.entries, count as u64);
    for number in (0..count).step_by(97) {
        assert_eq!(sample.find(&in_case(LETTERS, number)), Some(keys[&number]));
    }
    let lowest = keys.values().min();
    let absent = in_case(LETTERS, 1 << 23 | 7);
    let (target, _) = lookup_folded(&sample.dir, &sample.io, sample.hash, &absent).unwrap().unwrap();
    assert_eq!(Some(&target.key), lowest);
    assert_eq!(sample.find(&in_case(LETTERS, count + 1)), None);
    assert_eq!(sample.find(b"ABCDEFGHIJKLMNOPQRSTUVWXY"), None);
    assert_eq!(sample.alike(b"abcdefghijklmnopqrstuvw"), None);
    for number in 0..count {
        sample.drop(keys[&number]);
        if number % 1000 == 0 {
            assert!(sample.alike(LETTERS).is_some());
        }
    }
}

/// However its keys come out, a directory holds them all, and everybody finds their own.
#[test]
fn names_that_do_not_fold_alike_do_not_meet() {
    let mut sample = Sample::new();
    let mut by_hash: HashMap<u64, Vec<u8>> = HashMap::new();
    let mut meet = Vec::new();
    for number in 0..1_000_000_u32 {
        let name = format!("name {number}").into_bytes();
        if let Some(other) = by_hash.insert(sample.hash.key(&name).folded, name.clone()) {
            meet.push((other, name));
        }
    }
    assert!(!meet.is_empty(), "a million names of 36 bits");
    for (one, other) in meet {
        for number in 0..16 {
            sample.add(&in_case(&one, number)).unwrap();
        }
        assert_eq!(sample.alike(&in_case(&other, 3)), None);
        assert_eq!(sample.find(&other), None);
        let key = sample.add(&other).unwrap();
        assert_eq!(sample.find(&other), Some(key));
        assert_eq!(sample.alike(&in_case(&other, 3)), Some(other));
        assert!(sample.alike(&one).unwrap().eq_ignore_ascii_case(&one));
    }
}

/// The bounds: as many folded names as there are slots, as many names of one hash as there are numbers. Whoever meets them
/// is told that there is no room; the names that are there stay where they are.
#[test]
fn slots_and_numbers_run_out_and_come_back() {
    let mut sample = Sample::new();
    let key = |name| NameKey { folded: 5, name };
    let name = |slot: u64| format!("folds {slot}").into_bytes();
    let cookies: Vec<Cookie> =
        (0..SLOTS).map(|slot| sample.add_at(key(slot), &name(slot)).unwrap()).collect();
    assert_eq!(sample.add_at(key(1), &name(SLOTS)), Err(FsError::NoSpace));
    assert_eq!(sample.find_at(key(1), &name(SLOTS)), None);
    for slot in 0..SLOTS {
        let at = usize::try_from(slot).unwrap();
        assert_eq!(sample.find_at(key(slot), &name(slot)), Some(cookies[at]));
        assert_eq!(sample.alike_at(key(0), &name(slot).to_ascii_uppercase()), Some(name(slot)));
    }
    // A slot that has become free is the next that is taken, and hides nothing behind it.
    sample.drop(cookies[2]);
    sample.drop(cookies[5]);
    assert_eq!(sample.find_at(key(6), &name(6)), Some(cookies[6]));
    assert_eq!(sample.find_at(key(2), &name(2)), None);
    let again = sample.add_at(key(9), &name(7).to_ascii_uppercase()).unwrap();
    assert_eq!(key(9).slot_of(again), Some(7), "with those that fold alike");
    let new = sample.add_at(key(9), &name(8)).unwrap();
    assert_eq!(key(9).slot_of(new), Some(2));

    let crowd = NameKey { folded: 6, name: 3 };
    let keys: Vec<Cookie> =
        (0..256).map(|number| sample.add_at(crowd, &in_case(LETTERS, number)).unwrap()).collect();
    assert_eq!(sample.add_at(crowd, &in_case(LETTERS, 256)), Err(FsError::NoSpace));
    assert_eq!(sample.find_at(crowd, &in_case(LETTERS, 255)), Some(keys[255]));
    sample.drop(keys[77]);
    assert_eq!(sample.add_at(crowd, &in_case(LETTERS, 256)), Ok(keys[77]));
    // Another hash of the name, and the neighbour above: the last name of the last slot.
    let last = NameKey { folded: 6, name: (1 << NAME_BITS) - 1 };
    let end = sample.add_at(last, &in_case(LETTERS, 300)).unwrap();
    assert_eq!(sample.find_at(last, &in_case(LETTERS, 300)), Some(end));
    assert_eq!(sample.find_at(last, &in_case(LETTERS, 301)), None);
}

#[test]
fn another_name_that_folds_alike_is_told_from_the_one_that_goes() {
    let mut sample = Sample::new();
    let first = sample.add(b"Name").unwrap();
    let has = |sample: &Sample, name: &[u8], except| {
        has_alike(&sample.dir, &sample.io, sample.hash, name, except).unwrap()
    };
    assert!(has(&sample, b"name", None));
    assert!(has(&sample, b"Name", None));
    assert!(!has(&sample, b"name", Some(first)));
    assert!(!has(&sample, b"nam", None));
    let second = sample.add(b"nAME").unwrap();
    assert!(has(&sample, b"name", Some(first)));
    assert!(has(&sample, b"name", Some(second)));
}
