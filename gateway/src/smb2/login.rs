//! SESSION_SETUP and LOGOFF (MS-SMB2 §3.3.5.5, §3.3.5.6): NTLM in SPNEGO, lock-out, and the session's keys.

use super::auth::{Acceptor, AuthError, NtHash, Step, TargetNames};
use super::connection::Connection;
use super::crypto::PreauthHash;
use super::negotiate::Agreed;
use super::reply::{Body, Failure, Protection};
use super::session::{Identity, Keys, Session};
use super::wire::header::Header;
use super::wire::negotiate::{Dialect, SIGNING_REQUIRED};
use super::wire::session::{
    SESSION_BINDING, SESSION_ENCRYPT_DATA, SESSION_IS_NULL, SessionSetupRequest, SessionSetupResponse,
};
use super::wire::status::NtStatus;
use crate::vserver::Encryption;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;

/// A login that has begun.
pub(super) struct Pending {
    acceptor: Acceptor,
    preauth: PreauthHash,
}

/// What became of a SESSION_SETUP request.
pub(super) struct SetUp {
    pub(super) session_id: u64,
    pub(super) reply: Result<Body, Failure>,
    pub(super) protection: Protection,
}

/// What a vserver is called where names are short and have no case; its domain is called the same.
pub(super) fn netbios_name(vserver: &str) -> String {
    vserver.chars().take(15).collect::<String>().to_uppercase()
}

fn target_names(vserver: &str) -> TargetNames {
    let netbios = netbios_name(vserver);
    TargetNames {
        netbios_computer: netbios.clone(),
        netbios_domain: netbios,
        dns_computer: vserver.to_lowercase(),
        dns_domain: String::new(),
    }
}

/// Runs one step of a login. `message` is the request, for the hash of what was said.
pub(super) fn set_up(
    connection: &Arc<Connection>,
    agreed: &Agreed,
    header: &Header,
    message: &Bytes,
) -> SetUp {
    let failed = |session_id, failure: Failure| SetUp {
        session_id,
        reply: Err(failure),
        protection: Protection::None,
    };
    let request = match SessionSetupRequest::decode(message) {
        Ok(request) => request,
        Err(malformed) => return failed(header.session_id, malformed.into()),
    };
    if request.flags & SESSION_BINDING != 0 {
        // No multichannel.
        return failed(header.session_id, NtStatus::REQUEST_NOT_ACCEPTED.into());
    }
    let begun = if header.session_id == 0 {
        begin(connection, agreed)
    } else {
        resume(connection, header.session_id)
    };
    let (id, mut pending) = match begun {
        Ok(begun) => begun,
        Err(status) => return failed(header.session_id, status.into()),
    };
    if agreed.dialect == Dialect::Smb311 {
        pending.preauth.extend(&[message]);
    }
    match step(connection, &mut pending, &request.security_buffer) {
        Ok(Step::Continue(token)) => {
            let response = SessionSetupResponse { session_flags: 0, security_buffer: token.into() };
            let body = Body::of(|out| response.encode(out)).with_status(NtStatus::MORE_PROCESSING_REQUIRED);
            connection.put_pending(id, pending);
            SetUp { session_id: id, reply: Ok(body), protection: Protection::None }
        }
        Ok(Step::Done { user, session_key, token, .. }) => {
            let Some(identity) = Identity::of(&connection.listener.vserver.users(), &user) else {
                return failed(id, NtStatus::LOGON_FAILURE.into());
            };
            let keys = Keys::derive(agreed, &session_key, &pending.preauth);
            admit(connection, id, &request, identity, Some(keys), token)
        }
        Ok(Step::Anonymous { token, .. }) => admit(connection, id, &request, Identity::nobody(), None, token),
        Err(error) => failed(id, error),
    }
}

fn begin(connection: &Connection, agreed: &Agreed) -> Result<(u64, Pending), NtStatus> {
    let challenge = super::random()?;
    let names = target_names(&connection.listener.vserver.name);
    let acceptor = Acceptor::new(names, challenge, super::filetime_now());
    let id = u64::from_le_bytes(super::random()?) | 1;
    Ok((id, Pending { acceptor, preauth: agreed.preauth.clone() }))
}

