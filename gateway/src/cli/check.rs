//! `ferry volume check`: looks at a volume file that no node has open, without a node.

use super::Failed;
use super::output::{Output, human_bytes};
use clap::Args;
use fsstore::{
    BLOCK_SIZE_U64, CheckEvent, CheckOptions, CheckSummary, Disk, FileDisk, Finding, FindingKind, FsError,
    Parents, Rebuilt,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Exit status when something is damaged.
const STATUS_FINDINGS: u8 = 1;
/// Exit status when the volume could not be checked.
const STATUS_NOT_CHECKED: u8 = 2;

const EXAMPLES: &str = "\
Examples:
  ferry volume check /var/lib/ferry/aggr/5f0c7b2e-3a52-4a53-9d8e-0f3c7f5d9a11.vol
  ferry volume check broken.vol --output json --max-findings 1000
  ferry volume check broken.vol --rebuild-maps
  ferry volume check clone.vol --parent parent.vol

The node must not have the volume open: take its vserver offline or stop the node, or check a copy
of the file.

Exit status: 0 nothing is damaged; 1 something is; 2 the volume could not be checked, or its maps
could not be made anew.";

/// Verify a volume file that no node has open: every block, name, counter and log record of every image
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CheckCommand {
    /// The volume file
    file: PathBuf,
    /// For a clone: the file of its parent; where that is a clone too, its parent's after it
    #[arg(long, value_name = "FILE")]
    parent: Vec<PathBuf>,
    /// Make block maps and counters anew from what is reachable, as a new consistency point; nothing else is written
    #[arg(long)]
    rebuild_maps: bool,
    /// If the log is damaged, give up its operations from the damage on: they are lost, and the volume can be mounted
    #[arg(long)]
    cut_log: bool,
    /// How many findings to print; the rest is counted
    #[arg(long, value_name = "N", default_value_t = 100)]
    max_findings: usize,
    /// MiB of metadata to keep in memory
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    cache_mib: u64,
}

/// What a check has told so far.
struct Told {
    findings: Vec<Finding>,
    total: u64,
    max: usize,
    bar: ProgressBar,
    output: Output,
}

pub(super) fn run(command: &CheckCommand, output: Output) -> anyhow::Result<()> {
    let cannot = |error: &dyn std::fmt::Display| Failed {
        status: STATUS_NOT_CHECKED,
        text: format!("{}: {error}", command.file.display()),
    };
    let disk: Arc<dyn Disk> = Arc::new(open(&command.file).map_err(|error| cannot(&error))?);
    let mut parents: Vec<Arc<dyn Disk>> = Vec::new();
    for file in &command.parent {
        let parent = open(file).map_err(|error| cannot(&format_args!("{}: {error}", file.display())))?;
        parents.push(Arc::new(parent));
    }
    let options = CheckOptions {
        cache_bytes: command.cache_mib.clamp(1, 1 << 20) << 20,
        parents: Parents(parents),
        ..CheckOptions::default()
    };
    let origin = fsstore::clone_origin(&*disk).ok().flatten();
    if let Some(origin) = origin.filter(|_| command.parent.is_empty() && !command.cut_log) {
        let parent = origin.parent;
        return Err(cannot(&format_args!(
            "it is a clone of volume {parent}: name that volume's file too, as in `--parent {parent}.vol`"
        ))
        .into());
    }
    let mut told = Told { findings: Vec::new(), total: 0, max: command.max_findings, bar: bar(), output };
    if command.cut_log {
        let cut = fsstore::cut_damaged_log(Arc::clone(&disk)).map_err(|error| cannot(&words(&error)))?;
        told.say(&match cut {
            0 => "The log is sound: nothing was cut off.".to_owned(),
            cut => format!("The log was cut off before the damage: {cut} batches of operations are lost."),
        });
    }
    let mut rebuilt = None;
    let summary = if command.rebuild_maps {
        let outcome = fsstore::rebuild_maps(Arc::clone(&disk), &options, &mut |event| told.note(event));
        let done = outcome.map_err(|error| told.stop(&cannot(&words(&error))))?;
        told.say(&describe(&done));
        let before = done.before.clone();
        let written = done.written;
        rebuilt = Some(done);
        if written {
            told.say("Checking again:");
            (told.findings, told.total) = (Vec::new(), 0);
            fsstore::check(disk, &options, &mut |event| told.note(event))
        } else {
            Ok(before)
        }
    } else {
        fsstore::check(disk, &options, &mut |event| told.note(event))
    };
    let summary = summary.map_err(|error| told.stop(&cannot(&words(&error))))?;
    told.bar.finish_and_clear();
    match output {
        Output::Json => println!("{:#}", told.as_json(&command.file, &summary, rebuilt.as_ref())),
        Output::Table => print!("{}", told.ending(&command.file, &summary)),
    }
    if summary.is_clean() {
        Ok(())
    } else {
        Err(Failed { status: STATUS_FINDINGS, text: String::new() }.into())
    }
}

fn open(path: &Path) -> std::io::Result<FileDisk> {
    FileDisk::open(path).map_err(|error| {
        if error.kind() == std::io::ErrorKind::WouldBlock {
            let text = "another process has this volume open; take its vserver offline, stop the node, or check a copy";
            return std::io::Error::new(error.kind(), text);
        }
        error
    })
}

fn words(error: &FsError) -> String {
    match error {
        FsError::Format(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Drawn on standard error, and only if that is a terminal.
fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent}%  {msg}  {eta} left") {
        bar.set_style(style);
    }
    bar
}

fn describe(done: &Rebuilt) -> String {
    if !done.written {
        return "All maps and counters are right: nothing was written.".to_owned();
    }
    let images: Vec<String> = done.images.iter().map(ToString::to_string).collect();
    match images.len() {
        0 => "Made anew: the volume's counters.".to_owned(),
        _ => format!("Made anew: block map and counters of {}.", images.join(", ")),
    }
}

impl Told {
    fn note(&mut self, event: CheckEvent) {
        match event {
            CheckEvent::Progress(progress) => {
                self.bar.set_length(progress.total_blocks);
                self.bar.set_position(progress.read_blocks);
                self.bar.set_message(progress.image.to_string());
            }
            CheckEvent::Finding(finding) => {
                self.total += 1;
                if self.findings.len() < self.max {
                    let mark = if finding.kind.is_damage() { "" } else { "(remark) " };
                    self.say(&format!("{mark}{}: {finding}", kind_name(&finding)));
                    self.findings.push(finding);
                }
            }
        }
    }

    /// A line for people, above the progress bar.
    fn say(&self, line: &str) {
        if self.output == Output::Table {
            self.bar.suspend(|| println!("{line}"));
        }
    }

    fn stop(&self, failed: &Failed) -> Failed {
        self.bar.finish_and_clear();
        failed.clone()
    }

    fn ending(&self, file: &Path, summary: &CheckSummary) -> String {
        let mut out = String::new();
        let hidden = self.total - self.findings.len() as u64;
        if hidden > 0 {
            out += &format!("... and {hidden} more findings; --max-findings N prints more\n");
        }
        for (kind, count) in &summary.findings {
            out += &format!("  {count} x {}\n", json!(kind).as_str().unwrap_or("?"));
        }
        let what = if summary.replica { "replica" } else { "volume" };
        if summary.cp == 0 {
            return out
                + &format!("{}: {what} {} has not received an image yet\n", file.display(), summary.uuid);
        }
        if summary.findings.contains_key(&FindingKind::Log) {
            out +=
                "--cut-log gives up what the log has from the damage on, so that the volume can be mounted\n";
        }
        let verdict = match summary.damage() {
            0 => "clean".to_owned(),
            1 => "DAMAGED, 1 finding".to_owned(),
            damage => format!("DAMAGED, {damage} findings"),
        };
        out + &format!(
            "{}: {verdict}\n{what} {}, consistency point {}, {} snapshots, {} inodes, {} in use, {} read, {} operations in \
             the log\n",
            file.display(),
            summary.uuid,
            summary.cp,
            summary.snapshots,
            summary.files,
            human_bytes(summary.used_blocks.saturating_mul(BLOCK_SIZE_U64)),
            human_bytes(summary.read_blocks.saturating_mul(BLOCK_SIZE_U64)),
            summary.log_records,
        )
    }

    fn as_json(&self, file: &Path, summary: &CheckSummary, rebuilt: Option<&Rebuilt>) -> Value {
        let findings: Vec<Value> = self
            .findings
            .iter()
            .map(|finding| {
                let mut value = json!(finding);
                value["words"] = json!(finding.to_string());
                value
            })
            .collect();
        let rebuilt = rebuilt.map(|done| json!({ "written": done.written, "images": done.images }));
        json!({
            "file": file.display().to_string(),
            "clean": summary.is_clean(),
            "damage": summary.damage(),
            "findings": findings,
            "findings_total": self.total,
            "summary": summary,
            "rebuilt": rebuilt,
        })
    }
}

/// The stable name of a finding's kind.
fn kind_name(finding: &Finding) -> String {
    json!(finding.kind).as_str().unwrap_or("?").to_owned()
}
