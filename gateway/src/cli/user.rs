//! `ferry user`.

use super::client::{Client, segment};
use super::output::Output;
use super::password::PasswordFrom;
use super::vserver::Switch;
use clap::Subcommand;
use serde_json::{Value, json};

const COLUMNS: &[(&str, &str)] = &[
    ("NAME", "name"),
    ("UID", "uid"),
    ("GID", "gid"),
    ("GROUPS", "groups"),
    ("ENABLED", "enabled"),
    ("LOCKED", "locked"),
    ("FULL NAME", "full_name"),
    ("SID", "sid"),
];

const CREATE_EXAMPLES: &str = "\
The user's files belong to UID and GID, over NFS as over SMB; UID 0 may do everything. The password is asked for, or read
from standard input or a file; only its hash is kept, encrypted.

Examples:
  ferry user create vs1 jane --uid 1000 --gid 1000
  ferry user create vs1 jane --uid 1000 --gid 1000 --groups 50,60 --full-name 'Jane Doe' --password-file jane.txt
  pass show jane | ferry user create vs1 jane --uid 1000 --gid 1000 --password-stdin";

const MODIFY_EXAMPLES: &str = "\
Who is logged in stays so.

Examples:
  ferry user modify vs1 jane --password
  ferry user modify vs1 jane --password-stdin < jane.txt
  ferry user modify vs1 jane --groups 50,60,70
  ferry user modify vs1 jane --enabled off";

/// SMB users of a virtual server.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Make a user
    #[command(after_help = CREATE_EXAMPLES)]
    Create {
        /// Virtual server
        vserver: String,
        /// Name, unique among users and groups of the virtual server; upper and lower case are the same
        name: String,
        /// The user that files belong to
        #[arg(long)]
        uid: u32,
        /// Primary group
        #[arg(long)]
        gid: u32,
        /// Further groups
        #[arg(long, value_delimiter = ',', value_name = "GID,...")]
        groups: Vec<u32>,
        /// Name for people
        #[arg(long, default_value = "")]
        full_name: String,
        /// Whether the user may log in
        #[arg(long, value_enum, default_value = "on")]
        enabled: Switch,
        #[command(flatten)]
        #[allow(missing_docs)]
        password: PasswordFrom,
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
    #[command(after_help = MODIFY_EXAMPLES)]
    Modify {
        /// Virtual server
        vserver: String,
        /// Name
        name: String,
        /// The user that files belong to
        #[arg(long)]
        uid: Option<u32>,
        /// Primary group
        #[arg(long)]
        gid: Option<u32>,
        /// Further groups; they replace those that were there
        #[arg(long, value_delimiter = ',', value_name = "GID,...", conflicts_with = "no_groups")]
        groups: Option<Vec<u32>>,
        /// No further groups
        #[arg(long)]
        no_groups: bool,
        /// Name for people
        #[arg(long)]
        full_name: Option<String>,
        /// Whether the user may log in
        #[arg(long, value_enum)]
        enabled: Option<Switch>,
        /// Ask for a new password
        #[arg(long = "password", conflicts_with_all = ["password_stdin", "password_file"])]
        ask: bool,
        #[command(flatten)]
        #[allow(missing_docs)]
        password: PasswordFrom,
    },
    /// Delete one; what belongs to the UID stays
    Delete {
        /// Virtual server
        vserver: String,
        /// Name
        name: String,
    },
    /// Let one log in again that was locked out after too many wrong passwords
    #[command(after_help = "Ten wrong passwords within ten minutes lock a user out for ten minutes.\n\n\
                            Example:\n  ferry user unlock vs1 jane")]
    Unlock {
        /// Virtual server
        vserver: String,
        /// Name
        name: String,
    },
}

fn all(vserver: &str) -> String {
    format!("/vservers/{}/users", segment(vserver))
}

fn path(vserver: &str, name: &str) -> String {
    format!("{}/{}", all(vserver), segment(name))
}

/// The fields that were named: those that are not stay.
pub(super) fn named(fields: Value) -> Value {
    match fields {
        Value::Object(fields) => fields.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        other => other,
    }
}

pub(super) fn run(command: UserCommand, client: &Client, output: Output) -> anyhow::Result<()> {
    match command {
        UserCommand::Create { vserver, name, uid, gid, groups, full_name, enabled, password } => {
            let body = json!({
                "name": name, "uid": uid, "gid": gid, "groups": groups, "full_name": full_name,
                "enabled": enabled == Switch::On, "password": password.read()?,
            });
            output.print(&client.post(&all(&vserver), &body)?, COLUMNS);
        }
        UserCommand::List { vserver } => output.print(&client.get(&all(&vserver))?, COLUMNS),
        UserCommand::Show { vserver, name } => output.print(&client.get(&path(&vserver, &name))?, COLUMNS),
        UserCommand::Modify {
            vserver,
            name,
            uid,
            gid,
            groups,
            no_groups,
            full_name,
            enabled,
            ask,
            password,
        } => {
            let password = (ask || password.is_named()).then(|| password.read()).transpose()?;
            let body = named(json!({
                "uid": uid, "gid": gid, "groups": groups.or_else(|| no_groups.then(Vec::new)),
                "full_name": full_name, "enabled": enabled.map(|enabled| enabled == Switch::On),
                "password": password,
            }));
            output.print(&client.patch(&path(&vserver, &name), &body)?, COLUMNS);
        }
        UserCommand::Delete { vserver, name } => {
            client.delete(&path(&vserver, &name))?;
            output.done(&format!("user {name} deleted"));
        }
        UserCommand::Unlock { vserver, name } => {
            output.print(&client.post(&format!("{}/unlock", path(&vserver, &name)), &json!({}))?, COLUMNS);
        }
    }
    Ok(())
}
