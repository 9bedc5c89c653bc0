//! `ferry qtree`.

use super::client::{Client, segment};
use super::output::Output;
use super::snapshot::Of;
use clap::Subcommand;
use serde_json::json;

const COLUMNS: &[(&str, &str)] = &[
    ("NAME", "name"),
    ("ID", "id"),
    ("USED", "used_bytes"),
    ("FILES", "files"),
    ("UID", "uid"),
    ("GID", "gid"),
];

/// Qtrees: directories in a volume's root whose content is counted, and may be limited, as a whole.
#[derive(Debug, Subcommand)]
pub enum QtreeCommand {
    /// Make one
    #[command(after_help = "Examples:\n  ferry qtree create vs1 home projects\n  \
                            ferry qtree create vs1 home scratch --mode 1777\n\n\
                            Files can't be renamed or linked from one qtree to another.")]
    Create {
        #[command(flatten)]
        #[allow(missing_docs)]
        of: Of,
        /// Name of its directory in the volume's root
        name: String,
        /// Permission bits of its directory, octal
        #[arg(long, default_value = "755", value_parser = parse_mode)]
        mode: u32,
        /// Owner of its directory [default: 0]
        #[arg(long)]
        uid: Option<u32>,
        /// Group of its directory [default: 0]
        #[arg(long)]
        gid: Option<u32>,
    },
    /// List them all
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
    /// Give one another name
    Rename {
        #[command(flatten)]
        #[allow(missing_docs)]
        of: Of,
        /// Name
        name: String,
        /// New name
        to: String,
    },
    /// Remove an empty one, and its quota rules with it
    Delete {
        #[command(flatten)]
        #[allow(missing_docs)]
        of: Of,
        /// Name
        name: String,
    },
}

fn parse_mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
    mode.ok_or_else(|| format!("`{text}` are no permission bits; write them like 755 or 1777"))
}

pub(super) fn run(command: QtreeCommand, client: &Client, output: Output) -> anyhow::Result<()> {
    let path = |of: &Of| format!("{}/qtrees", of.path());
    let one = |of: &Of, name: &str| format!("{}/qtrees/{}", of.path(), segment(name));
    match command {
        QtreeCommand::Create { of, name, mode, uid, gid } => {
            let body = json!({ "name": name, "mode": mode, "uid": uid, "gid": gid });
            output.print(&client.post(&path(&of), &body)?, COLUMNS);
        }
        QtreeCommand::List { of } => output.print(&client.get(&path(&of))?, COLUMNS),
        QtreeCommand::Show { of, name } => output.print(&client.get(&one(&of, &name))?, COLUMNS),
        QtreeCommand::Rename { of, name, to } => {
            output.print(&client.patch(&one(&of, &name), &json!({ "name": to }))?, COLUMNS);
        }
        QtreeCommand::Delete { of, name } => {
            client.delete(&one(&of, &name))?;
            output.done(&format!("qtree {name} deleted"));
        }
    }
    Ok(())
}
