//! Durable handles (MS-SMB2 §3.3.5.9.6, §3.3.5.9.7, §3.3.5.9.10, §3.3.5.9.12, §3.3.7.1): opens whose client keeps handles outlive
//! its connection for a while, with all that they hold. Who is in the way of one meanwhile makes it go.

use super::open::Open;
use super::state::State;
use super::tree::Tree;
use super::wire::create_contexts::CreateContext;
use super::wire::lease::LeaseKey;
use super::wire::status::NtStatus;
use crate::openstate::LeaseId;
use crate::vserver::{SMB_HANDLES_MAX, Vserver};
use fsstore::FileKind;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// For how long a client may be away that does not say.
const AWAY: Duration = Duration::from_secs(60);
/// The longest that one may ask for.
pub(super) const AWAY_MAX: Duration = Duration::from_secs(300);

/// What an open needs to be found again.
#[derive(Clone, Debug)]
pub(super) struct Durable {
    /// Of version 2: by which the client knows the request that made it.
    pub(super) create_guid: Option<[u8; 16]>,
    /// For how long it outlives its connection.
    pub(super) away: Duration,
    /// Whose it is.
    pub(super) user: Option<String>,
}

/// What a CREATE asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asks {
    Nothing,
    /// A handle that outlives its connection.
    New {
        create_guid: Option<[u8; 16]>,
        away: Duration,
    },
    /// A handle that did.
    Back {
        id: u64,
        create_guid: Option<[u8; 16]>,
    },
}

/// What a CREATE's contexts ask, if they go together.
pub(super) fn asks(contexts: &[CreateContext]) -> Result<Asks, NtStatus> {
    let (mut first, mut second) = (Asks::Nothing, Asks::Nothing);
    let mut seconds = 0;
    for context in contexts {
        match context {
            CreateContext::DurableReconnect { file_id } => {
                first = Asks::Back { id: file_id.persistent, create_guid: None };
            }
            // Who comes back asks for what it has.
            CreateContext::DurableRequest if first == Asks::Nothing => {
                first = Asks::New { create_guid: None, away: AWAY };
            }
            CreateContext::DurableRequestV2 { timeout_ms, create_guid, .. } => {
                let asked = Duration::from_millis(u64::from(*timeout_ms)).min(AWAY_MAX);
                let away = if asked.is_zero() { AWAY } else { asked };
                second = Asks::New { create_guid: Some(*create_guid), away };
                seconds += 1;
            }
            CreateContext::DurableReconnectV2 { file_id, create_guid, .. } => {
                second = Asks::Back { id: file_id.persistent, create_guid: Some(*create_guid) };
                seconds += 1;
            }
            _ => {}
        }
    }
    match (first, second) {
        (first, Asks::Nothing) => Ok(first),
        (Asks::Nothing, second) if seconds == 1 => Ok(second),
        _ => Err(NtStatus::INVALID_PARAMETER),
    }
}

/// Who comes back, and to what.
pub(super) struct Returning<'a> {
    pub(super) id: u64,
    pub(super) create_guid: Option<[u8; 16]>,
    pub(super) user: Option<&'a str>,
    pub(super) client_guid: [u8; 16],
    pub(super) lease: Option<LeaseKey>,
    pub(super) name: &'a str,
    pub(super) tree: &'a Tree,
}

impl Returning<'_> {
    fn check(&self, open: &Open) -> Result<(), NtStatus> {
        let durable = open.durable.as_ref().ok_or(NtStatus::OBJECT_NAME_NOT_FOUND)?;
        let lease = self.lease.map(|key| LeaseId { client: self.client_guid, key });
        // Version 1 knows no GUIDs, and a handle of version 1 has that of zeros.
        if self.create_guid.is_some_and(|guid| guid != durable.create_guid.unwrap_or_default())
            || open.lease != lease
            || open.tree.dir().ok() != self.tree.dir().ok()
        {
            return Err(NtStatus::OBJECT_NAME_NOT_FOUND);
        }
        if durable.user.as_deref() != self.user {
            return Err(NtStatus::ACCESS_DENIED);
        }
        let same_name = open.name.lock().path.eq_ignore_ascii_case(self.name.trim_start_matches('\\'));
        if lease.is_some() && !same_name { Err(NtStatus::INVALID_PARAMETER) } else { Ok(()) }
    }
}

/// Opens of a vserver whose clients are away, by the persistent parts of their ids.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    opens: Mutex<HashMap<u64, Orphan>>,
}

#[derive(Debug)]
struct Orphan {
    open: Arc<Open>,
    until: Instant,
}

impl Orphans {
    /// Gives an open back to its client.
    pub(super) fn take(&self, who: &Returning<'_>) -> Result<Arc<Open>, NtStatus> {
        let mut opens = self.opens.lock();
        let found = opens.get(&who.id).ok_or(NtStatus::OBJECT_NAME_NOT_FOUND)?;
        who.check(&found.open)?;
        opens.remove(&who.id).map(|orphan| orphan.open).ok_or(NtStatus::OBJECT_NAME_NOT_FOUND)
    }

