//! Two clusters of a node each and their guests, as machines on one switch: the nodes in network namespaces of their own, which
//! a bridge joins. What serves at [`SERVER`] is whoever has the LIF.

use super::boot::{self, Guest};
use super::server::{SERVER, ip};
use crate::ferry::{self, until};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

const BRIDGE: &str = "switch";
const NAMES: [&str; 2] = ["alpha", "beta"];
/// The vserver that moves.
const VSERVER: &str = "vs";
const MOVE_MAX: Duration = Duration::from_secs(120);

/// A cluster.
#[derive(Debug)]
struct Cluster {
    dir: PathBuf,
    /// Holds the namespace: its process's.
    namespace: Child,
    node: Child,
}

/// Two clusters and the vserver that one of them serves.
#[derive(Debug)]
pub struct Clusters {
    dir: PathBuf,
    clusters: [Cluster; 2],
    /// Whose it is.
    at: usize,
}

/// What a move told of itself.
#[derive(Clone, Debug)]
pub struct Moved {
    /// For so long nobody was answered, as the source saw it.
    pub pause: Duration,
    /// All of it.
    pub report: Value,
}

impl Cluster {
    /// Starts the one with this number, at 10.77.0.250 and on.
    async fn start(dir: PathBuf, number: usize) -> Cluster {
        let (name, address) = (NAMES[number], format!("10.77.0.{}", 250 + number));
        std::fs::create_dir(&dir).expect("the cluster's directory");
        let mut holder = Command::new("unshare");
        holder.args(["--net", "sh", "-c", "ip link set lo up && echo ready && exec cat"]);
        holder.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut namespace = holder.spawn().expect("unshare starts");
        let mut said = BufReader::new(namespace.stdout.take().expect("a pipe")).lines();
        let said = said.next_line().await.expect("a pipe can be read");
        assert_eq!(said.as_deref(), Some("ready"), "a namespace for {name}");
        let id = namespace.id().expect("it runs");
        ip(&format!("link add {name} type veth peer name eth0 netns {id}"));
        ip(&format!("link set {name} up master {BRIDGE}"));
        let text = format!(
            "data_dir = {:?}\nlog = \"info\"\n[cluster]\nname = {name:?}\n[admin]\nlisten = \"127.0.0.1:7680\"\n\
             [peer]\nlisten = \"{address}:7681\"\n",
            dir.join("data")
        );
        std::fs::write(dir.join("ferry.toml"), text).expect("the cluster's directory");
        for words in [format!("address add {address}/24 dev eth0"), "link set eth0 up".to_owned()] {
            let mut inside = in_namespace(&namespace, Path::new("ip"));
            let done = inside.args(words.split(' ')).status().await.expect("nsenter starts");
            assert!(done.success(), "ip {words}");
        }
        let log = std::fs::File::create(dir.join("log")).expect("the cluster's directory");
        let mut node = in_namespace(&namespace, &ferry::binary());
        node.args(["serve", "--config"]).arg(dir.join("ferry.toml")).stdin(Stdio::null());
        node.stdout(log.try_clone().expect("a second descriptor")).stderr(log);
        let node = node.spawn().expect("nsenter starts");
        let cluster = Cluster { dir, namespace, node };
        until("a node that answers", async || cluster.try_run("vserver list").await.ok()).await;
        cluster
    }

    /// Runs `ferry`, as people on the node do; its answer.
    async fn try_run(&self, line: &str) -> Result<Value, String> {
        let mut command = in_namespace(&self.namespace, &ferry::binary());
        command.arg("--config").arg(self.dir.join("ferry.toml")).args(["--output", "json"]);
        let output = command.args(line.split(' ')).output().await.expect("nsenter starts");
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(serde_json::from_slice(&output.stdout).unwrap_or_default())
    }

