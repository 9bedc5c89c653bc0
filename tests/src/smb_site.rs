//! A node with a share, for programs that are SMB clients.

use crate::ferry;
use gateway::demo::node::{Node, free_port, make_vserver};
use serde_json::json;
use std::net::Ipv4Addr;
use std::process::Output;
use std::time::Duration;
use tokio::process::Command;

/// Everybody's.
pub const PASSWORD: &str = "Correct-Horse-7";
const VOLUME_BYTES: u64 = 256 << 20;

/// A node whose vserver `vs` has the share `Data` and the users `root` (the superuser) and `Jane` (1000).
#[derive(Debug)]
pub struct Site {
    /// For what the test needs beside the node.
    pub dir: tempfile::TempDir,
    /// The node.
    pub node: Node,
    /// The vserver's.
    pub address: Ipv4Addr,
    /// There.
    pub nfs_port: u16,
    /// There.
    pub smb_port: u16,
}

impl Site {
    /// A site for smbclient. `None`: there is no smbclient, which was said.
    ///
    /// # Panics
    /// If it can't be made; in CI also without smbclient.
    pub async fn new() -> Option<Site> {
        ferry::need_tool("smbclient", "smbclient")?;
        Some(Site::start().await.expect("a site"))
    }

    /// A site for any client.
    ///
    /// # Errors
    /// What keeps the node from serving.
    pub async fn start() -> anyhow::Result<Site> {
        let dir = tempfile::tempdir()?;
        let address = Ipv4Addr::new(127, 81, uuid::Uuid::new_v4().into_bytes()[0], 2);
        let (nfs_port, smb_port) = (free_port(address)?, free_port(address)?);
        let node = Node::start(&ferry::binary(), &dir.path().join("a"), "a", nfs_port, &[]).await?;
        make_vserver(&node.api, "vs", address, VOLUME_BYTES).await?;
        let ports = json!({ "ports": { "smb": smb_port } });
        node.api.patch("/vservers/vs/lifs/lif1", ports).await?;
        for (name, uid) in [("root", 0), ("Jane", 1000)] {
            let user = json!({ "name": name, "uid": uid, "gid": uid, "password": PASSWORD });
            node.api.post("/vservers/vs/users", user).await?;
        }
        let share = json!({ "name": "Data", "path": "/data", "comment": "all there is" });
        node.api.post("/vservers/vs/shares", share).await?;
        Ok(Site { dir, node, address, nfs_port, smb_port })
    }

    /// Runs commands of smbclient in the share.
    ///
    /// # Panics
    /// If it does not end within a minute.
    pub async fn smb(&self, user: &str, password: &str, options: &[&str], commands: &str) -> Output {
        let login = self.dir.path().join(format!("login-{user}"));
        std::fs::write(&login, format!("username={user}\npassword={password}\n")).expect("a directory");
        let mut command = Command::new("smbclient");
        command.arg(format!("//{}/data", self.address)).arg("-p").arg(self.smb_port.to_string());
        command.arg("-A").arg(&login).args(options).arg("-c").arg(commands).kill_on_drop(true);
        let done = tokio::time::timeout(Duration::from_secs(60), command.output()).await;
        done.expect("smbclient ends").expect("smbclient starts")
    }

    /// What smbclient's commands of the superuser print.
    ///
    /// # Panics
    /// If one fails.
    pub async fn run(&self, options: &[&str], commands: &str) -> String {
        let output = self.smb("root", PASSWORD, options, commands).await;
        let text = text_of(&output);
        assert!(output.status.success(), "{commands}: {text}\n{}", self.node.log_tail());
        text
    }
}

/// What a program printed.
pub fn text_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
