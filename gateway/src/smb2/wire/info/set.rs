//! What SET_INFO changes of a file, MS-FSCC §2.4.

use super::super::filetime::TimeChange;
use super::super::names::utf16;
use super::super::status::NtStatus;
use super::super::{Malformed, Reader};
use super::ea::{Ea, decode_eas};
use super::file_class;
use bytes::Bytes;

/// `FILE_DISPOSITION_DELETE`, in `FileDispositionInformationEx`.
pub const DISPOSITION_DELETE: u32 = 0x01;
/// `FILE_DISPOSITION_POSIX_SEMANTICS`: the name goes at once.
pub const DISPOSITION_POSIX_SEMANTICS: u32 = 0x02;
/// `FILE_DISPOSITION_FORCE_IMAGE_SECTION_CHECK`.
pub const DISPOSITION_FORCE_IMAGE_SECTION_CHECK: u32 = 0x04;
/// `FILE_DISPOSITION_ON_CLOSE`.
pub const DISPOSITION_ON_CLOSE: u32 = 0x08;
/// `FILE_DISPOSITION_IGNORE_READONLY_ATTRIBUTE`.
pub const DISPOSITION_IGNORE_READONLY: u32 = 0x10;

/// `FILE_RENAME_REPLACE_IF_EXISTS`, in `FileRenameInformationEx`.
pub const RENAME_REPLACE_IF_EXISTS: u32 = 0x01;
/// `FILE_RENAME_POSIX_SEMANTICS`: also over a file that is open.
pub const RENAME_POSIX_SEMANTICS: u32 = 0x02;
/// `FILE_RENAME_IGNORE_READONLY_ATTRIBUTE`.
pub const RENAME_IGNORE_READONLY: u32 = 0x40;

/// `FileBasicInformation`, MS-FSCC §2.4.7.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "fields have the names of MS-FSCC")]
pub struct SetBasic {
    pub creation_time: TimeChange,
    pub last_access_time: TimeChange,
    pub last_write_time: TimeChange,
    pub change_time: TimeChange,
    /// 0: leave them.
    pub file_attributes: u32,
}

/// `FileRenameInformation` (§2.4.42.2), `FileRenameInformationEx` (§2.4.43) and `FileLinkInformation` (§2.4.27.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewName {
    /// `RENAME_*`; the classes that are older have [`RENAME_REPLACE_IF_EXISTS`] alone.
    pub flags: u32,
    /// From the share's root on, without the `\` that some clients begin it with; beginning with `:` it is a stream's.
    pub name: String,
}

impl NewName {
    /// What is called that already may go.
    #[must_use]
    pub fn replace_if_exists(&self) -> bool {
        self.flags & RENAME_REPLACE_IF_EXISTS != 0
    }
}

/// One change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SetFile {
    /// `FileBasicInformation`.
    Basic(SetBasic),
    /// `FileRenameInformation` and `FileRenameInformationEx`.
    Rename(NewName),
    /// `FileLinkInformation`.
    Link(NewName),
    /// `FileDispositionInformation`, as [`DISPOSITION_DELETE`] or nothing, and `FileDispositionInformationEx`.
    Disposition {
        /// `DISPOSITION_*`.
        flags: u32,
    },
    /// `FilePositionInformation`.
    Position(u64),
    /// `FileModeInformation`.
    Mode(u32),
    /// `FileAllocationInformation`: bytes.
    Allocation(u64),
    /// `FileEndOfFileInformation`: bytes.
    EndOfFile(u64),
    /// `FileValidDataLengthInformation`: bytes.
    ValidDataLength(u64),
    /// `FileFullEaInformation`.
    FullEa(Vec<Ea>),
}

impl SetFile {
    /// The change that a class makes.
    ///
    /// # Errors
    /// [`Malformed`]: `INFO_LENGTH_MISMATCH` where bytes are missing, `INVALID_INFO_CLASS` for a class that can't be set,
    /// others for what a class itself refuses.
    pub fn decode(class: u8, buffer: &Bytes) -> Result<SetFile, Malformed> {
        let short = |_| Malformed::with("SET_INFO buffer", NtStatus::INFO_LENGTH_MISMATCH);
        let mut reader = Reader::new(buffer, "SET_INFO buffer");
        Ok(match class {
            file_class::BASIC => SetFile::Basic(decode_basic(reader)?),
            file_class::RENAME => SetFile::Rename(decode_name(reader, false)?),
            file_class::RENAME_EX => SetFile::Rename(decode_name(reader, true)?),
            file_class::LINK => SetFile::Link(decode_name(reader, false)?),
            file_class::DISPOSITION => {
                let delete = reader.u8().map_err(short)? != 0;
                SetFile::Disposition { flags: if delete { DISPOSITION_DELETE } else { 0 } }
            }
            file_class::DISPOSITION_EX => SetFile::Disposition { flags: reader.u32().map_err(short)? },
            file_class::POSITION => SetFile::Position(decode_size(reader)?),
            file_class::MODE => SetFile::Mode(reader.u32().map_err(short)?),
            file_class::ALLOCATION => SetFile::Allocation(decode_size(reader)?),
            file_class::END_OF_FILE => SetFile::EndOfFile(decode_size(reader)?),
            file_class::VALID_DATA_LENGTH => SetFile::ValidDataLength(decode_size(reader)?),
            file_class::FULL_EA => SetFile::FullEa(decode_eas(buffer)?),
            _ => return Err(Malformed::with("SET_INFO class", NtStatus::INVALID_INFO_CLASS)),
        })
    }
}

fn mismatch() -> Malformed {
    Malformed::with("SET_INFO buffer", NtStatus::INFO_LENGTH_MISMATCH)
}

/// The last four bytes are padding.
fn decode_basic(mut reader: Reader) -> Result<SetBasic, Malformed> {
    if reader.rest().len() < 36 {
        return Err(mismatch());
    }
    let mut time = || TimeChange::of(reader.u64()?);
    let (creation_time, last_access_time) = (time()?, time()?);
    let (last_write_time, change_time) = (time()?, time()?);
    let file_attributes = reader.u32()?;
    Ok(SetBasic { creation_time, last_access_time, last_write_time, change_time, file_attributes })
}

/// A size or a position, which no file has negative.
fn decode_size(mut reader: Reader) -> Result<u64, Malformed> {
    let size = reader.u64().map_err(|_| mismatch())?;
    if size > i64::MAX.unsigned_abs() { Err(reader.malformed()) } else { Ok(size) }
}

fn decode_name(mut reader: Reader, extended: bool) -> Result<NewName, Malformed> {
    if reader.rest().len() < 20 {
        return Err(mismatch());
    }
    let flags = reader.u32()?;
    // A byte that says yes, and three of padding, unless it is the class that has flags.
    let flags = if extended { flags } else { u32::from(flags & 0xff != 0) * RENAME_REPLACE_IF_EXISTS };
    let (_reserved, root_directory, len) = (reader.u32()?, reader.u64()?, reader.u32()?);
    let mut name = utf16(reader.take(len as usize).map_err(|_| mismatch())?)?;
    if name.starts_with('\\') {
        name.remove(0);
    }
    // MS-FSCC §2.4.42.2: for network operations it must be zero.
    if root_directory != 0 || name.is_empty() {
        return Err(reader.malformed());
    }
    Ok(NewName { flags, name })
}
