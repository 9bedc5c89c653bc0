//! Cutting a run: the disk that a crash leaves is opened and compared with the states that are allowed there.

use super::{Effort, Kept, Run, State};
use crate::cloned::{open_over, taken};
use crate::pair::Pair;
use crate::sim_disk::{BrokenFlush, Cuts, SimDisk, Unflushed};
use crate::verify::{Wrong, check_clean, difference, dump};
use fsstore::Volume;
use rand::RngExt;
use std::ops::Range;
use std::sync::Arc;

/// How the run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Power fails.
    Power(Unflushed),
    /// The process dies; the host lives on.
    Killed,
}

impl Run {
    /// Crashes at random cut points. Returns how many were looked at.
    ///
    /// # Errors
    /// A crash that leaves what must not be, with the place where it was.
    pub fn check(&self, broken: BrokenFlush, effort: Effort) -> Result<usize, Wrong> {
        let history = self.disk.history();
        let mut random = self.random(0x5eed);
        let mut places = self.places(effort.cuts, &mut random);
        let mut cuts = history.cuts(broken);
        let mut checked = 0;
        places.sort_unstable();
        for place in places {
            while cuts.at() < place {
                cuts.advance();
            }
            let end = match random.rng.random_range(0..10) {
                0 => End::Killed,
                1 => End::Power(Unflushed::Vanish),
                2 => End::Power(Unflushed::Survive),
                _ => End::Power(Unflushed::Torn(random.rng.random())),
            };
            let go_on = random.rng.random_ratio(1, effort.go_on_one_in);
            checked += self.cut(&cuts, end, go_on).map_err(|wrong| {
                format!("cut before event {} of {}, {end:?}: {wrong}", cuts.at(), history.len())
            })?;
        }
        Ok(checked)
    }

    /// Every place once if there are enough cuts, then more of those where more is at stake.
    fn places(&self, cuts: usize, random: &mut crate::random::Random) -> Vec<usize> {
        let history = self.disk.history();
        let mut walk = history.cuts(BrokenFlush::None);
        while walk.at() < self.first_cut {
            walk.advance();
        }
        let mut all = Vec::new();
        let mut at_stake = Vec::new();
        loop {
            all.push(walk.at());
            for _ in 0..walk.unflushed().min(4) {
                at_stake.push(walk.at());
            }
            if history.kind(walk.at()).is_some() {
                at_stake.extend([walk.at(); 4]);
            }
            if !walk.advance() {
                break;
            }
        }
        let mut places = if all.len() <= cuts / 2 { all.clone() } else { Vec::new() };
        while places.len() < cuts {
            let from = if at_stake.is_empty() || random.chance(20) { &all } else { &at_stake };
            places.push(*random.pick(from));
        }
        places
    }

    /// Looks at one cut point, and those of the run that goes on from it.
    fn cut(&self, cuts: &Cuts<'_>, end: End, go_on: bool) -> Result<usize, Wrong> {
        let disk = match end {
            End::Killed => cuts.kill(),
            End::Power(unflushed) => cuts.crash(unflushed),
        };
        let before = disk.events();
        if go_on {
            check_clean(disk.clone(), self.parent.as_ref())?;
        }
        let volume = open_over(disk.clone(), self.parent.as_ref())?;
        let state = self.find_state(&volume, cuts.at())?;
        self.check_snapshot_list(&volume, cuts.at())?;
        self.check_size(&volume, cuts.at())?;
        if !go_on {
            return Ok(1);
        }
        let next =
            self.go_on(cuts.at(), disk, volume, state, before).map_err(|e| format!("going on: {e}"))?;
        // Cuts of a broken disk's run are made with an honest disk from here on.
        Ok(1 + next.check(BrokenFlush::None, Effort::AFTER_CRASH).map_err(|e| format!("going on: {e}"))?)
    }

