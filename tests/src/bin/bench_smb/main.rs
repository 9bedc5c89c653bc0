//! `cargo xtask bench smb`: Ferry beside Debian's smbd, under the same load of dialect 3.1.1: plain, signed and encrypted. Needs
//! root and the package samba; it runs in network and process namespaces of its own.

mod client;
mod files;
mod kernel;
mod load;
mod login;
mod requests;
mod rows;
mod servers;

use anyhow::{Context as _, Result, ensure};
use ferry_tests::bench::{Options, Table};
use ferry_tests::guest;
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

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("serve") {
        return servers::serve(Path::new(&arguments.next().context("where?")?));
    }
    if std::env::var_os(INSIDE).is_none() {
        return Err(enter_namespaces());
    }
    let options = Options::parse(std::env::args().skip(1))?;
    guest::take_address();
    let place = tempfile::Builder::new().prefix("ferry-bench-").tempdir_in(std::env::current_dir()?)?;
    measure(&options, place.path())?.report(&options)
}

/// Runs this program again where it disturbs nobody, and where nothing outlives it. Comes back only with an error.
fn enter_namespaces() -> anyhow::Error {
    let here = match std::env::current_exe() {
        Ok(here) => here,
        Err(error) => return error.into(),
    };
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    let error = command.arg(here).args(std::env::args().skip(1)).env(INSIDE, "1").exec();
    anyhow::Error::new(error).context("needs unshare (util-linux) and root")
}

struct Side {
    server: Server,
    files: Files,
}

/// One round of one row on one server.
struct Figures {
    rate: f64,
    processor_us: f64,
    p50_us: f64,
    p99_us: f64,
}

fn measure(options: &Options, place: &Path) -> Result<Table> {
    let (rounds, time, names) = if options.quick { (2, 600, 20_000) } else { (5, 2000, 100_000) };
    let rows: Vec<Row> = rows::rows().into_iter().filter(|row| options.wants(row.rate.row)).collect();
    let of_kernel: Vec<_> = kernel::rows().into_iter().filter(|row| options.wants(row.rate.row)).collect();
    let none = rows.is_empty() && of_kernel.is_empty();
    ensure!(!none, "no row has {:?} in its name", options.rows.as_deref().unwrap_or(""));
    let start = |kind| -> Result<Side> {
        let server = Server::start(kind, place)?;
        let files = Files::make(&server, names).with_context(|| format!("files of {}", kind.name()))?;
        Ok(Side { server, files })
    };
    let (ferry, smbd) = (start(Kind::Ferry)?, start(Kind::Smbd)?);
    let mut seen = Vec::new();
    for row in &rows {
        for round in 0..rounds {
            eprintln!("{} ({}/{rounds})", row.rate.row, round + 1);
            let time = Duration::from_millis(time);
            seen.push((row, figures(row, &ferry, time)?, figures(row, &smbd, time)?));
        }
    }
    let mut table = Table::default();
    let peer = Kind::Smbd.name();
    with_kernel(&of_kernel, rounds, names, [&ferry.server, &smbd.server], &mut table)?;
    for (row, mine, theirs) in &seen {
        table.push(&row.rate, peer, mine.rate, theirs.rate);
    }
    for (row, mine, theirs) in &seen {
        table.push(&row.processor, peer, mine.processor_us, theirs.processor_us);
    }
    for (row, mine, theirs) in &seen {
        table.push(&row.p50, peer, mine.p50_us, theirs.p50_us);
        table.push(&row.p99, peer, mine.p99_us, theirs.p99_us);
    }
    Ok(table)
}

/// The rows of the kernel's client, if a guest can be booted.
fn with_kernel(
    rows: &[kernel::Row],
    rounds: u32,
    names: u64,
    [ferry, smbd]: [&Server; 2],
    table: &mut Table,
) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let Some(mut client) = kernel::Client::boot(names)? else { return Ok(()) };
    for row in rows {
        for round in 0..rounds {
            eprintln!("{} ({}/{rounds})", row.rate.row, round + 1);
            let (rate, processor_us) = client.measure(row, ferry)?;
            let (peers, peers_us) = client.measure(row, smbd)?;
            table.push(&row.rate, Kind::Smbd.name(), rate, peers);
            table.push(&row.processor, Kind::Smbd.name(), processor_us, peers_us);
        }
    }
    Ok(())
}

fn figures(row: &Row, side: &Side, time: Duration) -> Result<Figures> {
    if matches!(row.work, Work::NewFile) {
        side.files.renew()?;
    }
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
        Work::Load(calls) => load::run(address, shape, &calls(side.files.names)),
        Work::NewFile => {
            let begun = Instant::now();
            let mut done = load::run(address, shape, &rows::new_file())?;
            side.files.flush()?;
            done.took = begun.elapsed();
            Ok(done)
        }
        Work::List => side.files.list(row.protection, time),
    }
}
