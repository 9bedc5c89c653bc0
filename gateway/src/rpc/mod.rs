//! ONC RPC version 2 (RFC 5531): records, call and reply headers, credentials, the reply cache, connections.
//! Knows no program: NFS, MOUNT and portmap bring their own procedures.

pub mod auth;
pub mod call;
pub mod drc;
pub mod outgoing;
pub mod record;
pub mod server;
pub mod udp;
