//! QUERY_INFO and SET_INFO.

use super::super::create::FileFacts;
use super::super::filetime::TimeChange;
use super::super::info::ea::{Ea, decode_ea_names, decode_eas, encode_eas};
use super::super::info::file::{self, FileInfo};
use super::super::info::set::{NewName, RENAME_POSIX_SEMANTICS, RENAME_REPLACE_IF_EXISTS, SetBasic, SetFile};
use super::super::info::stream::{StreamInfo, encode_streams};
use super::super::info::volume::{self, DEVICE_DISK, DEVICE_IS_MOUNTED, VolumeInfo};
use super::super::info::{QueryInfoRequest, SetInfoRequest, file_class, info_type, volume_class};
use super::super::status::NtStatus;
use super::io::{FILE, FILE_ID};
use super::{hex, message, utf16};
use bytes::{Bytes, BytesMut};

pub(super) fn query() -> Bytes {
    let fixed = format!("2900 01 0f 00100000 6800 0000 07000000 01000000 02000000 {FILE}");
    message(16, &[&hex(&fixed), &hex("00000000 01 61 00")])
}

pub(super) fn set() -> Bytes {
    message(17, &[&hex(&format!("2100 01 14 08000000 6000 0000 00000000 {FILE}")), &hex("0010000000000000")])
}

/// What a rename of MS-FSCC §2.4.42.2 holds.
pub(super) fn rename() -> Bytes {
    [hex("01 00000000000000 0000000000000000 06000000"), utf16(r"d\n")].concat().into()
}

const TIMES: &str = "0100000000000000 0200000000000000 0300000000000000 0400000000000000";

const INFO: FileInfo = FileInfo {
    facts: FileFacts {
        creation_time: 1,
        last_access_time: 2,
        last_write_time: 3,
        change_time: 4,
        allocation_size: 0x1000,
        end_of_file: 5,
        file_attributes: 0x20,
    },
    links: 2,
    delete_pending: true,
    directory: false,
    file_id: 0x11,
    volume_serial: 0x22,
    ea_size: 0x33,
    access: 0x001f_01ff,
    position: 0x44,
    mode: 0x55,
    reparse_tag: 0x66,
    path: r"\d\a",
};

#[test]
fn a_query_says_what_about_which_file() {
    let request = QueryInfoRequest::decode(&query()).unwrap();
    assert_eq!((request.info_type, request.info_class), (info_type::FILE, file_class::FULL_EA));
    assert_eq!((request.output_buffer_length, request.additional_information, request.flags), (0x1000, 1, 2));
    assert_eq!(request.file_id, FILE_ID);
    assert_eq!(decode_ea_names(&request.input).unwrap(), ["a"]);
}

#[test]
fn each_class_tells_its_own_of_a_file() {
    let all = format!(
        "{TIMES} 20000000 00000000 0010000000000000 0500000000000000 02000000 01 00 0000 1100000000000000 33000000
         ff011f00 4400000000000000 55000000 00000000 08000000 5c0064005c006100"
    );
    for (class, expected) in [
        (file_class::BASIC, format!("{TIMES} 20000000 00000000")),
        (file_class::STANDARD, "0010000000000000 0500000000000000 02000000 01 00 0000".to_owned()),
        (file_class::INTERNAL, "1100000000000000".to_owned()),
        (file_class::EA, "33000000".to_owned()),
        (file_class::ACCESS, "ff011f00".to_owned()),
        (file_class::POSITION, "4400000000000000".to_owned()),
        (file_class::MODE, "55000000".to_owned()),
        (file_class::ALIGNMENT, "00000000".to_owned()),
        (file_class::ALL, all),
        (file_class::COMPRESSION, "0500000000000000 0000 00 00 00 000000".to_owned()),
        (file_class::NETWORK_OPEN, format!("{TIMES} 0010000000000000 0500000000000000 20000000 00000000")),
        (file_class::ATTRIBUTE_TAG, "20000000 66000000".to_owned()),
        (file_class::NORMALIZED_NAME, "06000000 64005c006100".to_owned()),
        (file_class::ID, "2200000000000000 1100000000000000 0000000000000000".to_owned()),
    ] {
        let mut out = BytesMut::new();
        assert_eq!(INFO.encode(class, &mut out), Ok(()), "{class}");
        assert_eq!(out[..], hex(&expected), "{class}");
        assert!(out.len() >= file::fixed_len(class).unwrap(), "{class}");
    }
    let status = |class| INFO.encode(class, &mut BytesMut::new());
    assert_eq!(status(file_class::RENAME), Err(NtStatus::INVALID_INFO_CLASS));
    assert_eq!(file::fixed_len(file_class::RENAME), None);
}

