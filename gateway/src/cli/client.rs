//! Talks REST to a node: finds its address and token, and turns problem documents into errors.

use crate::config::Config;
use anyhow::{Context, bail};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(120);
/// Longest answer that is read, in bytes.
const ANSWER_MAX: u64 = 64 << 20;

/// Where the node is and how it knows us.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Connection {
    /// Configuration file of the node: its admin address and token are used
    #[arg(long, global = true, env = "FERRY_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Admin address of the node, e.g. 127.0.0.1:7680
    #[arg(long, global = true, env = "FERRY_SERVER", value_name = "HOST:PORT")]
    pub server: Option<String>,
    /// File with the node's admin token, e.g. /var/lib/ferry/admin.token
    #[arg(long, global = true, env = "FERRY_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// A node's admin interface.
pub(super) struct Client {
    agent: ureq::Agent,
    base: String,
    server: String,
    token: String,
}

impl Client {
    pub(super) fn new(connection: &Connection) -> anyhow::Result<Client> {
        let config = connection.config.as_deref().map(Config::load).transpose()?;
        let noted = config.as_ref().and_then(|c| std::fs::read_to_string(c.admin_address_path()).ok());
        let server = connection
            .server
            .clone()
            .or_else(|| noted.map(|text| text.trim().to_owned()))
            .or_else(|| config.as_ref().map(|config| config.admin.listen.to_string()))
            .unwrap_or_else(|| "127.0.0.1:7680".to_owned());
        let token_file =
            connection.token_file.clone().or_else(|| config.map(|config| config.token_path())).context(
                "name the node: --config FILE of the node, or --token-file FILE (and --server HOST:PORT)",
            )?;
        let token = std::fs::read_to_string(&token_file).with_context(|| {
            format!(
                "cannot read the admin token {}; has the node been started, as this user?",
                token_file.display()
            )
        })?;
        let server = server.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(TIMEOUT))
            .build()
            .new_agent();
        Ok(Client { agent, base: format!("http://{server}/api/v1"), server, token: token.trim().to_owned() })
    }

    pub(super) fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.run("GET", path, None)
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.run("POST", path, Some(body))
    }

    pub(super) fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.run("PUT", path, Some(body))
    }

    pub(super) fn patch(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.run("PATCH", path, Some(body))
    }

    pub(super) fn delete(&self, path: &str) -> anyhow::Result<Value> {
        self.run("DELETE", path, None)
    }

    fn run(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let response = self.send(method, path, body, Some(TIMEOUT))?;
        let status = response.status();
        let mut text = String::new();
        response.into_body().into_reader().take(ANSWER_MAX).read_to_string(&mut text)?;
        let value = serde_json::from_str::<Value>(&text).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(value);
        }
        match value.get("detail").and_then(Value::as_str) {
            Some(detail) => bail!("{detail}"),
            None => bail!("{} answered {status} to {method} {path}", self.server),
        }
    }

    /// Reads an answer of one JSON object per line, as it comes.
    pub(super) fn lines(&self, path: &str, mut see: impl FnMut(&Value)) -> anyhow::Result<()> {
        let response = self.send("GET", path, None, None)?;
        if !response.status().is_success() {
            self.get(path)?;
            bail!("{} has no such list", self.server);
        }
        for line in BufReader::new(response.into_body().into_reader()).lines() {
            let value: Value = serde_json::from_str(&line.context("the node went away")?)?;
            if let Some(detail) = value.get("detail").and_then(Value::as_str) {
                bail!("{detail}");
            }
            see(&value);
        }
        Ok(())
    }

    fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        timeout: Option<Duration>,
    ) -> anyhow::Result<ureq::http::Response<ureq::Body>> {
        let body = body.map(serde_json::to_vec).transpose()?.unwrap_or_default();
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("Authorization", format!("Bearer {}", self.token))
            .header("Content-Type", "application/json")
            .body(body)?;
        let request = self.agent.configure_request(request).timeout_global(timeout).build();
        self.agent.run(request).with_context(|| {
            format!(
                "no answer from {}; is `ferry serve` running there? (--server or --config name another)",
                self.server
            )
        })
    }

    /// Calls `see` with the data of every server-sent event, until it says `false` or the stream ends.
    pub(super) fn events(&self, path: &str, mut see: impl FnMut(Value) -> bool) -> anyhow::Result<()> {
        let response = self.send("GET", path, None, None)?;
        if !response.status().is_success() {
            bail!(
                "{}",
                self.get(path).err().map_or_else(|| "no events".to_owned(), |error| error.to_string())
            );
        }
        for line in BufReader::new(response.into_body().into_reader()).lines() {
            let line = line.context("the node went away")?;
            let Some(data) = line.strip_prefix("data:") else { continue };
            if !see(serde_json::from_str(data.trim())?) {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// One segment of a path, with what must not stand there escaped.
pub(super) fn segment(text: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    text.bytes()
        .map(|byte| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::segment;

    #[test]
    fn a_name_can_not_leave_its_segment() {
        assert_eq!(segment("vs-1_a.b"), "vs-1_a.b");
        assert_eq!(segment("../x y?"), "..%2Fx%20y%3F");
    }
}