/// The next token of a login that has begun, or the first of one that is to renew a session.
fn resume(connection: &Connection, id: u64) -> Result<(u64, Pending), NtStatus> {
    if let Some(pending) = connection.take_pending(id) {
        return Ok((id, pending));
    }
    match connection.session(id) {
        // A session ends when its connection does; nothing here expires before.
        Some(_) => Err(NtStatus::REQUEST_NOT_ACCEPTED),
        None => Err(NtStatus::USER_SESSION_DELETED),
    }
}

fn step(connection: &Connection, pending: &mut Pending, token: &[u8]) -> Result<Step, Failure> {
    let vserver = &connection.listener.vserver;
    let (users, now) = (vserver.users(), Instant::now());
    let asked = std::cell::Cell::new(None);
    let lookup = |name: &str, _domain: &str| {
        let user = users.get(name)?;
        asked.set(Some(user.rid));
        let open = user.enabled && !vserver.lockout.is_locked(user.rid, now);
        open.then(|| NtHash::new(*user.nt_hash()))
    };
    let step = pending.acceptor.step(token, &lookup);
    match (&step, asked.get()) {
        (Ok(Step::Done { .. }), Some(rid)) => vserver.lockout.forget(rid),
        (Err(AuthError::LogonFailure), Some(rid)) => {
            if vserver.lockout.is_locked(rid, now) {
                return Err(NtStatus::ACCOUNT_LOCKED_OUT.into());
            }
            if vserver.lockout.failed(rid, now) {
                tracing::warn!(vserver = vserver.name, client = %connection.client, rid, "user locked out");
            }
        }
        _ => {}
    }
    step.map_err(|error| {
        tracing::info!(vserver = vserver.name, client = %connection.client, %error, "SMB login refused");
        Failure::from(match error {
            AuthError::Malformed => NtStatus::INVALID_PARAMETER,
            AuthError::LogonFailure => NtStatus::LOGON_FAILURE,
            AuthError::Unsupported => NtStatus::NOT_SUPPORTED,
        })
    })
}

fn admit(
    connection: &Arc<Connection>,
    id: u64,
    request: &SessionSetupRequest,
    identity: Identity,
    keys: Option<Keys>,
    token: Vec<u8>,
) -> SetUp {
    let shares = connection.listener.vserver.shares();
    let can_seal = keys.as_ref().is_some_and(|keys| keys.send.sealing.is_some());
    let seal = shares.settings.encryption;
    if seal == Encryption::Required && !can_seal {
        return SetUp {
            session_id: id,
            reply: Err(NtStatus::ACCESS_DENIED.into()),
            protection: Protection::None,
        };
    }
    let sealing_required = can_seal && seal == Encryption::Required;
    let client_requires = u16::from(request.security_mode) & SIGNING_REQUIRED != 0;
    let signing_required = keys.is_some() && (shares.settings.signing_required || client_requires);
    let mut session_flags = if identity.user.is_none() { SESSION_IS_NULL } else { 0 };
    if can_seal && seal != Encryption::Off {
        session_flags |= SESSION_ENCRYPT_DATA;
    }
    let protection =
        keys.as_ref().map_or(Protection::None, |keys| Protection::Signed(Arc::clone(&keys.send)));
    let session =
        Session::new(id, Arc::downgrade(connection), identity, keys, signing_required, sealing_required);
    if let Err(status) = connection.put_session(Arc::clone(&session)) {
        return SetUp { session_id: id, reply: Err(status.into()), protection: Protection::None };
    }
    if request.previous_session_id != 0 {
        let vserver = &connection.listener.vserver;
        connection.listener.state.end_previous(vserver, &session, request.previous_session_id);
    }
    let response = SessionSetupResponse { session_flags, security_buffer: token.into() };
    SetUp { session_id: id, reply: Ok(Body::of(|out| response.encode(out))), protection }
}

impl Pending {
    /// Takes what the server said of this login.
    pub(super) fn said(&mut self, response: &[&[u8]]) {
        self.preauth.extend(response);
    }
}
