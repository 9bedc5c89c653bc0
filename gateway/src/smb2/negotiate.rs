//! NEGOTIATE (MS-SMB2 §3.3.5.3, §3.3.5.4): what a connection speaks, signs and encrypts with.

use super::Listener;
use super::auth::spnego;
use super::crypto::{Cipher, PreauthHash, SigningAlgorithm};
use super::reply::{Body, Failure};
use super::wire::fsctl::{ValidateNegotiate, put_validated};
use super::wire::header::{Command, Header, Id};
use super::wire::negotiate::*;
use super::wire::negotiate_contexts::{HASH_SHA512, NegotiateReplyContexts};
use super::wire::status::NtStatus;
use bytes::{Bytes, BytesMut};

/// Most bytes that one READ, WRITE or other transfer has.
pub(super) const TRANSFER_MAX: u32 = 8 << 20;
/// The same without multi-credit requests (2.0.2).
const TRANSFER_MAX_202: u32 = 64 << 10;

/// What a connection's two ends agreed on.
#[derive(Clone, Debug)]
pub(super) struct Agreed {
    pub(super) dialect: Dialect,
    pub(super) signing: SigningAlgorithm,
    /// `None`: this connection can't encrypt.
    pub(super) cipher: Option<Cipher>,
    pub(super) client_guid: [u8; 16],
    pub(super) client_capabilities: u32,
    pub(super) client_security_mode: u16,
    /// What the client offered, for FSCTL_VALIDATE_NEGOTIATE_INFO.
    pub(super) capabilities: u32,
    /// Of dialect 3.1.1: over request and response.
    pub(super) preauth: PreauthHash,
}

impl Agreed {
    /// Dialect 2.0.2, as an SMB1 frame asks for it.
    pub(super) fn smb_202() -> Agreed {
        Agreed {
            dialect: Dialect::Smb202,
            signing: SigningAlgorithm::HmacSha256,
            cipher: None,
            client_guid: [0; 16],
            client_capabilities: 0,
            client_security_mode: 0,
            capabilities: 0,
            preauth: PreauthHash::default(),
        }
    }

    pub(super) fn transfer_max(&self) -> u32 {
        if self.dialect == Dialect::Smb202 { TRANSFER_MAX_202 } else { TRANSFER_MAX }
    }
}

/// What the server says of its own signing.
pub(super) fn security_mode(listener: &Listener) -> u16 {
    let required = listener.vserver.shares().settings.signing_required;
    SIGNING_ENABLED | if required { SIGNING_REQUIRED } else { 0 }
}

/// Answers an SMB1 frame that offers SMB 2 (§3.3.5.3).
pub(super) fn answer_smb1(listener: &Listener, dialect_revision: u16) -> Body {
    let transfer = TRANSFER_MAX_202;
    Body::of(|out| response(listener, dialect_revision, 0, transfer, None).encode(out))
}

/// What the response to an SMB1 frame answers.
pub(super) fn smb1_header() -> Header {
    Header {
        credit_charge: 0,
        channel_sequence: 0,
        status: NtStatus::SUCCESS,
        command: Command::Negotiate as u16,
        credits: 1,
        flags: 0,
        next_command: 0,
        message_id: 0,
        id: Id::Sync { tree_id: 0 },
        session_id: 0,
        signature: [0; 16],
    }
}

