//! CREATE of a file's named stream (MS-FSA §2.1.5.1), and what becomes of its streams when a file is overwritten.

use super::Opening;
use super::check::Deed;
use crate::openstate::{Access, FileKey, OpenRequest, Opening as Outcome, Touch};
use crate::smb2::open::Open;
use crate::smb2::path::Found;
use crate::smb2::reply::Failure;
use crate::smb2::streams::{self, Named};
use crate::smb2::wire::create::*;
use crate::smb2::wire::status::NtStatus;
use bytes::Bytes;
use fsstore::{Attr, FileId, FileKind, FsError, Op, Stream, Volume};

/// The named stream that is to be opened.
pub(super) struct Wanted {
    /// As it is if it is there.
    pub(super) name: Bytes,
    /// `None`: there is no such stream.
    pub(super) attr: Option<Attr>,
}

/// The named stream that a request is about, if it is about one. What names the entries of a directory asks for a directory.
pub(super) fn wanted(
    request: &mut CreateRequest,
    named: Option<Named<'_>>,
    found: &Found,
    volume: &Volume,
) -> Result<Option<Wanted>, Failure> {
    let Some(named) = named else { return Ok(None) };
    if named == Named::Directory {
        if request.options & options::NON_DIRECTORY_FILE != 0 {
            return Err(NtStatus::INVALID_PARAMETER.into());
        }
        request.options |= options::DIRECTORY_FILE;
        return Ok(None);
    }
    if request.options & options::DIRECTORY_FILE != 0 {
        return Err(NtStatus::NOT_A_DIRECTORY.into());
    }
    let Named::Stream(name) = named else {
        let is_dir = found.attr.is_some_and(|attr| attr.kind == FileKind::Dir);
        return if is_dir { Err(NtStatus::FILE_IS_A_DIRECTORY.into()) } else { Ok(None) };
    };
    let there = match found.attr {
        Some(attr) if !matches!(attr.kind, FileKind::File | FileKind::Dir) => {
            return Err(NtStatus::OBJECT_NAME_NOT_FOUND.into());
        }
        Some(attr) => streams::find(volume, attr.id, name)?,
        None => None,
    };
    Ok(Some(match there {
        Some((attr, name)) => Wanted { name, attr: Some(attr) },
        None => Wanted { name: Bytes::copy_from_slice(name.as_bytes()), attr: None },
    }))
}

impl Opening<'_> {
    /// The file that holds the data of what is opened: of the file `base`, or of its stream, which is made if it is not there.
    pub(super) fn data(&self, base: &Attr) -> Result<FileId, Failure> {
        let Some(stream) = &self.stream else { return Ok(base.id) };
        if let Some(attr) = stream.attr {
            return Ok(attr.id);
        }
        let key = FileKey { volume: self.found.volume, file: base.id };
        let made = if self.vserver().locks.is_delete_pending(key) {
            Err(NtStatus::DELETE_PENDING.into())
        } else {
            let op = Op::MakeStream { file: base.id, name: stream.name.clone(), guarded: true };
            self.volume.execute_folded(&self.cx, op).map_err(Failure::from)
        };
        match made {
            Ok(done) => Ok(done.object.after.id),
            Err(failure) => {
                self.unmake_base();
                Err(failure)
            }
        }
    }

    /// Takes back what [`Opening::data`] made, and its file if that is new too.
    pub(super) fn unmake_stream(&self, base: &Attr) {
        if let Some(stream) = &self.stream
            && stream.attr.is_none()
        {
            // It was not there before, and nobody can have opened it since.
            let _ =
                self.volume.execute(&self.cx, Op::RemoveStream { file: base.id, name: stream.name.clone() });
            self.unmake_base();
        }
    }

    fn unmake_base(&self) {
        if self.found.attr.is_none() {
            let _ = self
                .volume
                .execute(&self.cx, Op::Remove { dir: self.found.dir, name: self.found.name.clone() });
        }
    }

    /// Keeps a place for a stream's open among those of its file. It does nothing to the file, and denies nothing but to
    /// delete it.
    pub(super) fn share_base(&self, open: &Open, deny: Access) -> Result<(), NtStatus> {
        let locks = &self.vserver().locks;
        let asked = OpenRequest {
            file: open.base,
            owner: open.owner.clone(),
            access: Access::default(),
            deny: Access { delete: deny.delete, ..Access::default() },
            now_s: u64::try_from(self.cx.now.secs).unwrap_or(0),
            touch: Touch::Attributes,
            overwrites: false,
            again: false,
            caching: None,
        };
        match locks.open(asked) {
            Ok(Outcome::Opened(_)) => Ok(()),
            Ok(Outcome::DeletePending) => Err(NtStatus::DELETE_PENDING),
            // Who touches nothing of a file waits for nobody.
            Ok(_) => Err(NtStatus::SHARING_VIOLATION),
            Err(_) => Err(NtStatus::INSUFFICIENT_RESOURCES),
        }
    }

    /// The named streams that go with a file's content when it is overwritten (MS-FSA §2.1.5.1.2.1). Nobody may keep one of them.
    pub(super) fn streams_to_go(&self, open: &Open, deed: Deed) -> Result<Vec<Stream>, NtStatus> {
        if !deed.truncates() || open.stream.is_some() {
            return Ok(Vec::new());
        }
        let streams = match self.volume.streams(open.base.file) {
            Ok(streams) => streams,
            Err(FsError::Invalid) => Vec::new(),
            Err(error) => return Err(crate::smb2::status::of(&error)),
        };
        let delete = Access { delete: true, ..Access::default() };
        let kept = |stream: &Stream| {
            let key = FileKey { volume: open.base.volume, file: stream.attr.id };
            self.vserver().locks.denies(key, delete)
        };
        if streams.iter().any(kept) { Err(NtStatus::SHARING_VIOLATION) } else { Ok(streams) }
    }

    /// Removes streams; those that somebody has open go with their last handle.
    pub(super) fn remove_streams(&self, open: &Open, streams: Vec<Stream>) -> Result<(), Failure> {
        let locks = &self.vserver().locks;
        for stream in streams {
            let key = FileKey { volume: open.base.volume, file: stream.attr.id };
            if locks.shares_of(key) > 0 {
                locks.set_delete_pending(key, true);
            } else {
                let op = Op::RemoveStream { file: open.base.file, name: stream.name };
                self.volume.execute(&self.cx, op)?;
            }
        }
        Ok(())
    }
}
