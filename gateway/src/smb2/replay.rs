//! CREATE requests that may come twice (MS-SMB2 §3.3.5.9.10): a client that loses a connection before it has the response sends the
//! request again, by another connection, with the same GUID. It gets the open that the first one made, not one more.

use super::dispatch::Asked;
use super::state::State;
use super::wire::FileId;
use super::wire::negotiate::Dialect;
use super::wire::status::NtStatus;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// By which a client knows its request: the client's GUID and that of the request.
type Key = ([u8; 16], [u8; 16]);

/// Requests of a vserver's clients that may come again. Each is there for as long as its [`Eligible`] is.
#[derive(Debug, Default)]
pub(super) struct Replays {
    /// The open that it made; `None` while it is under way.
    made: Mutex<HashMap<Key, Option<FileId>>>,
}

/// `Open.IsReplayEligible`: kept by a CREATE while it is under way and then by its open, until the client uses that.
#[derive(Debug)]
pub(super) struct Eligible {
    state: Weak<State>,
    key: Key,
}

impl Eligible {
    /// The request is done.
    pub(super) fn made(&self, id: FileId) {
        if let Some(state) = self.state.upgrade()
            && let Some(made) = state.replays.made.lock().get_mut(&self.key)
        {
            *made = Some(id);
        }
    }
}

impl Drop for Eligible {
    fn drop(&mut self) {
        if let Some(state) = self.state.upgrade() {
            state.replays.made.lock().remove(&self.key);
        }
    }
}

/// What is known of a request.
pub(super) enum Known {
    /// Nothing: it may come again from now on. `None`: not in this dialect.
    New(Option<Eligible>),
    /// It has been run, and made this open.
    Made(FileId),
}

/// Looks a CREATE up by its GUID.
pub(super) fn look_up(asked: &Asked, create_guid: [u8; 16]) -> Result<Known, NtStatus> {
    let Some(agreed) = asked.agreed().filter(|agreed| agreed.dialect >= Dialect::Smb300) else {
        return Ok(Known::New(None));
    };
    let state = &asked.connection.listener.state;
    let key = (agreed.client_guid, create_guid);
    let mut made = state.replays.made.lock();
    match made.get(&key) {
        None => {
            made.insert(key, None);
            Ok(Known::New(Some(Eligible { state: Arc::downgrade(state), key })))
        }
        Some(None) => Err(NtStatus::FILE_NOT_AVAILABLE),
        Some(Some(_)) if !asked.replayed => Err(NtStatus::DUPLICATE_OBJECTID),
        Some(Some(id)) => Ok(Known::Made(*id)),
    }
}
