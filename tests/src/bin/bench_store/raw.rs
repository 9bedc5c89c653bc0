//! The disk with no file system in the way, as far as that goes without a device of one's own: `fio` with O_DIRECT into a file
//! that has all its blocks. Left out, visibly, where there is no `fio` (Debian package `fio`).

use crate::peers::{RANDOM_BYTES, THREADS};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// `fio` on one file.
pub(crate) struct Raw {
    file: PathBuf,
    bytes: u64,
    is_there: bool,
}

impl Raw {
    /// Writes the file of `bytes` once, so that the measured writes find their blocks.
    pub(crate) fn new(dir: &Path, bytes: u64) -> Result<Raw> {
        let is_there = Command::new("fio").arg("--version").output().is_ok();
        let raw = Raw { file: dir.join("raw"), bytes: bytes.max(RANDOM_BYTES), is_there };
        if is_there {
            raw.sequential_write()?;
        } else {
            eprintln!("skipped: rows beside the bare disk need fio (package fio)");
        }
        Ok(raw)
    }

    /// MB/s of writes of 1 MiB, flushed at the end.
    pub(crate) fn sequential_write(&self) -> Result<Option<f64>> {
        let size = format!("--size={}", self.bytes);
        self.run(&["--rw=write", "--bs=1M", "--iodepth=4", "--end_fsync=1", &size], "bw_bytes", 1e6)
    }

    /// Durable writes of 4 KiB at random places in each second.
    pub(crate) fn random_write(&self, time: Duration) -> Result<Option<f64>> {
        let (size, depth) = (format!("--size={RANDOM_BYTES}"), format!("--iodepth={THREADS}"));
        let time = format!("--runtime={}", time.as_secs());
        self.run(
            &["--rw=randwrite", "--bs=4k", "--sync=dsync", "--time_based", &size, &depth, &time],
            "iops",
            1.0,
        )
    }

    fn run(&self, arguments: &[&str], figure: &str, unit: f64) -> Result<Option<f64>> {
        if !self.is_there {
            return Ok(None);
        }
        let output = Command::new("fio")
            .args(["--name=raw", "--ioengine=libaio", "--direct=1", "--output-format=json"])
            .arg(format!("--filename={}", self.file.display()))
            .args(arguments)
            .output()?;
        ensure!(output.status.success(), "fio: {}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).context("what fio printed")?;
        let value = report["jobs"][0]["write"][figure].as_f64().context("fio gave no figure")?;
        Ok(Some(value / unit))
    }
}
