//! The one form that the replies of QUERY_DIRECTORY, CHANGE_NOTIFY and QUERY_INFO have (MS-SMB2 §2.2.34, §2.2.36, §2.2.38).

use super::cursor::{len32, patch_u32};
use bytes::{BufMut, BytesMut};

/// The body of such a reply in the making: what is appended to the buffer after [`Output::begin`] is its data.
#[derive(Debug)]
#[must_use = "the reply does not know its length before `finish`"]
pub struct Output {
    start: usize,
}

impl Output {
    /// Bytes of the body before the data.
    pub const FIXED_LEN: usize = 8;

    /// Appends the fixed part.
    pub fn begin(out: &mut BytesMut) -> Output {
        out.put_u16_le(9);
        out.put_u16_le(72);
        out.put_u32_le(0);
        Output { start: out.len() }
    }

    /// Where the data begins in the buffer.
    #[must_use]
    pub fn start(&self) -> usize {
        self.start
    }

    /// Writes the data's length, and gives it.
    pub fn finish(self, out: &mut BytesMut) -> usize {
        let len = out.len() - self.start;
        patch_u32(out, self.start - 4, len32(len));
        len
    }
}

/// The whole body at once.
pub fn encode_output(data: &[u8], out: &mut BytesMut) {
    let output = Output::begin(out);
    out.put_slice(data);
    output.finish(out);
}
