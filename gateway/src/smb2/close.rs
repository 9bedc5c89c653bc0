//! CLOSE (MS-SMB2 §3.3.5.10).

use super::dispatch::Asked;
use super::reply::{Body, Reply};
use super::wire::create::{CloseRequest, CloseResponse};
use crate::vserver::GatePass;

/// Closes an open.
pub(super) fn close(asked: &Asked, inside: &GatePass) -> Reply {
    let request = CloseRequest::decode(&asked.message)?;
    let open = asked.session.remove(asked.id(request.file_id)?, &asked.tree)?;
    let vserver = &asked.connection.listener.vserver;
    open.settle_times(vserver);
    let attr = if request.wants_attributes() { open.attr(vserver).ok() } else { None };
    let file = attr.map(|attr| open.facts(&attr));
    open.close(vserver, inside);
    Ok(Body::of(|out| CloseResponse { file }.encode(out)))
}
