//! XDR (RFC 4506): a bounded cursor over received bytes and a writer for messages to send.
//! Opaques are slices of what was received, never copies; no length is believed before it is checked.
//! Must not know any protocol's types.

#[cfg(test)]
pub(crate) mod golden;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use fsstore::Rope;

/// Why bytes are not the XDR that was expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum XdrError {
    /// The input ends before the value does.
    #[error("input ends inside a value")]
    Truncated,
    /// A variable-length value is over its limit.
    #[error("length {len} is over the limit {max}")]
    TooLong {
        /// What the input announces.
        len: u32,
        /// What is allowed.
        max: usize,
    },
    /// A number is not one that this type can have.
    #[error("{what} can't be {value}")]
    BadValue {
        /// Name of the type.
        what: &'static str,
        /// What the input holds.
        value: u32,
    },
    /// Bytes follow where the value should have ended.
    #[error("{0} bytes too many")]
    Trailing(usize),
}

/// Result of decoding.
pub type Result<T> = std::result::Result<T, XdrError>;

/// A type with an XDR form.
pub trait Xdr: Sized {
    /// Appends the value.
    fn encode(&self, out: &mut Encoder);
    /// Takes a value off the front.
    ///
    /// # Errors
    /// [`XdrError`] where the input is not such a value.
    fn decode(input: &mut Decoder) -> Result<Self>;
}

impl Xdr for () {
    fn encode(&self, _: &mut Encoder) {}
    fn decode(_: &mut Decoder) -> Result<Self> {
        Ok(())
    }
}

impl Xdr for u32 {
    fn encode(&self, out: &mut Encoder) {
        out.u32(*self);
    }
    fn decode(input: &mut Decoder) -> Result<Self> {
        input.u32()
    }
}

impl Xdr for [u32; 4] {
    fn encode(&self, out: &mut Encoder) {
        self.iter().for_each(|word| out.u32(*word));
    }
    fn decode(input: &mut Decoder) -> Result<Self> {
        Ok([input.u32()?, input.u32()?, input.u32()?, input.u32()?])
    }
}

impl Xdr for u64 {
    fn encode(&self, out: &mut Encoder) {
        out.u64(*self);
    }
    fn decode(input: &mut Decoder) -> Result<Self> {
        input.u64()
    }
}

impl Xdr for bool {
    fn encode(&self, out: &mut Encoder) {
        out.bool(*self);
    }
    fn decode(input: &mut Decoder) -> Result<Self> {
        input.bool()
    }
}

impl Xdr for [u8; 8] {
    fn encode(&self, out: &mut Encoder) {
        out.array(self);
    }
    fn decode(input: &mut Decoder) -> Result<Self> {
        input.array()
    }
}

impl<T: Xdr> Xdr for Option<T> {
    fn encode(&self, out: &mut Encoder) {
        out.option(self.as_ref());
    }
    fn decode(input: &mut Decoder) -> Result<Self> {
        input.option()
    }
}

/// Declares a structure whose XDR form is its fields in order (RFC 4506 §4.14).
macro_rules! xdr_struct {
    ($($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident: $type:ty),* $(,)? })*) => {$(
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
        }

        impl $crate::xdr::Xdr for $name {
            fn encode(&self, out: &mut $crate::xdr::Encoder) {
                $(self.$field.encode(out);)*
            }
            fn decode(input: &mut $crate::xdr::Decoder) -> $crate::xdr::Result<Self> {
                Ok($name { $($field: input.take()?,)* })
            }
        }
    )*};
}

