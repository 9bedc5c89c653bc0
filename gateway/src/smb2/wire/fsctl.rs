//! What the controls of IOCTL carry, MS-SMB2 §2.2.31 and §2.2.32, MS-FSCC §2.3.

use super::cursor::len32;
use super::error::put_symlink_reparse;
use super::names::put_utf16;
use super::status::NtStatus;
use super::{FileId, Malformed, Reader};
use bytes::{BufMut, Bytes, BytesMut};
use std::net::IpAddr;

/// `FSCTL_*`.
#[allow(missing_docs, reason = "the names of MS-SMB2 §2.2.31 and MS-FSCC §2.3")]
pub mod code {
    pub const DFS_GET_REFERRALS: u32 = 0x0006_0194;
    pub const DFS_GET_REFERRALS_EX: u32 = 0x0006_01B0;
    pub const SET_COMPRESSION: u32 = 0x0009_C040;
    pub const GET_COMPRESSION: u32 = 0x0009_003C;
    pub const GET_OBJECT_ID: u32 = 0x0009_009C;
    pub const SET_REPARSE_POINT: u32 = 0x0009_00A4;
    pub const GET_REPARSE_POINT: u32 = 0x0009_00A8;
    pub const DELETE_REPARSE_POINT: u32 = 0x0009_00AC;
    pub const CREATE_OR_GET_OBJECT_ID: u32 = 0x0009_00C0;
    pub const SET_SPARSE: u32 = 0x0009_00C4;
    pub const QUERY_ALLOCATED_RANGES: u32 = 0x0009_40CF;
    pub const SET_ZERO_DATA: u32 = 0x0009_80C8;
    pub const FILE_LEVEL_TRIM: u32 = 0x0009_8208;
    pub const GET_INTEGRITY_INFORMATION: u32 = 0x0009_027C;
    pub const OFFLOAD_READ: u32 = 0x0009_4264;
    pub const DUPLICATE_EXTENTS_TO_FILE: u32 = 0x0009_8344;
    pub const DUPLICATE_EXTENTS_TO_FILE_EX: u32 = 0x0009_83E8;
    pub const PIPE_WAIT: u32 = 0x0011_0018;
    pub const PIPE_PEEK: u32 = 0x0011_400C;
    pub const PIPE_TRANSCEIVE: u32 = 0x0011_C017;
    pub const SRV_ENUMERATE_SNAPSHOTS: u32 = 0x0014_4064;
    pub const SRV_REQUEST_RESUME_KEY: u32 = 0x0014_0078;
    pub const SRV_COPYCHUNK: u32 = 0x0014_40F2;
    pub const SRV_COPYCHUNK_WRITE: u32 = 0x0014_80F2;
    pub const SRV_READ_HASH: u32 = 0x0014_41BB;
    pub const LMR_REQUEST_RESILIENCY: u32 = 0x0014_01D4;
    pub const QUERY_NETWORK_INTERFACE_INFO: u32 = 0x0014_01FC;
    pub const VALIDATE_NEGOTIATE_INFO: u32 = 0x0014_0204;
}

/// `VALIDATE_NEGOTIATE_INFO` Request, MS-SMB2 §2.2.31.4.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "as in NEGOTIATE")]
pub struct ValidateNegotiate {
    pub capabilities: u32,
    pub client_guid: [u8; 16],
    pub security_mode: u16,
    pub dialects: Vec<u16>,
}

impl ValidateNegotiate {
    /// # Errors
    /// [`Malformed`].
    pub fn decode(input: &[u8]) -> Result<ValidateNegotiate, Malformed> {
        let mut reader = Reader::new(input, "VALIDATE_NEGOTIATE_INFO");
        let (capabilities, client_guid) = (reader.u32()?, reader.array()?);
        let (security_mode, count) = (reader.u16()?, reader.u16()?);
        Ok(ValidateNegotiate { capabilities, client_guid, security_mode, dialects: reader.u16s(count)? })
    }
}

/// `VALIDATE_NEGOTIATE_INFO` Response, MS-SMB2 §2.2.32.6: what NEGOTIATE answered.
pub fn put_validated(
    capabilities: u32,
    guid: &[u8; 16],
    security_mode: u16,
    dialect: u16,
    out: &mut BytesMut,
) {
    out.put_u32_le(capabilities);
    out.put_slice(guid);
    out.put_u16_le(security_mode);
    out.put_u16_le(dialect);
}

/// Names a file to copy from, made by the server: `ResumeKey`.
pub type ResumeKey = [u8; 24];

