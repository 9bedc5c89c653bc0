//! A node: protocol servers, LIFs, control plane, admin interfaces.

pub mod cluster;
pub mod config;
pub mod handle;
pub mod lif;
pub mod metrics;
pub mod migration;
pub mod peers;
pub mod rpc;
pub mod store;
pub mod vserver;
pub mod xdr;
