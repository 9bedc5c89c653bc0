//! The `ferry` program.

use clap::Parser;
use gateway::cli::Failed;
use std::process::ExitCode;

fn main() -> ExitCode {
    match gateway::cli::run(gateway::cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let failed = error.downcast_ref::<Failed>();
            if failed.is_none_or(|failed| !failed.text.is_empty()) {
                eprintln!("ferry: {error:#}");
            }
            failed.map_or(ExitCode::FAILURE, |failed| ExitCode::from(failed.status))
        }
    }
}
