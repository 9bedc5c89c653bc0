//! Holes: made, found, and never worth more than what is there.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

use SeekWhat::{Data, Hole};
use bytes::Bytes;
use fsstore::*;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const BLOCK: u64 = BLOCK_SIZE_U64;

/// A file that counts the bytes read from it.
struct Counting {
    disk: FileDisk,
    read: AtomicU64,
}

impl Disk for Counting {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.read.fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.disk.read_at(buf, offset)
    }
    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.disk.write_at(bufs, offset)
    }
    fn flush(&self) -> io::Result<()> {
        self.disk.flush()
    }
    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.disk.discard(offset, len)
    }
}

fn root() -> Context {
    Context::root(Time { secs: 1000, nanos: 0 })
}

struct Fixture {
    dir: tempfile::TempDir,
    volume: Arc<Volume>,
    file: FileId,
}

fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(FileDisk::create(&dir.path().join("v"), 64 << 20).unwrap());
    let spec = VolumeSpec { uuid: uuid::Uuid::from_u128(1), size_bytes: 64 << 20 };
    let volume = Volume::create(disk, &spec, Time::default(), Tuning::default()).unwrap();
    let how = CreateHow::Guarded(SetAttrs { mode: Some(0o644), ..SetAttrs::default() });
    let op = Op::Create { dir: ROOT, name: Bytes::from_static(b"f"), how };
    let file = volume.execute(&root(), op).unwrap().object.after.id;
    Fixture { dir, volume, file }
}

impl Fixture {
    fn write(&self, offset: u64, len: usize) {
        let data = Bytes::from(vec![7; len]);
        self.volume.execute(&root(), Op::Write { file: self.file, offset, data }).unwrap();
    }
    fn size(&self, size: u64) {
        let attrs = SetAttrs { size: Some(size), ..SetAttrs::default() };
        self.volume.execute(&root(), Op::SetAttr { file: self.file, attrs, guard: None }).unwrap();
    }
    fn punch(&self, offset: u64, len: u64) {
        self.volume.execute(&root(), Op::Deallocate { file: self.file, offset, len }).unwrap();
    }
    fn seek(&self, offset: u64, what: SeekWhat) -> Option<u64> {
        self.volume.seek(&root(), self.file, offset, what).unwrap()
    }
    fn used(&self) -> u64 {
        self.volume.getattr(self.file).unwrap().used
    }
    /// Opens the volume anew, with nothing in memory: how many bytes `look` reads of it.
    fn bytes_read(&mut self, look: impl FnOnce(&Fixture)) -> u64 {
        self.volume.close().unwrap();
        // A volume keeps its file locked as long as it lives: another takes its place.
        drop(std::fs::remove_file(self.dir.path().join("other")));
        let path = self.dir.path().join("v");
        let empty = Arc::new(FileDisk::create(&self.dir.path().join("other"), 8 << 20).unwrap());
        let spec = VolumeSpec { uuid: uuid::Uuid::from_u128(2), size_bytes: 8 << 20 };
        self.volume = Volume::create(empty, &spec, Time::default(), Tuning::default()).unwrap();
        let disk = Arc::new(Counting { disk: FileDisk::open(&path).unwrap(), read: AtomicU64::new(0) });
        self.volume = Volume::open(disk.clone(), Tuning::default()).unwrap();
        self.volume.getattr(self.file).unwrap();
        let before = disk.read.load(Ordering::Relaxed);
        look(self);
        disk.read.load(Ordering::Relaxed) - before
    }
}

#[test]
fn a_hole_frees_whole_blocks_zeros_parts_and_keeps_the_size() {
    let f = fixture();
    f.write(0, 10 * BLOCK_SIZE);
    f.punch(100, 3 * BLOCK);
    let read = f.volume.read(&root(), f.file, 0, 10 * BLOCK_SIZE).unwrap();
    for (at, byte) in read.data.iter().enumerate() {
        let inside = (100..100 + 3 * BLOCK_SIZE).contains(&at);
        assert_eq!(*byte, if inside { 0 } else { 7 }, "byte {at}");
    }
    let attr = f.volume.getattr(f.file).unwrap();
    assert_eq!((attr.size, attr.used), (10 * BLOCK, 8 * BLOCK));
    f.punch(9 * BLOCK + 1, u64::from(u32::MAX));
    assert_eq!(f.used(), 8 * BLOCK, "a block that is in part before the hole stays");
    f.punch(9 * BLOCK, 1 << 40);
    let attr = f.volume.getattr(f.file).unwrap();
    assert_eq!((attr.size, attr.used), (10 * BLOCK, 7 * BLOCK));
}

#[test]
fn the_block_that_the_file_ends_in_goes_as_a_whole() {
    let f = fixture();
    f.write(0, BLOCK_SIZE + 10);
    f.punch(BLOCK, 10);
    assert_eq!(f.used(), BLOCK);
    assert_eq!(f.seek(BLOCK, SeekWhat::Data), None);
}

