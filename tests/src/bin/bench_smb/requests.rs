//! The bodies of the requests that are measured (MS-SMB2 §2.2.13 to §2.2.37), and what is looked at in the responses.

use crate::client::Request;
use anyhow::{Context as _, Result};
use gateway::smb2::wire::header::{Command, HEADER_LEN};

/// The id of an open, as it came.
pub(crate) type Open = [u8; 16];

/// How a file is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    /// A file that there is.
    File,
    /// A file that is made if need be.
    MakeFile,
    /// A new file, or an old one with nothing in it.
    NewFile,
    /// A file that is made, and goes when it is closed.
    Temporary,
    /// A directory, which is made if need be.
    Directory,
}

const OPEN: u32 = 1;
const OPEN_IF: u32 = 3;
const OVERWRITE_IF: u32 = 5;
const DIRECTORY_FILE: u32 = 1;
const NON_DIRECTORY_FILE: u32 = 0x40;
const DELETE_ON_CLOSE: u32 = 0x1000;
/// Read and write data and attributes; DELETE.
const ACCESS: u32 = 0x0013_019f;
const LIST: u32 = 0x0012_0089;

/// CREATE without oplock and contexts.
pub(crate) fn create(name: &str, how: How) -> Request<'static> {
    let (access, disposition, options) = match how {
        How::File => (ACCESS, OPEN, NON_DIRECTORY_FILE),
        How::MakeFile => (ACCESS, OPEN_IF, NON_DIRECTORY_FILE),
        How::NewFile => (ACCESS, OVERWRITE_IF, NON_DIRECTORY_FILE),
        How::Temporary => (ACCESS, OPEN_IF, NON_DIRECTORY_FILE | DELETE_ON_CLOSE),
        How::Directory => (LIST, OPEN_IF, DIRECTORY_FILE),
    };
    let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut body = vec![57, 0, 0, 0, 2, 0, 0, 0];
    body.extend([0; 16]);
    // Normal attributes; shared for everything.
    body.extend([access, 0x80, 7, disposition, options].map(u32::to_le_bytes).concat());
    body.extend([120, u16::try_from(name.len()).unwrap_or(0)].map(u16::to_le_bytes).concat());
    body.extend([0; 8]);
    body.extend(name);
    Request::new(Command::Create, body)
}

/// What a CREATE opened.
pub(crate) fn opened(response: &[u8]) -> Result<Open> {
    let id = response.get(HEADER_LEN + 64..).and_then(<[u8]>::first_chunk);
    id.copied().context("a CREATE response")
}

pub(crate) fn close(open: &Open) -> Request<'static> {
    Request::new(Command::Close, [&[24, 0, 0, 0, 0, 0, 0, 0], &open[..]].concat())
}

pub(crate) fn flush(open: &Open) -> Request<'static> {
    Request::new(Command::Flush, [&[24, 0, 0, 0, 0, 0, 0, 0], &open[..]].concat())
}

pub(crate) fn read(open: &Open, offset: u64, len: u32) -> Request<'static> {
    let mut body = vec![49, 0, 0x50, 0];
    body.extend(len.to_le_bytes());
    body.extend(offset.to_le_bytes());
    body.extend(open);
    // All of it or nothing; one byte of an empty buffer.
    body.extend(len.to_le_bytes());
    body.extend([0; 13]);
    Request { answer_len: len as usize, ..Request::new(Command::Read, body) }
}

/// Bytes that a READ brought.
pub(crate) fn read_len(response: &[u8]) -> Option<usize> {
    let len = response.get(HEADER_LEN + 4..)?.first_chunk()?;
    Some(u32::from_le_bytes(*len) as usize)
}

pub(crate) fn write<'a>(open: &Open, offset: u64, data: &'a [u8]) -> Request<'a> {
    let mut body = vec![49, 0, 112, 0];
    body.extend(u32::try_from(data.len()).unwrap_or(0).to_le_bytes());
    body.extend(offset.to_le_bytes());
    body.extend(open);
    body.extend([0; 16]);
    Request { payload: data, ..Request::new(Command::Write, body) }
}

/// Bytes that a WRITE wrote: in the same place.
pub(crate) fn written_len(response: &[u8]) -> Option<usize> {
    read_len(response)
}

/// QUERY_INFO of FileBasicInformation.
pub(crate) fn query_info(open: &Open) -> Request<'static> {
    let mut body = vec![41, 0, 1, 4];
    body.extend(40_u32.to_le_bytes());
    body.extend([0; 16]);
    body.extend(open);
    body.push(0);
    Request::new(Command::QueryInfo, body)
}

/// QUERY_DIRECTORY of FileIdBothDirectoryInformation, all names, from the beginning or on.
pub(crate) fn query_directory(open: &Open, restart: bool, len: u32) -> Request<'static> {
    let mut body = vec![33, 0, 37, u8::from(restart)];
    body.extend([0; 4]);
    body.extend(open);
    body.extend([96_u16, 2].map(u16::to_le_bytes).concat());
    body.extend(len.to_le_bytes());
    body.extend([b'*', 0]);
    Request { answer_len: len as usize, ..Request::new(Command::QueryDirectory, body) }
}

/// Entries of a QUERY_DIRECTORY response.
pub(crate) fn entries(response: &[u8]) -> u64 {
    let mut rest = response.get(HEADER_LEN + 8..).unwrap_or_default();
    let mut entries = 0;
    while let Some(next) = rest.first_chunk() {
        entries += 1;
        match u32::from_le_bytes(*next) {
            0 => break,
            next => rest = rest.get(next as usize..).unwrap_or_default(),
        }
    }
    entries
}
