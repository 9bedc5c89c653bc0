//! SESSION_SETUP, TREE_CONNECT, the messages without content, and errors.

use super::super::error::{ErrorData, ErrorResponse};
use super::super::plain::{
    CancelRequest, EchoRequest, EchoResponse, LogoffRequest, SetInfoResponse, TreeDisconnectRequest,
};
use super::super::session::{
    SESSION_BINDING, SESSION_ENCRYPT_DATA, SessionSetupRequest, SessionSetupResponse,
};
use super::super::status::NtStatus;
use super::super::tree::{SHARE_TYPE_DISK, TREE_EXTENSION_PRESENT, TreeConnectRequest, TreeConnectResponse};
use super::{body, hex, message, utf16};
use bytes::Bytes;

pub(super) fn setup() -> Bytes {
    message(1, &[&hex("1900 01 02 01000000 00000000 5800 0500 1112131415161718 6162636465")])
}

pub(super) fn tree_connect() -> Bytes {
    let path = utf16(r"\\srv\data");
    message(3, &[&hex("0900 0000 4800 1400"), &path])
}

#[test]
fn session_setup_carries_a_blob() {
    let request = SessionSetupRequest::decode(&setup()).unwrap();
    assert_eq!(request.flags, SESSION_BINDING);
    assert_eq!(request.security_mode, 2);
    assert_eq!(request.capabilities, 1);
    assert_eq!(request.previous_session_id, 0x1817_1615_1413_1211);
    assert_eq!(request.security_buffer, "abcde");
    let response = SessionSetupResponse {
        session_flags: SESSION_ENCRYPT_DATA,
        security_buffer: Bytes::from_static(b"xy"),
    };
    assert_eq!(body(|out| response.encode(out)), hex("0900 0400 4800 0200 7879"));
}

#[test]
fn a_blob_is_a_slice_of_the_message() {
    let message = setup();
    let blob = SessionSetupRequest::decode(&message).unwrap().security_buffer;
    assert_eq!(blob.as_ptr(), message[88..].as_ptr());
}

#[test]
fn a_blob_outside_of_the_message_is_refused() {
    let good = setup().to_vec();
    for (offset, len) in [(0x59u16, 5u16), (0x58, 6), (0x3f, 5), (0, 5), (0xffff, 5), (0x58, 0xffff)] {
        let mut bad = good.clone();
        bad[76..78].copy_from_slice(&offset.to_le_bytes());
        bad[78..80].copy_from_slice(&len.to_le_bytes());
        assert!(SessionSetupRequest::decode(&bad.into()).is_err(), "{offset} {len}");
    }
    let mut none = good;
    none[76..80].copy_from_slice(&[0xff, 0xff, 0, 0]);
    assert_eq!(SessionSetupRequest::decode(&none.into()).unwrap().security_buffer, "");
}

#[test]
fn tree_connect_names_a_share() {
    let request = TreeConnectRequest::decode(&tree_connect()).unwrap();
    assert_eq!(request.path, r"\\srv\data");
    assert_eq!(request.share(), Ok("data"));
    for bad in [r"\\srv", r"\\srv\", r"srv\data", r"\\srv\data\more", ""] {
        let request = TreeConnectRequest { flags: 0, path: bad.to_owned() };
        assert_eq!(request.share().unwrap_err().status, NtStatus::BAD_NETWORK_NAME, "{bad}");
    }
    let response = TreeConnectResponse {
        share_type: SHARE_TYPE_DISK,
        share_flags: 0x30,
        capabilities: 0x10,
        maximal_access: 0x001f_01ff,
    };
    assert_eq!(body(|out| response.encode(out)), hex("1000 01 00 30000000 10000000 ff011f00"));
}

#[test]
fn the_extension_of_tree_connect_has_its_path_behind_it() {
    let path = utf16(r"\\s\d");
    let extended = message(3, &[&hex("0900 0400 5800 0a00 10000000 0000 00000000000000000000"), &path]);
    let request = TreeConnectRequest::decode(&extended).unwrap();
    assert_eq!((request.flags, request.share()), (TREE_EXTENSION_PRESENT, Ok("d")));
}

#[test]
fn messages_without_content_have_four_bytes() {
    let four = |command| message(command, &[&hex("0400 0000")]);
    assert!(LogoffRequest::decode(&four(2)).is_ok());
    assert!(TreeDisconnectRequest::decode(&four(4)).is_ok());
    assert!(CancelRequest::decode(&four(12)).is_ok());
    assert!(EchoRequest::decode(&four(13)).is_ok());
    assert!(EchoRequest::decode(&message(13, &[&hex("0500 0000")])).is_err());
    assert!(EchoRequest::decode(&message(13, &[&hex("0400 00")])).is_err());
    assert_eq!(body(|out| EchoResponse.encode(out)), hex("0400 0000"));
    assert_eq!(body(|out| SetInfoResponse.encode(out)), hex("0200"));
}

#[test]
fn an_error_has_at_least_one_byte_of_data() {
    let none = ErrorResponse { data: ErrorData::None, in_context: true };
    assert_eq!(body(|out| none.encode(out)), hex("0900 00 00 00000000 00"));
    let needed = ErrorResponse { data: ErrorData::Needed(0x1234), in_context: false };
    assert_eq!(body(|out| needed.encode(out)), hex("0900 00 00 04000000 34120000"));
    let needed = ErrorResponse { in_context: true, ..needed };
    assert_eq!(body(|out| needed.encode(out)), hex("0900 01 00 0c000000 04000000 00000000 34120000"));
}

#[test]
fn a_symlink_error_says_where_to_go_on() {
    let data = ErrorData::Symlink { unparsed_len: 6, target: "ab".to_owned(), relative: true };
    let error = "20000000 53594d4c 0c0000a0 1400 0600 0000 0400 0400 0400 01000000 61006200 61006200";
    let plain = ErrorResponse { data, in_context: false };
    assert_eq!(body(|out| plain.encode(out)), hex(&format!("0900 00 00 24000000 {error}")));
    let in_context = ErrorResponse { in_context: true, ..plain };
    let expected = format!("0900 01 00 2c000000 24000000 00000000 {error}");
    assert_eq!(body(|out| in_context.encode(out)), hex(&expected));
}
