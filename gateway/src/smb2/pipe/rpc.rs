//! Remote procedure calls on a pipe (C706 §12.6, MS-RPCE): one question in one fragment, and its answer. Knows no
//! service.

use super::super::wire::{Malformed, Reader};
use bytes::{BufMut, Bytes, BytesMut};

const HEADER_LEN: usize = 16;
/// `PFC_FIRST_FRAG` and `PFC_LAST_FRAG`.
const FIRST: u8 = 1;
const LAST: u8 = 2;
const WHOLE: u8 = FIRST | LAST;
/// Little endian, ASCII, IEEE.
const REPRESENTATION: [u8; 4] = [0x10, 0, 0, 0];

const REQUEST: u8 = 0;
const RESPONSE: u8 = 2;
const FAULT: u8 = 3;
const BIND: u8 = 11;
const BIND_ACK: u8 = 12;

/// `nca_s_op_rng_error`: there is no such operation.
const NO_SUCH_OPERATION: u32 = 0x1C01_0002;
/// Results of a presentation context: accepted; refused by the provider for its interface, or for its transfer syntax.
const ACCEPTED: [u16; 2] = [0, 0];
const NO_SUCH_INTERFACE: [u16; 2] = [2, 1];
const NO_SUCH_SYNTAX: [u16; 2] = [2, 2];

/// An interface or transfer syntax: its UUID as it goes over the wire, and its version.
pub(super) type Syntax = ([u8; 16], u32);

/// NDR, version 2 (C706 §14).
const NDR: Syntax = (*b"\x04\x5d\x88\x8a\xeb\x1c\xc9\x11\x9f\xe8\x08\x00\x2b\x10\x48\x60", 2);

/// Longest fragment that is sent: what Windows takes.
const FRAGMENT_MAX: usize = 4280;
/// Bytes before the result in each fragment of a response.
const RESPONSE_HEAD: usize = HEADER_LEN + 8;

/// Answers one message, in as many fragments as it takes. `call` runs an operation of the interface and gives its result; `None`:
/// there is no such operation.
/// `None` for what is no message, is in several fragments, or wants to be authenticated here: who asks has logged in already.
pub(super) fn answer(
    message: &[u8],
    interface: Syntax,
    pipe: &str,
    call: impl FnOnce(u16, &[u8]) -> Option<BytesMut>,
) -> Option<Vec<Bytes>> {
    let mut reader = Reader::new(message, "RPC");
    let (version, kind, flags) = (reader.array::<2>().ok()?, reader.u8().ok()?, reader.u8().ok()?);
    let (representation, len) = (reader.array::<4>().ok()?, reader.u16().ok()?);
    let (auth_len, call_id) = (reader.u16().ok()?, reader.u32().ok()?);
    let good = version == [5, 0]
        && flags & WHOLE == WHOLE
        && representation == REPRESENTATION
        && usize::from(len) == message.len()
        && auth_len == 0;
    if !good {
        return None;
    }
    let mut out = BytesMut::with_capacity(256);
    match kind {
        BIND => {
            begin(&mut out, BIND_ACK, call_id);
            bind(reader, interface, pipe, &mut out).ok()?;
        }
        REQUEST => {
            let (_hint, context, operation) = (reader.u32().ok()?, reader.u16().ok()?, reader.u16().ok()?);
            match call(operation, reader.rest()) {
                Some(result) => return fragments(call_id, context, &result),
                None => {
                    begin(&mut out, FAULT, call_id);
                    out.put_u32_le(0);
                    out.put_u16_le(context);
                    out.put_u16_le(0);
                    out.put_u32_le(NO_SUCH_OPERATION);
                    out.put_u32_le(0);
                }
            }
        }
        _ => return None,
    }
    Some(vec![end(out)?])
}

/// A response, cut into fragments.
fn fragments(call_id: u32, context: u16, result: &[u8]) -> Option<Vec<Bytes>> {
    let mut fragments = Vec::new();
    let mut rest = result;
    loop {
        let (part, behind) = rest.split_at(rest.len().min(FRAGMENT_MAX - RESPONSE_HEAD));
        let mut out = BytesMut::with_capacity(RESPONSE_HEAD + part.len());
        begin(&mut out, RESPONSE, call_id);
        let first = if fragments.is_empty() { FIRST } else { 0 };
        out[3] = first | if behind.is_empty() { LAST } else { 0 };
        out.put_u32_le(u32::try_from(rest.len()).ok()?);
        out.put_u16_le(context);
        out.put_u16_le(0);
        out.extend_from_slice(part);
        fragments.push(end(out)?);
        if behind.is_empty() {
            return Some(fragments);
        }
        rest = behind;
    }
}

/// Says how long a fragment is.
fn end(mut out: BytesMut) -> Option<Bytes> {
    let len = u16::try_from(out.len()).ok()?;
    out[8..10].copy_from_slice(&len.to_le_bytes());
    Some(out.freeze())
}

fn begin(out: &mut BytesMut, kind: u8, call_id: u32) {
    out.put_slice(&[5, 0, kind, WHOLE]);
    out.put_slice(&REPRESENTATION);
    out.put_u16_le(0);
    out.put_u16_le(0);
    out.put_u32_le(call_id);
    debug_assert_eq!(out.len(), HEADER_LEN);
}

fn syntax(reader: &mut Reader) -> Result<Syntax, Malformed> {
    Ok((reader.array()?, reader.u32()?))
}

