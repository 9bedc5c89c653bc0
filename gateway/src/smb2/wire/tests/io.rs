//! READ, WRITE, FLUSH, CLOSE.

use super::super::FileId;
use super::super::create::{CloseRequest, CloseResponse, FileFacts};
use super::super::io::{
    FlushRequest, READ_UNBUFFERED, ReadRequest, ReadResponse, WriteRequest, WriteResponse,
};
use super::super::plain::FlushResponse;
use super::{body, hex, message};
use bytes::Bytes;

pub(super) const FILE: &str = "0102030405060708 1112131415161718";
pub(super) const FILE_ID: FileId =
    FileId { persistent: 0x0807_0605_0403_0201, volatile: 0x1817_1615_1413_1211 };

pub(super) fn read() -> Bytes {
    let fixed =
        format!("3100 50 01 00001000 0000000001000000 {FILE} 01000000 00000000 02000000 0000 0000 00");
    message(8, &[&hex(&fixed)])
}

pub(super) fn write() -> Bytes {
    let fixed = format!("3100 7000 05000000 0010000000000000 {FILE} 00000000 00000000 0000 0000 01000000");
    message(9, &[&hex(&fixed), b"hello"])
}

pub(super) fn flush() -> Bytes {
    message(7, &[&hex(&format!("1800 0000 00000000 {FILE}"))])
}

pub(super) fn close() -> Bytes {
    message(6, &[&hex(&format!("1800 0100 00000000 {FILE}"))])
}

#[test]
fn read_asks_for_a_range() {
    let request = ReadRequest::decode(&read()).unwrap();
    let expected = ReadRequest {
        flags: READ_UNBUFFERED,
        length: 0x0010_0000,
        offset: 0x1_0000_0000,
        file_id: FILE_ID,
        minimum_count: 1,
        channel: 0,
        remaining_bytes: 2,
    };
    assert_eq!(request, expected);
    // The data follows the 16 bytes at once: 80 is where they end.
    let fixed = body(|out| ReadResponse { data_length: 0x0010_0000 }.encode(out));
    assert_eq!(fixed, hex("1100 50 00 00001000 00000000 00000000"));
}

#[test]
fn the_byte_that_a_read_has_for_a_buffer_need_not_be_there() {
    let whole = read();
    assert_eq!(ReadRequest::decode(&whole.slice(..whole.len() - 1)), ReadRequest::decode(&whole));
    assert!(ReadRequest::decode(&whole.slice(..whole.len() - 2)).is_err());
}

#[test]
fn write_carries_a_slice_of_the_message() {
    let message = write();
    let request = WriteRequest::decode(&message).unwrap();
    assert_eq!((request.offset, request.file_id, request.flags), (0x1000, FILE_ID, 1));
    assert_eq!(request.data, "hello");
    assert_eq!(request.data.as_ptr(), message[112..].as_ptr());
    assert!(WriteRequest::decode(&message.slice(..message.len() - 1)).is_err());
    assert!(!format!("{request:?}").contains("hello"));
    let response = WriteResponse { count: 5 };
    assert_eq!(body(|out| response.encode(out)), hex("1100 0000 05000000 00000000 0000 0000"));
}

#[test]
fn flush_and_close_name_a_file() {
    assert_eq!(FlushRequest::decode(&flush()).unwrap().file_id, FILE_ID);
    assert_eq!(body(|out| FlushResponse.encode(out)), hex("0400 0000"));
    let request = CloseRequest::decode(&close()).unwrap();
    assert_eq!(request.file_id, FILE_ID);
    assert!(request.wants_attributes());
}

#[test]
fn close_answers_attributes_or_zeros() {
    let bare = body(|out| CloseResponse { file: None }.encode(out));
    assert_eq!(bare, [hex("3c00 0000 00000000"), vec![0; 52]].concat());
    let file = FileFacts {
        creation_time: 1,
        last_access_time: 2,
        last_write_time: 3,
        change_time: 4,
        allocation_size: 0x1000,
        end_of_file: 5,
        file_attributes: 0x20,
    };
    let expected = "3c00 0100 00000000 0100000000000000 0200000000000000 0300000000000000 0400000000000000
        0010000000000000 0500000000000000 20000000";
    assert_eq!(body(|out| CloseResponse { file: Some(file) }.encode(out)), hex(expected));
}
