//! Runs random operations, then looks at what a crash at every moment of the run would have left.
//!
//! The rule: the state after a crash is the state after some prefix of the operations that were begun, and that prefix
//! has every operation that was acknowledged as durable.

use crate::model::Model;
use crate::pair::{Pair, open};
use crate::random::{Limits, Random};
use crate::sim_disk::{BrokenFlush, Cuts, SimDisk, Unflushed};
use crate::verify::{Wrong, difference, dump};
use fsstore::{Snapshot, SnapshotId, Volume};
use rand::RngExt;
use std::cell::OnceCell;
use std::sync::Arc;

/// Address space of the volumes here; every third has less, so that its log runs full and makes CPs come by themselves.
pub const BYTES: u64 = 24 << 20;
const TIGHT_BYTES: u64 = 6 << 20;

/// The state after one more operation.
struct State {
    /// Events on the disk when the operation began.
    begun: usize,
    model: Model,
    dump: OnceCell<Vec<String>>,
}

impl State {
    fn dump(&self) -> &[String] {
        self.dump.get_or_init(|| self.model.dump())
    }
}

/// A snapshot's life, in events of the disk.
struct Kept {
    snapshot: Snapshot,
    model: Model,
    created: usize,
    delete_begun: Option<usize>,
}

/// What a run did, and when.
pub struct Run {
    disk: Arc<SimDisk>,
    states: Vec<State>,
    /// (events when it returned, states that are durable since).
    acknowledged: Vec<(usize, usize)>,
    snapshots: Vec<Kept>,
    /// Event at which a snapshot was begun, and its id, created or not.
    begun: Vec<(usize, SnapshotId)>,
    /// Events before and after each resize, and the size that it left.
    sizes: Vec<(usize, usize, u64)>,
    bytes: u64,
    seed: u64,
}

/// How thoroughly to look.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Random steps in a run.
    pub steps: usize,
    /// Torn variants for each cut.
    pub torn: u64,
    /// After one in this many crashes, goes on working in the volume.
    pub go_on_one_in: u32,
}

impl Run {
    /// Performs a run.
    pub fn new(seed: u64, effort: Effort) -> Result<Run, Wrong> {
        let bytes = if seed % 3 == 2 { TIGHT_BYTES } else { BYTES };
        let mut pair = Pair::new(Random::new(seed, Limits::SMALL), bytes)?;
        pair.may_fill = bytes == TIGHT_BYTES;
        pair.volume.flush_log().map_err(|e| e.to_string())?;
        let disk = pair.disk.clone();
        disk.settle();
        let mut run = Run {
            disk,
            states: Vec::new(),
            acknowledged: vec![(0, 1)],
            snapshots: Vec::new(),
            begun: Vec::new(),
            sizes: vec![(0, 0, bytes)],
            bytes,
            seed,
        };
        run.push(0, &pair);
        for _ in 0..effort.steps {
            run.step(&mut pair)?;
        }
        Ok(run)
    }

    fn push(&mut self, begun: usize, pair: &Pair) {
        self.states.push(State { begun, model: pair.model.clone(), dump: OnceCell::new() });
    }

    fn acknowledge(&mut self) {
        self.acknowledged.push((self.disk.events(), self.states.len()));
    }

    fn step(&mut self, pair: &mut Pair) -> Result<(), Wrong> {
        match pair.random.rng.random_range(0..100) {
            0..80 => {
                let begun = self.disk.events();
                let lsn = pair.mutate()?;
                self.push(begun, pair);
                if pair.random.chance(10) {
                    pair.volume.wait_durable(lsn).map_err(|e| format!("wait_durable: {e}"))?;
                    self.acknowledge();
                }
            }
            80..91 => {
                pair.volume.flush_log().map_err(|e| format!("flush_log: {e}"))?;
                self.acknowledge();
            }
            91..96 if self.bytes == BYTES => {
                pair.volume.consistency_point().map_err(|e| format!("consistency_point: {e}"))?;
                self.acknowledge();
            }
            96 => self.resize(pair)?,
            97 => self.snapshot(pair)?,
            _ => self.delete_snapshot(pair)?,
        }
        Ok(())
    }

    fn resize(&mut self, pair: &mut Pair) -> Result<(), Wrong> {
        let begun = self.disk.events();
        pair.resize()?;
        self.sizes.push((begun, self.disk.events(), pair.volume.size_bytes()));
        Ok(())
    }

    fn check_size(&self, volume: &Volume, cut: usize) -> Result<(), Wrong> {
        let done = self.sizes.iter().rposition(|(_, done, _)| *done <= cut).expect("the first is at event 0");
        let mut possible = self.sizes[done..].iter().filter(|(begun, ..)| *begun <= cut);
        let size = volume.size_bytes();
        if possible.any(|(.., bytes)| *bytes == size) { Ok(()) } else { Err(format!("a size of {size}")) }
    }

    fn snapshot(&mut self, pair: &mut Pair) -> Result<(), Wrong> {
        let begun = self.disk.events();
        let before = pair.snapshots.len();
        pair.snapshot()?;
        if let Some((snapshot, model)) = pair.snapshots.get(before) {
            self.begun.push((begun, snapshot.id));
            let (snapshot, model) = (snapshot.clone(), model.clone());
            self.snapshots.push(Kept { snapshot, model, created: self.disk.events(), delete_begun: None });
            self.acknowledge();
        }
        Ok(())
    }

