//! What bounds a volume: its memory keeps to its limits while the disk is slow, who waits learns of a failure, a tiny cache changes no
//! answer, and an idle volume does nothing.

#![allow(clippy::unwrap_used, reason = "a test may; clippy knows that only of functions marked as tests")]

use bytes::Bytes;
use fsstore::{
    Context, CreateHow, Disk, FileDisk, FileId, FsError, Memory, Op, ROOT, SetAttrs, Time, Tuning, Volume,
    VolumeSpec,
};
use parking_lot::{Condvar, Mutex};
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

const MIB: u64 = 1 << 20;
/// Where blocks for data begin in a volume of 256 MiB: behind fsinfo and two log halves of a 32nd each.
const FIRST_DATA: u64 = (2 + 2 * (256 * MIB / 32 / 4096)) * 4096;

/// A disk whose data blocks can be held up, and can fail; the log goes on.
struct Valve {
    disk: FileDisk,
    state: Mutex<State>,
    changed: Condvar,
    writes: AtomicU64,
}

struct State {
    /// Writes to data blocks that may pass; `None`: all.
    allowed: Option<u64>,
    broken: bool,
    waiting: u64,
}

impl Valve {
    fn new(dir: &tempfile::TempDir, bytes: u64) -> Arc<Valve> {
        let disk = FileDisk::create(&dir.path().join("volume"), bytes).unwrap();
        let state = Mutex::new(State { allowed: None, broken: false, waiting: 0 });
        Arc::new(Valve { disk, state, changed: Condvar::new(), writes: AtomicU64::new(0) })
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.changed.notify_all();
    }

    /// Waits until somebody stands before the shut valve.
    fn wait_for_writer(&self) {
        let mut state = self.state.lock();
        while state.waiting == 0 {
            self.changed.wait(&mut state);
        }
    }

    fn pass(&self, offset: u64) -> io::Result<()> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        if offset < FIRST_DATA {
            return Ok(());
        }
        let mut state = self.state.lock();
        while state.allowed == Some(0) && !state.broken {
            state.waiting += 1;
            self.changed.notify_all();
            self.changed.wait(&mut state);
            state.waiting -= 1;
        }
        state.allowed = state.allowed.map(|allowed| allowed.saturating_sub(1));
        if state.broken { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }
}

impl Disk for Valve {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.disk.read_at(buf, offset)
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.pass(offset)?;
        self.disk.write_at(bufs, offset)
    }

    /// Nothing here is about what a crash leaves.
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.disk.discard(offset, len)
    }
}

fn spec(mib: u64) -> VolumeSpec {
    VolumeSpec { uuid: uuid::Uuid::from_u128(7), size_bytes: mib * MIB }
}

fn root() -> Context {
    Context::root(Time { secs: 1_800_000_000, nanos: 0 })
}

fn create(volume: &Volume, dir: FileId, name: String) -> Result<FileId, FsError> {
    let how = CreateHow::Guarded(SetAttrs { mode: Some(0o644), ..SetAttrs::default() });
    Ok(volume.execute(&root(), Op::Create { dir, name: Bytes::from(name), how })?.object.after.id)
}

/// Writes 4 KiB at block `number`, full of it.
fn write(volume: &Volume, file: FileId, number: u64) -> Result<(), FsError> {
    let data = Bytes::from(number.to_le_bytes().repeat(512));
    volume.execute(&root(), Op::Write { file, offset: number * 4096, data }).map(drop)
}

