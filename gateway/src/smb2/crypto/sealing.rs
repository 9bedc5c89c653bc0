//! Encryption of SMB 3 messages (MS-SMB2 §3.1.4.3) with AES-CCM and AES-GCM, in place.
//!
//! The SMB2 TRANSFORM_HEADER (§2.2.41) goes with a message as its associated data from the Nonce field on; before that
//! stands the Signature, the tag. A sealing key counts its own nonces, so none is ever used twice: a session has one
//! such key for the server's direction, which all its channels share.

use std::sync::atomic::{AtomicU64, Ordering};

use aes::{Aes128, Aes256};
use aws_lc_rs::aead::{self, Aad, LessSafeKey, UnboundKey};
use ccm::aead::inout::InOutBuf;
use ccm::consts::{U11, U16};
use ccm::{AeadInOut, Ccm, KeyInit};

use super::Tampered;

/// Bytes of an SMB2 TRANSFORM_HEADER, MS-SMB2 §2.2.41.
pub const TRANSFORM_HEADER: usize = 52;
/// Its Signature field.
const SIGNATURE: std::ops::Range<usize> = 4..20;
/// Its Nonce field begins the associated data.
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
        let tag = self.key.seal(&nonce, &header[NONCE.start..], message);
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
        let (mut nonce, mut tag) = ([0; 16], [0; 16]);
        nonce.copy_from_slice(&header[NONCE]);
        tag.copy_from_slice(&header[SIGNATURE]);
        self.0.open(&nonce, &header[NONCE.start..], &tag, message)
    }
}

/// Of the header's 16 bytes of nonce CCM takes the first 11, GCM the first 12.
enum Key {
    Ccm128(Box<Ccm<Aes128, U16, U11>>),
    Ccm256(Box<Ccm<Aes256, U16, U11>>),
    Gcm(LessSafeKey),
}

impl Key {
    fn new(cipher: Cipher, key: &[u8]) -> Self {
        const FITS: &str = "the key is as long as the cipher wants it";
        let gcm = |algorithm| Self::Gcm(LessSafeKey::new(UnboundKey::new(algorithm, key).expect(FITS)));
        match cipher {
            Cipher::Aes128Ccm => Self::Ccm128(Box::new(Ccm::new_from_slice(key).expect(FITS))),
            Cipher::Aes256Ccm => Self::Ccm256(Box::new(Ccm::new_from_slice(key).expect(FITS))),
            Cipher::Aes128Gcm => gcm(&aead::AES_128_GCM),
            Cipher::Aes256Gcm => gcm(&aead::AES_256_GCM),
        }
    }

    fn seal(&self, nonce: &[u8; 16], associated: &[u8], message: &mut [u8]) -> [u8; 16] {
        const FITS: &str = "messages are below 4 GiB";
        let mut tag = [0; 16];
        match self {
            Self::Ccm128(key) => tag = ccm_seal(&**key, nonce, associated, message).expect(FITS),
            Self::Ccm256(key) => tag = ccm_seal(&**key, nonce, associated, message).expect(FITS),
            Self::Gcm(key) => {
                let sealed = key.seal_in_place_separate_tag(gcm_nonce(nonce), Aad::from(associated), message);
                tag.copy_from_slice(sealed.expect(FITS).as_ref());
            }
        }
        tag
    }

    fn open(
        &self,
        nonce: &[u8; 16],
        associated: &[u8],
        tag: &[u8; 16],
        message: &mut [u8],
    ) -> Result<(), Tampered> {
        match self {
            Self::Ccm128(key) => ccm_open(&**key, nonce, associated, tag, message),
            Self::Ccm256(key) => ccm_open(&**key, nonce, associated, tag, message),
            Self::Gcm(key) => key
                .open_in_place_separate_tag(gcm_nonce(nonce), Aad::from(associated), tag, message)
                .map(drop)
                .map_err(|_| Tampered),
        }
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

fn gcm_nonce(nonce: &[u8; 16]) -> aead::Nonce {
    let mut bytes = [0; 12];
    bytes.copy_from_slice(&nonce[..12]);
    aead::Nonce::assume_unique_for_key(bytes)
}

type CcmNonce = ccm::Nonce<U11>;

fn ccm_nonce(nonce: &[u8; 16]) -> CcmNonce {
    let mut bytes = CcmNonce::default();
    bytes.copy_from_slice(&nonce[..11]);
    bytes
}

fn ccm_seal<C>(
    key: &C,
    nonce: &[u8; 16],
    associated: &[u8],
    message: &mut [u8],
) -> Result<[u8; 16], ccm::Error>
where
    C: AeadInOut<NonceSize = U11, TagSize = U16>,
{
    key.encrypt_inout_detached(&ccm_nonce(nonce), associated, InOutBuf::from(message)).map(Into::into)
}

fn ccm_open<C>(
    key: &C,
    nonce: &[u8; 16],
    associated: &[u8],
    tag: &[u8; 16],
    message: &mut [u8],
) -> Result<(), Tampered>
where
    C: AeadInOut<NonceSize = U11, TagSize = U16>,
{
    let message = InOutBuf::from(message);
    key.decrypt_inout_detached(&ccm_nonce(nonce), associated, message, &(*tag).into()).map_err(|_| Tampered)
}