/// Declares an enumeration of numbers (RFC 4506 §4.3).
macro_rules! xdr_enum {
    ($($(#[$meta:meta])* pub enum $name:ident { $($(#[$case_meta:meta])* $case:ident = $value:literal),* $(,)? })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        #[repr(u32)]
        pub enum $name {
            $($(#[$case_meta])* $case = $value,)*
        }

        impl $crate::xdr::Xdr for $name {
            fn encode(&self, out: &mut $crate::xdr::Encoder) {
                out.u32(*self as u32);
            }
            fn decode(input: &mut $crate::xdr::Decoder) -> $crate::xdr::Result<Self> {
                match input.u32()? {
                    $($value => Ok($name::$case),)*
                    value => Err($crate::xdr::XdrError::BadValue { what: stringify!($name), value }),
                }
            }
        }
    )*};
}

pub(crate) use {xdr_enum, xdr_struct};

/// Zero bytes that follow `len` bytes of opaque data (RFC 4506 §4.10).
pub const fn padding(len: usize) -> usize {
    len.wrapping_neg() & 3
}

/// Takes XDR values off the front of a message.
#[derive(Clone, Debug)]
pub struct Decoder {
    rest: Bytes,
}

impl Decoder {
    /// Starts at the front of `message`.
    pub fn new(message: Bytes) -> Self {
        Decoder { rest: message }
    }

    /// What has not been taken yet.
    pub fn rest(&self) -> &Bytes {
        &self.rest
    }

    /// Fails unless everything was taken.
    ///
    /// # Errors
    /// [`XdrError::Trailing`].
    pub fn finish(self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(XdrError::Trailing(self.rest.len())) }
    }

    /// Takes one value.
    ///
    /// # Errors
    /// As [`Xdr::decode`].
    pub fn take<T: Xdr>(&mut self) -> Result<T> {
        T::decode(self)
    }

    /// Unsigned integer (RFC 4506 §4.2).
    ///
    /// # Errors
    /// [`XdrError::Truncated`].
    pub fn u32(&mut self) -> Result<u32> {
        self.rest.try_get_u32().map_err(|_| XdrError::Truncated)
    }

    /// Unsigned hyper integer (RFC 4506 §4.5).
    ///
    /// # Errors
    /// [`XdrError::Truncated`].
    pub fn u64(&mut self) -> Result<u64> {
        self.rest.try_get_u64().map_err(|_| XdrError::Truncated)
    }

    /// Boolean (RFC 4506 §4.4). Only 0 and 1 are booleans.
    ///
    /// # Errors
    /// [`XdrError::Truncated`], [`XdrError::BadValue`].
    pub fn bool(&mut self) -> Result<bool> {
        match self.u32()? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(XdrError::BadValue { what: "bool", value }),
        }
    }

    /// Fixed-length opaque (RFC 4506 §4.9).
    ///
    /// # Errors
    /// [`XdrError::Truncated`].
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        self.rest.try_copy_to_slice(&mut out).map_err(|_| XdrError::Truncated)?;
        self.skip(padding(N))?;
        Ok(out)
    }

    /// Variable-length opaque of at most `max` bytes (RFC 4506 §4.10), as a slice of the message.
    ///
    /// # Errors
    /// [`XdrError::Truncated`], [`XdrError::TooLong`].
    pub fn opaque(&mut self, max: usize) -> Result<Bytes> {
        let len = self.u32()?;
        let size = len as usize;
        if size > max {
            return Err(XdrError::TooLong { len, max });
        }
        if size > self.rest.len() {
            return Err(XdrError::Truncated);
        }
        let data = self.rest.split_to(size);
        self.skip(padding(size))?;
        Ok(data)
    }

    /// Optional data (RFC 4506 §4.19): a boolean, then the value if it is true.
    ///
    /// # Errors
    /// As for the parts.
    pub fn option<T: Xdr>(&mut self) -> Result<Option<T>> {
        if self.bool()? { T::decode(self).map(Some) } else { Ok(None) }
    }

    fn skip(&mut self, len: usize) -> Result<()> {
        if len > self.rest.len() {
            return Err(XdrError::Truncated);
        }
        self.rest.advance(len);
        Ok(())
    }
}

/// Opaques from this size on are sent from where they are instead of being copied into the message.
const COPY_LEN_MAX: usize = 2048;

/// The opaque that ends a message, where it is.
#[derive(Clone, Debug)]
pub enum Tail {
    /// In one piece.
    Bytes(Bytes),
    /// In pages of a volume's cache.
    Pages(Rope),
}

impl Default for Tail {
    fn default() -> Self {
        Tail::Bytes(Bytes::new())
    }
}

impl Tail {
    /// Bytes.
    pub fn len(&self) -> usize {
        match self {
            Tail::Bytes(bytes) => bytes.len(),
            Tail::Pages(rope) => rope.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `visit` with each piece.
    pub fn each_slice<'a>(&'a self, mut visit: impl FnMut(&'a [u8])) {
        match self {
            Tail::Bytes(bytes) => visit(bytes),
            Tail::Pages(rope) => rope.slices().for_each(visit),
        }
    }

    /// In one piece; copies what is not.
    pub fn to_bytes(&self) -> Bytes {
        match self {
            Tail::Bytes(bytes) => bytes.clone(),
            Tail::Pages(rope) => rope.to_bytes(),
        }
    }
}

/// Builds a message. A large opaque at its end is kept as a reference.
#[derive(Debug, Default)]
pub struct Encoder {
    head: BytesMut,
    tail: Tail,
}

impl Encoder {
    /// An empty message with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Encoder { head: BytesMut::with_capacity(capacity), tail: Tail::default() }
    }

    /// Bytes so far, padding included.
    pub fn len(&self) -> usize {
        self.head.len() + self.tail.len() + padding(self.tail.len())
    }

    /// Whether nothing was put yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends one value.
    pub fn put<T: Xdr>(&mut self, value: &T) {
        value.encode(self);
    }

    /// Unsigned integer.
    pub fn u32(&mut self, value: u32) {
        self.open().put_u32(value);
    }

    /// Unsigned hyper integer.
    pub fn u64(&mut self, value: u64) {
        self.open().put_u64(value);
    }

    /// Boolean.
    pub fn bool(&mut self, value: bool) {
        self.u32(u32::from(value));
    }

    /// Fixed-length opaque.
    pub fn array(&mut self, value: &[u8]) {
        let head = self.open();
        head.put_slice(value);
        head.put_bytes(0, padding(value.len()));
    }

    /// Variable-length opaque.
    pub fn opaque(&mut self, value: &[u8]) {
        self.u32(wire_len(value.len()));
        self.array(value);
    }

    /// Variable-length opaque that ends the message. Nothing may follow it.
    pub fn opaque_last(&mut self, value: &Tail) {
        self.u32(wire_len(value.len()));
        if value.len() >= COPY_LEN_MAX {
            self.tail = value.clone();
            return;
        }
        let head = self.open();
        value.each_slice(|slice| head.put_slice(slice));
        head.put_bytes(0, padding(value.len()));
    }

    /// Optional data.
    pub fn option<T: Xdr>(&mut self, value: Option<&T>) {
        self.bool(value.is_some());
        if let Some(value) = value {
            value.encode(self);
        }
    }

    /// Forgets everything after the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.tail = Tail::default();
        self.head.truncate(len);
    }

