//! The messages of SMB 2.0.2 to 3.1.1 as a server sees them (MS-SMB2, MS-FSCC, MS-DTYP): bytes to requests, replies to bytes.
//! Knows no volume, no session and no cryptography. Whatever a client sends, decoding does not panic and allocates no more
//! than a small multiple of what has arrived; payloads are slices of the message.
//!
//! A request decodes from its whole message, 64 bytes of header included, because the offsets inside count from there. A reply
//! appends its body to a buffer whose last 64 bytes are the header's place, and counts its offsets from there.
//! What the encoders write is the server's own: a length that does not fit its field is a bug there and panics.

pub mod breaks;
pub mod create;
pub mod create_contexts;
pub mod create_replies;
pub mod cursor;
pub mod directory;
pub mod error;
pub mod filetime;
pub mod frame;
pub mod fsctl;
pub mod header;
pub mod info;
pub mod io;
pub mod ioctl;
pub mod lease;
pub mod lock;
pub mod names;
pub mod negotiate;
pub mod negotiate_contexts;
pub mod notify;
pub mod output;
pub mod plain;
pub mod security;
pub mod session;
pub mod sid;
pub mod status;
#[cfg(test)]
pub(in crate::smb2) mod tests;
pub mod tree;

pub use cursor::Reader;
use status::NtStatus;

/// Bytes that are not the message they should be, and what to tell the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("malformed {what}: {status:?}")]
pub struct Malformed {
    /// The structure.
    pub what: &'static str,
    /// The status to answer with.
    pub status: NtStatus,
}

impl Malformed {
    /// A layout that the specification does not allow: `INVALID_PARAMETER`.
    #[must_use]
    pub fn new(what: &'static str) -> Malformed {
        Malformed { what, status: NtStatus::INVALID_PARAMETER }
    }

    /// With a status of its own.
    #[must_use]
    pub fn with(what: &'static str, status: NtStatus) -> Malformed {
        Malformed { what, status }
    }
}

/// `SMB2_FILEID`, MS-SMB2 §2.2.14.1.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub struct FileId {
    /// Survives a lost connection, where the open is durable.
    pub persistent: u64,
    /// Of this session.
    pub volatile: u64,
}

impl FileId {
    /// In a related request of a compound: the open of the request before (MS-SMB2 §3.3.5.2.7.2).
    pub const PREVIOUS: FileId = FileId { persistent: u64::MAX, volatile: u64::MAX };

    fn decode(reader: &mut Reader) -> Result<FileId, Malformed> {
        Ok(FileId { persistent: reader.u64()?, volatile: reader.u64()? })
    }

    fn encode(self, out: &mut bytes::BytesMut) {
        use bytes::BufMut;
        out.put_u64_le(self.persistent);
        out.put_u64_le(self.volatile);
    }
}
