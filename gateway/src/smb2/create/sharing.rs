//! What an open lets others do beside it (MS-SMB2 §2.2.13 `ShareAccess`).

use super::Opening;
use super::check::Deed;
use crate::openstate::{Access, BreakWait, Granted, OpenRequest, Opening as Outcome, Touch};
use crate::smb2::open::Open;
use crate::smb2::wire::create::*;
use crate::smb2::wire::status::NtStatus;

/// Rights that are in no oplock's way; no lease minds reading permissions either.
const LOOKS: u32 = access::READ_ATTRIBUTES | access::WRITE_ATTRIBUTES | access::SYNCHRONIZE;

/// What became of an open that is to be beside others.
pub(super) enum Shared {
    Done(Option<Granted>),
    Wait(BreakWait),
}

fn touch(granted: u32, deed: Deed) -> Touch {
    match granted & !LOOKS {
        _ if deed.truncates() => Touch::Contents,
        0 => Touch::Attributes,
        access::READ_CONTROL => Touch::Permissions,
        _ => Touch::Contents,
    }
}

impl Opening<'_> {
    /// Enters the open among those of its file, if these let it.
    pub(super) fn share(&self, open: &Open, deed: Deed) -> Result<Shared, NtStatus> {
        let uses = Access {
            read: open.granted & (access::READ_DATA | access::EXECUTE) != 0,
            write: open.granted & (access::WRITE_DATA | access::APPEND_DATA) != 0 || deed.truncates(),
            delete: open.granted & access::DELETE != 0,
        };
        let shares = self.request.share_access;
        // Who only looks at attributes is in nobody's way.
        let deny = if uses == Access::default() {
            Access::default()
        } else {
            Access {
                read: shares & share::READ == 0,
                write: shares & share::WRITE == 0,
                delete: shares & share::DELETE == 0,
            }
        };
        let asked = OpenRequest {
            file: open.key,
            owner: open.owner.clone(),
            access: uses,
            deny,
            now_s: u64::try_from(self.cx.now.secs).unwrap_or(0),
            touch: touch(open.granted, deed),
            overwrites: deed.truncates(),
            again: self.again,
            caching: self.caching(open),
        };
        let locks = &self.vserver().locks;
        let granted = match locks.open(asked) {
            Ok(Outcome::Opened(granted)) => granted,
            Ok(Outcome::Wait(wait)) => return Ok(Shared::Wait(wait)),
            Ok(Outcome::DeletePending) => return Err(NtStatus::DELETE_PENDING),
            Ok(Outcome::Denied(_)) => return Err(NtStatus::SHARING_VIOLATION),
            Ok(Outcome::OtherFile) => return Err(NtStatus::INVALID_PARAMETER),
            Err(_) => return Err(NtStatus::INSUFFICIENT_RESOURCES),
        };
        if open.stream.is_some()
            && let Err(status) = self.share_base(open, deny)
        {
            locks.close(open.key, &open.owner);
            return Err(status);
        }
        Ok(Shared::Done(granted))
    }
}