/// Answers NEGOTIATE.
pub(super) fn negotiate(listener: &Listener, request: NegotiateRequest) -> Result<(Agreed, Body), Failure> {
    let dialect = request.best_dialect().ok_or(NtStatus::NOT_SUPPORTED)?;
    let (mut cipher, mut signing) = match dialect {
        Dialect::Smb202 | Dialect::Smb210 => (None, SigningAlgorithm::HmacSha256),
        Dialect::Smb300 | Dialect::Smb302 => {
            let can = request.capabilities & CAP_ENCRYPTION != 0;
            (can.then_some(Cipher::Aes128Ccm), SigningAlgorithm::AesCmac)
        }
        Dialect::Smb311 => (None, SigningAlgorithm::AesCmac),
    };
    let mut contexts = None;
    if dialect == Dialect::Smb311 {
        let offered = request.contexts.as_ref().ok_or(NtStatus::INVALID_PARAMETER)?;
        let hashes = offered.preauth_hashes.as_ref().ok_or(NtStatus::INVALID_PARAMETER)?;
        if !hashes.contains(&HASH_SHA512) {
            return Err(NtStatus::SMB_NO_PREAUTH_INTEGRITY_HASH_OVERLAP.into());
        }
        // Galois mode first: it is the faster one by far.
        let ciphers = [Cipher::Aes128Gcm, Cipher::Aes256Gcm, Cipher::Aes128Ccm, Cipher::Aes256Ccm];
        let ours = |offers: &Vec<u16>| ciphers.into_iter().find(|cipher| offers.contains(&cipher.id()));
        cipher = offered.ciphers.as_ref().and_then(ours);
        let algorithms = [SigningAlgorithm::AesGmac, SigningAlgorithm::AesCmac, SigningAlgorithm::HmacSha256];
        let chosen = offered
            .signing
            .as_ref()
            .and_then(|offers| algorithms.into_iter().find(|algorithm| offers.contains(&algorithm.id())));
        signing = chosen.unwrap_or(signing);
        contexts = Some(NegotiateReplyContexts {
            preauth_salt: super::random()?,
            cipher: offered.ciphers.as_ref().map(|_| cipher.map_or(0, Cipher::id)),
            signing: chosen.map(SigningAlgorithm::id),
        });
    }
    let mut capabilities = if dialect == Dialect::Smb202 { 0 } else { CAP_LARGE_MTU | CAP_LEASING };
    if matches!(dialect, Dialect::Smb300 | Dialect::Smb302) && cipher.is_some() {
        capabilities |= CAP_ENCRYPTION;
    }
    let agreed = Agreed {
        dialect,
        signing,
        cipher,
        client_guid: request.client_guid,
        client_capabilities: request.capabilities,
        client_security_mode: request.security_mode,
        capabilities,
        preauth: PreauthHash::default(),
    };
    let transfer = agreed.transfer_max();
    let response = response(listener, dialect as u16, capabilities, transfer, contexts);
    Ok((agreed, Body::of(|out| response.encode(out))))
}

fn response(
    listener: &Listener,
    dialect_revision: u16,
    capabilities: u32,
    transfer: u32,
    contexts: Option<NegotiateReplyContexts>,
) -> NegotiateResponse {
    NegotiateResponse {
        security_mode: security_mode(listener),
        dialect_revision,
        server_guid: listener.guid(),
        capabilities,
        max_transact_size: transfer,
        max_read_size: transfer,
        max_write_size: transfer,
        system_time: super::filetime_now(),
        server_start_time: 0,
        security_buffer: Bytes::from(spnego::offer(&[spnego::NTLMSSP])),
        contexts,
    }
}

/// FSCTL_VALIDATE_NEGOTIATE_INFO (§3.3.5.15.12): whether what was agreed on is what both had said. `None`: it is not, and
/// the connection has to end.
pub(super) fn validate(listener: &Listener, agreed: &Agreed, input: &[u8]) -> Option<Bytes> {
    let said = ValidateNegotiate::decode(input).ok()?;
    let best = said.dialects.iter().filter_map(|number| Dialect::of(*number)).max();
    let same = said.capabilities == agreed.client_capabilities
        && said.client_guid == agreed.client_guid
        && said.security_mode == agreed.client_security_mode
        && best == Some(agreed.dialect);
    same.then(|| {
        let mut output = BytesMut::new();
        let (guid, mode) = (listener.guid(), security_mode(listener));
        put_validated(agreed.capabilities, &guid, mode, agreed.dialect as u16, &mut output);
        output.freeze()
    })
}
