//! LOCK (MS-SMB2 §3.3.5.14): byte ranges, in the table that all protocols share.

use super::dispatch::{Answer, Asked, Done};
use super::lock_sequence::Sequenced;
use super::open::Open;
use super::reply::{Body, Failure, Reply};
use super::wire::create::access;
use super::wire::lock::{
    LOCK_EXCLUSIVE, LOCK_FAIL_IMMEDIATELY, LOCK_SHARED, LOCK_UNLOCK, LockElement, LockRequest,
};
use super::wire::plain::LockResponse;
use super::wire::status::NtStatus;
use crate::openstate::{ByteRange, Deed, LockOutcome, LockRequest as Wanted, Wait, Waiter};
use crate::vserver::Vserver;
use fsstore::FileKind;
use std::sync::Arc;

/// Locks or unlocks. One lock alone may be waited for.
pub(super) fn lock(asked: Asked) -> Answer {
    let (request, open) = match find(&asked) {
        Ok(found) => found,
        Err(failure) => return Answer::from(Err(failure)),
    };
    let sequenced = Sequenced::of(&asked, &open, &request);
    if sequenced.is_done() {
        return Answer::from(done());
    }
    match begin(&asked, &request, &open) {
        Ok(None) => {
            sequenced.set_done();
            Answer::from(done())
        }
        Ok(Some(waits)) => Answer::Later(Box::pin(async move {
            tokio::select! {
                () = waits.waiter.granted() => {
                    sequenced.set_done();
                    waits.vserver.locks.contend(open.key, Deed::Change, Some(&open.owner));
                    waits.keep();
                    Done::from(done())
                }
                () = open.closed.cancelled() => Done::from(Err(NtStatus::RANGE_NOT_LOCKED.into())),
                () = asked.give_up.cancelled() => Done::from(Err(NtStatus::CANCELLED.into())),
            }
        })),
        Err(failure) => Answer::from(Err(failure)),
    }
}

fn done() -> Reply {
    Ok(Body::of(|out| LockResponse.encode(out)))
}

/// A lock that is waited for. Given up where it goes away before it is kept.
struct WaitingLock {
    vserver: Arc<Vserver>,
    open: Arc<Open>,
    range: ByteRange,
    waiter: Arc<Waiter>,
    kept: bool,
}

impl WaitingLock {
    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for WaitingLock {
    fn drop(&mut self) {
        let locks = &self.vserver.locks;
        if !self.kept && !locks.stop_waiting(self.open.key, &self.waiter) {
            // It fails where a lock would become two, which those of SMB never do.
            let _ = locks.unlock(self.open.key, &self.open.owner, self.range);
        }
    }
}

fn find(asked: &Asked) -> Result<(LockRequest, Arc<Open>), Failure> {
    let request = LockRequest::decode(&asked.message)?;
    let open = asked.session.open(asked.id(request.file_id)?, &asked.tree)?;
    if open.kind == FileKind::Dir {
        return Err(NtStatus::INVALID_PARAMETER.into());
    }
    open.may(access::READ_DATA | access::WRITE_DATA | access::APPEND_DATA | access::EXECUTE)?;
    Ok((request, open))
}

/// Gives the lock if it has to be waited for.
fn begin(asked: &Asked, request: &LockRequest, open: &Arc<Open>) -> Result<Option<WaitingLock>, Failure> {
    let vserver = &asked.connection.listener.vserver;
    if request.locks.first().is_some_and(|first| first.flags == LOCK_UNLOCK) {
        for element in &request.locks {
            // What came before it stays unlocked (§3.3.5.14.1).
            if element.flags != LOCK_UNLOCK {
                return Err(NtStatus::INVALID_PARAMETER.into());
            }
            unlock(vserver, open, element)?;
        }
        return Ok(None);
    }
    if let [element] = request.locks.as_slice()
        && element.flags & LOCK_FAIL_IMMEDIATELY == 0
    {
        let waiter = Arc::default();
        let taken = take(vserver, open, element, Some(Wait::Here(Arc::clone(&waiter))))?;
        return Ok(taken.map(|range| {
            let vserver = Arc::clone(vserver);
            WaitingLock { vserver, open: Arc::clone(open), range, waiter, kept: false }
        }));
    }
    for (at, element) in request.locks.iter().enumerate() {
        let taken = if element.flags & LOCK_FAIL_IMMEDIATELY == 0 {
            // Several can't be waited for (§3.3.5.14.2).
            Err(NtStatus::INVALID_PARAMETER)
        } else {
            take(vserver, open, element, None)
        };
        if let Err(status) = taken {
            // All or none.
            for taken in request.locks.iter().take(at) {
                unlock(vserver, open, taken)?;
            }
            return Err(status.into());
        }
    }
    Ok(None)
}

fn range(element: &LockElement) -> Result<ByteRange, NtStatus> {
    match element.length.checked_sub(1) {
        None => Ok(ByteRange::empty(element.offset)),
        Some(more) => {
            let last = element.offset.checked_add(more).ok_or(NtStatus::INVALID_LOCK_RANGE)?;
            Ok(ByteRange { first: element.offset, last })
        }
    }
}

/// Gives the range if it has to be waited for.
fn take(
    vserver: &Vserver,
    open: &Open,
    element: &LockElement,
    wait: Option<Wait>,
) -> Result<Option<ByteRange>, NtStatus> {
    let exclusive = match element.flags & !LOCK_FAIL_IMMEDIATELY {
        LOCK_SHARED => false,
        LOCK_EXCLUSIVE => true,
        _ => return Err(NtStatus::INVALID_PARAMETER),
    };
    let range = range(element)?;
    let wanted = Wanted {
        file: open.key,
        owner: open.owner.clone(),
        range,
        exclusive,
        incarnation: 0,
        now_s: u64::try_from(super::now().secs).unwrap_or(0),
        wait,
    };
    match vserver.locks.lock(wanted) {
        Ok(LockOutcome::Granted) => {
            vserver.locks.contend(open.key, Deed::Change, Some(&open.owner));
            Ok(None)
        }
        Ok(LockOutcome::Waiting) => Ok(Some(range)),
        Ok(LockOutcome::Denied(_) | LockOutcome::Deadlock) => Err(NtStatus::LOCK_NOT_GRANTED),
        Err(_) => Err(NtStatus::INSUFFICIENT_RESOURCES),
    }
}

fn unlock(vserver: &Vserver, open: &Open, element: &LockElement) -> Result<(), NtStatus> {
    let range = range(element)?;
    if !vserver.locks.holds(open.key, &open.owner, range) {
        return Err(NtStatus::RANGE_NOT_LOCKED);
    }
    vserver.locks.unlock(open.key, &open.owner, range).map_err(|_| NtStatus::INSUFFICIENT_RESOURCES)
}
