//! The background scrub of a node: reads every block in use now and then, slowly, so that damage is found while there
//! is still something to mend it from. What it has found is kept in memory, by volume; a restart begins anew.

use super::{Cluster, Result, blocking, now};
use crate::vserver::MountedVolume;
use fsstore::{BLOCK_SIZE_U64, ScrubCursor, ScrubStep};
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// Findings of a volume that are kept in words and logged; more are counted.
const FINDINGS_MAX: usize = 20;
/// Steps in a second.
const STEPS_PER_S: u64 = 4;
/// How often to look for a volume whose time has come.
const IDLE_INTERVAL: Duration = Duration::from_secs(5);

/// How far the scrub of a volume is, as the API shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ScrubView {
    /// Whether a pass is under way.
    pub running: bool,
    /// How much of the pass is done, in percent.
    pub progress_percent: u64,
    /// When the last whole pass ended, in seconds since 1970.
    pub last_completed_s: Option<i64>,
    /// Blocks that the last whole pass, or the one under way, found damaged.
    pub damaged_blocks: u64,
    /// Some of them, in words.
    pub findings: Vec<String>,
}

/// What is known of each volume.
#[derive(Debug, Default)]
pub(super) struct Scrubs(Mutex<HashMap<Uuid, Progress>>);

#[derive(Clone, Debug, Default)]
struct Found {
    count: u64,
    words: Vec<String>,
}

#[derive(Clone, Debug, Default)]
struct Progress {
    /// Where the pass under way goes on.
    cursor: Option<ScrubCursor>,
    read_blocks: u64,
    total_blocks: u64,
    completed_s: Option<i64>,
    /// Of the last whole pass.
    last: Found,
    /// Of the one under way.
    now: Found,
}

impl Progress {
    fn is_due(&self, now_s: i64, interval_s: i64) -> bool {
        self.cursor.is_some() || self.completed_s.is_none_or(|at| now_s >= at.saturating_add(interval_s))
    }

    fn view(&self) -> ScrubView {
        let running = self.cursor.is_some();
        let percent = self.read_blocks.saturating_mul(100) / self.total_blocks.max(1);
        let found = if self.now.count >= self.last.count { &self.now } else { &self.last };
        ScrubView {
            running,
            progress_percent: if running {
                percent.min(99)
            } else {
                100 * u64::from(self.completed_s.is_some())
            },
            last_completed_s: self.completed_s,
            damaged_blocks: found.count,
            findings: found.words.clone(),
        }
    }

    fn note(&mut self, step: ScrubStep, volume: &str, vserver: &str, now_s: i64) {
        self.read_blocks += step.read_blocks;
        self.total_blocks = step.total_blocks;
        for finding in step.findings {
            self.now.count += 1;
            if self.now.words.len() < FINDINGS_MAX {
                tracing::error!(vserver, volume, %finding, "the scrub found damage");
                self.now.words.push(finding.to_string());
            }
        }
        self.cursor = step.next;
        if self.cursor.is_none() {
            let bytes = self.read_blocks * BLOCK_SIZE_U64;
            let damaged_blocks = self.now.count;
            tracing::info!(vserver, volume, bytes, damaged_blocks, "the scrub has read the whole volume");
            self.completed_s = Some(now_s);
            self.last = std::mem::take(&mut self.now);
            self.read_blocks = 0;
        }
    }
}

impl Cluster {
    /// Scrubs until the node stops: every volume in turn, none of them faster than configured.
    pub(super) async fn scrub(self: &Arc<Self>) {
        let mib_per_s = self.config.volumes.scrub_mib_per_s;
        if mib_per_s == 0 {
            return std::future::pending().await;
        }
        let budget = (mib_per_s << 20) / BLOCK_SIZE_U64 / STEPS_PER_S;
        loop {
            let read_blocks = self.scrub_turn(budget).await.unwrap_or_else(|error| {
                tracing::error!(%error, "scrub");
                0
            });
            let worth_ms = read_blocks.saturating_mul(BLOCK_SIZE_U64 * 1000) / (mib_per_s << 20);
            let pause = if read_blocks == 0 { IDLE_INTERVAL } else { Duration::from_millis(worth_ms) };
            tokio::time::sleep(pause).await;
        }
    }

    /// One step of every volume whose time has come; the number of blocks read.
    pub(crate) async fn scrub_turn(self: &Arc<Self>, budget_blocks: u64) -> Result<u64> {
        let mut read_blocks = 0;
        let mounted: Vec<(String, MountedVolume)> = self
            .all_served()
            .iter()
            .flat_map(|served| served.mounts().into_iter().map(|mount| (served.vserver.name.clone(), mount)))
            .collect();
        self.scrubs.0.lock().retain(|uuid, _| mounted.iter().any(|(_, mount)| mount.volume.uuid() == *uuid));
        let share = budget_blocks / (mounted.len() as u64).max(1);
        let interval_s = i64::try_from(self.config.volumes.scrub_interval_h.saturating_mul(3600));
        for (vserver, mount) in mounted {
            let uuid = mount.volume.uuid();
            let before = self.scrubs.0.lock().get(&uuid).cloned().unwrap_or_default();
            if !before.is_due(now().secs, interval_s.unwrap_or(i64::MAX)) {
                continue;
            }
            let volume = Arc::clone(&mount.volume);
            let from = before.cursor.unwrap_or_default();
            let step = match blocking(move || Ok::<_, super::ClusterError>(volume.scrub(&from, share)?)).await
            {
                Ok(step) => step,
                Err(error) => {
                    tracing::error!(vserver, volume = mount.name, %error, "scrub");
                    continue;
                }
            };
            read_blocks += step.read_blocks;
            crate::metrics::scrubbed(step.read_blocks * BLOCK_SIZE_U64);
            let mut all = self.scrubs.0.lock();
            all.entry(uuid).or_default().note(step, &mount.name, &vserver, now().secs);
        }
        Ok(read_blocks)
    }

    /// Makes every volume due.
    #[cfg(test)]
    pub(crate) fn scrub_again(&self) {
        self.scrubs.0.lock().values_mut().for_each(|progress| progress.completed_s = None);
    }

    /// How far the scrub of a volume is; `None` before its first step.
    pub(crate) fn scrub_of(&self, volume: Uuid) -> Option<ScrubView> {
        self.scrubs.0.lock().get(&volume).map(Progress::view)
    }
}