/// `SRV_REQUEST_RESUME_KEY` Response, MS-SMB2 §2.2.32.3.
pub fn put_resume_key(key: &ResumeKey, out: &mut BytesMut) {
    out.put_slice(key);
    // No context, and room for one as Windows leaves it.
    out.put_u64_le(0);
}

/// `SRV_COPYCHUNK`, MS-SMB2 §2.2.31.1.1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "fields have the names of MS-SMB2")]
pub struct CopyChunk {
    pub source_offset: u64,
    pub target_offset: u64,
    pub length: u32,
}

/// `SRV_COPYCHUNK_COPY`, MS-SMB2 §2.2.31.1.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "fields have the names of MS-SMB2")]
pub struct CopyChunks {
    pub source_key: ResumeKey,
    pub chunks: Vec<CopyChunk>,
}

impl CopyChunks {
    /// Chunks in one request at the most; more are answered with the limits.
    pub const CHUNKS_MAX: usize = 256;

    /// # Errors
    /// [`Malformed`], also for more than [`CopyChunks::CHUNKS_MAX`]: the client is told the limits with either.
    pub fn decode(input: &[u8]) -> Result<CopyChunks, Malformed> {
        let mut reader = Reader::new(input, "SRV_COPYCHUNK");
        let (source_key, count, _reserved) = (reader.array()?, reader.u32()?, reader.u32()?);
        let count = count as usize;
        if count > Self::CHUNKS_MAX || reader.rest().len() < count * 24 {
            return Err(reader.malformed());
        }
        let mut chunks = Vec::with_capacity(count);
        for _ in 0..count {
            let (source_offset, target_offset) = (reader.u64()?, reader.u64()?);
            let (length, _reserved) = (reader.u32()?, reader.u32()?);
            chunks.push(CopyChunk { source_offset, target_offset, length });
        }
        Ok(CopyChunks { source_key, chunks })
    }
}

/// `SRV_COPYCHUNK_RESPONSE`, MS-SMB2 §2.2.32.1: what was done, or with `INVALID_PARAMETER` the limits.
pub fn put_copied(chunks: u32, chunk_bytes: u32, total_bytes: u32, out: &mut BytesMut) {
    [chunks, chunk_bytes, total_bytes].into_iter().for_each(|word| out.put_u32_le(word));
}

/// `FSCTL_SET_SPARSE`, MS-FSCC §2.3.69: whether the file is to be sparse, which no input says too.
#[must_use]
pub fn decode_set_sparse(input: &[u8]) -> bool {
    input.first() != Some(&0)
}

/// A range from the first byte to the one after the last.
///
/// # Errors
/// [`Malformed`] where it ends before it begins, or beyond the longest file. `FSCTL_SET_ZERO_DATA`, MS-FSCC §2.3.71.
pub fn decode_zero_data(input: &[u8]) -> Result<std::ops::Range<u64>, Malformed> {
    let mut reader = Reader::new(input, "SET_ZERO_DATA");
    let (start, end) = (reader.u64()?, reader.u64()?);
    if start > end || end > i64::MAX.unsigned_abs() {
        return Err(reader.malformed());
    }
    Ok(start..end)
}

/// The range whose allocated parts a client asks for: `FILE_ALLOCATED_RANGE_BUFFER`, MS-FSCC §2.3.52.
///
/// # Errors
/// [`Malformed`] where it ends beyond the longest file.
pub fn decode_allocated_ranges(input: &[u8]) -> Result<std::ops::Range<u64>, Malformed> {
    let mut reader = Reader::new(input, "QUERY_ALLOCATED_RANGES");
    let (offset, length) = (reader.u64()?, reader.u64()?);
    match offset.checked_add(length) {
        Some(end) if end <= i64::MAX.unsigned_abs() => Ok(offset..end),
        _ => Err(reader.malformed()),
    }
}

/// One allocated part, MS-FSCC §2.3.52.
pub fn put_allocated_range(offset: u64, length: u64, out: &mut BytesMut) {
    out.put_u64_le(offset);
    out.put_u64_le(length);
}

/// Bytes of [`put_snapshots`] at the least, however few there are: clients take less for no answer. One that leaves less room is
/// refused with `INVALID_PARAMETER` (MS-SMB2 §3.3.5.15.1).
pub const SNAPSHOTS_MIN: usize = 16;

