//! The clockwork of a node: regular consistency points of volumes that change, readings of the write
//! rate, new attempts at LIFs that are down, the scrub, snapshot schedules,
//! splits of clones, and the names in export rules.

use super::{Cluster, ClusterError, Served, blocking};
use fsstore::Lsn;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const READING_INTERVAL: Duration = Duration::from_millis(200);
const LIF_INTERVAL: Duration = Duration::from_secs(10);

/// Runs until cancelled.
pub async fn run_checkpoints(cluster: Arc<Cluster>, cancel: CancellationToken) {
    tokio::select! {
        () = cancel.cancelled() => {}
        () = read_rates(&cluster) => {}
        () = take_points(&cluster) => {}
        () = retry_lifs(&cluster) => {}
        () = cluster.scrub() => {}
        () = cluster.run_schedules() => {}
        () = cluster.run_splits() => {}
        () = cluster.keep_names() => {}
    }
}

async fn read_rates(cluster: &Arc<Cluster>) {
    let mut readings = tokio::time::interval(READING_INTERVAL);
    loop {
        readings.tick().await;
        cluster.all_served().iter().for_each(|served| served.sample_write_rate());
    }
}

async fn retry_lifs(cluster: &Arc<Cluster>) {
    loop {
        tokio::time::sleep(LIF_INTERVAL).await;
        cluster.retry_lifs().await;
    }
}

async fn take_points(cluster: &Arc<Cluster>) {
    let interval = Duration::from_secs(cluster.config.volumes.checkpoint_interval_s);
    let mut last = HashMap::new();
    loop {
        tokio::time::sleep(interval).await;
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