#[test]
fn seek_finds_data_and_holes_as_lseek_does() {
    let f = fixture();
    f.write(2 * BLOCK, BLOCK_SIZE);
    f.write(5 * BLOCK, 10);
    let size = 5 * BLOCK + 10;

    assert_eq!(f.seek(0, Data), Some(2 * BLOCK));
    assert_eq!(f.seek(2 * BLOCK + 5, Data), Some(2 * BLOCK + 5));
    assert_eq!(f.seek(3 * BLOCK, Data), Some(5 * BLOCK));
    assert_eq!(f.seek(7, Hole), Some(7));
    assert_eq!(f.seek(2 * BLOCK + 5, Hole), Some(3 * BLOCK));
    assert_eq!(f.seek(5 * BLOCK, Hole), Some(size), "the hole at the end");
    assert_eq!((f.seek(size, Data), f.seek(size, Hole)), (None, None), "ENXIO");
    f.size(1 << 30);
    assert_eq!(f.seek(6 * BLOCK, Data), None, "nothing but a hole follows");
    assert_eq!(f.seek(1 << 29, Hole), Some(1 << 29));
}

#[test]
fn a_file_of_16_tib_with_three_blocks_costs_three_blocks() {
    let mut f = fixture();
    f.size(FILE_SIZE_MAX);
    f.write(FILE_SIZE_MAX - BLOCK, BLOCK_SIZE);
    f.write(FILE_SIZE_MAX / 3 * 2, 10);
    f.write(0, 10);
    let middle = FILE_SIZE_MAX / 3 * 2 / BLOCK * BLOCK;
    let read = f.bytes_read(|f| {
        assert_eq!(f.seek(BLOCK, SeekWhat::Data), Some(middle));
        assert_eq!(f.seek(middle + BLOCK, SeekWhat::Data), Some(FILE_SIZE_MAX - BLOCK));
        assert_eq!(f.seek(FILE_SIZE_MAX - BLOCK, SeekWhat::Hole), Some(FILE_SIZE_MAX));
        let hole = f.volume.read(&root(), f.file, FILE_SIZE_MAX / 2, 1 << 20).unwrap();
        assert!(hole.data.len() == 1 << 20 && hole.data.iter().all(|byte| *byte == 0));
    });
    // Three ways from a root of height 4 or 5 to a block.
    assert!(read <= 12 * BLOCK, "{read} bytes read");
    let read = f.bytes_read(|f| {
        f.punch(BLOCK, FILE_SIZE_MAX - 2 * BLOCK);
        assert_eq!(f.used(), 2 * BLOCK);
        f.size(BLOCK);
        assert_eq!(f.used(), BLOCK);
        f.size(0);
    });
    assert!(read <= 24 * BLOCK, "{read} bytes read");
}

#[test]
fn a_punched_file_holds_no_index_without_a_block() {
    let f = fixture();
    f.volume.consistency_point().unwrap();
    let before = f.volume.statfs().free_bytes;
    f.size(FILE_SIZE_MAX);
    for part in 0..200 {
        f.write(FILE_SIZE_MAX / 200 * part, 10);
    }
    f.volume.consistency_point().unwrap();
    assert!(before - f.volume.statfs().free_bytes > 600 * BLOCK);
    for part in 0..200 {
        f.punch(FILE_SIZE_MAX / 200 * part, 10);
        f.punch(FILE_SIZE_MAX / 200 * part / BLOCK * BLOCK, 2 * BLOCK);
    }
    f.volume.consistency_point().unwrap();
    assert_eq!(f.volume.statfs().free_bytes, before);
}

#[test]
fn allocate_extends_and_says_when_there_is_no_room() {
    let f = fixture();
    f.write(0, BLOCK_SIZE);
    let allocate = |offset, len| f.volume.execute(&root(), Op::Allocate { file: f.file, offset, len });
    assert_eq!(allocate(0, 10 * BLOCK).unwrap().object.after.size, 10 * BLOCK);
    assert_eq!(f.used(), BLOCK, "nothing is set aside");
    let before = f.volume.getattr(f.file).unwrap();
    assert_eq!(allocate(0, BLOCK).unwrap().object.after, before, "what is there stays as it is");
    assert_eq!(allocate(0, 1 << 30), Err(FsError::NoSpace));
    assert_eq!(allocate(1 << 40, 1 << 30), Err(FsError::NoSpace));
    assert_eq!(allocate(1 << 40, u64::MAX), Err(FsError::FileTooBig));
    assert_eq!(allocate(FILE_SIZE_MAX - 10, 11), Err(FsError::FileTooBig));
    assert_eq!(f.volume.getattr(f.file).unwrap(), before);
}

#[test]
fn only_who_may_write_makes_holes_and_setuid_goes() {
    let f = fixture();
    f.write(0, BLOCK_SIZE);
    let other = Context { uid: 5, gid: 5, ..root() };
    let punch = |cx| f.volume.execute(cx, Op::Deallocate { file: f.file, offset: 0, len: 1 });
    assert_eq!(punch(&other), Err(FsError::Access));
    assert_eq!(
        f.volume.execute(&root(), Op::Deallocate { file: ROOT, offset: 0, len: 1 }),
        Err(FsError::IsDir)
    );
    let attrs = SetAttrs { mode: Some(0o4777), ..SetAttrs::default() };
    f.volume.execute(&root(), Op::SetAttr { file: f.file, attrs, guard: None }).unwrap();
    assert_eq!(punch(&other).unwrap().object.after.mode, 0o777);
}
