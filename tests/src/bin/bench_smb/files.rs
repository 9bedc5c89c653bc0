//! The files that every server has before it is measured.

use crate::client::{Connection, Protection, Request};
use crate::load::{self, Calls, Measured, SHARE, Shape, entry_name};
use crate::requests::{self, How};
use crate::servers::{Kind, Server};
use anyhow::{Result, ensure};
use gateway::smb2::wire::status::NtStatus;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The file that is read: in every server's memory.
pub(crate) const CACHED: &str = "cached";
/// Its length.
pub(crate) const CACHED_BYTES: u64 = 256 << 20;
/// The file that is written anew.
pub(crate) const NEW: &str = "new";
const MIB: usize = 1 << 20;
/// For the names of a listing: what Windows asks for.
const LISTING_LEN: u32 = 64 << 10;

/// What stays from one row to the next.
pub(crate) struct Files {
    address: SocketAddr,
    /// Entries of `many`.
    pub(crate) names: u64,
}

impl Files {
    /// Makes them.
    pub(crate) fn make(server: &Server, names: u64) -> Result<Files> {
        let files = Files { address: server.address, names };
        let mut client = files.client(Protection::Plain)?;
        for directory in ["many", "scratch"] {
            let made = client.ask(&requests::create(directory, How::Directory))?;
            let made = requests::opened(client.bytes(&made))?;
            client.ask(&requests::close(&made))?;
        }
        let cached = client.ask(&requests::create(CACHED, How::NewFile))?;
        let cached = requests::opened(client.bytes(&cached))?;
        let data = vec![3; MIB];
        for at in (0..CACHED_BYTES).step_by(MIB) {
            client.ask(&requests::write(&cached, at, &data))?;
        }
        client.ask(&requests::flush(&cached))?;
        for at in (0..CACHED_BYTES).step_by(MIB) {
            client.ask(&requests::read(&cached, at, 1 << 20))?;
        }
        client.ask(&requests::close(&cached))?;
        files.fill(server)?;
        files.list(Protection::Plain, Duration::ZERO)?;
        Ok(files)
    }

    /// Makes the entries of the large directory.
    fn fill(&self, server: &Server) -> Result<()> {
        if server.kind == Kind::Smbd {
            for number in 0..self.names {
                std::fs::File::create(server.exported().join("many").join(entry_name(number)))?;
            }
            return Ok(());
        }
        let calls = Calls::Fill { next: AtomicU64::new(0), names: self.names };
        let time = Duration::from_millis(250);
        let shape = Shape { protection: Protection::Plain, connections: 2, in_flight: 16, time };
        let made = || match &calls {
            Calls::Fill { next, .. } => next.load(Ordering::Relaxed),
            _ => u64::MAX,
        };
        while made() < self.names {
            load::run(self.address, shape, &calls)?;
        }
        Ok(())
    }

    fn client(&self, protection: Protection) -> Result<Connection> {
        Connection::open(self.address, protection, SHARE)
    }

    /// An empty file instead of the one of the round before.
    pub(crate) fn renew(&self) -> Result<()> {
        let mut client = self.client(Protection::Plain)?;
        let new = client.ask(&requests::create(NEW, How::NewFile))?;
        let new = requests::opened(client.bytes(&new))?;
        client.ask(&requests::flush(&new))?;
        client.ask(&requests::close(&new)).map(drop)
    }

    /// Makes durable what was written.
    pub(crate) fn flush(&self) -> Result<()> {
        let mut client = self.client(Protection::Plain)?;
        let new = client.ask(&requests::create(NEW, How::File))?;
        let new = requests::opened(client.bytes(&new))?;
        client.ask(&requests::flush(&new))?;
        client.ask(&requests::close(&new)).map(drop)
    }

    /// All of the large directory, once at least, until the time is over; entries are counted.
    pub(crate) fn list(&self, protection: Protection, time: Duration) -> Result<Measured> {
        let mut client = self.client(protection)?;
        let mut measured = Measured::new()?;
        let begun = Instant::now();
        while measured.calls == 0 || begun.elapsed() < time {
            let one = Instant::now();
            let entries = list(&mut client)?;
            ensure!(entries >= self.names, "{entries} entries instead of {}", self.names);
            measured.record(entries, one);
        }
        measured.took = begun.elapsed();
        Ok(measured)
    }
}

fn list(client: &mut Connection) -> Result<u64> {
    let many = client.ask(&requests::create("many", How::Directory))?;
    let many = requests::opened(client.bytes(&many))?;
    let mut entries = 0;
    loop {
        let request: Request<'_> = requests::query_directory(&many, entries == 0, LISTING_LEN);
        let response = client.try_ask(&request)?;
        match response.header.status {
            NtStatus::SUCCESS => entries += requests::entries(client.bytes(&response)),
            NtStatus::NO_MORE_FILES => break,
            status => anyhow::bail!("QUERY_DIRECTORY: {}", status.name().unwrap_or("?")),
        }
    }
    client.ask(&requests::close(&many))?;
    Ok(entries)
}
