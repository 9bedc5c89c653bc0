//! `ferry export-policy`.

use super::client::{Client, segment};
use super::output::Output;
use clap::Subcommand;
use serde_json::{Value, json};
use std::net::IpAddr;

const COLUMNS: &[(&str, &str)] = &[
    ("POLICY", "name"),
    ("RULE", "rule"),
    ("CLIENT", "client"),
    ("ACCESS", "access"),
    ("SQUASH", "squash"),
    ("ANON", "anon"),
    ("OPTIONS", "options"),
];

const EXAMPLES: &str = "\
A rule is CLIENT,rw|ro[,squash=none|root|all][,anon=UID:GID][,secure][,async]; the first rule that matches a client's
address decides. CLIENT is an address, a network like 10.0.0.0/8, a hostname, a netgroup like @trusted (of the file that
nfs.netgroup_file names), or * for everybody. A hostname or netgroup whose addresses are not known matches nobody.
`secure` takes only calls from ports below 1024. `async` is dangerous: changes are acknowledged before they are on
the disk, and lost in a crash.

Examples:
  ferry export-policy create vs1 intern --rule 10.0.0.0/8,rw --rule 0.0.0.0/0,ro,squash=all
  ferry export-policy modify vs1 default --rule 192.168.1.7,rw,squash=none
  ferry export-policy rule insert vs1 intern 1 @admins,rw,squash=none,secure
  ferry export-policy check vs1 intern --client 10.1.2.3";

/// Export policies.
#[derive(Debug, Subcommand)]
pub enum ExportPolicyCommand {
    /// Make a policy
    #[command(after_help = EXAMPLES)]
    Create {
        /// Virtual server
        vserver: String,
        /// Name, unique in the virtual server
        name: String,
        /// A rule; rules count in the order given
        #[arg(long = "rule", value_parser = parse_rule)]
        rules: Vec<Value>,
    },
    /// List the rules of them all
    List {
        /// Virtual server
        vserver: String,
    },
    /// Show the rules of one
    Show {
        /// Virtual server
        vserver: String,
        /// Name
        name: String,
    },
    /// Replace the rules of one
    #[command(after_help = EXAMPLES)]
    Modify {
        /// Virtual server
        vserver: String,
        /// Name
        name: String,
        /// A rule; rules count in the order given. Without any, nobody has access
        #[arg(long = "rule", value_parser = parse_rule)]
        rules: Vec<Value>,
    },
    /// Delete one that no volume uses
    Delete {
        /// Virtual server
        vserver: String,
        /// Name
        name: String,
    },
    /// Change single rules of one
    #[command(subcommand)]
    Rule(RuleCommand),
    /// Say which rule decides about a client, and why
    #[command(after_help = "Example:\n  ferry export-policy check vs1 default --client 10.1.2.3")]
    Check {
        /// Virtual server
        vserver: String,
        /// Name
        name: String,
        /// The client's address
        #[arg(long)]
        client: IpAddr,
        /// The port that it calls from
        #[arg(long)]
        port: Option<u16>,
    },
}

/// Single rules. They are counted from 1.
#[derive(Debug, Subcommand)]
pub enum RuleCommand {
    /// Add a rule after the others
    #[command(after_help = EXAMPLES)]
    Add {
        /// Virtual server
        vserver: String,
        /// Policy
        name: String,
        /// The rule
        #[arg(value_parser = parse_rule)]
        rule: Value,
    },
    /// Put a rule before another
    #[command(after_help = EXAMPLES)]
    Insert {
        /// Virtual server
        vserver: String,
        /// Policy
        name: String,
        /// The number that it is to have
        index: usize,
        /// The rule
        #[arg(value_parser = parse_rule)]
        rule: Value,
    },
    /// Take a rule out
    Remove {
        /// Virtual server
        vserver: String,
        /// Policy
        name: String,
        /// Its number
        index: usize,
    },
}

/// `10.0.0.0/8,rw,squash=root,anon=65534:65534` as the API wants it. The server checks the values.
fn parse_rule(text: &str) -> Result<Value, String> {
    let wrong = |part: &str| {
        format!("`{part}`: a rule is CLIENT,rw|ro[,squash=none|root|all][,anon=UID:GID][,secure][,async]")
    };
    let mut parts = text.split(',').map(str::trim);
    let client = parts.next().filter(|client| !client.is_empty()).ok_or_else(|| wrong(text))?;
    let mut rule = json!({ "client": client });
    for part in parts {
        match part.split_once('=') {
            None if part == "rw" => rule["write"] = json!(true),
            None if part == "ro" => rule["write"] = json!(false),
            None if matches!(part, "secure" | "async") => rule[part] = json!(true),
            Some(("squash", squash)) => rule["squash"] = json!(squash),
            Some(("anon", ids)) => {
                let (uid, gid) = ids.split_once(':').ok_or_else(|| wrong(part))?;
                rule["anon_uid"] = json!(uid.parse::<u32>().map_err(|_| wrong(part))?);
                rule["anon_gid"] = json!(gid.parse::<u32>().map_err(|_| wrong(part))?);
            }
            _ => return Err(wrong(part)),
        }
    }
    if rule.get("write").is_none() {
        return Err(wrong(text));
    }
    Ok(rule)
}

