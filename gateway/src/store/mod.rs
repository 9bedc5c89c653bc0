//! The configuration store: typed records over a small transactional backend.
//!
//! It keeps records and knows nothing of what they mean; who may change what is `cluster`'s business. Calls block
//! for a disk flush when they write.

mod backend;
mod records;
mod smb;

pub use backend::{Backend, BackendError, Change, RedbBackend, Table};
pub use records::{
    AppliedRecord, CloneRecord, Guarantee, LifPorts, LifRecord, LocksRecord, MigrationEntry, Ownership,
    OwnershipState, PeerRecord, QosRecord, Record, ScheduleRecord, SnapshotDirSetting, SnapshotSettings,
    VolumeRecord, VserverRecord, WatchedRecord,
};
pub use smb::{Sealed, SmbRecord};

use std::path::Path;
use std::sync::Arc;

/// Version of the records' format. Another one is refused, not guessed at.
pub const SCHEMA_VERSION: u64 = 1;

/// What can go wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The backend failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A record does not read as what it should be.
    #[error("record `{key}` of {table:?} is damaged: {error}")]
    Damaged {
        /// Of which table.
        table: Table,
        /// Its key.
        key: String,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// Written by another version of Ferry.
    #[error("the configuration store has schema version {found}, this ferry knows {SCHEMA_VERSION}")]
    Schema {
        /// What it says.
        found: String,
    },
}

/// The store. Clones are the same store.
#[derive(Clone)]
pub struct Store {
    backend: Arc<dyn Backend>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

impl Store {
    /// Opens the embedded store at `path`, making it if it is missing.
    ///
    /// # Errors
    /// The backend's; [`StoreError::Schema`] for a store of another version.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::with_backend(Arc::new(RedbBackend::open(path)?))
    }

    /// A store over any backend.
    ///
    /// # Errors
    /// See [`Store::open`].
    pub fn with_backend(backend: Arc<dyn Backend>) -> Result<Self, StoreError> {
        const KEY: &str = "schema_version";
        let version = SCHEMA_VERSION.to_string().into_bytes();
        match backend.get(Table::Meta, KEY)? {
            None => backend.commit(&[], &[Change::put(Table::Meta, KEY, version)])?,
            Some(found) if found == version => {}
            Some(found) => {
                return Err(StoreError::Schema { found: String::from_utf8_lossy(&found).into_owned() });
            }
        }
        Ok(Store { backend })
    }

    /// The record with this key.
    ///
    /// # Errors
    /// The backend's; [`StoreError::Damaged`].
    pub fn get<R: Record>(&self, key: &str) -> Result<Option<R>, StoreError> {
        self.backend.get(R::TABLE, key)?.map(|bytes| decode(key, &bytes)).transpose()
    }

    /// All records of a kind whose keys begin with `prefix`, in the order of their keys.
    ///
    /// # Errors
    /// The backend's; [`StoreError::Damaged`].
    pub fn list<R: Record>(&self, prefix: &str) -> Result<Vec<R>, StoreError> {
        self.backend.list(R::TABLE, prefix)?.iter().map(|(key, bytes)| decode(key, bytes)).collect()
    }

    /// Runs `change` on a transaction and makes what it wrote durable, all or nothing. Where another writer was
    /// faster, `change` runs again on what that one left.
    ///
    /// # Errors
    /// What `change` says (nothing is written then), or the store's.
    pub fn update<T, E: From<StoreError>>(
        &self,
        mut change: impl FnMut(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        loop {
            let mut transaction = Transaction { store: self, seen: Vec::new(), changes: Vec::new() };
            let value = change(&mut transaction)?;
            if transaction.changes.is_empty() {
                return Ok(value);
            }
            match self.backend.commit(&transaction.seen, &transaction.changes) {
                Ok(()) => return Ok(value),
                Err(BackendError::Raced) => {}
                Err(error) => return Err(StoreError::from(error).into()),
            }
        }
    }
}

fn decode<R: Record>(key: &str, bytes: &[u8]) -> Result<R, StoreError> {
    serde_json::from_slice(bytes).map_err(|error| StoreError::Damaged {
        table: R::TABLE,
        key: key.to_owned(),
        error,
    })
}

/// Reads and writes of one [`Store::update`]. Reads see the transaction's own writes.
pub struct Transaction<'a> {
    store: &'a Store,
    /// What was read, and so must still be there at the commit.
    seen: Vec<Change>,
    changes: Vec<Change>,
}

