//! CREATE and CLOSE, MS-SMB2 §2.2.13 to §2.2.16; the contexts of CREATE are in `create_contexts` and `create_replies`.
#![allow(missing_docs, reason = "fields have the names of MS-SMB2, which says what they mean")]

use super::create_contexts::{CreateContext, decode_contexts};
use super::create_replies::{CreateReplyContext, encode_contexts};
use super::cursor::{body, len32, offset, patch_u32, slice};
use super::names::utf16;
use super::{FileId, Malformed};
use bytes::{BufMut, Bytes, BytesMut};

/// `SMB2_OPLOCK_LEVEL_*`.
pub mod oplock {
    pub const NONE: u8 = 0x00;
    pub const LEVEL_II: u8 = 0x01;
    pub const EXCLUSIVE: u8 = 0x08;
    pub const BATCH: u8 = 0x09;
    pub const LEASE: u8 = 0xff;
}

/// `FILE_SUPERSEDE` and so on: `CreateDisposition`. Greater numbers are `INVALID_PARAMETER`.
pub mod disposition {
    pub const SUPERSEDE: u32 = 0;
    pub const OPEN: u32 = 1;
    pub const CREATE: u32 = 2;
    pub const OPEN_IF: u32 = 3;
    pub const OVERWRITE: u32 = 4;
    pub const OVERWRITE_IF: u32 = 5;
}

/// `CreateOptions`.
pub mod options {
    pub const DIRECTORY_FILE: u32 = 0x0000_0001;
    pub const WRITE_THROUGH: u32 = 0x0000_0002;
    pub const SEQUENTIAL_ONLY: u32 = 0x0000_0004;
    pub const NO_INTERMEDIATE_BUFFERING: u32 = 0x0000_0008;
    pub const SYNCHRONOUS_IO_ALERT: u32 = 0x0000_0010;
    pub const SYNCHRONOUS_IO_NONALERT: u32 = 0x0000_0020;
    pub const NON_DIRECTORY_FILE: u32 = 0x0000_0040;
    pub const COMPLETE_IF_OPLOCKED: u32 = 0x0000_0100;
    pub const NO_EA_KNOWLEDGE: u32 = 0x0000_0200;
    pub const RANDOM_ACCESS: u32 = 0x0000_0800;
    pub const DELETE_ON_CLOSE: u32 = 0x0000_1000;
    pub const OPEN_BY_FILE_ID: u32 = 0x0000_2000;
    pub const OPEN_FOR_BACKUP_INTENT: u32 = 0x0000_4000;
    pub const NO_COMPRESSION: u32 = 0x0000_8000;
    pub const RESERVE_OPFILTER: u32 = 0x0010_0000;
    pub const OPEN_REPARSE_POINT: u32 = 0x0020_0000;
    pub const OPEN_NO_RECALL: u32 = 0x0040_0000;
    pub const OPEN_FOR_FREE_SPACE_QUERY: u32 = 0x0080_0000;
}

/// `FILE_SHARE_*`.
pub mod share {
    pub const READ: u32 = 1;
    pub const WRITE: u32 = 2;
    pub const DELETE: u32 = 4;
}

/// `FILE_SUPERSEDED` and so on: `CreateAction`.
pub mod action {
    pub const SUPERSEDED: u32 = 0;
    pub const OPENED: u32 = 1;
    pub const CREATED: u32 = 2;
    pub const OVERWRITTEN: u32 = 3;
}

/// Access masks, MS-SMB2 §2.2.13.1. Where files and directories share a bit it has the file's name.
pub mod access {
    /// In a directory `FILE_LIST_DIRECTORY`.
    pub const READ_DATA: u32 = 0x0000_0001;
    /// In a directory `FILE_ADD_FILE`.
    pub const WRITE_DATA: u32 = 0x0000_0002;
    /// In a directory `FILE_ADD_SUBDIRECTORY`.
    pub const APPEND_DATA: u32 = 0x0000_0004;
    pub const READ_EA: u32 = 0x0000_0008;
    pub const WRITE_EA: u32 = 0x0000_0010;
    /// In a directory `FILE_TRAVERSE`.
    pub const EXECUTE: u32 = 0x0000_0020;
    pub const DELETE_CHILD: u32 = 0x0000_0040;
    pub const READ_ATTRIBUTES: u32 = 0x0000_0080;
    pub const WRITE_ATTRIBUTES: u32 = 0x0000_0100;
    pub const DELETE: u32 = 0x0001_0000;
    pub const READ_CONTROL: u32 = 0x0002_0000;
    pub const WRITE_DAC: u32 = 0x0004_0000;
    pub const WRITE_OWNER: u32 = 0x0008_0000;
    pub const SYNCHRONIZE: u32 = 0x0010_0000;
    pub const ACCESS_SYSTEM_SECURITY: u32 = 0x0100_0000;
    pub const MAXIMUM_ALLOWED: u32 = 0x0200_0000;
    pub const GENERIC_ALL: u32 = 0x1000_0000;
    pub const GENERIC_EXECUTE: u32 = 0x2000_0000;
    pub const GENERIC_WRITE: u32 = 0x4000_0000;
    pub const GENERIC_READ: u32 = 0x8000_0000;
}

