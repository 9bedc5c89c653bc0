//! NFS version 3 (RFC 1813) over a vserver's volumes.

pub mod procedures;
pub mod status;
pub mod types;
