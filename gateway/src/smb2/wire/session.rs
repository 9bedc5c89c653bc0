//! SESSION_SETUP, MS-SMB2 §2.2.5 and §2.2.6.
#![allow(missing_docs, reason = "fields have the names of MS-SMB2, which says what they mean")]

use super::Malformed;
use super::cursor::{body, len16, slice};
use bytes::{BufMut, Bytes, BytesMut};

/// `SMB2_SESSION_FLAG_BINDING`, in a request: a further channel of a session that there is.
pub const SESSION_BINDING: u8 = 1;

/// `SMB2_SESSION_FLAG_IS_GUEST`, in a reply.
pub const SESSION_IS_GUEST: u16 = 1;
/// `SMB2_SESSION_FLAG_IS_NULL`.
pub const SESSION_IS_NULL: u16 = 2;
/// `SMB2_SESSION_FLAG_ENCRYPT_DATA`.
pub const SESSION_ENCRYPT_DATA: u16 = 4;

/// SMB2 SESSION_SETUP Request, MS-SMB2 §2.2.5.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionSetupRequest {
    pub flags: u8,
    /// The bits of NEGOTIATE.
    pub security_mode: u8,
    pub capabilities: u32,
    pub previous_session_id: u64,
    pub security_buffer: Bytes,
}

impl SessionSetupRequest {
    /// # Errors
    /// [`Malformed`].
    pub fn decode(message: &Bytes) -> Result<SessionSetupRequest, Malformed> {
        const WHAT: &str = "SESSION_SETUP";
        let mut reader = body(message, 25, WHAT)?;
        let (flags, security_mode) = (reader.u8()?, reader.u8()?);
        let (capabilities, _channel) = (reader.u32()?, reader.u32()?);
        let (offset, len, previous_session_id) = (reader.u16()?, reader.u16()?, reader.u64()?);
        let security_buffer = slice(message, offset.into(), len.into(), WHAT)?;
        Ok(SessionSetupRequest { flags, security_mode, capabilities, previous_session_id, security_buffer })
    }
}

/// SMB2 SESSION_SETUP Response, MS-SMB2 §2.2.6.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionSetupResponse {
    pub session_flags: u16,
    pub security_buffer: Bytes,
}

impl SessionSetupResponse {
    /// Appends the body.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u16_le(9);
        out.put_u16_le(self.session_flags);
        out.put_u16_le(72);
        out.put_u16_le(len16(self.security_buffer.len()));
        out.put_slice(&self.security_buffer);
    }
}
