//! The demo's display: a line that follows the migration on a terminal, lines otherwise, nothing with `--json`.

use super::verdict::mib;
use super::workload::Workload;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::cell::RefCell;
use std::io::IsTerminal;
use std::sync::atomic::Ordering;

/// Where progress goes.
pub(super) struct Progress {
    quiet: bool,
    bar: ProgressBar,
    last: RefCell<Last>,
}

#[derive(Default)]
struct Last {
    phase: String,
    steps: usize,
}

impl Progress {
    pub(super) fn new(quiet: bool) -> Self {
        let bar = if quiet || !std::io::stderr().is_terminal() {
            ProgressBar::hidden()
        } else {
            ProgressBar::new(1)
        };
        if let Ok(style) = ProgressStyle::with_template("  {bar:24} {msg}") {
            bar.set_style(style);
        }
        Progress { quiet, bar, last: RefCell::default() }
    }

    pub(super) fn say(&self, text: &str) {
        if !self.quiet {
            self.bar.suspend(|| println!("{text}"));
        }
    }

    /// Shows where a migration stands.
    pub(super) fn show(&self, status: &Value, work: &Workload) {
        let number = |key: &str| status[key].as_u64().unwrap_or(0);
        let phase = status["phase"].as_str().unwrap_or_default();
        let mut last = self.last.borrow_mut();
        if last.phase != phase {
            phase.clone_into(&mut last.phase);
            self.say(&format!("  {phase:<14} {}", explain(phase)));
        }
        for step in status["throttle_steps"].as_array().into_iter().flatten().skip(last.steps) {
            last.steps += 1;
            let what = if step["limit_bytes_per_s"].is_u64() { "throttle" } else { "unthrottled" };
            self.say(&format!("  {what:<14} {}", step["reason"].as_str().unwrap_or_default()));
        }
        let acked = mib(work.seen.bytes.load(Ordering::Relaxed));
        let predicted = status["predicted_pause_ms"].as_u64().map_or("-".to_owned(), |ms| format!("{ms} ms"));
        self.bar.set_length(number("transfer_bytes_total").max(1));
        self.bar.set_position(number("transfer_bytes_done").min(number("transfer_bytes_total")));
        self.bar.set_message(format!(
            "{phase}: {:.0} MiB left, link {:.0} MiB/s, clients write {:.0} MiB/s ({acked:.0} MiB acknowledged), pause predicted {predicted}",
            mib(number("remaining_bytes")),
            mib(number("rate_bytes_per_s")),
            mib(number("write_bytes_per_s")),
        ));
    }

    pub(super) fn done(&self) {
        self.bar.finish_and_clear();
    }
}

/// What a phase does, in a line.
fn explain(phase: &str) -> &'static str {
    match phase {
        "setup" => "the destination makes room",
        "baseline" => "a snapshot of every volume is sent",
        "update" => "what has changed since is sent, again and again",
        "admin_cutover" => "client writes are slowed down until the rest fits the pause",
        "cutover" => "requests wait; the last changes and the open state are sent",
        "activate" => "the source has given up ownership; the address comes up at the destination",
        "completed" => "the destination serves",
        _ => "",
    }
}
