//! The contexts of CREATE's request, MS-SMB2 §2.2.13.2: what a client asks beside opening a file. Apple's `AAPL` is in no
//! specification; its form is the one that Samba and macOS have in common.

use super::info::ea::{Ea, decode_eas};
use super::lease::Lease;
use super::{FileId, Malformed, Reader};
use bytes::Bytes;

/// More than any client has.
const CONTEXTS_MAX: usize = 64;
/// Bytes of a context before its name.
const HEAD_LEN: usize = 16;

const APP_INSTANCE_ID: &[u8] = b"\x45\xbc\xa6\x6a\xef\xa7\xf7\x4a\x90\x08\xfa\x46\x2e\x14\x4d\x74";
const APP_INSTANCE_VERSION: &[u8] = b"\xb9\x82\xd0\xb7\x3b\x56\x07\x4f\xa0\x7b\x52\x4a\x81\x16\xa0\x10";

/// `SMB2_DHANDLE_FLAG_PERSISTENT`, in `flags` of the version 2 durable contexts.
pub const DURABLE_PERSISTENT: u32 = 2;
/// `kAAPL_SERVER_QUERY`.
pub const AAPL_SERVER_QUERY: u32 = 1;
/// Asks for, or answers, the server's capabilities.
pub const AAPL_SERVER_CAPS: u64 = 1;
/// Asks for, or answers, the volume's capabilities.
pub const AAPL_VOLUME_CAPS: u64 = 2;
/// Asks for, or answers, the server's model.
pub const AAPL_MODEL_INFO: u64 = 4;

/// What a client asks beside opening a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CreateContext {
    /// `MxAc`: the access that the user could have had; nothing if the file did not change since the time.
    MaximalAccess {
        /// FILETIME.
        timestamp: Option<u64>,
    },
    /// `QFid`: the file's id on disk.
    QueryOnDiskId,
    /// `DHnQ`: a durable handle.
    DurableRequest,
    /// `DHnC`: back to a durable handle.
    DurableReconnect {
        /// The handle's id; its volatile part means nothing.
        file_id: FileId,
    },
    /// `DH2Q`: a durable handle, version 2.
    DurableRequestV2 {
        /// Milliseconds; 0 leaves it to the server.
        timeout_ms: u32,
        /// [`DURABLE_PERSISTENT`].
        flags: u32,
        /// By which a replayed request is known.
        create_guid: [u8; 16],
    },
    /// `DH2C`: back to a durable handle, version 2.
    DurableReconnectV2 {
        /// The handle's id; its volatile part means nothing.
        file_id: FileId,
        /// As in the request that made the handle.
        create_guid: [u8; 16],
        /// [`DURABLE_PERSISTENT`].
        flags: u32,
    },
    /// `RqLs`: a lease of either version.
    Lease(Lease),
    /// `AlSi`: bytes to allocate for a new file.
    AllocationSize(u64),
    /// `ExtA`: extended attributes of a new file.
    ExtendedAttributes(Vec<Ea>),
    /// `SecD`: the security descriptor of a new file.
    SecurityDescriptor(Bytes),
    /// `TWrp`: the file as a snapshot has it.
    TimeWarp {
        /// FILETIME of the snapshot.
        timestamp: u64,
    },
    /// `AAPL`: a Mac asks what it speaks with.
    Apple {
        /// Only [`AAPL_SERVER_QUERY`] is known.
        command: u32,
        /// `AAPL_*`.
        request_bitmap: u64,
        /// What the client can do.
        client_capabilities: u64,
    },
    /// `SMB2_CREATE_APP_INSTANCE_ID`.
    AppInstanceId([u8; 16]),
    /// `SMB2_CREATE_APP_INSTANCE_VERSION`.
    AppInstanceVersion {
        /// The greater half.
        high: u64,
        /// The lesser half.
        low: u64,
    },
    /// One that this server does not know, and passes over.
    Other {
        /// Its name.
        name: Bytes,
        /// Its data.
        data: Bytes,
    },
}

