//! TREE_CONNECT, MS-SMB2 §2.2.9 and §2.2.10.
#![allow(missing_docs, reason = "fields have the names of MS-SMB2, which says what they mean")]

use super::Malformed;
use super::cursor::{body, slice};
use super::names::utf16;
use super::status::NtStatus;
use bytes::{BufMut, Bytes, BytesMut};

/// `SMB2_TREE_CONNECT_FLAG_CLUSTER_RECONNECT`.
pub const TREE_CLUSTER_RECONNECT: u16 = 1;
/// `SMB2_TREE_CONNECT_FLAG_REDIRECT_TO_OWNER`.
pub const TREE_REDIRECT_TO_OWNER: u16 = 2;
/// `SMB2_TREE_CONNECT_FLAG_EXTENSION_PRESENT`.
pub const TREE_EXTENSION_PRESENT: u16 = 4;

/// `SMB2_SHARE_TYPE_DISK`.
pub const SHARE_TYPE_DISK: u8 = 1;
/// `SMB2_SHARE_TYPE_PIPE`.
pub const SHARE_TYPE_PIPE: u8 = 2;
/// `SMB2_SHARE_TYPE_PRINT`.
pub const SHARE_TYPE_PRINT: u8 = 3;

/// `SMB2_SHAREFLAG_NO_CACHING`.
pub const SHARE_NO_CACHING: u32 = 0x30;
/// `SMB2_SHAREFLAG_ACCESS_BASED_DIRECTORY_ENUM`.
pub const SHARE_ACCESS_BASED_DIRECTORY_ENUM: u32 = 0x0800;
/// `SMB2_SHAREFLAG_ENCRYPT_DATA`.
pub const SHARE_ENCRYPT_DATA: u32 = 0x8000;

/// `SMB2_SHARE_CAP_CONTINUOUS_AVAILABILITY`.
pub const SHARE_CAP_CONTINUOUS_AVAILABILITY: u32 = 0x10;

/// SMB2 TREE_CONNECT Request, MS-SMB2 §2.2.9. Of the extension (§2.2.9.1) only the path is read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TreeConnectRequest {
    pub flags: u16,
    /// `\\server\share`.
    pub path: String,
}

impl TreeConnectRequest {
    /// # Errors
    /// [`Malformed`].
    pub fn decode(message: &Bytes) -> Result<TreeConnectRequest, Malformed> {
        const WHAT: &str = "TREE_CONNECT";
        let mut reader = body(message, 9, WHAT)?;
        let (flags, offset, len) = (reader.u16()?, reader.u16()?, reader.u16()?);
        let path = utf16(&slice(message, offset.into(), len.into(), WHAT)?)?;
        Ok(TreeConnectRequest { flags, path })
    }

    /// The share's name: what is behind the server's.
    ///
    /// # Errors
    /// [`Malformed`] with `BAD_NETWORK_NAME` where the path is none of a share.
    pub fn share(&self) -> Result<&str, Malformed> {
        let share =
            self.path.strip_prefix(r"\\").and_then(|path| path.split_once('\\')).map(|(_, share)| share);
        match share {
            Some(share) if !share.is_empty() && !share.contains('\\') => Ok(share),
            _ => Err(Malformed::with("share path", NtStatus::BAD_NETWORK_NAME)),
        }
    }
}

/// SMB2 TREE_CONNECT Response, MS-SMB2 §2.2.10.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TreeConnectResponse {
    pub share_type: u8,
    pub share_flags: u32,
    pub capabilities: u32,
    pub maximal_access: u32,
}

impl TreeConnectResponse {
    /// Appends the body.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u16_le(16);
        out.put_u8(self.share_type);
        out.put_u8(0);
        out.put_u32_le(self.share_flags);
        out.put_u32_le(self.capabilities);
        out.put_u32_le(self.maximal_access);
    }
}
