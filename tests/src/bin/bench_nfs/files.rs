//! The files that every server has before it is measured.

use crate::calls::{Creates, Places, entry_name};
use crate::load::{self, Measured, Shape};
use crate::servers::{Kind, Server};
use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use gateway::client::{Client, Options};
use gateway::nfs3::procedures::{Create3ResOk, CreateHow3};
use gateway::nfs3::types::{NfsFh3, SAttr3, StableHow};
use hdrhistogram::Histogram;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

/// Length of the file that is read: in every server's memory.
pub(crate) const FILE_BYTES: u64 = 256 << 20;
/// Length of files that are written.
const NEW_FILE_BYTES: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// What a server's clients need to know.
pub(crate) struct Files {
    client: Client,
    runtime: Runtime,
    root: NfsFh3,
    pub(crate) data: NfsFh3,
    pub(crate) scratch: NfsFh3,
    pub(crate) many: NfsFh3,
    /// Entries of `many`.
    pub(crate) names: u64,
}

fn made(created: Create3ResOk) -> Result<NfsFh3> {
    created.obj.context("CREATE gives a handle")
}

impl Files {
    /// Makes them; `dir` is where nfs-ganesha has its own.
    pub(crate) fn make(server: &Server, dir: &Path, names: u64) -> Result<Files> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let root = server.root.clone();
        let client = runtime.block_on(async { Client::new(server.address, Options::default()) });
        if server.kind == Kind::Limit {
            let fh = root.clone();
            return Ok(Files {
                client,
                runtime,
                root,
                data: fh.clone(),
                scratch: fh.clone(),
                many: fh,
                names,
            });
        }
        let attributes = SAttr3 { mode: Some(0o755), ..SAttr3::default() };
        let (data, scratch, many) = runtime.block_on(async {
            let data = client.create(&root, "cached", CreateHow3::Guarded(attributes)).await?;
            let data = made(data)?;
            for at in (0..FILE_BYTES).step_by(1 << 20) {
                client.write(&data, at, Bytes::from(vec![3; 1 << 20]), StableHow::Unstable).await?;
            }
            // The nfsserve crate has no COMMIT.
            if server.kind != Kind::NfsServe {
                client.commit(&data, 0, 0).await?;
            }
            let scratch = made(client.mkdir(&root, "scratch", attributes).await?)?;
            let many = made(client.mkdir(&root, "many", attributes).await?)?;
            anyhow::Ok((data, scratch, many))
        })?;
        let files = Files { client, runtime, root, data, scratch, many, names };
        files.fill(server, dir)?;
        files.warm()?;
        Ok(files)
    }

    /// Makes the entries of the large directory.
    fn fill(&self, server: &Server, dir: &Path) -> Result<()> {
        if server.kind == Kind::Ganesha {
            let many = dir.join(server.kind.name()).join("exp/many");
            for number in 0..self.names {
                std::fs::File::create(many.join(entry_name(number)))?;
            }
            return Ok(());
        }
        let creates = Creates { dir: self.many.clone(), next: AtomicU64::new(0), most: self.names };
        let shape = Shape { connections: 4, in_flight: 16, time: Duration::from_millis(250) };
        while creates.next.load(Ordering::Relaxed) < self.names {
            load::run(server.address, shape, &creates)?;
        }
        Ok(())
    }

    /// Everything that is read is in the server's memory afterwards.
    fn warm(&self) -> Result<()> {
        self.runtime.block_on(async {
            for _ in 0..2 {
                for at in (0..FILE_BYTES).step_by(1 << 20) {
                    let read = self.client.read(&self.data, at, 1 << 20).await?;
                    ensure!(u64::from(read.count) == MIB, "a short READ");
                }
            }
            self.client.list(&self.many).await?;
            Ok(())
        })
    }

    /// Places in a new file, one after the other.
    pub(crate) fn new_file(&self, len: u32) -> Result<(NfsFh3, Places)> {
        let attributes = SAttr3 { mode: Some(0o644), ..SAttr3::default() };
        let file = self.runtime.block_on(async {
            // There is none in the first round.
            let _ = self.client.remove(&self.root, "new").await;
            made(self.client.create(&self.root, "new", CreateHow3::Guarded(attributes)).await?)
        })?;
        Ok((file.clone(), Places::sequential(file, NEW_FILE_BYTES, len)))
    }

    pub(crate) fn commit(&self, file: &NfsFh3) -> Result<()> {
        self.runtime.block_on(self.client.commit(file, 0, 0))?;
        Ok(())
    }

    /// READDIRPLUS of all of the large directory until the time is over; entries are counted.
    pub(crate) fn list(&self, time: Duration) -> Result<Measured> {
        let mut latency = Histogram::new_with_bounds(1, 60_000_000, 3)?;
        let (begun, mut calls) = (Instant::now(), 0);
        while begun.elapsed() < time {
            let one = Instant::now();
            let entries = self.runtime.block_on(self.client.list(&self.many))?.len() as u64;
            ensure!(entries >= self.names, "{entries} entries instead of {}", self.names);
            latency.saturating_record(u64::try_from(one.elapsed().as_micros()).unwrap_or(u64::MAX));
            calls += entries;
        }
        Ok(Measured { calls, took: begun.elapsed(), latency })
    }
}
