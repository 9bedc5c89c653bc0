//! Headers, frames and statuses.

use super::super::frame::{FrameKind, Messages, Smb1Negotiate, TransformHeader};
use super::super::header::{Command, FLAG_ASYNC, FLAG_RESPONSE, FLAG_SIGNED, Header, Id};
use super::super::status::NtStatus;
use super::{header, hex, message};
use bytes::{Bytes, BytesMut};

fn encoded(header: &Header) -> Vec<u8> {
    let mut out = BytesMut::new();
    header.encode(&mut out);
    out.to_vec()
}

#[test]
fn a_request_has_a_channel_sequence_where_a_reply_has_a_status() {
    let bytes =
        hex("fe534d42 4000 0200 0300 0000 0900 1f00 08000000 00000000 0807060504030201 00000000 78563412
         1112131415161718 a0a1a2a3a4a5a6a7a8a9aaabacadaeaf");
    let expected = Header {
        credit_charge: 2,
        channel_sequence: 3,
        status: NtStatus(3),
        command: Command::Write as u16,
        credits: 31,
        flags: FLAG_SIGNED,
        next_command: 0,
        message_id: 0x0102_0304_0506_0708,
        id: Id::Sync { tree_id: 0x1234_5678 },
        session_id: 0x1817_1615_1413_1211,
        signature: *b"\xa0\xa1\xa2\xa3\xa4\xa5\xa6\xa7\xa8\xa9\xaa\xab\xac\xad\xae\xaf",
    };
    assert_eq!(Header::decode(&bytes), Ok(expected.clone()));
    assert_eq!(encoded(&expected), bytes);
    assert_eq!(expected.command(), Some(Command::Write));
    assert_eq!(expected.tree_id(), Some(0x1234_5678));
}

#[test]
fn an_interim_reply_has_an_asynchronous_id() {
    let interim = Header {
        status: NtStatus::PENDING,
        flags: FLAG_RESPONSE,
        id: Id::Async { async_id: 0x0102_0304_0506_0708 },
        ..header(0x0f)
    };
    let bytes =
        hex("fe534d42 4000 0100 03010000 0f00 0100 03000000 00000000 0700000000000000 0807060504030201
         0900000000000000 00000000000000000000000000000000");
    assert_eq!(encoded(&interim), bytes);
    let decoded = Header::decode(&bytes).unwrap();
    assert_eq!(decoded, Header { flags: FLAG_RESPONSE | FLAG_ASYNC, channel_sequence: 0x103, ..interim });
    assert_eq!(decoded.tree_id(), None);
}

#[test]
fn a_header_needs_its_id_its_size_and_all_its_bytes() {
    let good = encoded(&header(0));
    assert!((0..64).all(|len| Header::decode(&good[..len]).is_err()));
    for at in 0..6 {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(Header::decode(&bad).is_err(), "byte {at}");
    }
}

#[test]
fn a_compound_is_split_where_its_headers_say() {
    let mut first = encoded(&Header { next_command: 72, ..header(5) });
    first.extend([1; 8]);
    let second = encoded(&header(6));
    let frame = Bytes::from([first.clone(), second.clone()].concat());
    let messages: Vec<_> = Messages::new(frame.clone()).map(|message| message.unwrap()).collect();
    assert_eq!(messages.iter().map(|(header, _)| header.command).collect::<Vec<_>>(), [5, 6]);
    assert_eq!(messages[0].1, first);
    assert_eq!(messages[1].1, second);
    // Inside the header, not aligned, at the end, behind it: all refused, and nothing after it.
    for next in [8u32, 56, 68, 136, 144, u32::MAX] {
        let mut bad = frame.to_vec();
        bad[20..24].copy_from_slice(&next.to_le_bytes());
        let mut messages = Messages::new(bad.into());
        assert!(messages.next().unwrap().is_err(), "{next}");
        assert!(messages.next().is_none());
    }
    // The second is cut short.
    let mut messages = Messages::new(frame.slice(..100));
    assert!(messages.next().unwrap().is_ok());
    assert!(messages.next().unwrap().is_err());
    assert!(Messages::new(Bytes::new()).next().is_none());
}

#[test]
fn the_kind_of_a_frame_is_in_its_first_bytes() {
    assert_eq!(FrameKind::of(&message(0, &[])), Ok(FrameKind::Plain));
    assert_eq!(FrameKind::of(b"\xfdSMB..."), Ok(FrameKind::Sealed));
    assert_eq!(FrameKind::of(b"\xffSMB"), Ok(FrameKind::Smb1));
    for bad in [&b"\xfcSMB"[..], b"\xfeSMC", b"\xfeSM", b""] {
        assert!(FrameKind::of(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_transform_header_says_how_much_is_sealed() {
    let bytes =
        hex("fd534d42 000102030405060708090a0b0c0d0e0f a0a1a2a3a4a5a6a7a8a9aaab00000000 03000000 0000 0100
         1112131415161718 616263");
    let header = TransformHeader::decode(&bytes).unwrap();
    assert_eq!(header.original_message_size, 3);
    assert_eq!(header.session_id, 0x1817_1615_1413_1211);
    assert_eq!((header.signature[15], header.nonce[11]), (0x0f, 0xab));
    let mut out = BytesMut::new();
    header.encode(&mut out);
    assert_eq!(out[..], bytes[..52]);
    assert!((0..bytes.len()).all(|len| TransformHeader::decode(&bytes[..len]).is_err()));
    for at in [0, 36, 42, 43] {
        let mut bad = bytes.clone();
        bad[at] ^= 3;
        assert!(TransformHeader::decode(&bad).is_err(), "byte {at}");
    }
}

#[test]
fn an_smb1_negotiate_may_offer_smb2() {
    let negotiate = |dialects: &str| {
        let mut bytes = hex("ff534d42 72 00000000 18 53c8 0000 0000000000000000 0000 ffff fffe 0000 0000 00");
        bytes.extend(u16::try_from(dialects.len()).unwrap().to_le_bytes());
        bytes.extend(dialects.bytes());
        bytes
    };
    let offers = |dialects| {
        let offers = Smb1Negotiate::decode(&negotiate(dialects)).unwrap();
        (offers.offers_2_002, offers.offers_2_any)
    };
    assert_eq!(offers("\x02NT LM 0.12\0\x02SMB 2.002\0\x02SMB 2.???\0"), (true, true));
    assert_eq!(offers("\x02NT LM 0.12\0\x02SMB 2.002\0"), (true, false));
    assert_eq!(offers("\x02NT LM 0.12\0"), (false, false));
    let good = negotiate("\x02SMB 2.???\0");
    assert!((0..good.len()).all(|len| Smb1Negotiate::decode(&good[..len]).is_err()));
    let mut other_command = good;
    other_command[4] = 0x73;
    assert!(Smb1Negotiate::decode(&other_command).is_err());
}

#[test]
fn statuses_show_their_names() {
    assert_eq!(format!("{:?}", NtStatus::OBJECT_NAME_NOT_FOUND), "OBJECT_NAME_NOT_FOUND");
    assert_eq!(NtStatus::OBJECT_NAME_NOT_FOUND.0, 0xc000_0034);
    assert_eq!(format!("{:?}", NtStatus(0xc123_4567)), "0xc1234567");
    assert!(NtStatus::ACCESS_DENIED.is_error());
    assert!(!NtStatus::BUFFER_OVERFLOW.is_error() && !NtStatus::PENDING.is_error());
}
