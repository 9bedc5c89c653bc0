//! What the demo found, for people and for programs.

use super::workload::ReadBack;
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;

/// The outcome. With `--json` it is the last line of the output.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verdict {
    /// Whether the vserver is served by the other cluster now, and by it alone.
    pub migrated: bool,
    /// Bytes that the first transfer sent.
    pub bytes_baseline: u64,
    /// Transfers of differences after it, the one of the cutover included.
    pub update_rounds: u64,
    /// Times that the write limit was lowered.
    pub throttle_steps: usize,
    /// The pause that was predicted when the cutover began, in milliseconds.
    pub predicted_pause_ms: Option<u64>,
    /// The pause that was measured, from the freeze to the new owner's acknowledgement, in milliseconds.
    pub pause_ms: Option<u64>,
    /// Longest time that any call of any client took, from the start of the migration to the end, in milliseconds.
    pub client_stall_ms_max: u64,
    /// Records that clients were told are durable.
    pub writes_acked: u64,
    /// Places that do not hold what was acknowledged there, or newer.
    pub writes_lost: u64,
    /// Places read back.
    pub records_checked: u64,
    /// Files compared by path, attributes, content and old handle.
    pub files_compared: usize,
    /// Whether everything read back is as it must be.
    pub verified: bool,
    /// Seconds from the command to the end of the cutover.
    pub migration_s: f64,
    /// What went wrong, if anything.
    pub error: Option<String>,
}

impl Verdict {
    /// Whether the demo has shown what it is to show.
    pub fn good(&self) -> bool {
        self.migrated && self.verified && self.writes_lost == 0
    }

    /// Takes over what the migration says of itself.
    pub fn take_status(&mut self, status: &Value) {
        let number = |key: &str| status.get(key).and_then(Value::as_u64);
        self.bytes_baseline = number("bytes_baseline").unwrap_or(0);
        self.update_rounds = number("update_rounds").unwrap_or(0);
        self.predicted_pause_ms = number("predicted_pause_ms");
        self.pause_ms = number("pause_ms");
        let steps = status.get("throttle_steps").and_then(Value::as_array);
        let lowered = |step: &&Value| step.get("limit_bytes_per_s").is_some_and(Value::is_u64);
        self.throttle_steps = steps.map_or(0, |steps| steps.iter().filter(lowered).count());
    }

    /// Takes over what the read-back found.
    pub fn take_read_back(&mut self, found: ReadBack, stall: Duration) {
        self.writes_lost = found.lost;
        self.records_checked = found.records;
        self.verified = found.lost == 0 && found.damaged == 0;
        self.client_stall_ms_max = u64::try_from(stall.as_millis()).unwrap_or(u64::MAX);
        if found.damaged > 0 {
            self.error = Some(format!("{} records hold bytes that nobody wrote", found.damaged));
        }
    }

    /// For people.
    pub fn print(&self) {
        let ms = |value: Option<u64>| value.map_or("unknown".to_owned(), |value| format!("{value} ms"));
        let mark = if self.good() { "PASS" } else { "FAIL" };
        println!();
        println!(
            "  {mark}  the virtual server {} to the other cluster",
            if self.migrated { "moved" } else { "DID NOT MOVE" }
        );
        println!();
        println!(
            "  copied before the cutover   {:.1} MiB, then {} updates",
            mib(self.bytes_baseline),
            self.update_rounds
        );
        println!("  write throttle              {} steps", self.throttle_steps);
        println!("  pause, predicted            {}", ms(self.predicted_pause_ms));
        println!("  pause, measured             {}", ms(self.pause_ms));
        println!("  longest call of a client    {} ms", self.client_stall_ms_max);
        println!("  writes acknowledged         {}", self.writes_acked);
        println!("  writes lost                 {}", self.writes_lost);
        println!(
            "  read back                   {} records, {} files by old handles",
            self.records_checked, self.files_compared
        );
        if let Some(error) = &self.error {
            println!("  error                       {error}");
        }
        println!();
    }
}

/// Bytes as MiB.
#[expect(clippy::cast_precision_loss, reason = "for people")]
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
