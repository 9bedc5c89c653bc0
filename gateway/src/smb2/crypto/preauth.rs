//! Pre-authentication integrity (MS-SMB2 §3.1.4.4.1): a chain of SHA-512 over all that both sides said before keys were
//! there.

use aws_lc_rs::digest::{Context, SHA512};

/// Connection.PreauthIntegrityHashValue, or a session's copy of it that goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreauthHash([u8; 64]);

impl Default for PreauthHash {
    fn default() -> Self {
        Self([0; 64])
    }
}

impl From<[u8; 64]> for PreauthHash {
    fn from(value: [u8; 64]) -> Self {
        Self(value)
    }
}

impl PreauthHash {
    /// Takes the next message, in pieces, from its SMB2 header on.
    pub fn extend(&mut self, message: &[&[u8]]) {
        let mut context = Context::new(&SHA512);
        context.update(&self.0);
        message.iter().for_each(|piece| context.update(piece));
        self.0.copy_from_slice(context.finish().as_ref());
    }

    /// The value now.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}
