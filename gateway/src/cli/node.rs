//! `ferry node`. Nodes are made by starting them, so there is nothing to create or delete yet.

use super::client::{Client, segment};
use super::output::Output;
use clap::Subcommand;

const COLUMNS: &[(&str, &str)] = &[
    ("NAME", "name"),
    ("STATE", "state"),
    ("ADMIN", "admin_address"),
    ("AGGREGATE", "aggregate"),
    ("CACHE", "cache_bytes"),
    ("CACHE LIMIT", "cache_limit_bytes"),
    ("CHANGES", "dirty_bytes"),
    ("CHANGES LIMIT", "dirty_limit_bytes"),
];

/// Nodes of this cluster.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// List them all
    List,
    /// Show one
    Show {
        /// Name
        name: String,
    },
}

pub(super) fn run(command: &NodeCommand, client: &Client, output: Output) -> anyhow::Result<()> {
    match command {
        NodeCommand::List => output.print(&client.get("/nodes")?, COLUMNS),
        NodeCommand::Show { name } => {
            output.print(&client.get(&format!("/nodes/{}", segment(name)))?, COLUMNS)
        }
    }
    Ok(())
}
