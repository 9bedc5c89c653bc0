//! `cargo xtask fuzz`: runs the targets of `fuzz/` with cargo-fuzz, which needs a nightly compiler.

use crate::Failure;
use std::path::Path;
use std::process::Command;

/// As in `fuzz/Cargo.toml`.
const TARGETS: [&str; 6] = ["fsinfo", "log", "records", "directory", "inodes", "snapshot_table"];
/// For each target, unless told otherwise.
const SECONDS: u32 = 60;
/// Longest input: what the targets look at, in bytes.
const INPUT_BYTES_MAX: u32 = 64 * 4096;

/// Runs one target, or all of them one after the other, for some seconds each.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let usage = |message: String| Failure { message, status: 2 };
    let (targets, seconds) = match arguments {
        [] => (TARGETS.to_vec(), SECONDS),
        [target] => (vec![target.as_str()], SECONDS),
        [target, seconds] => {
            let seconds =
                seconds.parse().map_err(|_| usage(format!("{seconds:?} is no number of seconds")))?;
            (vec![target.as_str()], seconds)
        }
        _ => return Err(usage("cargo xtask fuzz [TARGET|all] [SECONDS]".to_owned())),
    };
    let targets = if targets == ["all"] { TARGETS.to_vec() } else { targets };
    if let Some(unknown) = targets.iter().find(|target| !TARGETS.contains(target)) {
        return Err(usage(format!("no target {unknown:?}; there are {}", TARGETS.join(", "))));
    }
    let cargo = |arguments: &[&str]| {
        // Not this program's cargo: `+nightly` is understood by rustup's alone.
        let mut command = Command::new("cargo");
        command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO").arg("+nightly").args(arguments);
        command
    };
    if !cargo(&["fuzz", "--version"]).output().is_ok_and(|output| output.status.success()) {
        let needs = "needs a nightly compiler (rustup toolchain install nightly) and cargo-fuzz (cargo install cargo-fuzz)";
        return Err(Failure::new(needs));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    for target in targets {
        println!("== {target}, {seconds} s");
        let (time, length) = (format!("-max_total_time={seconds}"), format!("-max_len={INPUT_BYTES_MAX}"));
        let status =
            cargo(&["fuzz", "run", target, "--", &time, &length, "-timeout=10", "-rss_limit_mb=2048"])
                .current_dir(root)
                .status()
                .map_err(|error| Failure::new(format!("cargo does not start: {error}")))?;
        if !status.success() {
            return Err(Failure::new(format!(
                "{target} failed ({status}); the input is in fuzz/artifacts/{target}"
            )));
        }
    }
    Ok(())
}
