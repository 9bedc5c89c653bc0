//! What a frame of the transport holds: messages of this protocol, one or a compound; sealed ones (MS-SMB2 §2.2.41); the first
//! request of a client that would also speak SMB 1 (§3.3.5.3).

use super::header::{HEADER_LEN, Header, PROTOCOL_ID};
use super::{Malformed, Reader};
use bytes::{BufMut, Bytes, BytesMut};

/// Bytes of a transform header.
pub const TRANSFORM_LEN: usize = 52;
/// The first four bytes of a sealed frame.
pub const TRANSFORM_ID: [u8; 4] = *b"\xfdSMB";

/// What begins with the first bytes of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameKind {
    /// Messages in the clear.
    Plain,
    /// A transform header and sealed messages.
    Sealed,
    /// SMB 1: only its NEGOTIATE is of interest, see [`Smb1Negotiate`].
    Smb1,
}

impl FrameKind {
    /// By the protocol's id.
    ///
    /// # Errors
    /// [`Malformed`] for all else, compressed frames among it, since compression is never negotiated.
    pub fn of(frame: &[u8]) -> Result<FrameKind, Malformed> {
        match frame.first_chunk::<4>() {
            Some(&PROTOCOL_ID) => Ok(FrameKind::Plain),
            Some(&TRANSFORM_ID) => Ok(FrameKind::Sealed),
            Some(b"\xffSMB") => Ok(FrameKind::Smb1),
            Some(b"\xfcSMB") => Err(Malformed::new("compressed frame")),
            _ => Err(Malformed::new("frame")),
        }
    }
}

/// `SMB2 TRANSFORM_HEADER`, MS-SMB2 §2.2.41.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TransformHeader {
    /// Authenticates the frame.
    pub signature: [u8; 16],
    /// The first 11 or 12 bytes count, as the cipher needs them.
    pub nonce: [u8; 16],
    /// Bytes of the messages inside.
    pub original_message_size: u32,
    /// Whose key.
    pub session_id: u64,
}

impl TransformHeader {
    /// Where the bytes begin that the signature covers beside the messages: all up to the header's end.
    pub const ASSOCIATED_DATA: std::ops::Range<usize> = 20..TRANSFORM_LEN;

    /// Takes the header off a sealed frame. What follows it has `original_message_size` bytes.
    ///
    /// # Errors
    /// [`Malformed`] where it is no such frame, is not flagged as encrypted, or has another length than it says.
    pub fn decode(frame: &[u8]) -> Result<TransformHeader, Malformed> {
        let mut reader = Reader::new(frame, "transform header");
        if reader.array()? != TRANSFORM_ID {
            return Err(reader.malformed());
        }
        let (signature, nonce) = (reader.array()?, reader.array()?);
        let (original_message_size, _reserved) = (reader.u32()?, reader.u16()?);
        let (flags, session_id) = (reader.u16()?, reader.u64()?);
        if flags != 1 || reader.rest().len() != original_message_size as usize {
            return Err(reader.malformed());
        }
        Ok(TransformHeader { signature, nonce, original_message_size, session_id })
    }

    /// Appends the header's 52 bytes.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_slice(&TRANSFORM_ID);
        out.put_slice(&self.signature);
        out.put_slice(&self.nonce);
        out.put_u32_le(self.original_message_size);
        out.put_u16_le(0);
        out.put_u16_le(1);
        out.put_u64_le(self.session_id);
    }
}

/// The messages of a frame in the clear, each with its header: one, or those of a compound (MS-SMB2 §3.3.5.2.7). Ends
/// with the first error.
#[derive(Clone, Debug)]
pub struct Messages {
    rest: Bytes,
}

impl Messages {
    /// Of a frame, or of what was sealed in one.
    #[must_use]
    pub fn new(frame: Bytes) -> Messages {
        Messages { rest: frame }
    }

    fn split(&mut self) -> Result<(Header, Bytes), Malformed> {
        let rest = std::mem::take(&mut self.rest);
        let header = Header::decode(&rest)?;
        let next = header.next_command as usize;
        if next == 0 {
            return Ok((header, rest));
        }
        if next < HEADER_LEN || !next.is_multiple_of(8) || next >= rest.len() {
            return Err(Malformed::new("compound"));
        }
        self.rest = rest.slice(next..);
        Ok((header, rest.slice(..next)))
    }
}

impl Iterator for Messages {
    type Item = Result<(Header, Bytes), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.rest.is_empty()).then(|| self.split())
    }
}

/// `SMB_COM_NEGOTIATE` of SMB 1 (MS-CIFS §2.2.4.52.1): by it a client says that it would speak SMB 2 as well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Smb1Negotiate {
    /// It offers `SMB 2.002`: the answer may be dialect 2.0.2.
    pub offers_2_002: bool,
    /// It offers `SMB 2.???`: the answer is dialect 0x02FF, and the client negotiates again.
    pub offers_2_any: bool,
}

impl Smb1Negotiate {
    /// Reads the dialects.
    ///
    /// # Errors
    /// [`Malformed`] where it is no NEGOTIATE of SMB 1.
    pub fn decode(frame: &[u8]) -> Result<Smb1Negotiate, Malformed> {
        let mut reader = Reader::new(frame, "SMB1 NEGOTIATE");
        let (id, command) = (reader.array::<4>()?, reader.u8()?);
        reader.skip(27)?;
        if id != *b"\xffSMB" || command != 0x72 || reader.u8()? != 0 {
            return Err(reader.malformed());
        }
        let len = reader.u16()?;
        let dialects = reader.take(len.into())?;
        let offers = |dialect: &[u8]| dialects.split(|byte| *byte == 0).any(|offer| offer == dialect);
        Ok(Smb1Negotiate { offers_2_002: offers(b"\x02SMB 2.002"), offers_2_any: offers(b"\x02SMB 2.???") })
    }
}
