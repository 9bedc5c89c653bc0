//! Information classes of files and file systems, MS-FSCC §2.4 and §2.5.

pub mod ea;
