//! `ferry snapshot`.

use super::client::{Client, segment};
use super::output::Output;
use clap::{Args, Subcommand};
use serde_json::json;

const COLUMNS: &[(&str, &str)] = &[
    ("NAME", "name"),
    ("ID", "id"),
    ("CREATED (UNIX)", "created_s"),
    ("CP", "consistency_point"),
    ("ROOT CHECKSUM", "root_checksum"),
];

/// Which volume.
#[derive(Debug, Args)]
pub struct Of {
    /// Virtual server
    vserver: String,
    /// Volume
    volume: String,
}

/// Snapshots of a volume.
#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Keep the state of now
    #[command(after_help = "Example:\n  ferry snapshot create vs1 home before-upgrade")]
    Create {
        #[command(flatten)]
        #[allow(missing_docs)]
        of: Of,
        /// Name, unique in the volume
        name: String,
    },
    /// List them all, oldest first
    List {
        #[command(flatten)]
        #[allow(missing_docs)]
        of: Of,
    },
    /// Show one
    Show {
        #[command(flatten)]
        #[allow(missing_docs)]
        of: Of,
        /// Name
        name: String,
    },
    /// Say how much of a snapshot is not in an older one
    #[command(after_help = "Example:\n  ferry snapshot diff vs1 home tuesday --base monday")]
    Diff {
        #[command(flatten)]
        #[allow(missing_docs)]
        of: Of,
        /// The newer snapshot
        name: String,
        /// The older snapshot [default: nothing]
        #[arg(long)]
        base: Option<String>,
    },
    /// Let one go
    Delete {
        #[command(flatten)]
        #[allow(missing_docs)]
        of: Of,
        /// Name
        name: String,
    },
}

fn path(of: &Of) -> String {
    format!("/vservers/{}/volumes/{}/snapshots", segment(&of.vserver), segment(&of.volume))
}

pub(super) fn run(command: SnapshotCommand, client: &Client, output: Output) -> anyhow::Result<()> {
    match command {
        SnapshotCommand::Create { of, name } => {
            output.print(&client.post(&path(&of), &json!({ "name": name }))?, COLUMNS);
        }
        SnapshotCommand::List { of } => output.print(&client.get(&path(&of))?, COLUMNS),
        SnapshotCommand::Show { of, name } => {
            output.print(&client.get(&format!("{}/{}", path(&of), segment(&name)))?, COLUMNS);
        }
        SnapshotCommand::Diff { of, name, base } => {
            let query = base.map(|base| format!("?base={}", segment(&base))).unwrap_or_default();
            output.print(&client.get(&format!("{}/{}/diff{query}", path(&of), segment(&name)))?, COLUMNS);
        }
        SnapshotCommand::Delete { of, name } => {
            client.delete(&format!("{}/{}", path(&of), segment(&name)))?;
            output.done(&format!("snapshot {name} deleted"));
        }
    }
    Ok(())
}
