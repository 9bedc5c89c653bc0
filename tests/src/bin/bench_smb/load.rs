//! The load: several connections, many requests in flight on each, one thread a connection. It is the same for every server.

use crate::client::{Connection, Protection, Request};
use crate::requests::{self, How, Open};
use anyhow::{Context as _, Result, ensure};
use gateway::smb2::wire::header::Command;
use gateway::smb2::wire::status::NtStatus;
use hdrhistogram::Histogram;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The one share of every server.
pub(crate) const SHARE: &str = "data";

/// Requests of one kind.
pub(crate) enum Calls {
    /// READs or WRITEs of one file.
    Transfer { file: &'static str, write: bool, places: Places, data: Vec<u8> },
    /// QUERY_INFO of one file.
    QueryInfo { file: &'static str },
    /// CREATE of one file after the other of a directory, each CLOSEd again.
    OpenAndClose { names: u64 },
    /// CREATE of a file that goes when it is CLOSEd.
    MakeAndRemove,
    /// CREATE of files that stay, each CLOSEd.
    Fill { next: AtomicU64, names: u64 },
}

/// Where in a file the next transfer goes.
pub(crate) struct Places {
    pub(crate) file_len: u64,
    pub(crate) len: u32,
    pub(crate) random: bool,
    pub(crate) next: AtomicU64,
}

impl Places {
    fn offset(&self) -> u64 {
        let places = self.file_len / u64::from(self.len);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // A multiplicative hash visits places in no order that a server could guess.
        let place = if self.random { (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20 } else { number };
        place % places * u64::from(self.len)
    }
}

/// The name of a file in the large directory.
pub(crate) fn entry_name(number: u64) -> String {
    format!("entry-{number:07}")
}

impl Calls {
    /// What each connection opens first.
    fn file(&self) -> Option<&'static str> {
        match self {
            Calls::Transfer { file, .. } | Calls::QueryInfo { file } => Some(file),
            _ => None,
        }
    }

    /// The next request of a slot, which has nothing open. Slots of all connections have different numbers.
    fn next(&self, slot: u64, step: u64, file: &Open) -> Request<'_> {
        match self {
            Calls::Transfer { write: false, places, .. } => requests::read(file, places.offset(), places.len),
            Calls::Transfer { places, data, .. } => requests::write(file, places.offset(), data),
            Calls::QueryInfo { .. } => requests::query_info(file),
            Calls::OpenAndClose { names } => {
                let number = (slot * 7919 + step * 104_729) % names;
                requests::create(&format!("many\\{}", entry_name(number)), How::File)
            }
            Calls::MakeAndRemove => requests::create(&format!("scratch\\new-{slot}-{step}"), How::Temporary),
            Calls::Fill { next, names } => {
                let number = next.fetch_add(1, Ordering::Relaxed) % names;
                requests::create(&format!("many\\{}", entry_name(number)), How::MakeFile)
            }
        }
    }

    fn check(&self, command: u16, response: &[u8]) -> Result<()> {
        let Calls::Transfer { places, .. } = self else { return Ok(()) };
        let len = match Command::of(command) {
            Some(Command::Read) => requests::read_len(response),
            _ => requests::written_len(response),
        };
        ensure!(len == Some(places.len as usize), "a short transfer: {len:?}");
        Ok(())
    }
}

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) protection: Protection,
    pub(crate) connections: usize,
    /// Requests in flight on each.
    pub(crate) in_flight: usize,
    pub(crate) time: Duration,
}

/// What came of it.
pub(crate) struct Measured {
    pub(crate) calls: u64,
    pub(crate) took: Duration,
    /// In microseconds.
    pub(crate) latency: Histogram<u64>,
}

impl Measured {
    pub(crate) fn new() -> Result<Measured> {
        let latency = Histogram::new_with_bounds(1, 60_000_000, 3)?;
        Ok(Measured { calls: 0, took: Duration::ZERO, latency })
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.calls as f64 / self.took.as_secs_f64()
    }

    pub(crate) fn record(&mut self, calls: u64, since: Instant) {
        let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.latency.saturating_record(micros.max(1));
        self.calls += calls;
    }
}

