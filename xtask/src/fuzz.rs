//! `cargo xtask fuzz`: runs the targets of `fuzz/` with cargo-fuzz. A nightly compiler is best; without one the compiler that
//! there is serves, told to take its unfinished features.

use crate::Failure;
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::Command;

/// As in `fuzz/Cargo.toml`, with the longest input in bytes: what the targets look at.
const TARGETS: [(&str, u64); 17] = [
    ("fsinfo", STORE),
    ("log", STORE),
    ("records", STORE),
    ("directory", STORE),
    ("inodes", STORE),
    ("snapshot_table", STORE),
    ("rpc_records", 8 << 10),
    ("rpc_headers", 1 << 10),
    ("arguments", 4 << 10),
    ("handles", 128),
    ("handoffs", 4 << 10),
    ("procedures", 8 << 10),
    ("connections", 4 << 10),
    ("smb_messages", 4 << 10),
    ("smb_contents", 2 << 10),
    ("smb_tokens", 1 << 10),
    ("smb_connections", 8 << 10),
];
const STORE: u64 = 64 * 4096;
/// A new corpus begins with so many.
const INPUTS: u32 = 16;
/// For each target, unless told otherwise.
const SECONDS: u32 = 60;

/// Runs one target, or all of them one after the other, for some seconds each.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let usage = |message: String| Failure { message, status: 2 };
    let (target, seconds) = match arguments {
        [] => ("all", SECONDS),
        [target] => (target.as_str(), SECONDS),
        [target, seconds] => {
            let seconds =
                seconds.parse().map_err(|_| usage(format!("{seconds:?} is no number of seconds")))?;
            (target.as_str(), seconds)
        }
        _ => return Err(usage("cargo xtask fuzz [TARGET|all] [SECONDS]".to_owned())),
    };
    let wanted = |name: &str| target == "all" || target == name;
    if !TARGETS.iter().any(|(name, _)| wanted(name)) {
        let names = TARGETS.map(|(name, _)| name).join(", ");
        return Err(usage(format!("no target {target:?}; there are {names}")));
    }
    let compiler = Compiler::find()?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    for (name, len_max) in TARGETS.into_iter().filter(|(name, _)| wanted(name)) {
        println!("== {name}, {seconds} s");
        plant(&root.join("fuzz/corpus").join(name), len_max)
            .map_err(|error| Failure::new(error.to_string()))?;
        let (time, length) = (format!("-max_total_time={seconds}"), format!("-max_len={len_max}"));
        let limits = ["-len_control=0", "-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=1"];
        let status = compiler
            .cargo(&["fuzz", "run", name, "--", &time, &length])
            .args(limits)
            .current_dir(root)
            .status()
            .map_err(|error| Failure::new(format!("cargo does not start: {error}")))?;
        if !status.success() {
            return Err(Failure::new(format!(
                "{name} failed ({status}); the input is in fuzz/artifacts/{name}"
            )));
        }
    }
    Ok(())
}

/// Begins a corpus with some long inputs, unless there is one: to grow them from nothing takes most of a short run.
fn plant(corpus: &Path, len: u64) -> io::Result<()> {
    if corpus.exists() {
        return Ok(());
    }
    fs::create_dir_all(corpus)?;
    let mut random = fs::File::open("/dev/urandom")?;
    for number in 0..INPUTS {
        io::copy(
            &mut (&mut random).take(len),
            &mut fs::File::create(corpus.join(format!("random{number}")))?,
        )?;
    }
    Ok(())
}

/// What cargo-fuzz can build with.
#[derive(Clone, Copy)]
enum Compiler {
    Nightly,
    /// The one that builds everything else.
    Usual,
}

impl Compiler {
    fn find() -> Result<Compiler, Failure> {
        let works = |compiler: &Compiler| {
            let output = compiler.cargo(&["fuzz", "--version"]).output();
            output.is_ok_and(|output| output.status.success())
        };
        let needs = "needs cargo-fuzz (cargo install cargo-fuzz)";
        [Compiler::Nightly, Compiler::Usual].into_iter().find(works).ok_or_else(|| Failure::new(needs))
    }

    fn cargo(self, arguments: &[&str]) -> Command {
        // Not this program's cargo: `+nightly` is understood by rustup's alone.
        let mut command = Command::new("cargo");
        command.env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
        match self {
            Compiler::Nightly => command.arg("+nightly"),
            Compiler::Usual => command.env("RUSTC_BOOTSTRAP", "1"),
        };
        command.args(arguments);
        command
    }
}
