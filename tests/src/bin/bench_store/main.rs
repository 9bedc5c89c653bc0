//! `cargo xtask bench store`: a volume beside plain files and the bare device of the same disk, in one run; and the same
//! volume over NFS.
//!
//! What belongs together is measured in a group, one after the other in each round, so that noise hits both sides alike.

mod caller;
mod memory;
mod nfs;
mod peers;
mod raw;
mod snapshots;
mod stress;
mod volume;

use anyhow::{Context as _, Result};
use ferry_tests::bench::{Better, Kind, Options, Table};
use nfs::Served;
use peers::Peers;
use raw::Raw;
use std::path::Path;
use std::time::Duration;
use volume::Bench;

const FDATASYNC: &str = "data and metadata flushed before each acknowledgement";
const AT_END: &str = "flushed once, at the end, in the time measured";
const NONE: &str = "none; from memory";

const fn more(row: &'static str, unit: &'static str, durability: &'static str) -> Kind {
    Kind { row, unit, better: Better::More, durability }
}

const SEQUENTIAL_WRITE: Kind = more("sequential write 1 MiB", "MB/s", AT_END);
const SEQUENTIAL_WRITE_NFS: Kind = more("sequential write 1 MiB UNSTABLE + COMMIT over NFS", "MB/s", AT_END);
const RANDOM_WRITE: Kind = more("random 4k durable, 32 in flight", "writes/s", FDATASYNC);
const RANDOM_WRITE_NFS: Kind =
    more("random 4k durable FILE_SYNC over NFS, 32 in flight", "writes/s", FDATASYNC);
const SEQUENTIAL_READ: Kind = more("sequential read 1 MiB, cached, as sent to sockets", "MB/s", NONE);
const SEQUENTIAL_READ_COPIED: Kind = more("sequential read 1 MiB, cached, copied to a buffer", "MB/s", NONE);
const SMALL_FILES: Kind = more("small files of 4k durable, 32 in flight", "files/s", FDATASYNC);

/// How much is done in each round.
#[derive(Clone, Copy)]
struct Size {
    rounds: usize,
    sequential_bytes: u64,
    random_for: Duration,
    files: usize,
    /// Files of the large volume whose snapshots are measured.
    many_files: u64,
    write_heavy_for: Duration,
}

const QUICK: Size = Size {
    rounds: 3,
    sequential_bytes: 256 << 20,
    random_for: Duration::from_secs(2),
    files: 5000,
    many_files: 100_000,
    write_heavy_for: Duration::from_secs(20),
};

const FULL: Size = Size {
    rounds: 5,
    sequential_bytes: 1 << 30,
    random_for: Duration::from_secs(5),
    files: 100_000,
    many_files: 1_000_000,
    write_heavy_for: Duration::from_secs(600),
};

/// Ferry and what it is measured beside, all in one directory.
struct Sides<'a> {
    size: Size,
    bench: &'a Bench,
    served: Served<'a>,
    peers: Peers,
    raw: Raw,
}

/// Rows that one round fills together.
struct Group {
    kinds: &'static [Kind],
    round: fn(&Sides<'_>, &mut Table, usize) -> Result<()>,
}

const GROUPS: [Group; 4] = [
    Group { kinds: &[SEQUENTIAL_WRITE, SEQUENTIAL_WRITE_NFS], round: sequential_write },
    Group { kinds: &[RANDOM_WRITE, RANDOM_WRITE_NFS], round: random_write },
    Group { kinds: &[SEQUENTIAL_READ, SEQUENTIAL_READ_COPIED], round: sequential_read },
    Group { kinds: &[SMALL_FILES], round: small_files },
];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, of @ ..] = &arguments[..]
        && first == memory::CHILD
    {
        return memory::measured(of);
    }
    let options = Options::parse(arguments.into_iter())?;
    let size = if options.quick { QUICK } else { FULL };
    // The build directory is on a real disk, which a temporary directory need not be.
    let here = std::env::current_exe()?;
    let here = here.parent().context("the program is in no directory")?;
    let dir = tempfile::Builder::new().prefix("bench-").tempdir_in(here)?;
    let mut table = Table::default();
    let groups: Vec<_> =
        GROUPS.iter().filter(|group| group.kinds.iter().any(|kind| options.wants(kind.row))).collect();
    if !groups.is_empty() {
        in_rounds(dir.path(), size, &groups, &mut table)?;
    }
    if snapshots::KINDS.iter().any(|kind| options.wants(kind.row)) {
        snapshots::measure(dir.path(), size.many_files, &mut table)?;
    }
    if memory::KINDS.iter().any(|kind| options.wants(kind.row)) {
        memory::measure(dir.path(), size.many_files, &mut table)?;
    }
    if stress::KINDS.iter().any(|kind| options.wants(kind.row)) {
        let time = options.minutes.map_or(size.write_heavy_for, |minutes| Duration::from_secs(minutes * 60));
        stress::measure(dir.path(), time, &mut table)?;
    }
    table.report(&options)
}

