//! SESSION_SETUP and LOGOFF (MS-SMB2 §3.3.5.5, §3.3.5.6): NTLM in SPNEGO, lock-out, and the session's keys.

use super::auth::{Acceptor, AuthError, NtHash, Step, TargetNames};
use super::connection::{Channel, Connection};
use super::crypto::{PreauthHash, SigningAlgorithm, SigningKey};
use super::dispatch;
use super::negotiate::Agreed;
use super::reply::{Body, Failure, Protection, SendKeys};
use super::session::{Identity, Keys, Session, Terms, signing_key};
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

/// What a login is for.
#[derive(Clone)]
enum Purpose {
    /// A session of its own.
    New,
    /// The same session again (§3.3.5.5.2): its keys stay.
    Renew(Channel),
    /// One more connection of a session (§3.3.5.5.2, Binding).
    Bind(Arc<Session>),
}

/// A login that has begun.
pub(super) struct Pending {
    acceptor: Acceptor,
    preauth: PreauthHash,
    purpose: Purpose,
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

/// Runs one step of a login. `message` is the request, for the hash of what was said; `sealed`: whose keys had encrypted it.
pub(super) fn set_up(
    connection: &Arc<Connection>,
    agreed: &Agreed,
    header: &Header,
    message: &Bytes,
    sealed: Option<&Arc<Session>>,
) -> SetUp {
    let failed = |failure: Failure, protection| SetUp {
        session_id: header.session_id,
        reply: Err(failure),
        protection,
    };
    let request = match SessionSetupRequest::decode(message) {
        Ok(request) => request,
        Err(malformed) => return failed(malformed.into(), Protection::None),
    };
    let (purpose, protection) = match purpose(connection, agreed, header, message, sealed, &request) {
        Ok(known) => known,
        Err((status, protection)) => return failed(status.into(), protection),
    };
    let (id, mut pending) = match begin_or_go_on(connection, agreed, header.session_id, purpose) {
        Ok(begun) => begun,
        Err(status) => return failed(status.into(), protection),
    };
    if agreed.dialect == Dialect::Smb311 {
        pending.preauth.extend(&[message]);
    }
    let step = match step(connection, &mut pending, &request.security_buffer) {
        Ok(step) => step,
        Err(failure) => {
            if matches!(pending.purpose, Purpose::Renew(_)) {
                // Who fails to say again who it is has no session any more.
                connection.log_off(id);
            }
            return SetUp { session_id: id, reply: Err(failure), protection };
        }
    };
    let (identity, session_key, token) = match step {
        Step::Continue(token) => {
            let response = SessionSetupResponse { session_flags: 0, security_buffer: token.into() };
            let body = Body::of(|out| response.encode(out)).with_status(NtStatus::MORE_PROCESSING_REQUIRED);
            connection.put_pending(id, pending);
            return SetUp { session_id: id, reply: Ok(body), protection };
        }
        Step::Done { user, session_key, token, .. } => {
            match Identity::of(&connection.listener.vserver.users(), &user) {
                Some(identity) => (identity, Some(session_key), token),
                None => return failed(NtStatus::LOGON_FAILURE.into(), protection),
            }
        }
        Step::Anonymous { token, .. } => (Identity::nobody(), None, token),
    };
    let preauth = &pending.preauth;
    match pending.purpose {
        Purpose::New => {
            let keys = session_key.map(|key| Keys::derive(agreed, &key, preauth));
            admit(connection, agreed, id, &request, identity, keys, token)
        }
        Purpose::Renew(channel) => {
            let flags = if identity.user.is_none() { SESSION_IS_NULL } else { 0 };
            channel.session.set_identity(identity);
            SetUp { session_id: id, reply: Ok(welcome(flags, token)), protection }
        }
        Purpose::Bind(session) => {
            let key = session_key.filter(|_| identity.user == session.identity().user);
            let Some(key) = key else { return failed(NtStatus::ACCESS_DENIED.into(), protection) };
            match join(connection, &session, signing_key(agreed, &key, preauth)) {
                Ok(protection) => SetUp { session_id: id, reply: Ok(welcome(0, token)), protection },
                Err(status) => failed(status.into(), protection),
            }
        }
    }
}

fn welcome(session_flags: u16, token: Vec<u8>) -> Body {
    Body::of(|out| SessionSetupResponse { session_flags, security_buffer: token.into() }.encode(out))
}

/// What a request to log in is for, and how it is answered until that is done.
fn purpose(
    connection: &Connection,
    agreed: &Agreed,
    header: &Header,
    message: &Bytes,
    sealed: Option<&Arc<Session>>,
    request: &SessionSetupRequest,
) -> Result<(Purpose, Protection), (NtStatus, Protection)> {
    let plainly = |status| (status, Protection::None);
    let id = header.session_id;
    if request.flags & SESSION_BINDING != 0 {
        let found = connection.listener.state.session(id).filter(|session| !session.has_ended());
        let session = found.ok_or(plainly(NtStatus::USER_SESSION_DELETED))?;
        let Some(keys) = &session.keys else { return Err(plainly(NtStatus::NOT_SUPPORTED)) };
        let protection = Protection::Signed(Arc::clone(&keys.send));
        return match may_bind(connection, agreed, header, message, &session, &keys.send) {
            Ok(()) => Ok((Purpose::Bind(session), protection)),
            Err(status) => Err((status, protection)),
        };
    }
    let Some(channel) = connection.channel(id) else { return Ok((Purpose::New, Protection::None)) };
    let Some(send) = &channel.send else { return Ok((Purpose::Renew(channel), Protection::None)) };
    let protection = match sealed {
        Some(by) if by.id == id => Protection::Sealed(Arc::clone(send)),
        Some(_) => return Err(plainly(NtStatus::ACCESS_DENIED)),
        None if header.is_signed() => {
            dispatch::verify(send, header, message).map_err(plainly)?;
            Protection::Signed(Arc::clone(send))
        }
        None if channel.session.signing_required => return Err(plainly(NtStatus::ACCESS_DENIED)),
        None => Protection::None,
    };
    Ok((Purpose::Renew(channel), protection))
}

/// Whether this connection may become one more of a session (§3.3.5.5.2).
fn may_bind(
    connection: &Connection,
    agreed: &Agreed,
    header: &Header,
    message: &Bytes,
    session: &Session,
    keys: &SendKeys,
) -> Result<(), NtStatus> {
    let (ours, theirs) = (Terms::of(agreed), session.terms);
    let gmac = SigningAlgorithm::AesGmac;
    if theirs.signing == gmac && ours.signing != gmac {
        return Err(NtStatus::REQUEST_OUT_OF_SEQUENCE);
    }
    if ours.signing == gmac && theirs.signing != gmac {
        return Err(NtStatus::NOT_SUPPORTED);
    }
    if agreed.dialect < Dialect::Smb300 {
        return Err(NtStatus::REQUEST_NOT_ACCEPTED);
    }
    if !header.is_signed() || ours.dialect != theirs.dialect || ours.cipher != theirs.cipher {
        return Err(NtStatus::INVALID_PARAMETER);
    }
    if ours.client_guid != theirs.client_guid {
        return Err(NtStatus::USER_SESSION_DELETED);
    }
    if let Some(Channel { send: Some(own), .. }) = connection.channel(session.id) {
        // It has joined already, and signs with a key of its own since.
        dispatch::verify(&own, header, message)?;
        return Err(NtStatus::REQUEST_NOT_ACCEPTED);
    }
    dispatch::verify(keys, header, message)
}

/// Makes this connection one more of a session.
fn join(
    connection: &Arc<Connection>,
    session: &Arc<Session>,
    signing: SigningKey,
) -> Result<Protection, NtStatus> {
    session.join(connection)?;
    let sealing = session.keys.as_ref().and_then(|keys| keys.send.sealing.clone());
    let send = Arc::new(SendKeys { signing, sealing });
    let channel = Channel { session: Arc::clone(session), send: Some(Arc::clone(&send)) };
    if let Err(status) = connection.put_session(channel) {
        session.leave(connection);
        return Err(status);
    }
    Ok(Protection::Signed(send))
}

/// The login that has begun, or a new one.
fn begin_or_go_on(
    connection: &Connection,
    agreed: &Agreed,
    id: u64,
    purpose: Purpose,
) -> Result<(u64, Pending), NtStatus> {
    if id != 0
        && let Some(pending) = connection.take_pending(id)
    {
        return Ok((id, pending));
    }
    let id = match purpose {
        Purpose::New if id != 0 => return Err(NtStatus::USER_SESSION_DELETED),
        Purpose::New => connection.listener.state.session_number()?,
        Purpose::Renew(_) | Purpose::Bind(_) => id,
    };
    let names = target_names(&connection.listener.vserver.name);
    let acceptor = Acceptor::new(names, super::random()?, super::filetime_now());
    Ok((id, Pending { acceptor, preauth: agreed.preauth.clone(), purpose }))
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
    agreed: &Agreed,
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
    let send = keys.as_ref().map(|keys| Arc::clone(&keys.send));
    let terms = Terms::of(agreed);
    let here = Arc::downgrade(connection);
    let session = Session::new(id, here, terms, identity, keys, signing_required, sealing_required);
    let channel = Channel { session: Arc::clone(&session), send };
    if let Err(status) = connection.put_session(channel) {
        return SetUp { session_id: id, reply: Err(status.into()), protection: Protection::None };
    }
    if request.previous_session_id != 0 {
        let vserver = &connection.listener.vserver;
        connection.listener.state.end_previous(vserver, &session, request.previous_session_id);
    }
    SetUp { session_id: id, reply: Ok(welcome(session_flags, token)), protection }
}

impl Pending {
    /// Takes what the server said of this login.
    pub(super) fn said(&mut self, response: &[&[u8]]) {
        self.preauth.extend(response);
    }
}
