//! What the SMB connections of one vserver share, whichever of its addresses they came by: who is logged in, and the numbers
//! of opens.

use super::durable::{self, Orphans};
use super::notify::Watching;
use super::open::Open;
use super::replay::Replays;
use super::session::Session;
use super::wire::status::NtStatus;
use crate::net::interface::Interface;
use crate::openstate::FileKey;
use crate::vserver::{SmbClients, Vserver};
use parking_lot::Mutex;
use std::any::Any;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Sessions and opens of a vserver.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Sessions that are logged in.
    sessions: Mutex<HashMap<u64, Weak<Session>>>,
    /// Opens whose clients are away.
    pub(super) orphans: Orphans,
    /// Where it can be reached now.
    interfaces: Mutex<Vec<Interface>>,
    /// CREATE requests that may come again.
    pub(super) replays: Replays,
    /// Who watches which directory.
    watched: Mutex<HashMap<FileKey, Vec<Weak<Watching>>>>,
    /// The last number that an open got.
    last_open: AtomicU64,
}

/// That of a vserver.
pub(super) fn of(vserver: &Vserver) -> Arc<State> {
    let state: Arc<dyn SmbClients> = Arc::clone(vserver.smb.get_or_init(|| Arc::new(State::default())));
    let state: Arc<dyn Any + Send + Sync> = state;
    state.downcast().expect("nobody else sets it")
}

/// An address by which the vserver can be reached, for as long as this is there.
pub(super) struct Reachable {
    state: Arc<State>,
    interface: Interface,
}

impl Drop for Reachable {
    fn drop(&mut self) {
        let mut interfaces = self.state.interfaces.lock();
        if let Some(at) = interfaces.iter().position(|one| *one == self.interface) {
            interfaces.remove(at);
        }
    }
}

impl State {
    /// Notes an address by which the vserver can be reached.
    pub(super) fn reachable(self: &Arc<Self>, interface: Interface) -> Reachable {
        self.interfaces.lock().push(interface);
        Reachable { state: Arc::clone(self), interface }
    }

    /// The addresses by which the vserver can be reached.
    pub(super) fn interfaces(&self) -> Vec<Interface> {
        self.interfaces.lock().clone()
    }

    /// A handle watches a directory from now on.
    pub(super) fn watched(&self, dir: FileKey, watching: &Arc<Watching>) {
        let mut watched = self.watched.lock();
        watched.retain(|_, watching| watching.iter().any(|one| one.strong_count() > 0));
        watched.entry(dir).or_default().push(Arc::downgrade(watching));
    }

    /// A file is to go with its last open: nobody is to watch it any more.
    pub(super) fn goes(&self, file: FileKey) {
        let watching = self.watched.lock().remove(&file).unwrap_or_default();
        watching.iter().filter_map(Weak::upgrade).for_each(|watching| watching.end());
    }

    /// A session that has just logged in.
    pub(super) fn add(&self, session: &Arc<Session>) {
        self.sessions.lock().insert(session.id, Arc::downgrade(session));
    }

    /// A session that is logged in, on whichever connection.
    pub(super) fn session(&self, id: u64) -> Option<Arc<Session>> {
        self.sessions.lock().get(&id).and_then(Weak::upgrade)
    }

    /// What all sessions have open.
    pub(super) fn opens(&self) -> Vec<Arc<Open>> {
        let sessions: Vec<_> = self.sessions.lock().values().filter_map(Weak::upgrade).collect();
        sessions.iter().flat_map(|session| session.opens()).collect()
    }

    /// A session of a client that can be reached.
    pub(super) fn session_of(&self, client_guid: &[u8; 16]) -> Option<Arc<Session>> {
        let sessions: Vec<_> = self.sessions.lock().values().filter_map(Weak::upgrade).collect();
        sessions.into_iter().find(|session| {
            session.connection().is_some_and(|connection| {
                let is_its = connection.agreed.get().is_some_and(|agreed| agreed.client_guid == *client_guid);
                is_its && !connection.gone.is_cancelled()
            })
        })
    }

    /// Ends a session that its client has lost (PreviousSessionId, MS-SMB2 §3.3.5.5.3). Only who is the same may.
    pub(super) fn end_previous(self: &Arc<Self>, vserver: &Arc<Vserver>, session: &Session, previous: u64) {
        if let Some(old) = self.session(previous)
            && old.id != session.id
            && old.identity().user == session.identity().user
        {
            self.end(vserver, &old, true);
        }
    }

    /// Ends a session and closes what it has open. `lost`: its client did not say so, and may come back to durable handles.
    pub(super) fn end(self: &Arc<Self>, vserver: &Arc<Vserver>, session: &Session, lost: bool) {
        self.sessions.lock().remove(&session.id);
        let inside = vserver.gate.pass_now();
        for open in session.end() {
            if lost && durable::keep(self, vserver, &open) {
                continue;
            }
            match &inside {
                Some(inside) => open.close(vserver, inside),
                None => open.abandon(vserver),
            }
        }
    }

    /// A number for a session that no other has. 32 bits, as other servers' have: some clients keep no more.
    pub(super) fn session_number(&self) -> Result<u64, NtStatus> {
        let sessions = self.sessions.lock();
        loop {
            let id = u64::from(u32::from_le_bytes(super::random()?));
            if id != 0 && !sessions.contains_key(&id) {
                return Ok(id);
            }
        }
    }

    /// A number that no other open of the vserver has.
    pub(super) fn open_number(&self) -> Result<u64, NtStatus> {
        if self.last_open.load(Ordering::Relaxed) == 0 {
            // Not those that a client may remember of this vserver from before a restart or a move.
            let first = u64::from_le_bytes(super::random()?) >> 1 & !0xFFFF_FFFF;
            let _ = self.last_open.compare_exchange(0, first, Ordering::Relaxed, Ordering::Relaxed);
        }
        Ok(self.last_open.fetch_add(1, Ordering::Relaxed) + 1)
    }
}