/// `SRV_SNAPSHOT_ARRAY`, MS-SMB2 §2.2.32.2, with names like `@GMT-2026.01.31-12.00.00`. Where `max` bytes are too few for them all
/// only their number and the bytes they need are said.
pub fn put_snapshots<'a>(names: impl Iterator<Item = &'a str> + Clone, max: usize, out: &mut BytesMut) {
    let mut array = BytesMut::new();
    for name in names.clone() {
        put_utf16(&mut array, name);
        array.put_u16_le(0);
    }
    array.put_u16_le(0);
    let count = len32(names.count());
    let fits = 12 + array.len() <= max;
    out.put_u32_le(count);
    out.put_u32_le(if fits { count } else { 0 });
    out.put_u32_le(len32(array.len()));
    let rest: &[u8] = if fits { &array } else { &[] };
    out.put_slice(rest);
    out.put_bytes(0, SNAPSHOTS_MIN.saturating_sub(12 + rest.len()));
}

/// `FSCTL_DUPLICATE_EXTENTS_TO_FILE`, MS-FSCC §2.3.7, or its `_EX`, §2.3.9.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "fields have the names of MS-FSCC")]
pub struct DuplicateExtents {
    pub source_file_id: FileId,
    pub source_file_offset: u64,
    pub target_file_offset: u64,
    pub byte_count: u64,
}

impl DuplicateExtents {
    /// # Errors
    /// [`Malformed`].
    pub fn decode(input: &[u8], ex: bool) -> Result<DuplicateExtents, Malformed> {
        let mut reader = Reader::new(input, "DUPLICATE_EXTENTS_TO_FILE");
        if ex {
            reader.skip(8)?;
        }
        Ok(DuplicateExtents {
            source_file_id: FileId::decode(&mut reader)?,
            source_file_offset: reader.u64()?,
            target_file_offset: reader.u64()?,
            byte_count: reader.u64()?,
        })
    }
}

/// `NETWORK_RESILIENCY_REQUEST`, MS-SMB2 §2.2.31.3: milliseconds.
///
/// # Errors
/// [`Malformed`].
pub fn decode_resiliency(input: &[u8]) -> Result<u32, Malformed> {
    Reader::new(input, "LMR_REQUEST_RESILIENCY").u32()
}

/// `NETWORK_INTERFACE_INFO` Response, MS-SMB2 §2.2.32.5, of one address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "fields have the names of MS-SMB2")]
pub struct NetworkInterface {
    pub index: u32,
    pub rss_capable: bool,
    pub link_speed_bits_per_second: u64,
    pub address: IpAddr,
}

/// Appends interfaces, 152 bytes each.
pub fn put_interfaces(interfaces: &[NetworkInterface], out: &mut BytesMut) {
    for (at, interface) in interfaces.iter().enumerate() {
        out.put_u32_le(if at + 1 < interfaces.len() { 152 } else { 0 });
        out.put_u32_le(interface.index);
        out.put_u32_le(u32::from(interface.rss_capable));
        out.put_u32_le(0);
        out.put_u64_le(interface.link_speed_bits_per_second);
        // SOCKADDR_STORAGE: family, then port, (flow,) address.
        let rest = match interface.address {
            IpAddr::V4(address) => {
                out.put_u16_le(2);
                out.put_u16_le(0);
                out.put_slice(&address.octets());
                120
            }
            IpAddr::V6(address) => {
                out.put_u16_le(23);
                out.put_bytes(0, 6);
                out.put_slice(&address.octets());
                104
            }
        };
        out.put_bytes(0, rest);
    }
}

/// A symbolic link as GET_REPARSE_POINT shows it, MS-FSCC §2.1.2.4.
pub fn put_symlink(target: &str, relative: bool, out: &mut BytesMut) {
    put_symlink_reparse(out, 0, target, relative);
}

/// The symbolic link that SET_REPARSE_POINT makes: its target, and whether that is relative.
///
/// # Errors
/// [`Malformed`] with `IO_REPARSE_DATA_INVALID`, or `IO_REPARSE_TAG_INVALID` for what is no symbolic link.
pub fn decode_symlink(input: &Bytes) -> Result<(String, bool), Malformed> {
    let invalid = |_| Malformed::with("reparse data", NtStatus::IO_REPARSE_DATA_INVALID);
    let mut reader = Reader::new(input, "reparse data");
    if reader.u32().map_err(invalid)? != super::error::REPARSE_TAG_SYMLINK {
        return Err(Malformed::with("reparse tag", NtStatus::IO_REPARSE_TAG_INVALID));
    }
    let mut parts = || {
        let (len, _reserved) = (reader.u16()?, reader.u16()?);
        let mut data = Reader::new(reader.take(len.into())?, "reparse data");
        let (offset, len, _print_name) = (data.u16()?, data.u16()?, data.u32()?);
        let flags = data.u32()?;
        data.skip(offset.into())?;
        Ok((super::names::utf16(data.take(len.into())?)?, flags & 1 != 0))
    };
    parts().map_err(invalid)
}
