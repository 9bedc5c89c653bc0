//! A node: protocol servers, LIFs, control plane, admin interfaces.

pub mod admin;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod config;
pub mod daemon;
pub mod demo;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzz;
pub mod handle;
pub mod lif;
mod memory;
pub mod metrics;
pub mod migration;
pub mod net;
pub mod nfs3;
pub mod nlm;
pub mod openstate;
pub mod peers;
pub mod portmap;
pub mod programs;
pub mod rpc;
mod rpcbind;
pub mod schedule;
pub mod secrets;
pub mod smb2;
pub mod store;
pub mod vserver;
pub mod xdr;
