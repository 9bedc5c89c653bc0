//! `ferry volume`.

use super::check::{self, CheckCommand};
use super::client::{Client, segment};
use super::output::{Output, parse_bytes};
use clap::Subcommand;
use serde_json::json;

const COLUMNS: &[(&str, &str)] = &[
    ("NAME", "name"),
    ("JUNCTION", "junction"),
    ("SIZE", "size_bytes"),
    ("AVAILABLE", "available_bytes"),
    ("SNAPSHOTS", "snapshot_bytes"),
    ("FILES", "files"),
    ("POLICY", "policy"),
    ("DEVICE", "device"),
    ("CLONE OF", "clone_of.parent"),
    ("MOUNTED", "mounted"),
    ("DAMAGED", "scrub.damaged_blocks"),
    ("FAULT", "fault"),
];

/// Where clients can find `.snapshot`: in the volume's root, in every directory, nowhere.
const SNAPSHOT_DIRS: [&str; 3] = ["root", "everywhere", "off"];

/// What a volume is promised.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Space {
    /// Thin: space is taken from the host as it is needed, and free blocks are given back
    None,
    /// All of it, at once
    Volume,
}

/// Volumes of a virtual server.
#[derive(Debug, Subcommand)]
pub enum VolumeCommand {
    /// Make a volume and mount it in the virtual server's tree
    #[command(after_help = "Examples:\n  ferry volume create vs1 root --size 10G\n  \
                            ferry volume create vs1 home --size 1T --junction /home --policy intern\n  \
                            ferry volume create vs1 db --size 100G --guarantee volume\n  \
                            ferry volume create vs1 fast --device /dev/disk/by-id/nvme-X")]
    Create {
        /// Virtual server
        vserver: String,
        /// Name, unique in the virtual server
        name: String,
        /// Size, e.g. 512M, 10G, 1.5T; the file is sparse [default with --device: all of the device]
        #[arg(long, value_parser = parse_bytes, required_unless_present = "device")]
        size: Option<u64>,
        /// Block device of the node that this volume has for itself; best a name that stays, as in /dev/disk/by-id
        #[arg(long)]
        device: Option<String>,
        /// Lose what is on the device; else one that is not blank is refused
        #[arg(long, requires = "device")]
        overwrite: bool,
        /// Where to mount it [default: / for the first volume, /NAME for others]
        #[arg(long)]
        junction: Option<String>,
        /// Export policy [default: default]
        #[arg(long)]
        policy: Option<String>,
        /// Where clients find .snapshot; it is in no listing [default: root]
        #[arg(long, value_name = "WHERE", value_parser = SNAPSHOT_DIRS)]
        snapshot_dir: Option<String>,
        /// Whether the host sets aside all of the space now, or gives it as it is needed
        #[arg(long, value_enum, default_value = "none")]
        guarantee: Space,
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
    /// Mount one elsewhere or under another policy, or change its size
    #[command(after_help = "Examples:\n  ferry volume modify vs1 home --size 2T\n  \
                            ferry volume modify vs1 home --junction /people\n  \
                            ferry volume modify vs1 home --snapshot-dir everywhere")]
    Modify {
        /// Virtual server
        vserver: String,
        /// Name
        name: String,
        /// New place in the tree
        #[arg(long)]
        junction: Option<String>,
        /// New export policy
        #[arg(long)]
        policy: Option<String>,
        /// New size, e.g. 512M, 10G; a smaller one only if nothing stands behind its end
        #[arg(long, value_parser = parse_bytes)]
        size: Option<u64>,
        /// Where clients find .snapshot; it is in no listing
        #[arg(long, value_name = "WHERE", value_parser = SNAPSHOT_DIRS)]
        snapshot_dir: Option<String>,
    },
    /// Make a writable clone of a snapshot; it shares the snapshot's blocks with its parent
    #[command(after_help = "Examples:\n  ferry snapshot create vs1 db before\n  \
                            ferry volume clone vs1 db --snapshot before db-test\n  \
                            ferry volume clone vs1 db --snapshot before db-test --junction /test/db\n\n\
                            The snapshot and the parent can't be deleted as long as the clone needs them: delete the clone, \
                            or split it off. A clone is always a file of the aggregate.")]
    Clone {
        /// Virtual server
        vserver: String,
        /// The volume whose snapshot it is
        parent: String,
        /// Name of the clone, unique in the virtual server
        name: String,
        /// Snapshot that the clone begins with
        #[arg(long)]
        snapshot: String,
        /// Where to mount it [default: /NAME]
        #[arg(long)]
        junction: Option<String>,
        /// Export policy [default: the parent's]
        #[arg(long)]
        policy: Option<String>,
    },
    /// Give a clone blocks of its own, in the background; then it needs its parent no more
    #[command(after_help = "Example:\n  ferry volume split vs1 db-test\n  ferry volume show vs1 db-test")]
    Split {
        /// Virtual server
        vserver: String,
        /// The clone
        name: String,
    },
    /// Delete one with everything in it
    Delete {
        /// Virtual server
        vserver: String,
        /// Name
        name: String,
    },
    /// Verify a volume file that no node has open
    Check(CheckCommand),
}

fn path(vserver: &str, name: &str) -> String {
    format!("/vservers/{}/volumes/{}", segment(vserver), segment(name))
}

pub(super) fn run(command: VolumeCommand, client: &Client, output: Output) -> anyhow::Result<()> {
    match command {
        VolumeCommand::Create {
            vserver,
            name,
            size,
            device,
            overwrite,
            junction,
            policy,
            snapshot_dir,
            guarantee,
        } => {
            let guarantee = match guarantee {
                Space::None => "none",
                Space::Volume => "volume",
            };
            let body = json!({
                "name": name, "size_bytes": size.unwrap_or(0), "device": device, "overwrite": overwrite,
                "junction": junction, "policy": policy, "snapshot_dir": snapshot_dir, "guarantee": guarantee,
            });
            output.print(&client.post(&format!("/vservers/{}/volumes", segment(&vserver)), &body)?, COLUMNS);
        }
        VolumeCommand::List { vserver } => {
            output.print(&client.get(&format!("/vservers/{}/volumes", segment(&vserver)))?, COLUMNS);
        }
        VolumeCommand::Show { vserver, name } => output.print(&client.get(&path(&vserver, &name))?, COLUMNS),
        VolumeCommand::Modify { vserver, name, junction, policy, size, snapshot_dir } => {
            let body = json!({
                "junction": junction, "policy": policy, "size_bytes": size, "snapshot_dir": snapshot_dir,
            });
            output.print(&client.patch(&path(&vserver, &name), &body)?, COLUMNS);
        }
        VolumeCommand::Clone { vserver, parent, name, snapshot, junction, policy } => {
            let body = json!({ "name": name, "snapshot": snapshot, "junction": junction, "policy": policy });
            output.print(&client.post(&format!("{}/clones", path(&vserver, &parent)), &body)?, COLUMNS);
        }
        VolumeCommand::Split { vserver, name } => {
            output.print(&client.post(&format!("{}/split", path(&vserver, &name)), &json!({}))?, COLUMNS);
        }
        VolumeCommand::Delete { vserver, name } => {
            client.delete(&path(&vserver, &name))?;
            output.done(&format!("volume {name} deleted"));
        }
        VolumeCommand::Check(command) => check::run(&command, output)?,
    }
    Ok(())
}
