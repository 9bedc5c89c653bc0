//! QUERY_INFO and SET_INFO, MS-SMB2 §2.2.37 and §2.2.39. What they carry is in the files below (MS-FSCC §2.4 and §2.5)
//! and in `security`; the reply of QUERY_INFO is an `output`, that of SET_INFO is in `plain`.
#![allow(missing_docs, reason = "fields and constants have the names of MS-SMB2, which says what they mean")]

pub mod ea;
pub mod file;
pub mod quota;
pub mod set;
pub mod stream;
pub mod volume;

use super::cursor::{body, slice};
use super::{FileId, Malformed};
use bytes::Bytes;

/// `InfoType`.
pub mod info_type {
    pub const FILE: u8 = 1;
    pub const FILESYSTEM: u8 = 2;
    pub const SECURITY: u8 = 3;
    pub const QUOTA: u8 = 4;
}

/// Parts of a security descriptor, in `additional_information`.
pub mod security_information {
    pub const OWNER: u32 = 0x01;
    pub const GROUP: u32 = 0x02;
    pub const DACL: u32 = 0x04;
    pub const SACL: u32 = 0x08;
    pub const LABEL: u32 = 0x10;
    pub const ATTRIBUTE: u32 = 0x20;
    pub const SCOPE: u32 = 0x40;
    pub const BACKUP: u32 = 0x0001_0000;
}

/// Numbers of MS-FSCC §2.4: `FileInfoClass` where the type is [`info_type::FILE`].
pub mod file_class {
    pub const BASIC: u8 = 4;
    pub const STANDARD: u8 = 5;
    pub const INTERNAL: u8 = 6;
    pub const EA: u8 = 7;
    pub const ACCESS: u8 = 8;
    pub const RENAME: u8 = 10;
    pub const LINK: u8 = 11;
    pub const DISPOSITION: u8 = 13;
    pub const POSITION: u8 = 14;
    pub const FULL_EA: u8 = 15;
    pub const MODE: u8 = 16;
    pub const ALIGNMENT: u8 = 17;
    pub const ALL: u8 = 18;
    pub const ALLOCATION: u8 = 19;
    pub const END_OF_FILE: u8 = 20;
    pub const ALTERNATE_NAME: u8 = 21;
    pub const STREAM: u8 = 22;
    pub const COMPRESSION: u8 = 28;
    pub const NETWORK_OPEN: u8 = 34;
    pub const ATTRIBUTE_TAG: u8 = 35;
    pub const VALID_DATA_LENGTH: u8 = 39;
    pub const NORMALIZED_NAME: u8 = 48;
    pub const ID: u8 = 59;
    pub const DISPOSITION_EX: u8 = 64;
    pub const RENAME_EX: u8 = 65;
}

/// Numbers of MS-FSCC §2.5: `FileInfoClass` where the type is [`info_type::FILESYSTEM`].
pub mod volume_class {
    pub const VOLUME: u8 = 1;
    pub const SIZE: u8 = 3;
    pub const DEVICE: u8 = 4;
    pub const ATTRIBUTE: u8 = 5;
    pub const CONTROL: u8 = 6;
    pub const FULL_SIZE: u8 = 7;
    pub const OBJECT_ID: u8 = 8;
    pub const SECTOR_SIZE: u8 = 11;
}

/// SMB2 QUERY_INFO Request, MS-SMB2 §2.2.37.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueryInfoRequest {
    pub info_type: u8,
    pub info_class: u8,
    pub output_buffer_length: u32,
    pub additional_information: u32,
    pub flags: u32,
    pub file_id: FileId,
    /// The names of attributes or users that are asked for.
    pub input: Bytes,
}

impl QueryInfoRequest {
    /// # Errors
    /// [`Malformed`].
    pub fn decode(message: &Bytes) -> Result<QueryInfoRequest, Malformed> {
        const WHAT: &str = "QUERY_INFO";
        let mut reader = body(message, 41, WHAT)?;
        let (info_type, info_class, output_buffer_length) = (reader.u8()?, reader.u8()?, reader.u32()?);
        let (input_offset, _reserved, input_length) = (reader.u16()?, reader.u16()?, reader.u32()?);
        let (additional_information, flags) = (reader.u32()?, reader.u32()?);
        let file_id = FileId::decode(&mut reader)?;
        let input = slice(message, input_offset.into(), input_length, WHAT)?;
        Ok(QueryInfoRequest {
            info_type,
            info_class,
            output_buffer_length,
            additional_information,
            flags,
            file_id,
            input,
        })
    }
}

/// SMB2 SET_INFO Request, MS-SMB2 §2.2.39.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetInfoRequest {
    pub info_type: u8,
    pub info_class: u8,
    pub additional_information: u32,
    pub file_id: FileId,
    pub buffer: Bytes,
}

impl SetInfoRequest {
    /// # Errors
    /// [`Malformed`].
    pub fn decode(message: &Bytes) -> Result<SetInfoRequest, Malformed> {
        const WHAT: &str = "SET_INFO";
        let mut reader = body(message, 33, WHAT)?;
        let (info_type, info_class, length) = (reader.u8()?, reader.u8()?, reader.u32()?);
        let (offset, _reserved, additional_information) = (reader.u16()?, reader.u16()?, reader.u32()?);
        let file_id = FileId::decode(&mut reader)?;
        let buffer = slice(message, offset.into(), length, WHAT)?;
        Ok(SetInfoRequest { info_type, info_class, additional_information, file_id, buffer })
    }
}
