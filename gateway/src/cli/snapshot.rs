//! `ferry snapshot`.

use super::client::{Client, segment};
use super::output::Output;
use clap::{Args, Subcommand};
use serde_json::json;

const COLUMNS: &[(&str, &str)] = &[
    ("NAME", "name"),
    ("ID", "id"),
    ("CREATED (UNIX)", "created_s"),
    ("MADE BY", "made_by"),
    ("CLONES", "clones"),
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

impl Of {
    /// Where it is in the API.
    pub(super) fn path(&self) -> String {
        format!("/vservers/{}/volumes/{}", segment(&self.vserver), segment(&self.volume))
    }
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
    /// List what changed between two snapshots, by path
    #[command(after_help = "Examples:\n  ferry snapshot diff vs1 home monday tuesday\n  \
                            ferry snapshot diff vs1 home monday tuesday --output json | backup-those-files\n  \
                            ferry snapshot diff vs1 home monday tuesday --blocks\n\n\
                            With --output json each change is one line of JSON; modified files have their ranges of bytes.")]
    Diff {
        #[command(flatten)]
        #[allow(missing_docs)]
        of: Of,
        /// The older snapshot
        base: String,
        /// The newer snapshot
        name: String,
        /// Only say how many bytes of blocks differ
        #[arg(long)]
        blocks: bool,
    },
    /// Bring the volume, or one file, back to what it was
    #[command(
        after_help = "Examples:\n  ferry snapshot restore vs1 home monday --path /reports/2026.ods\n  \
                            ferry snapshot restore vs1 home monday --yes\n\n\
                            A file's blocks are shared with the snapshot, not copied. A restored volume keeps all its \
                            snapshots; what was written since the last one is lost."
    )]
    Restore {
        #[command(flatten)]
        #[allow(missing_docs)]
        of: Of,
        /// Snapshot
        name: String,
        /// A regular file, by its path in the volume [default: the whole volume]
        #[arg(long)]
        path: Option<String>,
        /// Restore the whole volume without being asked again
        #[arg(long, conflicts_with = "path")]
        yes: bool,
    },
    /// Let one go
    Delete {
        #[command(flatten)]
        #[allow(missing_docs)]
        of: Of,
        /// Name
        name: String,
    },
    /// Take and delete snapshots by the clock
    #[command(subcommand)]
    Schedule(ScheduleCommand),
}

/// Schedule by which snapshots are taken and deleted.
#[derive(Debug, Subcommand)]
pub enum ScheduleCommand {
    /// Put a schedule in force, in place of the one before
    #[command(
        after_help = "Examples:\n  ferry snapshot schedule set vs1 home \"hourly 6, daily 7, weekly 4\"\n  \
                            ferry snapshot schedule set vs1 db \"5min 12, hourly 24, monthly 12\"\n\n\
                            A rule is a period and how many of its snapshots stay: monthly, weekly (Sunday), daily, hourly, \
                            or minutes that divide an hour. Boundaries are those of UTC. Snapshots are called like \
                            hourly.2026-11-23_1400; those that people or migrations took are never deleted."
    )]
    Set {
        #[command(flatten)]
        #[allow(missing_docs)]
        of: Of,
        /// Rules, separated by commas
        schedule: String,
    },
    /// Show the schedule, when it takes what next, and what it could not do
    Show {
        #[command(flatten)]
        #[allow(missing_docs)]
        of: Of,
    },
    /// End the schedule; the snapshots that it took stay
    Clear {
        #[command(flatten)]
        #[allow(missing_docs)]
        of: Of,
    },
}

fn run_schedule(command: &ScheduleCommand, client: &Client, output: Output) -> anyhow::Result<()> {
    let path = |of: &Of| {
        format!("/vservers/{}/volumes/{}/snapshot-schedule", segment(&of.vserver), segment(&of.volume))
    };
    match command {
        ScheduleCommand::Set { of, schedule } => {
            output.print(&client.put(&path(of), &json!({ "schedule": schedule }))?, COLUMNS);
        }
        ScheduleCommand::Show { of } => output.print(&client.get(&path(of))?, COLUMNS),
        ScheduleCommand::Clear { of } => {
            client.delete(&path(of))?;
            output.done(&format!("volume {} has no snapshot schedule any more", of.volume));
        }
    }
    Ok(())
}

fn path(of: &Of) -> String {
    format!("{}/snapshots", of.path())
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
        SnapshotCommand::Diff { of, base, name, blocks } => {
            let what = if blocks { "diff" } else { "changes" };
            let url = format!("{}/{}/{what}?base={}", path(&of), segment(&name), segment(&base));
            if blocks {
                output.print(&client.get(&url)?, COLUMNS);
            } else {
                client.lines(&url, |line| output.print_change(line))?;
            }
        }
        SnapshotCommand::Restore { of, name, path: file, yes } => {
            if file.is_none() && !yes {
                anyhow::bail!(
                    "this takes the whole volume back to {name}, and what was written since is lost; \
                     say --yes, or name a file with --path"
                );
            }
            let body = json!({ "path": file });
            client.post(&format!("{}/{}/restore", path(&of), segment(&name)), &body)?;
            output.done(&format!("{} is as in {name}", file.as_deref().unwrap_or(&of.volume)));
        }
        SnapshotCommand::Delete { of, name } => {
            client.delete(&format!("{}/{}", path(&of), segment(&name)))?;
            output.done(&format!("snapshot {name} deleted"));
        }
        SnapshotCommand::Schedule(command) => run_schedule(&command, client, output)?,
    }
    Ok(())
}
