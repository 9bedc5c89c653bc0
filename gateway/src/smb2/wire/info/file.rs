//! What QUERY_INFO tells of a file, MS-FSCC §2.4, but for streams and extended attributes.

use super::super::create::FileFacts;
use super::super::cursor::len32;
use super::super::names::{put_utf16, utf16_len};
use super::super::status::NtStatus;
use super::file_class;
use bytes::{BufMut, BytesMut};

/// All that the classes tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FileInfo<'a> {
    /// Times, sizes and attributes.
    pub facts: FileFacts,
    /// Names that the file has.
    pub links: u32,
    /// Goes away with its last handle.
    pub delete_pending: bool,
    /// Is a directory.
    pub directory: bool,
    /// The file in its volume.
    pub file_id: u64,
    /// The volume.
    pub volume_serial: u64,
    /// Bytes of its extended attributes.
    pub ea_size: u32,
    /// What the handle may do.
    pub access: u32,
    /// The handle's position, which is the client's own business.
    pub position: u64,
    /// The handle's options that belong to `FileModeInformation`.
    pub mode: u32,
    /// Where `facts` says that it is a reparse point.
    pub reparse_tag: u32,
    /// From the share's root on, beginning with `\` (of a stream, with its `:stream`).
    pub path: &'a str,
}

/// Bytes that a reply needs at least: with fewer it is `INFO_LENGTH_MISMATCH`, with enough of them but too few for the name
/// `BUFFER_OVERFLOW` with what fits.
#[must_use]
pub fn fixed_len(class: u8) -> Option<usize> {
    match class {
        file_class::BASIC => Some(40),
        file_class::STANDARD => Some(24),
        file_class::INTERNAL | file_class::POSITION => Some(8),
        file_class::EA | file_class::ACCESS | file_class::MODE | file_class::ALIGNMENT => Some(4),
        file_class::ALL => Some(104),
        file_class::ALTERNATE_NAME | file_class::NORMALIZED_NAME => Some(8),
        file_class::STREAM => Some(32),
        file_class::COMPRESSION => Some(16),
        file_class::NETWORK_OPEN => Some(56),
        file_class::ATTRIBUTE_TAG => Some(8),
        file_class::ID => Some(24),
        file_class::FULL_EA => Some(0),
        _ => None,
    }
}

impl FileInfo<'_> {
    /// Appends what a class tells, in full.
    ///
    /// # Errors
    /// `OBJECT_NAME_NOT_FOUND` for the short name of a file whose own is not short; `INVALID_INFO_CLASS` for what this does not tell.
    pub fn encode(&self, class: u8, out: &mut BytesMut) -> Result<(), NtStatus> {
        match class {
            file_class::BASIC => self.put_basic(out),
            file_class::STANDARD => self.put_standard(out),
            file_class::INTERNAL => out.put_u64_le(self.file_id),
            file_class::EA => out.put_u32_le(self.ea_size),
            file_class::ACCESS => out.put_u32_le(self.access),
            file_class::POSITION => out.put_u64_le(self.position),
            file_class::MODE => out.put_u32_le(self.mode),
            // FILE_BYTE_ALIGNMENT.
            file_class::ALIGNMENT => out.put_u32_le(0),
            file_class::ALL => self.put_all(out),
            file_class::ALTERNATE_NAME => {
                put_name(&short_name(self.path).ok_or(NtStatus::OBJECT_NAME_NOT_FOUND)?, out);
            }
            file_class::COMPRESSION => {
                out.put_u64_le(self.facts.end_of_file);
                // COMPRESSION_FORMAT_NONE, and shifts that mean nothing then.
                out.put_u64_le(0);
            }
            file_class::NETWORK_OPEN => self.put_network_open(out),
            file_class::ATTRIBUTE_TAG => {
                out.put_u32_le(self.facts.file_attributes);
                out.put_u32_le(self.reparse_tag);
            }
            // Without the backslash before it.
            file_class::NORMALIZED_NAME => put_name(self.path.strip_prefix('\\').unwrap_or(self.path), out),
            file_class::ID => {
                out.put_u64_le(self.volume_serial);
                out.put_u64_le(self.file_id);
                out.put_u64_le(0);
            }
            _ => return Err(NtStatus::INVALID_INFO_CLASS),
        }
        Ok(())
    }

    fn put_times(&self, out: &mut BytesMut) {
        out.put_u64_le(self.facts.creation_time);
        out.put_u64_le(self.facts.last_access_time);
        out.put_u64_le(self.facts.last_write_time);
        out.put_u64_le(self.facts.change_time);
    }

    fn put_basic(&self, out: &mut BytesMut) {
        self.put_times(out);
        out.put_u32_le(self.facts.file_attributes);
        out.put_u32_le(0);
    }

    fn put_standard(&self, out: &mut BytesMut) {
        out.put_u64_le(self.facts.allocation_size);
        out.put_u64_le(self.facts.end_of_file);
        out.put_u32_le(self.links);
        out.put_u8(u8::from(self.delete_pending));
        out.put_u8(u8::from(self.directory));
        out.put_u16_le(0);
    }

    fn put_all(&self, out: &mut BytesMut) {
        self.put_basic(out);
        self.put_standard(out);
        out.put_u64_le(self.file_id);
        out.put_u32_le(self.ea_size);
        out.put_u32_le(self.access);
        out.put_u64_le(self.position);
        out.put_u32_le(self.mode);
        out.put_u32_le(0);
        put_name(self.path, out);
    }

    fn put_network_open(&self, out: &mut BytesMut) {
        self.facts.encode(out);
        out.put_u32_le(0);
    }
}

/// `FILE_NAME_INFORMATION`, MS-FSCC §2.1.7.
fn put_name(name: &str, out: &mut BytesMut) {
    out.put_u32_le(len32(utf16_len(name)));
    put_utf16(out, name);
}

/// The short name that a path's last component is itself, but for its case: up to eight characters, and up to three behind a
/// period (MS-FSCC §2.1.5.2.1). Others are not made up.
fn short_name(path: &str) -> Option<String> {
    let name = path.rsplit('\\').next()?;
    let (base, extension) = name.split_once('.').unwrap_or((name, ""));
    let legal = |part: &str| {
        part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-$~!#%&{}()@'`^".contains(&byte))
    };
    let fits = (1..=8).contains(&base.len()) && extension.len() <= 3 && !name.ends_with('.');
    (fits && legal(base) && legal(extension)).then(|| name.to_ascii_uppercase())
}