/// However slow the disk is, changes in memory stay below the limit, and each gets through in the end.
#[test]
fn changes_keep_to_their_limit_before_a_slow_disk() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Valve::new(&dir, 256 * MIB);
    let limit = 4 * MIB;
    let memory = Memory::new(2 * MIB, limit);
    let volume = Volume::create(disk.clone(), &spec(256), root().now, &memory).unwrap();
    let file = create(&volume, ROOT, "file".to_owned()).unwrap();
    disk.set(|state| state.allowed = Some(0));
    let (blocks, writers) = (4096, 4);
    let done = AtomicU64::new(0);
    let mut peak = 0;
    thread::scope(|scope| {
        for writer in 0..writers {
            let (volume, done) = (&volume, &done);
            scope.spawn(move || {
                for number in (writer..blocks).step_by(usize::try_from(writers).unwrap()) {
                    write(volume, file, number).unwrap();
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while done.load(Ordering::Relaxed) < blocks {
            // One write of the CP at a time.
            peak = peak.max(memory.usage().dirty_bytes);
            disk.set(|state| state.allowed = Some(1));
            thread::yield_now();
        }
        disk.set(|state| state.allowed = None);
    });
    assert!(peak <= limit, "{peak} bytes of changes");
    assert!(peak > limit / 8, "the test holds nothing up: {peak}");
    for number in 0..blocks {
        let read = volume.read(&root(), file, number * 4096, 8).unwrap();
        assert_eq!(read.data[..], number.to_le_bytes(), "block {number}");
    }
    volume.close().unwrap();
    assert_eq!(memory.usage().dirty_bytes, 0);
}

/// Inodes count too: files without content fill the limit as data does.
#[test]
fn new_files_keep_to_the_limit_too() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Valve::new(&dir, 256 * MIB);
    let limit = 2 * MIB;
    let memory = Memory::new(MIB, limit);
    let volume = Volume::create(disk.clone(), &spec(256), root().now, &memory).unwrap();
    let mut peak = 0;
    let ids: Vec<_> = (0..6000)
        .map(|number| {
            peak = peak.max(memory.usage().dirty_bytes);
            create(&volume, ROOT, format!("file {number}")).unwrap()
        })
        .collect();
    assert!(peak <= limit, "{peak} bytes of changes");
    assert!(memory.usage().cache_bytes <= memory.usage().cache_bytes_max);
    for (number, id) in ids.iter().enumerate() {
        let found = volume.lookup(&root(), ROOT, format!("file {number}").as_bytes()).unwrap();
        assert_eq!(found.id, *id);
    }
}

/// Operations that wait for a CP end when it fails.
#[test]
fn who_waits_learns_that_the_consistency_point_failed() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Valve::new(&dir, 256 * MIB);
    let memory = Memory::new(2 * MIB, MIB);
    let volume = Volume::create(disk.clone(), &spec(256), root().now, &memory).unwrap();
    let file = create(&volume, ROOT, "file".to_owned()).unwrap();
    disk.set(|state| state.allowed = Some(0));
    thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| (0..4096).try_for_each(|number| write(&volume, file, number))))
            .collect();
        disk.wait_for_writer();
        disk.set(|state| state.broken = true);
        for writer in writers {
            assert_eq!(writer.join().unwrap(), Err(FsError::ReadOnly));
        }
    });
    assert!(volume.fault().is_some());
}

/// A volume whose neighbour has all the memory gets it by and by: the neighbour is asked for a CP.
#[test]
fn a_volume_gets_memory_that_an_idle_neighbour_holds() {
    let dir = tempfile::tempdir().unwrap();
    let memory = Memory::new(2 * MIB, 4 * MIB);
    let mut volumes = Vec::new();
    // Each a little, so that none starts a CP of its own.
    for number in 0..12 {
        let disk = Arc::new(FileDisk::create(&dir.path().join(format!("{number}")), 64 * MIB).unwrap());
        let volume = Volume::create(disk, &spec(64), root().now, &memory).unwrap();
        let file = create(&volume, ROOT, "file".to_owned()).unwrap();
        (0..100).for_each(|number| write(&volume, file, number).unwrap());
        volumes.push((volume, file));
        assert!(memory.usage().dirty_bytes <= 4 * MIB);
    }
    for (volume, file) in &volumes {
        (0..500).for_each(|number| write(volume, *file, number).unwrap());
        assert!(memory.usage().dirty_bytes <= 4 * MIB);
    }
}

/// Everything is read again and again: the answers are those of a volume that keeps all in memory.
#[test]
fn a_tiny_cache_changes_no_answer() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(FileDisk::create(&dir.path().join("volume"), 128 * MIB).unwrap());
    let tuning = Tuning { cache_bytes: 0, dirty_bytes: MIB, threads: true };
    let volume = Volume::create(disk, &spec(128), root().now, tuning).unwrap();
    let files: Vec<_> = (0..2000).map(|n| create(&volume, ROOT, format!("file {n}")).unwrap()).collect();
    for round in 0..3 {
        for (number, file) in files.iter().enumerate() {
            let number = number as u64;
            write(&volume, *file, number % 7 + round).unwrap();
        }
        for (number, file) in files.iter().enumerate() {
            let found = volume.lookup(&root(), ROOT, format!("file {number}").as_bytes()).unwrap();
            assert_eq!(found.id, *file);
            let at = number as u64 % 7 + round;
            assert_eq!(found.size, (at + 1) * 4096);
            assert_eq!(volume.read(&root(), *file, at * 4096, 8).unwrap().data[..], at.to_le_bytes());
        }
    }
}

/// Nothing is written, so nothing woke up to do anything, and no CP was taken.
#[test]
fn an_idle_volume_sleeps() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Valve::new(&dir, 256 * MIB);
    let memory = Memory::new(2 * MIB, 4 * MIB);
    let volume = Volume::create(disk.clone(), &spec(256), root().now, &memory).unwrap();
    let file = create(&volume, ROOT, "file".to_owned()).unwrap();
    write(&volume, file, 1).unwrap();
    let cp = volume.consistency_point().unwrap();
    let writes = disk.writes.load(Ordering::Relaxed);
    thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(volume.consistency_point().unwrap(), cp);
    assert_eq!(disk.writes.load(Ordering::Relaxed), writes);
    assert_eq!(memory.usage().dirty_bytes, 0);
}