/// One row per rule, so that a table shows them.
fn rows(policies: &[Value]) -> Value {
    let mut rows = Vec::new();
    for policy in policies {
        let rules = policy["rules"].as_array().cloned().unwrap_or_default();
        if rules.is_empty() {
            rows.push(json!({ "name": policy["name"], "client": "(nobody)" }));
        }
        for (number, rule) in rules.iter().enumerate() {
            let access = if rule["write"] == json!(true) { "rw" } else { "ro" };
            let anon = format!("{}:{}", rule["anon_uid"], rule["anon_gid"]);
            let options: Vec<&str> =
                ["secure", "async"].into_iter().filter(|name| rule[*name] == json!(true)).collect();
            let options = if options.is_empty() { json!(null) } else { json!(options) };
            rows.push(json!({ "name": policy["name"], "rule": number + 1, "client": rule["client"], "access": access,
                "squash": rule["squash"], "anon": anon, "options": options }));
        }
    }
    Value::Array(rows)
}

fn print(output: Output, answer: &Value) {
    match (output, answer) {
        (Output::Json, answer) => output.print(answer, COLUMNS),
        (Output::Table, Value::Array(policies)) => output.print(&rows(policies), COLUMNS),
        (Output::Table, policy) => output.print(&rows(std::slice::from_ref(policy)), COLUMNS),
    }
}

pub(super) fn run(command: ExportPolicyCommand, client: &Client, output: Output) -> anyhow::Result<()> {
    let all = |vserver: &str| format!("/vservers/{}/export-policies", segment(vserver));
    let one = |vserver: &str, name: &str| format!("{}/{}", all(vserver), segment(name));
    match command {
        ExportPolicyCommand::Create { vserver, name, rules } => {
            print(output, &client.post(&all(&vserver), &json!({ "name": name, "rules": rules }))?);
        }
        ExportPolicyCommand::List { vserver } => print(output, &client.get(&all(&vserver))?),
        ExportPolicyCommand::Show { vserver, name } => print(output, &client.get(&one(&vserver, &name))?),
        ExportPolicyCommand::Modify { vserver, name, rules } => {
            print(output, &client.put(&one(&vserver, &name), &json!({ "rules": rules }))?);
        }
        ExportPolicyCommand::Delete { vserver, name } => {
            client.delete(&one(&vserver, &name))?;
            output.done(&format!("export policy {name} deleted"));
        }
        ExportPolicyCommand::Rule(RuleCommand::Add { vserver, name, rule }) => {
            let rules = format!("{}/rules", one(&vserver, &name));
            print(output, &client.post(&rules, &json!({ "rule": rule }))?);
        }
        ExportPolicyCommand::Rule(RuleCommand::Insert { vserver, name, index, rule }) => {
            let rules = format!("{}/rules", one(&vserver, &name));
            print(output, &client.post(&rules, &json!({ "index": index, "rule": rule }))?);
        }
        ExportPolicyCommand::Rule(RuleCommand::Remove { vserver, name, index }) => {
            print(output, &client.delete(&format!("{}/rules/{index}", one(&vserver, &name)))?);
        }
        ExportPolicyCommand::Check { vserver, name, client: address, port } => {
            let port = port.map_or_else(String::new, |port| format!("&port={port}"));
            let check = format!("{}/check?client={address}{port}", one(&vserver, &name));
            output.print(&client.get(&check)?, COLUMNS);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_in_their_short_form() {
        let rule = parse_rule("10.0.0.0/8,rw,squash=all,anon=5:6").unwrap();
        let expected =
            json!({"client": "10.0.0.0/8", "write": true, "squash": "all", "anon_uid": 5, "anon_gid": 6});
        assert_eq!(rule, expected);
        let rule = parse_rule("@web,ro,secure,async").unwrap();
        assert_eq!(rule, json!({"client": "@web", "write": false, "secure": true, "async": true}));
        for bad in ["", "10.0.0.0/8", "10.0.0.0/8,xx", "10.0.0.0/8,rw,anon=5", ",rw"] {
            assert!(parse_rule(bad).is_err(), "{bad}");
        }
    }
}
