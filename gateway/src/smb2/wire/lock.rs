//! LOCK, MS-SMB2 §2.2.26. The reply is in `plain`.

use super::cursor::body;
use super::{FileId, Malformed};
use bytes::Bytes;

/// `SMB2_LOCKFLAG_SHARED_LOCK`.
pub const LOCK_SHARED: u32 = 1;
/// `SMB2_LOCKFLAG_EXCLUSIVE_LOCK`.
pub const LOCK_EXCLUSIVE: u32 = 2;
/// `SMB2_LOCKFLAG_UNLOCK`.
pub const LOCK_UNLOCK: u32 = 4;
/// `SMB2_LOCKFLAG_FAIL_IMMEDIATELY`.
pub const LOCK_FAIL_IMMEDIATELY: u32 = 0x10;

/// `SMB2_LOCK_ELEMENT`, MS-SMB2 §2.2.26.1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LockElement {
    /// The first byte.
    pub offset: u64,
    /// Bytes; the range may leave the numbers' end behind, which is for the lock table to refuse.
    pub length: u64,
    /// `LOCK_*`.
    pub flags: u32,
}

/// SMB2 LOCK Request, MS-SMB2 §2.2.26.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LockRequest {
    /// Four bits, which change with each request in a bucket (from dialect 2.1 on).
    pub sequence_number: u8,
    /// The bucket: by both a repeated request is known.
    pub sequence_index: u32,
    /// The open.
    pub file_id: FileId,
    /// At least one.
    pub locks: Vec<LockElement>,
}

impl LockRequest {
    /// # Errors
    /// [`Malformed`].
    pub fn decode(message: &Bytes) -> Result<LockRequest, Malformed> {
        let mut reader = body(message, 48, "LOCK")?;
        let (count, sequence) = (reader.u16()?, reader.u32()?);
        let file_id = FileId::decode(&mut reader)?;
        if count == 0 || reader.rest().len() < usize::from(count) * 24 {
            return Err(reader.malformed());
        }
        let mut locks = Vec::with_capacity(count.into());
        for _ in 0..count {
            let (offset, length) = (reader.u64()?, reader.u64()?);
            let (flags, _reserved) = (reader.u32()?, reader.u32()?);
            locks.push(LockElement { offset, length, flags });
        }
        let [low, ..] = sequence.to_le_bytes();
        Ok(LockRequest { sequence_number: low & 15, sequence_index: sequence >> 4, file_id, locks })
    }
}
