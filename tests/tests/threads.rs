//! Many threads at once over a volume with its own threads and frequent CPs: nothing is lost, mixed up or half seen.
//!
//! Each worker has a directory of its own and knows what must be in it; snapshots and CPs come and go meanwhile.

#![allow(clippy::unwrap_used, reason = "a test may; clippy knows that only of functions marked as tests")]

use bytes::Bytes;
use ferry_tests::random::{Limits, Random};
use ferry_tests::replicate::copy;
use ferry_tests::seeds::for_each_seed;
use ferry_tests::sim_disk::{BrokenFlush, SimDisk, Unflushed};
use ferry_tests::verify::{dump, root};
use fsstore::{Context, CreateHow, FileId, FsError, Op, ROOT, SetAttrs, Time, Tuning, Volume, VolumeSpec};
use rand::RngExt;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const BYTES: u64 = 64 << 20;
const WORKERS: u64 = 6;

/// Threads on, and limits so low that CPs never stop.
fn busy() -> Tuning {
    Tuning { cache_bytes: 1 << 20, dirty_bytes: 512 << 10, threads: true }
}

fn now() -> Context {
    Context::root(Time { secs: 1_800_000_000, nanos: 0 })
}

/// A worker, its directory, and what must be in it.
struct Worker {
    volume: Arc<Volume>,
    dir: FileId,
    files: BTreeMap<Bytes, (FileId, Vec<u8>)>,
    random: Random,
}

impl Worker {
    fn new(volume: &Arc<Volume>, number: u64, seed: u64) -> Worker {
        let name = Bytes::from(format!("worker {number}"));
        let attrs = SetAttrs { mode: Some(0o755), ..SetAttrs::default() };
        let dir = volume.execute(&now(), Op::Mkdir { dir: ROOT, name, attrs }).unwrap().object.after.id;
        let random = Random::new(seed * 100 + number, Limits::SMALL);
        Worker { volume: volume.clone(), dir, files: BTreeMap::new(), random }
    }

    fn name(&mut self) -> Bytes {
        Bytes::from(format!("file {}", self.random.rng.random_range(0..12)))
    }

    fn step(&mut self) {
        let name = self.name();
        match (self.random.rng.random_range(0..10), self.files.contains_key(&name)) {
            (0..5, true) => self.write(&name),
            (5..7, true) => self.read(&name),
            (7, true) => {
                self.volume.execute(&now(), Op::Remove { dir: self.dir, name: name.clone() }).unwrap();
                let (id, _) = self.files.remove(&name).unwrap();
                assert_eq!(self.volume.getattr(id), Err(FsError::Stale));
            }
            (8, true) => self.rename(name),
            (9, true) => self.volume.wait_durable(self.volume.last_lsn()).unwrap(),
            (_, true) => {}
            (_, false) => {
                assert_eq!(self.volume.lookup(&root(), self.dir, &name), Err(FsError::NotFound));
                let how = CreateHow::Guarded(SetAttrs::default());
                let op = Op::Create { dir: self.dir, name: name.clone(), how };
                let id = self.volume.execute(&now(), op).unwrap().object.after.id;
                self.files.insert(name, (id, Vec::new()));
            }
        }
    }

    fn write(&mut self, name: &Bytes) {
        let (id, content) = self.files.get_mut(name).unwrap();
        let offset = self.random.rng.random_range(0..=content.len().min(300_000));
        let len = *self.random.pick(&[10, 5000, 4096 * 3, 70_000, 150_000]);
        let data = vec![self.random.rng.random(); len];
        content.resize(content.len().max(offset + len), 0);
        content[offset..offset + len].copy_from_slice(&data);
        let op = Op::Write { file: *id, offset: offset as u64, data: data.into() };
        let done = self.volume.execute(&now(), op).unwrap();
        if self.random.chance(20) {
            self.volume.wait_durable(done.lsn).unwrap();
        }
    }

    fn read(&mut self, name: &Bytes) {
        let (id, content) = &self.files[name];
        let read = self.volume.read(&root(), *id, 0, 1 << 20).unwrap();
        assert!(read.data[..] == content[..], "content of {name:?}");
    }

    fn rename(&mut self, from: Bytes) {
        let to = self.name();
        let (from_dir, to_dir) = (self.dir, self.dir);
        self.volume
            .execute(&now(), Op::Rename { from_dir, from: from.clone(), to_dir, to: to.clone() })
            .unwrap();
        if let Some(moved) = self.files.remove(&from) {
            self.files.insert(to, moved);
        }
    }

    fn check(&mut self, volume: &Arc<Volume>) {
        self.volume = volume.clone();
        let names: Vec<_> = self.files.keys().cloned().collect();
        for name in &names {
            let found = self.volume.lookup(&root(), self.dir, name).unwrap();
            assert_eq!(found.id, self.files[name].0);
            self.read(name);
        }
        let mut listed = 0;
        let visit = &mut |_: fsstore::DirEntry<'_>| {
            listed += 1;
            std::ops::ControlFlow::Continue(())
        };
        volume.readdir(&root(), self.dir, fsstore::Cookie(0), visit).unwrap();
        assert_eq!(listed, self.files.len() + 2);
    }
}

fn run(seed: u64) -> Result<(), String> {
    let disk = SimDisk::new(BYTES);
    let spec = VolumeSpec { uuid: uuid::Uuid::from_u128(9), size_bytes: BYTES };
    let volume = Volume::create(disk.clone(), &spec, now().now, busy()).unwrap();
    let mut workers: Vec<_> = (0..WORKERS).map(|number| Worker::new(&volume, number, seed)).collect();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let running: Vec<_> =
            workers.iter_mut().map(|worker| scope.spawn(|| (0..400).for_each(|_| worker.step()))).collect();
        let keeper = scope.spawn(|| keep_snapshots(&volume, &done));
        let ended: Vec<_> = running.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        keeper.join().unwrap();
        for outcome in ended {
            outcome.unwrap();
        }
    });
    workers.iter_mut().for_each(|worker| worker.check(&volume));
    volume.wait_durable(volume.last_lsn()).unwrap();
    // What a crash leaves now, and what an orderly end does.
    let history = disk.history();
    let mut cuts = history.cuts(BrokenFlush::None);
    while cuts.advance() {}
    let crashed = Volume::open(cuts.crash(Unflushed::Vanish), busy()).unwrap();
    workers.iter_mut().for_each(|worker| worker.check(&crashed));
    volume.close().unwrap();
    drop(volume);
    let reopened = Volume::open(SimDisk::from_image(disk.image(), BYTES), busy()).unwrap();
    workers.iter_mut().for_each(|worker| worker.check(&reopened));
    Ok(())
}

/// Takes snapshots, copies them away, looks at the copies, and deletes them.
fn keep_snapshots(volume: &Arc<Volume>, done: &AtomicBool) {
    let mut number = 0;
    while !done.load(Ordering::Relaxed) {
        number += 1;
        let snapshot = volume.snapshot_create(&format!("s{number}"), now().now).unwrap();
        let (copied, _) = copy(volume, &snapshot).unwrap();
        let copied = Volume::open(copied, busy()).unwrap();
        // Every block has its checksum: reading all of it is a check of all of it.
        dump(&copied).unwrap();
        volume.snapshot_delete(snapshot.id).unwrap();
        volume.consistency_point().unwrap();
    }
}

#[test]
fn many_threads_and_ceaseless_cps_lose_nothing() {
    for_each_seed(5, run);
}
