//! What a change of the cluster's configuration can end in. Each variant is one HTTP status later.

use crate::lif::LifError;
use crate::store::StoreError;
use crate::vserver::NamespaceError;
use fsstore::FsError;

/// Result of an operation on the cluster.
pub type Result<T, E = ClusterError> = std::result::Result<T, E>;

/// Why an operation on the cluster failed. The text is for the operator and says what to do where it can.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// No such thing.
    #[error("there is no {kind} `{name}`")]
    NotFound {
        /// Of which kind.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The name is taken.
    #[error("{kind} `{name}` exists already")]
    Exists {
        /// Of which kind.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The request makes sense, but not in the present state.
    #[error("{0}")]
    Conflict(String),
    /// Something broke: disk, store, network.
    #[error("{0}")]
    Failed(String),
}

impl ClusterError {
    /// There is no such thing.
    pub fn not_found(kind: &'static str, name: &str) -> Self {
        ClusterError::NotFound { kind, name: name.to_owned() }
    }

    /// The name is taken.
    pub fn exists(kind: &'static str, name: &str) -> Self {
        ClusterError::Exists { kind, name: name.to_owned() }
    }
}

impl From<StoreError> for ClusterError {
    fn from(error: StoreError) -> Self {
        ClusterError::Failed(error.to_string())
    }
}

impl From<std::io::Error> for ClusterError {
    fn from(error: std::io::Error) -> Self {
        ClusterError::Failed(error.to_string())
    }
}

impl From<LifError> for ClusterError {
    fn from(error: LifError) -> Self {
        ClusterError::Conflict(error.to_string())
    }
}

impl From<NamespaceError> for ClusterError {
    fn from(error: NamespaceError) -> Self {
        match error {
            NamespaceError::Store { .. } => ClusterError::Failed(error.to_string()),
            NamespaceError::Taken(_) | NamespaceError::SameId(..) => {
                ClusterError::Conflict(error.to_string())
            }
            NamespaceError::Path(_) | NamespaceError::NoRoot => ClusterError::Invalid(error.to_string()),
        }
    }
}

impl From<FsError> for ClusterError {
    fn from(error: FsError) -> Self {
        match error {
            FsError::Snapshot(_)
            | FsError::NoSpace
            | FsError::ReadOnly
            | FsError::Resize(_)
            | FsError::Quota
            | FsError::QuotaConfig(_) => ClusterError::Conflict(error.to_string()),
            FsError::NameTooLong | FsError::Invalid => ClusterError::Invalid(error.to_string()),
            other => ClusterError::Failed(other.to_string()),
        }
    }
}
