//! The contexts of NEGOTIATE in dialect 3.1.1, MS-SMB2 §2.2.3.1 and §2.2.4.1. Compression, netname, transport and RDMA
//! contexts are passed over: not answering one declines it.

use super::cursor::{len16, pad};
use super::{Malformed, Reader};
use bytes::{BufMut, BytesMut};

const PREAUTH_INTEGRITY: u16 = 1;
const ENCRYPTION: u16 = 2;
const SIGNING: u16 = 8;

/// More than any client has; what is behind them is not looked at, as a hostile sender's.
const CONTEXTS_MAX: u16 = 64;

/// The only hash there is for pre-auth integrity.
pub const HASH_SHA512: u16 = 1;

/// AES-128-CCM.
pub const CIPHER_AES_128_CCM: u16 = 1;
/// AES-128-GCM.
pub const CIPHER_AES_128_GCM: u16 = 2;
/// AES-256-CCM.
pub const CIPHER_AES_256_CCM: u16 = 3;
/// AES-256-GCM.
pub const CIPHER_AES_256_GCM: u16 = 4;

/// HMAC-SHA256.
pub const SIGN_HMAC_SHA256: u16 = 0;
/// AES-CMAC.
pub const SIGN_AES_CMAC: u16 = 1;
/// AES-GMAC.
pub const SIGN_AES_GMAC: u16 = 2;

/// What a client offers. Each list is in the client's order of preference and may hold numbers that nobody knows.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NegotiateContexts {
    /// `SMB2_PREAUTH_INTEGRITY_CAPABILITIES`, the hashes; without it there is no dialect 3.1.1.
    pub preauth_hashes: Option<Vec<u16>>,
    /// `SMB2_ENCRYPTION_CAPABILITIES`, the ciphers.
    pub ciphers: Option<Vec<u16>>,
    /// `SMB2_SIGNING_CAPABILITIES`, the algorithms.
    pub signing: Option<Vec<u16>>,
}

impl NegotiateContexts {
    /// Of `count` contexts, the first at the beginning of `list`.
    pub(super) fn decode(list: &[u8], count: u16) -> Result<NegotiateContexts, Malformed> {
        let mut reader = Reader::new(list, "negotiate context");
        if count > CONTEXTS_MAX {
            return Err(reader.malformed());
        }
        let mut contexts = NegotiateContexts::default();
        for _ in 0..count {
            // Each begins at a multiple of eight, counted from the first, which does too.
            let odd = (list.len() - reader.rest().len()) % 8;
            reader.skip((8 - odd) % 8)?;
            let (kind, len, _reserved) = (reader.u16()?, reader.u16()?, reader.u32()?);
            let mut data = Reader::new(reader.take(len.into())?, "negotiate context");
            let offers = match kind {
                PREAUTH_INTEGRITY => &mut contexts.preauth_hashes,
                ENCRYPTION => &mut contexts.ciphers,
                SIGNING => &mut contexts.signing,
                _ => continue,
            };
            // One of each kind at the most (MS-SMB2 §3.3.5.4).
            if offers.is_some() {
                return Err(reader.malformed());
            }
            let count = data.u16()?;
            if kind == PREAUTH_INTEGRITY {
                let salt = data.u16()?;
                *offers = Some(data.u16s(count)?);
                data.skip(salt.into())?;
            } else {
                *offers = Some(data.u16s(count)?);
            }
            if count == 0 {
                return Err(reader.malformed());
            }
        }
        Ok(contexts)
    }
}

/// What the server chose.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NegotiateReplyContexts {
    /// The salt beside SHA-512, fresh for every connection.
    pub preauth_salt: [u8; 32],
    /// A cipher, or 0 where none is common; nothing where none was offered.
    pub cipher: Option<u16>,
    /// A signing algorithm; nothing where none was offered.
    pub signing: Option<u16>,
}

impl NegotiateReplyContexts {
    pub(super) fn count(&self) -> u16 {
        1 + u16::from(self.cipher.is_some()) + u16::from(self.signing.is_some())
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        let start = out.len();
        put_head(out, PREAUTH_INTEGRITY, 6 + self.preauth_salt.len());
        out.put_u16_le(1);
        out.put_u16_le(len16(self.preauth_salt.len()));
        out.put_u16_le(HASH_SHA512);
        out.put_slice(&self.preauth_salt);
        for (kind, choice) in [(ENCRYPTION, self.cipher), (SIGNING, self.signing)] {
            if let Some(choice) = choice {
                pad(out, start, 8);
                put_head(out, kind, 4);
                out.put_u16_le(1);
                out.put_u16_le(choice);
            }
        }
    }
}

fn put_head(out: &mut BytesMut, kind: u16, len: usize) {
    out.put_u16_le(kind);
    out.put_u16_le(len16(len));
    out.put_u32_le(0);
}
