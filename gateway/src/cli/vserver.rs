//! `ferry vserver`.

use super::client::{Client, segment};
use super::output::Output;
use clap::{Subcommand, ValueEnum};
use serde_json::json;

const COLUMNS: &[(&str, &str)] = &[
    ("NAME", "name"),
    ("STATE", "state"),
    ("EPOCH", "epoch"),
    ("PEER", "peer"),
    ("VOLUMES", "volumes"),
    ("LIFS", "lifs"),
    ("UUID", "uuid"),
];

/// Virtual servers.
#[derive(Debug, Subcommand)]
pub enum VserverCommand {
    /// Make a virtual server without volumes and addresses
    #[command(after_help = "Example:\n  ferry vserver create vs1")]
    Create {
        /// Name, unique in the cluster
        name: String,
    },
    /// List them all
    List,
    /// Show one
    Show {
        /// Name
        name: String,
    },
    /// Start or stop one
    #[command(after_help = "Example:\n  ferry vserver modify vs1 --state offline")]
    Modify {
        /// Name
        name: String,
        /// Whether clients are served
        #[arg(long, value_enum)]
        state: State,
    },
    /// Delete one that has no volumes any more
    Delete {
        /// Name
        name: String,
    },
}

/// Whether clients are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum State {
    /// They are.
    Online,
    /// They are not.
    Offline,
}

pub(super) fn run(command: VserverCommand, client: &Client, output: Output) -> anyhow::Result<()> {
    match command {
        VserverCommand::Create { name } => {
            output.print(&client.post("/vservers", &json!({ "name": name }))?, COLUMNS);
        }
        VserverCommand::List => output.print(&client.get("/vservers")?, COLUMNS),
        VserverCommand::Show { name } => {
            output.print(&client.get(&format!("/vservers/{}", segment(&name)))?, COLUMNS);
        }
        VserverCommand::Modify { name, state } => {
            let body = json!({ "online": state == State::Online });
            output.print(&client.patch(&format!("/vservers/{}", segment(&name)), &body)?, COLUMNS);
        }
        VserverCommand::Delete { name } => {
            client.delete(&format!("/vservers/{}", segment(&name)))?;
            output.done(&format!("vserver {name} deleted"));
        }
    }
    Ok(())
}