    /// States that a crash at `cut` may leave.
    fn allowed(&self, cut: usize) -> Range<usize> {
        let acknowledged = self.acknowledged.iter().filter(|(events, _)| *events <= cut).map(|(_, n)| *n);
        let acknowledged = acknowledged.max().expect("the first one is at event 0");
        let begun = self.states.partition_point(|state| state.begun <= cut);
        acknowledged - 1..begun
    }

    /// The operations that are in a volume after a crash.
    fn find_state(&self, volume: &Volume, cut: usize) -> Result<usize, Wrong> {
        let allowed = self.allowed(cut);
        let found = dump(volume)?;
        // The newest first: usually nothing was lost.
        allowed.clone().rev().find(|n| self.states[*n].dump() == found).ok_or_else(|| {
            let nearest = (0..self.states.len()).find(|n| self.states[*n].dump() == found);
            format!(
                "not the state after any of operations {allowed:?}; it is the one after {nearest:?}; {}",
                difference(&found, self.states[allowed.start].dump()),
            )
        })
    }

    fn check_size(&self, volume: &Volume, cut: usize) -> Result<(), Wrong> {
        let (done, _) = self.durable_size(cut);
        let mut possible = self.sizes[done..].iter().filter(|(begun, ..)| *begun <= cut);
        let size = volume.size_bytes();
        if possible.any(|(.., bytes)| *bytes == size) { Ok(()) } else { Err(format!("a size of {size}")) }
    }

    /// The newest resize that was done before `cut`, and the size since.
    fn durable_size(&self, cut: usize) -> (usize, u64) {
        let done = self.sizes.iter().rposition(|(_, done, _)| *done <= cut).expect("the first is at event 0");
        (done, self.sizes[done].2)
    }

    fn check_snapshot_list(&self, volume: &Volume, cut: usize) -> Result<(), Wrong> {
        let there = taken(volume);
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

    /// A run that begins with the mount after a crash at `cut`. `before` events of the disk were before that mount.
    fn go_on(
        &self,
        cut: usize,
        disk: Arc<SimDisk>,
        volume: Arc<Volume>,
        state: usize,
        before: usize,
    ) -> Result<Run, Wrong> {
        let mounted = disk.events();
        let there = taken(&volume);
        // After the death of the process alone, what was not durable is not until the mount is done.
        let first = if before > 0 { self.allowed(cut).start } else { state };
        let models = self.states[first..=state].iter().map(|state| State::new(0, state.model.clone()));
        let model = self.states[state].model.clone();
        let mut random = self.random(cut as u64);
        random.next_day();
        let mut pair = Pair::resume(disk.clone(), volume, model, random, self.shape.bytes);
        pair.may_fill = true;
        pair.parent.clone_from(&self.parent);
        let mut run = Run {
            disk,
            first_cut: before,
            states: models.collect(),
            acknowledged: vec![(0, 1), (mounted, state - first + 1)],
            snapshots: Vec::new(),
            begun: self.begun.iter().filter(|(begun, _)| *begun <= cut).map(|(_, id)| (0, *id)).collect(),
            // A resize that the process died in is not durable either.
            sizes: vec![(0, 0, self.durable_size(cut).1), (0, mounted, pair.volume.size_bytes())],
            shape: self.shape,
            seed: self.seed ^ (cut as u64) << 20,
            parent: self.parent.clone(),
        };
        for kept in self.snapshots.iter().filter(|kept| there.contains(&kept.snapshot)) {
            let (snapshot, model) = (kept.snapshot.clone(), kept.model.clone());
            pair.snapshots.push((snapshot.clone(), model.clone()));
            run.snapshots.push(Kept { snapshot, model, created: mounted, delete_begun: None });
        }
        pair.verify_snapshots()?;
        // One that was being made when the crash came has no model here.
        for snapshot in there.iter().filter(|s| self.snapshots.iter().all(|kept| kept.snapshot != **s)) {
            pair.volume.snapshot_delete(snapshot.id).map_err(|e| format!("snapshot_delete: {e}"))?;
        }
        run.steps(&mut pair, Effort::AFTER_CRASH.steps)?;
        pair.verify_snapshots()?;
        Ok(run)
    }
}
