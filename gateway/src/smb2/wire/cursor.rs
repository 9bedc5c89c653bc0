//! A bounded little-endian cursor over received bytes, and what the encoders share.

use super::Malformed;
use super::header::HEADER_LEN;
use bytes::{BufMut, Bytes, BytesMut};

/// Takes values off the front of bytes; never panics, never reads past their end.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// At the first of `bytes`, which are to be a `what`.
    #[must_use]
    pub fn new(bytes: &'a [u8], what: &'static str) -> Reader<'a> {
        Reader { rest: bytes, what }
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// [`Malformed`] where fewer are left, as in all that follows.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// As [`Reader::take`].
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.malformed())?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Passes over bytes whose value does not matter.
    ///
    /// # Errors
    /// As [`Reader::take`].
    pub fn skip(&mut self, len: usize) -> Result<(), Malformed> {
        self.take(len).map(drop)
    }

    /// One byte.
    ///
    /// # Errors
    /// As [`Reader::take`].
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(u8::from_le_bytes)
    }

    /// Two bytes.
    ///
    /// # Errors
    /// As [`Reader::take`].
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes.
    ///
    /// # Errors
    /// As [`Reader::take`].
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// As [`Reader::take`].
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// `count` numbers of two bytes. Nothing is allocated unless they are all there.
    ///
    /// # Errors
    /// As [`Reader::take`].
    pub fn u16s(&mut self, count: u16) -> Result<Vec<u16>, Malformed> {
        let bytes = self.take(usize::from(count) * 2)?;
        Ok(bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect())
    }

    /// What is left.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The error of this structure.
    #[must_use]
    pub fn malformed(&self) -> Malformed {
        Malformed::new(self.what)
    }
}

/// The body of a request behind its `StructureSize`, which must be `size`. An odd size counts one byte of the variable part,
/// which need not be there.
pub(super) fn body<'a>(message: &'a [u8], size: u16, what: &'static str) -> Result<Reader<'a>, Malformed> {
    let body = message.get(HEADER_LEN..).unwrap_or_default();
    let mut reader = Reader::new(body, what);
    if body.len() < usize::from(size & !1) || reader.u16()? != size {
        return Err(reader.malformed());
    }
    Ok(reader)
}

/// `len` bytes at `offset` of a message, without a copy. Where there are none the offset means nothing.
pub(super) fn slice(message: &Bytes, offset: u32, len: u32, what: &'static str) -> Result<Bytes, Malformed> {
    if len == 0 {
        return Ok(Bytes::new());
    }
    let (start, len) = (offset as usize, len as usize);
    match start.checked_add(len) {
        Some(end) if start >= HEADER_LEN && end <= message.len() => Ok(message.slice(start..end)),
        _ => Err(Malformed::new(what)),
    }
}

/// The offset of the next byte of `out` in the message whose body began at `body`.
pub(super) fn offset(out: &BytesMut, body: usize) -> usize {
    HEADER_LEN + out.len() - body
}

/// Zeros until `out` is a multiple of `to` bytes behind `start`.
pub(super) fn pad(out: &mut BytesMut, start: usize, to: usize) {
    let odd = (out.len() - start) % to;
    if odd != 0 {
        out.put_bytes(0, to - odd);
    }
}

/// Overwrites four bytes that were left open.
pub(super) fn patch_u32(out: &mut BytesMut, at: usize, value: u32) {
    out[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// A length of the server's own making, in two bytes.
pub(super) fn len16(len: usize) -> u16 {
    u16::try_from(len).expect("what the server sends fits the field for its length")
}

/// A length of the server's own making, in four bytes.
pub(super) fn len32(len: usize) -> u32 {
    u32::try_from(len).expect("what the server sends fits the field for its length")
}
