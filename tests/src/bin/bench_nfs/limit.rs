//! What loopback can do at most: a server that answers every call with bytes of the right length, straight from memory. A
//! READ gets other memory for each place of the file: a server that always sends the same bytes sends what the processor has
//! at hand, and no file server can.

use crate::files::FILE_BYTES;
use anyhow::Result;
use bytes::BufMut;
use std::io::{IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

const LAST_FRAGMENT: u32 = 0x8000_0000;
const READ: u32 = 6;
/// `fattr3` of a regular file.
const ATTRIBUTES: [u8; 84] = {
    let mut attributes = [0; 84];
    attributes[3] = 1;
    attributes
};

pub(crate) fn serve(address: SocketAddr) -> Result<()> {
    let data = Arc::new(vec![5_u8; usize::try_from(FILE_BYTES)?]);
    for stream in TcpListener::bind(address)?.incoming() {
        let stream = stream?;
        stream.set_nodelay(true)?;
        let data = data.clone();
        thread::spawn(move || answer(stream, &data));
    }
    Ok(())
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_be_bytes)
}

/// The replies to all calls that are there go out by one call, as a server's would.
fn answer(mut stream: TcpStream, data: &[u8]) -> std::io::Result<()> {
    let mut input = vec![0; 1 << 16];
    let mut held = 0;
    loop {
        let read = stream.read(&mut input[held..])?;
        if read == 0 {
            return Ok(());
        }
        held += read;
        let mut replies = Vec::new();
        let mut at = 0;
        while held - at >= 4 {
            let len = (word(&input, at) & !LAST_FRAGMENT) as usize;
            if held - at < 4 + len {
                break;
            }
            let call = &input[at + 4..at + 4 + len];
            // READ's arguments end with the 64 bits of `offset` and with `count`.
            let (place, count) = match word(call, 20) {
                READ => (word(call, len - 8) as usize, word(call, len - 4) as usize),
                _ => (0, 0),
            };
            replies.push((head(word(call, 0), count), place..place + count));
            at += 4 + len;
        }
        input.copy_within(at..held, 0);
        held -= at;
        let mut slices: Vec<_> = replies
            .iter()
            .flat_map(|(head, place)| [IoSlice::new(head), IoSlice::new(&data[place.clone()])])
            .collect();
        let mut slices = &mut slices[..];
        while !slices.is_empty() {
            let written = stream.write_vectored(slices)?;
            IoSlice::advance_slices(&mut slices, written);
        }
    }
}

fn head(xid: u32, count: usize) -> Vec<u8> {
    let mut out = vec![0; 4];
    // REPLY, MSG_ACCEPTED, a verifier of AUTH_NONE, SUCCESS, NFS3_OK.
    [xid, 1, 0, 0, 0, 0, 0].into_iter().for_each(|word| out.put_u32(word));
    if count > 0 {
        let count = u32::try_from(count).unwrap_or(0);
        [0, count, 0, count].into_iter().for_each(|word| out.put_u32(word));
    } else {
        out.put_slice(&ATTRIBUTES);
    }
    let len = u32::try_from(out.len() - 4 + count).unwrap_or(0);
    out[..4].copy_from_slice(&(LAST_FRAGMENT | len).to_be_bytes());
    out
}
