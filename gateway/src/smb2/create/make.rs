//! Making a file or directory.

use super::Opening;
use crate::smb2::reply::Failure;
use crate::smb2::security;
use crate::smb2::shown;
use crate::smb2::wire::create::*;
use crate::smb2::wire::create_contexts::CreateContext;
use crate::smb2::wire::security::SecurityDescriptor;
use crate::smb2::wire::status::NtStatus;
use bytes::Bytes;
use fsstore::{Attr, Context, CreateHow, FileId, Op, SetAttrs, XattrHow};

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
        let goes = self.request.options & options::DELETE_ON_CLOSE != 0;
        if goes && asked & attribute::READONLY != 0 {
            return Err(NtStatus::CANNOT_DELETE.into());
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
        let made = self.volume.execute_folded(&self.cx, op)?.object.after;
        if let Err(failure) = self.furnish(made.id) {
            self.unmake(is_dir);
            return Err(failure);
        }
        Ok(self.volume.getattr(made.id)?)
    }

    /// Gives a new file what the request's contexts say that it is to have.
    fn furnish(&self, file: FileId) -> Result<(), Failure> {
        for context in &self.request.contexts {
            match context {
                CreateContext::SecurityDescriptor(descriptor) => {
                    let descriptor = SecurityDescriptor::decode(descriptor)?;
                    security::put(&self.vserver().users(), &self.volume, &self.cx, file, &descriptor)?;
                }
                CreateContext::ExtendedAttributes(eas) => {
                    for ea in eas.iter().filter(|ea| !ea.value.is_empty()) {
                        let (name, value) =
                            (Bytes::from([b"user.", &ea.name[..]].concat()), ea.value.clone());
                        let op = Op::SetXattr { file, name, value, how: XattrHow::Either };
                        self.volume.execute(&self.cx, op)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes a new file away that can't be all that it was to be.
    fn unmake(&self, is_dir: bool) {
        let (dir, name) = (self.found.dir, self.found.name.clone());
        let op = if is_dir { Op::Rmdir { dir, name } } else { Op::Remove { dir, name } };
        if let Err(error) = self.volume.execute(&Context::root(self.cx.now), op) {
            tracing::debug!(vserver = self.vserver().name, %error, "a file that was not to be made stays");
        }
    }
}
