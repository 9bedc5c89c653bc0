//! The same volume over NFS: a real server and a real client on loopback, in this process.

use crate::caller::Caller;
use crate::peers::THREADS;
use crate::rate;
use crate::volume::{Bench, RANDOM};
use anyhow::Context as _;
use anyhow::Result;
use bytes::Bytes;
use gateway::client::{Client, Options};
use gateway::handle::HandleKey;
use gateway::nfs3::types::{NfsFh3, StableHow};
use gateway::portmap::Ports;
use gateway::programs::serve;
use gateway::vserver::{
    ExportPolicies, ExportRule, MountedVolume, Namespace, POLICY_DEFAULT, Squash, VolumeId, Vserver,
    parse_client,
};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// WRITEs in flight in the sequential row: what a Linux client has as a rule.
const STREAMS: u64 = 8;

/// A server of the benchmark's volume, and a client of it.
pub(crate) struct Served<'a> {
    bench: &'a Bench,
    _server: Runtime,
    /// Apart from the server, as clients are.
    clients: Runtime,
    client: Client,
    address: SocketAddr,
    root: NfsFh3,
    cancel: CancellationToken,
}

impl<'a> Served<'a> {
    pub(crate) fn new(bench: &'a Bench) -> Result<Served<'a>> {
        let server = Runtime::new()?;
        let clients = Builder::new_current_thread().enable_all().build()?;
        let vserver = vserver(bench)?;
        let cancel = CancellationToken::new();
        let listener = server.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let port = address.port();
        let ports = Ports { nfs: port, mount: port, portmap: port, nlm: 0, nsm: 0 };
        server.spawn(serve(listener, vserver, ports, cancel.clone()));
        let (client, root) = clients.block_on(async {
            let client = Client::new(address, Options::default());
            let root = client.mount("/").await?;
            anyhow::Ok((client, root))
        })?;
        Ok(Served { bench, _server: server, clients, client, address, root, cancel })
    }

    /// UNSTABLE writes of a MiB, then COMMIT: MB/s.
    pub(crate) fn sequential_write(&self, bytes: u64) -> Result<f64> {
        self.bench.fresh_sequential()?;
        self.clients.block_on(async {
            let file = self.client.lookup(&self.root, "sequential").await?.object;
            let data = Bytes::from(vec![9; 1 << 20]);
            let next = Arc::new(AtomicU64::new(0));
            let begun = Instant::now();
            let mut tasks = JoinSet::new();
            for _ in 0..STREAMS {
                let (client, file, data, next) =
                    (self.client.clone(), file.clone(), data.clone(), next.clone());
                tasks.spawn(async move {
                    loop {
                        let offset = next.fetch_add(1 << 20, Ordering::Relaxed);
                        if offset >= bytes {
                            return anyhow::Ok(());
                        }
                        client.write(&file, offset, data.clone(), StableHow::Unstable).await?;
                    }
                });
            }
            join(tasks).await?;
            self.client.commit(&file, 0, 0).await?;
            Ok(rate(bytes, begun.elapsed()))
        })
    }

    /// FILE_SYNC writes of 4 KiB at random places: writes in each second.
    pub(crate) fn random_write(&self, time: Duration) -> Result<f64> {
        let file = self.clients.block_on(self.client.lookup(&self.root, RANDOM))?.object;
        Caller::connect(self.address, file, Options::default().credential())?.run(THREADS, time)
    }
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

async fn join(mut tasks: JoinSet<Result<()>>) -> Result<()> {
    while let Some(outcome) = tasks.join_next().await {
        outcome??;
    }
    Ok(())
}

fn vserver(bench: &Bench) -> Result<Arc<Vserver>> {
    let vserver = Vserver::new("bench", uuid::Uuid::new_v4(), HandleKey::generate(), *b"benchbch");
    let mount = MountedVolume {
        id: VolumeId::of(bench.volume.uuid()),
        name: "bench".to_owned(),
        volume: bench.volume.clone(),
        junction: "/".to_owned(),
        policy: POLICY_DEFAULT.to_owned(),
    };
    vserver.set_namespace(Namespace::build(vec![mount], fsstore::Time::default())?);
    let client = parse_client("127.0.0.0/8").context("a network")?;
    let rule = ExportRule { client, write: true, squash: Squash::None, anon_uid: 0, anon_gid: 0 };
    vserver.set_exports(ExportPolicies::new(BTreeMap::from([(POLICY_DEFAULT.to_owned(), vec![rule])])));
    Ok(vserver)
}
