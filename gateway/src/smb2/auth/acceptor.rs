//! The server's half of a login as SESSION_SETUP carries it: NTLM in SPNEGO, or NTLM alone, as the client begins.

use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::keys::{Direction, first_signature};
use super::messages::SIGNATURE;
use super::ntlm::{Exchange, Login, Lookup, Progress};
use super::spnego::{NTLMSSP, NegState, NegTokenInit, NegTokenResp};
use super::{AuthError, NtHash, TargetNames};

/// One login of one client.
pub struct Acceptor {
    ntlm: Exchange,
    framing: Framing,
}

/// What NTLM's messages are wrapped in.
enum Framing {
    /// The first token will tell.
    Open,
    Bare,
    Spnego {
        /// What mechListMIC is over.
        mech_types: Vec<u8>,
        /// NTLM was not the client's first choice, so it must prove that nobody cut its list (RFC 4178 §5).
        mic_required: bool,
    },
    /// A token was refused.
    Failed,
}

/// What comes after a token.
pub enum Step {
    /// This goes to the client, with STATUS_MORE_PROCESSING_REQUIRED; it will send another.
    Continue(Vec<u8>),
    /// The client is who it says.
    Done {
        /// As the client wrote it.
        user: String,
        /// As the client wrote it.
        domain: String,
        /// The key of the session (MS-SMB2 §3.3.5.5.3).
        session_key: [u8; 16],
        /// Goes to the client with success; may be empty.
        token: Vec<u8>,
    },
    /// The client does not want to say who it is. Whether it may stay is the caller's to decide.
    Anonymous {
        /// The key that it uses; it protects nothing.
        session_key: [u8; 16],
        /// Goes to the client with success; may be empty.
        token: Vec<u8>,
    },
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Continue(_) => f.write_str("Continue"),
            Self::Done { user, domain, .. } => write!(f, "Done({domain}\\{user})"),
            Self::Anonymous { .. } => f.write_str("Anonymous"),
        }
    }
}

impl Acceptor {
    /// A login that has not begun. `server_challenge` must be random; the time is in 100 ns since 1601, and goes to the
    /// client.
    #[must_use]
    pub fn new(names: TargetNames, server_challenge: [u8; 8], now_filetime: u64) -> Self {
        Self { ntlm: Exchange::new(names, server_challenge, now_filetime), framing: Framing::Open }
    }

    /// Takes the client's next token. `lookup` finds the hash for (user, domain) as the client writes them.
    ///
    /// # Errors
    /// The login is over then: every further token is malformed.
    pub fn step(
        &mut self,
        token: &[u8],
        lookup: &dyn Fn(&str, &str) -> Option<NtHash>,
    ) -> Result<Step, AuthError> {
        let step = match &self.framing {
            Framing::Open if token.starts_with(SIGNATURE) => {
                self.framing = Framing::Bare;
                self.bare(token, lookup)
            }
            Framing::Open => self.open(token, lookup),
            Framing::Bare => self.bare(token, lookup),
            Framing::Spnego { .. } => self.respond(token, lookup),
            Framing::Failed => Err(AuthError::Malformed),
        };
        if step.is_err() {
            self.framing = Framing::Failed;
        }
        step
    }

    fn bare(&mut self, token: &[u8], lookup: Lookup<'_>) -> Result<Step, AuthError> {
        Ok(match self.ntlm.step(token, lookup)? {
            Progress::Challenge(challenge) => Step::Continue(challenge),
            Progress::Finished(login) => end(login, Vec::new()),
        })
    }

    /// The client's NegTokenInit. Its optimistic token counts only if it is for NTLM.
    fn open(&mut self, token: &[u8], lookup: Lookup<'_>) -> Result<Step, AuthError> {
        let init = NegTokenInit::parse(token)?;
        let position = init.position(NTLMSSP)?.ok_or(AuthError::Unsupported)?;
        let challenge = match init.mech_token {
            Some(token) if position == 0 => match self.ntlm.step(token, lookup)? {
                Progress::Challenge(challenge) => Some(challenge),
                Progress::Finished(_) => return Err(AuthError::Malformed),
            },
            _ => None,
        };
        self.framing = Framing::Spnego { mech_types: init.mech_types, mic_required: position > 0 };
        let state = if position == 0 { NegState::AcceptIncomplete } else { NegState::RequestMic };
        let response = NegTokenResp {
            state: Some(state),
            supported_mech: Some(NTLMSSP),
            response_token: challenge.as_deref(),
            mech_list_mic: None,
        };
        Ok(Step::Continue(response.encode()))
    }

    /// A NegTokenResp of the client.
    fn respond(&mut self, token: &[u8], lookup: Lookup<'_>) -> Result<Step, AuthError> {
        let from_client = NegTokenResp::parse(token)?;
        let message = from_client.response_token.ok_or(AuthError::Malformed)?;
        let progress = self.ntlm.step(message, lookup)?;
        let mut response =
            NegTokenResp { state: Some(NegState::AcceptIncomplete), ..NegTokenResp::default() };
        let login = match progress {
            Progress::Finished(login) => login,
            Progress::Challenge(challenge) => {
                response.response_token = Some(&challenge);
                return Ok(Step::Continue(response.encode()));
            }
        };
        let ours = self.exchange_mics(&login, from_client.mech_list_mic)?;
        response.state = Some(NegState::AcceptCompleted);
        response.mech_list_mic = ours.as_ref().map(<[u8; 16]>::as_slice);
        Ok(end(login, response.encode()))
    }

    /// Checks the client's mechListMIC and makes ours. Clients that got their first choice may leave it away, and then
    /// want none.
    fn exchange_mics(&self, login: &Login, theirs: Option<&[u8]>) -> Result<Option<[u8; 16]>, AuthError> {
        let Framing::Spnego { mech_types, mic_required } = &self.framing else { return Ok(None) };
        let sign = |direction| first_signature(&login.session_key, login.negotiated, direction, mech_types);
        match theirs {
            Some(theirs) => {
                verify_slices_are_equal(&sign(Direction::ClientToServer), theirs)
                    .map_err(|_| AuthError::LogonFailure)?;
                Ok(Some(sign(Direction::ServerToClient)))
            }
            None if *mic_required => Err(AuthError::LogonFailure),
            None => Ok(None),
        }
    }
}

fn end(Login { user, session_key, .. }: Login, token: Vec<u8>) -> Step {
    match user {
        Some((user, domain)) => Step::Done { user, domain, session_key, token },
        None => Step::Anonymous { session_key, token },
    }
}
