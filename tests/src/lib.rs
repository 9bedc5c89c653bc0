//! What the end-to-end and store tests share: a simulated disk, a model file system, random operations.
//!
//! Nothing here is part of a node; no other crate may depend on this one.

pub mod bench;
pub mod cloned;
pub mod crash;
pub mod faulty_move;
pub mod ferry;
pub mod guest;
pub mod lock_client;
pub mod model;
pub mod nfs_load;
pub mod pair;
pub mod random;
pub mod replicate;
pub mod seeds;
pub mod serve;
pub mod sim_disk;
pub mod smb_site;
pub mod torture;
pub mod verify;
