//! What a migration needs of this node: `migrate`'s ports over the cluster's store and its running vservers.
//!
//! Which step comes when is decided in `migrate`; here each step is done, idempotently.

mod destination;
mod journal;
mod payload;
mod source;

pub use payload::{Crs, OpenState};

use crate::cluster::{Cluster, ClusterError};
use migrate::HostError;
use std::sync::Arc;

/// This node as both ends of migrations.
#[derive(Clone, Debug)]
pub struct Host {
    cluster: Arc<Cluster>,
}

impl Host {
    /// Ports over `cluster`.
    pub fn new(cluster: Arc<Cluster>) -> Self {
        Host { cluster }
    }
}

fn host_error(error: ClusterError) -> HostError {
    HostError::new(error)
}
