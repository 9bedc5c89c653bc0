//! IOCTL, MS-SMB2 §2.2.31 and §2.2.32. What the controls carry is in `fsctl`.

use super::cursor::{body, len32, slice};
use super::{FileId, Malformed};
use bytes::{BufMut, Bytes, BytesMut};

/// `SMB2_0_IOCTL_IS_FSCTL`; without it a request is `NOT_SUPPORTED`.
pub const IS_FSCTL: u32 = 1;

/// SMB2 IOCTL Request, MS-SMB2 §2.2.31.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IoctlRequest {
    /// Of `fsctl::code`.
    pub ctl_code: u32,
    /// All ones where the control is about no file.
    pub file_id: FileId,
    /// Bytes of input that the reply may hold.
    pub max_input_response: u32,
    /// Bytes of output that the reply may hold.
    pub max_output_response: u32,
    /// [`IS_FSCTL`].
    pub flags: u32,
    /// What the control is told.
    pub input: Bytes,
}

impl IoctlRequest {
    /// # Errors
    /// [`Malformed`].
    pub fn decode(message: &Bytes) -> Result<IoctlRequest, Malformed> {
        const WHAT: &str = "IOCTL";
        let mut reader = body(message, 57, WHAT)?;
        let (_reserved, ctl_code) = (reader.u16()?, reader.u32()?);
        let file_id = FileId::decode(&mut reader)?;
        let (input_offset, input_count, max_input_response) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let (_output_offset, _output_count) = (reader.u32()?, reader.u32()?);
        let (max_output_response, flags) = (reader.u32()?, reader.u32()?);
        let input = slice(message, input_offset, input_count, WHAT)?;
        Ok(IoctlRequest { ctl_code, file_id, max_input_response, max_output_response, flags, input })
    }
}

/// SMB2 IOCTL Response, MS-SMB2 §2.2.32. No control answers with input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IoctlResponse {
    /// As asked.
    pub ctl_code: u32,
    /// As asked.
    pub file_id: FileId,
    /// What the control says.
    pub output: Bytes,
}

impl IoctlResponse {
    /// Appends the body.
    pub fn encode(&self, out: &mut BytesMut) {
        const OUTPUT_AT: u32 = 112;
        out.put_u16_le(49);
        out.put_u16_le(0);
        out.put_u32_le(self.ctl_code);
        self.file_id.encode(out);
        out.put_u32_le(OUTPUT_AT);
        out.put_u32_le(0);
        out.put_u32_le(OUTPUT_AT);
        out.put_u32_le(len32(self.output.len()));
        out.put_u64_le(0);
        out.put_slice(&self.output);
    }
}
