//! `ferry qos`.

use super::client::{Client, segment};
use super::output::{Output, parse_bytes};
use clap::Subcommand;
use serde_json::{Value, json};

const COLUMNS: &[(&str, &str)] = &[
    ("VSERVER", "vserver"),
    ("WRITE LIMIT/S", "write_limit_bytes_per_s"),
    ("IN FORCE/S", "write_limit_in_force_bytes_per_s"),
    ("WRITTEN/S", "write_bytes_per_s"),
    ("BYTES/S", "limit_bytes_per_s"),
    ("CALLS/S", "limit_ops_per_s"),
    ("CLIENT BYTES/S", "client_limit_bytes_per_s"),
    ("CLIENT CALLS/S", "client_limit_ops_per_s"),
];

const EXAMPLES: &str = "\
Calls beyond a limit wait, they never fail. Clients with calls waiting for a limit of the virtual server take turns.

Examples:
  ferry qos modify vs1 --write-limit 100M
  ferry qos modify vs1 --bytes-limit 500M --client-ops-limit 2000
  ferry qos modify vs1 --bytes-limit none";

/// The names of the limits in the API.
const LIMITS: [&str; 5] = [
    "write_limit_bytes_per_s",
    "limit_ops_per_s",
    "limit_bytes_per_s",
    "client_limit_ops_per_s",
    "client_limit_bytes_per_s",
];

/// A limit, or that there is to be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(Option<u64>);

fn parse_bytes_limit(text: &str) -> Result<Limit, String> {
    if text == "none" { Ok(Limit(None)) } else { parse_bytes(text).map(|bytes| Limit(Some(bytes))) }
}

fn parse_ops_limit(text: &str) -> Result<Limit, String> {
    if text == "none" {
        return Ok(Limit(None));
    }
    text.parse().map(|ops| Limit(Some(ops))).map_err(|_| format!("`{text}` is neither a number nor `none`"))
}

/// Limits.
#[derive(Debug, Subcommand)]
pub enum QosCommand {
    /// Show limits and counters of all virtual servers
    List,
    /// Show limits and counters of one
    Show {
        /// Virtual server
        vserver: String,
    },
    /// Set or lift limits; those that are not named stay
    #[command(alias = "create", after_help = EXAMPLES)]
    Modify {
        /// Virtual server
        vserver: String,
        /// Most bytes per second that clients may write, e.g. 100M, or none
        #[arg(long, value_parser = parse_bytes_limit)]
        write_limit: Option<Limit>,
        /// Most NFS calls per second of all clients together, or none
        #[arg(long, value_parser = parse_ops_limit)]
        ops_limit: Option<Limit>,
        /// Most bytes per second that all clients together may read and write, or none
        #[arg(long, value_parser = parse_bytes_limit)]
        bytes_limit: Option<Limit>,
        /// Most NFS calls per second of one client address, or none
        #[arg(long, value_parser = parse_ops_limit)]
        client_ops_limit: Option<Limit>,
        /// Most bytes per second that one client address may read and write, or none
        #[arg(long, value_parser = parse_bytes_limit)]
        client_bytes_limit: Option<Limit>,
    },
    /// Lift all limits of one
    Delete {
        /// Virtual server
        vserver: String,
    },
}

fn path(vserver: &str) -> String {
    format!("/vservers/{}/qos", segment(vserver))
}

pub(super) fn run(command: QosCommand, client: &Client, output: Output) -> anyhow::Result<()> {
    match command {
        QosCommand::List => {
            let mut rows = Vec::new();
            for vserver in client.get("/vservers")?.as_array().into_iter().flatten() {
                let name = vserver["name"].as_str().unwrap_or_default();
                let mut qos = client.get(&path(name))?;
                qos["vserver"] = json!(name);
                rows.push(qos);
            }
            output.print(&Value::Array(rows), COLUMNS);
        }
        QosCommand::Show { vserver } => output.print(&client.get(&path(&vserver))?, COLUMNS),
        QosCommand::Modify {
            vserver,
            write_limit,
            ops_limit,
            bytes_limit,
            client_ops_limit,
            client_bytes_limit,
        } => {
            let new = [write_limit, ops_limit, bytes_limit, client_ops_limit, client_bytes_limit];
            anyhow::ensure!(
                new.iter().any(Option::is_some),
                "name a limit to change; see `ferry qos modify --help`"
            );
            let now = client.get(&path(&vserver))?;
            let limits = LIMITS.iter().zip(new).map(|(name, new)| {
                let limit = new.map_or_else(|| now[*name].clone(), |Limit(limit)| json!(limit));
                ((*name).to_owned(), limit)
            });
            let limits = Value::Object(limits.collect());
            output.print(&client.put(&path(&vserver), &limits)?, COLUMNS);
        }
        QosCommand::Delete { vserver } => {
            let limits = LIMITS.iter().map(|name| ((*name).to_owned(), Value::Null)).collect();
            output.print(&client.put(&path(&vserver), &Value::Object(limits))?, COLUMNS);
        }
    }
    Ok(())
}
