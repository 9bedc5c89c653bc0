//! Signatures of SMB2 messages (MS-SMB2 §3.1.4.1): HMAC-SHA256, AES-128-CMAC, AES-128-GMAC.
//!
//! A message comes in pieces that stand one after the other on the wire. The first begins with the SMB2 header, all 64
//! bytes of it, **with its Signature field zero**: the caller clears it, or puts a cleared copy of the header first.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{cmac, hmac};
use std::cell::RefCell;

use super::Tampered;

/// Bytes of an SMB2 header (MS-SMB2 §2.2.1).
pub const HEADER: usize = 64;

/// SigningAlgorithms of SMB2_SIGNING_CAPABILITIES, MS-SMB2 §2.2.3.1.7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningAlgorithm {
    /// 0, and always in dialects 2.0.2 and 2.1.
    HmacSha256,
    /// 1, and always in dialects 3.0 and 3.0.2.
    AesCmac,
    /// 2.
    AesGmac,
}

impl SigningAlgorithm {
    /// The algorithm with this number.
    #[must_use]
    pub const fn from_id(id: u16) -> Option<Self> {
        match id {
            0 => Some(Self::HmacSha256),
            1 => Some(Self::AesCmac),
            2 => Some(Self::AesGmac),
            _ => None,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn id(self) -> u16 {
        self as u16
    }
}

/// A key that signs messages of both directions.
#[derive(Debug)]
pub enum SigningKey {
    /// HMAC-SHA256, cut to 16 bytes.
    HmacSha256(Box<hmac::Key>),
    /// AES-128-CMAC.
    AesCmac(cmac::Key),
    /// AES-128-GMAC.
    AesGmac(LessSafeKey),
}

impl SigningKey {
    /// A key of `signing_key` (or, before dialect 3.0, the session key).
    #[must_use]
    pub fn new(algorithm: SigningAlgorithm, key: &[u8; 16]) -> Self {
        const FITS: &str = "the key has 16 bytes";
        match algorithm {
            SigningAlgorithm::HmacSha256 => {
                Self::HmacSha256(Box::new(hmac::Key::new(hmac::HMAC_SHA256, key)))
            }
            SigningAlgorithm::AesCmac => Self::AesCmac(cmac::Key::new(cmac::AES_128, key).expect(FITS)),
            SigningAlgorithm::AesGmac => {
                Self::AesGmac(LessSafeKey::new(UnboundKey::new(&AES_128_GCM, key).expect(FITS)))
            }
        }
    }

    /// The signature of a message whose Signature field is zero.
    ///
    /// GMAC wants the message in one piece: several are copied together first.
    ///
    /// # Panics
    /// If the first piece is shorter than the header.
    #[must_use]
    pub fn sign(&self, message: &[&[u8]]) -> [u8; 16] {
        let header = message.first().and_then(|first| first.first_chunk()).expect("a message has a header");
        self.compute(header, message)
    }

    /// Whether a message, whose Signature field is zero by now, was signed with `signature`.
    ///
    /// # Errors
    /// It was not, or it has no header.
    pub fn verify(&self, message: &[&[u8]], signature: &[u8; 16]) -> Result<(), Tampered> {
        let header = message.first().and_then(|first| first.first_chunk()).ok_or(Tampered)?;
        verify_slices_are_equal(&self.compute(header, message), signature).map_err(|_| Tampered)
    }

    fn compute(&self, header: &[u8; HEADER], message: &[&[u8]]) -> [u8; 16] {
        let mut signature = [0; 16];
        match self {
            Self::HmacSha256(key) => {
                let mut context = hmac::Context::with_key(key);
                message.iter().for_each(|piece| context.update(piece));
                signature.copy_from_slice(&context.sign().as_ref()[..16]);
            }
            Self::AesCmac(key) => {
                const WORKS: &str = "CMAC takes any message";
                let mut context = cmac::Context::with_key(key);
                message.iter().for_each(|piece| context.update(piece).expect(WORKS));
                signature.copy_from_slice(context.sign().expect(WORKS).as_ref());
            }
            Self::AesGmac(key) => {
                let tag = |whole: &[u8]| {
                    let nonce = Nonce::assume_unique_for_key(gmac_nonce(header));
                    key.seal_in_place_separate_tag(nonce, Aad::from(whole), &mut [])
                };
                let tag = match message {
                    [whole] => tag(whole),
                    pieces => joined(pieces, tag),
                };
                signature.copy_from_slice(tag.expect("GMAC takes any message").as_ref());
            }
        }
        signature
    }
}

/// Bytes that a thread keeps for joining pieces.
const JOINED_MAX: usize = 2 << 20;

/// Runs `with` on the pieces in one. Fresh memory would cost more than the copy does, so each thread has a place for it.
fn joined<T>(pieces: &[&[u8]], with: impl FnOnce(&[u8]) -> T) -> T {
    thread_local!(static PLACE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
    PLACE.with_borrow_mut(|place| {
        pieces.iter().for_each(|piece| place.extend_from_slice(piece));
        let done = with(place);
        place.clear();
        place.shrink_to(JOINED_MAX);
        done
    })
}

/// MessageId, then whether the server sent it, and whether it is a CANCEL request (which repeats another's MessageId).
fn gmac_nonce(header: &[u8; HEADER]) -> [u8; 12] {
    const SERVER: u8 = 1;
    const CANCEL: u8 = 2;
    const COMMAND_CANCEL: [u8; 2] = [0x0c, 0];
    const FLAGS_SERVER_TO_REDIR: u8 = 1;
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&header[24..32]);
    if header[16] & FLAGS_SERVER_TO_REDIR != 0 {
        nonce[8] |= SERVER;
    }
    if header[12..14] == COMMAND_CANCEL {
        nonce[8] |= CANCEL;
    }
    nonce
}
