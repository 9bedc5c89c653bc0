//! A disk in memory that remembers every write and flush, so that a test can ask what any crash would have left.
//!
//! It keeps to the contract of [`fsstore::Disk`] and to no more than that: an unflushed write may survive, vanish or be
//! torn at 512-byte boundaries, in any order with other unflushed ones. It must not be kinder than a real disk.

use parking_lot::Mutex;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::Arc;

/// What a disk writes in one piece even when power fails.
const SECTOR: usize = 512;
const BLOCK: usize = fsstore::BLOCK_SIZE;
const BLOCK_U64: u64 = fsstore::BLOCK_SIZE_U64;

/// The content of a disk; blocks never written are not stored. Clones share their blocks.
#[derive(Clone, Default)]
pub struct Image {
    blocks: BTreeMap<u64, Arc<[u8; BLOCK]>>,
    /// Length in bytes, once it was on a disk.
    len: Option<u64>,
}

impl Image {
    /// Fills `buf` from byte `offset`.
    pub fn read(&self, buf: &mut [u8], offset: u64) {
        for (at, piece) in pieces(offset, buf.len()) {
            let (block, within) = (at / BLOCK_U64, in_block(at));
            let into = &mut buf[piece.clone()];
            match self.blocks.get(&block) {
                Some(content) => into.copy_from_slice(&content[within..within + piece.len()]),
                None => into.fill(0),
            }
        }
    }

    /// Puts `data` at byte `offset`.
    pub fn write(&mut self, data: &[u8], offset: u64) {
        for (at, piece) in pieces(offset, data.len()) {
            let (block, within) = (at / BLOCK_U64, in_block(at));
            let content = self.blocks.entry(block).or_insert_with(|| Arc::new([0; BLOCK]));
            Arc::make_mut(content)[within..within + piece.len()].copy_from_slice(&data[piece]);
        }
    }

    /// Forgets the whole blocks of a range.
    fn discard(&mut self, offset: u64, len: u64) {
        let range = offset.div_ceil(BLOCK_U64)..(offset + len) / BLOCK_U64;
        if range.start >= range.end {
            return;
        }
        let mut tail = self.blocks.split_off(&range.start);
        let mut keep = tail.split_off(&range.end);
        self.blocks.append(&mut keep);
    }

    /// Numbers of the blocks that hold anything but zeros, ascending.
    pub fn used_blocks(&self) -> Vec<u64> {
        self.blocks.iter().filter(|(_, content)| content.iter().any(|b| *b != 0)).map(|(n, _)| *n).collect()
    }

    /// Turns one bit over: what a bad sector or cable does.
    pub fn flip_bit(&mut self, block: u64, bit: usize) {
        if let Some(content) = self.blocks.get_mut(&block) {
            Arc::make_mut(content)[bit / 8 % BLOCK] ^= 1 << (bit % 8);
        }
    }
}

fn in_block(at: u64) -> usize {
    usize::try_from(at % BLOCK_U64).expect("less than a block")
}

/// Cuts `len` bytes at `offset` where blocks end: (byte offset on the disk, range in the buffer).
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let take = (BLOCK - in_block(at)).min(len - done);
        let range = done..done + take;
        done += take;
        (take > 0).then_some((at, range))
    })
}

/// Something that reached the disk.
#[derive(Clone)]
enum Event {
    Write {
        offset: u64,
        data: Arc<[u8]>,
    },
    Discard {
        offset: u64,
        len: u64,
    },
    SetLen {
        bytes: u64,
    },
    Flush,
    /// A flush of what was written in this range, and of nothing else.
    FlushRange {
        offset: u64,
        len: u64,
    },
}

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
}

impl BrokenFlush {
    fn hits(self, event: usize) -> bool {
        match self {
            BrokenFlush::None => false,
            BrokenFlush::AllFrom(first) => event >= first,
            BrokenFlush::Only(one) => event == one,
        }
    }
}

/// The disk.
pub struct SimDisk {
    state: Mutex<State>,
}

struct State {
    base: Image,
    now: Image,
    events: Vec<Event>,
    fail_from: Option<usize>,
}

impl std::fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimDisk({:?} bytes, {} events)", self.image().len, self.events())
    }
}

impl SimDisk {
    /// An empty disk.
    pub fn new(bytes: u64) -> Arc<SimDisk> {
        SimDisk::from_image(Image::default(), bytes)
    }

    /// A disk with this content, all of it durable; of `bytes` unless the image says how long it is.
    pub fn from_image(mut image: Image, bytes: u64) -> Arc<SimDisk> {
        image.len.get_or_insert(bytes);
        let state = State { base: image.clone(), now: image, events: Vec::new(), fail_from: None };
        Arc::new(SimDisk { state: Mutex::new(state) })
    }

    /// What is on the disk now, as its reader sees it.
    pub fn image(&self) -> Image {
        self.state.lock().now.clone()
    }

    /// How many writes, discards and flushes there have been.
    pub fn events(&self) -> usize {
        self.state.lock().events.len()
    }

