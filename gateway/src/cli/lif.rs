//! `ferry lif`.

use super::client::{Client, segment};
use super::output::Output;
use super::user::named;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

const COLUMNS: &[(&str, &str)] = &[
    ("NAME", "name"),
    ("ADDRESS", "address"),
    ("NFS", "ports.nfs"),
    ("MOUNT", "ports.mount"),
    ("PORTMAP", "ports.portmap"),
    ("NLM", "ports.nlm"),
    ("NSM", "ports.nsm"),
    ("SMB", "ports.smb"),
    ("INTERFACE", "interface"),
    ("STATE", "state"),
    ("FAULT", "fault"),
];

/// Ports of a LIF.
#[derive(Debug, Args)]
pub struct Ports {
    /// NFS port [default: that of the node's configuration file]
    #[arg(long)]
    nfs_port: Option<u16>,
    /// MOUNT port [default: that of the node's configuration file]
    #[arg(long)]
    mount_port: Option<u16>,
    /// Portmapper port, 0 for none [default: that of the node's configuration file]
    #[arg(long)]
    portmap_port: Option<u16>,
    /// Port of the lock manager, 0 for that of NFS [default: that of the node's configuration file]
    #[arg(long)]
    nlm_port: Option<u16>,
    /// Port of the status monitor, 0 for that of NFS [default: that of the node's configuration file]
    #[arg(long)]
    nsm_port: Option<u16>,
    /// Port of SMB, used as long as the virtual server has a share; 0 for never [default: that of the node's configuration
    /// file]
    #[arg(long)]
    smb_port: Option<u16>,
}

impl Ports {
    /// Those that are named.
    fn body(&self) -> Value {
        named(json!({
            "nfs": self.nfs_port,
            "mount": self.mount_port,
            "portmap": self.portmap_port,
            "nlm": self.nlm_port,
            "nsm": self.nsm_port,
            "smb": self.smb_port,
        }))
    }
}

/// Logical interfaces.
#[derive(Debug, Subcommand)]
pub enum LifCommand {
    /// Give a virtual server an address
    #[command(after_help = "Examples:\n  ferry lif create vs1 lif1 --address 127.0.0.2\n  \
                            ferry lif create vs1 lif1 --address 10.0.0.7/24 --interface eth0\n  \
                            ferry lif create vs1 lif1 --address 127.0.0.2 --nfs-port 12049 --mount-port 12048 --portmap-port 0 --smb-port 12445")]
    Create {
        /// Virtual server
        vserver: String,
        /// Name, unique in the virtual server
        name: String,
        /// Address, with a prefix length where an interface is to get it
        #[arg(long)]
        address: String,
        /// Network interface that gets the address; without it the host has the address already
        #[arg(long)]
        interface: Option<String>,
        #[command(flatten)]
        #[allow(missing_docs)]
        ports: Ports,
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
    /// Change one; its connections are dropped
    Modify {
        /// Virtual server
        vserver: String,
        /// Name
        name: String,
        /// New address
        #[arg(long)]
        address: Option<String>,
        /// New network interface
        #[arg(long)]
        interface: Option<String>,
        #[command(flatten)]
        #[allow(missing_docs)]
        ports: Ports,
    },
    /// Take one down and forget it
    Delete {
        /// Virtual server
        vserver: String,
        /// Name
        name: String,
    },
}

fn path(vserver: &str, name: &str) -> String {
    format!("/vservers/{}/lifs/{}", segment(vserver), segment(name))
}

pub(super) fn run(command: LifCommand, client: &Client, output: Output) -> anyhow::Result<()> {
    match command {
        LifCommand::Create { vserver, name, address, interface, ports } => {
            let body =
                json!({ "name": name, "address": address, "interface": interface, "ports": ports.body() });
            output.print(&client.post(&format!("/vservers/{}/lifs", segment(&vserver)), &body)?, COLUMNS);
        }
        LifCommand::List { vserver } => {
            output.print(&client.get(&format!("/vservers/{}/lifs", segment(&vserver)))?, COLUMNS);
        }
        LifCommand::Show { vserver, name } => output.print(&client.get(&path(&vserver, &name))?, COLUMNS),
        LifCommand::Modify { vserver, name, address, interface, ports } => {
            let body = json!({ "address": address, "interface": interface, "ports": ports.body() });
            output.print(&client.patch(&path(&vserver, &name), &body)?, COLUMNS);
        }
        LifCommand::Delete { vserver, name } => {
            client.delete(&path(&vserver, &name))?;
            output.done(&format!("LIF {name} deleted"));
        }
    }
    Ok(())
}
