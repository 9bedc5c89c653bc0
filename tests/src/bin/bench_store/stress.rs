//! The write-heavy run: everything at full speed for minutes, every latency recorded. It shows whether consistency points
//! and log flushes hold operations up: p99 is to stay below 20 times p50.

use anyhow::Result;
use bytes::Bytes;
use ferry_tests::bench::{Better, Kind, Table};
use fsstore::{
    Context, CreateHow, FileDisk, FileId, FsError, Op, ROOT, SetAttrs, Time, Tuning, Volume, VolumeSpec,
};
use hdrhistogram::Histogram;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, RngExt, SeedableRng};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// p99 may be so many times p50.
const SPREAD_MAX: f64 = 20.0;
/// Widest bar of the histogram, in characters.
const BAR: u64 = 50;
const MIB: u64 = 1 << 20;

/// Writers of 4 KiB at random places.
const RANDOM_THREADS: u64 = 32;
/// Writers of 1 MiB, one after the other, each committed.
const SEQUENTIAL_THREADS: u64 = 2;
/// Makers of files of 4 KiB.
const FILE_THREADS: u64 = 2;
/// Files that a maker leaves before it removes its oldest.
const FILES_KEPT: u64 = 5000;

const NAMES: [&str; 4] =
    ["random 4k durable", "sequential 1 MiB + commit", "create + write 4k, durable", "remove, durable"];

const fn p99(row: &'static str) -> Kind {
    Kind { row, unit: "ms", better: Better::Less, durability: "data and metadata flushed before each counts" }
}

/// p99 of each, beside the most that it may be.
pub(crate) const KINDS: [Kind; 4] = [
    p99("write-heavy run, p99 of random 4k durable, 32 in flight"),
    p99("write-heavy run, p99 of sequential 1 MiB + commit"),
    p99("write-heavy run, p99 of create + write 4k, durable"),
    p99("write-heavy run, p99 of remove, durable"),
];

/// How large the run is. The volume is several times the data, and freed blocks are used again all the time.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) time: Duration,
    pub(crate) volume_bytes: u64,
    pub(crate) random_bytes: u64,
    /// Size of each sequential file, which is written over and over.
    pub(crate) sequential_bytes: u64,
}

impl Load {
    pub(crate) fn of(time: Duration) -> Load {
        if time < Duration::from_secs(60) {
            return Load { time, volume_bytes: 1 << 30, random_bytes: 128 * MIB, sequential_bytes: 64 * MIB };
        }
        Load { time, volume_bytes: 4 << 30, random_bytes: 1 << 30, sequential_bytes: 256 * MIB }
    }
}

/// One kind's latencies, in microseconds.
pub(crate) struct Latencies {
    pub(crate) kind: &'static str,
    pub(crate) histogram: Histogram<u64>,
}

struct Worker<'a> {
    volume: &'a Volume,
    random: Xoshiro256PlusPlus,
    data: &'a Bytes,
    end: Instant,
    histograms: Vec<Histogram<u64>>,
}

fn empty() -> Result<Vec<Histogram<u64>>> {
    Ok((0..NAMES.len()).map(|_| Histogram::new_with_bounds(1, 600_000_000, 3)).collect::<Result<_, _>>()?)
}

/// The superuser, now.
fn root() -> Context {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Context::root(Time { secs: since.as_secs().cast_signed(), nanos: since.subsec_nanos() })
}

fn create(volume: &Volume, dir: FileId, name: &str) -> Result<FileId, FsError> {
    let how = CreateHow::Guarded(SetAttrs { mode: Some(0o644), ..SetAttrs::default() });
    let name = Bytes::copy_from_slice(name.as_bytes());
    Ok(volume.execute(&root(), Op::Create { dir, name, how })?.object.after.id)
}

