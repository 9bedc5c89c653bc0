//! `cargo xtask`: the project's chores. Uses nothing but the standard library, so that it builds in a second.

mod bench;
mod fuzz;
mod test;
mod tools;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask test
       cargo xtask bench store|nfs|smb|migrate [--quick] [--json FILE] [--minutes N]
       cargo xtask fuzz [TARGET|all] [SECONDS]

test   installs what the tests need where it may, then checks the format, the lints and runs every test
bench  measures Ferry beside its peers, prints a table, and writes its rows to FILE;
       with --minutes, `store` only runs its write-heavy load for so long and shows every latency
fuzz   feeds the store's decoders, and the gateway's with each of its procedures, with what a fuzzer invents; 60 seconds
       for each target unless told otherwise";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        Some((command, rest)) if command == "test" && rest.is_empty() => test::run(),
        Some((command, rest)) if command == "bench" => bench::run(rest),
        Some((command, rest)) if command == "fuzz" => fuzz::run(rest),
        _ => Err(Failure { message: USAGE.to_owned(), status: 2 }),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", failure.message);
            ExitCode::from(failure.status)
        }
    }
}

/// Why a chore ended, and the exit status that it gives.
struct Failure {
    message: String,
    status: u8,
}

impl Failure {
    fn new(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), status: 1 }
    }
}
