//! OPLOCK_BREAK for oplocks and for leases, MS-SMB2 §2.2.23 to §2.2.25: the server tells, the client acknowledges, the server
//! answers.

use super::cursor::body;
use super::header::HEADER_LEN;
use super::lease::LeaseKey;
use super::{FileId, Malformed, Reader};
use bytes::{BufMut, Bytes, BytesMut};

const OPLOCK_SIZE: u16 = 24;
const LEASE_ACK_SIZE: u16 = 36;
const LEASE_NOTIFICATION_SIZE: u16 = 44;

/// `MessageId` of a notification's header, which answers no request.
pub const NOTIFICATION_MESSAGE_ID: u64 = u64::MAX;
/// `SMB2_NOTIFY_BREAK_LEASE_FLAG_ACK_REQUIRED`.
pub const LEASE_ACK_REQUIRED: u32 = 1;

/// OPLOCK_BREAK's notification, acknowledgement and reply, which have one form (§2.2.23.1, §2.2.24.1, §2.2.25.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OplockBreak {
    /// Of `create::oplock`: what is left.
    pub oplock_level: u8,
    /// The open.
    pub file_id: FileId,
}

impl OplockBreak {
    /// Appends the body.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u16_le(OPLOCK_SIZE);
        out.put_u8(self.oplock_level);
        out.put_bytes(0, 5);
        self.file_id.encode(out);
    }
}

/// A lease's acknowledgement and its reply, which have one form (§2.2.24.2, §2.2.25.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeaseBreakAck {
    /// The lease.
    pub key: LeaseKey,
    /// What is left.
    pub state: u32,
}

impl LeaseBreakAck {
    /// Appends the body.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u16_le(LEASE_ACK_SIZE);
        out.put_bytes(0, 6);
        out.put_slice(&self.key);
        out.put_u32_le(self.state);
        out.put_u64_le(0);
    }
}

/// What a client sends as OPLOCK_BREAK; the two are told apart by their size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BreakAcknowledgement {
    /// §2.2.24.1.
    Oplock(OplockBreak),
    /// §2.2.24.2.
    Lease(LeaseBreakAck),
}

impl BreakAcknowledgement {
    /// # Errors
    /// [`Malformed`].
    pub fn decode(message: &Bytes) -> Result<BreakAcknowledgement, Malformed> {
        const WHAT: &str = "OPLOCK_BREAK";
        let size = Reader::new(message.get(HEADER_LEN..).unwrap_or_default(), WHAT).u16()?;
        if size == LEASE_ACK_SIZE {
            let mut reader = body(message, LEASE_ACK_SIZE, WHAT)?;
            reader.skip(6)?;
            let (key, state) = (reader.array()?, reader.u32()?);
            return Ok(BreakAcknowledgement::Lease(LeaseBreakAck { key, state }));
        }
        let mut reader = body(message, OPLOCK_SIZE, WHAT)?;
        let oplock_level = reader.u8()?;
        reader.skip(5)?;
        let file_id = FileId::decode(&mut reader)?;
        Ok(BreakAcknowledgement::Oplock(OplockBreak { oplock_level, file_id }))
    }
}

/// Lease Break Notification, §2.2.23.2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeaseBreakNotification {
    /// Of a version 2 lease; 0 in version 1.
    pub new_epoch: u16,
    /// The client must acknowledge: it loses more than reading.
    pub ack_required: bool,
    /// The lease.
    pub key: LeaseKey,
    /// What the client has.
    pub current_state: u32,
    /// What it is to keep.
    pub new_state: u32,
}

impl LeaseBreakNotification {
    /// Appends the body.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u16_le(LEASE_NOTIFICATION_SIZE);
        out.put_u16_le(self.new_epoch);
        out.put_u32_le(if self.ack_required { LEASE_ACK_REQUIRED } else { 0 });
        out.put_slice(&self.key);
        out.put_u32_le(self.current_state);
        out.put_u32_le(self.new_state);
        // BreakReason and the hints are reserved.
        out.put_bytes(0, 12);
    }
}
