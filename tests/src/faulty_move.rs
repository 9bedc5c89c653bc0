//! A move of a vserver under load in which one thing breaks, and the judgement that nothing was lost by it.

use crate::ferry;
use anyhow::{Context, bail, ensure};
use gateway::demo::node::{Api, Node, free_port, make_vserver, peer};
use gateway::demo::workload::{Plan, Workload, read_back};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Which side of the move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The cluster that the vserver leaves.
    Source,
    /// The cluster that it goes to.
    Destination,
}

/// How the move ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// The source serves, as before.
    Source,
    /// The destination serves.
    Destination,
}

const VSERVER: &str = "vs";
/// Longest wait for the fault to happen, and for the move to end after it.
const WAIT: Duration = Duration::from_secs(60);

/// A light load: the fault is the test, not the speed.
const PLAN: Plan = Plan {
    sync_writers: 2,
    sync_records: 512,
    stream_writers: 1,
    stream_records: 2048,
    stream_pause: Duration::from_millis(50),
};

/// A load that has to be throttled.
const HEAVY: Plan = Plan { stream_writers: 2, stream_records: 12_288, stream_pause: Duration::ZERO, ..PLAN };

struct Clusters {
    dir: tempfile::TempDir,
    port: u16,
    source: Option<Node>,
    destination: Option<Node>,
}

impl Clusters {
    fn path(&self, side: Side) -> (PathBuf, &'static str) {
        let name = if side == Side::Source { "source" } else { "destination" };
        (self.dir.path().join(name), name)
    }

    async fn start(&mut self, side: Side, failpoint: Option<&str>) -> anyhow::Result<()> {
        let (dir, name) = self.path(side);
        let env: Vec<_> = failpoint.iter().map(|point| ("FERRY_FAILPOINT", *point)).collect();
        let node = Node::start(&ferry::binary(), &dir, name, self.port, &env).await?;
        *self.slot(side) = Some(node);
        Ok(())
    }

    fn slot(&mut self, side: Side) -> &mut Option<Node> {
        match side {
            Side::Source => &mut self.source,
            Side::Destination => &mut self.destination,
        }
    }

    fn api(&mut self, side: Side) -> anyhow::Result<Api> {
        Ok(self.slot(side).as_ref().context("a node that is not running")?.api.clone())
    }

    fn log(&mut self, side: Side) -> String {
        self.slot(side).as_ref().map(Node::log_tail).unwrap_or_default()
    }
}

/// Moves a vserver while `failpoint` (`place:exit` or `place:cut`) is armed at `side`; a process that ends is started
/// again. Gives who serves in the end.
///
/// # Errors
/// Where anything acknowledged is lost, both or none serve, the throttle is left on, or the fault never happened.
pub async fn run(side: Side, failpoint: &str) -> anyhow::Result<Owner> {
    let random = uuid::Uuid::new_v4().into_bytes();
    let address = Ipv4Addr::new(127, 78, random[0], random[1].clamp(2, 250));
    let mut clusters =
        Clusters { dir: tempfile::tempdir()?, port: free_port(address)?, source: None, destination: None };
    for each in [Side::Source, Side::Destination] {
        clusters.start(each, Some(failpoint).filter(|_| each == side)).await?;
    }
    peer(&clusters.api(Side::Source)?, &clusters.api(Side::Destination)?).await?;
    make_vserver(&clusters.api(Side::Source)?, VSERVER, address, 1 << 30).await?;
    let server = SocketAddr::from((address, clusters.port));
    let plan = if failpoint.contains("admin_cutover") { HEAVY } else { PLAN };
    let work = Workload::start(server, "/", "/data", plan).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    // A goal that the load does not meet at once, so that there are rounds and throttle steps to break in.
    let body =
        json!({ "vserver": VSERVER, "destination": "destination", "pause_target_ms": 20, "lag_goal_ms": 50 });
    clusters.api(Side::Source)?.post("/migrations", body).await?;

    let outcome = follow(&mut clusters, side, failpoint).await;
    let logs =
        format!("source:\n{}\ndestination:\n{}", clusters.log(Side::Source), clusters.log(Side::Destination));
    let owner = outcome.with_context(|| logs.clone())?;
    // The clients go on with whoever serves.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let written =
        work.stop().await.with_context(|| format!("a client's call failed; {owner:?} serves; {logs}"))?;
    let found = read_back(server, &written).await?;
    ensure!(found.lost == 0 && found.damaged == 0, "{found:?}; {owner:?} serves; {logs}");
    Ok(owner)
}

/// Waits for the fault, mends what it broke, and waits for the end.
async fn follow(clusters: &mut Clusters, side: Side, failpoint: &str) -> anyhow::Result<Owner> {
    let until = Instant::now() + WAIT;
    if failpoint.ends_with(":exit") {
        loop {
            let node = clusters.slot(side).as_mut().context("not running")?;
            if node.has_ended() {
                break;
            }
            ensure!(Instant::now() < until, "the failpoint {failpoint} was never reached");
            if let Ok(migrations) = clusters.api(Side::Source)?.get("/migrations").await {
                let over = migrations[0]["phase"] == "completed";
                ensure!(
                    !over || side == Side::Destination,
                    "the failpoint {failpoint} was never reached: {migrations}"
                );
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        clusters.start(side, None).await?;
    }
    let until = Instant::now() + WAIT;
    loop {
        let (source, destination) = (clusters.api(Side::Source)?, clusters.api(Side::Destination)?);
        if let Some(owner) = settled(&source, &destination).await? {
            if failpoint.ends_with(":cut") {
                ensure!(
                    clusters.log(side).contains("failpoint"),
                    "the failpoint {failpoint} was never reached"
                );
            }
            return Ok(owner);
        }
        if Instant::now() > until {
            bail!("no end: {}", source.get("/migrations").await?);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Who serves, once both sides say that the migration is over.
async fn settled(source: &Api, destination: &Api) -> anyhow::Result<Option<Owner>> {
    let migrations = source.get("/migrations").await?;
    let Some(migration) = migrations.as_array().and_then(|all| all.first()) else { return Ok(None) };
    let path = format!("/vservers/{VSERVER}");
    let here = source.get(&path).await.ok().map(|view| view["state"].clone());
    let there = destination.get(&path).await.ok().map(|view| view["state"].clone());
    let serves = |state: &Option<Value>| state.as_ref().is_some_and(|state| state == "serving");
    match migration["phase"].as_str() {
        Some("completed") => {
            ensure!(
                !serves(&here) && serves(&there),
                "completed, but source is {here:?}, destination {there:?}"
            );
            Ok(Some(Owner::Destination))
        }
        Some("failed" | "aborted") => {
            ensure!(!serves(&there), "not moved, but the destination serves");
            ensure!(here.is_some(), "not moved, and the source has lost it");
            let qos = source.get(&format!("{path}/qos")).await?;
            let limit = &qos["write_limit_in_force_bytes_per_s"];
            ensure!(limit.is_null(), "not moved, and writes are still throttled to {limit}");
            Ok(Some(Owner::Source))
        }
        _ => Ok(None),
    }
}
