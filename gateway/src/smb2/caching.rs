//! Oplocks and leases on the wire (MS-SMB2 §3.3.4.6, §3.3.4.7, §3.3.5.22): their levels, how a client is told that it has to
//! give something up, and what it answers. What breaks what is the open state's to know.

use super::dispatch::{Answer, Asked, Done};
use super::reply::{Body, Protection, Reply, Response, frame};
use super::session::Session;
use super::set;
use super::state::State;
use super::wire::FileId;
use super::wire::breaks::{BreakAcknowledgement, LeaseBreakAck, LeaseBreakNotification, OplockBreak};
use super::wire::create::oplock;
use super::wire::info::{SetInfoRequest, file_class, info_type};
use super::wire::status::NtStatus;
use crate::openstate::{AnswerError, Break, BreakWait, Caching, Deed, Holder, LeaseId};
use crate::vserver::{GatePass, Vserver};
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

/// How the client of an open is told that something that it keeps is broken.
pub(super) fn holder(asked: &Asked, id: FileId, leased: bool) -> Arc<dyn Holder> {
    let listener = &asked.connection.listener;
    let client = Reachable {
        state: Arc::downgrade(&listener.state),
        vserver: Arc::downgrade(&listener.vserver),
        session: Arc::downgrade(&asked.session),
    };
    if leased { Arc::new(LeaseHolder(client)) } else { Arc::new(OplockHolder { client, id }) }
}

/// The same for an open whose client is away.
pub(super) fn holder_of_orphan(
    state: &Arc<State>,
    vserver: &Arc<Vserver>,
    id: FileId,
    leased: bool,
) -> Arc<dyn Holder> {
    let client =
        Reachable { state: Arc::downgrade(state), vserver: Arc::downgrade(vserver), session: Weak::new() };
    if leased { Arc::new(LeaseHolder(client)) } else { Arc::new(OplockHolder { client, id }) }
}

/// A client, where it asked for something to keep.
#[derive(Debug)]
struct Reachable {
    state: Weak<State>,
    vserver: Weak<Vserver>,
    session: Weak<Session>,
}

impl Reachable {
    /// The session, if somebody is there.
    fn session(&self) -> Option<Arc<Session>> {
        let session = self.session.upgrade().filter(|session| !session.has_ended())?;
        session.connection().filter(|connection| !connection.gone.is_cancelled())?;
        Some(session)
    }
}

/// Tells the client of an open that its oplock is broken. An open that has no client any more goes.
#[derive(Debug)]
struct OplockHolder {
    client: Reachable,
    id: FileId,
}

impl Holder for OplockHolder {
    fn tell(&self, news: Break) {
        if let Some(session) = self.client.session() {
            let news = OplockBreak { oplock_level: level(news.to), file_id: self.id };
            send(&session, Body::of(|out| news.encode(out)));
        } else if let (Some(state), Some(vserver)) =
            (self.client.state.upgrade(), self.client.vserver.upgrade())
        {
            state.orphans.drop_one(&vserver, self.id.persistent);
        }
    }
}

/// Tells a client that its lease is broken, where it asked for it first, or else by any of its connections. Opens that
/// have no client any more go (§3.3.4.7).
#[derive(Debug)]
struct LeaseHolder(Reachable);

impl Holder for LeaseHolder {
    fn tell(&self, news: Break) {
        let Some(lease) = news.lease else { return };
        let (Some(state), Some(vserver)) = (self.0.state.upgrade(), self.0.vserver.upgrade()) else { return };
        for orphan in state.orphans.of_lease(lease) {
            state.orphans.drop_one(&vserver, orphan.id.persistent);
        }
        if vserver.locks.lease_file(lease).is_none() {
            return;
        }
        let here = self.0.session();
        let Some(session) = here.or_else(|| state.session_of(&lease.client)) else { return };
        let news = LeaseBreakNotification {
            new_epoch: news.epoch.unwrap_or(0),
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

/// Waits, outside of the gate, until others have given up what was in the way, and comes in again.
pub(super) async fn way_made(asked: &Asked, wait: BreakWait) -> Result<GatePass, NtStatus> {
    let give_up = &asked.give_up;
    give_up.run_until_cancelled(wait.over()).await.ok_or(NtStatus::CANCELLED)?;
    let entered = give_up.run_until_cancelled(asked.connection.listener.vserver.gate.enter()).await;
    let inside = entered.ok_or(NtStatus::CANCELLED)?.map_err(|_| NtStatus::NETWORK_NAME_DELETED)?;
    if asked.session.has_ended() || asked.session.tree(asked.tree.id).is_none() {
        return Err(NtStatus::NETWORK_NAME_DELETED);
    }
    Ok(inside)
}

/// SET_INFO: a file gets another name when nobody else keeps handles of it any more.
pub(super) async fn set(asked: Asked, inside: GatePass) -> Answer {
    let Some(mut wait) = kept_from_renaming(&asked) else { return Answer::from(set::set(&asked).await) };
    drop(inside);
    Answer::Later(Box::pin(async move {
        loop {
            let inside = way_made(&asked, wait).await;
            wait = match (inside, kept_from_renaming(&asked)) {
                (Err(status), _) => return Done::from(Err(status.into())),
                (Ok(_), Some(wait)) => wait,
                (Ok(_inside), None) => return Done::from(set::set(&asked).await),
            };
        }
    }))
}

fn kept_from_renaming(asked: &Asked) -> Option<BreakWait> {
    let locks = &asked.connection.listener.vserver.locks;
    if !locks.is_anything_cached() {
        return None;
    }
    let request = SetInfoRequest::decode(&asked.message).ok()?;
    let renames = request.info_type == info_type::FILE
        && matches!(request.info_class, file_class::RENAME | file_class::RENAME_EX);
    if !renames {
        return None;
    }
    // What is wrong with it is said by whoever does it.
    let open = asked.session.open(asked.id(request.file_id).ok()?, &asked.tree).ok()?;
    locks.contend(open.key, Deed::Unname, Some(&open.owner))
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
