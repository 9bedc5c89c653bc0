//! The command line. Every command but `serve`, `demo`, `config` and `volume check` talks REST to a running node; none
//! decides anything.

mod check;
mod client;
mod demo;
mod export_policy;
mod group;
mod lif;
mod lock;
mod migrate;
mod node;
mod output;
mod password;
mod peer;
mod qos;
mod qtree;
mod quota;
mod share;
mod snapshot;
mod user;
mod volume;
mod vserver;

pub use client::Connection;
pub use output::Output;

use crate::config::Config;
use anyhow::Context;
use clap::{Parser, Subcommand};
use client::Client;
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Examples:
  ferry demo
  ferry config check ferry.toml
  ferry serve --config ferry.toml
  export FERRY_CONFIG=ferry.toml
  ferry vserver create vs1
  ferry volume create vs1 root --size 10G
  ferry lif create vs1 lif1 --address 127.0.0.2
  ferry migrate start vs1 --to beta --watch";

/// NFS file server whose virtual servers move live between clusters
#[derive(Debug, Parser)]
#[command(name = "ferry", version, after_help = EXAMPLES, disable_help_subcommand = true)]
pub struct Cli {
    /// Which node to talk to.
    #[command(flatten)]
    pub connection: Connection,
    /// How to print answers
    #[arg(long, global = true, value_enum, default_value_t)]
    pub output: Output,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a node in the foreground until SIGTERM or SIGINT (needs --config FILE)
    Serve,
    /// Watch a virtual server under load move between two clusters on this machine; needs nothing, leaves nothing
    Demo(demo::DemoCommand),
    /// Look at configuration files
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Virtual servers
    #[command(subcommand)]
    Vserver(vserver::VserverCommand),
    /// Volumes of a virtual server
    #[command(subcommand)]
    Volume(volume::VolumeCommand),
    /// Snapshots of a volume
    #[command(subcommand)]
    Snapshot(snapshot::SnapshotCommand),
    /// Qtrees: directories of a volume that are counted, and may be limited, as a whole
    #[command(subcommand)]
    Qtree(qtree::QtreeCommand),
    /// Quotas: what qtrees, users and groups of a volume use, and may use
    #[command(subcommand)]
    Quota(quota::QuotaCommand),
    /// Logical interfaces: the addresses of a virtual server
    #[command(subcommand)]
    Lif(lif::LifCommand),
    /// Locks that clients hold
    #[command(subcommand)]
    Lock(lock::LockCommand),
    /// Export policies: which clients may reach a virtual server's volumes
    #[command(subcommand)]
    ExportPolicy(export_policy::ExportPolicyCommand),
    /// SMB shares: what SMB clients of a virtual server connect to
    #[command(subcommand)]
    Share(share::ShareCommand),
    /// SMB users of a virtual server
    #[command(subcommand)]
    User(user::UserCommand),
    /// SMB groups of a virtual server
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// Limits on what clients of a virtual server may do
    #[command(subcommand)]
    Qos(qos::QosCommand),
    /// Other clusters
    #[command(subcommand)]
    Peer(peer::PeerCommand),
    /// Nodes of this cluster
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Move virtual servers to another cluster while their clients keep working
    #[command(subcommand)]
    Migrate(migrate::MigrateCommand),
}

/// Looks at configuration files.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check a file and say what is wrong with it
    Check {
        /// The file
        file: PathBuf,
    },
}

/// A command failed with an exit status of its own.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct Failed {
    /// For the shell.
    pub status: u8,
    /// In words; empty if the command has said everything.
    pub text: String,
}

/// Runs a command.
///
/// # Errors
/// In words for the operator; [`Failed`] where the exit status says more than that.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Serve => return serve(cli.connection.config.as_deref()),
        Command::Demo(command) => return demo::run(command, cli.output),
        Command::Config(ConfigCommand::Check { file }) => {
            let config = Config::load(&file)?;
            cli.output.done(&format!("{}: good (cluster {})", file.display(), config.cluster.name));
            return Ok(());
        }
        Command::Volume(volume::VolumeCommand::Check(command)) => return check::run(&command, cli.output),
        _ => {}
    }
    let client = Client::new(&cli.connection)?;
    let output = cli.output;
    match cli.command {
        Command::Serve | Command::Demo(_) | Command::Config(_) => Ok(()),
        Command::Vserver(command) => vserver::run(command, &client, output),
        Command::Volume(command) => volume::run(command, &client, output),
        Command::Snapshot(command) => snapshot::run(command, &client, output),
        Command::Qtree(command) => qtree::run(command, &client, output),
        Command::Quota(command) => quota::run(command, &client, output),
        Command::Lif(command) => lif::run(command, &client, output),
        Command::Lock(command) => lock::run(command, &client, output),
        Command::ExportPolicy(command) => export_policy::run(command, &client, output),
        Command::Share(command) => share::run(command, &client, output),
        Command::User(command) => user::run(command, &client, output),
        Command::Group(command) => group::run(command, &client, output),
        Command::Qos(command) => qos::run(command, &client, output),
        Command::Peer(command) => peer::run(command, &client, output),
        Command::Node(command) => node::run(&command, &client, output),
        Command::Migrate(command) => migrate::run(command, &client, output),
    }
}

fn serve(config: Option<&Path>) -> anyhow::Result<()> {
    let path = config.context("ferry serve needs --config FILE; ferry.example.toml shows one")?;
    let config = Config::load(path)?;
    let filter = tracing_subscriber::EnvFilter::try_new(&config.log)
        .with_context(|| format!("{}: log = {:?}", path.display(), config.log))?;
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(crate::daemon::serve(config))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_may_stand_after_the_command() {
        let line =
            ["ferry", "volume", "create", "vs1", "root", "--size", "1G", "--output", "json", "--config", "f"];
        let cli = Cli::try_parse_from(line).unwrap();
        assert_eq!(cli.output, Output::Json);
        assert_eq!(cli.connection.config, Some("f".into()));
    }

    #[test]
    fn serve_needs_a_configuration() {
        let error = serve(None).unwrap_err().to_string();
        assert!(error.contains("--config"), "{error}");
    }
}
