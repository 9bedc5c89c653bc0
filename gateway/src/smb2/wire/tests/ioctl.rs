//! IOCTL and what its controls carry.

use super::super::FileId;
use super::super::fsctl::{
    CopyChunk, CopyChunks, DuplicateExtents, NetworkInterface, ValidateNegotiate, code,
    decode_allocated_ranges, decode_resiliency, decode_set_sparse, decode_symlink, decode_zero_data,
    put_allocated_range, put_copied, put_interfaces, put_resume_key, put_snapshots, put_symlink,
    put_validated,
};
use super::super::ioctl::{IS_FSCTL, IoctlRequest, IoctlResponse};
use super::super::status::NtStatus;
use super::io::{FILE, FILE_ID};
use super::{body, hex, message, utf16};
use bytes::{Bytes, BytesMut};

/// VALIDATE_NEGOTIATE_INFO.
pub(super) fn request() -> Bytes {
    let ids = "ffffffffffffffff ffffffffffffffff";
    let fixed = format!(
        "3900 0000 04021400 {ids} 78000000 1c000000 00000000 78000000 00000000 18000000 01000000 00000000"
    );
    message(11, &[&hex(&fixed), &validate()])
}

pub(super) fn validate() -> Bytes {
    hex("7f000000 000102030405060708090a0b0c0d0e0f 0100 0200 1002 0003").into()
}

pub(super) fn copy_chunks() -> Bytes {
    let key = "aa".repeat(24);
    let chunk = "0000010000000000 0000020000000000 00001000 00000000";
    hex(&format!("{key} 02000000 00000000 {chunk} {chunk}")).into()
}

pub(super) fn symlink() -> Bytes {
    hex("0c0000a0 1400 0000 0000 0400 0400 0400 01000000 61006200 61006200").into()
}

fn encoded(put: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut out = BytesMut::new();
    put(&mut out);
    out
}

#[test]
fn a_control_has_input_and_output() {
    let request = IoctlRequest::decode(&request()).unwrap();
    let expected = IoctlRequest {
        ctl_code: code::VALIDATE_NEGOTIATE_INFO,
        file_id: FileId::PREVIOUS,
        max_input_response: 0,
        max_output_response: 24,
        flags: IS_FSCTL,
        input: validate(),
    };
    assert_eq!(request, expected);
    let response =
        IoctlResponse { ctl_code: code::SRV_REQUEST_RESUME_KEY, file_id: FILE_ID, output: "xyz".into() };
    let expected =
        format!("3100 0000 78001400 {FILE} 70000000 00000000 70000000 03000000 00000000 00000000 78797a");
    assert_eq!(body(|out| response.encode(out)), hex(&expected));
}

#[test]
fn negotiation_is_validated() {
    let input = ValidateNegotiate::decode(&validate()).unwrap();
    assert_eq!((input.capabilities, input.security_mode), (0x7f, 1));
    assert_eq!(input.dialects, [0x0210, 0x0300]);
    let out = encoded(|out| put_validated(0x7f, &[5; 16], 1, 0x0300, out));
    assert_eq!(out[..], hex(&format!("7f000000 {} 0100 0003", "05".repeat(16))));
}

#[test]
fn a_copy_has_chunks() {
    let chunk = CopyChunk { source_offset: 0x1_0000, target_offset: 0x2_0000, length: 0x10_0000 };
    let copy = CopyChunks::decode(&copy_chunks()).unwrap();
    assert_eq!(copy, CopyChunks { source_key: [0xaa; 24], chunks: vec![chunk; 2] });
    let mut more = copy_chunks().to_vec();
    for count in [3, 257, u32::MAX] {
        more[24..28].copy_from_slice(&count.to_le_bytes());
        assert!(CopyChunks::decode(&more).is_err(), "{count}");
    }
    assert_eq!(encoded(|out| put_copied(1, 2, 3, out))[..], hex("01000000 02000000 03000000"));
    assert_eq!(encoded(|out| put_resume_key(&[1; 24], out)).len(), 32);
}