    /// Forgets the history: what is there now is durable.
    pub fn settle(&self) {
        let mut state = self.state.lock();
        state.base = state.now.clone();
        state.events.clear();
    }

    /// From event number `event` on (now at the earliest), writes and flushes fail with EIO and do nothing.
    pub fn fail_from(&self, event: Option<usize>) {
        self.state.lock().fail_from = event;
    }

    /// Everything that happened since the disk was made (or last [settled](SimDisk::settle)).
    pub fn history(&self) -> History {
        let state = self.state.lock();
        History { base: state.base.clone(), events: state.events.clone() }
    }

    fn check_range(&self, offset: u64, len: u64) -> io::Result<()> {
        if offset.checked_add(len).is_none_or(|end| Some(end) > self.state.lock().now.len) {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "past the end of the disk"));
        }
        assert!(offset.is_multiple_of(BLOCK_U64) && len.is_multiple_of(BLOCK_U64), "not whole blocks");
        Ok(())
    }

    fn push(&self, event: Event) -> io::Result<()> {
        let mut state = self.state.lock();
        if state.fail_from.is_some_and(|first| state.events.len() >= first) {
            return Err(io::Error::from_raw_os_error(5));
        }
        event.apply(&mut state.now);
        state.events.push(event);
        Ok(())
    }
}

impl Event {
    fn apply(&self, image: &mut Image) {
        match self {
            Event::Write { offset, data } => image.write(data, *offset),
            Event::Discard { offset, len } => image.discard(*offset, *len),
            Event::SetLen { bytes } => {
                image.discard(*bytes, image.len.unwrap_or(0).saturating_sub(*bytes));
                image.len = Some(*bytes);
            }
            Event::Flush | Event::FlushRange { .. } => {}
        }
    }

    fn is_flush(&self) -> bool {
        matches!(self, Event::Flush | Event::FlushRange { .. })
    }

    /// Whether `flush` makes this durable.
    fn is_covered_by(&self, flush: &Event) -> bool {
        match (flush, self) {
            (Event::Flush, _) => true,
            (Event::FlushRange { offset, len }, Event::Write { offset: at, data }) => {
                at >= offset && at + data.len() as u64 <= offset + len
            }
            _ => false,
        }
    }

    /// Applies some of the sectors only. A discard has no parts: it happened or it did not.
    fn apply_torn(&self, image: &mut Image, random: &mut Xoshiro256PlusPlus) {
        let Event::Write { offset, data } = self else { return };
        let sectors = data.len() / SECTOR;
        // Half the time a clean break, as of one request cut short; else holes anywhere.
        let cut = random.random_bool(0.5).then(|| random.random_range(0..=sectors));
        for (n, sector) in data.chunks(SECTOR).enumerate() {
            if cut.map_or_else(|| random.random_bool(0.5), |cut| n < cut) {
                image.write(sector, *offset + (n * SECTOR) as u64);
            }
        }
    }
}

impl fsstore::Disk for SimDisk {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.check_range(offset, buf.len() as u64)?;
        self.state.lock().now.read(buf, offset);
        Ok(())
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let data: Vec<u8> = bufs.iter().flat_map(|b| b.iter().copied()).collect();
        self.check_range(offset, data.len() as u64)?;
        self.push(Event::Write { offset, data: data.into() })
    }

    fn write_durable(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.write_at(bufs, offset)?;
        let len = bufs.iter().map(|b| b.len() as u64).sum();
        self.push(Event::FlushRange { offset, len })
    }

    fn flush(&self) -> io::Result<()> {
        self.push(Event::Flush)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.check_range(offset, len)?;
        self.push(Event::Discard { offset, len })
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.push(Event::SetLen { bytes })
    }
}

/// The events of one run, from which every crash image can be made.
pub struct History {
    base: Image,
    events: Vec<Event>,
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

    /// Whether the next event is a flush: the moment when most is at stake.
    pub fn before_flush(&self) -> bool {
        self.history.events.get(self.at).is_some_and(Event::is_flush)
    }

    /// Moves the cut behind the next event; false at the end.
    pub fn advance(&mut self) -> bool {
        let Some(event) = self.history.events.get(self.at) else { return false };
        if !event.is_flush() {
            self.pending.push(event);
        } else if !self.broken.hits(self.at) {
            let pending = std::mem::take(&mut self.pending);
            let (done, left): (Vec<&Event>, _) =
                pending.into_iter().partition(|write| write.is_covered_by(event));
            done.into_iter().for_each(|write| write.apply(&mut self.durable));
            self.pending = left;
        }
        self.at += 1;
        true
    }

    /// The disk that a crash here leaves.
    pub fn crash(&self, unflushed: Unflushed) -> Arc<SimDisk> {
        let mut image = self.durable.clone();
        match unflushed {
            Unflushed::Vanish => {}
            Unflushed::Survive => self.pending.iter().for_each(|event| event.apply(&mut image)),
            Unflushed::Torn(seed) => self.tear(&mut image, seed),
        }
        SimDisk::from_image(image, 0)
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
