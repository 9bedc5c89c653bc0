//! A node: protocol servers, LIFs, control plane, admin interfaces.

pub mod client;
pub mod demo;
pub mod handle;
pub mod nfs3;
pub mod portmap;
pub mod rpc;
pub mod vserver;
pub mod xdr;
