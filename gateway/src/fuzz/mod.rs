//! Entry points for fuzzing: each gives bytes of a stranger to one part of what stands behind a socket.
//!
//! Only with the feature `fuzzing`. Nothing of it may panic, hang, take memory by a length that it has not checked, or leave
//! anything behind.

mod calls;
mod choices;
mod connections;
mod decoders;
mod procedures;
mod replies;
mod smb;
mod table;
mod world;

pub use connections::connections;
pub use decoders::{arguments, handles, handoffs, rpc_headers, rpc_records};
pub use procedures::{TALLIES, Tally, procedures};
pub use smb::{SMB_TALLIES, SmbTally, smb_connections, smb_contents, smb_messages, smb_tokens};

/// Something to fuzz: its name and what runs it.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 11] = [
    ("rpc_records", rpc_records),
    ("rpc_headers", rpc_headers),
    ("arguments", arguments),
    ("handles", handles),
    ("handoffs", handoffs),
    ("procedures", procedures),
    ("connections", connections),
    ("smb_messages", smb_messages),
    ("smb_contents", smb_contents),
    ("smb_tokens", smb_tokens),
    ("smb_connections", smb_connections),
];
