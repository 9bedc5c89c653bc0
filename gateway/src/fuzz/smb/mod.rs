//! SMB: frames and every decoder (`codec`), logins (`tokens`), and connections of somebody who has logged in (`talk`), whose
//! requests `requests` invents.

mod codec;
mod login;
mod requests;
mod talk;
mod tokens;

pub use codec::{smb_contents, smb_messages};
pub use talk::{SMB_TALLIES, SmbTally, smb_connections};
pub use tokens::smb_tokens;
