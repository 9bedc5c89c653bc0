//! `ferry demo`.

use super::output::Output;
use anyhow::{Context, bail};
use clap::Args;

/// How to show it.
#[derive(Clone, Copy, Debug, Args)]
pub struct DemoCommand {
    /// Print one JSON object as the last line instead of a display
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: DemoCommand, output: Output) -> anyhow::Result<()> {
    let json = command.json || output == Output::Json;
    let ferry = std::env::current_exe().context("cannot find this program")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let verdict = runtime.block_on(crate::demo::run(&ferry, json))?;
    if json {
        println!("{}", serde_json::to_string(&verdict)?);
    } else {
        verdict.print();
    }
    if !verdict.good() {
        bail!("the demo did not pass");
    }
    Ok(())
}
