//! Runs random operations, then looks at what a crash at any moment of the run would have left.
//!
//! The rule: the state after a crash is the state after some prefix of the operations that were begun, and that prefix
//! has every operation that was acknowledged as durable. It holds for power failures, after which unflushed writes are
//! there, gone or torn, and for the death of the process alone, after which they can be read but are not durable. It
//! holds for the crash of a volume that went on after a crash, too, and for one that was just being mounted.
//!
//! A cut point is a place between two events of the disk together with one choice of what happens to unflushed writes.

mod check;
mod shape;

use crate::cloned::Parent;
use crate::model::Model;
use crate::pair::Pair;
use crate::random::Random;
use crate::sim_disk::SimDisk;
use crate::verify::{Wrong, verify};
use fsstore::{Snapshot, SnapshotId};
use rand::RngExt;
use shape::Shape;
use std::cell::OnceCell;
use std::sync::Arc;

/// The state after one more operation.
struct State {
    /// Events on the disk when the operation began.
    begun: usize,
    model: Model,
    dump: OnceCell<Vec<String>>,
}

impl State {
    fn new(begun: usize, model: Model) -> State {
        State { begun, model, dump: OnceCell::new() }
    }

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
    /// Cuts are made from this event on.
    first_cut: usize,
    states: Vec<State>,
    /// (events when it returned, states that are durable since).
    acknowledged: Vec<(usize, usize)>,
    snapshots: Vec<Kept>,
    /// Event at which a snapshot was begun, and its id, created or not.
    begun: Vec<(usize, SnapshotId)>,
    /// Events before and after each resize, and the size that it left.
    sizes: Vec<(usize, usize, u64)>,
    shape: Shape,
    seed: u64,
    /// What the volume stands over, if it is a clone, as the run has left it.
    parent: Option<Parent>,
}

/// How thoroughly to look.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Random steps in a run.
    pub steps: usize,
    /// Cut points of a run.
    pub cuts: usize,
    /// After one in this many crashes the volume goes on, and is cut again, while it is mounted and after.
    pub go_on_one_in: u32,
}

impl Effort {
    /// What one seed of the crash test does.
    pub const CASE: Effort = Effort { steps: 110, cuts: 500, go_on_one_in: 20 };
    /// What a volume does after a crash.
    const AFTER_CRASH: Effort = Effort { steps: 16, cuts: 6, go_on_one_in: u32::MAX };
}

impl Run {
    /// Performs a run on a new volume.
    ///
    /// # Errors
    /// The volume's answers differ from the model's.
    pub fn new(seed: u64, effort: Effort) -> Result<Run, Wrong> {
        let shape = Shape::of(seed);
        let mut pair = shape.begin(seed)?;
        let mut run = Run::of(&pair, shape, seed)?;
        run.steps(&mut pair, effort.steps)?;
        Ok(run)
    }

    /// Performs a run on a clone, whose parent is changed and the clone split meanwhile.
    ///
    /// # Errors
    /// The answers of one of the two differ from its model's.
    pub fn of_clone(seed: u64, effort: Effort) -> Result<Run, Wrong> {
        let shape = Shape::of(seed);
        let (mut parent, mut pair) = shape.begin_clone(seed)?;
        let mut run = Run::of(&pair, shape, seed)?;
        for step in 0..effort.steps {
            run.step(&mut pair).map_err(|wrong| format!("step {step}: {wrong}"))?;
            parent.step().map_err(|wrong| format!("step {step} of the parent: {wrong}"))?;
            // Some of the runs end in a volume of its own.
            if pair.random.chance(8) {
                pair.split(1 + seed % 7)?;
            }
        }
        parent.volume.consistency_point().map_err(|e| format!("the parent: {e}"))?;
        verify(&parent.volume, &parent.model).map_err(|wrong| format!("the parent: {wrong}"))?;
        run.parent = Some(parent.as_parent());
        Ok(run)
    }

    fn of(pair: &Pair, shape: Shape, seed: u64) -> Result<Run, Wrong> {
        pair.volume.flush_log().map_err(|e| e.to_string())?;
        pair.disk.settle();
        let mut run = Run {
            disk: pair.disk.clone(),
            first_cut: 0,
            states: vec![State::new(0, pair.model.clone())],
            acknowledged: vec![(0, 1)],
            snapshots: Vec::new(),
            begun: Vec::new(),
            sizes: vec![(0, 0, pair.volume.size_bytes())],
            shape,
            seed,
            parent: pair.parent.clone(),
        };
        for (snapshot, model) in pair.snapshots.clone() {
            run.begun.push((0, snapshot.id));
            run.snapshots.push(Kept { snapshot, model, created: 0, delete_begun: None });
        }
        Ok(run)
    }

    fn steps(&mut self, pair: &mut Pair, steps: usize) -> Result<(), Wrong> {
        (0..steps).try_for_each(|step| self.step(pair).map_err(|wrong| format!("step {step}: {wrong}")))
    }

    fn resize(&mut self, pair: &mut Pair) -> Result<(), Wrong> {
        let begun = self.disk.events();
        pair.resize()?;
        self.sizes.push((begun, self.disk.events(), pair.volume.size_bytes()));
        Ok(())
    }

    fn acknowledge(&mut self) {
        self.acknowledged.push((self.disk.events(), self.states.len()));
    }

    fn step(&mut self, pair: &mut Pair) -> Result<(), Wrong> {
        match pair.random.rng.random_range(0..100) {
            0..80 => {
                let begun = self.disk.events();
                let lsn = pair.mutate()?;
                self.states.push(State::new(begun, pair.model.clone()));
                if pair.random.chance(10) {
                    pair.volume.wait_durable(lsn).map_err(|e| format!("wait_durable: {e}"))?;
                    self.acknowledge();
                }
            }
            80..90 => {
                pair.volume.flush_log().map_err(|e| format!("flush_log: {e}"))?;
                self.acknowledge();
            }
            90..95 if self.shape.takes_cps => {
                pair.volume.consistency_point().map_err(|e| format!("consistency_point: {e}"))?;
                self.acknowledge();
            }
            95 => self.resize(pair)?,
            96 => self.snapshot(pair)?,
            _ => self.delete_snapshot(pair)?,
        }
        Ok(())
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

    fn random(&self, salt: u64) -> Random {
        Random::new(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt, self.shape.limits)
    }
}
