//! What the configuration store needs of a database, and the embedded one (redb). Bytes only, no record types.

use parking_lot::Mutex;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use std::path::Path;

/// The tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// The store's own facts.
    Meta,
    /// Virtual servers.
    Vservers,
    /// Volumes.
    Volumes,
    /// Logical interfaces.
    Lifs,
    /// Peer clusters.
    Peers,
    /// Migrations, both roles.
    Migrations,
    /// What a migration brought for a vserver that does not serve yet.
    Applied,
    /// Clients that must be told if their locks are lost.
    Watched,
    /// Locks of vservers that do not run, to be had again when they do.
    Locks,
}

impl Table {
    fn definition(self) -> TableDefinition<'static, &'static str, &'static [u8]> {
        TableDefinition::new(match self {
            Table::Meta => "meta",
            Table::Vservers => "vservers",
            Table::Volumes => "volumes",
            Table::Lifs => "lifs",
            Table::Peers => "peers",
            Table::Migrations => "migrations",
            Table::Applied => "applied",
            Table::Watched => "watched",
            Table::Locks => "locks",
        })
    }
}

/// A value that a key has or gets; `None`: no such key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which table.
    pub table: Table,
    /// Which key.
    pub key: String,
    /// The value.
    pub value: Option<Vec<u8>>,
}

impl Change {
    /// `key` gets `value`.
    pub fn put(table: Table, key: &str, value: Vec<u8>) -> Self {
        Change { table, key: key.to_owned(), value: Some(value) }
    }

    pub(super) fn is(&self, table: Table, key: &str) -> bool {
        self.table == table && self.key == key
    }
}

/// What a backend reports.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// Something that the transaction had read has changed: run it again.
    #[error("the configuration changed meanwhile")]
    Raced,
    /// The database failed.
    #[error("configuration store: {0}")]
    Failed(String),
}

/// A transactional map of bytes. A second implementation (etcd) fits behind the same three calls.
pub trait Backend: Send + Sync {
    /// The value of a key.
    ///
    /// # Errors
    /// [`BackendError::Failed`].
    fn get(&self, table: Table, key: &str) -> Result<Option<Vec<u8>>, BackendError>;
    /// Keys that begin with `prefix` and their values, in order.
    ///
    /// # Errors
    /// [`BackendError::Failed`].
    fn list(&self, table: Table, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, BackendError>;
    /// If everything in `seen` still holds, makes all `changes`, durably, in one step.
    ///
    /// # Errors
    /// [`BackendError::Raced`] where it does not hold; [`BackendError::Failed`].
    fn commit(&self, seen: &[Change], changes: &[Change]) -> Result<(), BackendError>;
}

/// The embedded backend.
pub struct RedbBackend {
    database: Database,
    /// redb has one writer at a time; this makes waiting for it explicit.
    writer: Mutex<()>,
}

fn failed(error: impl std::fmt::Display) -> BackendError {
    BackendError::Failed(error.to_string())
}

impl RedbBackend {
    /// Opens or makes the database file, readable by its owner only: it holds secrets.
    ///
    /// # Errors
    /// [`BackendError::Failed`], also where another process has it open.
    pub fn open(path: &Path) -> Result<Self, BackendError> {
        use std::os::unix::fs::OpenOptionsExt;
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| failed(format!("{}: {error}", path.display())))?;
        let database =
            Database::create(path).map_err(|error| failed(format!("{}: {error}", path.display())))?;
        Ok(RedbBackend { database, writer: Mutex::new(()) })
    }
}

impl Backend for RedbBackend {
    fn get(&self, table: Table, key: &str) -> Result<Option<Vec<u8>>, BackendError> {
        let read = self.database.begin_read().map_err(failed)?;
        match read.open_table(table.definition()) {
            Ok(table) => Ok(table.get(key).map_err(failed)?.map(|value| value.value().to_vec())),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    fn list(&self, table: Table, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, BackendError> {
        let read = self.database.begin_read().map_err(failed)?;
        let table = match read.open_table(table.definition()) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut found = Vec::new();
        for entry in table.range(prefix..).map_err(failed)? {
            let (key, value) = entry.map_err(failed)?;
            if !key.value().starts_with(prefix) {
                break;
            }
            found.push((key.value().to_owned(), value.value().to_vec()));
        }
        Ok(found)
    }

    fn commit(&self, seen: &[Change], changes: &[Change]) -> Result<(), BackendError> {
        let _writer = self.writer.lock();
        let write = self.database.begin_write().map_err(failed)?;
        for expected in seen {
            let table = write.open_table(expected.table.definition()).map_err(failed)?;
            let found = table.get(expected.key.as_str()).map_err(failed)?;
            if found.as_ref().map(|value| value.value()) != expected.value.as_deref() {
                return Err(BackendError::Raced);
            }
        }
        for change in changes {
            let mut table = write.open_table(change.table.definition()).map_err(failed)?;
            match &change.value {
                Some(value) => drop(table.insert(change.key.as_str(), value.as_slice()).map_err(failed)?),
                None => drop(table.remove(change.key.as_str()).map_err(failed)?),
            }
        }
        write.commit().map_err(failed)
    }
}