    async fn run(&self, line: &str) -> Value {
        self.try_run(line).await.unwrap_or_else(|error| panic!("{line}: {error}\n{}", self.log_tail()))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    fn log_tail(&self) -> String {
        boot::tail(&self.log())
    }
}

fn in_namespace(namespace: &Child, program: &Path) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/proc/{}/ns/net", namespace.id().expect("it runs"))).arg(program);
    command.kill_on_drop(true);
    command
}

impl Clusters {
    /// Starts them as peers, with a vserver at the first that has the volumes `/` and `/data`.
    pub(super) async fn start(dir: PathBuf) -> Clusters {
        boot::prepare(&dir);
        ip("link set lo up");
        ip(&format!("link add {BRIDGE} type bridge"));
        ip(&format!("link set {BRIDGE} up"));
        let alpha = Cluster::start(dir.join("alpha"), 0).await;
        let beta = Cluster::start(dir.join("beta"), 1).await;
        for (one, other) in [(&alpha, &beta), (&beta, &alpha)] {
            let identity = one.run("peer show-identity").await;
            let token = identity["token"].as_str().expect("a token").to_owned();
            other.run(&format!("peer create --token {token}")).await;
        }
        for line in [
            format!("vserver create {VSERVER}"),
            format!("export-policy create {VSERVER} guests --rule 10.77.0.0/24,rw,squash=none"),
            format!("volume create {VSERVER} root --size 1G --policy guests"),
            format!("volume create {VSERVER} data --size 8G --policy guests --junction /data"),
            format!("lif create {VSERVER} lif1 --address {SERVER}/24 --interface eth0"),
        ] {
            alpha.run(&line).await;
        }
        Clusters { dir, clusters: [alpha, beta], at: 0 }
    }

    /// Boots guest `id` (1 to 200) with so much memory.
    ///
    /// # Panics
    /// If it doesn't come up.
    pub async fn boot(&self, id: u8, memory_mib: u32) -> Guest {
        let guest = Guest::boot(&self.dir, id, memory_mib).await;
        guest.plug_into(BRIDGE);
        guest
    }

    /// Runs `ferry` on the node that serves; its answer.
    ///
    /// # Panics
    /// If it fails.
    pub async fn run(&self, line: &str) -> Value {
        self.clusters[self.at].run(line).await
    }

    /// Moves the vserver to the other cluster, and leaves nothing of it behind.
    ///
    /// # Panics
    /// If that fails.
    pub async fn switch(&mut self) -> Moved {
        let (from, to) = (&self.clusters[self.at], NAMES[1 - self.at]);
        let begun = from.run(&format!("migrate start {VSERVER} --to {to} --auto-source-cleanup")).await;
        let id = begun["id"].as_str().expect("an id").to_owned();
        let waited = async {
            loop {
                let report = from.run(&format!("migrate show {id}")).await;
                let phase = report["phase"].as_str().unwrap_or_default();
                assert!(!["failed", "aborted"].contains(&phase), "{report:#}\n{}", from.log_tail());
                if phase == "completed" && from.run("vserver list").await == json!([]) {
                    break report;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let report = tokio::time::timeout(MOVE_MAX, waited).await;
        let report = report.unwrap_or_else(|_| panic!("the move does not end:\n{}", from.log_tail()));
        self.at = 1 - self.at;
        let pause = Duration::from_millis(report["pause_ms"].as_u64().unwrap_or(u64::MAX));
        Moved { pause, report }
    }

    /// Ends the nodes, and looks at what they logged.
    ///
    /// # Panics
    /// If one died, or logged an error.
    pub(super) async fn stop(mut self) {
        for cluster in &mut self.clusters {
            let ended = cluster.node.try_wait().expect("a child can be asked for");
            assert!(ended.is_none(), "a node died ({ended:?}):\n{}", cluster.log_tail());
            let log = cluster.log();
            let errors: Vec<_> =
                log.lines().filter(|line| line.contains("ERROR") || line.contains("panicked")).collect();
            assert!(errors.is_empty(), "a node logged:\n{}", errors.join("\n"));
            cluster.node.kill().await.expect("the node can be killed");
            cluster.namespace.kill().await.expect("the namespace can be left");
        }
    }
}
