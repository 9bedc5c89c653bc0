//! A short run of every fuzz target of the gateway. `cargo xtask fuzz` goes deeper.
//!
//! A failure prints its seed: `SEED=17 cargo nextest run -p ferry-tests --test fuzz_gateway`. `CASES=1000` runs more,
//! `FUZZ_SECONDS=300` runs each target for so long.

use ferry_tests::seeds::{for_each_seed, for_each_seed_within, variable};
use gateway::fuzz::{SMB_TALLIES, TALLIES, TARGETS, Target};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, RngExt, SeedableRng};
use std::cell::Cell;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

fn target(name: &str) -> Target {
    *TARGETS.iter().find(|(known, _)| *known == name).expect("a target of this name")
}

fn random(rng: &mut Xoshiro256PlusPlus, len_max: usize) -> Vec<u8> {
    let mut bytes = vec![0; rng.random_range(0..=len_max)];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// MiB of memory that this process uses.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line VmRSS");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
}

/// Runs a target with `inputs` inputs of `len_max` bytes for each of `cases` seeds, or for as long as `FUZZ_SECONDS` says.
fn run(name: &str, cases: u64, inputs: usize, len_max: usize) {
    let (_, target) = target(name);
    let case = |seed| {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        for _ in 0..inputs {
            target(&random(&mut rng, len_max));
        }
        Ok(())
    };
    let Some(seconds) = variable("FUZZ_SECONDS") else { return for_each_seed(cases, case) };
    let (start, time) = (Instant::now(), Duration::from_secs(seconds));
    let (warm, next) = (Cell::new(0), Cell::new(Duration::ZERO));
    let tell = |cases: u64| {
        if start.elapsed() < next.get() {
            return;
        }
        let inputs = cases * inputs as u64;
        println!("{name}: {inputs} inputs in {:?}, {} MiB resident", start.elapsed(), resident_mib());
        next.set(next.get() + time / 10);
        if warm.get() == 0 && cases > 1 {
            warm.set(resident_mib());
        }
    };
    let inputs = for_each_seed_within(time, case, tell) * inputs as u64;
    let (warm, now) = (warm.get(), resident_mib());
    println!("{name}: {inputs} inputs in {:?}, {now} MiB resident", start.elapsed());
    assert!(now < warm + 64, "memory grows: {warm} MiB after a tenth of the time, {now} MiB at the end");
}

#[test]
fn records() {
    run("rpc_records", 20, 50, 6000);
}

#[test]
fn headers() {
    run("rpc_headers", 40, 500, 600);
}

#[test]
fn arguments() {
    run("arguments", 40, 2000, 300);
}

#[test]
fn handles() {
    run("handles", 20, 200, 80);
}

#[test]
fn handoffs() {
    run("handoffs", 20, 200, 800);
}

#[test]
fn connections() {
    run("connections", 100, 2, 3000);
}

/// What a procedure answers, whatever it is called with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answers {
    Both,
    /// It can't fail.
    Success,
    /// It never does what it is asked for.
    Error,
}

fn answers((prog, vers, proc): (u32, u32, u32)) -> Answers {
    match (prog, vers, proc) {
        // MOUNT and NLM look at the credential of every call, NULL's too.
        (100_005, ..) | (100_021, _, 0 | 11..=15) => Answers::Both,
        // Portmap: NULL and DUMP.
        (100_000, _, 0 | 4) => Answers::Success,
        // Nobody can register anything.
        (100_000, _, 1 | 2) => Answers::Error,
        // No call here is a client's answer.
        (100_021, _, 5) => Answers::Error,
        // The status monitor watches for nobody.
        (100_024, _, 1 | 2) => Answers::Error,
        (100_024, _, 0 | 3..=5) => Answers::Success,
        _ => Answers::Both,
    }
}

#[test]
fn procedures() {
    run("procedures", 60, 1, 400_000);
    if std::env::var("SEED").is_ok() {
        return;
    }
    let mut wrong = Vec::new();
    for tally in TALLIES.iter() {
        let (successes, errors) = (tally.successes.load(Relaxed), tally.errors.load(Relaxed));
        println!("{:?}: {successes} successes, {errors} errors", tally.procedure);
        let seen = match (successes, errors) {
            (1.., 1..) => Some(Answers::Both),
            (1.., 0) => Some(Answers::Success),
            (0, 1..) => Some(Answers::Error),
            (0, 0) => None,
        };
        if seen != Some(answers(tally.procedure)) {
            wrong.push((tally.procedure, seen));
        }
    }
    assert_eq!(wrong, [], "procedures that did not answer as they can");
}

#[test]
fn smb_messages() {
    run("smb_messages", 40, 500, 1500);
}

#[test]
fn smb_contents() {
    run("smb_contents", 40, 500, 600);
}

#[test]
fn smb_tokens() {
    run("smb_tokens", 40, 200, 300);
}

#[test]
fn smb_connections() {
    run("smb_connections", 60, 1, 40_000);
    if std::env::var("SEED").is_ok() {
        return;
    }
    for tally in SMB_TALLIES.iter() {
        let (successes, errors) = (tally.successes.load(Relaxed), tally.errors.load(Relaxed));
        println!("{}: {successes} successes, {errors} errors", tally.command);
    }
    // Nothing answers a CANCEL itself; these mostly ask for what there is not: another login, a change, a break, an FSCTL.
    let rarely = ["Cancel", "ChangeNotify", "OplockBreak", "SessionSetup", "Ioctl"];
    let silent: Vec<_> = SMB_TALLIES
        .iter()
        .filter(|tally| tally.successes.load(Relaxed) == 0 && !rarely.contains(&tally.command))
        .map(|tally| tally.command)
        .collect();
    assert!(silent.is_empty(), "commands that never did what they were asked for: {silent:?}");
}
