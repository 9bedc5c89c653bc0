//! Load on an NFS server for benchmarks, through the pure-Rust client.

use bytes::Bytes;
use gateway::client::{Client, ClientError, Options};
use gateway::nfs3::procedures::CreateHow3;
use gateway::nfs3::types::{NfsFh3, SAttr3, StableHow};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const MIB: usize = 1 << 20;

async fn file(client: &Client, name: &str) -> Result<NfsFh3, ClientError> {
    let dir = client.mount("/data").await?;
    let attributes = SAttr3 { mode: Some(0o644), ..SAttr3::default() };
    client.create(&dir, name, CreateHow3::Unchecked(attributes)).await?;
    Ok(client.lookup(&dir, name).await?.object)
}

async fn all(mut tasks: JoinSet<Result<(), ClientError>>) -> Result<(), ClientError> {
    while let Some(done) = tasks.join_next().await {
        done.map_err(|_| ClientError::Deadline)??;
    }
    Ok(())
}

/// Writes a new file in 1 MiB UNSTABLE writes, `depth` in flight, then COMMIT; gives the time.
///
/// # Errors
/// The client's.
pub async fn stream(server: SocketAddr, name: &str, mib: u64, depth: u64) -> Result<Duration, ClientError> {
    let client = Client::new(server, Options::default());
    let handle = file(&client, name).await?;
    let data = Bytes::from(vec![0x5a; MIB]);
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for lane in 0..depth {
        let (client, handle, data) = (client.clone(), handle.clone(), data.clone());
        tasks.spawn(async move {
            for at in (lane..mib).step_by(usize::try_from(depth).unwrap_or(1)) {
                client.write(&handle, at << 20, data.clone(), StableHow::Unstable).await?;
            }
            Ok(())
        });
    }
    all(tasks).await?;
    client.commit(&handle, 0, 0).await?;
    Ok(started.elapsed())
}

/// Writes 4 KiB FILE_SYNC at scattered places of one file of 64 MiB, `depth` in flight, `each` per lane; gives the time.
///
/// # Errors
/// The client's.
pub async fn scattered_sync(
    server: SocketAddr,
    name: &str,
    depth: u64,
    each: u64,
) -> Result<Duration, ClientError> {
    let client = Client::new(server, Options::default());
    let handle = file(&client, name).await?;
    let data = Bytes::from(vec![0xa5; 4096]);
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for lane in 0..depth {
        let (client, handle, data) = (client.clone(), handle.clone(), data.clone());
        tasks.spawn(async move {
            for count in 0..each {
                let block = (lane * 104_729 + count * 7919) % 16_384;
                client.write(&handle, block * 4096, data.clone(), StableHow::FileSync).await?;
            }
            Ok(())
        });
    }
    all(tasks).await?;
    Ok(started.elapsed())
}
