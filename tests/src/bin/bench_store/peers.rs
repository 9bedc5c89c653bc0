//! The peers: `dd`, and plain files of the host's file system with as much concurrency and durability.

use crate::rate;
use anyhow::{Context as _, Result, ensure};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Size of the file for random writes.
pub(crate) const RANDOM_BYTES: u64 = 256 << 20;
/// Requests in flight.
pub(crate) const THREADS: u64 = 32;

/// Plain files in one directory.
pub(crate) struct Peers {
    dir: PathBuf,
    random: File,
}

impl Peers {
    pub(crate) fn new(dir: &Path) -> Result<Peers> {
        let dir = dir.join("peers");
        std::fs::create_dir(&dir)?;
        let random = File::options().read(true).write(true).create_new(true).open(dir.join("random"))?;
        let block = vec![7; 1 << 20];
        for at in (0..RANDOM_BYTES).step_by(1 << 20) {
            random.write_all_at(&block, at)?;
        }
        random.sync_all()?;
        Ok(Peers { dir, random })
    }

    /// `dd if=/dev/zero bs=1M conv=fsync`: MB/s, by this process's clock.
    pub(crate) fn dd(&self, bytes: u64) -> Result<f64> {
        let path = self.dir.join("sequential");
        if path.exists() {
            std::fs::remove_file(&path)?;
        }
        let begun = Instant::now();
        let output = Command::new("dd")
            .arg("if=/dev/zero")
            .arg(format!("of={}", path.display()))
            .args(["bs=1M", "conv=fsync", &format!("count={}", bytes >> 20)])
            .output()
            .context("dd does not start")?;
        let took = begun.elapsed();
        ensure!(output.status.success(), "dd: {}", String::from_utf8_lossy(&output.stderr));
        Ok(rate(bytes, took))
    }

    /// Writes of 4 KiB at random places of a file that is there, each with its own fdatasync: writes in each second.
    pub(crate) fn random_write(&self, threads: u64, time: Duration) -> Result<f64> {
        let count = AtomicU64::new(0);
        let begun = Instant::now();
        let write = |seed| -> Result<()> {
            let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
            let block = [seed.to_le_bytes()[0]; 4096];
            while begun.elapsed() < time {
                self.random.write_all_at(&block, random.random_range(0..RANDOM_BYTES / 4096) * 4096)?;
                self.random.sync_data()?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        in_threads(threads, &write)?;
        Ok(count.into_inner() as f64 / begun.elapsed().as_secs_f64())
    }

    /// Reads what `dd` wrote, a MiB at a time: MB/s.
    pub(crate) fn sequential_read(&self, bytes: u64) -> Result<f64> {
        let path = self.dir.join("sequential");
        if !path.exists() {
            self.dd(bytes)?;
        }
        let file = File::open(path)?;
        let mut buf = vec![0; 1 << 20];
        let begun = Instant::now();
        for at in (0..bytes).step_by(1 << 20) {
            file.read_exact_at(&mut buf, at)?;
            std::hint::black_box(&buf);
        }
        Ok(rate(bytes, begun.elapsed()))
    }

    /// Makes files of 4 KiB, each with an fsync, which on ext4 makes its name durable too: files in each second.
    pub(crate) fn small_files(&self, round: usize, files: usize) -> Result<f64> {
        let dir = self.dir.join(format!("small {round}"));
        std::fs::create_dir(&dir)?;
        let next = AtomicUsize::new(0);
        let begun = Instant::now();
        let make = |_| -> Result<()> {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= files {
                    return Ok(());
                }
                let file = File::options().write(true).create_new(true).open(dir.join(number.to_string()))?;
                file.write_all_at(&[5; 4096], 0)?;
                file.sync_all()?;
            }
        };
        in_threads(THREADS, &make)?;
        Ok(files as f64 / begun.elapsed().as_secs_f64())
    }
}

/// Runs `work` in as many threads, each with its number; the first error of any.
pub(crate) fn in_threads(threads: u64, work: &(impl Fn(u64) -> Result<()> + Sync)) -> Result<()> {
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|number| scope.spawn(move || work(number))).collect();
        running.into_iter().try_for_each(|thread| thread.join().expect("a benchmark thread panicked"))
    })
}
