//! `cargo xtask bench store`: a volume beside plain files on the same disk, in one run; and the same over NFS.

mod memory;
mod nfs;
mod peers;
mod stress;
mod volume;

use anyhow::{Context as _, Result};
use ferry_tests::bench::{Better, Options, Row, report_with};
use nfs::Served;
use peers::Peers;
use std::path::Path;
use std::time::Duration;
use stress::{Latencies, Load};
use volume::Bench;

const FDATASYNC: &str = "data and metadata flushed before each acknowledgement";
const AT_END: &str = "flushed once, at the end, in the time measured";
const NONE: &str = "none; from the host's page cache";

/// How much is done in each round.
#[derive(Clone, Copy)]
struct Size {
    rounds: usize,
    sequential_bytes: u64,
    random_for: Duration,
    files: usize,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, of @ ..] = &arguments[..]
        && first == memory::CHILD
    {
        return memory::measured(of);
    }
    let options = Options::parse(arguments.into_iter())?;
    let size = if options.quick {
        Size { rounds: 3, sequential_bytes: 256 << 20, random_for: Duration::from_secs(2), files: 1000 }
    } else {
        Size { rounds: 7, sequential_bytes: 1 << 30, random_for: Duration::from_secs(5), files: 5000 }
    };
    // The build directory is on a real disk, which a temporary directory need not be.
    let here = std::env::current_exe()?;
    let here = here.parent().context("the program is in no directory")?;
    let dir = tempfile::Builder::new().prefix("bench-").tempdir_in(here)?;
    let mut rows = if options.minutes.is_some() { Vec::new() } else { measure(dir.path(), size)? };
    if options.minutes.is_none() {
        eprintln!("memory");
        rows.extend(memory::rows(dir.path(), if options.quick { 100_000 } else { 1_000_000 })?);
    }
    let seconds = options.minutes.map_or(if options.quick { 20 } else { 60 }, |minutes| minutes * 60);
    let latencies = write_heavy(dir.path(), Duration::from_secs(seconds))?;
    rows.extend(latencies.iter().filter(|of| of.has_enough()).map(Latencies::row));
    let more: Vec<_> = latencies.iter().map(Latencies::json).collect();
    report_with(&rows, &more, options.json.as_deref())
}

/// The run that records every latency, with its histograms.
fn write_heavy(dir: &Path, time: Duration) -> Result<Vec<Latencies>> {
    eprintln!("write-heavy run of {} s", time.as_secs());
    let latencies = stress::run(dir, Load::of(time))?;
    latencies.iter().for_each(|of| of.print(time));
    println!();
    Ok(latencies)
}

fn row(row: &str, peer: &str, unit: &'static str, durability: &'static str) -> Row {
    let (row, peer) = (row.to_owned(), peer.to_owned());
    Row { row, peer, unit, better: Better::More, ferry: Vec::new(), peers: Vec::new(), durability }
}

fn measure(dir: &Path, size: Size) -> Result<Vec<Row>> {
    let peers = Peers::new(dir)?;
    let bench = Bench::new(dir)?;
    let served = Served::new(&bench)?;
    let mut rows = [
        row("sequential write 1 MiB", "dd conv=fsync", "MB/s", AT_END),
        row("sequential write 1 MiB UNSTABLE + COMMIT over NFS", "dd conv=fsync", "MB/s", AT_END),
        row("random 4k durable, 32 in flight", "one fdatasync per write", "writes/s", FDATASYNC),
        row(
            "random 4k durable FILE_SYNC over NFS, 32 in flight",
            "one fdatasync per write",
            "writes/s",
            FDATASYNC,
        ),
        row("random 4k durable, 32 in flight", "plain file, 32 threads", "writes/s", FDATASYNC),
        row("sequential read 1 MiB", "plain file", "MB/s", NONE),
        row("small files of 4k durable, 32 in flight", "plain files, 32 threads", "files/s", FDATASYNC),
    ];
    for round in 1..=size.rounds {
        eprintln!("round {round} of {}", size.rounds);
        let ferry = bench.sequential_write(size.sequential_bytes)?;
        let dd = peers.dd(size.sequential_bytes)?;
        let nfs = served.sequential_write(size.sequential_bytes)?;
        push(&mut rows[0], ferry, dd);
        push(&mut rows[1], nfs, dd);

        let ferry = bench.random_write(size.random_for)?;
        let one = peers.random_write(1, size.random_for)?;
        let nfs = served.random_write(size.random_for)?;
        let many = peers.random_write(32, size.random_for)?;
        push(&mut rows[2], ferry, one);
        push(&mut rows[3], nfs, one);
        push(&mut rows[4], ferry, many);

        push(
            &mut rows[5],
            bench.sequential_read(size.sequential_bytes)?,
            peers.sequential_read(size.sequential_bytes)?,
        );
        push(&mut rows[6], bench.small_files(round, size.files)?, peers.small_files(round, size.files)?);
    }
    Ok(rows.to_vec())
}

fn push(row: &mut Row, ferry: f64, peer: f64) {
    row.ferry.push(ferry);
    row.peers.push(peer);
}

/// Megabytes in each second.
fn rate(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / 1e6 / took.as_secs_f64()
}
