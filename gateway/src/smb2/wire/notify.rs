//! CHANGE_NOTIFY, MS-SMB2 §2.2.35. The reply is an `output` with entries of MS-FSCC §2.7.1.

use super::cursor::{body, len32, pad, patch_u32};
use super::names::{put_utf16, utf16_len};
use super::{FileId, Malformed};
use bytes::{BufMut, Bytes, BytesMut};

/// `SMB2_WATCH_TREE`: not the directory alone.
pub const WATCH_TREE: u16 = 1;

/// What to be told of: `CompletionFilter`.
#[allow(missing_docs, reason = "the names of MS-SMB2 §2.2.35, which says what they mean")]
pub mod filter {
    pub const FILE_NAME: u32 = 0x001;
    pub const DIR_NAME: u32 = 0x002;
    pub const ATTRIBUTES: u32 = 0x004;
    pub const SIZE: u32 = 0x008;
    pub const LAST_WRITE: u32 = 0x010;
    pub const LAST_ACCESS: u32 = 0x020;
    pub const CREATION: u32 = 0x040;
    pub const EA: u32 = 0x080;
    pub const SECURITY: u32 = 0x100;
    pub const STREAM_NAME: u32 = 0x200;
    pub const STREAM_SIZE: u32 = 0x400;
    pub const STREAM_WRITE: u32 = 0x800;
}

/// SMB2 CHANGE_NOTIFY Request, MS-SMB2 §2.2.35.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChangeNotifyRequest {
    /// [`WATCH_TREE`].
    pub flags: u16,
    /// Bytes of entries at the most.
    pub output_buffer_length: u32,
    /// The directory.
    pub file_id: FileId,
    /// Of [`filter`].
    pub completion_filter: u32,
}

impl ChangeNotifyRequest {
    /// # Errors
    /// [`Malformed`].
    pub fn decode(message: &Bytes) -> Result<ChangeNotifyRequest, Malformed> {
        let mut reader = body(message, 32, "CHANGE_NOTIFY")?;
        let (flags, output_buffer_length) = (reader.u16()?, reader.u32()?);
        let file_id = FileId::decode(&mut reader)?;
        Ok(ChangeNotifyRequest { flags, output_buffer_length, file_id, completion_filter: reader.u32()? })
    }
}

/// What happened to a name: `Action` of `FILE_NOTIFY_INFORMATION`, MS-FSCC §2.7.1.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u32)]
#[allow(missing_docs, reason = "the names of MS-FSCC §2.7.1, which says what they mean")]
pub enum Action {
    Added = 1,
    Removed = 2,
    Modified = 3,
    RenamedOldName = 4,
    RenamedNewName = 5,
    AddedStream = 6,
    RemovedStream = 7,
    ModifiedStream = 8,
}

/// Entries for a reply in the making.
#[derive(Debug)]
pub struct NotifyList {
    start: usize,
    max: usize,
    last: Option<usize>,
}

impl NotifyList {
    /// At the end of `out`, of `max` bytes at the most.
    #[must_use]
    pub fn new(out: &BytesMut, max: usize) -> NotifyList {
        NotifyList { start: out.len(), max, last: None }
    }

    /// Appends one, with the path from the watched directory on. False where it does not fit: then the reply is
    /// `NOTIFY_ENUM_DIR` without entries.
    pub fn push(&mut self, action: Action, path: &str, out: &mut BytesMut) -> bool {
        let name_len = utf16_len(path);
        let used = (out.len() - self.start).next_multiple_of(4);
        if used + 12 + name_len > self.max {
            return false;
        }
        pad(out, self.start, 4);
        let entry = out.len();
        if let Some(last) = self.last.replace(entry) {
            patch_u32(out, last, len32(entry - last));
        }
        out.put_u32_le(0);
        out.put_u32_le(action as u32);
        out.put_u32_le(len32(name_len));
        put_utf16(out, path);
        true
    }
}
