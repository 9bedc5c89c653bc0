//! The server's side of a lab: its address, and a node that serves a volume there.

use super::boot::{self, Guest};
use crate::ferry;
use gateway::demo::node::{Api, Node};
use serde_json::json;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;

/// Where guests find the server; guest 1 has the next address, and so on.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Sparse, so it costs what is written.
const VOLUME_BYTES: u64 = 8 << 30;

/// A node and the guests that it serves.
#[derive(Debug)]
pub struct Lab {
    dir: PathBuf,
    node: Option<Node>,
}

impl Lab {
    /// Starts the node: one vserver at [`SERVER`] on the standard ports, with the volumes `/` and `/data`.
    pub(super) async fn start(dir: PathBuf) -> Lab {
        take_address();
        boot::prepare(&dir);
        let mut lab = Lab { node: None, dir };
        lab.configure();
        lab.start_node().await;
        lab.make_vserver().await.expect("a vserver can be made");
        lab
    }

    fn configure(&self) {
        let dir = self.dir.join("node");
        std::fs::create_dir(&dir).expect("the node's directory");
        let text = format!(
            "data_dir = {:?}\nlog = \"info\"\n[cluster]\nname = \"lab\"\n[admin]\nlisten = \"127.0.0.1:7680\"\n\
             [peer]\nlisten = \"127.0.0.1:7681\"\n[nfs]\nport = 2049\nmount_port = 20048\nportmap_port = 111\n\
             grace_period_s = 20\n",
            dir.join("data")
        );
        std::fs::write(dir.join("ferry.toml"), text).expect("the node's configuration");
    }

    async fn start_node(&mut self) {
        let node = Node::start(&ferry::binary(), &self.dir.join("node"), "lab", 2049, &[]).await;
        self.node = Some(node.expect("a node starts"));
    }

    async fn make_vserver(&self) -> anyhow::Result<()> {
        let api = self.api();
        api.post("/vservers", json!({ "name": "vs" })).await?;
        let rule = json!({ "client": "10.77.0.0/24", "write": true, "squash": "none" });
        api.post("/vservers/vs/export-policies", json!({ "name": "guests", "rules": [rule] })).await?;
        for (volume, junction) in [("root", "/"), ("data", "/data")] {
            let body = json!({ "name": volume, "size_bytes": VOLUME_BYTES, "junction": junction, "policy": "guests" });
            api.post("/vservers/vs/volumes", body).await?;
        }
        api.post("/vservers/vs/lifs", json!({ "name": "lif1", "address": SERVER })).await?;
        Ok(())
    }

    /// The node's admin API.
    ///
    /// # Panics
    /// While the node is down.
    pub fn api(&self) -> &Api {
        &self.node().api
    }

    fn node(&self) -> &Node {
        self.node.as_ref().expect("the node is up")
    }

    /// Boots guest `id` (1 to 250) with so much memory; files that it writes outside of NFS take from that.
    ///
    /// # Panics
    /// If it doesn't come up.
    pub async fn boot(&self, id: u8, memory_mib: u32) -> Guest {
        let guest = Guest::boot(&self.dir, id, memory_mib).await;
        guest.route();
        guest
    }

    /// Boots guest 1 with the volume mounted on `/mnt/a`.
    ///
    /// # Panics
    /// If it doesn't come up.
    pub async fn client(&self, memory_mib: u32) -> Guest {
        let mut guest = self.boot(1, memory_mib).await;
        guest.mount("nolock").await;
        guest
    }

    /// Kills the node as a crash would, and starts it again after `pause`.
    ///
    /// # Panics
    /// If it doesn't start again.
    pub async fn crash(&mut self, pause: std::time::Duration) {
        let node = self.node.take().expect("the node is up");
        node.kill().await.expect("the node can be killed");
        tokio::time::sleep(pause).await;
        self.start_node().await;
    }

    /// Ends the node, and looks at what it logged.
    ///
    /// # Panics
    /// If it died, or logged an error.
    pub(super) async fn stop(mut self) {
        let mut node = self.node.take().expect("the node is up");
        let log = node.log();
        assert!(!node.has_ended(), "the node died:\n{}", node.log_tail());
        let errors: Vec<_> =
            log.lines().filter(|line| line.contains("ERROR") || line.contains("panicked")).collect();
        assert!(errors.is_empty(), "the node logged:\n{}", errors.join("\n"));
        node.kill().await.expect("the node can be killed");
    }
}

/// Gives this process's network namespace the address [`SERVER`].
///
/// # Panics
/// If that fails: outside of a namespace of its own nothing must be changed.
pub fn take_address() {
    ip("link set lo up");
    ip(&format!("address add {SERVER}/32 dev lo"));
}

/// Runs `ip`.
pub(super) fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().expect("ip starts");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
