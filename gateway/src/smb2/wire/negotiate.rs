//! NEGOTIATE, MS-SMB2 §2.2.3 and §2.2.4.
#![allow(missing_docs, reason = "fields have the names of MS-SMB2, which says what they mean")]

use super::Malformed;
use super::cursor::{body, len16, len32, offset, pad, patch_u32, slice};
use super::negotiate_contexts::{NegotiateContexts, NegotiateReplyContexts};
use bytes::{BufMut, Bytes, BytesMut};

/// `SMB2_NEGOTIATE_SIGNING_ENABLED`, in `security_mode` here and in SESSION_SETUP.
pub const SIGNING_ENABLED: u16 = 1;
/// `SMB2_NEGOTIATE_SIGNING_REQUIRED`.
pub const SIGNING_REQUIRED: u16 = 2;

/// `SMB2_GLOBAL_CAP_DFS`.
pub const CAP_DFS: u32 = 0x01;
/// `SMB2_GLOBAL_CAP_LEASING`.
pub const CAP_LEASING: u32 = 0x02;
/// `SMB2_GLOBAL_CAP_LARGE_MTU`.
pub const CAP_LARGE_MTU: u32 = 0x04;
/// `SMB2_GLOBAL_CAP_MULTI_CHANNEL`.
pub const CAP_MULTI_CHANNEL: u32 = 0x08;
/// `SMB2_GLOBAL_CAP_PERSISTENT_HANDLES`.
pub const CAP_PERSISTENT_HANDLES: u32 = 0x10;
/// `SMB2_GLOBAL_CAP_DIRECTORY_LEASING`.
pub const CAP_DIRECTORY_LEASING: u32 = 0x20;
/// `SMB2_GLOBAL_CAP_ENCRYPTION`.
pub const CAP_ENCRYPTION: u32 = 0x40;
/// `SMB2_GLOBAL_CAP_NOTIFICATIONS`.
pub const CAP_NOTIFICATIONS: u32 = 0x80;

/// The reply to an SMB 1 NEGOTIATE that offers any SMB 2: negotiate again.
pub const DIALECT_2_ANY: u16 = 0x02ff;

/// A dialect; a later one is the greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
#[repr(u16)]
pub enum Dialect {
    Smb202 = 0x0202,
    Smb210 = 0x0210,
    Smb300 = 0x0300,
    Smb302 = 0x0302,
    Smb311 = 0x0311,
}

impl Dialect {
    /// All of them, in order.
    pub const ALL: [Dialect; 5] =
        [Dialect::Smb202, Dialect::Smb210, Dialect::Smb300, Dialect::Smb302, Dialect::Smb311];

    /// The dialect of a number.
    #[must_use]
    pub fn of(number: u16) -> Option<Dialect> {
        Dialect::ALL.into_iter().find(|dialect| *dialect as u16 == number)
    }
}

/// SMB2 NEGOTIATE Request, MS-SMB2 §2.2.3.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NegotiateRequest {
    pub security_mode: u16,
    pub capabilities: u32,
    pub client_guid: [u8; 16],
    /// As they came: numbers that nobody knows among them.
    pub dialects: Vec<u16>,
    /// Only where dialect 3.1.1 is offered.
    pub contexts: Option<NegotiateContexts>,
}

impl NegotiateRequest {
    /// # Errors
    /// [`Malformed`]; no dialects are also an error (MS-SMB2 §3.3.5.4).
    pub fn decode(message: &Bytes) -> Result<NegotiateRequest, Malformed> {
        const WHAT: &str = "NEGOTIATE";
        let mut reader = body(message, 36, WHAT)?;
        let (count, security_mode, _reserved) = (reader.u16()?, reader.u16()?, reader.u16()?);
        let (capabilities, client_guid) = (reader.u32()?, reader.array()?);
        let (context_offset, context_count, _reserved) = (reader.u32()?, reader.u16()?, reader.u16()?);
        if count == 0 {
            return Err(reader.malformed());
        }
        let dialects = reader.u16s(count)?;
        let contexts = if dialects.contains(&(Dialect::Smb311 as u16)) {
            let rest = u32::try_from(message.len()).ok().and_then(|len| len.checked_sub(context_offset));
            let list = slice(message, context_offset, rest.ok_or_else(|| Malformed::new(WHAT))?, WHAT)?;
            Some(NegotiateContexts::decode(&list, context_count)?)
        } else {
            None
        };
        Ok(NegotiateRequest { security_mode, capabilities, client_guid, dialects, contexts })
    }

    /// The latest dialect that both know.
    #[must_use]
    pub fn best_dialect(&self) -> Option<Dialect> {
        self.dialects.iter().filter_map(|number| Dialect::of(*number)).max()
    }
}

/// SMB2 NEGOTIATE Response, MS-SMB2 §2.2.4.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NegotiateResponse {
    pub security_mode: u16,
    /// A [`Dialect`] or [`DIALECT_2_ANY`].
    pub dialect_revision: u16,
    pub server_guid: [u8; 16],
    pub capabilities: u32,
    pub max_transact_size: u32,
    pub max_read_size: u32,
    pub max_write_size: u32,
    /// FILETIME.
    pub system_time: u64,
    /// FILETIME; 0 where it is nobody's business.
    pub server_start_time: u64,
    pub security_buffer: Bytes,
    /// In dialect 3.1.1.
    pub contexts: Option<NegotiateReplyContexts>,
}

impl NegotiateResponse {
    /// Appends the body.
    pub fn encode(&self, out: &mut BytesMut) {
        let start = out.len();
        out.put_u16_le(65);
        out.put_u16_le(self.security_mode);
        out.put_u16_le(self.dialect_revision);
        out.put_u16_le(self.contexts.as_ref().map_or(0, NegotiateReplyContexts::count));
        out.put_slice(&self.server_guid);
        out.put_u32_le(self.capabilities);
        out.put_u32_le(self.max_transact_size);
        out.put_u32_le(self.max_read_size);
        out.put_u32_le(self.max_write_size);
        out.put_u64_le(self.system_time);
        out.put_u64_le(self.server_start_time);
        out.put_u16_le(128);
        out.put_u16_le(len16(self.security_buffer.len()));
        let context_offset = out.len();
        out.put_u32_le(0);
        out.put_slice(&self.security_buffer);
        if let Some(contexts) = &self.contexts {
            pad(out, start, 8);
            let at = len32(offset(out, start));
            patch_u32(out, context_offset, at);
            contexts.encode(out);
        }
    }
}
