//! NTLM's arithmetic (MS-NLMP §3.3.2, §3.4): hashes of passwords, the keys made of them, message integrity codes.

use hmac::{Hmac, KeyInit, Mac};
use md4::Md4;
use md5::{Digest, Md5};
use zeroize::Zeroize;

use super::messages::flags;

/// The NT hash of a password: whoever has it can log in, so it shows itself to nobody and is wiped when dropped.
#[derive(Clone)]
pub struct NtHash([u8; 16]);

impl NtHash {
    /// A hash that was stored.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The hash, to be stored as the secret that it is.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl std::fmt::Debug for NtHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NtHash(..)")
    }
}

impl Drop for NtHash {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// NTOWFv1: MD4 of the password in UTF-16LE (MS-NLMP §3.3.1).
#[must_use]
pub fn nt_hash(password: &str) -> NtHash {
    let mut units = utf16(password);
    let hash = NtHash(Md4::digest(&units).into());
    units.zeroize();
    hash
}

/// UTF-16LE, NTLM's only character set here.
pub(super) fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// NTOWFv2 (MS-NLMP §3.3.2): the user name in capitals, the domain as the client wrote it.
pub(super) fn ntowf_v2(hash: &NtHash, user: &str, domain: &str) -> [u8; 16] {
    let user: String = user.chars().map(capital).collect();
    hmac_md5(hash.as_bytes(), &[&utf16(&user), &utf16(domain)])
}

/// As Windows makes capitals, one character for one: `ß` stays.
fn capital(c: char) -> char {
    let mut capitals = c.to_uppercase();
    match (capitals.next(), capitals.next()) {
        (Some(capital), None) => capital,
        _ => c,
    }
}

/// HMAC-MD5 over the parts in their order.
pub(super) fn hmac_md5(key: &[u8; 16], parts: &[&[u8]]) -> [u8; 16] {
    let mut mac = Hmac::<Md5>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// RC4 from the start of its key stream; encrypts and decrypts.
pub(super) fn rc4<const N: usize>(key: &[u8], mut data: [u8; N]) -> [u8; N] {
    let mut state: [u8; 256] = std::array::from_fn(|at| u8::try_from(at).unwrap_or_default());
    let mut j = 0u8;
    for (i, &byte) in (0..=255u8).zip(key.iter().cycle()) {
        j = j.wrapping_add(state[usize::from(i)]).wrapping_add(byte);
        state.swap(usize::from(i), usize::from(j));
    }
    let (mut i, mut j) = (0u8, 0u8);
    for byte in &mut data {
        i = i.wrapping_add(1);
        j = j.wrapping_add(state[usize::from(i)]);
        state.swap(usize::from(i), usize::from(j));
        *byte ^= state[usize::from(state[usize::from(i)].wrapping_add(state[usize::from(j)]))];
    }
    state.zeroize();
    data
}

/// Who signs.
#[derive(Clone, Copy)]
pub(super) enum Direction {
    ClientToServer,
    ServerToClient,
}

/// NTLMSSP_MESSAGE_SIGNATURE with extended session security (MS-NLMP §3.4.4.2) of the first message of a direction, as
/// SPNEGO's mechListMIC wants it.
pub(super) fn first_signature(
    session_key: &[u8; 16],
    negotiated: u32,
    direction: Direction,
    message: &[u8],
) -> [u8; 16] {
    let (sign_magic, seal_magic): (&[u8], &[u8]) = match direction {
        Direction::ClientToServer => (
            b"session key to client-to-server signing key magic constant\0",
            b"session key to client-to-server sealing key magic constant\0",
        ),
        Direction::ServerToClient => (
            b"session key to server-to-client signing key magic constant\0",
            b"session key to server-to-client sealing key magic constant\0",
        ),
    };
    const SEQUENCE_NUMBER: [u8; 4] = [0; 4];
    let signing_key = md5(session_key, sign_magic);
    let mac = hmac_md5(&signing_key, &[&SEQUENCE_NUMBER, message]);
    let mut checksum = [0; 8];
    checksum.copy_from_slice(&mac[..8]);
    if negotiated & flags::KEY_EXCH != 0 {
        checksum = rc4(&md5(weakened(session_key, negotiated), seal_magic), checksum);
    }
    let mut signature = [0; 16];
    signature[0] = 1; // Version
    signature[4..12].copy_from_slice(&checksum);
    signature[12..].copy_from_slice(&SEQUENCE_NUMBER);
    signature
}

/// As much of the key as SEALKEY (MS-NLMP §3.4.5.3) takes.
fn weakened(session_key: &[u8; 16], negotiated: u32) -> &[u8] {
    if negotiated & flags::STRONG_128 != 0 {
        session_key
    } else if negotiated & flags::STRONG_56 != 0 {
        &session_key[..7]
    } else {
        &session_key[..5]
    }
}

fn md5(key: &[u8], magic: &[u8]) -> [u8; 16] {
    Md5::new().chain_update(key).chain_update(magic).finalize().into()
}
