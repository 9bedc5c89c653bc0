//! `cargo xtask bench nfs`: Ferry beside nfs-ganesha, the nfsserve crate and what loopback can do at most, all under the same
//! load. Needs root, nfs-ganesha and rpcbind for all rows; it runs in network and mount namespaces of its own.

mod calls;
mod files;
mod limit;
mod load;
mod nfsserve_peer;
mod rows;
mod servers;

use anyhow::{Context as _, Result, ensure};
use calls::Writes;
use ferry_tests::bench::{Options, Table};
use files::Files;
use load::Measured;
use rows::{Row, Work};
use servers::{Kind, Server};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Says that this process is in the namespaces already.
const INSIDE: &str = "FERRY_BENCH_INSIDE";

/// nfs-ganesha wants rpcbind, and directories that it can write.
const PREPARE: &str = "ip link set lo up && mount -t tmpfs tmpfs /run && mkdir -p /run/ganesha /run/rpcbind && \
    mount -t tmpfs tmpfs /var/lib/nfs && rpcbind -w && exec \"$0\" \"$@\"";

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next();
    if first.as_deref() == Some("serve") {
        let (kind, dir) = (arguments.next().context("which?")?, arguments.next().context("where?")?);
        return servers::serve(&kind, Path::new(&dir));
    }
    if std::env::var_os(INSIDE).is_none() {
        return Err(enter_namespaces());
    }
    let options = Options::parse(std::env::args().skip(1))?;
    let place = tempfile::Builder::new().prefix("ferry-bench-").tempdir_in(std::env::current_dir()?)?;
    measure(&options, place.path())?.report(&options)
}

/// Runs this program again where it disturbs nobody. Comes back only with an error.
fn enter_namespaces() -> anyhow::Error {
    let here = match std::env::current_exe() {
        Ok(here) => here,
        Err(error) => return error.into(),
    };
    let mut command = Command::new("unshare");
    command.args([
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "sh",
        "-c",
        PREPARE,
    ]);
    let error = command.arg(here).args(std::env::args().skip(1)).env(INSIDE, "1").exec();
    anyhow::Error::new(error).context("needs unshare (util-linux) and root")
}

struct Side {
    server: Server,
    files: Files,
}

/// One round of one row on one server.
#[derive(Clone)]
struct Figures {
    rate: f64,
    processor_us: f64,
    p50_us: f64,
    p99_us: f64,
}

fn measure(options: &Options, place: &Path) -> Result<Table> {
    let (rounds, time, names) = if options.quick { (2, 600, 20_000) } else { (5, 2000, 100_000) };
    let rows: Vec<Row> = rows::rows().into_iter().filter(|row| options.wants(row.rate.row)).collect();
    ensure!(!rows.is_empty(), "no row has {:?} in its name", options.rows.as_deref().unwrap_or(""));
    let needed = |kind: &Kind| rows.iter().any(|row| row.ferry == *kind || row.peers.contains(kind));
    let start = |kind| -> Result<Side> {
        let server = Server::start(kind, place)?;
        let files =
            Files::make(&server, place, names).with_context(|| format!("files of {}", kind.name()))?;
        Ok(Side { server, files })
    };
    let sides = Kind::ALL.into_iter().filter(needed).map(start).collect::<Result<Vec<_>>>()?;
    let mut seen = Vec::new();
    for row in &rows {
        for round in 0..rounds {
            eprintln!("{} ({}/{rounds})", row.rate.row, round + 1);
            let mine = figures(row, side(&sides, row.ferry)?, Duration::from_millis(time))?;
            for peer in row.peers {
                let theirs = figures(row, side(&sides, *peer)?, Duration::from_millis(time))?;
                seen.push((row, peer.name(), mine.clone(), theirs));
            }
        }
    }
    let mut table = Table::default();
    for (row, peer, mine, theirs) in &seen {
        table.push(&row.rate, peer, mine.rate, theirs.rate);
    }
    for (row, peer, mine, theirs) in seen.iter().filter(|seen| seen.1 != Kind::Limit.name()) {
        table.push(&row.processor, peer, mine.processor_us, theirs.processor_us);
    }
    for (row, peer, mine, theirs) in &seen {
        table.push(&row.p50, peer, mine.p50_us, theirs.p50_us);
        table.push(&row.p99, peer, mine.p99_us, theirs.p99_us);
    }
    Ok(table)
}

fn side(sides: &[Side], kind: Kind) -> Result<&Side> {
    sides.iter().find(|side| side.server.kind == kind).context("every server of a row was started")
}

fn figures(row: &Row, side: &Side, time: Duration) -> Result<Figures> {
    // What the other side left for the disk to do is not this side's.
    rustix::fs::sync();
    let before = side.server.processor_time()?;
    let done =
        work(row, side, time).with_context(|| format!("{} on {}", row.rate.row, side.server.kind.name()))?;
    let used = side.server.processor_time()?.saturating_sub(before);
    Ok(Figures {
        rate: done.per_second() * row.worth,
        processor_us: used.as_secs_f64() * 1e6 / done.calls.max(1) as f64,
        p50_us: done.latency.value_at_quantile(0.5) as f64,
        p99_us: done.latency.value_at_quantile(0.99) as f64,
    })
}

fn work(row: &Row, side: &Side, time: Duration) -> Result<Measured> {
    let (shape, address) = (row.shape(time), side.server.address);
    match &row.work {
        Work::Load(calls) => load::run(address, shape, &*calls(&side.files)),
        Work::NewFile { stable, len } => {
            let (file, places) = side.files.new_file(*len)?;
            let calls = Writes::new(places, *stable);
            let begun = Instant::now();
            let mut done = load::run(address, shape, &calls)?;
            side.files.commit(&file)?;
            done.took = begun.elapsed();
            Ok(done)
        }
        Work::List => side.files.list(time),
    }
}
