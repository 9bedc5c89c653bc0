//! Moves a virtual server of several volumes from one cluster to another while its clients keep working.
//!
//! A pure state machine on either side decides ([`machine`]); a driver runs what it decides against the
//! cluster's ports ([`ports`]) and the link to the peer. Knows no NFS, no SMB, no HTTP, and no configuration
//! format: what must travel beside blocks is opaque bytes of the gateway.

mod driver;
pub mod estimate;
mod failpoint;
pub mod heartbeat;
pub mod link;
pub mod machine;
mod message;
mod model;
pub mod policy;
pub mod ports;
pub mod protocol;
mod receiver;
mod sender;

pub use driver::{Migrator, Ports, StatusWatch};
pub use failpoint::{FailAction, Failpoints};
pub use message::Message;
pub use model::*;
pub use ports::{
    DestinationHost, Fingerprint, HostError, Identity, Journal, Ownership, Peer, Peers, Placeholder,
    PortFuture, SourceHost, SourceVolume,
};
