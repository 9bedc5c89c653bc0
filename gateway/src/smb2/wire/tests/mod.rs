//! Golden bytes of every message, derived by hand from the specification, and hostile ones.

mod create;
mod directory;
mod header;
pub(in crate::smb2) mod hostile;
mod info;
mod io;
mod ioctl;
mod names;
mod negotiate;
pub(in crate::smb2) mod samples;
mod security;
mod session;
mod waiting;
mod wildcard;

use super::header::{FLAG_RESPONSE, Header, Id};
use super::status::NtStatus;
use bytes::{Bytes, BytesMut};

/// Bytes of hexadecimal digits; white space is for the reader.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| u8::try_from(c.to_digit(16).unwrap()).unwrap())
        .collect();
    assert!(digits.len().is_multiple_of(2), "half a byte in {text}");
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// UTF-16LE.
fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn header(command: u16) -> Header {
    Header {
        credit_charge: 1,
        channel_sequence: 0,
        status: NtStatus::SUCCESS,
        command,
        credits: 1,
        flags: 0,
        next_command: 0,
        message_id: 7,
        id: Id::Sync { tree_id: 5 },
        session_id: 9,
        signature: [0; 16],
    }
}

/// A whole message of these pieces of a body.
fn message(command: u16, pieces: &[&[u8]]) -> Bytes {
    let mut out = BytesMut::new();
    header(command).encode(&mut out);
    pieces.iter().for_each(|piece| out.extend_from_slice(piece));
    out.freeze()
}

/// The body that `encode` appends behind a header, which must stay as it is.
fn body(encode: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    // Something before the message, as in a compound whose first reply is there already.
    let mut out = BytesMut::from(&[0xee; 24][..]);
    Header { flags: FLAG_RESPONSE, ..header(0) }.encode(&mut out);
    let before = out.clone();
    encode(&mut out);
    assert_eq!(out[..before.len()], before[..]);
    out[before.len()..].to_vec()
}
