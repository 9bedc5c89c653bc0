//! WAFL-like copy-on-write volumes. Knows no socket, no protocol, no async runtime, no wall clock.

mod disk;
mod error;
mod ids;
mod op;
mod volume;

pub use disk::{Disk, FileDisk};
pub use error::{FsError, Result};
pub use ids::*;
pub use op::*;
pub use volume::*;
