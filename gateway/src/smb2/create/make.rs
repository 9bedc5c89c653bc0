//! Making a file or directory.

use super::Opening;
use crate::smb2::reply::Failure;
use crate::smb2::shown;
use crate::smb2::wire::create::*;
use crate::smb2::wire::status::NtStatus;
use fsstore::{Attr, CreateHow, Op, SetAttrs};

/// Permission bits of what clients of SMB make where no list says otherwise.
const FILE_MODE: u32 = 0o644;
const DIR_MODE: u32 = 0o755;

impl Opening<'_> {
    /// Makes what the request names; the directory is there.
    pub(super) fn make(&self) -> Result<Attr, Failure> {
        if self.asked.tree.rights & access::WRITE_DATA == 0 || self.request.desired_access == 0 {
            return Err(NtStatus::ACCESS_DENIED.into());
        }
        let (dir, name) = (self.found.dir, self.found.name.clone());
        let is_dir = self.request.options & options::DIRECTORY_FILE != 0;
        let asked = self.request.file_attributes;
        if is_dir && asked & attribute::TEMPORARY != 0 {
            return Err(NtStatus::INVALID_PARAMETER.into());
        }
        let attrs = SetAttrs {
            mode: Some(if is_dir { DIR_MODE } else { FILE_MODE }),
            dos: Some(shown::settable(asked | if is_dir { 0 } else { attribute::ARCHIVE })),
            ..SetAttrs::default()
        };
        let op = if is_dir {
            Op::Mkdir { dir, name, attrs }
        } else {
            Op::Create { dir, name, how: CreateHow::Guarded(attrs) }
        };
        Ok(self.volume.execute_folded(&self.cx, op)?.object.after)
    }
}
