//! What the control plane asks of SMB for one vserver, without knowing the protocol.

use super::{SmbHandle, Vserver};
use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

/// The clients of SMB of one vserver.
pub trait SmbClients: Any + Debug + Send + Sync {
    /// The open files that outlive their clients' connections. Freeze the vserver first.
    fn handles(&self, vserver: &Vserver) -> Vec<SmbHandle>;

    /// Takes what [`SmbClients::handles`] found elsewhere, for clients to come back to. The vserver has its volumes and other
    /// protocols' locks, and no client yet. What can't be kept here is dropped with all that it holds.
    fn take_in(self: Arc<Self>, vserver: &Arc<Vserver>, handles: Vec<SmbHandle>);
}
