//! Moves a virtual server of several volumes from one cluster to another while its clients keep working.
//!
//! A pure state machine on either side decides; a driver runs what it decides against the
//! cluster's ports ([`ports`]) and the link to the peer. Knows no NFS, no SMB, no HTTP, and no configuration
//! format: what must travel beside blocks is opaque bytes of the gateway.

mod model;
pub mod ports;

pub use model::*;
pub use ports::{DestinationHost, HostError, Identity, Journal, Peer, Peers, PortFuture, SourceHost};
