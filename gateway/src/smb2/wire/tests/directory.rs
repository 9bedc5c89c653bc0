//! QUERY_DIRECTORY and its entries.

use super::super::create::attribute;
use super::super::directory::{Entry, EntryClass, EntryList, QueryDirectoryRequest, RESTART_SCANS};
use super::super::output::{Output, encode_output};
use super::io::{FILE, FILE_ID};
use super::{body, hex, message, utf16};
use bytes::{Bytes, BytesMut};

pub(super) fn query() -> Bytes {
    message(14, &[&hex(&format!("2100 25 01 00000000 {FILE} 6000 0a00 00000100")), &utf16("*.txt")])
}

const ENTRY: Entry = Entry {
    name: "ab",
    file_index: 9,
    creation_time: 1,
    last_access_time: 2,
    last_write_time: 3,
    change_time: 4,
    end_of_file: 5,
    allocation_size: 0x1000,
    attributes: 0x20,
    ea_size: 7,
    file_id: 0x1122_3344_5566_7788,
    finder: None,
};

const FACTS: &str = "0100000000000000 0200000000000000 0300000000000000 0400000000000000
    0500000000000000 0010000000000000 20000000";
const ID: &str = "8877665544332211";

#[test]
fn a_request_asks_for_names_of_a_pattern() {
    let request = QueryDirectoryRequest::decode(&query()).unwrap();
    let expected = QueryDirectoryRequest {
        information_class: 0x25,
        flags: RESTART_SCANS,
        file_index: 0,
        file_id: FILE_ID,
        pattern: "*.txt".to_owned(),
        output_buffer_length: 0x1_0000,
    };
    assert_eq!(request, expected);
    assert_eq!(EntryClass::of(0x25), Some(EntryClass::IdBothDirectory));
    assert_eq!(EntryClass::of(9), None);
}

#[test]
fn each_class_has_its_own_entry() {
    let no_short_name = format!("00 00 {}", "00".repeat(24));
    let head = "00000000 09000000";
    for (class, between) in [
        (EntryClass::Directory, format!("{FACTS} 04000000")),
        (EntryClass::FullDirectory, format!("{FACTS} 04000000 07000000")),
        (EntryClass::BothDirectory, format!("{FACTS} 04000000 07000000 {no_short_name}")),
        (EntryClass::Names, "04000000".to_owned()),
        (EntryClass::IdBothDirectory, format!("{FACTS} 04000000 07000000 {no_short_name} 0000 {ID}")),
        (EntryClass::IdFullDirectory, format!("{FACTS} 04000000 07000000 00000000 {ID}")),
        (EntryClass::IdExtdDirectory, format!("{FACTS} 04000000 07000000 00000000 {ID} 0000000000000000")),
        (
            EntryClass::IdExtdBothDirectory,
            format!("{FACTS} 04000000 07000000 00000000 {ID} 0000000000000000 {no_short_name}"),
        ),
    ] {
        let mut out = BytesMut::new();
        assert!(EntryList::new(class, &out, 1000).push(&ENTRY, &mut out));
        assert_eq!(out[..], hex(&format!("{head} {between} 61006200")), "{class:?}");
        assert_eq!(out.len(), class.fixed_len() + 4);
    }
}

#[test]
fn a_reparse_point_says_its_tag() {
    let link = Entry { attributes: attribute::REPARSE_POINT, ea_size: 0xa000_000c, ..ENTRY };
    let entry = |class| {
        let mut out = BytesMut::new();
        assert!(EntryList::new(class, &out, 1000).push(&link, &mut out));
        out
    };
    assert_eq!(entry(EntryClass::FullDirectory)[64..68], hex("0c0000a0"));
    assert_eq!(entry(EntryClass::IdExtdDirectory)[64..72], hex("00000000 0c0000a0"));
}

#[test]
fn entries_form_a_chain_that_ends_where_the_buffer_does() {
    let names = ["a", "longer name", "é", "last"];
    let fixed = EntryClass::Names.fixed_len();
    // Each begins at a multiple of eight; the last one is not padded.
    let starts = [0, 16, 56, 72];
    let needed = 72 + fixed + 8;
    for max in 0..needed + 9 {
        let bytes = body(|out| {
            let output = Output::begin(out);
            let mut list = EntryList::new(EntryClass::Names, out, max);
            assert!(list.is_empty());
            let taken = names.iter().take_while(|name| list.push(&Entry { name, ..ENTRY }, out)).count();
            let fitting =
                starts.iter().zip(names).filter(|(at, name)| *at + fixed + 2 * name.chars().count() <= max);
            assert_eq!(taken, fitting.count(), "{max}");
            assert_eq!(list.is_empty(), taken == 0);
            assert!(output.finish(out) <= max);
        });
        let mut at = 0;
        let mut found = Vec::new();
        while bytes.len() > 8 {
            let entry = &bytes[8 + at..];
            let word = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().unwrap()) as usize;
            found.push((at, entry[12..12 + word(8)].to_vec()));
            if word(0) == 0 {
                assert_eq!(12 + word(8), entry.len());
                break;
            }
            at += word(0);
        }
        let expected = starts.into_iter().zip(names.map(utf16)).take(found.len());
        assert!(expected.eq(found), "{max}");
    }
}

#[test]
fn the_body_says_where_and_how_long_its_data_is() {
    assert_eq!(body(|out| encode_output(b"data", out)), hex("0900 4800 04000000 64617461"));
    assert_eq!(body(|out| encode_output(b"", out)), hex("0900 4800 00000000"));
}