impl Worker<'_> {
    fn durable(
        &mut self,
        kind: usize,
        op: impl FnOnce(&Self) -> Result<fsstore::Lsn, FsError>,
    ) -> Result<()> {
        let begun = Instant::now();
        let lsn = op(self)?;
        self.volume.wait_durable(lsn)?;
        let took = u64::try_from(begun.elapsed().as_micros())?.max(1);
        self.histograms[kind].saturating_record(took);
        Ok(())
    }

    fn write(&self, file: FileId, offset: u64, len: usize) -> Result<fsstore::Lsn, FsError> {
        let op = Op::Write { file, offset, data: self.data.slice(..len) };
        Ok(self.volume.execute(&root(), op)?.lsn)
    }

    fn random(&mut self, file: FileId, bytes: u64) -> Result<()> {
        while Instant::now() < self.end {
            let offset = self.random.random_range(0..bytes / 4096) * 4096;
            self.durable(0, |this| this.write(file, offset, 4096))?;
        }
        Ok(())
    }

    fn sequential(&mut self, file: FileId, bytes: u64) -> Result<()> {
        let mut offset = 0;
        while Instant::now() < self.end {
            self.durable(1, |this| this.write(file, offset, 1 << 20))?;
            offset = (offset + MIB) % bytes;
        }
        Ok(())
    }

    fn files(&mut self, dir: FileId) -> Result<()> {
        let mut number = 0;
        while Instant::now() < self.end {
            self.durable(2, |this| {
                let file = create(this.volume, dir, &number.to_string())?;
                this.write(file, 0, 4096)
            })?;
            if number >= FILES_KEPT {
                let name = Bytes::from((number - FILES_KEPT).to_string());
                self.durable(3, |this| Ok(this.volume.execute(&root(), Op::Remove { dir, name })?.lsn))?;
            }
            number += 1;
        }
        Ok(())
    }
}

/// Runs the load, prints its histograms, and fills in the rows.
pub(crate) fn measure(dir: &Path, time: Duration, table: &mut Table) -> Result<()> {
    eprintln!("write-heavy run of {} s", time.as_secs());
    for (kind, latencies) in KINDS.iter().zip(run(dir, Load::of(time))?) {
        latencies.print(time);
        table.push_more(latencies.json());
        // Fewer have no p99 that could be relied on.
        if latencies.histogram.len() >= 1000 {
            let peer = format!("{SPREAD_MAX} times its p50");
            table.push(kind, &peer, latencies.at(0.99), latencies.at(0.5) * SPREAD_MAX);
        }
    }
    println!();
    Ok(())
}

/// Runs the load in a volume of its own in `dir`.
pub(crate) fn run(dir: &Path, load: Load) -> Result<Vec<Latencies>> {
    let path = dir.join("write-heavy");
    let disk = Arc::new(FileDisk::create(&path, load.volume_bytes)?);
    let spec = VolumeSpec { uuid: uuid::Uuid::new_v4(), size_bytes: load.volume_bytes };
    let volume = Volume::create(disk, &spec, root().now, Tuning::default())?;
    let mut data = vec![0; 1 << 20];
    Xoshiro256PlusPlus::seed_from_u64(1).fill_bytes(&mut data);
    let data = Bytes::from(data);
    let random = create(&volume, ROOT, "random")?;
    fill(&volume, random, load.random_bytes, &data)?;
    let mut sequential = Vec::new();
    for number in 0..SEQUENTIAL_THREADS {
        let file = create(&volume, ROOT, &format!("sequential {number}"))?;
        fill(&volume, file, load.sequential_bytes, &data)?;
        sequential.push(file);
    }
    let attrs = SetAttrs { mode: Some(0o755), ..SetAttrs::default() };
    let mut dirs = Vec::new();
    for number in 0..FILE_THREADS {
        let op = Op::Mkdir { dir: ROOT, name: Bytes::from(format!("files {number}")), attrs };
        dirs.push(volume.execute(&root(), op)?.object.after.id);
    }
    volume.consistency_point()?;
    let end = Instant::now() + load.time;
    let mut all = empty()?;
    thread::scope(|scope| -> Result<()> {
        let worker = |seed| -> Result<Worker<'_>> {
            let random = Xoshiro256PlusPlus::seed_from_u64(seed);
            Ok(Worker { volume: &volume, random, data: &data, end, histograms: empty()? })
        };
        let mut running = Vec::new();
        for number in 0..RANDOM_THREADS {
            let mut worker = worker(number)?;
            running.push(
                scope.spawn(move || worker.random(random, load.random_bytes).map(|()| worker.histograms)),
            );
        }
        for file in sequential {
            let mut worker = worker(0)?;
            running.push(
                scope.spawn(move || {
                    worker.sequential(file, load.sequential_bytes).map(|()| worker.histograms)
                }),
            );
        }
        for dir in dirs {
            let mut worker = worker(0)?;
            running.push(scope.spawn(move || worker.files(dir).map(|()| worker.histograms)));
        }
        for thread in running {
            let histograms = thread.join().expect("a benchmark thread panicked")?;
            for (sum, one) in all.iter_mut().zip(histograms) {
                sum.add(one)?;
            }
        }
        Ok(())
    })?;
    drop(volume);
    std::fs::remove_file(&path)?;
    Ok(NAMES.into_iter().zip(all).map(|(kind, histogram)| Latencies { kind, histogram }).collect())
}

