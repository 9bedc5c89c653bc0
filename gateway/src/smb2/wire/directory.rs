//! QUERY_DIRECTORY, MS-SMB2 §2.2.33, and the entries of its reply, MS-FSCC §2.4. The reply is an `output`.

use super::create::attribute;
use super::cursor::{body, len32, pad, patch_u32, slice};
use super::names::{put_utf16, utf16, utf16_len};
use super::{FileId, Malformed};
use bytes::{BufMut, Bytes, BytesMut};

/// `SMB2_RESTART_SCANS`.
pub const RESTART_SCANS: u8 = 0x01;
/// `SMB2_RETURN_SINGLE_ENTRY`.
pub const RETURN_SINGLE_ENTRY: u8 = 0x02;
/// `SMB2_INDEX_SPECIFIED`.
pub const INDEX_SPECIFIED: u8 = 0x04;
/// `SMB2_REOPEN`.
pub const REOPEN: u8 = 0x10;

/// SMB2 QUERY_DIRECTORY Request, MS-SMB2 §2.2.33.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueryDirectoryRequest {
    /// See [`EntryClass::of`].
    pub information_class: u8,
    /// [`RESTART_SCANS`] and so on.
    pub flags: u8,
    /// Where to go on, with [`INDEX_SPECIFIED`].
    pub file_index: u32,
    /// The directory.
    pub file_id: FileId,
    /// Which names; see `names::wildcard`. Empty where the client goes on with what it asked before.
    pub pattern: String,
    /// Bytes of entries at the most.
    pub output_buffer_length: u32,
}

impl QueryDirectoryRequest {
    /// # Errors
    /// [`Malformed`].
    pub fn decode(message: &Bytes) -> Result<QueryDirectoryRequest, Malformed> {
        const WHAT: &str = "QUERY_DIRECTORY";
        let mut reader = body(message, 33, WHAT)?;
        let (information_class, flags, file_index) = (reader.u8()?, reader.u8()?, reader.u32()?);
        let file_id = FileId::decode(&mut reader)?;
        let (offset, len, output_buffer_length) = (reader.u16()?, reader.u16()?, reader.u32()?);
        let pattern = utf16(&slice(message, offset.into(), len.into(), WHAT)?)?;
        Ok(QueryDirectoryRequest {
            information_class,
            flags,
            file_index,
            file_id,
            pattern,
            output_buffer_length,
        })
    }
}

/// What a client wants to know of each entry, MS-FSCC §2.4. Short names are never there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names of MS-FSCC §2.4, without `File` and `Information`")]
pub enum EntryClass {
    Directory = 1,
    FullDirectory = 2,
    BothDirectory = 3,
    Names = 12,
    IdBothDirectory = 37,
    IdFullDirectory = 38,
    IdExtdDirectory = 60,
    IdExtdBothDirectory = 63,
}

impl EntryClass {
    /// All of them.
    pub const ALL: [EntryClass; 8] = [
        EntryClass::Directory,
        EntryClass::FullDirectory,
        EntryClass::BothDirectory,
        EntryClass::Names,
        EntryClass::IdBothDirectory,
        EntryClass::IdFullDirectory,
        EntryClass::IdExtdDirectory,
        EntryClass::IdExtdBothDirectory,
    ];

    /// The class of a number; others are `INVALID_INFO_CLASS`.
    #[must_use]
    pub fn of(number: u8) -> Option<EntryClass> {
        EntryClass::ALL.into_iter().find(|class| *class as u8 == number)
    }

    /// Bytes of an entry before its name.
    #[must_use]
    pub fn fixed_len(self) -> usize {
        match self {
            EntryClass::Directory => 64,
            EntryClass::FullDirectory => 68,
            EntryClass::BothDirectory => 94,
            EntryClass::Names => 12,
            EntryClass::IdBothDirectory => 104,
            EntryClass::IdFullDirectory => 80,
            EntryClass::IdExtdDirectory => 88,
            EntryClass::IdExtdBothDirectory => 114,
        }
    }
}

/// One entry, for any class. Times are FILETIMEs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs, reason = "fields have the names of MS-FSCC §2.4")]
pub struct Entry<'a> {
    pub name: &'a str,
    pub file_index: u32,
    pub creation_time: u64,
    pub last_access_time: u64,
    pub last_write_time: u64,
    pub change_time: u64,
    pub end_of_file: u64,
    pub allocation_size: u64,
    pub attributes: u32,
    /// Bytes of its extended attributes, or, where `attributes` has `REPARSE_POINT`, the tag.
    pub ea_size: u32,
    pub file_id: u64,
    /// Only in `IdBothDirectory`.
    pub finder: Option<Finder>,
}