impl Transaction<'_> {
    /// The record with this key.
    ///
    /// # Errors
    /// See [`Store::get`].
    pub fn get<R: Record>(&mut self, key: &str) -> Result<Option<R>, StoreError> {
        let written = self.changes.iter().rev().find(|change| change.is(R::TABLE, key));
        let value = match written {
            Some(change) => change.value.clone(),
            None => {
                let value = self.store.backend.get(R::TABLE, key)?;
                self.seen.push(Change { table: R::TABLE, key: key.to_owned(), value: value.clone() });
                value
            }
        };
        value.map(|bytes| decode(key, &bytes)).transpose()
    }

    /// All records of a kind whose keys begin with `prefix`. A record added meanwhile by another writer is not
    /// noticed at the commit; callers that need that hold their own lock.
    ///
    /// # Errors
    /// See [`Store::list`].
    pub fn list<R: Record>(&mut self, prefix: &str) -> Result<Vec<R>, StoreError> {
        let mut records = self.store.backend.list(R::TABLE, prefix)?;
        for change in self.changes.iter().filter(|c| c.table == R::TABLE && c.key.starts_with(prefix)) {
            records.retain(|(key, _)| *key != change.key);
            records.extend(change.value.clone().map(|value| (change.key.clone(), value)));
        }
        records.sort();
        records.iter().map(|(key, bytes)| decode(key, bytes)).collect()
    }

    /// Writes a record under its own key.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where it can't be written as JSON.
    pub fn put<R: Record>(&mut self, record: &R) -> Result<(), StoreError> {
        let key = record.key();
        let value = serde_json::to_vec(record).map_err(|error| StoreError::Damaged {
            table: R::TABLE,
            key: key.clone(),
            error,
        })?;
        self.changes.push(Change { table: R::TABLE, key, value: Some(value) });
        Ok(())
    }

    /// Removes the record with this key, if there is one.
    pub fn delete<R: Record>(&mut self, key: &str) {
        self.changes.push(Change { table: R::TABLE, key: key.to_owned(), value: None });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// A directory that goes away with the test.
    struct Dir(PathBuf);

    impl Dir {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("ferry-store-{}", uuid::Uuid::new_v4()));
            std::fs::create_dir_all(&path).unwrap();
            Dir(path)
        }
        fn file(&self) -> PathBuf {
            self.0.join("config.redb")
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn peer(name: &str) -> PeerRecord {
        PeerRecord { name: name.to_owned(), address: "127.0.0.1:1".parse().unwrap(), certificate: vec![1, 2] }
    }

    #[test]
    fn records_survive_a_reopen() {
        let dir = Dir::new();
        let store = Store::open(&dir.file()).unwrap();
        store.update(|tx| tx.put(&peer("b")).and_then(|()| tx.put(&peer("a")))).unwrap();
        drop(store);
        let store = Store::open(&dir.file()).unwrap();
        assert_eq!(store.get::<PeerRecord>("a").unwrap(), Some(peer("a")));
        let names: Vec<_> = store.list::<PeerRecord>("").unwrap().into_iter().map(|p| p.name).collect();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn a_failed_change_writes_nothing() {
        let dir = Dir::new();
        let store = Store::open(&dir.file()).unwrap();
        let failed: Result<(), StoreError> = store.update(|tx| {
            tx.put(&peer("a"))?;
            assert!(tx.get::<PeerRecord>("a")?.is_some(), "a transaction sees its own writes");
            Err(StoreError::Schema { found: "no".to_owned() })
        });
        assert!(failed.is_err());
        assert_eq!(store.get::<PeerRecord>("a").unwrap(), None);
    }

    #[test]
    fn concurrent_updates_of_one_record_are_all_counted() {
        let dir = Dir::new();
        let store = Store::open(&dir.file()).unwrap();
        store.update(|tx| tx.put(&peer("a"))).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        store
                            .update(|tx| {
                                let mut record = tx.get::<PeerRecord>("a")?.unwrap();
                                record.certificate.push(0);
                                tx.put(&record)
                            })
                            .unwrap();
                    }
                });
            }
        });
        assert_eq!(store.get::<PeerRecord>("a").unwrap().unwrap().certificate.len(), 22);
    }

    #[test]
    fn an_unknown_schema_is_refused() {
        let dir = Dir::new();
        let backend = RedbBackend::open(&dir.file()).unwrap();
        backend.commit(&[], &[Change::put(Table::Meta, "schema_version", b"99".to_vec())]).unwrap();
        drop(backend);
        let error = Store::open(&dir.file()).unwrap_err().to_string();
        assert!(error.contains("99"), "{error}");
    }

    #[test]
    fn a_damaged_record_is_named() {
        let dir = Dir::new();
        let store = Store::open(&dir.file()).unwrap();
        store.backend.commit(&[], &[Change::put(Table::Peers, "x", b"{".to_vec())]).unwrap();
        let error = store.get::<PeerRecord>("x").unwrap_err().to_string();
        assert!(error.contains("`x`") && error.contains("damaged"), "{error}");
    }
}
