//! The durable records of migrations, in the configuration store.

use super::{Host, host_error};
use crate::cluster::blocking;
use crate::store::MigrationEntry;
use migrate::{Journal, MigrationRecord, PortFuture};
use std::sync::Arc;

impl Journal for Host {
    fn save<'a>(&'a self, record: &'a MigrationRecord) -> PortFuture<'a, ()> {
        let (cluster, entry) = (Arc::clone(&self.cluster), MigrationEntry(record.clone()));
        Box::pin(async move {
            blocking(move || Ok(cluster.store.update(|tx| tx.put(&entry))?)).await.map_err(host_error)
        })
    }

    fn load_all(&self) -> PortFuture<'_, Vec<MigrationRecord>> {
        Box::pin(async move {
            let entries = self.cluster.store.list::<MigrationEntry>("").map_err(|error| host_error(error.into()))?;
            Ok(entries.into_iter().map(|entry| entry.0).collect())
        })
    }
}
