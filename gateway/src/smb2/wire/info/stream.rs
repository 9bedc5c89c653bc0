//! The streams of a file: `FileStreamInformation`, MS-FSCC §2.4.44.

use super::super::cursor::{len32, pad, patch_u32};
use super::super::names::{put_utf16, utf16_len};
use bytes::{BufMut, BytesMut};

/// One stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamInfo<'a> {
    /// Empty for the file's own data.
    pub name: &'a str,
    /// Bytes that it has.
    pub size: u64,
    /// Bytes that it occupies.
    pub allocation_size: u64,
}

/// Appends streams, each as `:name:$DATA`.
pub fn encode_streams<'a>(streams: impl IntoIterator<Item = StreamInfo<'a>>, out: &mut BytesMut) {
    const TYPE: &str = ":$DATA";
    let (first, mut last) = (out.len(), None);
    for stream in streams {
        pad(out, first, 8);
        let start = out.len();
        if let Some(last) = last.replace(start) {
            patch_u32(out, last, len32(start - last));
        }
        out.put_u32_le(0);
        out.put_u32_le(len32(2 + utf16_len(stream.name) + 2 * TYPE.len()));
        out.put_u64_le(stream.size);
        out.put_u64_le(stream.allocation_size);
        out.put_u16_le(u16::from(b':'));
        put_utf16(out, stream.name);
        put_utf16(out, TYPE);
    }
}
