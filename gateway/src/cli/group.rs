//! `ferry group`.

use super::client::{Client, segment};
use super::output::Output;
use super::user::named;
use clap::Subcommand;
use serde_json::json;

const COLUMNS: &[(&str, &str)] =
    &[("NAME", "name"), ("GID", "gid"), ("MEMBERS", "members"), ("COMMENT", "comment"), ("SID", "sid")];

/// SMB groups of a virtual server: names for GIDs. Users say which GIDs they have.
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// Give a GID a name that clients see and access lists of shares use
    #[command(
        after_help = "Example:\n  ferry group create vs1 staff --gid 50 --comment 'Everybody employed'"
    )]
    Create {
        /// Virtual server
        vserver: String,
        /// Name, unique among users and groups of the virtual server; upper and lower case are the same
        name: String,
        /// The group that files belong to
        #[arg(long)]
        gid: u32,
        /// For people
        #[arg(long, default_value = "")]
        comment: String,
    },
    /// List them all
    List {
        /// Virtual server
        vserver: String,
    },
    /// Show one
    Show {
        /// Virtual server
        vserver: String,
        /// Name
        name: String,
    },
    /// Change one
    #[command(after_help = "Example:\n  ferry group modify vs1 staff --comment 'Everybody'")]
    Modify {
        /// Virtual server
        vserver: String,
        /// Name
        name: String,
        /// The group that files belong to
        #[arg(long)]
        gid: Option<u32>,
        /// For people
        #[arg(long)]
        comment: Option<String>,
    },
    /// Delete one; its users keep the GID
    Delete {
        /// Virtual server
        vserver: String,
        /// Name
        name: String,
    },
}

fn all(vserver: &str) -> String {
    format!("/vservers/{}/groups", segment(vserver))
}

fn path(vserver: &str, name: &str) -> String {
    format!("{}/{}", all(vserver), segment(name))
}

pub(super) fn run(command: GroupCommand, client: &Client, output: Output) -> anyhow::Result<()> {
    match command {
        GroupCommand::Create { vserver, name, gid, comment } => {
            let body = json!({ "name": name, "gid": gid, "comment": comment });
            output.print(&client.post(&all(&vserver), &body)?, COLUMNS);
        }
        GroupCommand::List { vserver } => output.print(&client.get(&all(&vserver))?, COLUMNS),
        GroupCommand::Show { vserver, name } => output.print(&client.get(&path(&vserver, &name))?, COLUMNS),
        GroupCommand::Modify { vserver, name, gid, comment } => {
            let body = named(json!({ "gid": gid, "comment": comment }));
            output.print(&client.patch(&path(&vserver, &name), &body)?, COLUMNS);
        }
        GroupCommand::Delete { vserver, name } => {
            client.delete(&path(&vserver, &name))?;
            output.done(&format!("group {name} deleted"));
        }
    }
    Ok(())
}
