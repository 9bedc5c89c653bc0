//! The clockwork of a node: regular consistency points of volumes that change, and readings of the write rate.

use super::{Cluster, ClusterError, Served, blocking};
use fsstore::Lsn;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const READING_INTERVAL: Duration = Duration::from_millis(200);

/// Runs until cancelled.
pub async fn run_checkpoints(cluster: Arc<Cluster>, cancel: CancellationToken) {
    let interval = Duration::from_secs(cluster.config.volumes.checkpoint_interval_s);
    let mut readings = tokio::time::interval(READING_INTERVAL);
    let mut points = tokio::time::interval(interval);
    let mut last = HashMap::new();
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = readings.tick() => cluster.all_served().iter().for_each(|served| served.sample_write_rate()),
            _ = points.tick() => {
                let served = cluster.all_served();
                last = match blocking(move || Ok::<_, ClusterError>(checkpoint_all(&served, &last))).await {
                    Ok(last) => last,
                    Err(error) => {
                        tracing::error!(%error, "consistency points");
                        HashMap::new()
                    }
                };
            }
        }
    }
}

/// Takes a consistency point of every volume that has changed since `last`; what is the newest operation of each now.
fn checkpoint_all(served: &[Arc<Served>], last: &HashMap<Uuid, Lsn>) -> HashMap<Uuid, Lsn> {
    let mut newest = HashMap::new();
    for mount in served.iter().flat_map(|served| served.mounts()) {
        let (uuid, lsn) = (mount.volume.uuid(), mount.volume.last_lsn());
        if last.get(&uuid) != Some(&lsn) {
            match mount.volume.consistency_point() {
                Ok(_) => crate::metrics::consistency_point(),
                Err(error) => {
                    tracing::error!(volume = mount.name, %error, "consistency point");
                    continue;
                }
            }
        }
        newest.insert(uuid, lsn);
    }
    newest
}
