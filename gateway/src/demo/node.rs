//! A cluster of the demo: one `ferry serve` process with its own directory, and its admin API.

use anyhow::{Context, anyhow, bail};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// How long a node may take to start.
const START_MAX: Duration = Duration::from_secs(20);

/// A running node. Killed when dropped.
#[derive(Debug)]
pub struct Node {
    child: Child,
    log: PathBuf,
    /// Its admin API.
    pub api: Api,
}

/// A node's admin API.
#[derive(Clone)]
pub struct Api {
    base: String,
    token: String,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("base", &self.base).finish_non_exhaustive()
    }
}

/// A port on which nothing listens now.
///
/// # Errors
/// The system's.
pub fn free_port(address: Ipv4Addr) -> anyhow::Result<u16> {
    Ok(TcpListener::bind((address, 0))?.local_addr()?.port())
}

impl Node {
    /// Starts a cluster `name` in `dir` from the program `ferry`, whose new LIFs serve NFS and MOUNT on `nfs_port`.
    ///
    /// # Errors
    /// What keeps it from answering.
    pub async fn start(
        ferry: &Path,
        dir: &Path,
        name: &str,
        nfs_port: u16,
        env: &[(&str, &str)],
    ) -> anyhow::Result<Node> {
        std::fs::create_dir_all(dir)?;
        let file = dir.join("ferry.toml");
        if !file.exists() {
            // Both at a time: one after the other, the same port could come twice.
            let listeners = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
            let [admin, peer] = listeners.map(|listener| listener?.local_addr());
            let (admin, peer) = (admin?.port(), peer?.port());
            let text = format!(
                "data_dir = {:?}\nlog = \"info\"\n[cluster]\nname = {name:?}\n[admin]\nlisten = \"127.0.0.1:{admin}\"\n\
                 [peer]\nlisten = \"127.0.0.1:{peer}\"\n[nfs]\nport = {nfs_port}\nmount_port = {nfs_port}\nportmap_port = 0\n",
                dir.join("data")
            );
            std::fs::write(&file, text)?;
        }
        let admin = admin_address(&file)?;
        let log = dir.join("log");
        let out = std::fs::File::options().create(true).append(true).open(&log)?;
        let child = Command::new(ferry)
            .args(["serve", "--config"])
            .arg(&file)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("can't start {}", ferry.display()))?;
        let mut node =
            Node { child, log, api: Api { base: format!("http://{admin}/api/v1"), token: String::new() } };
        node.wait_until_ready(&dir.join("data").join("admin.token")).await?;
        Ok(node)
    }

    async fn wait_until_ready(&mut self, token: &Path) -> anyhow::Result<()> {
        let until = Instant::now() + START_MAX;
        loop {
            if let Ok(token) = std::fs::read_to_string(token) {
                self.api.token = token.trim().to_owned();
                if self.api.get("/cluster").await.is_ok() {
                    return Ok(());
                }
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("a node ended at its start ({status}):\n{}", self.log_tail());
            }
            if Instant::now() > until {
                bail!("a node does not answer:\n{}", self.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What it logged, in all its lives.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The end of what it logged.
    pub fn log_tail(&self) -> String {
        let text = self.log();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Kills it, as a crash.
    ///
    /// # Errors
    /// The system's.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}

fn admin_address(config: &Path) -> anyhow::Result<SocketAddr> {
    let config: toml::Table = std::fs::read_to_string(config)?.parse()?;
    let listen = config.get("admin").and_then(|admin| admin.get("listen")).and_then(toml::Value::as_str);
    Ok(listen.context("no admin.listen")?.parse()?)
}

impl Api {
    /// GET.
    ///
    /// # Errors
    /// The request's, or what the server refuses, in its words.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send("GET", path, None).await
    }

    /// POST of a JSON body.
    ///
    /// # Errors
    /// The request's, or what the server refuses, in its words.
    pub async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        self.send("POST", path, Some(body)).await
    }

    /// PUT of a JSON body.
    ///
    /// # Errors
    /// The request's, or what the server refuses, in its words.
    pub async fn put(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        self.send("PUT", path, Some(body)).await
    }

    /// PATCH with a JSON body.
    ///
    /// # Errors
    /// The request's, or what the server refuses, in its words.
    pub async fn patch(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        self.send("PATCH", path, Some(body)).await
    }

    async fn send(&self, method: &'static str, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.base);
        let bearer = format!("Bearer {}", self.token);
        tokio::task::spawn_blocking(move || {
            let config = ureq::Agent::config_builder()
                .http_status_as_error(false)
                .timeout_global(Some(Duration::from_secs(30)))
                .build();
            let agent = ureq::Agent::new_with_config(config);
            let mut reply = match body {
                None => agent.get(&url).header("authorization", &bearer).call()?,
                Some(body) if method == "PUT" => {
                    agent.put(&url).header("authorization", &bearer).send_json(body)?
                }
                Some(body) if method == "PATCH" => {
                    agent.patch(&url).header("authorization", &bearer).send_json(body)?
                }
                Some(body) => agent.post(&url).header("authorization", &bearer).send_json(body)?,
            };
            let text = reply.body_mut().read_to_string()?;
            let value = serde_json::from_str(&text).unwrap_or(Value::Null);
            if !reply.status().is_success() {
                let detail = value.get("detail").and_then(Value::as_str).unwrap_or(&text);
                return Err(anyhow!("{method} {url}: {}: {detail}", reply.status()));
            }
            Ok(value)
        })
        .await?
    }
}

/// Makes two clusters peers of one another.
///
/// # Errors
/// The API's.
pub async fn peer(a: &Api, b: &Api) -> anyhow::Result<()> {
    for (from, to) in [(a, b), (b, a)] {
        let identity = from.get("/identity").await?;
        to.post("/peers", json!({ "token": identity["token"] })).await?;
    }
    Ok(())
}

/// Makes a vserver with a root volume at `/` and a volume at `/data`, open for the superuser of loopback addresses.
///
/// # Errors
/// The API's.
pub async fn make_vserver(api: &Api, name: &str, address: Ipv4Addr, bytes: u64) -> anyhow::Result<()> {
    api.post("/vservers", json!({ "name": name })).await?;
    let at = format!("/vservers/{name}");
    let rule = json!({ "client": "127.0.0.0/8", "write": true, "squash": "none" });
    api.post(&format!("{at}/export-policies"), json!({ "name": "demo", "rules": [rule] })).await?;
    for (volume, junction) in [("root", "/"), ("data", "/data")] {
        let body = json!({ "name": volume, "size_bytes": bytes, "junction": junction, "policy": "demo" });
        api.post(&format!("{at}/volumes"), body).await?;
    }
    api.post(&format!("{at}/lifs"), json!({ "name": "lif1", "address": address })).await?;
    Ok(())
}