#[test]
fn ranges_end_where_files_can() {
    let zero = |bytes: &str| decode_zero_data(&hex(bytes));
    assert_eq!(zero("0010000000000000 0020000000000000"), Ok(0x1000..0x2000));
    assert!(zero("0020000000000000 0010000000000000").is_err());
    assert!(zero("0000000000000000 0000000000000080").is_err());
    let allocated = |bytes: &str| decode_allocated_ranges(&hex(bytes));
    assert_eq!(allocated("0010000000000000 0020000000000000"), Ok(0x1000..0x3000));
    assert!(allocated("0100000000000000 ffffffffffffffff").is_err());
    assert!(allocated("0100000000000000 ffffffffffffff7f").is_err());
    assert_eq!(encoded(|out| put_allocated_range(1, 2, out))[..], hex("0100000000000000 0200000000000000"));
    assert!(decode_set_sparse(&[]) && decode_set_sparse(&[1]) && !decode_set_sparse(&[0]));
    assert_eq!(decode_resiliency(&hex("60ea0000 00000000")), Ok(60_000));
}

#[test]
fn snapshots_are_listed_where_they_fit() {
    let name = "@GMT-2026.01.31-12.00.00";
    let array = [utf16(name), vec![0, 0], utf16(name), vec![0, 0], vec![0, 0]].concat();
    let list = |max| encoded(|out| put_snapshots([name, name].into_iter(), max, out));
    assert_eq!(list(114)[..], [hex("02000000 02000000 66000000"), array].concat());
    assert_eq!(list(113)[..], hex("02000000 00000000 66000000 00000000"));
    let none = encoded(|out| put_snapshots(std::iter::empty(), 16, out));
    assert_eq!(none[..], hex("00000000 00000000 02000000 00000000"));
}

#[test]
fn extents_are_named_by_their_file() {
    let fields = format!("{FILE} 0010000000000000 0020000000000000 0030000000000000");
    let expected = DuplicateExtents {
        source_file_id: FILE_ID,
        source_file_offset: 0x1000,
        target_file_offset: 0x2000,
        byte_count: 0x3000,
    };
    assert_eq!(DuplicateExtents::decode(&hex(&fields), false), Ok(expected));
    let ex = format!("3800000000000000 {fields} 00000000 00000000");
    assert_eq!(DuplicateExtents::decode(&hex(&ex), true), Ok(expected));
}

#[test]
fn interfaces_are_told_with_their_addresses() {
    let interface = |address: &str| NetworkInterface {
        index: 2,
        rss_capable: true,
        link_speed_bits_per_second: 10_000_000_000,
        address: address.parse().unwrap(),
    };
    let out = encoded(|out| put_interfaces(&[interface("10.1.2.3"), interface("fd00::1")], out));
    let speed = "00e40b5402000000";
    let first =
        format!("98000000 02000000 01000000 00000000 {speed} 0200 0000 0a010203 {}", "00".repeat(120));
    let second = format!(
        "00000000 02000000 01000000 00000000 {speed} 1700 0000 00000000 fd000000000000000000000000000001 {}",
        "00".repeat(104)
    );
    assert_eq!(out[..], [hex(&first), hex(&second)].concat());
}

#[test]
fn symbolic_links_go_both_ways() {
    assert_eq!(encoded(|out| put_symlink("ab", true, out))[..], symlink()[..]);
    assert_eq!(decode_symlink(&symlink()), Ok(("ab".to_owned(), true)));
    let status = |bytes: &[u8]| decode_symlink(&Bytes::copy_from_slice(bytes)).unwrap_err().status;
    assert!((0..28).all(|len| status(&symlink()[..len]) == NtStatus::IO_REPARSE_DATA_INVALID));
    assert_eq!(status(&hex("030000a0 0000 0000")), NtStatus::IO_REPARSE_TAG_INVALID);
}
