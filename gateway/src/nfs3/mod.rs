//! NFS version 3 (RFC 1813), with MOUNT and NFSACL, over a vserver's volumes. Sees a vserver only through [`Vserver`]; knows no
//! configuration, no migration and no other protocol.

pub mod acl;
mod attr;
mod caller;
mod dispatch;
mod info;
mod io;
pub mod mount;
mod namespace;
mod others;
pub mod procedures;
mod readdir;
pub mod status;
pub mod types;

pub(crate) use dispatch::{reply_len_max, run, run_acl};

#[cfg(test)]
mod tests;