fn bind(mut reader: Reader<'_>, interface: Syntax, pipe: &str, out: &mut BytesMut) -> Result<(), Malformed> {
    let (send_max, receive_max, group) = (reader.u16()?, reader.u16()?, reader.u32()?);
    let contexts = reader.u8()?;
    reader.skip(3)?;
    out.put_u16_le(send_max);
    out.put_u16_le(receive_max);
    out.put_u32_le(if group == 0 { 1 } else { group });
    let address = format!("\\PIPE\\{pipe}\0");
    out.put_u16_le(u16::try_from(address.len()).unwrap_or(0));
    out.put_slice(address.as_bytes());
    out.put_bytes(0, out.len().next_multiple_of(4) - out.len());
    out.put_u8(contexts);
    out.put_bytes(0, 3);
    for _ in 0..contexts {
        let (_id, transfers) = (reader.u16()?, reader.u16()?);
        let wanted = syntax(&mut reader)?;
        let mut speaks_ndr = false;
        for _ in 0..transfers & 0xff {
            speaks_ndr |= syntax(&mut reader)? == NDR;
        }
        let result = match (wanted == interface, speaks_ndr) {
            (true, true) => ACCEPTED,
            (false, _) => NO_SUCH_INTERFACE,
            (true, false) => NO_SUCH_SYNTAX,
        };
        let (uuid, version) = if result == ACCEPTED { NDR } else { ([0; 16], 0) };
        result.iter().for_each(|word| out.put_u16_le(*word));
        out.put_slice(&uuid);
        out.put_u32_le(version);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERFACE: Syntax = ([7; 16], 3);

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let len = u16::try_from(HEADER_LEN + body.len()).unwrap().to_le_bytes();
        [&[5, 0, kind, 3, 0x10, 0, 0, 0, len[0], len[1], 0, 0, 9, 0, 0, 0], body].concat()
    }

    fn ask_for_all(message: &[u8]) -> Option<Vec<Bytes>> {
        answer(message, INTERFACE, "test", |operation, arguments| {
            (operation == 15).then(|| BytesMut::from(arguments))
        })
    }

    fn ask(message: &[u8]) -> Option<Bytes> {
        let mut fragments = ask_for_all(message)?;
        assert_eq!(fragments.len(), 1);
        fragments.pop()
    }

    fn binding(interface: [u8; 16], transfer: [u8; 16]) -> Vec<u8> {
        let mut body = vec![0xb8, 0x10, 0xb8, 0x10, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0];
        body.extend(interface);
        body.extend([3, 0, 0, 0]);
        body.extend(transfer);
        body.extend([2, 0, 0, 0]);
        message(BIND, &body)
    }

    #[test]
    fn a_client_binds_to_the_interface_that_is_there() {
        for (interface, transfer, result) in
            [([7; 16], NDR.0, [0, 0, 0, 0]), ([8; 16], NDR.0, [2, 0, 1, 0]), ([7; 16], [1; 16], [2, 0, 2, 0])]
        {
            let reply = ask(&binding(interface, transfer)).unwrap();
            assert_eq!((reply[2], reply[12], usize::from(reply[8])), (BIND_ACK, 9, reply.len()));
            assert_eq!(&reply[24..38], b"\x0b\0\\PIPE\\test\0\0");
            let results = &reply[reply.len() - 28..];
            assert_eq!((&results[..4], &results[4..8]), (&[1, 0, 0, 0][..], &result[..]));
        }
    }

    #[test]
    fn operations_are_run_and_others_are_faults() {
        let reply = ask(&message(REQUEST, &[0, 0, 0, 0, 4, 0, 15, 0, b'h', b'i'])).unwrap();
        assert_eq!((reply[2], &reply[16..]), (RESPONSE, &[2, 0, 0, 0, 4, 0, 0, 0, b'h', b'i'][..]));
        let reply = ask(&message(REQUEST, &[0, 0, 0, 0, 4, 0, 16, 0])).unwrap();
        assert_eq!((reply[2], &reply[24..28]), (FAULT, &[2, 0, 1, 0x1c][..]));
    }

    #[test]
    fn a_long_result_goes_in_fragments() {
        let long: Vec<u8> = (0..10_000_u32).map(|at| at.to_le_bytes()[0]).collect();
        let question = [&[0, 0, 0, 0, 4, 0, 15, 0], &long[..]].concat();
        let fragments = ask_for_all(&message(REQUEST, &question)).unwrap();
        let flags: Vec<u8> = fragments.iter().map(|fragment| fragment[3]).collect();
        assert_eq!(flags, [FIRST, 0, LAST]);
        let result: Vec<u8> =
            fragments.iter().flat_map(|fragment| fragment[RESPONSE_HEAD..].to_vec()).collect();
        assert_eq!(result, long);
        for fragment in fragments {
            assert_eq!(usize::from(u16::from_le_bytes([fragment[8], fragment[9]])), fragment.len());
        }
    }

    #[test]
    fn what_is_no_message_has_no_answer() {
        let good = binding([7; 16], NDR.0);
        for len in 0..good.len() {
            assert!(ask(&good[..len]).is_none(), "{len}");
        }
        for at in [0, 1, 3, 4, 8, 10] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(ask(&bad).is_none(), "byte {at}");
        }
        assert!(ask(&message(14, &[])).is_none());
    }
}
