//! Names as clients write them: UTF-16 and back, paths and streams, which characters a name may have. How a name in a volume,
//! any bytes at all, looks to a client is in `mapping`; patterns are in `wildcard`.
//!
//! Inside the server a client's name is a `String`. UTF-16 with a surrogate that has no partner can't become one and is refused with
//! `OBJECT_NAME_INVALID`: no such file can exist here, and to put another character in its place would make two names one.

pub mod mapping;
pub mod wildcard;

use super::Malformed;
use super::status::NtStatus;
use bytes::{BufMut, BytesMut};

/// A string of UTF-16LE.
///
/// # Errors
/// [`Malformed`]: half a character is `INVALID_PARAMETER`, half a pair of surrogates `OBJECT_NAME_INVALID`.
pub fn utf16(bytes: &[u8]) -> Result<String, Malformed> {
    let (units, []) = bytes.as_chunks::<2>() else { return Err(Malformed::new("UTF-16 string")) };
    char::decode_utf16(units.iter().map(|unit| u16::from_le_bytes(*unit)))
        .collect::<Result<String, _>>()
        .map_err(|_| Malformed::with("UTF-16 string", NtStatus::OBJECT_NAME_INVALID))
}

/// Appends a string in UTF-16LE, without an end mark.
pub fn put_utf16(out: &mut BytesMut, text: &str) {
    out.reserve(text.len() * 2);
    text.encode_utf16().for_each(|unit| out.put_u16_le(unit));
}

/// Bytes of a string in UTF-16.
#[must_use]
pub fn utf16_len(text: &str) -> usize {
    text.encode_utf16().count() * 2
}

/// The upper-case form of a character, where that is one character; the usual fold for comparing names.
#[must_use]
pub fn upcase(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_uppercase();
    }
    let mut upper = c.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(upper), None) => upper,
        _ => c,
    }
}

/// The type of a stream, MS-FSCC §2.1.5.4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StreamType {
    /// `$DATA`.
    Data,
    /// `$INDEX_ALLOCATION`: a directory's entries, whose stream is called `$I30`.
    IndexAllocation,
}

/// The stream that a path names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stream<'a> {
    /// Empty for the file's own data: `name::$DATA`.
    pub name: &'a str,
    /// `$DATA` where the path does not say it.
    pub kind: StreamType,
}

/// A path below a share's root, taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Path<'a> {
    /// From the root down; none for the root itself.
    pub components: Vec<&'a str>,
    /// Behind the last component's first colon.
    pub stream: Option<Stream<'a>>,
}

/// What stands between components. MS-FSCC §2.1.5 has `\` alone; other servers take `/` too, which no name has.
const SEPARATORS: [char; 2] = ['\\', '/'];

impl<'a> Path<'a> {
    /// Takes `a\b\name:stream:type` apart. One `\` at the end is passed over.
    ///
    /// # Errors
    /// [`Malformed`]: a `\` at the beginning is `INVALID_PARAMETER`, `..` is `OBJECT_PATH_SYNTAX_BAD`, all else that no file can be
    /// called `OBJECT_NAME_INVALID`.
    pub fn parse(path: &'a str) -> Result<Path<'a>, Malformed> {
        if path.starts_with('\\') {
            return Err(Malformed::new("path"));
        }
        let path = path.strip_suffix('\\').unwrap_or(path);
        let mut components: Vec<&str> =
            if path.is_empty() { Vec::new() } else { path.split(SEPARATORS).collect() };
        let mut stream = None;
        if let Some(last) = components.pop() {
            let (name, of_file) = split_stream(last)?;
            // A stream with no name before it is the root's, or nothing's.
            if !(name.is_empty() && of_file.is_some() && components.is_empty()) {
                components.push(name);
            }
            stream = of_file;
        }
        components.iter().try_for_each(|component| check_component(component))?;
        Ok(Path { components, stream })
    }
}

/// Splits `name:stream:type`, MS-FSCC §2.1.5: the name, and the stream if there is a colon.
///
/// # Errors
/// [`Malformed`] with `OBJECT_NAME_INVALID` for a type that nobody knows, or no stream where a colon is.
pub fn split_stream(component: &str) -> Result<(&str, Option<Stream<'_>>), Malformed> {
    let Some((file, suffix)) = component.split_once(':') else { return Ok((component, None)) };
    let (name, kind) = match suffix.split_once(':') {
        None if suffix.is_empty() => return Err(invalid("stream name")),
        None => (suffix, StreamType::Data),
        Some((name, kind)) if kind.eq_ignore_ascii_case("$DATA") => (name, StreamType::Data),
        Some((name, kind)) if kind.eq_ignore_ascii_case("$INDEX_ALLOCATION") => {
            (name, StreamType::IndexAllocation)
        }
        Some(_) => return Err(invalid("stream type")),
    };
    // MS-FSCC §2.1.5.3.
    if name.contains(['\\', '/', ':', '\0']) || name.encode_utf16().count() > NAME_UNITS_MAX {
        return Err(invalid("stream name"));
    }
    Ok((file, Some(Stream { name, kind })))
}

/// UTF-16 units of a component's or a stream's name at the most, MS-FSCC §2.1.5.
pub const NAME_UNITS_MAX: usize = 255;

/// Whether a file may be called this, MS-FSCC §2.1.5.2.
///
/// # Errors
/// [`Malformed`] with `OBJECT_NAME_INVALID`, for `..` `OBJECT_PATH_SYNTAX_BAD`.
pub fn check_component(name: &str) -> Result<(), Malformed> {
    match name {
        ".." => Err(Malformed::with("path", NtStatus::OBJECT_PATH_SYNTAX_BAD)),
        "" | "." => Err(invalid("name")),
        _ if name.contains(is_illegal) || name.encode_utf16().count() > NAME_UNITS_MAX => {
            Err(invalid("name"))
        }
        _ => Ok(()),
    }
}

/// A character that no name has on the wire. In a volume they are legal but for NUL and `/`; see `mapping`.
#[must_use]
pub fn is_illegal(c: char) -> bool {
    matches!(c, '\0'..='\x1f' | '"' | '*' | '/' | ':' | '<' | '>' | '?' | '\\' | '|')
}

fn invalid(what: &'static str) -> Malformed {
    Malformed::with(what, NtStatus::OBJECT_NAME_INVALID)
}
