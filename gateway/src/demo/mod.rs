//! `ferry demo`.

pub mod record;
pub mod tree;
pub mod workload;