/// What a Mac that asked for it (`AAPL`) finds in the places of the size of extended attributes and of the short name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Finder {
    /// The rights that the user has.
    pub access: u32,
    /// Bytes of the resource fork.
    pub resource_fork_len: u64,
    /// Type and creator, flags, extended flags, time of making: `FinderInfo` without what listings do not need.
    pub info: [u8; 16],
}

/// Entries for a reply in the making.
#[derive(Debug)]
pub struct EntryList {
    class: EntryClass,
    start: usize,
    max: usize,
    last: Option<usize>,
}

impl EntryList {
    /// At the end of `out`, which is a multiple of eight bytes from the message's begin, of `max` bytes at the most.
    #[must_use]
    pub fn new(class: EntryClass, out: &BytesMut, max: usize) -> EntryList {
        EntryList { class, start: out.len(), max, last: None }
    }

    /// Nothing was appended yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// Appends an entry. False, with nothing changed, where it does not fit.
    pub fn push(&mut self, entry: &Entry, out: &mut BytesMut) -> bool {
        let (fixed_len, name_len) = (self.class.fixed_len(), utf16_len(entry.name));
        let used = (out.len() - self.start).next_multiple_of(8);
        if used + fixed_len + name_len > self.max {
            return false;
        }
        out.reserve(8 + fixed_len + name_len);
        pad(out, self.start, 8);
        let at = out.len();
        if let Some(last) = self.last.replace(at) {
            patch_u32(out, last, len32(at - last));
        }
        out.put_u32_le(0);
        out.put_u32_le(entry.file_index);
        if self.class != EntryClass::Names {
            put_facts(entry, out);
        }
        out.put_u32_le(len32(name_len));
        put_class_facts(self.class, entry, out);
        debug_assert_eq!(out.len() - at, fixed_len);
        put_utf16(out, entry.name);
        true
    }
}

/// What all classes have before the name's length.
fn put_facts(entry: &Entry, out: &mut BytesMut) {
    out.put_u64_le(entry.creation_time);
    out.put_u64_le(entry.last_access_time);
    out.put_u64_le(entry.last_write_time);
    out.put_u64_le(entry.change_time);
    out.put_u64_le(entry.end_of_file);
    out.put_u64_le(entry.allocation_size);
    out.put_u32_le(entry.attributes);
}

/// What stands between the name's length and the name.
fn put_class_facts(class: EntryClass, entry: &Entry, out: &mut BytesMut) {
    match class {
        EntryClass::Directory | EntryClass::Names => {}
        EntryClass::FullDirectory => out.put_u32_le(entry.ea_size),
        EntryClass::BothDirectory => {
            out.put_u32_le(entry.ea_size);
            put_no_short_name(out);
        }
        EntryClass::IdBothDirectory => {
            match &entry.finder {
                Some(finder) => put_finder(finder, out),
                None => {
                    out.put_u32_le(entry.ea_size);
                    put_no_short_name(out);
                }
            }
            out.put_u16_le(0);
            out.put_u64_le(entry.file_id);
        }
        EntryClass::IdFullDirectory => {
            out.put_u32_le(entry.ea_size);
            out.put_u32_le(0);
            out.put_u64_le(entry.file_id);
        }
        EntryClass::IdExtdDirectory | EntryClass::IdExtdBothDirectory => {
            let is_reparse_point = entry.attributes & attribute::REPARSE_POINT != 0;
            let (ea_size, tag) = if is_reparse_point { (0, entry.ea_size) } else { (entry.ea_size, 0) };
            out.put_u32_le(ea_size);
            out.put_u32_le(tag);
            out.put_u64_le(entry.file_id);
            out.put_u64_le(0);
            if class == EntryClass::IdExtdBothDirectory {
                put_no_short_name(out);
            }
        }
    }
}

fn put_finder(finder: &Finder, out: &mut BytesMut) {
    out.put_u32_le(finder.access);
    // The length of the short name, which Macs want to see as if there were one.
    out.put_u16_le(24);
    out.put_u64_le(finder.resource_fork_len);
    out.put_slice(&finder.info);
}

/// `ShortNameLength`, a reserved byte and twelve characters.
fn put_no_short_name(out: &mut BytesMut) {
    out.put_bytes(0, 26);
}
