//! A name in a volume is any bytes but NUL and `/`, a name on the wire is Unicode without some characters. What the wire can't
//! have is written in characters of Unicode's private range, with the table that macOS (SFM), Linux cifs and Samba's `vfs_catia`
//! have in common:
//!
//! | in the volume | on the wire |
//! | --- | --- |
//! | bytes 0x01 to 0x1f | U+F001 to U+F01F |
//! | `"` `*` `:` `<` `>` `?` `\` `\|` | U+F020 to U+F027, in this order |
//! | a space, a period at the end of the name | U+F028, U+F029 |
//!
//! and with one more row for bytes that are not UTF-8, each by itself:
//!
//! | in the volume | on the wire |
//! | --- | --- |
//! | bytes 0x80 to 0xff | U+F780 to U+F7FF |
//!
//! A name in the volume that already has a character of the right-hand column is shown in the last row's way, byte by byte. So every
//! name comes back as it was: `to_volume(to_client(name)) == name`. The other way round some spellings meet (`é` and the two
//! bytes of its UTF-8 one by one), which no client writes that was not shown them.

use std::borrow::Cow;

/// The characters of U+F020 to U+F027.
const PUNCTUATION: [u8; 8] = *b"\"*:<>?\\|";
const CONTROL_FIRST: char = '\u{f001}';
const PUNCTUATION_FIRST: u32 = 0xf020;
const SPACE_AT_END: char = '\u{f028}';
const PERIOD_AT_END: char = '\u{f029}';
const BYTE_FIRST: char = '\u{f780}';
const BYTE_LAST: char = '\u{f7ff}';
/// What to add to a byte for its character.
const BYTE_BASE: u32 = 0xf700;
const CONTROL_BASE: u32 = 0xf000;

/// How a client sees a name of the volume; most names are the same.
#[must_use]
pub fn to_client(name: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(name) {
        Ok(text) if !text.ends_with([' ', '.']) && !text.contains(is_mapped) => Cow::Borrowed(text),
        _ => Cow::Owned(mapped(name)),
    }
}

fn is_mapped(c: char) -> bool {
    super::is_illegal(c) || from_private(c).is_some()
}

fn mapped(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len() + 8);
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            match private(c) {
                Some(private) => text.push(private),
                None if from_private(c).is_some() => {
                    c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| text.extend(escaped(byte)));
                }
                None => text.push(c),
            }
        }
        chunk.invalid().iter().for_each(|byte| text.extend(escaped(*byte)));
    }
    let at_end = match text.chars().next_back() {
        Some(' ') => SPACE_AT_END,
        Some('.') if text != "." && text != ".." => PERIOD_AT_END,
        _ => return text,
    };
    text.pop();
    text.push(at_end);
    text
}

/// The private character for one that is illegal anywhere in a name.
fn private(c: char) -> Option<char> {
    match u8::try_from(c).ok()? {
        byte @ 1..=0x1f => char::from_u32(CONTROL_BASE + u32::from(byte)),
        byte => (PUNCTUATION_FIRST..)
            .zip(PUNCTUATION)
            .find_map(|(private, illegal)| (illegal == byte).then(|| char::from_u32(private)).flatten()),
    }
}

fn escaped(byte: u8) -> Option<char> {
    char::from_u32(BYTE_BASE + u32::from(byte))
}

/// The byte that a private character stands for.
fn from_private(c: char) -> Option<u8> {
    let [low, ..] = u32::from(c).to_le_bytes();
    match c {
        SPACE_AT_END => Some(b' '),
        PERIOD_AT_END => Some(b'.'),
        CONTROL_FIRST..'\u{f020}' | BYTE_FIRST..=BYTE_LAST => Some(low),
        '\u{f020}'..SPACE_AT_END => PUNCTUATION.get(usize::from(low) - 0x20).copied(),
        _ => None,
    }
}

/// The name in the volume of what a client wrote. Never `.`, `..` or with a NUL or `/` in it, unless the client wrote just that.
#[must_use]
pub fn to_volume(name: &str) -> Cow<'_, [u8]> {
    if !name.contains(|c| from_private(c).is_some()) {
        return Cow::Borrowed(name.as_bytes());
    }
    let mut bytes = Vec::with_capacity(name.len());
    for c in name.chars() {
        match from_private(c) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    match &bytes[..] {
        b"." | b".." => Cow::Borrowed(name.as_bytes()),
        _ => Cow::Owned(bytes),
    }
}
