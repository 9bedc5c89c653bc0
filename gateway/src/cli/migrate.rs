//! `ferry migrate`.

use super::client::{Client, segment};
use super::output::{Output, human_bytes};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

const COLUMNS: &[(&str, &str)] = &[
    ("ID", "id"),
    ("VSERVER", "spec.vserver"),
    ("ROLE", "role"),
    ("PEER", "peer"),
    ("PHASE", "phase"),
    ("ROUNDS", "round"),
    ("PAUSE (MS)", "pause_ms"),
    ("ERROR", "error"),
];

/// A migration.
#[derive(Debug, Args)]
pub struct Which {
    /// Id, its beginning, or the virtual server's name
    migration: String,
}

/// Move virtual servers.
#[derive(Debug, Subcommand)]
pub enum MigrateCommand {
    /// Begin to move a virtual server to a peer cluster
    #[command(after_help = "Examples:\n  ferry migrate start vs1 --to beta --watch\n  \
                            ferry migrate start vs1 --to beta --cutover-window 5 --no-auto-cutover\n  \
                            ferry migrate start vs1 --to beta --check-only")]
    Start(Start),
    /// List them all
    List,
    /// Show one
    Show(Which),
    /// Follow one until it ends
    Watch(Which),
    /// Stop sending and lift the throttle; keep what was sent
    Pause(Which),
    /// Go on after a pause or a failure
    Resume(Which),
    /// Cut over as soon as the bounds allow it
    Cutover(Which),
    /// Give up; the source serves on
    Abort(Which),
    /// Remove the copy that was left behind
    Cleanup(Which),
}

/// What to move.
#[derive(Debug, Args)]
pub struct Start {
    /// Virtual server
    vserver: String,
    /// Peer cluster to move to
    #[arg(long, value_name = "PEER")]
    to: String,
    /// Longest time, in seconds, that the virtual server may be unavailable [default: 120]
    #[arg(long, value_name = "SECONDS")]
    cutover_window: Option<f64>,
    /// Pause, in milliseconds, that the throttle works for [default: 300]
    #[arg(long, value_name = "MS")]
    pause_target: Option<u64>,
    /// Begin the cutover only when told by `ferry migrate cutover`
    #[arg(long)]
    no_auto_cutover: bool,
    /// Remove the source's copy once the destination serves
    #[arg(long)]
    auto_source_cleanup: bool,
    /// Only check whether the migration could start
    #[arg(long)]
    check_only: bool,
    /// Follow it until it ends
    #[arg(long)]
    watch: bool,
}

pub(super) fn run(command: MigrateCommand, client: &Client, output: Output) -> anyhow::Result<()> {
    match command {
        MigrateCommand::Start(args) => start(&args, client, output),
        MigrateCommand::List => {
            output.print(&client.get("/migrations")?, COLUMNS);
            Ok(())
        }
        MigrateCommand::Show(which) => {
            output.print(&client.get(&format!("/migrations/{}", find(client, &which.migration)?))?, COLUMNS);
            Ok(())
        }
        MigrateCommand::Watch(which) => watch(client, &find(client, &which.migration)?, output),
        MigrateCommand::Pause(which) => tell(client, &which, "pause", output),
        MigrateCommand::Resume(which) => tell(client, &which, "resume", output),
        MigrateCommand::Cutover(which) => tell(client, &which, "cutover", output),
        MigrateCommand::Abort(which) => tell(client, &which, "abort", output),
        MigrateCommand::Cleanup(which) => tell(client, &which, "cleanup", output),
    }
}

fn start(args: &Start, client: &Client, output: Output) -> anyhow::Result<()> {
    let body = json!({
        "vserver": args.vserver,
        "destination": args.to,
        "cutover_window_s": args.cutover_window,
        "pause_target_ms": args.pause_target,
        "auto_cutover": !args.no_auto_cutover,
        "auto_source_cleanup": args.auto_source_cleanup,
        "check_only": args.check_only,
    });
    let answer = client.post("/migrations", &body)?;
    match answer["id"].as_str() {
        Some(id) if args.watch => watch(client, id, output),
        Some(id) if output == Output::Table => {
            println!("migration {id} started; follow it with `ferry migrate watch {id}`");
            Ok(())
        }
        _ => {
            output.print(&answer, COLUMNS);
            Ok(())
        }
    }
}

