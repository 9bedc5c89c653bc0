//! For tests: values against bytes that were written down by hand, in both directions.

use super::{Decoder, Encoder, Xdr};
use bytes::Bytes;
use std::fmt::Debug;

/// The bytes of hexadecimal text with any spaces in it.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// `value` is these bytes, these bytes are `value`, and no part of them is any value.
#[track_caller]
pub(crate) fn check<T: Xdr + PartialEq + Debug>(value: T, parts: &[&str]) {
    let wire = hex(&parts.join(""));
    let mut out = Encoder::default();
    out.put(&value);
    assert_eq!(out.finish().into_bytes(), wire, "encoding {value:?}");
    let mut input = Decoder::new(Bytes::from(wire.clone()));
    assert_eq!(input.take::<T>(), Ok(value));
    input.finish().unwrap();
    for len in (0..wire.len()).step_by(4) {
        let cut = Decoder::new(Bytes::copy_from_slice(&wire[..len])).take::<T>();
        assert!(cut.is_err(), "{len} of {} bytes gave {cut:?}", wire.len());
    }
}