/// The contexts of a request.
pub(super) fn decode_contexts(list: &Bytes) -> Result<Vec<CreateContext>, Malformed> {
    let mut contexts = Vec::new();
    let mut rest = list.clone();
    while !rest.is_empty() {
        let mut reader = Reader::new(&rest, "create context");
        let next = reader.u32()? as usize;
        let misplaced = next != 0 && (next < HEAD_LEN || !next.is_multiple_of(8) || next >= rest.len());
        if misplaced || contexts.len() == CONTEXTS_MAX {
            return Err(reader.malformed());
        }
        let one = if next == 0 { std::mem::take(&mut rest) } else { rest.split_to(next) };
        contexts.push(decode_context(&one)?);
    }
    Ok(contexts)
}

fn decode_context(one: &Bytes) -> Result<CreateContext, Malformed> {
    let mut reader = Reader::new(one, "create context");
    reader.skip(4)?;
    let (name_offset, name_len, _reserved) = (reader.u16()?, reader.u16()?, reader.u16()?);
    let (data_offset, data_len) = (reader.u16()?, reader.u32()?);
    let part = |offset: u16, len: u32| {
        let (start, len) = (usize::from(offset), len as usize);
        match one.get(start..start.saturating_add(len)) {
            _ if len == 0 => Ok(Bytes::new()),
            Some(part) if start >= HEAD_LEN => Ok(one.slice_ref(part)),
            _ => Err(Malformed::new("create context")),
        }
    };
    let (name, data) = (part(name_offset, name_len.into())?, part(data_offset, data_len)?);
    if name.len() < 4 {
        return Err(reader.malformed());
    }
    decode_known(name, data)
}

fn decode_known(name: Bytes, data: Bytes) -> Result<CreateContext, Malformed> {
    let mut reader = Reader::new(&data, "data of a create context");
    let len = |allowed: usize| (data.len() == allowed).then_some(()).ok_or_else(|| reader.malformed());
    match &name[..] {
        b"MxAc" if data.is_empty() => Ok(CreateContext::MaximalAccess { timestamp: None }),
        b"MxAc" => {
            len(8)?;
            Ok(CreateContext::MaximalAccess { timestamp: Some(reader.u64()?) })
        }
        b"QFid" => Ok(CreateContext::QueryOnDiskId),
        b"AlSi" => {
            len(8)?;
            Ok(CreateContext::AllocationSize(reader.u64()?))
        }
        b"TWrp" => {
            len(8)?;
            Ok(CreateContext::TimeWarp { timestamp: reader.u64()? })
        }
        b"RqLs" => Ok(CreateContext::Lease(Lease::decode(&data)?)),
        b"ExtA" => Ok(CreateContext::ExtendedAttributes(decode_eas(&data)?)),
        b"SecD" => Ok(CreateContext::SecurityDescriptor(data)),
        b"AAPL" => {
            len(24)?;
            let (command, _reserved) = (reader.u32()?, reader.u32()?);
            let (request_bitmap, client_capabilities) = (reader.u64()?, reader.u64()?);
            Ok(CreateContext::Apple { command, request_bitmap, client_capabilities })
        }
        APP_INSTANCE_ID => {
            len(20)?;
            reader.skip(4)?;
            Ok(CreateContext::AppInstanceId(reader.array()?))
        }
        APP_INSTANCE_VERSION => {
            len(24)?;
            reader.skip(8)?;
            Ok(CreateContext::AppInstanceVersion { high: reader.u64()?, low: reader.u64()? })
        }
        b"DHnQ" | b"DHnC" | b"DH2Q" | b"DH2C" => decode_durable(&name, &data),
        _ => Ok(CreateContext::Other { name, data }),
    }
}

fn decode_durable(name: &[u8], data: &[u8]) -> Result<CreateContext, Malformed> {
    let mut reader = Reader::new(data, "durable context");
    let context = match name {
        b"DHnQ" => {
            reader.skip(16)?;
            CreateContext::DurableRequest
        }
        b"DHnC" => CreateContext::DurableReconnect { file_id: FileId::decode(&mut reader)? },
        b"DH2Q" => {
            let (timeout_ms, flags, _reserved) = (reader.u32()?, reader.u32()?, reader.u64()?);
            CreateContext::DurableRequestV2 { timeout_ms, flags, create_guid: reader.array()? }
        }
        _ => {
            let (file_id, create_guid) = (FileId::decode(&mut reader)?, reader.array()?);
            CreateContext::DurableReconnectV2 { file_id, create_guid, flags: reader.u32()? }
        }
    };
    if reader.rest().is_empty() { Ok(context) } else { Err(reader.malformed()) }
}
