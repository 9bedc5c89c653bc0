//! The rows: which requests, how many at a time, and what is durable when a response comes.

use crate::client::Protection;
use crate::files::{CACHED, CACHED_BYTES, NEW};
use crate::load::{Calls, Places, Shape};
use ferry_tests::bench::{Better, Kind};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// Makes the requests of one round; the number is that of the large directory's entries.
pub(crate) type MakeCalls = Box<dyn Fn(u64) -> Calls>;

/// What is made of one row's requests.
pub(crate) enum Work {
    /// The requests by themselves.
    Load(MakeCalls),
    /// WRITEs of 1 MiB to a new file, and a FLUSH behind them.
    NewFile,
    /// QUERY_DIRECTORY of the large directory, entry by entry.
    List,
}

/// A row, in its four figures.
pub(crate) struct Row {
    pub(crate) rate: Kind,
    pub(crate) processor: Kind,
    pub(crate) p50: Kind,
    pub(crate) p99: Kind,
    /// By what a request counts: bytes for MB/s, 1 for requests.
    pub(crate) worth: f64,
    pub(crate) protection: Protection,
    connections: usize,
    in_flight: usize,
    pub(crate) work: Work,
}

impl Row {
    pub(crate) fn shape(&self, time: Duration) -> Shape {
        let Row { protection, connections, in_flight, .. } = *self;
        Shape { protection, connections, in_flight, time }
    }

    /// So many connections, with so many requests in flight on each.
    fn load(self, connections: usize, in_flight: usize) -> Row {
        Row { connections, in_flight, ..self }
    }

    fn protected(self, protection: Protection) -> Row {
        Row { protection, ..self }
    }

    /// What is durable when a response comes.
    fn durable(mut self, durability: &'static str) -> Row {
        for kind in [&mut self.rate, &mut self.processor, &mut self.p50, &mut self.p99] {
            kind.durability = durability;
        }
        self
    }
}

/// A row of one request at a time, counted in `unit`s of `worth` a request.
fn row(name: &str, (unit, worth): (&'static str, f64), work: Work) -> Row {
    // There are a dozen rows in a run.
    let figure = |what: &str, unit, better| Kind {
        row: format!("{name}{what}").leak(),
        unit,
        better,
        durability: "nothing is changed",
    };
    let each = if unit == ENTRIES.0 { "us/entry" } else { "us/request" };
    Row {
        rate: figure("", unit, Better::More),
        processor: figure(": server's processor time", each, Better::Less),
        p50: figure(": p50", "us", Better::Less),
        p99: figure(": p99", "us", Better::Less),
        worth,
        protection: Protection::Plain,
        connections: 1,
        in_flight: 1,
        work,
    }
}

/// Of 1 MiB each.
const MB: (&str, f64) = ("MB/s", 1.048_576);
const REQUESTS: (&str, f64) = ("requests/s", 1.0);
const ENTRIES: (&str, f64) = ("entries/s", 1.0);
const AT_FLUSH: &str = "all of it at the FLUSH, on both sides";
const NEITHER: &str = "no request, on either side";

fn transfers(file: &'static str, write: bool, len: u32, random: bool) -> Calls {
    let data = vec![7; if write { len as usize } else { 0 }];
    let file_len = if file == CACHED { CACHED_BYTES } else { NEW_BYTES };
    Calls::Transfer { file, write, places: Places { file_len, len, random, next: AtomicU64::new(0) }, data }
}

/// Places in the file that is written anew.
const NEW_BYTES: u64 = 1 << 30;

/// WRITEs of 1 MiB, one behind the other.
pub(crate) fn new_file() -> Calls {
    transfers(NEW, true, 1 << 20, false)
}

fn cached(write: bool, len: u32, random: bool) -> Work {
    Work::Load(Box::new(move |_| transfers(CACHED, write, len, random)))
}

/// All rows, in order.
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (what, protection) in
        [("", Protection::Plain), (", signed", Protection::Signed), (", encrypted", Protection::Encrypted)]
    {
        let name = |verb: &str| format!("{verb} 1 MiB sequential{what}");
        rows.push(row(&name("READ"), MB, cached(false, 1 << 20, false)).load(1, 4).protected(protection));
        rows.push(
            row(&format!("{}, 4 connections", name("READ")), MB, cached(false, 1 << 20, false))
                .load(4, 4)
                .protected(protection),
        );
        rows.push(row(&name("WRITE"), MB, Work::NewFile).load(1, 8).protected(protection).durable(AT_FLUSH));
    }
    let small = |write| cached(write, 1 << 12, true);
    let info = || Work::Load(Box::new(|_| Calls::QueryInfo { file: CACHED }));
    let names = Work::Load(Box::new(|names| Calls::OpenAndClose { names }));
    let removals = Work::Load(Box::new(|_| Calls::MakeAndRemove));
    rows.extend([
        row("READ 4 KiB random", REQUESTS, small(false)).load(1, 16),
        row("READ 4 KiB random, 16 connections", REQUESTS, small(false)).load(16, 8),
        row("READ 4 KiB random, signed, 4 connections", REQUESTS, small(false))
            .load(4, 8)
            .protected(Protection::Signed),
        row("WRITE 4 KiB random", REQUESTS, small(true)).load(1, 16).durable(NEITHER),
        row("WRITE 4 KiB random, 4 connections", REQUESTS, small(true)).load(4, 8).durable(NEITHER),
        row("QUERY_INFO, one at a time", REQUESTS, info()),
        row("QUERY_INFO, 16 connections", REQUESTS, info()).load(16, 8),
        row("CREATE + CLOSE in a large directory, 4 connections", REQUESTS, names).load(4, 8),
        row("CREATE + CLOSE, made and removed, 4 connections", REQUESTS, removals)
            .load(4, 8)
            .durable(NEITHER),
        row("QUERY_DIRECTORY of a large directory", ENTRIES, Work::List),
    ]);
    rows
}
