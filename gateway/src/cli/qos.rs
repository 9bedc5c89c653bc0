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
];

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
    /// Set a limit
    #[command(alias = "create", after_help = "Example:\n  ferry qos modify vs1 --write-limit 100M")]
    Modify {
        /// Virtual server
        vserver: String,
        /// Most bytes per second that clients may write, e.g. 100M
        #[arg(long, value_parser = parse_bytes)]
        write_limit: u64,
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
        QosCommand::Modify { vserver, write_limit } => {
            output.print(&client.put(&path(&vserver), &json!({ "write_limit_bytes_per_s": write_limit }))?, COLUMNS);
        }
        QosCommand::Delete { vserver } => {
            output.print(&client.put(&path(&vserver), &json!({ "write_limit_bytes_per_s": null }))?, COLUMNS);
        }
    }
    Ok(())
}
