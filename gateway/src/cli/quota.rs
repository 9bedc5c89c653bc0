//! `ferry quota`.

use super::client::{Client, segment};
use super::output::{Output, parse_bytes};
use super::snapshot::Of;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

const RULE_COLUMNS: &[(&str, &str)] = &[
    ("KIND", "whom.kind"),
    ("QTREE", "whom.qtree"),
    ("ID", "whom.id"),
    ("DISK SOFT", "limits.disk_soft_bytes"),
    ("DISK HARD", "limits.disk_hard_bytes"),
    ("FILES SOFT", "limits.files_soft"),
    ("FILES HARD", "limits.files_hard"),
    ("GRACE (S)", "limits.grace_s"),
];

const REPORT_COLUMNS: &[(&str, &str)] = &[
    ("KIND", "whom.kind"),
    ("QTREE", "whom.qtree"),
    ("ID", "whom.id"),
    ("USED", "used_bytes"),
    ("DISK SOFT", "limits.disk_soft_bytes"),
    ("DISK HARD", "limits.disk_hard_bytes"),
    ("OVER SINCE (UNIX)", "disk_over_since_s"),
    ("FILES", "files"),
    ("FILES SOFT", "limits.files_soft"),
    ("FILES HARD", "limits.files_hard"),
    ("OVER SINCE (UNIX)", "files_over_since_s"),
];

/// Whom a rule is for.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Whom {
    /// All that is in this qtree; `*`: in each qtree that has no rule of its own
    #[arg(long, value_name = "QTREE", conflicts_with_all = ["user", "group", "qtree"],
        required_unless_present_any = ["user", "group"])]
    tree: Option<String>,
    /// What this user (a number) has; `*`: each user that has no rule of their own
    #[arg(long, value_name = "UID", conflicts_with = "group")]
    user: Option<String>,
    /// What this group (a number) has; `*`: each group that has no rule of its own
    #[arg(long, value_name = "GID")]
    group: Option<String>,
    /// For a user or group: within this qtree [default: outside of all qtrees]
    #[arg(long)]
    qtree: Option<String>,
}

/// Quotas of a volume: what qtrees, users and groups use, and may use.
#[derive(Debug, Subcommand)]
pub enum QuotaCommand {
    /// Set a rule, or replace it
    #[command(after_help = "Examples:\n  ferry quota set vs1 home --tree projects --disk 100G\n  \
                            ferry quota set vs1 home --user 1000 --disk 10G --disk-soft 8G --grace 7d\n  \
                            ferry quota set vs1 home --user '*' --qtree projects --files 100000\n\n\
                            Over a hard limit nothing can grow; over a soft one it can for the grace period. Root is bound by \
                            rules for qtrees only. A rule without limits exempts from a default.")]
    Set {
        #[command(flatten)]
        #[allow(missing_docs)]
        of: Of,
        #[command(flatten)]
        #[allow(missing_docs)]
        whom: Whom,
        /// Bytes that can't be passed, e.g. 512M, 10G
        #[arg(long, value_parser = parse_bytes)]
        disk: Option<u64>,
        /// Bytes that can be passed for the grace period
        #[arg(long, value_parser = parse_bytes)]
        disk_soft: Option<u64>,
        /// Files and directories that can't be passed
        #[arg(long)]
        files: Option<u64>,
        /// Files and directories that can be passed for the grace period
        #[arg(long)]
        files_soft: Option<u64>,
        /// Grace period, e.g. 7d, 12h, 30m, 90s
        #[arg(long, default_value = "7d", value_parser = parse_period)]
        grace: u32,
    },
    /// List the rules
    List {
        #[command(flatten)]
        #[allow(missing_docs)]
        of: Of,
    },
    /// Take a rule away
    #[command(after_help = "Example:\n  ferry quota delete vs1 home --user 1000")]
    Delete {
        #[command(flatten)]
        #[allow(missing_docs)]
        of: Of,
        #[command(flatten)]
        #[allow(missing_docs)]
        whom: Whom,
    },
    /// Show what everybody uses, with the limits in force
    Report {
        #[command(flatten)]
        #[allow(missing_docs)]
        of: Of,
    },
}

/// Seconds of `7d`, `12h`, `30m`, `90s` or `90`.
fn parse_period(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{text}` is no period; write it like 7d, 12h, 30m or 90s");
    let (number, unit) = match text.char_indices().last() {
        Some((at, 'd')) => (&text[..at], 24 * 3600),
        Some((at, 'h')) => (&text[..at], 3600),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 's')) => (&text[..at], 1),
        _ => (text, 1),
    };
    let number: u32 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(unit).ok_or_else(wrong)
}

/// A number; `None` for `*`.
fn parse_id(text: &str) -> anyhow::Result<Option<u32>> {
    if text == "*" {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|_| anyhow::anyhow!("`{text}` is no number of a user or group, and not `*`"))
}

impl Whom {
    /// As REST says it: kind, qtree, id.
    fn parts(&self) -> anyhow::Result<(&'static str, Option<&str>, Option<u32>)> {
        Ok(match (&self.tree, &self.user, &self.group) {
            (Some(tree), ..) => ("tree", Some(tree.as_str()).filter(|tree| *tree != "*"), None),
            (_, Some(user), _) => ("user", self.qtree.as_deref(), parse_id(user)?),
            (_, _, Some(group)) => ("group", self.qtree.as_deref(), parse_id(group)?),
            _ => anyhow::bail!("say whom: --tree, --user or --group"),
        })
    }

    fn body(&self) -> anyhow::Result<Value> {
        let (kind, qtree, id) = self.parts()?;
        Ok(json!({ "kind": kind, "qtree": qtree, "id": id }))
    }

    fn query(&self) -> anyhow::Result<String> {
        let (kind, qtree, id) = self.parts()?;
        let qtree = qtree.map(|qtree| format!("&qtree={}", segment(qtree))).unwrap_or_default();
        let id = id.map(|id| format!("&id={id}")).unwrap_or_default();
        Ok(format!("kind={kind}{qtree}{id}"))
    }
}

pub(super) fn run(command: QuotaCommand, client: &Client, output: Output) -> anyhow::Result<()> {
    let path = |of: &Of| format!("{}/quotas", of.path());
    match command {
        QuotaCommand::Set { of, whom, disk, disk_soft, files, files_soft, grace } => {
            let limits = json!({
                "disk_hard_bytes": disk, "disk_soft_bytes": disk_soft, "files_hard": files,
                "files_soft": files_soft, "grace_s": grace,
            });
            let body = json!({ "whom": whom.body()?, "limits": limits });
            output.print(&client.put(&path(&of), &body)?, RULE_COLUMNS);
        }
        QuotaCommand::List { of } => output.print(&client.get(&path(&of))?, RULE_COLUMNS),
        QuotaCommand::Delete { of, whom } => {
            client.delete(&format!("{}?{}", path(&of), whom.query()?))?;
            output.done("quota rule deleted");
        }
        QuotaCommand::Report { of } => {
            output.print(&client.get(&format!("{}/report", path(&of)))?, REPORT_COLUMNS);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_have_units() {
        assert_eq!(parse_period("7d"), Ok(604_800));
        assert_eq!(parse_period("12h"), Ok(43_200));
        assert_eq!(parse_period("90"), Ok(90));
        assert!(parse_period("d").is_err());
        assert!(parse_period("99999d").is_err());
    }
}
