//! `cargo xtask test`: everything that has to hold before a change goes in.

use crate::{Failure, tools};
use std::process::Command;
use std::time::Instant;

/// One check.
struct Step {
    name: &'static str,
    arguments: Vec<&'static str>,
}

/// Runs all checks in order; the first that fails ends it.
pub(crate) fn run() -> Result<(), Failure> {
    let begun = Instant::now();
    let mut skipped = tools::prepare()?;
    for step in steps(&mut skipped)? {
        println!("== {}: cargo {}", step.name, step.arguments.join(" "));
        let status = Command::new(cargo()).args(&step.arguments).status();
        let status = status.map_err(|error| Failure::new(format!("cargo does not start: {error}")))?;
        if !status.success() {
            return Err(Failure::new(format!("FAILED: {} ({status})", step.name)));
        }
    }
    for line in &skipped {
        println!("{line}");
    }
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    println!("all tests passed in {minutes:.1} minutes, {} skipped", skipped.len());
    Ok(())
}

fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn has(subcommand: &str) -> bool {
    Command::new(cargo()).args([subcommand, "--version"]).output().is_ok_and(|output| output.status.success())
}

fn steps(skipped: &mut Vec<String>) -> Result<Vec<Step>, Failure> {
    let mut steps = Vec::new();
    let step = |name, arguments: &[&'static str]| Step { name, arguments: arguments.to_vec() };
    if has("fmt") {
        steps.push(step("format", &["fmt", "--all", "--check"]));
    } else {
        skipped.push("skipped: needs rustfmt (rustup component add rustfmt)".to_owned());
    }
    if has("clippy") {
        let arguments = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
        steps.push(step("lints", &arguments));
    } else {
        skipped.push("skipped: needs clippy (rustup component add clippy)".to_owned());
    }
    if tools::in_ci() && !skipped.is_empty() {
        return Err(Failure::new(format!("{}\nunder CI nothing may be skipped", skipped.join("\n"))));
    }
    if has("nextest") {
        // The configuration has the time limits: a test that hangs is stopped and named.
        let arguments =
            ["nextest", "run", "--workspace", "--no-fail-fast", "--config-file", "tests/nextest.toml"];
        steps.push(step("tests", &arguments));
    } else {
        // Installing nextest would take longer than it saves.
        steps.push(step("tests", &["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"]));
    }
    steps.push(step("documentation tests", &["test", "--workspace", "--doc", "--quiet"]));
    Ok(steps)
}
