//! Encryption of SMB 3 messages (MS-SMB2 §3.1.4.3) with AES-CCM and AES-GCM, in place.
//!
//! The SMB2 TRANSFORM_HEADER (§2.2.41) goes with a message as its associated data from the Nonce field on; before that
//! stands the Signature, the tag. A sealing key counts its own nonces, so none is ever used twice: a session has one
//! such key for the server's direction, which all its channels share.

use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::Tampered;
use super::ccm::Ccm;

/// Bytes of an SMB2 TRANSFORM_HEADER, MS-SMB2 §2.2.41.
pub const TRANSFORM_HEADER: usize = 52;
/// What of it is associated data.
const ASSOCIATED: usize = 32;
/// Its Signature field.
const SIGNATURE: std::ops::Range<usize> = 4..20;
/// Its Nonce field.
const NONCE: std::ops::Range<usize> = 20..36;

/// Ciphers of SMB2_ENCRYPTION_CAPABILITIES, MS-SMB2 §2.2.3.1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// 1, and always in dialects 3.0 and 3.0.2.
    Aes128Ccm = 1,
    /// 2.
    Aes128Gcm = 2,
    /// 3.
    Aes256Ccm = 3,
    /// 4.
    Aes256Gcm = 4,
}

impl Cipher {
    /// The cipher with this number.
    #[must_use]
    pub const fn from_id(id: u16) -> Option<Self> {
        match id {
            1 => Some(Self::Aes128Ccm),
            2 => Some(Self::Aes128Gcm),
            3 => Some(Self::Aes256Ccm),
            4 => Some(Self::Aes256Gcm),
            _ => None,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn id(self) -> u16 {
        self as u16
    }

    /// Length of its keys in bytes.
    #[must_use]
    pub const fn key_bytes(self) -> usize {
        match self {
            Self::Aes128Ccm | Self::Aes128Gcm => 16,
            Self::Aes256Ccm | Self::Aes256Gcm => 32,
        }
    }
}

/// Session.EncryptionKey: encrypts what the server sends.
#[derive(Debug)]
pub struct SealingKey {
    key: Key,
    next_nonce: AtomicU64,
}

impl SealingKey {
    /// To be made once of a key: a second one of the same bytes would count from zero again. A session that is
    /// authenticated again keeps its keys and so this.
    ///
    /// # Panics
    /// If the key is not as long as the cipher's keys are.
    #[must_use]
    pub fn new(cipher: Cipher, key: &[u8]) -> Self {
        Self { key: Key::new(cipher, key), next_nonce: AtomicU64::new(0) }
    }

    /// Encrypts a message in place, and fills in Nonce and Signature of its header, whose other fields stand already.
    ///
    /// # Panics
    /// If the message is longer than the cipher takes: 4 GiB.
    pub fn seal(&self, header: &mut [u8; TRANSFORM_HEADER], message: &mut [u8]) {
        // 64 bits do not run out: at a message a nanosecond they last for centuries.
        let nonce = self.next_nonce.fetch_add(1, Ordering::Relaxed);
        self.seal_with(u128::from(nonce).to_le_bytes(), header, message);
    }

    pub(super) fn seal_with(&self, nonce: [u8; 16], header: &mut [u8; TRANSFORM_HEADER], message: &mut [u8]) {
        header[NONCE].copy_from_slice(&nonce);
        let tag = self.key.seal(associated(header), message);
        header[SIGNATURE].copy_from_slice(&tag);
    }
}

/// Session.DecryptionKey: decrypts what the client sends.
#[derive(Debug)]
pub struct OpeningKey(Key);

impl OpeningKey {
    /// # Panics
    /// If the key is not as long as the cipher's keys are.
    #[must_use]
    pub fn new(cipher: Cipher, key: &[u8]) -> Self {
        Self(Key::new(cipher, key))
    }

    /// Decrypts what stood behind this header, in place.
    ///
    /// # Errors
    /// The header or the message is not as the client sealed it; the message's bytes are worth nothing then.
    pub fn open(&self, header: &[u8; TRANSFORM_HEADER], message: &mut [u8]) -> Result<(), Tampered> {
        let tag = header[SIGNATURE].first_chunk().expect("the field has 16 bytes");
        self.0.open(associated(header), tag, message)
    }
}

/// The header from Nonce on.
fn associated(header: &[u8; TRANSFORM_HEADER]) -> &[u8; ASSOCIATED] {
    header.last_chunk().expect("the header is longer")
}

/// Of the 16 bytes of nonce CCM takes the first 11, GCM the first 12.
fn nonce<const N: usize>(associated: &[u8; ASSOCIATED]) -> &[u8; N] {
    associated.first_chunk().expect("nonces are shorter")
}

enum Key {
    Ccm(Box<Ccm>),
    Gcm(LessSafeKey),
}

impl Key {
    fn new(cipher: Cipher, key: &[u8]) -> Self {
        const FITS: &str = "the key is as long as the cipher wants it";
        assert_eq!(key.len(), cipher.key_bytes(), "{FITS}");
        let gcm = |algorithm| Self::Gcm(LessSafeKey::new(UnboundKey::new(algorithm, key).expect(FITS)));
        match cipher {
            Cipher::Aes128Ccm | Cipher::Aes256Ccm => Self::Ccm(Box::new(Ccm::new(key).expect(FITS))),
            Cipher::Aes128Gcm => gcm(&AES_128_GCM),
            Cipher::Aes256Gcm => gcm(&AES_256_GCM),
        }
    }

    fn seal(&self, associated: &[u8; ASSOCIATED], message: &mut [u8]) -> [u8; 16] {
        const FITS: &str = "messages are below 4 GiB";
        match self {
            Self::Ccm(key) => key.seal(nonce(associated), associated, message).expect(FITS),
            Self::Gcm(key) => {
                let nonce = Nonce::assume_unique_for_key(*nonce(associated));
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(associated), message).expect(FITS);
                *tag.as_ref().first_chunk().expect("tags have 16 bytes")
            }
        }
    }

    fn open(
        &self,
        associated: &[u8; ASSOCIATED],
        tag: &[u8; 16],
        message: &mut [u8],
    ) -> Result<(), Tampered> {
        match self {
            Self::Ccm(key) => key.open(nonce(associated), associated, tag, message),
            Self::Gcm(key) => {
                let nonce = Nonce::assume_unique_for_key(*nonce(associated));
                key.open_in_place_separate_tag(nonce, Aad::from(associated), tag, message)
                    .map(drop)
                    .map_err(|_| Tampered)
            }
        }
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}