/// Makes requests for as long as `shape` says, and waits for their responses. Logins are not measured.
pub(crate) fn run(server: SocketAddr, shape: Shape, calls: &Calls) -> Result<Measured> {
    let open = |_| Connection::open(server, shape.protection, SHARE);
    let connections = (0..shape.connections).map(open).collect::<Result<Vec<_>>>()?;
    let begun = Instant::now();
    let each = thread::scope(|scope| {
        let spawn = |(number, connection): (usize, Connection)| {
            let load = Load::new(connection, number * shape.in_flight, shape.in_flight);
            scope.spawn(move || load.run(calls, begun, shape.time))
        };
        let threads: Vec<_> = connections.into_iter().enumerate().map(spawn).collect();
        let joined = threads.into_iter().map(|thread| thread.join().expect("the load does not panic"));
        joined.collect::<Result<Vec<_>>>()
    })?;
    let mut sum = Measured { took: begun.elapsed(), ..Measured::new()? };
    for part in each {
        sum.calls += part.calls;
        sum.latency.add(part.latency)?;
    }
    Ok(sum)
}

/// One after the other, these requests are made.
#[derive(Clone)]
struct Slot {
    sent: Instant,
    message_id: u64,
    step: u64,
    open: Option<Open>,
}

struct Load {
    connection: Connection,
    first_slot: usize,
    slots: Vec<Slot>,
    file: Open,
    /// Slots whose next request is to be sent.
    waiting: VecDeque<usize>,
}

impl Load {
    fn new(connection: Connection, first_slot: usize, in_flight: usize) -> Load {
        let slot = Slot { sent: Instant::now(), message_id: u64::MAX, step: 0, open: None };
        let slots = vec![slot; in_flight];
        Load { connection, first_slot, slots, file: [0; 16], waiting: (0..in_flight).collect() }
    }

    fn run(mut self, calls: &Calls, begun: Instant, time: Duration) -> Result<Measured> {
        if let Some(file) = calls.file() {
            let opened = self.connection.ask(&requests::create(file, How::MakeFile))?;
            self.file = requests::opened(self.connection.bytes(&opened))?;
        }
        let mut measured = Measured::new()?;
        let mut running = self.slots.len();
        while running > 0 {
            self.send(calls)?;
            self.connection.receive()?;
            while let Some(slot) = self.take(calls, &mut measured)? {
                // Whatever was opened is closed, too.
                if begun.elapsed() < time || self.slots[slot].open.is_some() {
                    self.waiting.push_back(slot);
                } else {
                    running -= 1;
                }
            }
        }
        if calls.file().is_some() {
            self.connection.ask(&requests::close(&self.file))?;
        }
        Ok(measured)
    }

    /// Sends the requests of the slots that wait, as far as credits go.
    fn send(&mut self, calls: &Calls) -> Result<()> {
        while let Some(at) = self.waiting.front().copied() {
            let slot = &mut self.slots[at];
            let affordable = match calls {
                Calls::Transfer { places, .. } => self.connection.affords(places.len as usize),
                _ => self.connection.affords(0),
            };
            if !affordable {
                break;
            }
            let request = match slot.open.take() {
                Some(open) => requests::close(&open),
                None => calls.next((self.first_slot + at) as u64, slot.step, &self.file),
            };
            slot.step += 1;
            slot.sent = Instant::now();
            slot.message_id = self.connection.push(&request);
            self.waiting.pop_front();
        }
        self.connection.flush()
    }

    /// Takes a response: whose it is.
    fn take(&mut self, calls: &Calls, measured: &mut Measured) -> Result<Option<usize>> {
        let Some(response) = self.connection.take()? else { return Ok(None) };
        let header = &response.header;
        let slot = self.slots.iter().position(|slot| slot.message_id == header.message_id);
        let at = slot.context("the response to a request that was not made")?;
        let slot = &mut self.slots[at];
        let command = Command::of(header.command);
        let name = header.status.name().unwrap_or("?");
        ensure!(header.status == NtStatus::SUCCESS, "{command:?}: {name} ({:#x})", header.status.0);
        measured.record(1, slot.sent);
        slot.message_id = u64::MAX;
        let bytes = self.connection.bytes(&response);
        if command == Some(Command::Create) {
            slot.open = Some(requests::opened(bytes)?);
        } else {
            calls.check(header.command, bytes)?;
        }
        Ok(Some(at))
    }
}
