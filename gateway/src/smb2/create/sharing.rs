//! What an open lets others do beside it (MS-SMB2 §2.2.13 `ShareAccess`).

use super::Opening;
use super::check::Deed;
use crate::openstate::{Access, ShareRequest};
use crate::smb2::open::Open;
use crate::smb2::wire::create::*;
use crate::smb2::wire::status::NtStatus;

impl Opening<'_> {
    /// Enters the open among those of its file, if these let it.
    pub(super) fn share(&self, open: &Open, deed: Deed) -> Result<(), NtStatus> {
        let locks = &self.vserver().locks;
        if locks.is_delete_pending(open.key) {
            return Err(NtStatus::DELETE_PENDING);
        }
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
        let asked = ShareRequest {
            file: open.key,
            owner: open.owner.clone(),
            access: uses,
            deny,
            incarnation: 0,
            now_s: u64::try_from(self.cx.now.secs).unwrap_or(0),
        };
        match locks.share(asked) {
            Ok(None) => {}
            Ok(Some(_)) => return Err(NtStatus::SHARING_VIOLATION),
            Err(_) => return Err(NtStatus::INSUFFICIENT_RESOURCES),
        }
        if open.stream.is_some()
            && let Err(status) = self.share_base(open, deny)
        {
            locks.close(open.key, &open.owner);
            return Err(status);
        }
        Ok(())
    }
}
