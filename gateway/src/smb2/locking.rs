//! LOCK (MS-SMB2 §3.3.5.14): byte ranges, in the table that all protocols share.

use super::dispatch::Asked;
use super::open::Open;
use super::reply::{Body, Reply};
use super::wire::create::access;
use super::wire::lock::{
    LOCK_EXCLUSIVE, LOCK_FAIL_IMMEDIATELY, LOCK_SHARED, LOCK_UNLOCK, LockElement, LockRequest,
};
use super::wire::plain::LockResponse;
use super::wire::status::NtStatus;
use crate::openstate::{ByteRange, LockOutcome, LockRequest as Wanted};
use crate::vserver::Vserver;
use fsstore::FileKind;
use std::time::Duration;

/// Between two attempts to get a lock that is waited for.
pub(super) const RETRY: Duration = Duration::from_millis(20);

/// Whether a lock that can't be had now is to be waited for. Who waits must not be inside of the gate.
pub(super) fn waits(asked: &Asked, reply: &Reply) -> bool {
    let refused = reply.as_ref().err().is_some_and(|failure| failure.status == NtStatus::LOCK_NOT_GRANTED);
    let request = LockRequest::decode(&asked.message);
    let patient = |request: LockRequest| matches!(request.locks.as_slice(), [element] if element.flags & LOCK_FAIL_IMMEDIATELY == 0);
    refused && request.is_ok_and(patient)
}

/// Locks or unlocks.
pub(super) fn lock(asked: &Asked) -> Reply {
    let request = LockRequest::decode(&asked.message)?;
    let open = asked.session.open(asked.id(request.file_id)?, &asked.tree)?;
    if open.kind == FileKind::Dir {
        return Err(NtStatus::INVALID_PARAMETER.into());
    }
    open.may(access::READ_DATA | access::WRITE_DATA | access::APPEND_DATA | access::EXECUTE)?;
    let vserver = &asked.connection.listener.vserver;
    let done = || Ok(Body::of(|out| LockResponse.encode(out)));
    if request.locks.first().is_some_and(|first| first.flags == LOCK_UNLOCK) {
        for element in &request.locks {
            unlock(vserver, &open, element)?;
        }
        return done();
    }
    for (at, element) in request.locks.iter().enumerate() {
        if let Err(status) = take(vserver, &open, element) {
            // All or none.
            for taken in request.locks.iter().take(at) {
                unlock(vserver, &open, taken)?;
            }
            return Err(status.into());
        }
    }
    done()
}

fn range(element: &LockElement) -> Result<Option<ByteRange>, NtStatus> {
    match element.length.checked_sub(1) {
        // A lock of nothing keeps nobody out.
        None => Ok(None),
        Some(more) => {
            let last = element.offset.checked_add(more).ok_or(NtStatus::INVALID_LOCK_RANGE)?;
            Ok(Some(ByteRange { first: element.offset, last }))
        }
    }
}

fn take(vserver: &Vserver, open: &Open, element: &LockElement) -> Result<(), NtStatus> {
    let exclusive = match element.flags & !LOCK_FAIL_IMMEDIATELY {
        LOCK_SHARED => false,
        LOCK_EXCLUSIVE => true,
        _ => return Err(NtStatus::INVALID_PARAMETER),
    };
    let Some(range) = range(element)? else { return Ok(()) };
    let wanted = Wanted {
        file: open.key,
        owner: open.owner.clone(),
        range,
        exclusive,
        incarnation: 0,
        now_s: u64::try_from(super::now().secs).unwrap_or(0),
        wait: None,
    };
    match vserver.locks.lock(wanted) {
        Ok(LockOutcome::Granted) => Ok(()),
        Ok(LockOutcome::Denied(_) | LockOutcome::Waiting | LockOutcome::Deadlock) => {
            Err(NtStatus::LOCK_NOT_GRANTED)
        }
        Err(_) => Err(NtStatus::INSUFFICIENT_RESOURCES),
    }
}

fn unlock(vserver: &Vserver, open: &Open, element: &LockElement) -> Result<(), NtStatus> {
    if element.flags & !LOCK_FAIL_IMMEDIATELY != LOCK_UNLOCK
        && element.flags & (LOCK_SHARED | LOCK_EXCLUSIVE) == 0
    {
        return Err(NtStatus::INVALID_PARAMETER);
    }
    let Some(range) = range(element)? else { return Ok(()) };
    if !vserver.locks.holds(open.key, &open.owner, range) {
        return Err(NtStatus::RANGE_NOT_LOCKED);
    }
    vserver.locks.unlock(open.key, &open.owner, range).map_err(|_| NtStatus::INSUFFICIENT_RESOURCES)
}
