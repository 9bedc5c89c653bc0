//! A disk in memory that remembers every write and flush, so that a test can ask what any crash would have left.
//!
//! It keeps to the contract of [`fsstore::Disk`] and to no more than that: an unflushed write may survive, vanish or be
//! torn at 512-byte boundaries, in any order with other unflushed ones. It must not be kinder than a real disk.

mod cuts;
mod image;

pub use cuts::{BrokenFlush, Cuts, FlushKind, History, Unflushed};
pub use image::Image;
use image::{BLOCK, BLOCK_U64, Block};
use parking_lot::Mutex;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use std::io::{self, IoSlice};
use std::sync::Arc;

/// Something that reached the disk. Places are block numbers.
#[derive(Clone)]
enum Event {
    Write {
        first: u64,
        blocks: Arc<[Arc<Block>]>,
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
        first: u64,
        count: u64,
    },
}

impl Event {
    fn apply(&self, image: &mut Image) {
        match self {
            Event::Write { first, blocks } => {
                blocks.iter().enumerate().for_each(|(n, block)| image.put(first + n as u64, block));
            }
            Event::Discard { offset, len } => image.discard(*offset, *len),
            Event::SetLen { bytes } => image.set_len(*bytes),
            Event::Flush | Event::FlushRange { .. } => {}
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
    lies: Option<Lies>,
}

/// Reads that give what was never written there.
struct Lies {
    random: Xoshiro256PlusPlus,
    one_in: u32,
    told: usize,
}

impl std::fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimDisk({} bytes, {} events)", self.bytes(), self.events())
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
        SimDisk::with_history(image, Vec::new())
    }

    fn with_history(base: Image, events: Vec<Event>) -> Arc<SimDisk> {
        let mut now = base.clone();
        events.iter().for_each(|event| event.apply(&mut now));
        Arc::new(SimDisk { state: Mutex::new(State { base, now, events, fail_from: None, lies: None }) })
    }

    /// How long it is now.
    pub fn bytes(&self) -> u64 {
        self.state.lock().now.len.unwrap_or(0)
    }

    /// Makes it longer or shorter, durable with the next flush as a write is.
    ///
    /// # Errors
    /// EIO, where [`SimDisk::fail_from`] says so.
    pub fn resize(&self, bytes: u64) -> io::Result<()> {
        self.push(Event::SetLen { bytes })
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

    /// From now on, one in `one_in` blocks read has a bit flipped, or is another block of the disk (a misdirected
    /// read), as `seed` says. What is stored stays right. 0: an honest disk.
    pub fn lie(&self, seed: u64, one_in: u32) {
        let random = Xoshiro256PlusPlus::seed_from_u64(seed);
        self.state.lock().lies = (one_in > 0).then_some(Lies { random, one_in, told: 0 });
    }

    /// How many blocks were read wrong since [`SimDisk::lie`].
    pub fn lies_told(&self) -> usize {
        self.state.lock().lies.as_ref().map_or(0, |lies| lies.told)
    }

    /// Everything that happened since the disk was made (or last [settled](SimDisk::settle)).
    pub fn history(&self) -> History {
        let state = self.state.lock();
        History { base: state.base.clone(), events: state.events.clone() }
    }

    fn check_range(&self, offset: u64, len: u64) -> io::Result<()> {
        if offset.checked_add(len).is_none_or(|end| end > self.bytes()) {
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

impl Lies {
    fn spoil(&mut self, image: &Image, blocks: u64, buf: &mut [u8]) {
        for block in buf.chunks_mut(BLOCK) {
            if !self.random.random_ratio(1, self.one_in) {
                continue;
            }
            self.told += 1;
            if self.random.random_bool(0.5) {
                let bit = self.random.random_range(0..block.len() * 8);
                block[bit / 8] ^= 1 << (bit % 8);
            } else {
                let other = self.random.random_range(0..blocks);
                image.read(block, other * BLOCK_U64);
            }
        }
    }
}

/// Copies the bytes of a write into blocks, once.
fn gather(bufs: &[IoSlice<'_>], blocks: usize) -> Arc<[Arc<Block>]> {
    let mut rest = bufs.iter().map(|buf| &buf[..]).filter(|buf| !buf.is_empty());
    let mut piece: &[u8] = &[];
    (0..blocks)
        .map(|_| {
            let mut block = Arc::new([0; BLOCK]);
            let into = Arc::make_mut(&mut block);
            let mut done = 0;
            while done < BLOCK {
                if piece.is_empty() {
                    piece = rest.next().expect("the length was added up before");
                }
                let (head, tail) = piece.split_at(piece.len().min(BLOCK - done));
                into[done..done + head.len()].copy_from_slice(head);
                done += head.len();
                piece = tail;
            }
            block
        })
        .collect()
}

impl fsstore::Disk for SimDisk {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.check_range(offset, buf.len() as u64)?;
        let mut state = self.state.lock();
        let State { now, lies, .. } = &mut *state;
        now.read(buf, offset);
        if let Some(lies) = lies {
            lies.spoil(now, now.len.unwrap_or(0) / BLOCK_U64, buf);
        }
        Ok(())
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let len: usize = bufs.iter().map(|buf| buf.len()).sum();
        self.check_range(offset, len as u64)?;
        self.push(Event::Write { first: offset / BLOCK_U64, blocks: gather(bufs, len / BLOCK) })
    }

    fn write_durable(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        self.write_at(bufs, offset)?;
        let len: u64 = bufs.iter().map(|b| b.len() as u64).sum();
        self.push(Event::FlushRange { first: offset / BLOCK_U64, count: len / BLOCK_U64 })
    }

    fn flush(&self) -> io::Result<()> {
        self.push(Event::Flush)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.resize(bytes)
    }

    fn discard(&self, offset: u64, len: u64) -> io::Result<()> {
        self.check_range(offset, len)?;
        self.push(Event::Discard { offset, len })
    }
}
