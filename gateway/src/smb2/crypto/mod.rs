//! What protects SMB messages: keys made of a session's key, signatures, encryption, the hash of what came before the
//! session (MS-SMB2 §3.1.4).
//!
//! Pure: bytes in, bytes out. Knows the header's layout as far as a signature's nonce needs it, and no more of the wire.

mod ccm;
mod kdf;
mod preauth;
mod sealing;
mod signing;
#[cfg(test)]
mod tests;

pub use kdf::{Binding, SessionKeys, signing_key};
pub use preauth::PreauthHash;
pub use sealing::{Cipher, OpeningKey, SealingKey, TRANSFORM_HEADER};
pub use signing::{HEADER, SigningAlgorithm, SigningKey};

/// A message was not protected with this key, or is not as it was then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("signature or encryption does not verify")]
pub struct Tampered;
