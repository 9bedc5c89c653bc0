//! Leases as CREATE asks for and grants them, MS-SMB2 §2.2.13.2.8, §2.2.13.2.10, §2.2.14.2.10 and §2.2.14.2.11.

use super::{Malformed, Reader};
use bytes::{BufMut, BytesMut};

/// `SMB2_LEASE_READ_CACHING`.
pub const LEASE_READ: u32 = 1;
/// `SMB2_LEASE_HANDLE_CACHING`.
pub const LEASE_HANDLE: u32 = 2;
/// `SMB2_LEASE_WRITE_CACHING`.
pub const LEASE_WRITE: u32 = 4;

/// `SMB2_LEASE_FLAG_BREAK_IN_PROGRESS`.
pub const LEASE_BREAK_IN_PROGRESS: u32 = 2;
/// `SMB2_LEASE_FLAG_PARENT_LEASE_KEY_SET`.
pub const LEASE_PARENT_KEY_SET: u32 = 4;

/// The key that a client gives a lease.
pub type LeaseKey = [u8; 16];

/// What version 2 has beside version 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeaseV2 {
    /// The lease on the directory; present where [`LEASE_PARENT_KEY_SET`] is in the flags.
    pub parent_key: Option<LeaseKey>,
    /// Counts the lease's changes.
    pub epoch: u16,
}

/// `SMB2_CREATE_REQUEST_LEASE`, `SMB2_CREATE_REQUEST_LEASE_V2` and their replies, which have the same form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lease {
    /// The client's name for it.
    pub key: LeaseKey,
    /// `LEASE_READ` and so on.
    pub state: u32,
    /// Only [`LEASE_BREAK_IN_PROGRESS`]; what is said of the parent follows from [`LeaseV2::parent_key`].
    pub flags: u32,
    /// Nothing in version 1.
    pub v2: Option<LeaseV2>,
}

impl Lease {
    /// The version follows from the length: 32 or 52 bytes.
    pub(super) fn decode(data: &[u8]) -> Result<Lease, Malformed> {
        let mut reader = Reader::new(data, "lease context");
        if data.len() != 32 && data.len() != 52 {
            return Err(reader.malformed());
        }
        let (key, state, flags, _duration) = (reader.array()?, reader.u32()?, reader.u32()?, reader.u64()?);
        let v2 = if data.len() == 52 {
            let (parent_key, epoch) = (reader.array()?, reader.u16()?);
            Some(LeaseV2 { parent_key: (flags & LEASE_PARENT_KEY_SET != 0).then_some(parent_key), epoch })
        } else {
            None
        };
        Ok(Lease { key, state, flags: flags & LEASE_BREAK_IN_PROGRESS, v2 })
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        let parent_key = self.v2.and_then(|v2| v2.parent_key);
        out.put_slice(&self.key);
        out.put_u32_le(self.state);
        out.put_u32_le(self.flags | if parent_key.is_some() { LEASE_PARENT_KEY_SET } else { 0 });
        out.put_u64_le(0);
        if let Some(v2) = self.v2 {
            out.put_slice(&parent_key.unwrap_or_default());
            out.put_u16_le(v2.epoch);
            out.put_u16_le(0);
        }
    }
}