    /// The finished message.
    pub fn finish(self) -> Message {
        Message { head: self.head.freeze(), tail: self.tail }
    }

    fn open(&mut self) -> &mut BytesMut {
        assert!(self.tail.is_empty(), "nothing may follow opaque_last");
        &mut self.head
    }
}

fn wire_len(len: usize) -> u32 {
    u32::try_from(len).expect("no opaque of this program is over 4 GiB")
}

/// A message to send: `head`, then `tail`, then the tail's padding.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// Everything up to the opaque that ends the message.
    pub head: Bytes,
    /// That opaque's bytes, or nothing.
    pub tail: Tail,
}

impl From<Bytes> for Message {
    fn from(whole: Bytes) -> Self {
        Message { head: whole, tail: Tail::default() }
    }
}

impl Message {
    /// Length on the wire.
    pub fn len(&self) -> usize {
        self.head.len() + self.tail.len() + padding(self.tail.len())
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `visit` with each piece, the padding too.
    pub fn each_slice<'a>(&'a self, mut visit: impl FnMut(&'a [u8])) {
        visit(&self.head);
        self.tail.each_slice(&mut visit);
        visit(&[0; 3][..padding(self.tail.len())]);
    }

    /// The message in one piece; copies unless there is no tail.
    pub fn into_bytes(self) -> Bytes {
        if self.tail.is_empty() {
            return self.head;
        }
        let mut all = BytesMut::with_capacity(self.len());
        self.each_slice(|slice| all.put_slice(slice));
        all.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoder(bytes: &'static [u8]) -> Decoder {
        Decoder::new(Bytes::from_static(bytes))
    }

    #[test]
    fn an_opaque_is_padded_to_four_bytes() {
        // RFC 4506 §4.10.
        let mut out = Encoder::default();
        out.opaque(b"hello");
        assert_eq!(&out.finish().into_bytes()[..], b"\0\0\0\x05hello\0\0\0");
    }

    #[test]
    fn an_opaque_is_a_slice_of_the_message() {
        let message = Bytes::from_static(b"\0\0\0\x05hello\0\0\0\0\0\0\x01");
        let mut input = Decoder::new(message.clone());
        let data = input.opaque(16).unwrap();
        assert_eq!(data.as_ptr(), message[4..].as_ptr());
        assert_eq!(input.bool(), Ok(true));
        assert_eq!(input.finish(), Ok(()));
    }

    #[test]
    fn lengths_are_checked_before_they_are_used() {
        assert_eq!(
            decoder(b"\xff\xff\xff\xff").opaque(64),
            Err(XdrError::TooLong { len: u32::MAX, max: 64 })
        );
        assert_eq!(decoder(b"\xff\xff\xff\xff").opaque(usize::MAX), Err(XdrError::Truncated));
        assert_eq!(decoder(b"\0\0\0\x05hello\0\0").opaque(64), Err(XdrError::Truncated));
        assert_eq!(decoder(b"\0\0\0\x02").bool(), Err(XdrError::BadValue { what: "bool", value: 2 }));
        assert_eq!(decoder(b"\0\0\0").u32(), Err(XdrError::Truncated));
        assert_eq!(decoder(b"\0\0\0\0\0\0\0").u64(), Err(XdrError::Truncated));
        assert_eq!(decoder(b"abc").array::<3>(), Err(XdrError::Truncated));
        assert_eq!(decoder(b"abcd").finish(), Err(XdrError::Trailing(4)));
    }

    #[test]
    fn a_large_last_opaque_is_not_copied() {
        let data = Bytes::from(vec![7u8; COPY_LEN_MAX + 1]);
        let mut out = Encoder::default();
        out.u64(1);
        out.opaque_last(&Tail::Bytes(data.clone()));
        let message = out.finish();
        assert_eq!(message.tail.to_bytes().as_ptr(), data.as_ptr());
        let len = message.len();
        let all = message.into_bytes();
        assert_eq!(all.len(), len);
        let mut input = Decoder::new(all);
        assert_eq!(input.u64(), Ok(1));
        assert_eq!(input.opaque(usize::MAX), Ok(data));
        assert_eq!(input.finish(), Ok(()));
    }
}
