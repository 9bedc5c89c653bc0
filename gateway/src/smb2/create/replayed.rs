//! CREATE that has been run before (MS-SMB2 §3.3.5.9.10): the client is told of the open that it made then.

use super::Created;
use super::caching::answer;
use super::contexts;
use crate::smb2::caching;
use crate::smb2::dispatch::Asked;
use crate::smb2::open::Open;
use crate::smb2::reply::{Body, Failure};
use crate::smb2::rights;
use crate::smb2::wire::FileId;
use crate::smb2::wire::create::*;
use crate::smb2::wire::create_contexts::CreateContext;
use crate::smb2::wire::status::NtStatus;
use fsstore::Attr;

/// Answers once more. As with other servers the request says which oplock is named; a lease is named as it is now.
pub(super) fn replayed(asked: &Asked, request: &CreateRequest, id: FileId) -> Result<Created, Failure> {
    // One of another session is not this one's to have.
    let open = asked.session.open_in_any_tree(id).map_err(|_| NtStatus::DUPLICATE_OBJECTID)?;
    let vserver = &asked.connection.listener.vserver;
    let lease = request.contexts.iter().find_map(|context| match context {
        CreateContext::Lease(lease) if request.oplock_level == oplock::LEASE => Some(lease),
        _ => None,
    });
    if lease.map(|lease| lease.key) != open.lease.map(|lease| lease.key) {
        return Err(NtStatus::ACCESS_DENIED.into());
    }
    let attr = open.attr(vserver)?;
    let mut contexts = contexts::answers(asked, request, &open, &attr, most(asked, request, &open, &attr)?);
    if let Some(lease) = lease {
        let holder = caching::holder(asked, open.id, true);
        contexts.extend(
            vserver.locks.reattach(open.key, &open.owner, holder).map(|granted| answer(lease, granted)),
        );
    }
    let response = CreateResponse {
        oplock_level: request.oplock_level,
        flags: 0,
        action: open.action,
        file: open.facts(&attr),
        file_id: open.id,
        contexts,
    };
    Ok(Created::Done(open.id, Body::of(|out| response.encode(out))))
}

/// The rights to the file.
fn most(asked: &Asked, request: &CreateRequest, open: &Open, attr: &Attr) -> Result<u32, Failure> {
    let volume = open.volume(&asked.connection.listener.vserver)?;
    let (dir, is_root) = {
        let name = open.name.lock();
        (name.dir, name.name.is_empty())
    };
    let dir = if is_root { None } else { Some(volume.getattr(dir)?) };
    let backup = request.options & options::OPEN_FOR_BACKUP_INTENT != 0;
    Ok(rights::of(&volume, &open.cx, dir.as_ref(), attr, backup)? & open.tree.rights)
}
