//! `ferry vserver`.

use super::client::{Client, segment};
use super::output::Output;
use super::share::Encryption;
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
    /// Start or stop one, or change how it looks up groups and protects SMB
    #[command(
        after_help = "Examples:\n  ferry vserver modify vs1 --state offline\n  ferry vserver modify vs1 --extended-groups on\n  ferry vserver modify vs1 --smb-encryption required"
    )]
    Modify {
        /// Name
        name: String,
        /// Whether clients are served
        #[arg(long, value_enum, required_unless_present_any = ["extended_groups", "smb_signing", "smb_encryption"])]
        state: Option<State>,
        /// Whether calls run with the groups of the node's user database, and not with the up to 16 that they name
        #[arg(long, value_enum)]
        extended_groups: Option<Switch>,
        /// Whether SMB clients must sign
        #[arg(long, value_enum)]
        smb_signing: Option<Signing>,
        /// The least encryption of every SMB share
        #[arg(long, value_enum)]
        smb_encryption: Option<Encryption>,
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

/// Whether something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// It is.
    On,
    /// It is not.
    Off,
}

/// Whether SMB clients must sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Signing {
    /// Those that do not are refused.
    Required,
    /// They may leave it.
    Optional,
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
        VserverCommand::Modify { name, state, extended_groups, smb_signing, smb_encryption } => {
            let mut body = json!({});
            if let Some(state) = state {
                body["online"] = json!(state == State::Online);
            }
            if let Some(switch) = extended_groups {
                body["extended_groups"] = json!(switch == Switch::On);
            }
            if let Some(signing) = smb_signing {
                body["smb_signing_required"] = json!(signing == Signing::Required);
            }
            if let Some(encryption) = smb_encryption {
                body["smb_encryption"] = json!(encryption.word());
            }
            output.print(&client.patch(&format!("/vservers/{}", segment(&name)), &body)?, COLUMNS);
        }
        VserverCommand::Delete { name } => {
            client.delete(&format!("/vservers/{}", segment(&name)))?;
            output.done(&format!("vserver {name} deleted"));
        }
    }
    Ok(())
}
