//! `ferry lock`.

use super::client::{Client, segment};
use super::output::Output;
use clap::Subcommand;

const COLUMNS: &[(&str, &str)] = &[
    ("VOLUME", "volume"),
    ("FILE", "file"),
    ("KIND", "kind"),
    ("OFFSET", "offset"),
    ("LENGTH", "length"),
    ("CLIENT", "client"),
    ("NAME", "client_name"),
    ("OWNER", "owner"),
    ("SINCE", "since_s"),
];

/// Locks that clients hold.
#[derive(Debug, Subcommand)]
pub enum LockCommand {
    /// List locks, requests that wait for one, and share reservations
    #[command(after_help = "Example:\n  ferry lock list vs1\n\n\
                            FILE is an inode number, as `ls -i` shows it on a client; LENGTH - means to the end of the file.")]
    List {
        /// Virtual server
        vserver: String,
    },
    /// Take all locks away from a client that is gone for good. It is not told: if it still runs, its programs go on
    /// as if they had their locks
    #[command(after_help = "Examples:\n  ferry lock break vs1 --client 10.0.0.7\n  \
                            ferry lock break vs1 --client 10.0.0.7 --name build-3")]
    Break {
        /// Virtual server
        vserver: String,
        /// Address of the client
        #[arg(long)]
        client: std::net::IpAddr,
        /// Only the client there that calls itself so
        #[arg(long)]
        name: Option<String>,
    },
}

pub(super) fn run(command: LockCommand, client: &Client, output: Output) -> anyhow::Result<()> {
    let path = |vserver: &str| format!("/vservers/{}/locks", segment(vserver));
    match command {
        LockCommand::List { vserver } => output.print(&client.get(&path(&vserver))?, COLUMNS),
        LockCommand::Break { vserver, client: address, name } => {
            let name = name.map_or_else(String::new, |name| format!("&name={}", segment(&name)));
            let query = format!("{}?client={}{name}", path(&vserver), segment(&address.to_string()));
            output.print(&client.delete(&query)?, &[]);
        }
    }
    Ok(())
}
