//! What snapshots cost, in a small volume and in a large one with many files.

use crate::volume::{create, root};
use anyhow::{Context as _, Result};
use bytes::Bytes;
use ferry_tests::bench::{Better, Kind, Table};
use fsstore::{Disk, FileDisk, FileId, Op, ROOT, Tuning, Volume, VolumeSpec};
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const CREATE: Kind = Kind {
    row: "snapshot create after a small change",
    unit: "ms",
    better: Better::Less,
    durability: "the snapshot and all before it are durable",
};
const DIFF: Kind = Kind {
    row: "snapdiff of 1,000 blocks, KiB of the block map read",
    unit: "KiB",
    better: Better::Less,
    durability: "none: reads only",
};
/// The rows of this group.
pub(crate) const KINDS: [Kind; 2] = [CREATE, DIFF];

const SMALL: (u64, u64) = (1 << 30, 1000);
const LARGE: u64 = 256 << 30;
const SNAPSHOTS: u64 = 21;
const BLOCK: u64 = 4096;
const DATA: u64 = 64 << 20;

/// Counts what is read.
struct Counted {
    disk: FileDisk,
    read: AtomicU64,
}

impl Disk for Counted {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.read.fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.disk.read_at(buf, offset)
    }
    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.disk.write_at(bufs, offset)
    }
    fn write_durable(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.disk.write_durable(bufs, offset)
    }
    fn flush(&self) -> io::Result<()> {
        self.disk.flush()
    }
    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.disk.discard(offset, len)
    }
}

/// Milliseconds of each snapshot, and KiB that a difference reads.
struct Costs {
    create: Vec<f64>,
    diff: f64,
}

/// Both volumes, one after the other.
pub(crate) fn measure(dir: &Path, many_files: u64, table: &mut Table) -> Result<()> {
    eprintln!("snapshots: 1 GiB with {} files, then 256 GiB with {many_files}", SMALL.1);
    let small = costs(dir, SMALL.0, SMALL.1)?;
    let large = costs(dir, LARGE, many_files)?;
    for (large, small) in large.create.iter().zip(&small.create) {
        table.push(&CREATE, "256 GiB with many files beside 1 GiB with few", *large, *small);
    }
    table.push(&DIFF, "the map of 256 GiB", large.diff, (LARGE / BLOCK / 8 / 1024) as f64);
    Ok(())
}

fn costs(dir: &Path, size_bytes: u64, files: u64) -> Result<Costs> {
    let path = dir.join("snapshots");
    let disk = Arc::new(FileDisk::create(&path, size_bytes)?);
    let spec = VolumeSpec { uuid: uuid::Uuid::new_v4(), size_bytes };
    let volume = Volume::create(disk, &spec, root().now, Tuning::default())?;
    for number in 0..files {
        create(&volume, ROOT, &format!("file {number}"))?;
    }
    let file = create(&volume, ROOT, "data")?;
    for offset in (0..DATA).step_by(1 << 20) {
        write(&volume, file, offset, 1 << 20)?;
    }
    volume.consistency_point()?;
    let mut times = Vec::new();
    for number in 0..SNAPSHOTS {
        write(&volume, file, number * BLOCK, 4096)?;
        let begun = Instant::now();
        volume.snapshot_create(&format!("{number}"), root().now)?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let older = volume.snapshots().last().context("a snapshot")?.id;
    for number in 0..1000 {
        write(&volume, file, number * 7919 % (DATA / BLOCK) * BLOCK, 4096)?;
    }
    let newer = volume.snapshot_create("newer", root().now)?.id;
    volume.close()?;
    drop(volume);
    let disk = Arc::new(Counted { disk: FileDisk::open(&path)?, read: AtomicU64::new(0) });
    let volume = Volume::open(disk.clone(), Tuning::default())?;
    let before = disk.read.load(Ordering::Relaxed);
    for run in volume.snapdiff(Some(older), newer)? {
        run?;
    }
    let diff = (disk.read.load(Ordering::Relaxed) - before) as f64 / 1024.0;
    volume.close()?;
    std::fs::remove_file(&path)?;
    Ok(Costs { create: times, diff })
}

fn write(volume: &Volume, file: FileId, offset: u64, len: usize) -> Result<()> {
    volume.execute(
        &root(),
        Op::Write { file, offset, data: Bytes::from(vec![offset.to_le_bytes()[1]; len]) },
    )?;
    Ok(())
}