    /// Those that share a lease.
    pub(super) fn of_lease(&self, lease: LeaseId) -> Vec<Arc<Open>> {
        let opens = self.opens.lock();
        let opens = opens.values().map(|orphan| &orphan.open);
        opens.filter(|open| open.lease == Some(lease)).cloned().collect()
    }

    /// All, and for how long they stay.
    pub(super) fn all(&self) -> Vec<(Arc<Open>, Duration)> {
        let now = Instant::now();
        let left = |orphan: &Orphan| (Arc::clone(&orphan.open), orphan.until.duration_since(now));
        self.opens.lock().values().map(left).collect()
    }

    /// Ends an open, if it still is without its client: it is in somebody's way. It gives up what it holds at once.
    pub(super) fn drop_one(&self, vserver: &Vserver, id: u64) {
        let orphan = self.opens.lock().remove(&id);
        if let Some(orphan) = orphan {
            orphan.open.abandon(vserver);
        }
    }
}

/// Whether an open would be kept if its connection went now.
pub(super) fn outlives(vserver: &Vserver, open: &Open) -> bool {
    let goes = open.delete_on_close.load(Ordering::Relaxed) || open.is_delete_pending(vserver);
    let may = open.durable.is_some() && !goes && open.kind == FileKind::File;
    may && vserver.locks.keeps_handle(open.key, &open.owner)
}

/// Keeps an open whose connection is gone, if it may be. Its time begins now.
pub(super) fn keep(state: &Arc<State>, vserver: &Arc<Vserver>, open: &Arc<Open>) -> bool {
    let Some(durable) = open.durable.as_ref().filter(|_| outlives(vserver, open)) else { return false };
    keep_for(state, vserver, open, durable.away)
}

/// Keeps an open without its client, if there is room.
pub(super) fn keep_for(state: &Arc<State>, vserver: &Arc<Vserver>, open: &Arc<Open>, left: Duration) -> bool {
    let mut opens = state.orphans.opens.lock();
    if opens.len() >= SMB_HANDLES_MAX || opens.contains_key(&open.id.persistent) {
        return false;
    }
    let until = Instant::now() + left;
    opens.insert(open.id.persistent, Orphan { open: Arc::clone(open), until });
    drop(opens);
    let (state, vserver) = (Arc::downgrade(state), Arc::downgrade(vserver));
    tokio::spawn(expire(state, vserver, Arc::downgrade(open), left));
    true
}

/// Closes an open whose client did not come back in time.
async fn expire(state: Weak<State>, vserver: Weak<Vserver>, open: Weak<Open>, left: Duration) {
    tokio::time::sleep(left).await;
    let (Some(state), Some(vserver)) = (state.upgrade(), vserver.upgrade()) else { return };
    let Ok(inside) = vserver.gate.enter().await else { return };
    let Some(open) = open.upgrade() else { return };
    let mut opens = state.orphans.opens.lock();
    let still = opens.get(&open.id.persistent).is_some_and(|orphan| Arc::ptr_eq(&orphan.open, &open));
    if still {
        opens.remove(&open.id.persistent);
        drop(opens);
        open.close(&vserver, &inside);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smb2::wire::FileId;

    #[test]
    fn contexts_that_go_together() {
        let id = FileId { persistent: 7, volatile: 8 };
        let first = CreateContext::DurableRequest;
        let first_back = CreateContext::DurableReconnect { file_id: id };
        let second =
            |timeout_ms| CreateContext::DurableRequestV2 { timeout_ms, flags: 0, create_guid: [1; 16] };
        let second_back = CreateContext::DurableReconnectV2 { file_id: id, create_guid: [1; 16], flags: 0 };
        let new = |seconds| Asks::New { create_guid: Some([1; 16]), away: Duration::from_secs(seconds) };
        assert_eq!(asks(&[CreateContext::QueryOnDiskId]), Ok(Asks::Nothing));
        assert_eq!(asks(std::slice::from_ref(&first)), Ok(Asks::New { create_guid: None, away: AWAY }));
        assert_eq!(asks(&[second(0)]), Ok(new(60)));
        assert_eq!(asks(&[second(20_000)]), Ok(new(20)));
        assert_eq!(asks(&[second(u32::MAX)]), Ok(new(300)));
        let back = Asks::Back { id: 7, create_guid: None };
        assert_eq!(asks(&[first_back.clone(), first.clone()]), Ok(back));
        assert_eq!(asks(&[first.clone(), first_back.clone()]), Ok(back));
        let back = Asks::Back { id: 7, create_guid: Some([1; 16]) };
        assert_eq!(asks(std::slice::from_ref(&second_back)), Ok(back));
        for wrong in [&[first, second(0)][..], &[first_back, second_back.clone()], &[second(0), second_back]]
        {
            assert_eq!(asks(wrong), Err(NtStatus::INVALID_PARAMETER));
        }
    }
}
