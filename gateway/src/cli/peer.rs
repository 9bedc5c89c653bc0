//! `ferry peer`.

use super::client::{Client, segment};
use super::output::Output;
use clap::Subcommand;
use serde_json::json;

const COLUMNS: &[(&str, &str)] =
    &[("NAME", "name"), ("ADDRESS", "address"), ("CERTIFICATE SHA-256", "certificate_sha256")];

const EXAMPLES: &str = "\
Two clusters trust each other once each has the other's token:
  on alpha:  ferry peer show-identity            (prints alpha's token)
  on beta:   ferry peer create --token TOKEN     (with alpha's token)
  on beta:   ferry peer show-identity            (prints beta's token)
  on alpha:  ferry peer create --token TOKEN     (with beta's token)";

/// Other clusters.
#[derive(Debug, Subcommand)]
pub enum PeerCommand {
    /// Print this cluster's token for the administrator of another cluster
    #[command(after_help = EXAMPLES)]
    ShowIdentity,
    /// Trust another cluster
    #[command(after_help = EXAMPLES)]
    Create {
        /// Refuse the token if it is not of this cluster
        name: Option<String>,
        /// What `ferry peer show-identity` of the other cluster printed
        #[arg(long)]
        token: String,
        /// Address of the other cluster, if it is not the one in the token
        #[arg(long, value_name = "HOST:PORT")]
        address: Option<std::net::SocketAddr>,
    },
    /// List them all
    List,
    /// Show one
    Show {
        /// Name
        name: String,
    },
    /// Change the address of one
    Modify {
        /// Name
        name: String,
        /// New address
        #[arg(long, value_name = "HOST:PORT")]
        address: std::net::SocketAddr,
    },
    /// Trust one no longer
    Delete {
        /// Name
        name: String,
    },
}

pub(super) fn run(command: PeerCommand, client: &Client, output: Output) -> anyhow::Result<()> {
    match command {
        PeerCommand::ShowIdentity => {
            let identity = client.get("/identity")?;
            match output {
                Output::Json => output.print(&identity, COLUMNS),
                // The token alone, so that a shell can take it.
                Output::Table => println!("{}", identity["token"].as_str().unwrap_or_default()),
            }
        }
        PeerCommand::Create { name, token, address } => {
            let body = json!({ "name": name, "token": token, "address": address });
            output.print(&client.post("/peers", &body)?, COLUMNS);
        }
        PeerCommand::List => output.print(&client.get("/peers")?, COLUMNS),
        PeerCommand::Show { name } => output.print(&client.get(&format!("/peers/{}", segment(&name)))?, COLUMNS),
        PeerCommand::Modify { name, address } => {
            let body = json!({ "address": address });
            output.print(&client.patch(&format!("/peers/{}", segment(&name)), &body)?, COLUMNS);
        }
        PeerCommand::Delete { name } => {
            client.delete(&format!("/peers/{}", segment(&name)))?;
            output.done(&format!("peer {name} deleted"));
        }
    }
    Ok(())
}