#[test]
fn only_a_short_name_is_a_short_name() {
    let short_name = |path| {
        let mut out = BytesMut::new();
        FileInfo { path, ..INFO }.encode(file_class::ALTERNATE_NAME, &mut out).map(|()| out.to_vec())
    };
    for (path, name) in [(r"\Long directory\a-b_12~1.Txt", "A-B_12~1.TXT"), (r"\x", "X")] {
        assert_eq!(
            short_name(path),
            Ok([u32::try_from(2 * name.len()).unwrap().to_le_bytes().to_vec(), utf16(name)].concat())
        );
    }
    for path in [r"\", r"\ninechars1", r"\a.html", r"\a b", r"\a.b.c", r"\a.", r"\.a", r"\é", r"\a:s"] {
        assert_eq!(short_name(path), Err(NtStatus::OBJECT_NAME_NOT_FOUND), "{path}");
    }
}

#[test]
fn each_class_tells_its_own_of_a_file_system() {
    let info = VolumeInfo {
        creation_time: 1,
        serial_number: 2,
        label: "ab",
        total_units: 3,
        caller_available_units: 4,
        actual_available_units: 5,
        sectors_per_unit: 8,
        bytes_per_sector: 512,
        device_type: DEVICE_DISK,
        characteristics: DEVICE_IS_MOUNTED,
        attributes: 0x0004_006f,
        max_component_name_len: 255,
        file_system_name: "NTFS",
        default_quota_threshold: 6,
        default_quota_limit: 7,
        control_flags: 0x20,
        object_id: [9; 16],
        physical_bytes_per_sector: 4096,
    };
    let object_id = format!("{} {}", "09".repeat(16), "00".repeat(48));
    let control = format!("{} 0600000000000000 0700000000000000 20000000 00000000", "00".repeat(24));
    for (class, expected) in [
        (volume_class::VOLUME, "0100000000000000 02000000 04000000 00 00 61006200"),
        (volume_class::SIZE, "0300000000000000 0400000000000000 08000000 00020000"),
        (volume_class::DEVICE, "07000000 20000000"),
        (volume_class::ATTRIBUTE, "6f000400 ff000000 08000000 4e00540046005300"),
        (volume_class::CONTROL, &control),
        (volume_class::FULL_SIZE, "0300000000000000 0400000000000000 0500000000000000 08000000 00020000"),
        (volume_class::OBJECT_ID, &object_id),
        (volume_class::SECTOR_SIZE, "00020000 00100000 00100000 00100000 03000000 00000000 00000000"),
    ] {
        let mut out = BytesMut::new();
        assert_eq!(info.encode(class, &mut out), Ok(()), "{class}");
        assert_eq!(out[..], hex(expected), "{class}");
        assert!(volume::fixed_len(class).is_some(), "{class}");
    }
    assert_eq!(info.encode(2, &mut BytesMut::new()), Err(NtStatus::INVALID_INFO_CLASS));
}

#[test]
fn streams_form_a_chain() {
    let mut out = BytesMut::new();
    let stream = |name, size| StreamInfo { name, size, allocation_size: 0x1000 };
    encode_streams([stream("", 5), stream("s", 6)], &mut out);
    let expected = "28000000 0e000000 0500000000000000 0010000000000000 3a003a0024004400410054004100 0000
        00000000 10000000 0600000000000000 0010000000000000 3a0073003a0024004400410054004100";
    assert_eq!(out[..], hex(expected));
}

#[test]
fn attributes_go_both_ways() {
    let list = Bytes::from(hex("10000000 00 01 0200 61 00 7879 00000000 00000000 80 02 0000 6262 00"));
    let eas = decode_eas(&list).unwrap();
    let expected = [
        Ea { flags: 0, name: "a".into(), value: "xy".into() },
        Ea { flags: 0x80, name: "bb".into(), value: "".into() },
    ];
    assert_eq!(eas, expected);
    let mut out = BytesMut::new();
    assert_eq!(encode_eas(&eas, 100, &mut out), 2);
    // Here the second begins at the next multiple of four.
    assert_eq!(out[..], hex("0c000000 00 01 0200 61 00 7879 00000000 80 02 0000 6262 00"));
    for (max, count, len) in [(23, 2, 23), (22, 1, 12), (12, 1, 12), (11, 0, 0)] {
        let mut out = BytesMut::new();
        assert_eq!(encode_eas(&eas, max, &mut out), count, "{max}");
        assert_eq!(out.len(), len, "{max}");
    }
    assert_eq!(decode_eas(&Bytes::new()), Ok(Vec::new()));
}

#[test]
fn inconsistent_attributes_are_refused() {
    for bad in [
        "00000000 00 01 0200 61 00 78",
        "00000000 00 00 0000 00",
        "00000000 00 01 0000 61 01",
        "04000000 00 01 0000 61 00 0000",
        "0c000000 00 01 0000 61 00 0000",
        "000000",
    ] {
        let error = decode_eas(&hex(bad).into()).unwrap_err();
        assert_eq!(error.status, NtStatus::EA_LIST_INCONSISTENT, "{bad}");
    }
    assert!(decode_ea_names(&hex("00000000 02 61").into()).is_err());
}

