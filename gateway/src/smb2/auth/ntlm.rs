//! The server's half of an NTLM exchange (MS-NLMP §3.2.5): NEGOTIATE in, CHALLENGE out, AUTHENTICATE in, verdict.
//!
//! Only NTLMv2 is taken. As the specification says (§3.2.5.2.2), a MIC is checked if the client's response says that
//! there is one. To insist on one wherever the response repeats the challenge's timestamp would shut out clients that
//! copy the target information and never send a MIC, Linux cifs among them. It would gain nothing: the word that there is
//! a MIC stands under the proof, so nobody without the password can strip it.

use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::keys::{hmac_md5, ntowf_v2, rc4};
use super::messages::{Authenticate, NtlmV2Response, encode_challenge, flags, parse_negotiate};
use super::{AuthError, NtHash, TargetNames};

/// NEGOTIATE is kept for the MIC; real ones have 32 to 100 bytes.
const NEGOTIATE_BYTES_MAX: usize = 4096;

/// What a client must have: nothing else is as strong as NTLMv2 with session security, or in Unicode.
const REQUIRED: u32 = flags::UNICODE | flags::EXTENDED_SESSIONSECURITY;
/// What a client may have if it asks.
const OPTIONAL: u32 = REQUIRED
    | flags::REQUEST_TARGET
    | flags::SIGN
    | flags::SEAL
    | flags::ALWAYS_SIGN
    | flags::STRONG_128
    | flags::STRONG_56
    | flags::KEY_EXCH;
/// What every challenge says.
const ALWAYS: u32 = flags::NTLM | flags::TARGET_TYPE_SERVER | flags::TARGET_INFO | flags::VERSION;

/// One exchange.
pub(super) struct Exchange {
    names: TargetNames,
    server_challenge: [u8; 8],
    now_filetime: u64,
    state: State,
}

enum State {
    AwaitsNegotiate,
    AwaitsAuthenticate { negotiate: Vec<u8>, challenge: Vec<u8>, offered: u32 },
    Finished,
}

pub(super) enum Progress {
    Challenge(Vec<u8>),
    Finished(Login),
}

/// Who came in.
pub(super) struct Login {
    /// User and domain as the client wrote them; `None` is anonymous.
    pub(super) user: Option<(String, String)>,
    /// ExportedSessionKey.
    pub(super) session_key: [u8; 16],
    /// The flags that both sides agreed on.
    pub(super) negotiated: u32,
}

/// Finds the password's hash of (user, domain).
pub(super) type Lookup<'a> = &'a dyn Fn(&str, &str) -> Option<NtHash>;

impl Exchange {
    pub(super) fn new(names: TargetNames, server_challenge: [u8; 8], now_filetime: u64) -> Self {
        Self { names, server_challenge, now_filetime, state: State::AwaitsNegotiate }
    }

    /// Takes the client's next message. After an error, as after the end, every other is malformed.
    pub(super) fn step(&mut self, message: &[u8], lookup: Lookup<'_>) -> Result<Progress, AuthError> {
        match std::mem::replace(&mut self.state, State::Finished) {
            State::AwaitsNegotiate => self.challenge(message).map(Progress::Challenge),
            State::AwaitsAuthenticate { negotiate, challenge, offered } => {
                let authenticate = Authenticate::parse(message)?;
                let login = self.login(&authenticate, offered, [&negotiate, &challenge], lookup)?;
                Ok(Progress::Finished(login))
            }
            State::Finished => Err(AuthError::Malformed),
        }
    }

    fn challenge(&mut self, negotiate: &[u8]) -> Result<Vec<u8>, AuthError> {
        let asked = parse_negotiate(negotiate)?;
        if negotiate.len() > NEGOTIATE_BYTES_MAX {
            return Err(AuthError::Malformed);
        }
        if asked & REQUIRED != REQUIRED {
            return Err(AuthError::Unsupported);
        }
        let offered = asked & OPTIONAL | ALWAYS;
        let challenge = encode_challenge(offered, self.server_challenge, &self.names, self.now_filetime);
        self.state = State::AwaitsAuthenticate {
            negotiate: negotiate.to_vec(),
            challenge: challenge.clone(),
            offered,
        };
        Ok(challenge)
    }

    fn login(
        &self,
        message: &Authenticate<'_>,
        offered: u32,
        before: [&[u8]; 2],
        lookup: Lookup<'_>,
    ) -> Result<Login, AuthError> {
        let negotiated = offered & message.flags;
        if message.is_anonymous() {
            let session_key = exported_session_key([0; 16], message, negotiated)?;
            return Ok(Login { user: None, session_key, negotiated });
        }
        let response = NtlmV2Response::parse(message.nt_response).ok_or(AuthError::LogonFailure)?;
        if negotiated & REQUIRED != REQUIRED {
            return Err(AuthError::Unsupported);
        }
        let says_mic = response.says_mic()?;
        let base_key = self.session_base_key(message, &response, lookup)?;
        let session_key = exported_session_key(base_key, message, negotiated)?;
        if says_mic {
            check_mic(&session_key, before, message)?;
        }
        let user = Some((message.user.clone(), message.domain.clone()));
        Ok(Login { user, session_key, negotiated })
    }

    /// SessionBaseKey, if the response proves that the client knows the password (MS-NLMP §3.3.2). A user who is not
    /// there fails after the same work as a wrong password.
    fn session_base_key(
        &self,
        message: &Authenticate<'_>,
        response: &NtlmV2Response<'_>,
        lookup: Lookup<'_>,
    ) -> Result<[u8; 16], AuthError> {
        let found = lookup(&message.user, &message.domain);
        let known = found.is_some();
        let hash = found.unwrap_or(NtHash::new([0; 16]));
        let response_key = ntowf_v2(&hash, &message.user, &message.domain);
        let proof = hmac_md5(&response_key, &[&self.server_challenge, response.client_challenge]);
        let proven = verify_slices_are_equal(&proof, response.proof).is_ok();
        if proven & known { Ok(hmac_md5(&response_key, &[&proof])) } else { Err(AuthError::LogonFailure) }
    }
}

/// ExportedSessionKey: what the client chose if keys are exchanged, else the key that both sides compute.
fn exported_session_key(
    base_key: [u8; 16],
    message: &Authenticate<'_>,
    negotiated: u32,
) -> Result<[u8; 16], AuthError> {
    if negotiated & flags::KEY_EXCH == 0 {
        return Ok(base_key);
    }
    let encrypted = message.encrypted_session_key.try_into().map_err(|_| AuthError::Malformed)?;
    Ok(rc4::<16>(&base_key, encrypted))
}

fn check_mic(
    session_key: &[u8; 16],
    before: [&[u8]; 2],
    message: &Authenticate<'_>,
) -> Result<(), AuthError> {
    let (head, mic, payload) = message.mic().ok_or(AuthError::Malformed)?;
    let expected = hmac_md5(session_key, &[before[0], before[1], head, &[0; 16], payload]);
    verify_slices_are_equal(&expected, mic).map_err(|_| AuthError::LogonFailure)
}
