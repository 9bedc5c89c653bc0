//! Crashes: what a disk could hold when power fails, or the process dies, after any of its events.

use super::image::{BLOCK, Image};
use super::{Event, SimDisk};
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;

/// What a disk writes in one piece even when power fails.
const SECTOR: usize = 512;

/// What becomes of writes that no flush covered when the power fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unflushed {
    /// All of them made it.
    Survive,
    /// None of them did.
    Vanish,
    /// Each survives, vanishes or is torn, in any order, as the seed says.
    Torn(u64),
}

/// What a flush of a volume is there for. Told by its place between the writes: blocks 0 and 1 are fsinfo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushKind {
    /// A batch of the log that points to no blocks: a durable write of that range.
    LogRange,
    /// A batch of the log, and the blocks that it points to.
    LogAndData,
    /// All that a consistency point wrote, before fsinfo says that it counts.
    BeforeFsinfo,
    /// The fsinfo block itself.
    AfterFsinfo,
}

/// Which flushes the disk only pretends to do, to show that a test notices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BrokenFlush {
    /// An honest disk.
    #[default]
    None,
    /// From this event on, no flush does anything.
    AllFrom(usize),
    /// Just this event, if it is a flush, does nothing.
    Only(usize),
    /// Flushes of this kind do nothing.
    Kind(FlushKind),
}

/// The events of one run, from which every crash image can be made.
pub struct History {
    pub(super) base: Image,
    pub(super) events: Vec<Event>,
}

impl History {
    /// How many events there were; a crash can come before each and after the last.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Starts before the first event.
    pub fn cuts(&self, broken: BrokenFlush) -> Cuts<'_> {
        Cuts { history: self, durable: self.base.clone(), pending: Vec::new(), at: 0, broken }
    }

    fn is_ignored(&self, at: usize, broken: BrokenFlush) -> bool {
        match broken {
            BrokenFlush::None => false,
            BrokenFlush::AllFrom(first) => at >= first,
            BrokenFlush::Only(one) => at == one,
            BrokenFlush::Kind(kind) => self.kind(at) == Some(kind),
        }
    }

    /// What kind of flush the event `at` is, if it is one.
    pub fn kind(&self, at: usize) -> Option<FlushKind> {
        match self.events.get(at)? {
            Event::FlushRange { .. } => return Some(FlushKind::LogRange),
            Event::Flush => {}
            _ => return None,
        }
        let before = self.events[..at].iter().rev().find(|event| matches!(event, Event::Write { .. }));
        Some(if before.is_some_and(Event::is_fsinfo) {
            FlushKind::AfterFsinfo
        } else if self.events.get(at + 1).is_some_and(Event::is_fsinfo) {
            FlushKind::BeforeFsinfo
        } else {
            FlushKind::LogAndData
        })
    }
}

/// Walks over a history, event by event.
pub struct Cuts<'a> {
    history: &'a History,
    durable: Image,
    pending: Vec<&'a Event>,
    at: usize,
    broken: BrokenFlush,
}

impl Cuts<'_> {
    /// How many events are before the cut.
    pub fn at(&self) -> usize {
        self.at
    }

    /// How many writes are not durable here.
    pub fn unflushed(&self) -> usize {
        self.pending.len()
    }

    /// Moves the cut behind the next event; false at the end.
    pub fn advance(&mut self) -> bool {
        let Some(event) = self.history.events.get(self.at) else { return false };
        if !event.is_flush() {
            self.pending.push(event);
        } else if !self.history.is_ignored(self.at, self.broken) {
            let durable = &mut self.durable;
            self.pending.retain(|write| {
                let covered = write.is_covered_by(event);
                if covered {
                    write.apply(durable);
                }
                !covered
            });
        }
        self.at += 1;
        true
    }

    /// The disk that a power failure here leaves.
    pub fn crash(&self, unflushed: Unflushed) -> Arc<SimDisk> {
        let mut image = self.durable.clone();
        match unflushed {
            Unflushed::Vanish => {}
            Unflushed::Survive => self.pending.iter().for_each(|event| event.apply(&mut image)),
            Unflushed::Torn(seed) => self.tear(&mut image, seed),
        }
        SimDisk::with_history(image, Vec::new())
    }

    /// The disk that the death of the process alone leaves: every write is there to be read, and what was not flushed
    /// is not durable yet. Its history begins with those writes.
    pub fn kill(&self) -> Arc<SimDisk> {
        let events = self.pending.iter().map(|event| (*event).clone()).collect();
        SimDisk::with_history(self.durable.clone(), events)
    }

    fn tear(&self, image: &mut Image, seed: u64) {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed ^ (self.at as u64) << 32);
        let mut order = self.pending.clone();
        order.shuffle(&mut random);
        let survives = [0.1, 0.5, 0.9][random.random_range(0..3)];
        for event in order {
            if random.random_bool(survives) {
                event.apply(image);
            } else if random.random_bool(0.5) {
                event.apply_torn(image, &mut random);
            }
        }
    }
}

impl Event {
    fn is_flush(&self) -> bool {
        matches!(self, Event::Flush | Event::FlushRange { .. })
    }

    fn is_fsinfo(&self) -> bool {
        matches!(self, Event::Write { first: 0 | 1, .. })
    }

    /// Whether `flush` makes this durable.
    fn is_covered_by(&self, flush: &Event) -> bool {
        match (flush, self) {
            (Event::Flush, _) => true,
            (Event::FlushRange { first, count }, Event::Write { first: at, blocks }) => {
                at >= first && at + blocks.len() as u64 <= first + count
            }
            _ => false,
        }
    }

    /// Applies some of the sectors only. A discard has no parts: it happened or it did not.
    fn apply_torn(&self, image: &mut Image, random: &mut Xoshiro256PlusPlus) {
        let Event::Write { first, blocks } = self else { return };
        let sectors = blocks.len() * (BLOCK / SECTOR);
        // Half the time a clean break, as of one request cut short; else holes anywhere.
        let cut = random.random_bool(0.5).then(|| random.random_range(0..=sectors));
        let all = blocks.iter().flat_map(|block| block.chunks(SECTOR));
        for (n, sector) in all.enumerate() {
            if cut.map_or_else(|| random.random_bool(0.5), |cut| n < cut) {
                image.write(sector, first * fsstore::BLOCK_SIZE_U64 + (n * SECTOR) as u64);
            }
        }
    }
}