fn fill(volume: &Volume, file: FileId, bytes: u64, data: &Bytes) -> Result<()> {
    for offset in (0..bytes).step_by(1 << 20) {
        volume.execute(&root(), Op::Write { file, offset, data: data.clone() })?;
    }
    Ok(volume.wait_durable(volume.last_lsn())?)
}

impl Latencies {
    fn at(&self, quantile: f64) -> f64 {
        self.histogram.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// All of it, for programs.
    pub(crate) fn json(&self) -> Value {
        let buckets: Vec<_> = self
            .buckets()
            .into_iter()
            .map(|(below_us, count)| json!({"below_us": below_us, "count": count}))
            .collect();
        json!({
            "row": format!("write-heavy run, latencies of {}", self.kind),
            "unit": "ms",
            "count": self.histogram.len(),
            "p50": self.at(0.5),
            "p90": self.at(0.9),
            "p99": self.at(0.99),
            "p99.9": self.at(0.999),
            "max": self.histogram.max() as f64 / 1000.0,
            "histogram": buckets,
        })
    }

    /// Counts below each power of two of microseconds, from the first that has any to the last.
    fn buckets(&self) -> Vec<(u64, u64)> {
        let mut buckets = Vec::new();
        let mut low = 0;
        while low <= self.histogram.max() {
            let high = (low * 2).max(64);
            let count = self.histogram.count_between(low, high - 1);
            if count > 0 || !buckets.is_empty() {
                buckets.push((high, count));
            }
            low = high;
        }
        buckets
    }

    pub(crate) fn print(&self, time: Duration) {
        let rate = self.histogram.len() as f64 / time.as_secs_f64();
        println!("\n{}: {} in all, {rate:.0} per second; milliseconds:", self.kind, self.histogram.len());
        let (p50, p90, p99, p999) = (self.at(0.5), self.at(0.9), self.at(0.99), self.at(0.999));
        let max = self.histogram.max() as f64 / 1000.0;
        println!(
            "  p50 {p50:.2}  p90 {p90:.2}  p99 {p99:.2}  p99.9 {p999:.2}  max {max:.1}  p99/p50 {:.1}",
            p99 / p50
        );
        let most = self.buckets().iter().map(|(_, count)| *count).max().unwrap_or(1).max(1);
        for (below_us, count) in self.buckets() {
            let bar = usize::try_from((count * BAR).div_ceil(most)).unwrap_or(0);
            println!("  < {:10.3} ms {count:10} {}", below_us as f64 / 1000.0, "#".repeat(bar));
        }
    }
}
