//! A client for tests: NTLMv2 with everything that one may do otherwise.

use super::super::keys::{Direction, first_signature, hmac_md5, ntowf_v2, rc4, utf16};
use super::super::messages::flags;
use super::super::{NtHash, der, nt_hash, spnego};

/// What the client chooses as its exported session key.
pub(in crate::smb2) const SESSION_KEY: [u8; 16] = [0x5a; 16];

/// What Linux and Samba ask for.
pub(in crate::smb2) const FLAGS: u32 = flags::UNICODE
    | flags::REQUEST_TARGET
    | flags::SIGN
    | flags::SEAL
    | flags::NTLM
    | flags::ALWAYS_SIGN
    | flags::EXTENDED_SESSIONSECURITY
    | flags::TARGET_INFO
    | flags::VERSION
    | flags::STRONG_128
    | flags::KEY_EXCH
    | flags::STRONG_56;

pub(in crate::smb2) struct Client {
    pub(in crate::smb2) user: &'static str,
    pub(in crate::smb2) hash: NtHash,
    pub(in crate::smb2) flags: u32,
    /// Say in MsvAvFlags that there is a MIC.
    pub(in crate::smb2) says_mic: bool,
    /// Put one there.
    pub(in crate::smb2) makes_mic: bool,
}

impl Default for Client {
    fn default() -> Self {
        Self { user: "user", hash: nt_hash("Password"), flags: FLAGS, says_mic: true, makes_mic: true }
    }
}

impl Client {
    pub(in crate::smb2) fn negotiate(&self) -> Vec<u8> {
        let head = [&b"NTLMSSP\0"[..], &1u32.to_le_bytes(), &self.flags.to_le_bytes(), &[0; 16]].concat();
        [head, vec![6, 1, 0, 0, 0, 0, 0, 15]].concat()
    }

    pub(in crate::smb2) fn authenticate(&self, challenge: &[u8]) -> Vec<u8> {
        let target_info = &challenge[payload(challenge, 40)];
        let mut blob = vec![1, 1, 0, 0, 0, 0, 0, 0];
        blob.extend([0x11; 8]); // time
        blob.extend([0xaa; 8]); // challenge of the client
        blob.extend([0; 4]);
        blob.extend(&target_info[..target_info.len() - 4]);
        if self.says_mic {
            blob.extend([6, 0, 4, 0, 2, 0, 0, 0]);
        }
        blob.extend([0; 8]);
        let response_key = ntowf_v2(&self.hash, self.user, "WORKGROUP");
        let proof = hmac_md5(&response_key, &[&challenge[24..32], &blob]);
        let base_key = hmac_md5(&response_key, &[&proof]);
        let exchanged = self.flags & flags::KEY_EXCH != 0;
        let encrypted = if exchanged { rc4(&base_key, SESSION_KEY).to_vec() } else { Vec::new() };
        let nt_response = [&proof[..], &blob].concat();
        let mut message = message(
            &[&[0; 24], &nt_response, &utf16("WORKGROUP"), &utf16(self.user), &utf16("LAPTOP"), &encrypted],
            self.flags,
        );
        if self.makes_mic {
            let key = if exchanged { SESSION_KEY } else { base_key };
            let mic = hmac_md5(&key, &[&self.negotiate(), challenge, &message]);
            message[72..88].copy_from_slice(&mic);
        }
        message
    }

    pub(in crate::smb2) fn mech_list_mic(&self, mech_types: &[u8]) -> [u8; 16] {
        first_signature(&SESSION_KEY, self.flags, Direction::ClientToServer, mech_types)
    }
}

/// Where the payload is whose length and place stand at `at`.
pub(in crate::smb2) fn payload(message: &[u8], at: usize) -> std::ops::Range<usize> {
    let length = usize::from(u16::from_le_bytes([message[at], message[at + 1]]));
    let start = usize::from(u16::from_le_bytes([message[at + 4], message[at + 5]]));
    start..start + length
}

/// AUTHENTICATE_MESSAGE of LM and NT response, domain, user, workstation, session key; its MIC is zero.
pub(in crate::smb2) fn message(payloads: &[&[u8]; 6], flags: u32) -> Vec<u8> {
    let mut bytes = [&b"NTLMSSP\0"[..], &3u32.to_le_bytes()].concat();
    let mut at = 88;
    for payload in payloads {
        let length = u16::try_from(payload.len()).unwrap();
        bytes.extend([length.to_le_bytes(), length.to_le_bytes()].concat());
        bytes.extend(u32::to_le_bytes(at));
        at += u32::from(length);
    }
    bytes.extend(flags.to_le_bytes());
    bytes.extend([6, 1, 0, 0, 0, 0, 0, 15]);
    bytes.extend([0; 16]);
    payloads.iter().for_each(|payload| bytes.extend(*payload));
    bytes
}

/// MechTypeList as it goes into a mechListMIC.
pub(in crate::smb2) fn mech_types(mechanisms: &[&[u8]]) -> Vec<u8> {
    let types: Vec<u8> =
        mechanisms.iter().flat_map(|oid| der::element(der::OBJECT_IDENTIFIER, &[oid])).collect();
    der::element(der::SEQUENCE, &[&types])
}

/// NegTokenInit of a client.
pub(in crate::smb2) fn init(mechanisms: &[&[u8]], token: Option<&[u8]>) -> Vec<u8> {
    let offer = spnego::offer(mechanisms);
    let Some(token) = token else { return offer };
    let types = der::element(der::context(0), &[&mech_types(mechanisms)]);
    let token = der::element(der::context(2), &[&der::element(der::OCTET_STRING, &[token])]);
    let fields = der::element(der::context(0), &[&der::element(der::SEQUENCE, &[&types, &token])]);
    let oid = der::element(der::OBJECT_IDENTIFIER, &[&[0x2b, 6, 1, 5, 5, 2]]);
    der::element(der::INITIAL_CONTEXT_TOKEN, &[&oid, &fields])
}

/// NegTokenResp of a client.
pub(in crate::smb2) fn respond(token: &[u8], mic: Option<&[u8]>) -> Vec<u8> {
    let response = spnego::NegTokenResp {
        response_token: Some(token),
        mech_list_mic: mic,
        ..spnego::NegTokenResp::default()
    };
    response.encode()
}