/// `FILE_ATTRIBUTE_*`, MS-FSCC §2.6.
pub mod attribute {
    pub const READONLY: u32 = 0x0001;
    pub const HIDDEN: u32 = 0x0002;
    pub const SYSTEM: u32 = 0x0004;
    pub const DIRECTORY: u32 = 0x0010;
    pub const ARCHIVE: u32 = 0x0020;
    pub const NORMAL: u32 = 0x0080;
    pub const TEMPORARY: u32 = 0x0100;
    pub const SPARSE_FILE: u32 = 0x0200;
    pub const REPARSE_POINT: u32 = 0x0400;
    pub const COMPRESSED: u32 = 0x0800;
    pub const OFFLINE: u32 = 0x1000;
    pub const NOT_CONTENT_INDEXED: u32 = 0x2000;
    pub const ENCRYPTED: u32 = 0x4000;
}

/// SMB2 CREATE Request, MS-SMB2 §2.2.13.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreateRequest {
    pub oplock_level: u8,
    pub impersonation_level: u32,
    pub desired_access: u32,
    pub file_attributes: u32,
    pub share_access: u32,
    pub disposition: u32,
    pub options: u32,
    /// Below the share's root; empty for the root itself.
    pub name: String,
    pub contexts: Vec<CreateContext>,
}

impl CreateRequest {
    /// # Errors
    /// [`Malformed`]; a name that is not Unicode is `OBJECT_NAME_INVALID`.
    pub fn decode(message: &Bytes) -> Result<CreateRequest, Malformed> {
        const WHAT: &str = "CREATE";
        let mut reader = body(message, 57, WHAT)?;
        let (_security_flags, oplock_level) = (reader.u8()?, reader.u8()?);
        let impersonation_level = reader.u32()?;
        let (_create_flags, _reserved) = (reader.u64()?, reader.u64()?);
        let (desired_access, file_attributes) = (reader.u32()?, reader.u32()?);
        let (share_access, disposition, options) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let (name_offset, name_len) = (reader.u16()?, reader.u16()?);
        let (contexts_offset, contexts_len) = (reader.u32()?, reader.u32()?);
        let name = utf16(&slice(message, name_offset.into(), name_len.into(), WHAT)?)?;
        let contexts = decode_contexts(&slice(message, contexts_offset, contexts_len, WHAT)?)?;
        Ok(CreateRequest {
            oplock_level,
            impersonation_level,
            desired_access,
            file_attributes,
            share_access,
            disposition,
            options,
            name,
            contexts,
        })
    }
}

/// What CREATE and CLOSE answer about the file, MS-SMB2 §2.2.14 and §2.2.16. Times are FILETIMEs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FileFacts {
    pub creation_time: u64,
    pub last_access_time: u64,
    pub last_write_time: u64,
    pub change_time: u64,
    pub allocation_size: u64,
    pub end_of_file: u64,
    pub file_attributes: u32,
}

impl FileFacts {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_u64_le(self.creation_time);
        out.put_u64_le(self.last_access_time);
        out.put_u64_le(self.last_write_time);
        out.put_u64_le(self.change_time);
        out.put_u64_le(self.allocation_size);
        out.put_u64_le(self.end_of_file);
        out.put_u32_le(self.file_attributes);
    }
}

/// SMB2 CREATE Response, MS-SMB2 §2.2.14.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreateResponse {
    pub oplock_level: u8,
    /// `SMB2_CREATE_FLAG_REPARSEPOINT` is 1.
    pub flags: u8,
    pub action: u32,
    pub file: FileFacts,
    pub file_id: FileId,
    pub contexts: Vec<CreateReplyContext>,
}

impl CreateResponse {
    /// Appends the body.
    pub fn encode(&self, out: &mut BytesMut) {
        let start = out.len();
        out.put_u16_le(89);
        out.put_u8(self.oplock_level);
        out.put_u8(self.flags);
        out.put_u32_le(self.action);
        self.file.encode(out);
        out.put_u32_le(0);
        self.file_id.encode(out);
        let contexts = out.len();
        out.put_u64_le(0);
        if !self.contexts.is_empty() {
            let first = out.len();
            let at = len32(offset(out, start));
            patch_u32(out, contexts, at);
            encode_contexts(&self.contexts, out);
            let len = len32(out.len() - first);
            patch_u32(out, contexts + 4, len);
        }
    }
}

/// `SMB2_CLOSE_FLAG_POSTQUERY_ATTRIB`: the reply is to hold the file's attributes.
pub const CLOSE_POSTQUERY_ATTRIBUTES: u16 = 1;

/// SMB2 CLOSE Request, MS-SMB2 §2.2.15.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CloseRequest {
    pub flags: u16,
    pub file_id: FileId,
}

impl CloseRequest {
    /// # Errors
    /// [`Malformed`].
    pub fn decode(message: &Bytes) -> Result<CloseRequest, Malformed> {
        let mut reader = body(message, 24, "CLOSE")?;
        let (flags, _reserved) = (reader.u16()?, reader.u32()?);
        Ok(CloseRequest { flags, file_id: FileId::decode(&mut reader)? })
    }

    /// The reply is to hold the file's attributes.
    #[must_use]
    pub fn wants_attributes(&self) -> bool {
        self.flags & CLOSE_POSTQUERY_ATTRIBUTES != 0
    }
}

/// SMB2 CLOSE Response, MS-SMB2 §2.2.16.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CloseResponse {
    /// Where the request asked for it.
    pub file: Option<FileFacts>,
}

impl CloseResponse {
    /// Appends the body.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u16_le(60);
        out.put_u16_le(if self.file.is_some() { CLOSE_POSTQUERY_ATTRIBUTES } else { 0 });
        out.put_u32_le(0);
        self.file.unwrap_or_default().encode(out);
    }
}
