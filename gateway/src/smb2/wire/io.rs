//! READ, WRITE and FLUSH, MS-SMB2 §2.2.17 to §2.2.22.
#![allow(missing_docs, reason = "fields have the names of MS-SMB2, which says what they mean")]

use super::cursor::{body, slice};
use super::{FileId, Malformed};
use bytes::{BufMut, Bytes, BytesMut};

/// `SMB2_READFLAG_READ_UNBUFFERED`.
pub const READ_UNBUFFERED: u8 = 1;
/// `SMB2_WRITEFLAG_WRITE_THROUGH`.
pub const WRITE_THROUGH: u32 = 1;
/// `SMB2_WRITEFLAG_WRITE_UNBUFFERED`.
pub const WRITE_UNBUFFERED: u32 = 2;

/// SMB2 READ Request, MS-SMB2 §2.2.19.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadRequest {
    pub flags: u8,
    pub length: u32,
    pub offset: u64,
    pub file_id: FileId,
    pub minimum_count: u32,
    /// Not zero: the payload is to go by RDMA, which this server does not have.
    pub channel: u32,
    pub remaining_bytes: u32,
}

impl ReadRequest {
    /// # Errors
    /// [`Malformed`].
    pub fn decode(message: &Bytes) -> Result<ReadRequest, Malformed> {
        let mut reader = body(message, 49, "READ")?;
        let (_padding, flags, length, offset) = (reader.u8()?, reader.u8()?, reader.u32()?, reader.u64()?);
        let file_id = FileId::decode(&mut reader)?;
        let (minimum_count, channel, remaining_bytes) = (reader.u32()?, reader.u32()?, reader.u32()?);
        Ok(ReadRequest { flags, length, offset, file_id, minimum_count, channel, remaining_bytes })
    }
}

/// The fixed part of SMB2 READ Response, MS-SMB2 §2.2.20. The data follows it without padding, from where the volume has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadResponse {
    pub data_length: u32,
}

impl ReadResponse {
    /// Appends 16 bytes.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u16_le(17);
        out.put_u8(80);
        out.put_u8(0);
        out.put_u32_le(self.data_length);
        out.put_u64_le(0);
    }
}

/// SMB2 WRITE Request, MS-SMB2 §2.2.21.
#[derive(Clone, PartialEq, Eq)]
pub struct WriteRequest {
    pub offset: u64,
    pub file_id: FileId,
    /// Not zero: the payload is to come by RDMA, which this server does not have.
    pub channel: u32,
    pub remaining_bytes: u32,
    pub flags: u32,
    pub data: Bytes,
}

impl WriteRequest {
    /// # Errors
    /// [`Malformed`].
    pub fn decode(message: &Bytes) -> Result<WriteRequest, Malformed> {
        const WHAT: &str = "WRITE";
        let mut reader = body(message, 49, WHAT)?;
        let (data_offset, length, offset) = (reader.u16()?, reader.u32()?, reader.u64()?);
        let file_id = FileId::decode(&mut reader)?;
        let (channel, remaining_bytes) = (reader.u32()?, reader.u32()?);
        let (_channel_info_offset, _channel_info_length) = (reader.u16()?, reader.u16()?);
        let flags = reader.u32()?;
        let data = slice(message, data_offset.into(), length, WHAT)?;
        Ok(WriteRequest { offset, file_id, channel, remaining_bytes, flags, data })
    }
}

/// Without the data: a mebibyte of numbers helps nobody.
impl std::fmt::Debug for WriteRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteRequest")
            .field("offset", &self.offset)
            .field("file_id", &self.file_id)
            .field("flags", &self.flags)
            .field("data.len", &self.data.len())
            .finish_non_exhaustive()
    }
}

/// SMB2 WRITE Response, MS-SMB2 §2.2.22.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WriteResponse {
    pub count: u32,
}

impl WriteResponse {
    /// Appends the body.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u16_le(17);
        out.put_u16_le(0);
        out.put_u32_le(self.count);
        out.put_u64_le(0);
    }
}

/// SMB2 FLUSH Request, MS-SMB2 §2.2.17. The reply is in `plain`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlushRequest {
    pub file_id: FileId,
}

impl FlushRequest {
    /// # Errors
    /// [`Malformed`].
    pub fn decode(message: &Bytes) -> Result<FlushRequest, Malformed> {
        let mut reader = body(message, 24, "FLUSH")?;
        reader.skip(6)?;
        Ok(FlushRequest { file_id: FileId::decode(&mut reader)? })
    }
}