fn in_rounds(dir: &Path, size: Size, groups: &[&Group], table: &mut Table) -> Result<()> {
    let bench = Bench::new(dir)?;
    let sides = Sides {
        size,
        bench: &bench,
        served: Served::new(&bench)?,
        peers: Peers::new(dir)?,
        raw: Raw::new(dir, size.sequential_bytes)?,
    };
    for round in 1..=size.rounds {
        eprintln!("round {round} of {}", size.rounds);
        for group in groups {
            (group.round)(&sides, table, round)?;
        }
    }
    Ok(())
}

fn sequential_write(sides: &Sides<'_>, table: &mut Table, _: usize) -> Result<()> {
    let bytes = sides.size.sequential_bytes;
    let ferry = sides.bench.sequential_write(bytes)?;
    let dd = sides.peers.dd(bytes)?;
    let nfs = sides.served.sequential_write(bytes)?;
    table.push(&SEQUENTIAL_WRITE, "dd conv=fsync", ferry, dd);
    if let Some(raw) = sides.raw.sequential_write()? {
        table.push(&SEQUENTIAL_WRITE, "fio, O_DIRECT", ferry, raw);
    }
    table.push(&SEQUENTIAL_WRITE_NFS, "dd conv=fsync", nfs, dd);
    Ok(())
}

fn random_write(sides: &Sides<'_>, table: &mut Table, _: usize) -> Result<()> {
    let time = sides.size.random_for;
    let ferry = sides.bench.random_write(time)?;
    let one = sides.peers.random_write(1, time)?;
    let nfs = sides.served.random_write(time)?;
    let many = sides.peers.random_write(32, time)?;
    table.push(&RANDOM_WRITE, "plain file, 32 threads", ferry, many);
    table.push(&RANDOM_WRITE, "one fdatasync per write", ferry, one);
    if let Some(raw) = sides.raw.random_write(time)? {
        table.push(&RANDOM_WRITE, "fio, O_DIRECT and O_DSYNC", ferry, raw);
    }
    table.push(&RANDOM_WRITE_NFS, "one fdatasync per write", nfs, one);
    Ok(())
}

fn sequential_read(sides: &Sides<'_>, table: &mut Table, _: usize) -> Result<()> {
    let bytes = sides.size.sequential_bytes;
    let ferry = sides.bench.sequential_read(bytes, false)?;
    let peer = sides.peers.sequential_read(bytes)?;
    table.push(&SEQUENTIAL_READ, "pread into one buffer", ferry, peer);
    table.push(
        &SEQUENTIAL_READ_COPIED,
        "pread into one buffer",
        sides.bench.sequential_read(bytes, true)?,
        peer,
    );
    Ok(())
}

fn small_files(sides: &Sides<'_>, table: &mut Table, round: usize) -> Result<()> {
    let ferry = sides.bench.small_files(round, sides.size.files)?;
    let plain = sides.peers.small_files(round, sides.size.files)?;
    table.push(&SMALL_FILES, "plain files, 32 threads", ferry, plain);
    Ok(())
}

/// Megabytes in each second.
fn rate(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / 1e6 / took.as_secs_f64()
}
