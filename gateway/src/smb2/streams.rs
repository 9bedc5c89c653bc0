//! Named streams (MS-FSCC §2.1.5): which stream of a file a name means, and what goes for all of a file's streams at once.
//!
//! A stream is a file of its own for data, locks and share modes ([`Open::key`](super::open::Open::key)); names, times,
//! permissions and attributes are those of its base file ([`Open::base`](super::open::Open::base)).
//! Who has a stream open keeps a place among the opens of the base file too. So that one does not go before its streams are
//! closed, and who opens it to delete it meets those who share their stream with no such (MS-FSA §2.1.5.1.2.2).

use super::wire::names::{Stream, StreamType};
use super::wire::status::NtStatus;
use crate::handle::VolumeId;
use crate::openstate::FileKey;
use crate::vserver::Vserver;
use bytes::Bytes;
use fsstore::{Attr, FileId, FsError, Volume, fold_name};
use std::borrow::Cow;

/// What the part of a path behind its colon names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Named<'a> {
    /// The data of a file itself: `name::$DATA`.
    Data,
    /// The entries of a directory: `name::$INDEX_ALLOCATION`.
    Directory,
    /// A named stream.
    Stream(&'a str),
}

impl<'a> Named<'a> {
    /// What a path's stream names (MS-FSA §2.1.5.1). Only the entries of directories are called `$I30`.
    pub(super) fn of(stream: Stream<'a>) -> Result<Self, NtStatus> {
        match stream {
            Stream { name: "", kind: StreamType::Data } => Ok(Named::Data),
            Stream { name, kind: StreamType::Data } => Ok(Named::Stream(name)),
            Stream { name, kind: StreamType::IndexAllocation } => {
                let entries = name.is_empty() || name.eq_ignore_ascii_case("$I30");
                entries.then_some(Named::Directory).ok_or(NtStatus::OBJECT_NAME_INVALID)
            }
        }
    }
}

/// How clients see a stream's name: but for four characters it may hold all that there are (MS-FSCC §2.1.5.3), so none is replaced.
pub(super) fn shown(name: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(name)
}

/// A stream by its name in any case: the one that is just so, else one that differs in case alone.
pub(super) fn find(volume: &Volume, file: FileId, name: &str) -> Result<Option<(Attr, Bytes)>, FsError> {
    match volume.stream(file, name.as_bytes()) {
        Ok(attr) => return Ok(Some((attr, Bytes::copy_from_slice(name.as_bytes())))),
        Err(FsError::NotFound) => {}
        Err(error) => return Err(error),
    }
    let folded = fold_name(name.as_bytes());
    let alike = volume.streams(file)?.into_iter().find(|stream| fold_name(&stream.name) == folded);
    Ok(alike.map(|stream| (stream.attr, stream.name)))
}

/// Whether somebody has a stream of the file open.
pub(super) fn any_open(
    vserver: &Vserver,
    volume: &Volume,
    id: VolumeId,
    file: FileId,
) -> Result<bool, FsError> {
    let opened =
        |stream: &fsstore::Stream| vserver.locks.shares_of(FileKey { volume: id, file: stream.attr.id }) > 0;
    match volume.streams(file) {
        Ok(streams) => Ok(streams.iter().any(opened)),
        // What can have none.
        Err(FsError::Invalid) => Ok(false),
        Err(error) => Err(error),
    }
}
