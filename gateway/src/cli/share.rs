//! `ferry share`.

use super::client::{Client, segment};
use super::output::Output;
use super::user::named;
use super::vserver::Switch;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

const COLUMNS: &[(&str, &str)] = &[
    ("NAME", "name"),
    ("PATH", "path"),
    ("READ ONLY", "read_only"),
    ("GUESTS", "guest_ok"),
    ("ACCESS", "access"),
    ("ENCRYPTION", "encryption"),
    ("COMMENT", "comment"),
];

const EXAMPLES: &str = "\
The access list is the upper limit of what the share grants; below it the files' own permissions decide. Whoever is named
more than once, say by groups, has the most of it; whoever is not named does not come in.

Examples:
  ferry share create vs1 projects --path /data/projects
  ferry share create vs1 pub --path /data/pub --guest-ok on --access Everyone=read --access staff=change
  ferry share modify vs1 projects --encryption required --access-based-enumeration on
  ferry share modify vs1 projects --access jane=full --access staff=change";

/// How much of the way between clients and server is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Encryption {
    /// What the client wants to have encrypted.
    Off,
    /// All, with clients that can (SMB 3); others come in without.
    Desired,
    /// All; clients that can't are refused.
    Required,
}

impl Encryption {
    /// As REST says it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Encryption::Off => "off",
            Encryption::Desired => "desired",
            Encryption::Required => "required",
        }
    }
}

/// What a share may be given.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Settings {
    /// For people; clients show it
    #[arg(long)]
    comment: Option<String>,
    /// Nobody may change anything [default: off]
    #[arg(long, value_enum)]
    read_only: Option<Switch>,
    /// Clients without a user may come in, with what `Everyone` has [default: off]
    #[arg(long, value_enum)]
    guest_ok: Option<Switch>,
    /// Who may come in, and how far: a user, a group or Everyone, =read, =change or =full; the list replaces the one that was
    /// there [default: Everyone=full]
    #[arg(long = "access", value_name = "WHO=LEVEL", value_parser = parse_grant)]
    access: Option<Vec<Value>>,
    /// Listings leave out what the user may not open [default: off]
    #[arg(long, value_enum)]
    access_based_enumeration: Option<Switch>,
    /// Clients may hold files through a restart of the server [default: off]
    #[arg(long, value_enum)]
    continuously_available: Option<Switch>,
    /// More encryption than the virtual server's, if it is more [default: off]
    #[arg(long, value_enum)]
    encryption: Option<Encryption>,
    /// Lists of shares show it [default: on]
    #[arg(long, value_enum)]
    browseable: Option<Switch>,
}

impl Settings {
    /// What was named, as REST wants it.
    fn body(self, name: Option<&str>, path: Option<&str>) -> Value {
        let on = |switch: Option<Switch>| switch.map(|switch| switch == Switch::On);
        named(json!({
            "name": name,
            "path": path,
            "comment": self.comment,
            "read_only": on(self.read_only),
            "guest_ok": on(self.guest_ok),
            "access": self.access,
            "access_based_enumeration": on(self.access_based_enumeration),
            "continuously_available": on(self.continuously_available),
            "encryption": self.encryption.map(Encryption::word),
            "browseable": on(self.browseable),
        }))
    }
}

/// SMB shares of a virtual server.
#[derive(Debug, Subcommand)]
pub enum ShareCommand {
    /// Let SMB clients connect to a directory
    #[command(after_help = EXAMPLES)]
    Create {
        /// Virtual server
        vserver: String,
        /// Name, unique in the virtual server; upper and lower case are the same
        name: String,
        /// The directory, from the root of the virtual server's namespace
        #[arg(long)]
        path: String,
        #[command(flatten)]
        #[allow(missing_docs)]
        settings: Settings,
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
    /// Change one; who is connected stays so
    #[command(after_help = EXAMPLES)]
    Modify {
        /// Virtual server
        vserver: String,
        /// Name
        name: String,
        /// The directory, from the root of the virtual server's namespace
        #[arg(long)]
        path: Option<String>,
        #[command(flatten)]
        #[allow(missing_docs)]
        settings: Settings,
    },
    /// Delete one; its files stay
    Delete {
        /// Virtual server
        vserver: String,
        /// Name
        name: String,
    },
}

/// `staff=change` as the API wants it. The server checks the name.
fn parse_grant(text: &str) -> Result<Value, String> {
    match text.rsplit_once('=') {
        Some((who, access @ ("read" | "change" | "full"))) if !who.is_empty() => {
            Ok(json!({ "who": who, "access": access }))
        }
        _ => Err(format!("`{text}`: write it like staff=change, with read, change or full")),
    }
}

/// Access lists as people read them.
fn for_people(mut answer: Value) -> Value {
    let rows = match &mut answer {
        Value::Array(rows) => rows.as_mut_slice(),
        one => std::slice::from_mut(one),
    };
    for row in rows {
        let grants = row["access"].as_array().cloned().unwrap_or_default();
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let grants = grants.iter().map(|grant| format!("{}={}", word(&grant["who"]), word(&grant["access"])));
        row["access"] = grants.collect();
    }
    answer
}

fn all(vserver: &str) -> String {
    format!("/vservers/{}/shares", segment(vserver))
}

fn path_of(vserver: &str, name: &str) -> String {
    format!("{}/{}", all(vserver), segment(name))
}

pub(super) fn run(command: ShareCommand, client: &Client, output: Output) -> anyhow::Result<()> {
    let answer = match command {
        ShareCommand::Create { vserver, name, path, settings } => {
            client.post(&all(&vserver), &settings.body(Some(&name), Some(&path)))?
        }
        ShareCommand::List { vserver } => client.get(&all(&vserver))?,
        ShareCommand::Show { vserver, name } => client.get(&path_of(&vserver, &name))?,
        ShareCommand::Modify { vserver, name, path, settings } => {
            client.patch(&path_of(&vserver, &name), &settings.body(None, path.as_deref()))?
        }
        ShareCommand::Delete { vserver, name } => {
            client.delete(&path_of(&vserver, &name))?;
            output.done(&format!("share {name} deleted"));
            return Ok(());
        }
    };
    let answer = if output == Output::Table { for_people(answer) } else { answer };
    output.print(&answer, COLUMNS);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_read_and_shown() {
        assert_eq!(parse_grant("a=b=full"), Ok(json!({ "who": "a=b", "access": "full" })));
        for bad in ["", "staff", "=read", "staff=", "staff=write"] {
            assert!(parse_grant(bad).is_err(), "{bad}");
        }
        let access = json!([{ "who": "staff", "access": "read" }, { "who": "x", "access": "full" }]);
        assert_eq!(for_people(json!({ "access": access }))["access"], json!(["staff=read", "x=full"]));
    }
}
