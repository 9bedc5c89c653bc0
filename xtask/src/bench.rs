//! `cargo xtask bench`: builds a benchmark as it would ship and runs it.

use crate::Failure;
use std::path::Path;
use std::process::Command;

const SUBJECTS: [&str; 4] = ["store", "nfs", "smb", "migrate"];

/// Runs the benchmark named first; the other arguments are its own.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let usage = |message: String| Failure { message, status: 2 };
    let (subject, options) =
        arguments.split_first().ok_or_else(|| usage(format!("bench what? {}", SUBJECTS.join(", "))))?;
    if !SUBJECTS.contains(&subject.as_str()) {
        return Err(usage(format!("no benchmark {subject:?}; there are {}", SUBJECTS.join(", "))));
    }
    let binary = format!("bench_{subject}");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let sources = root.join("tests/src/bin").join(&binary);
    if !sources.is_dir() && !sources.with_extension("rs").is_file() {
        return Err(usage(format!("the {subject} benchmark is not there yet")));
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["run", "--release", "--quiet", "--package", "ferry-tests", "--bin", &binary, "--"])
        .args(options)
        .status()
        .map_err(|error| Failure::new(format!("cargo does not start: {error}")))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::new(format!("the {subject} benchmark failed ({status})")))
    }
}
