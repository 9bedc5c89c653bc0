//! The memory rows: the peak of a process that makes very many files, and what idle volumes cost. Each is measured in a process of
//! its own, which this program starts again for it.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use ferry_tests::bench::{Better, Kind, Table};
use fsstore::{Context, CreateHow, FileDisk, FileId, Memory, Op, ROOT, SetAttrs, Volume, VolumeSpec};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// First argument of a process that is to be measured.
pub(crate) const CHILD: &str = "--measured";
const MIB: u64 = 1 << 20;
const CACHE_BYTES: u64 = 64 * MIB;
const DIRTY_BYTES: u64 = 128 * MIB;
const FILES_PER_DIR: u64 = 10_000;
const IDLE_VOLUMES: u64 = 20;
const IDLE: Duration = Duration::from_secs(10);
/// Clock ticks of `/proc/self/stat` in a second.
const TICKS_PER_S: f64 = 100.0;

const fn less(row: &'static str, unit: &'static str) -> Kind {
    Kind { row, unit, better: Better::Less, durability: "none" }
}

/// What is measured here.
pub(crate) const KINDS: [Kind; 4] = [
    less("memory, peak while making many files in a volume of 8 GiB", "MiB"),
    less("memory, peak while making many files in a volume of 64 GiB", "MiB"),
    less("memory of one of 20 idle volumes", "KiB"),
    less("processor time of 20 idle volumes in 10 s", "ms"),
];

/// Runs the measurements in `dir`; `files` are made for the first two.
pub(crate) fn measure(dir: &Path, files: u64, table: &mut Table) -> Result<()> {
    eprintln!("memory");
    let limits = (CACHE_BYTES + DIRTY_BYTES) / MIB;
    for (kind, volume_gib) in [(&KINDS[0], "8"), (&KINDS[1], "64")] {
        let out = child(dir, &["files", &files.to_string(), volume_gib])?;
        let peer = format!("limits of cache and changes, {files} files");
        table.push(kind, &peer, number(&out, "peak_kib")? / 1024.0, limits as f64);
    }
    child(dir, &["prepare"])?;
    let out = child(dir, &["idle"])?;
    table.push(&KINDS[2], "1 MiB", number(&out, "volume_kib")?, 1024.0);
    table.push(&KINDS[3], "a thousandth of a processor", number(&out, "cpu_ms")?, 10.0);
    Ok(())
}

fn child(dir: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new(std::env::current_exe()?).arg(CHILD).arg(dir).args(arguments).output()?;
    ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

fn number(text: &str, key: &str) -> Result<f64> {
    let value =
        text.lines().find_map(|line| line.strip_prefix(key)).context("the measured process says nothing")?;
    Ok(value.trim().parse()?)
}

/// A line of `/proc/self/status` in KiB.
fn status_kib(key: &str) -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)).context("no such line")?;
    Ok(value.trim_matches([':', ' ', '\t']).trim_end_matches(" kB").trim().parse()?)
}

/// Processor time of this process so far, in ticks.
fn cpu_ticks() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    // Behind the name, which may hold anything, `utime` and `stime` are fields 12 and 13.
    let (_, fields) = text.rsplit_once(')').context("/proc/self/stat")?;
    fields.split_whitespace().skip(11).take(2).map(|field| Ok(field.parse::<u64>()?)).sum()
}

/// The process that is measured. Prints what it finds.
pub(crate) fn measured(arguments: &[String]) -> Result<()> {
    let dir = PathBuf::from(arguments.first().context("no directory")?);
    let arguments: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    match arguments[..] {
        ["files", files, volume_gib] => many_files(&dir, files.parse()?, volume_gib.parse::<u64>()? << 30),
        ["prepare"] => prepare(&dir),
        ["idle"] => idle(&dir),
        _ => anyhow::bail!("{arguments:?}?"),
    }
}

fn create(dir: &Path, name: &str, bytes: u64, memory: &Memory) -> Result<Arc<Volume>> {
    let disk = Arc::new(FileDisk::create(&dir.join(name), bytes)?);
    let spec = VolumeSpec { uuid: uuid::Uuid::new_v4(), size_bytes: bytes };
    Ok(Volume::create(disk, &spec, Context::default().now, memory)?)
}

fn fill(volume: &Volume, files: u64) -> Result<()> {
    let cx = Context::default();
    let mut dir: FileId = ROOT;
    for number in 0..files {
        if number % FILES_PER_DIR == 0 {
            let attrs = SetAttrs { mode: Some(0o755), ..SetAttrs::default() };
            let name = Bytes::from(format!("directory {number}"));
            dir = volume.execute(&cx, Op::Mkdir { dir: ROOT, name, attrs })?.object.after.id;
        }
        let how = CreateHow::Guarded(SetAttrs { mode: Some(0o644), ..SetAttrs::default() });
        volume.execute(&cx, Op::Create { dir, name: Bytes::from(format!("file {number}")), how })?;
    }
    volume.wait_durable(volume.last_lsn())?;
    volume.consistency_point()?;
    Ok(())
}

fn many_files(dir: &Path, files: u64, volume_bytes: u64) -> Result<()> {
    let memory = Memory::new(CACHE_BYTES, DIRTY_BYTES);
    let volume = create(dir, "many", volume_bytes, &memory)?;
    fill(&volume, files)?;
    println!("peak_kib {}", status_kib("VmHWM")?);
    drop(volume);
    Ok(std::fs::remove_file(dir.join("many"))?)
}

fn prepare(dir: &Path) -> Result<()> {
    let memory = Memory::new(CACHE_BYTES, DIRTY_BYTES);
    for number in 0..IDLE_VOLUMES {
        let volume = create(dir, &format!("idle {number}"), 1 << 30, &memory)?;
        fill(&volume, 1000)?;
        volume.close()?;
    }
    Ok(())
}

fn idle(dir: &Path) -> Result<()> {
    let memory = Memory::new(CACHE_BYTES, DIRTY_BYTES);
    let before = status_kib("VmRSS")?;
    let mut volumes = Vec::new();
    for number in 0..IDLE_VOLUMES {
        let disk = Arc::new(FileDisk::open(&dir.join(format!("idle {number}")))?);
        volumes.push(Volume::open(disk, &memory)?);
    }
    let begun = cpu_ticks()?;
    thread::sleep(IDLE);
    let ticks = cpu_ticks()? - begun;
    println!("volume_kib {}", (status_kib("VmRSS")?.saturating_sub(before)) / IDLE_VOLUMES);
    // Less than a tick can't be seen.
    println!("cpu_ms {}", (ticks as f64 * 1000.0 / TICKS_PER_S).max(1.0));
    Ok(())
}
