//! Access to a file that is there: who may open it, and how.

use super::Opening;
use super::check::Deed;
use crate::smb2::open::Open;
use crate::smb2::reply::Failure;
use crate::smb2::wire::create::*;
use crate::smb2::wire::status::NtStatus;
use crate::smb2::{rights, shown};
use fsstore::{Attr, DosAttributes, FileKind, Op, SetAttrs};

impl Opening<'_> {
    /// The rights to a file that is there, if those that are asked for are among them.
    pub(super) fn rights_to(&self, attr: &Attr, deed: Deed) -> Result<u32, Failure> {
        let request = &self.request;
        let is_dir = attr.kind == FileKind::Dir && self.stream.is_none();
        if is_dir && (request.options & options::NON_DIRECTORY_FILE != 0 || deed.truncates()) {
            return Err(NtStatus::FILE_IS_A_DIRECTORY.into());
        }
        if attr.kind != FileKind::Dir && request.options & options::DIRECTORY_FILE != 0 {
            return Err(NtStatus::NOT_A_DIRECTORY.into());
        }
        let dir = if self.found.name.is_empty() { None } else { Some(self.volume.getattr(self.found.dir)?) };
        if request.desired_access & access::ACCESS_SYSTEM_SECURITY != 0 {
            return Err(NtStatus::PRIVILEGE_NOT_HELD.into());
        }
        let backup = request.options & options::OPEN_FOR_BACKUP_INTENT != 0;
        let mut most =
            rights::of(&self.volume, &self.cx, dir.as_ref(), attr, backup)? & self.asked.tree.rights;
        let shown = shown::attributes(attr, &self.found.name);
        if shown & attribute::READONLY != 0 && !is_dir {
            most &= !(access::WRITE_DATA | access::APPEND_DATA);
        }
        // MS-FSA §2.1.5.1.2.1: who overwrites a hidden file or one of the system says so.
        let said = attr.dos.unwrap_or_default().0 & (attribute::HIDDEN | attribute::SYSTEM);
        if deed.truncates() && self.stream.is_none() && said & !request.file_attributes != 0 {
            return Err(NtStatus::ACCESS_DENIED.into());
        }
        let mut wanted = rights::specific(request.desired_access) & !access::MAXIMUM_ALLOWED;
        if deed.truncates() {
            wanted |= access::WRITE_DATA;
        }
        if wanted & !most != 0 || request.desired_access == 0 {
            return Err(NtStatus::ACCESS_DENIED.into());
        }
        if request.options & options::DELETE_ON_CLOSE != 0 && shown & attribute::READONLY != 0 {
            return Err(NtStatus::CANNOT_DELETE.into());
        }
        Ok(most)
    }

    /// The attributes of a file whose content is overwritten; those of its file are no matter of a stream.
    fn overwritten(&self, deed: Deed, attr: &Attr) -> Option<DosAttributes> {
        let kept = if deed == Deed::Overwrite { attr.dos.unwrap_or_default().0 } else { 0 };
        let all = shown::settable(kept | self.request.file_attributes | attribute::ARCHIVE);
        self.stream.is_none().then_some(all)
    }

    /// What is done to the file once nothing stands in the way of the open.
    pub(super) async fn finish(&self, open: &Open, deed: Deed, attr: Attr) -> Result<Attr, Failure> {
        let mut attr = attr;
        if deed.truncates() {
            self.remove_streams(open, self.streams_to_go(open, deed)?)?;
            let attrs = SetAttrs { size: Some(0), dos: self.overwritten(deed, &attr), ..SetAttrs::default() };
            let op = Op::SetAttr { file: open.key.file, attrs, guard: None };
            attr = self.volume.execute(&self.cx, op)?.object.after;
        }
        if open.stream.is_some() {
            attr = open.attr(self.vserver())?;
        }
        if open.write_through && deed != Deed::Open {
            self.volume.durable(self.volume.last_lsn()).await?;
        }
        Ok(attr)
    }
}
