//! Who a client is: SPNEGO (RFC 4178, MS-SPNG) around an NTLMv2 acceptor (MS-NLMP).
//!
//! Pure: tokens in, tokens out. No sockets, no clock, no randomness of its own and no user table: challenge, time and a
//! function that finds password hashes come from the caller.

mod acceptor;
mod der;
mod keys;
mod messages;
mod ntlm;
pub mod spnego;
#[cfg(test)]
pub(in crate::smb2) mod tests;

pub use acceptor::{Acceptor, Step};
pub use keys::{NtHash, nt_hash};
pub use messages::TargetNames;

/// Why a login was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The token is not what the protocol allows here.
    #[error("malformed authentication token")]
    Malformed,
    /// Unknown user, wrong password, a response weaker than NTLMv2, or a message integrity code that does not fit.
    #[error("logon failure")]
    LogonFailure,
    /// The client offers no mechanism, or no options, that are served.
    #[error("unsupported authentication mechanism")]
    Unsupported,
}
