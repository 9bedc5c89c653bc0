//! Oplocks and leases on the wire (MS-SMB2 §3.3.4.6, §3.3.4.7, §3.3.5.22): their levels, how a client is told that it has to
//! give something up, and what it answers. What breaks what is the open state's to know.

use super::dispatch::Asked;
use super::reply::{Body, Protection, Reply, Response, frame};
use super::session::Session;
use super::wire::FileId;
use super::wire::breaks::{BreakAcknowledgement, LeaseBreakAck, LeaseBreakNotification, OplockBreak};
use super::wire::create::oplock;
use super::wire::status::NtStatus;
use crate::openstate::{AnswerError, Break, Caching, Holder, LeaseId};
use crate::vserver::Vserver;
use std::fmt;
use std::sync::{Arc, Weak};

/// What an oplock of a level keeps.
pub(super) fn of_level(level: u8) -> Caching {
    match level {
        oplock::LEVEL_II => Caching::READ,
        oplock::EXCLUSIVE => Caching::READ.or(Caching::WRITE),
        oplock::BATCH => Caching::ALL,
        _ => Caching::NONE,
    }
}

/// The level of an oplock.
pub(super) fn level(state: Caching) -> u8 {
    match (state.has(Caching::WRITE), state.has(Caching::HANDLE)) {
        (true, true) => oplock::BATCH,
        (true, false) => oplock::EXCLUSIVE,
        (false, _) if state.has(Caching::READ) => oplock::LEVEL_II,
        (false, _) => oplock::NONE,
    }
}

/// Tells the client of an open that its oplock is broken.
#[derive(Debug)]
pub(super) struct OplockHolder {
    pub(super) session: Weak<Session>,
    pub(super) id: FileId,
}

impl Holder for OplockHolder {
    fn tell(&self, news: Break) {
        let Some(session) = self.session.upgrade() else { return };
        let news = OplockBreak { oplock_level: level(news.to), file_id: self.id };
        send(&session, Body::of(|out| news.encode(out)));
    }
}

/// Tells a client that its lease is broken, where it opened the file last, or else by any of its connections.
pub(super) struct LeaseHolder {
    pub(super) vserver: Weak<Vserver>,
    pub(super) session: Weak<Session>,
    /// The client knows epochs.
    pub(super) counts: bool,
}

impl fmt::Debug for LeaseHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseHolder").field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl Holder for LeaseHolder {
    fn tell(&self, news: Break) {
        let Some(lease) = news.lease else { return };
        let alive = |session: &Arc<Session>| {
            session.connection().is_some_and(|connection| !connection.gone.is_cancelled())
        };
        let elsewhere = || self.vserver.upgrade()?.smb.session_of(&lease.client);
        let Some(session) = self.session.upgrade().filter(alive).or_else(elsewhere) else { return };
        let news = LeaseBreakNotification {
            new_epoch: if self.counts { news.epoch } else { 0 },
            ack_required: news.answer,
            key: lease.key,
            current_state: news.from.bits(),
            new_state: news.to.bits(),
        };
        send(&session, Body::of(|out| news.encode(out)));
    }
}

/// Notifications are of no session; but where a session has to be encrypted, so is all that its client hears (§3.3.4.6).
fn send(session: &Session, body: Body) {
    let Some(connection) = session.connection() else { return };
    let protection = match &session.keys {
        Some(keys) if session.sealing_required => Protection::Sealed(Arc::clone(&keys.send)),
        _ => Protection::None,
    };
    connection.send(frame(vec![Response::notification(body, protection)]));
}

/// OPLOCK_BREAK from a client: what it keeps.
pub(super) fn answer(asked: &Asked) -> Reply {
    let locks = &asked.connection.listener.vserver.locks;
    match BreakAcknowledgement::decode(&asked.message)? {
        BreakAcknowledgement::Oplock(said) => {
            let open = asked.session.open(asked.id(said.file_id)?, &asked.tree)?;
            let keeps = |state| {
                locks
                    .answer_oplock(open.key, &open.owner, state)
                    .map_err(|_| NtStatus::INVALID_OPLOCK_PROTOCOL)
            };
            let left = match said.oplock_level {
                oplock::NONE | oplock::LEVEL_II => keeps(of_level(said.oplock_level))?,
                wrong => {
                    keeps(Caching::NONE)?;
                    return Err(match wrong {
                        oplock::LEASE => NtStatus::INVALID_PARAMETER.into(),
                        _ => NtStatus::INVALID_OPLOCK_PROTOCOL.into(),
                    });
                }
            };
            let response = OplockBreak { oplock_level: level(left), file_id: open.id };
            Ok(Body::of(|out| response.encode(out)))
        }
        BreakAcknowledgement::Lease(said) => {
            let client = asked.agreed().map_or([0; 16], |agreed| agreed.client_guid);
            let lease = LeaseId { client, key: said.key };
            locks.answer_lease(lease, Caching::from_bits(said.state)).map_err(|error| match error {
                AnswerError::Unknown => NtStatus::OBJECT_NAME_NOT_FOUND,
                AnswerError::NotAsked => NtStatus::UNSUCCESSFUL,
                AnswerError::TooMuch => NtStatus::REQUEST_NOT_ACCEPTED,
            })?;
            let response = LeaseBreakAck { key: said.key, state: said.state };
            Ok(Body::of(|out| response.encode(out)))
        }
    }
}