    fn delete_snapshot(&mut self, pair: &mut Pair) -> Result<(), Wrong> {
        let begun = self.disk.events();
        pair.delete_snapshot()?;
        let left: Vec<SnapshotId> = pair.snapshots.iter().map(|(s, _)| s.id).collect();
        for kept in self.snapshots.iter_mut().filter(|k| !left.contains(&k.snapshot.id)) {
            kept.delete_begun.get_or_insert(begun);
        }
        Ok(())
    }

    /// Crashes before every event and after the last one. Returns how many crashes were looked at.
    pub fn check(&self, broken: BrokenFlush, effort: Effort) -> Result<usize, Wrong> {
        let history = self.disk.history();
        let mut cuts = history.cuts(broken);
        let mut random = Random::new(self.seed ^ 0x5eed, Limits::SMALL);
        let mut crashes = 0;
        loop {
            let torn = (0..effort.torn).map(|n| Unflushed::Torn(self.seed << 8 | n));
            for unflushed in [Unflushed::Vanish, Unflushed::Survive].into_iter().chain(torn) {
                let go_on = random.rng.random_ratio(1, effort.go_on_one_in);
                self.check_crash(&cuts, unflushed, go_on).map_err(|wrong| {
                    format!("cut at event {}, unflushed {unflushed:?}: {wrong}", cuts.at())
                })?;
                crashes += 1;
            }
            if !cuts.advance() {
                return Ok(crashes);
            }
        }
    }

    fn check_crash(&self, cuts: &Cuts<'_>, unflushed: Unflushed, go_on: bool) -> Result<(), Wrong> {
        let disk = cuts.crash(unflushed);
        let volume = open(disk.clone())?;
        let state = self.find_state(&volume, cuts.at())?;
        self.check_snapshot_list(&volume, cuts.at())?;
        self.check_size(&volume, cuts.at())?;
        if go_on { self.go_on(disk, volume, state, cuts.at()) } else { Ok(()) }
    }

    /// The operations that are in a volume after a crash.
    fn find_state(&self, volume: &Volume, cut: usize) -> Result<usize, Wrong> {
        let acknowledged =
            self.acknowledged.iter().filter(|(events, _)| *events <= cut).map(|(_, states)| *states).max();
        let acknowledged = acknowledged.expect("the first one is at event 0");
        let begun = self.states.iter().take_while(|state| state.begun <= cut).count();
        let found = dump(volume)?;
        // The newest first: usually nothing was lost.
        let state = (acknowledged - 1..begun).rev().find(|n| self.states[*n].dump() == found);
        state.ok_or_else(|| {
            let nearest = (0..self.states.len()).find(|n| self.states[*n].dump() == found);
            format!(
                "not the state after any of operations {acknowledged} to {begun}; it is the one after {nearest:?}; {}",
                difference(&found, self.states[acknowledged - 1].dump()),
            )
        })
    }

    fn check_snapshot_list(&self, volume: &Volume, cut: usize) -> Result<(), Wrong> {
        let there = volume.snapshots();
        for kept in &self.snapshots {
            let must = kept.created <= cut && kept.delete_begun.is_none_or(|begun| begun > cut);
            if must && !there.contains(&kept.snapshot) {
                return Err(format!("{:?} is not in {there:?}", kept.snapshot));
            }
        }
        for snapshot in &there {
            if !self.begun.iter().any(|(begun, id)| *id == snapshot.id && *begun <= cut) {
                return Err(format!("{snapshot:?} comes from nowhere"));
            }
        }
        Ok(())
    }

    /// The volume works on after the crash, and its snapshots are whole.
    fn go_on(&self, disk: Arc<SimDisk>, volume: Arc<Volume>, state: usize, cut: usize) -> Result<(), Wrong> {
        let mut random = Random::new(self.seed ^ cut as u64, Limits::SMALL);
        // Times go on from where they were.
        for _ in 0..2000 {
            random.now();
        }
        let there = volume.snapshots();
        let mut pair = Pair::resume(disk, volume, self.states[state].model.clone(), random, self.bytes);
        pair.may_fill = self.bytes == TIGHT_BYTES;
        for kept in self.snapshots.iter().filter(|kept| there.contains(&kept.snapshot)) {
            pair.snapshots.push((kept.snapshot.clone(), kept.model.clone()));
        }
        // One that was being made when the crash came has no model here.
        for snapshot in there.iter().filter(|s| self.snapshots.iter().all(|kept| kept.snapshot != **s)) {
            pair.volume.snapshot_delete(snapshot.id).map_err(|e| format!("snapshot_delete: {e}"))?;
        }
        pair.verify_snapshots()?;
        for _ in 0..30 {
            pair.mutate().map_err(|wrong| format!("going on: {wrong}"))?;
        }
        pair.reopen_dirty().map_err(|wrong| format!("going on: {wrong}"))?;
        pair.volume.consistency_point().map_err(|e| format!("going on: {e}"))?;
        for _ in 0..30 {
            pair.mutate().map_err(|wrong| format!("going on: {wrong}"))?;
        }
        pair.reopen_clean().map_err(|wrong| format!("going on: {wrong}"))?;
        pair.verify_snapshots()
    }
}
