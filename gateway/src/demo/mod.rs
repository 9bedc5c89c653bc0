//! `ferry demo`: two clusters in processes of their own, a vserver under load from real NFS clients, and its move from
//! one to the other while they go on. Uses only what any user has: the program, the admin API, NFS.

pub mod node;
mod progress;
pub mod record;
pub mod tree;
pub mod verdict;
pub mod workload;

use crate::client::{Client, Options};
use anyhow::{Context, bail};
use node::{Api, Node};
use progress::Progress;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};
use verdict::Verdict;
use workload::{Plan, Workload, read_back};

/// Name of the demo's vserver.
const VSERVER: &str = "demo";
/// Bytes of each volume's address space; the files are sparse.
const VOLUME_BYTES: u64 = 1 << 30;
/// How long the clients write before the move, and after it.
const BEFORE: Duration = Duration::from_secs(2);
const AFTER: Duration = Duration::from_secs(2);
/// Longest migration that is waited for.
const MIGRATION_MAX: Duration = Duration::from_secs(120);
/// The pause that the migration is told to aim at, in milliseconds.
const PAUSE_TARGET_MS: u64 = 100;

/// The load: enough that what changes during one transfer does not fit the pause.
const PLAN: Plan = Plan {
    sync_writers: 6,
    sync_records: 2048,
    stream_writers: 2,
    stream_records: 12_288,
    stream_pause: Duration::from_millis(4),
};

/// Runs the demo with the program at `ferry`; prints progress unless `json`.
///
/// # Errors
/// What keeps it from being set up. A migration that fails is a verdict.
pub async fn run(ferry: &Path, json: bool) -> anyhow::Result<Verdict> {
    let dir = tempfile::Builder::new().prefix("ferry-demo-").tempdir().context("temporary directory")?;
    let progress = Progress::new(json);
    progress.say("Starting two clusters, \"amsterdam\" and \"berlin\", on loopback addresses");
    let address = lif_address();
    let port = node::free_port(address)?;
    let source = Node::start(ferry, &dir.path().join("amsterdam"), "amsterdam", port, &[]).await?;
    let destination = Node::start(ferry, &dir.path().join("berlin"), "berlin", port, &[]).await?;
    node::peer(&source.api, &destination.api).await?;
    node::make_vserver(&source.api, VSERVER, address, VOLUME_BYTES).await?;
    let server = SocketAddr::from((address, port));

    progress.say(&format!(
        "Vserver \"{VSERVER}\" serves two volumes at {server}; clients make files and start writing"
    ));
    let client = Client::new(server, Options::default());
    let root = client.mount("/").await?;
    tree::populate(&client, &client.mount("/data").await?).await?;
    let files = tree::walk(&client, &root).await?;
    let work = Workload::start(server, "/", "/data", PLAN).await?;
    tokio::time::sleep(BEFORE).await;

    let mut verdict = Verdict::default();
    work.seen.take_stall();
    let started = Instant::now();
    let outcome = migrate(&source.api, &progress, &work).await;
    verdict.migration_s = started.elapsed().as_secs_f64();
    match &outcome {
        Ok(status) => verdict.take_status(status),
        Err(error) => verdict.error = Some(format!("{error:#}")),
    }
    tokio::time::sleep(AFTER).await;

    let seen = work.seen.clone();
    let stall = seen.take_stall();
    progress.say("Stopping the writers and reading everything back through the handles from before the move");
    let written = work.stop().await?;
    verdict.writes_acked = seen.acked.load(std::sync::atomic::Ordering::Relaxed);
    verdict.take_read_back(read_back(server, &written).await?, stall);
    compare(&client, &files, &mut verdict).await?;
    verdict.migrated = outcome.is_ok() && owned_by_one(&source.api, &destination.api).await?;
    if verdict.error.is_some() {
        eprintln!("source's log:\n{}\ndestination's log:\n{}", source.log_tail(), destination.log_tail());
    }
    source.kill().await?;
    destination.kill().await?;
    Ok(verdict)
}

/// A loopback address for this run, so that two demos do not meet.
fn lif_address() -> Ipv4Addr {
    let random = uuid::Uuid::new_v4().into_bytes();
    Ipv4Addr::new(127, 77, random[0], random[1].clamp(2, 250))
}

/// Starts the migration and follows it to its end; gives its last status.
async fn migrate(source: &Api, progress: &Progress, work: &Workload) -> anyhow::Result<Value> {
    let body = json!({ "vserver": VSERVER, "destination": "berlin", "pause_target_ms": PAUSE_TARGET_MS });
    let id = source.post("/migrations", body).await?["id"].as_str().context("no migration id")?.to_owned();
    let until = Instant::now() + MIGRATION_MAX;
    loop {
        let status = source.get(&format!("/migrations/{id}")).await?;
        progress.show(&status, work);
        match status["phase"].as_str() {
            Some("completed") => {
                progress.done();
                return Ok(status);
            }
            Some("failed" | "aborted") => bail!("the migration ended: {}", status["error"]),
            _ if Instant::now() > until => bail!("the migration did not end in time: {status}"),
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Compares the tree with what it was, through its old handles.
async fn compare(client: &Client, files: &tree::Tree, verdict: &mut Verdict) -> anyhow::Result<()> {
    for (path, found) in files {
        verdict.files_compared += 1;
        if tree::look(client, &found.handle).await? != *found && !path_changes(path) {
            verdict.verified = false;
            verdict.error = Some(format!("{path} is not what it was"));
        }
    }
    Ok(())
}

/// The junction's directory, in which the writers made their files after the walk.
fn path_changes(path: &str) -> bool {
    path == "/data"
}

/// Whether the destination serves the vserver and the source does not.
async fn owned_by_one(source: &Api, destination: &Api) -> anyhow::Result<bool> {
    let path = format!("/vservers/{VSERVER}");
    let state = |view: Value| view["state"].as_str().unwrap_or_default().to_owned();
    let (here, there) = (state(source.get(&path).await?), state(destination.get(&path).await?));
    Ok(here != "serving" && there == "serving")
}
