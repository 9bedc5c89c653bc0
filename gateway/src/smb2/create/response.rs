//! The response to CREATE (MS-SMB2 §2.2.14).

use super::Opening;
use super::contexts;
use crate::openstate::Granted;
use crate::smb2::open::Open;
use crate::smb2::quota;
use crate::smb2::reply::Body;
use crate::smb2::wire::create::*;
use fsstore::Attr;

impl Opening<'_> {
    /// What the client is told of its open.
    pub(super) fn respond(&self, open: &Open, attr: &Attr, most: u32, granted: Option<Granted>) -> Body {
        let mut contexts = contexts::answers(self.asked, &self.request, open, attr, most);
        contexts.extend(self.leased(granted));
        let response = CreateResponse {
            oplock_level: self.level(granted),
            flags: 0,
            action: open.action,
            file: if self.is_quota_file { quota::file() } else { open.facts(attr) },
            file_id: open.id,
            contexts,
        };
        Body::of(|out| response.encode(out))
    }
}
