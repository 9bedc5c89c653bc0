//! The response to CREATE (MS-SMB2 §2.2.14).

use super::Opening;
use super::check::Deed;
use crate::openstate::Granted;
use crate::smb2::open::Open;
use crate::smb2::reply::Body;
use crate::smb2::wire::create::*;
use crate::smb2::{quota, shown};
use fsstore::Attr;

impl Opening<'_> {
    /// What the client is told of its open.
    pub(super) fn respond(
        &self,
        open: &Open,
        deed: Deed,
        attr: &Attr,
        most: u32,
        granted: Option<Granted>,
    ) -> Body {
        let mut contexts = self.answers(open, attr, most);
        contexts.extend(self.leased(granted));
        let response = CreateResponse {
            oplock_level: self.level(granted),
            flags: 0,
            action: deed.action(),
            file: if self.is_quota_file { quota::file() } else { shown::facts(attr, &self.found.name) },
            file_id: open.id,
            contexts,
        };
        Body::of(|out| response.encode(out))
    }
}
