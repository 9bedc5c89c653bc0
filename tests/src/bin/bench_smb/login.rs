//! NTLMv2 as a client (MS-NLMP §3.1.5.1, §3.3.2): as little of it as servers accept. No key is exchanged, so the session's key
//! is the one that both sides make of the password.

use anyhow::{Context as _, Result};
use hmac::{Hmac, KeyInit as _, Mac as _};
use md4::{Digest as _, Md4};
use md5::Md5;

pub(crate) const USER: &str = "root";
pub(crate) const PASSWORD: &str = "Correct-Horse-7";
const DOMAIN: &str = "WORKGROUP";
/// UNICODE, REQUEST_TARGET, SIGN, NTLM, ALWAYS_SIGN, EXTENDED_SESSIONSECURITY, TARGET_INFO, 128 (MS-NLMP §2.2.2.5).
const FLAGS: u32 = 0x2088_8215;
/// Of AUTHENTICATE_MESSAGE with version and MIC.
const HEAD_LEN: usize = 88;

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn hmac_md5(key: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    let mut mac = Hmac::<Md5>::new_from_slice(key).expect("a key of any length will do");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// NEGOTIATE_MESSAGE.
pub(crate) fn negotiate() -> Vec<u8> {
    [&b"NTLMSSP\0\x01\0\0\0"[..], &FLAGS.to_le_bytes(), &[0; 16]].concat()
}

/// AUTHENTICATE_MESSAGE to a CHALLENGE_MESSAGE, and the session's key.
pub(crate) fn authenticate(challenge: &[u8]) -> Result<(Vec<u8>, [u8; 16])> {
    const WHAT: &str = "a CHALLENGE_MESSAGE";
    let word = |at: usize| {
        challenge.get(at..at + 2).and_then(|word| word.first_chunk()).map(|word| u16::from_le_bytes(*word))
    };
    let (len, start) = (word(40).context(WHAT)?, word(44).context(WHAT)?);
    let (start, end) = (usize::from(start), usize::from(start) + usize::from(len));
    let target_info = challenge.get(start..end).context(WHAT)?;
    let nonce = challenge.get(24..32).context(WHAT)?;
    // NTLMv2_CLIENT_CHALLENGE, MS-NLMP §2.2.2.7. The server's own time is in its list, too.
    let blob =
        [&[1, 1, 0, 0, 0, 0, 0, 0][..], &[0x11; 8], &[0xaa; 8], &[0; 4], target_info, &[0; 4]].concat();
    let hash = Md4::digest(utf16(PASSWORD));
    let key = hmac_md5(&hash, &[&utf16(&USER.to_uppercase()), &utf16(DOMAIN)]);
    let proof = hmac_md5(&key, &[nonce, &blob]);
    let response = [&proof[..], &blob].concat();
    let payloads = [&[0; 24], &response[..], &utf16(DOMAIN), &utf16(USER), &utf16("BENCH"), &[]];
    let mut message = b"NTLMSSP\0\x03\0\0\0".to_vec();
    let mut at = HEAD_LEN;
    for payload in payloads {
        let len = u16::try_from(payload.len())?.to_le_bytes();
        message.extend([len, len].concat());
        message.extend(u32::try_from(at)?.to_le_bytes());
        at += payload.len();
    }
    message.extend(FLAGS.to_le_bytes());
    message.resize(HEAD_LEN, 0);
    payloads.iter().for_each(|payload| message.extend(*payload));
    Ok((message, hmac_md5(&key, &[&proof])))
}
