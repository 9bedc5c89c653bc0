//! The rows: which calls, how many at a time, against whom, and what is durable when a reply comes.

use crate::calls::{CreateRemoves, GetAttrs, Lookups, Places, Reads, Writes};
use crate::files::{FILE_BYTES, Files};
use crate::load::{Calls, Shape};
use crate::servers::Kind as ServerKind;
use ferry_tests::bench::{Better, Kind};
use gateway::nfs3::types::StableHow;
use std::time::Duration;

/// Makes the calls of one round.
pub(crate) type MakeCalls = Box<dyn Fn(&Files) -> Box<dyn Calls>>;

/// What is made of one row's calls.
pub(crate) enum Work {
    /// The calls by themselves.
    Load(MakeCalls),
    /// WRITEs of this length to a new file, and a COMMIT behind them.
    NewFile { stable: StableHow, len: u32 },
    /// READDIRPLUS of the large directory, entry by entry.
    List,
}

/// A row, in its four figures.
pub(crate) struct Row {
    pub(crate) rate: Kind,
    pub(crate) processor: Kind,
    pub(crate) p50: Kind,
    pub(crate) p99: Kind,
    /// By what a call counts: bytes for MB/s, 1 for calls.
    pub(crate) worth: f64,
    pub(crate) connections: usize,
    pub(crate) in_flight: usize,
    pub(crate) work: Work,
    /// Which Ferry is compared with which servers.
    pub(crate) ferry: ServerKind,
    pub(crate) peers: &'static [ServerKind],
}

impl Row {
    pub(crate) fn shape(&self, time: Duration) -> Shape {
        Shape { connections: self.connections, in_flight: self.in_flight, time }
    }
}

/// A row beside all servers, one call at a time, counted in `unit`s of `worth` a call.
fn row(name: &'static str, (unit, worth): (&'static str, f64), work: Work) -> Row {
    // There are a dozen rows in a run.
    let figure = |what: &str, unit, better| Kind {
        row: format!("{name}{what}").leak(),
        unit,
        better,
        durability: NOTHING,
    };
    Row {
        rate: figure("", unit, Better::More),
        processor: figure(": server's processor time", "us/call", Better::Less),
        p50: figure(": p50", "us", Better::Less),
        p99: figure(": p99", "us", Better::Less),
        worth,
        connections: 1,
        in_flight: 1,
        work,
        ferry: ServerKind::Ferry,
        peers: ALL,
    }
}

impl Row {
    /// So many connections, with so many calls in flight on each.
    fn load(self, connections: usize, in_flight: usize) -> Row {
        Row { connections, in_flight, ..self }
    }

    /// What is durable when a reply comes.
    fn durable(mut self, durability: &'static str) -> Row {
        for kind in [&mut self.rate, &mut self.processor, &mut self.p50, &mut self.p99] {
            kind.durability = durability;
        }
        self
    }

    /// Beside these.
    fn beside(self, peers: &'static [ServerKind]) -> Row {
        Row { peers, ..self }
    }
}

const MIB: f64 = 1.048_576;
const MB: &str = "MB/s";
const CALLS: (&str, f64) = ("calls/s", 1.0);

const NOTHING: &str = "nothing is changed";
const AT_COMMIT: &str = "all of it at the COMMIT, on both sides";
const EACH: &str = "every call, on both sides";
const FERRY_ONLY: &str = "every call at Ferry, none at the peer";
const NEITHER: &str = "no call, on either side";

const GANESHA: &[ServerKind] = &[ServerKind::Ganesha];
const SERVERS: &[ServerKind] = &[ServerKind::Ganesha, ServerKind::NfsServe];
const ALL: &[ServerKind] = &[ServerKind::Ganesha, ServerKind::NfsServe, ServerKind::Limit];
const LIMITED: &[ServerKind] = &[ServerKind::Ganesha, ServerKind::Limit];