#[test]
fn a_change_is_of_its_class() {
    let request = SetInfoRequest::decode(&set()).unwrap();
    assert_eq!((request.info_type, request.file_id), (info_type::FILE, FILE_ID));
    assert_eq!(SetFile::decode(request.info_class, &request.buffer), Ok(SetFile::EndOfFile(0x1000)));
    let change = |class, bytes: &str| SetFile::decode(class, &hex(bytes).into());
    assert_eq!(change(file_class::ALLOCATION, "0010000000000000"), Ok(SetFile::Allocation(0x1000)));
    assert_eq!(change(file_class::POSITION, "0010000000000000"), Ok(SetFile::Position(0x1000)));
    assert_eq!(
        change(file_class::VALID_DATA_LENGTH, "0010000000000000"),
        Ok(SetFile::ValidDataLength(0x1000))
    );
    assert_eq!(change(file_class::MODE, "02000000"), Ok(SetFile::Mode(2)));
    assert_eq!(change(file_class::DISPOSITION, "01"), Ok(SetFile::Disposition { flags: 1 }));
    assert_eq!(change(file_class::DISPOSITION, "00"), Ok(SetFile::Disposition { flags: 0 }));
    assert_eq!(change(file_class::DISPOSITION_EX, "13000000"), Ok(SetFile::Disposition { flags: 0x13 }));
    assert_eq!(change(file_class::FULL_EA, ""), Ok(SetFile::FullEa(Vec::new())));
}

#[test]
fn times_may_be_left_alone() {
    let bytes = "0000000000000000 ffffffffffffffff feffffffffffffff 0400000000000000 20000000 00000000";
    let expected = SetBasic {
        creation_time: TimeChange::Keep,
        last_access_time: TimeChange::Suspend,
        last_write_time: TimeChange::Resume,
        change_time: TimeChange::Set(4),
        file_attributes: 0x20,
    };
    let buffer = Bytes::from(hex(bytes));
    assert_eq!(SetFile::decode(file_class::BASIC, &buffer), Ok(SetFile::Basic(expected)));
    let negative = hex("0000000000000080 0000000000000000 0000000000000000 0000000000000000 00000000");
    let error = SetFile::decode(file_class::BASIC, &negative.into()).unwrap_err();
    assert_eq!(error.status, NtStatus::INVALID_PARAMETER);
}

#[test]
fn a_rename_says_whether_it_replaces() {
    let name = NewName { flags: RENAME_REPLACE_IF_EXISTS, name: r"d\n".to_owned() };
    assert!(name.replace_if_exists());
    assert_eq!(SetFile::decode(file_class::RENAME, &rename()), Ok(SetFile::Rename(name.clone())));
    assert_eq!(SetFile::decode(file_class::LINK, &rename()), Ok(SetFile::Link(name.clone())));
    let mut extended = rename().to_vec();
    extended[0] = 2;
    let posix = NewName { flags: RENAME_POSIX_SEMANTICS, ..name };
    assert_eq!(SetFile::decode(file_class::RENAME_EX, &extended.clone().into()), Ok(SetFile::Rename(posix)));
    let rooted = [hex("00 00000000000000 0000000000000000 04000000"), utf16(r"\n")].concat();
    let rooted = SetFile::decode(file_class::LINK, &rooted.into());
    assert_eq!(rooted, Ok(SetFile::Link(NewName { flags: 0, name: "n".to_owned() })));
    // Relative to another directory's handle.
    extended[8] = 1;
    assert!(SetFile::decode(file_class::RENAME, &extended.into()).is_err());
}

#[test]
fn a_change_that_is_too_short_says_so() {
    let status = |class, bytes: &[u8]| {
        SetFile::decode(class, &Bytes::copy_from_slice(bytes)).map_err(|error| error.status)
    };
    for (class, least) in [
        (file_class::BASIC, 36),
        (file_class::RENAME, 26),
        (file_class::RENAME_EX, 26),
        (file_class::LINK, 26),
        (file_class::DISPOSITION, 1),
        (file_class::DISPOSITION_EX, 4),
        (file_class::POSITION, 8),
        (file_class::MODE, 4),
        (file_class::ALLOCATION, 8),
        (file_class::END_OF_FILE, 8),
    ] {
        let mut bytes = [0; 40];
        bytes[..26].copy_from_slice(&rename());
        if !matches!(class, file_class::RENAME | file_class::RENAME_EX | file_class::LINK) {
            bytes.fill(0);
        }
        for len in 0..40 {
            let expected = if len < least { Some(NtStatus::INFO_LENGTH_MISMATCH) } else { None };
            assert_eq!(status(class, &bytes[..len]).err(), expected, "{class} {len}");
        }
    }
    assert_eq!(status(99, &[]), Err(NtStatus::INVALID_INFO_CLASS));
    assert_eq!(status(file_class::END_OF_FILE, &[0xff; 8]), Err(NtStatus::INVALID_PARAMETER));
}
