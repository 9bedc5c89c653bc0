//! Ferry's side: a volume in a file beside the peers'.

use crate::peers::{RANDOM_BYTES, THREADS, in_threads};
use crate::rate;
use anyhow::{Result, ensure};
use bytes::Bytes;
use fsstore::{Context, CreateHow, FileDisk, FileId, Op, ROOT, SetAttrs, Time, Tuning, Volume, VolumeSpec};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, RngExt, SeedableRng};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Name of the file for random writes.
pub(crate) const RANDOM: &str = "random";
/// Name of the file for sequential ones.
const SEQUENTIAL: &str = "sequential";
/// Writes in flight in the sequential row.
const STREAMS: u64 = 4;

/// With room for the file that is read again.
const TUNING: Tuning = Tuning { cache_bytes: 2 << 30, dirty_bytes: 128 << 20, threads: true };

/// The volume under test.
pub(crate) struct Bench {
    pub(crate) volume: Arc<Volume>,
    random: FileId,
    data: Bytes,
}

/// The superuser, now.
pub(crate) fn root() -> Context {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Context::root(Time { secs: since.as_secs().cast_signed(), nanos: since.subsec_nanos() })
}

impl Bench {
    pub(crate) fn new(dir: &Path) -> Result<Bench> {
        let size_bytes = 8 << 30;
        let disk = Arc::new(FileDisk::create(&dir.join("volume"), size_bytes)?);
        let spec = VolumeSpec { uuid: uuid::Uuid::new_v4(), size_bytes };
        let volume = Volume::create(disk, &spec, root().now, TUNING)?;
        let mut data = vec![0; 1 << 20];
        Xoshiro256PlusPlus::seed_from_u64(1).fill_bytes(&mut data);
        let bench = Bench { random: create(&volume, ROOT, RANDOM)?, volume, data: data.into() };
        bench.fill(bench.random, RANDOM_BYTES)?;
        bench.volume.consistency_point()?;
        Ok(bench)
    }

    /// An empty file for sequential writes, in place of the last round's.
    pub(crate) fn fresh_sequential(&self) -> Result<FileId> {
        let name = Bytes::from_static(SEQUENTIAL.as_bytes());
        if self.volume.lookup(&root(), ROOT, &name).is_ok() {
            self.volume.execute(&root(), Op::Remove { dir: ROOT, name })?;
            self.volume.consistency_point()?;
        }
        create(&self.volume, ROOT, SEQUENTIAL)
    }

    fn fill(&self, file: FileId, bytes: u64) -> Result<()> {
        let next = AtomicU64::new(0);
        let write = |_| -> Result<()> {
            loop {
                let offset = next.fetch_add(1 << 20, Ordering::Relaxed);
                if offset >= bytes {
                    return Ok(());
                }
                self.volume.execute(&root(), Op::Write { file, offset, data: self.data.clone() })?;
            }
        };
        in_threads(STREAMS, &write)?;
        Ok(self.volume.wait_durable(self.volume.last_lsn())?)
    }

    pub(crate) fn sequential_write(&self, bytes: u64) -> Result<f64> {
        let file = self.fresh_sequential()?;
        let begun = Instant::now();
        self.fill(file, bytes)?;
        Ok(rate(bytes, begun.elapsed()))
    }

    /// Reads the sequential file when it was read once before: as a server does, which sends pages of the cache as they are
    /// (`copied` is false), or into one buffer for each call.
    pub(crate) fn sequential_read(&self, bytes: u64, copied: bool) -> Result<f64> {
        if self.volume.lookup(&root(), ROOT, SEQUENTIAL.as_bytes()).is_err() {
            self.sequential_write(bytes)?;
        }
        self.read_all(bytes, copied)?;
        self.read_all(bytes, copied)
    }

    fn read_all(&self, bytes: u64, copied: bool) -> Result<f64> {
        let file = self.volume.lookup(&root(), ROOT, SEQUENTIAL.as_bytes())?.id;
        let begun = Instant::now();
        for at in (0..bytes).step_by(1 << 20) {
            let rope = self.volume.read_rope(&root(), file, at, 1 << 20)?.data;
            ensure!(rope.len() == 1 << 20, "a short read");
            if copied {
                std::hint::black_box(&rope.to_bytes());
            }
            std::hint::black_box(&rope);
        }
        Ok(rate(bytes, begun.elapsed()))
    }

    pub(crate) fn random_write(&self, time: Duration) -> Result<f64> {
        let count = AtomicU64::new(0);
        let begun = Instant::now();
        let write = |seed| -> Result<()> {
            let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
            let data = self.data.slice(..4096);
            while begun.elapsed() < time {
                let offset = random.random_range(0..RANDOM_BYTES / 4096) * 4096;
                let op = Op::Write { file: self.random, offset, data: data.clone() };
                let done = self.volume.execute(&root(), op)?;
                self.volume.wait_durable(done.lsn)?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        in_threads(THREADS, &write)?;
        Ok(count.into_inner() as f64 / begun.elapsed().as_secs_f64())
    }

    pub(crate) fn small_files(&self, round: usize, files: usize) -> Result<f64> {
        let name = Bytes::from(format!("small {round}"));
        let attrs = SetAttrs { mode: Some(0o755), ..SetAttrs::default() };
        let dir = self.volume.execute(&root(), Op::Mkdir { dir: ROOT, name, attrs })?.object.after.id;
        let next = AtomicUsize::new(0);
        let begun = Instant::now();
        let make = |_| -> Result<()> {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= files {
                    return Ok(());
                }
                let file = create(&self.volume, dir, &number.to_string())?;
                let op = Op::Write { file, offset: 0, data: self.data.slice(..4096) };
                let done = self.volume.execute(&root(), op)?;
                self.volume.wait_durable(done.lsn)?;
            }
        };
        in_threads(THREADS, &make)?;
        Ok(files as f64 / begun.elapsed().as_secs_f64())
    }
}

/// Makes a file.
pub(crate) fn create(volume: &Volume, dir: FileId, name: &str) -> Result<FileId> {
    let how = CreateHow::Guarded(SetAttrs { mode: Some(0o644), ..SetAttrs::default() });
    let name = Bytes::copy_from_slice(name.as_bytes());
    Ok(volume.execute(&root(), Op::Create { dir, name, how })?.object.after.id)
}
