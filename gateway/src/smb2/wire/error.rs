//! The reply to a request that failed, MS-SMB2 §2.2.2.

use super::cursor::{len16, len32, patch_u32};
use super::names::put_utf16;
use bytes::{BufMut, BytesMut};

const SYMLINK_ERROR_TAG: u32 = 0x4C4D_5953;
/// `IO_REPARSE_TAG_SYMLINK`, MS-FSCC §2.1.2.1.
pub const REPARSE_TAG_SYMLINK: u32 = 0xA000_000C;

/// What some failures say beside their status.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum ErrorData {
    /// Most say nothing.
    #[default]
    None,
    /// `BUFFER_TOO_SMALL`: bytes that would be enough.
    Needed(u32),
    /// `STOPPED_ON_SYMLINK`: where the path goes on (Symbolic Link Error Response, MS-SMB2 §2.2.2.2.1).
    Symlink {
        /// UTF-16 bytes of the path, at its end, that the link does not stand for.
        unparsed_len: u16,
        /// What the link points to, with `\`.
        target: String,
        /// The target counts from the link's directory (`SYMLINK_FLAG_RELATIVE`).
        relative: bool,
    },
}

/// SMB2 ERROR Response, MS-SMB2 §2.2.2.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ErrorResponse {
    /// What is said.
    pub data: ErrorData,
    /// In an error context, as dialect 3.1.1 has it (§2.2.2.1).
    pub in_context: bool,
}

impl ErrorResponse {
    /// Appends the body.
    pub fn encode(&self, out: &mut BytesMut) {
        let in_context = self.in_context && self.data != ErrorData::None;
        out.put_u16_le(9);
        out.put_u8(u8::from(in_context));
        out.put_u8(0);
        let byte_count = out.len();
        out.put_u32_le(0);
        let start = out.len();
        if in_context {
            // ErrorDataLength, and ErrorId: SMB2_ERROR_ID_DEFAULT.
            out.put_u64_le(0);
        }
        let data = out.len();
        match &self.data {
            // No data is one byte that does not count.
            ErrorData::None => return out.put_u8(0),
            ErrorData::Needed(bytes) => out.put_u32_le(*bytes),
            ErrorData::Symlink { unparsed_len, target, relative } => {
                put_symlink(out, *unparsed_len, target, *relative);
            }
        }
        let (all, data) = (len32(out.len() - start), len32(out.len() - data));
        patch_u32(out, byte_count, all);
        if in_context {
            patch_u32(out, start, data);
        }
    }
}

fn put_symlink(out: &mut BytesMut, unparsed_len: u16, target: &str, relative: bool) {
    let start = out.len();
    out.put_u32_le(0);
    out.put_u32_le(SYMLINK_ERROR_TAG);
    put_symlink_reparse(out, unparsed_len, target, relative);
    let len = len32(out.len() - start - 4);
    patch_u32(out, start, len);
}

/// The symbolic link's reparse data (MS-FSCC §2.1.2.4), with one name for both of its names. `reserved` is the length of the
/// unparsed path in an error.
pub(super) fn put_symlink_reparse(out: &mut BytesMut, reserved: u16, target: &str, relative: bool) {
    let name_len = target.encode_utf16().count() * 2;
    out.put_u32_le(REPARSE_TAG_SYMLINK);
    out.put_u16_le(len16(12 + 2 * name_len));
    out.put_u16_le(reserved);
    out.put_u16_le(0);
    out.put_u16_le(len16(name_len));
    out.put_u16_le(len16(name_len));
    out.put_u16_le(len16(name_len));
    out.put_u32_le(u32::from(relative));
    put_utf16(out, target);
    put_utf16(out, target);
}