fn tell(client: &Client, which: &Which, action: &str, output: Output) -> anyhow::Result<()> {
    let id = find(client, &which.migration)?;
    let answer = client.post(&format!("/migrations/{id}/{action}"), &json!({}))?;
    output.print(&answer, COLUMNS);
    Ok(())
}

/// The id that a beginning of an id or a vserver's name means. A name means its newest migration; one away from
/// this cluster, which takes commands, comes before one to it.
fn find(client: &Client, which: &str) -> anyhow::Result<String> {
    let all = client.get("/migrations")?;
    let all = all.as_array().cloned().unwrap_or_default();
    let ids: Vec<&str> = all.iter().filter_map(|migration| migration["id"].as_str()).collect();
    let begins: Vec<&&str> = ids.iter().filter(|id| id.starts_with(which)).collect();
    if let [id] = begins.as_slice() {
        return Ok(segment(id));
    }
    let of_vserver = || all.iter().rev().filter(|migration| migration["spec"]["vserver"] == which);
    let away = of_vserver().find(|migration| migration["role"] == "source");
    match away.or_else(|| of_vserver().next()).and_then(|migration| migration["id"].as_str()) {
        Some(id) => Ok(segment(id)),
        None if begins.len() > 1 => bail!("`{which}` is the beginning of {} migrations' ids", begins.len()),
        None => bail!("there is no migration `{which}`; `ferry migrate list` shows them"),
    }
}

/// Prints a line whenever something that a person would want to know changes.
fn watch(client: &Client, id: &str, output: Output) -> anyhow::Result<()> {
    let mut last_line = String::new();
    let mut last = Value::Null;
    client.events(&format!("/migrations/{id}/events"), |status| {
        match output {
            Output::Json => println!("{status}"),
            Output::Table => {
                let line = progress(&status);
                if line != last_line {
                    println!("{line}");
                    last_line = line;
                }
            }
        }
        let over = matches!(status["phase"].as_str(), Some("completed" | "aborted" | "failed"));
        last = status;
        !over
    })?;
    match last["phase"].as_str().context("no status")? {
        "failed" => bail!("the migration failed: {}", last["error"].as_str().unwrap_or("no reason given")),
        "aborted" => bail!("the migration was aborted"),
        "completed" => Ok(()),
        phase => bail!("the node went away while the migration was in phase {phase}"),
    }
}

fn progress(status: &Value) -> String {
    let number = |field: &str| status[field].as_u64();
    let mut line = format!("{:<14}", status["phase"].as_str().unwrap_or("?"));
    let (done, total) = (number("transfer_bytes_done").unwrap_or(0), number("transfer_bytes_total").unwrap_or(0));
    if total > 0 {
        line += &format!(" round {}: {} of {}", status["round"], human_bytes(done), human_bytes(total));
    }
    if let Some(rate) = number("rate_bytes_per_s").filter(|rate| *rate > 0) {
        line += &format!("  sends {}/s", human_bytes(rate));
    }
    if let Some(rate) = number("write_bytes_per_s").filter(|rate| *rate > 0) {
        line += &format!("  clients write {}/s", human_bytes(rate));
    }
    if let Some(limit) = number("write_limit_bytes_per_s") {
        line += &format!("  throttled to {}/s", human_bytes(limit));
    }
    if let Some(pause) = number("pause_ms") {
        line += &format!("  pause {pause} ms");
    } else if let Some(pause) = number("predicted_pause_ms") {
        line += &format!("  predicted pause {pause} ms");
    }
    if status["link_up"] == json!(false) && status["phase"] != "completed" {
        line += "  (no link to the peer)";
    }
    if let Some(error) = status["error"].as_str() {
        line += &format!("  {error}");
    }
    line
}
