//! Back to a durable handle (MS-SMB2 §3.3.5.9.7, §3.3.5.9.12): the client has another connection, the open is the same.

use super::Created;
use super::caching::answer;
use crate::smb2::caching;
use crate::smb2::dispatch::Asked;
use crate::smb2::durable::Returning;
use crate::smb2::reply::{Body, Failure};
use crate::smb2::wire::create::*;
use crate::smb2::wire::create_contexts::CreateContext;
use crate::smb2::wire::status::NtStatus;
use std::sync::Arc;

/// Gives a client its open back.
pub(super) fn back(
    asked: &Asked,
    request: &CreateRequest,
    id: u64,
    create_guid: Option<[u8; 16]>,
) -> Result<Created, Failure> {
    let listener = &asked.connection.listener;
    let lease = request.contexts.iter().find_map(|context| match context {
        CreateContext::Lease(lease) => Some(lease),
        _ => None,
    });
    asked.session.has_room()?;
    let identity = asked.session.identity();
    let orphan = listener.state.orphans.take(&Returning {
        id,
        create_guid,
        user: identity.user.as_deref(),
        client_guid: asked.agreed().map_or([0; 16], |agreed| agreed.client_guid),
        lease: lease.map(|lease| lease.key),
        name: &request.name,
        tree: &asked.tree,
    })?;
    let open = orphan.back_in(Arc::clone(&asked.tree));
    let holder = caching::holder(asked, open.id, lease.is_some());
    let granted = listener.vserver.locks.reattach(open.key, &open.owner, holder);
    let granted = granted.ok_or(NtStatus::OBJECT_NAME_NOT_FOUND)?;
    let attr = match open.attr(&listener.vserver) {
        Ok(attr) => attr,
        Err(status) => {
            open.abandon(&listener.vserver);
            return Err(status.into());
        }
    };
    let response = CreateResponse {
        oplock_level: if lease.is_some() { oplock::LEASE } else { caching::level(granted.state) },
        flags: 0,
        action: action::OPENED,
        file: open.facts(&attr),
        file_id: open.id,
        contexts: lease.map(|lease| answer(lease, granted)).into_iter().collect(),
    };
    let id = open.id;
    asked.session.keep(Arc::new(open));
    Ok(Created::Done(id, Body::of(|out| response.encode(out))))
}
