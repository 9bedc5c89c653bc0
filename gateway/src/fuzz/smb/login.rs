//! NTLMv2 as a client (MS-NLMP §3.3.2), without exchange of keys: as much as a login needs.

use hmac::{Hmac, KeyInit as _, Mac as _};
use md4::{Digest as _, Md4};
use md5::Md5;

pub(super) const USER: &str = "user";
pub(super) const PASSWORD: &str = "Password";
/// UNICODE, REQUEST_TARGET, SIGN, NTLM, ALWAYS_SIGN, EXTENDED_SESSIONSECURITY, TARGET_INFO, 128.
const FLAGS: u32 = 0x2088_8215;
const HEAD_LEN: usize = 88;

pub(super) fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn hmac_md5(key: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    let mut mac = Hmac::<Md5>::new_from_slice(key).expect("a key of any length will do");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// NEGOTIATE_MESSAGE.
pub(super) fn negotiate() -> Vec<u8> {
    [&b"NTLMSSP\0\x01\0\0\0"[..], &FLAGS.to_le_bytes(), &[0; 16]].concat()
}

/// AUTHENTICATE_MESSAGE to what has a CHALLENGE_MESSAGE in it.
pub(super) fn authenticate(token: &[u8]) -> Option<Vec<u8>> {
    let begin = token.windows(8).position(|bytes| bytes == b"NTLMSSP\0")?;
    let challenge = &token[begin..];
    let word = |at: usize| Some(usize::from(u16::from_le_bytes(*challenge.get(at..at + 2)?.first_chunk()?)));
    let target_info = challenge.get(word(44)?..word(44)? + word(40)?)?;
    // NTLMv2_CLIENT_CHALLENGE, MS-NLMP §2.2.2.7.
    let blob =
        [&[1, 1, 0, 0, 0, 0, 0, 0][..], &[0x11; 8], &[0xaa; 8], &[0; 4], target_info, &[0; 4]].concat();
    let key = hmac_md5(&Md4::digest(utf16(PASSWORD)), &[&utf16(&USER.to_uppercase())]);
    let proof = hmac_md5(&key, &[challenge.get(24..32)?, &blob]);
    let response = [&proof[..], &blob].concat();
    let payloads = [&[0; 24], &response[..], &[], &utf16(USER), &[], &[]];
    let mut message = b"NTLMSSP\0\x03\0\0\0".to_vec();
    let mut at = HEAD_LEN;
    for payload in payloads {
        let len = u16::try_from(payload.len()).ok()?.to_le_bytes();
        message.extend([len, len].concat());
        message.extend(u32::try_from(at).ok()?.to_le_bytes());
        at += payload.len();
    }
    message.extend(FLAGS.to_le_bytes());
    message.resize(HEAD_LEN, 0);
    payloads.iter().for_each(|payload| message.extend(*payload));
    Some(message)
}
