//! As much of DER (X.690) as SPNEGO tokens are made of: one-byte tags and definite lengths.

use super::AuthError;

/// Tag of an OBJECT IDENTIFIER.
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
/// Tag of an OCTET STRING.
pub(super) const OCTET_STRING: u8 = 0x04;
/// Tag of an ENUMERATED.
pub(super) const ENUMERATED: u8 = 0x0a;
/// Tag of a SEQUENCE (OF).
pub(super) const SEQUENCE: u8 = 0x30;
/// Tag of the InitialContextToken, `[APPLICATION 0]` (RFC 2743 §3.1).
pub(super) const INITIAL_CONTEXT_TOKEN: u8 = 0x60;

/// Tag of the explicit context tag `[number]`.
pub(super) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// Reads elements one after the other; everything it gives out is a slice of the input.
#[derive(Clone)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The contents of the next element, which must have this tag.
    pub(super) fn take(&mut self, tag: u8) -> Result<&'a [u8], AuthError> {
        let (&found, after_tag) = self.rest.split_first().ok_or(AuthError::Malformed)?;
        if found != tag {
            return Err(AuthError::Malformed);
        }
        let (length, after_length) = length(after_tag)?;
        let (contents, rest) = after_length.split_at_checked(length).ok_or(AuthError::Malformed)?;
        self.rest = rest;
        Ok(contents)
    }

    /// The contents of the next element if it has this tag.
    pub(super) fn optional(&mut self, tag: u8) -> Result<Option<&'a [u8]>, AuthError> {
        if self.rest.first() == Some(&tag) { self.take(tag).map(Some) } else { Ok(None) }
    }

    /// The element `[number]`, whose only content must be an element with `tag`; gives what is in that.
    pub(super) fn optional_within(&mut self, number: u8, tag: u8) -> Result<Option<&'a [u8]>, AuthError> {
        self.optional(context(number))?.map(|inner| Reader::new(inner).take(tag)).transpose()
    }
}

/// A length and what follows it. Longer forms than DER wants are taken, as old clients write them.
fn length(bytes: &[u8]) -> Result<(usize, &[u8]), AuthError> {
    let (&first, rest) = bytes.split_first().ok_or(AuthError::Malformed)?;
    let octets = match first {
        0..=0x7f => return Ok((usize::from(first), rest)),
        0x81..=0x83 => usize::from(first & 0x7f),
        _ => return Err(AuthError::Malformed),
    };
    let (digits, rest) = rest.split_at_checked(octets).ok_or(AuthError::Malformed)?;
    Ok((digits.iter().fold(0, |length, &digit| length << 8 | usize::from(digit)), rest))
}

/// An element with these contents.
pub(super) fn element(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let length: usize = contents.iter().map(|part| part.len()).sum();
    let digits = length.to_be_bytes();
    let digits = &digits[digits.iter().take_while(|&&digit| digit == 0).count()..];
    let mut bytes = vec![tag];
    match digits {
        [] => bytes.push(0),
        [short] if *short < 0x80 => bytes.push(*short),
        long => {
            bytes.extend(u8::try_from(long.len()).map(|octets| 0x80 | octets));
            bytes.extend(long);
        }
    }
    contents.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes
}