fn sequential_reads(len: u32) -> Work {
    Work::Load(Box::new(move |files| {
        Box::new(Reads(Places::sequential(files.data.clone(), FILE_BYTES, len)))
    }))
}

fn random_reads(len: u32) -> Work {
    Work::Load(Box::new(move |files| Box::new(Reads(Places::random(files.data.clone(), FILE_BYTES, len)))))
}

fn random_writes(stable: StableHow) -> Work {
    Work::Load(Box::new(move |files| {
        Box::new(Writes::new(Places::random(files.data.clone(), FILE_BYTES, 4096), stable))
    }))
}

fn attributes() -> Work {
    Work::Load(Box::new(|files| Box::new(GetAttrs(files.data.clone()))))
}

fn names() -> Work {
    Work::Load(Box::new(|files| Box::new(Lookups { dir: files.many.clone(), names: files.names })))
}

fn creates_and_removes() -> Work {
    Work::Load(Box::new(|files| Box::new(CreateRemoves(files.scratch.clone()))))
}

fn new_file(stable: StableHow, len: u32) -> Work {
    Work::NewFile { stable, len }
}

/// All rows, in order.
pub(crate) fn rows() -> Vec<Row> {
    let reads = [
        row("READ 1 MiB sequential", (MB, MIB), sequential_reads(1 << 20)).load(1, 4),
        row("READ 1 MiB sequential, 16 connections", (MB, MIB), sequential_reads(1 << 20)).load(16, 2),
        row("READ 64 KiB sequential, 4 connections", (MB, MIB / 16.0), sequential_reads(1 << 16)).load(4, 8),
        row("READ 64 KiB random, 4 connections", (MB, MIB / 16.0), random_reads(1 << 16)).load(4, 8),
        row("READ 4 KiB random", CALLS, random_reads(1 << 12)).load(1, 16),
        row("READ 4 KiB random, 16 connections", CALLS, random_reads(1 << 12)).load(16, 8),
    ];
    let writes = [
        row("WRITE 1 MiB sequential, UNSTABLE", (MB, MIB), new_file(StableHow::Unstable, 1 << 20))
            .load(1, 8)
            .durable(AT_COMMIT),
        row("WRITE 64 KiB sequential, UNSTABLE", (MB, MIB / 16.0), new_file(StableHow::Unstable, 1 << 16))
            .load(1, 16)
            .durable(AT_COMMIT),
        row(
            "WRITE 64 KiB sequential, FILE_SYNC, 4 connections",
            (MB, MIB / 16.0),
            new_file(StableHow::FileSync, 1 << 16),
        )
        .load(4, 4)
        .durable(EACH),
        row("WRITE 4 KiB random, FILE_SYNC, 4 connections", CALLS, random_writes(StableHow::FileSync))
            .load(4, 8)
            .durable(EACH),
        row("WRITE 4 KiB random, UNSTABLE", CALLS, random_writes(StableHow::Unstable))
            .load(1, 16)
            .durable(NEITHER),
    ];
    let metadata = [
        row("GETATTR, one at a time", CALLS, attributes()).beside(ALL),
        row("GETATTR, 16 connections", CALLS, attributes()).load(16, 8).beside(ALL),
        row("LOOKUP in a large directory, 4 connections", CALLS, names()).load(4, 16).beside(SERVERS),
        row("CREATE + REMOVE, 4 connections", CALLS, creates_and_removes())
            .load(4, 8)
            .durable(FERRY_ONLY)
            .beside(GANESHA),
        Row {
            ferry: ServerKind::FerryAsync,
            ..row("CREATE + REMOVE async, 4 connections", CALLS, creates_and_removes())
        }
        .load(4, 8)
        .durable(NEITHER)
        .beside(SERVERS),
        row("READDIRPLUS of a large directory", ("entries/s", 1.0), Work::List).beside(SERVERS),
    ];
    let writes = writes.map(|row| row.beside(GANESHA));
    reads.map(|row| row.beside(LIMITED)).into_iter().chain(writes).chain(metadata).collect()
}
