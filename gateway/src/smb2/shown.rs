//! A file's attributes as SMB shows them (MS-FSCC §2.4, §2.6).

use super::wire::create::{FileFacts, attribute};
use super::wire::error::REPARSE_TAG_SYMLINK;
use super::wire::filetime;
use fsstore::{Attr, DosAttributes, FileId, FileKind, Time};

pub(super) fn time(time: Time) -> u64 {
    filetime::from_unix(time.secs, time.nanos)
}

/// File attributes: those that were set, or what follows from mode and name where none ever were. Then a file that nobody may write is
/// read-only, and one whose name begins with a period hidden.
pub(super) fn attributes(attr: &Attr, name: &[u8]) -> u32 {
    let kind = match attr.kind {
        FileKind::Dir => attribute::DIRECTORY,
        FileKind::Symlink => attribute::REPARSE_POINT,
        _ => 0,
    };
    match kind | attr.dos.map_or_else(|| of_posix(attr, name), |dos| dos.0) {
        0 => attribute::NORMAL,
        shown => shown,
    }
}

fn of_posix(attr: &Attr, name: &[u8]) -> u32 {
    let mut shown =
        if matches!(attr.kind, FileKind::Dir | FileKind::Symlink) { 0 } else { attribute::ARCHIVE };
    if attr.kind == FileKind::File && attr.mode & 0o222 == 0 {
        shown |= attribute::READONLY;
    }
    if name.first() == Some(&b'.') && name != b"." && name != b".." {
        shown |= attribute::HIDDEN;
    }
    shown
}

/// What a volume keeps of attributes that a client asks for (MS-FSCC §2.6). Whether a file is sparse is said by an FSCTL.
pub(super) fn settable(asked: u32) -> DosAttributes {
    DosAttributes(asked & DosAttributes::ALL & !DosAttributes::SPARSE)
}

/// What stands for the size of extended attributes in listings: the tag of a reparse point.
pub(super) fn ea_size(attr: &Attr) -> u32 {
    if attr.kind == FileKind::Symlink { REPARSE_TAG_SYMLINK } else { 0 }
}

/// Bytes that the file takes up.
pub(super) fn allocation(attr: &Attr) -> u64 {
    if attr.kind == FileKind::Dir { 0 } else { attr.used }
}

/// The number that tells a file apart from all others of its volume; as a snapshot has it, it is another file.
pub(super) fn file_number(file: FileId) -> u64 {
    file.ino.0 ^ file.snapshot.0.rotate_right(16)
}

/// The file's size.
pub(super) fn size(attr: &Attr) -> u64 {
    if attr.kind == FileKind::Dir { 0 } else { attr.size }
}

pub(super) fn facts(attr: &Attr, name: &[u8]) -> FileFacts {
    FileFacts {
        creation_time: time(attr.btime),
        last_access_time: time(attr.atime),
        last_write_time: time(attr.mtime),
        change_time: time(attr.ctime),
        allocation_size: allocation(attr),
        end_of_file: size(attr),
        file_attributes: attributes(attr, name),
    }
}
