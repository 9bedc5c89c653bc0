//! What the services' arguments and results are made of: NDR (C706 §14), as far as they need it. Alignment counts from the first
//! byte of the arguments or results.

use super::super::wire::names::utf16;
use super::super::wire::sid::Sid;
use super::super::wire::{Malformed, Reader};
use bytes::{BufMut, BytesMut};

/// Where a pointer points to something: any number but zero.
pub(super) const SOMEWHERE: u32 = 0x0002_0000;

/// Takes arguments apart.
#[derive(Debug)]
pub(super) struct Input<'a> {
    reader: Reader<'a>,
    len: usize,
}

impl<'a> Input<'a> {
    pub(super) fn new(arguments: &'a [u8], what: &'static str) -> Self {
        Input { reader: Reader::new(arguments, what), len: arguments.len() }
    }

    fn align(&mut self, to: usize) -> Result<(), Malformed> {
        let at = self.len - self.reader.rest().len();
        self.reader.skip(at.next_multiple_of(to) - at)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        self.align(2)?;
        self.reader.u16()
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.align(4)?;
        self.reader.u32()
    }

    /// Whether a pointer points to something.
    pub(super) fn pointer(&mut self) -> Result<bool, Malformed> {
        Ok(self.u32()? != 0)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.reader.array()
    }

    /// A number of elements, of which each has `size` bytes at the least: no more than can be there.
    pub(super) fn count(&mut self, size: usize) -> Result<usize, Malformed> {
        let count = self.u32()? as usize;
        if count.saturating_mul(size) > self.reader.rest().len() {
            return Err(self.malformed());
        }
        Ok(count)
    }

    pub(super) fn malformed(&self) -> Malformed {
        self.reader.malformed()
    }

    /// A conformant varying string (C706 §14.3.4.2), of which `units` are looked at: some end with a NUL that does not count.
    pub(super) fn string(&mut self) -> Result<String, Malformed> {
        let (_most, _offset) = (self.u32()?, self.u32()?);
        let units = self.count(2)?;
        let text = utf16(self.reader.take(units * 2)?)?;
        Ok(text.trim_end_matches('\0').to_owned())
    }

    /// `RPC_SID` behind its number of sub-authorities.
    pub(super) fn sid(&mut self) -> Result<Sid, Malformed> {
        let count = self.u32()? as usize;
        let sid = Sid::decode(&mut self.reader)?;
        if sid.sub_authorities().len() == count { Ok(sid) } else { Err(self.malformed()) }
    }
}

/// Puts results together.
#[derive(Debug, Default)]
pub(super) struct Output(BytesMut);

impl Output {
    pub(super) fn finish(self) -> BytesMut {
        self.0
    }

    fn align(&mut self, to: usize) {
        self.0.put_bytes(0, self.0.len().next_multiple_of(to) - self.0.len());
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.align(2);
        self.0.put_u16_le(value);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.align(4);
        self.0.put_u32_le(value);
    }

    pub(super) fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).unwrap_or(u32::MAX));
    }

    pub(super) fn pointer(&mut self, to_something: bool) {
        self.u32(if to_something { SOMEWHERE } else { 0 });
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.put_slice(bytes);
    }

    /// A conformant varying string with the NUL that ends it (C706 §14.3.4.2).
    pub(super) fn string(&mut self, text: &str) {
        self.units(text.encode_utf16().chain([0]));
    }

    /// The part of an `RPC_UNICODE_STRING` (MS-DTYP §2.3.10) that stands in the structure...
    pub(super) fn unicode_string(&mut self, text: &str) {
        let bytes = u16::try_from(text.encode_utf16().count() * 2).unwrap_or(u16::MAX);
        self.align(4);
        self.u16(bytes);
        self.u16(bytes);
        self.pointer(true);
    }

    /// ... and the part that stands behind it.
    pub(super) fn unicode_text(&mut self, text: &str) {
        self.units(text.encode_utf16());
    }

    fn units(&mut self, units: impl Iterator<Item = u16>) {
        let units: Vec<u16> = units.collect();
        self.count(units.len());
        self.u32(0);
        self.count(units.len());
        units.iter().for_each(|unit| self.0.put_u16_le(*unit));
        self.align(4);
    }

    /// `RPC_SID`, behind its number of sub-authorities.
    pub(super) fn sid(&mut self, sid: &Sid) {
        self.count(sid.sub_authorities().len());
        sid.encode(&mut self.0);
    }
}
