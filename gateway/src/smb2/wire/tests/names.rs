//! Names, paths, streams, and how names of a volume look to a client; times.

use super::super::filetime::{TimeChange, from_unix, to_unix};
use super::super::names::mapping::{to_client, to_volume};
use super::super::names::{Path, Stream, StreamType, check_component, put_utf16, upcase, utf16, utf16_len};
use super::super::status::NtStatus;
use super::samples::Random;
use bytes::BytesMut;

#[test]
fn utf16_goes_both_ways() {
    let text = "aé€\u{1f600}";
    let bytes = super::utf16(text);
    assert_eq!(utf16(&bytes).as_deref(), Ok(text));
    let mut out = BytesMut::new();
    put_utf16(&mut out, text);
    assert_eq!(out[..], bytes[..]);
    assert_eq!(utf16_len(text), bytes.len());
    assert_eq!(utf16(&bytes[..3]).unwrap_err().status, NtStatus::INVALID_PARAMETER);
    for half in [&[0x00, 0xd8][..], &[0x00, 0xdc], &[0x00, 0xd8, 0x61, 0x00], &[0x00, 0xdc, 0x00, 0xd8]] {
        assert_eq!(utf16(half).unwrap_err().status, NtStatus::OBJECT_NAME_INVALID, "{half:?}");
    }
}

#[test]
fn a_path_is_taken_apart() {
    let components = |path| Path::parse(path).unwrap().components;
    assert_eq!(components(""), Vec::<&str>::new());
    assert_eq!(components("a"), ["a"]);
    assert_eq!(components(r"a\b c\d.e"), ["a", "b c", "d.e"]);
    assert_eq!(components(r"a\b\"), ["a", "b"]);
    assert_eq!(components("...\u{f022}"), ["...\u{f022}"]);
}

#[test]
fn a_path_that_names_nothing_is_refused_with_its_status() {
    for (path, status) in [
        (r"\a", NtStatus::INVALID_PARAMETER),
        (r"\", NtStatus::INVALID_PARAMETER),
        (r"a\..\b", NtStatus::OBJECT_PATH_SYNTAX_BAD),
        (r"..", NtStatus::OBJECT_PATH_SYNTAX_BAD),
        (r"a\.\b", NtStatus::OBJECT_NAME_INVALID),
        (r"a\\b", NtStatus::OBJECT_NAME_INVALID),
        (r"a\\", NtStatus::OBJECT_NAME_INVALID),
        (r"a//b", NtStatus::OBJECT_NAME_INVALID),
        (r"a*", NtStatus::OBJECT_NAME_INVALID),
        ("a\0", NtStatus::OBJECT_NAME_INVALID),
        ("a\u{1f}", NtStatus::OBJECT_NAME_INVALID),
        (r"a:s\b", NtStatus::OBJECT_NAME_INVALID),
        (r"a\:s", NtStatus::OBJECT_NAME_INVALID),
        (r"a:", NtStatus::OBJECT_NAME_INVALID),
        (r"a::", NtStatus::OBJECT_NAME_INVALID),
        (r"a:s:", NtStatus::OBJECT_NAME_INVALID),
        (r"a:s:$OTHER", NtStatus::OBJECT_NAME_INVALID),
        (r"a:s:$DATA:", NtStatus::OBJECT_NAME_INVALID),
        (r"a:s/t", NtStatus::OBJECT_NAME_INVALID),
    ] {
        assert_eq!(Path::parse(path).map_err(|error| error.status), Err(status), "{path:?}");
    }
    assert!(check_component(&"é".repeat(255)).is_ok());
    assert!(check_component(&"é".repeat(256)).is_err());
    assert!(check_component(&"\u{1f600}".repeat(128)).is_err());
}

#[test]
fn a_stream_is_behind_the_last_component() {
    let stream = |path| Path::parse(path).unwrap().stream;
    assert_eq!(stream(r"d\a"), None);
    assert_eq!(stream(r"d\a:s"), Some(Stream { name: "s", kind: StreamType::Data }));
    assert_eq!(stream("a:s*\u{5}:$data"), Some(Stream { name: "s*\u{5}", kind: StreamType::Data }));
    assert_eq!(stream("a::$DATA"), Some(Stream { name: "", kind: StreamType::Data }));
    assert_eq!(stream("a:$I30:$INDEX_ALLOCATION").unwrap().kind, StreamType::IndexAllocation);
    let root = Path::parse(":s").unwrap();
    assert_eq!((root.components, root.stream.unwrap().name), (vec![], "s"));
}

#[test]
fn illegal_characters_wear_the_private_range() {
    for (volume, client) in [
        (&b"plain"[..], "plain"),
        ("é€\u{1f600}".as_bytes(), "é€\u{1f600}"),
        (b"a:b", "a\u{f022}b"),
        (b"\"*:<>?\\|", "\u{f020}\u{f021}\u{f022}\u{f023}\u{f024}\u{f025}\u{f026}\u{f027}"),
        (b"\x01\x1f\x7f", "\u{f001}\u{f01f}\u{7f}"),
        (b"a b.c ", "a b.c\u{f028}"),
        (b"a b.c.", "a b.c\u{f029}"),
        (b".", "."),
        (b"..", ".."),
        (b"...", "..\u{f029}"),
        (b"\xff\xfe", "\u{f7ff}\u{f7fe}"),
        (b"a\xc3", "a\u{f7c3}"),
        // U+F022 and U+F780 themselves, in UTF-8.
        (b"\xef\x80\xa2", "\u{f7ef}\u{f780}\u{f7a2}"),
        (b"\xef\x9e\x80", "\u{f7ef}\u{f79e}\u{f780}"),
    ] {
        assert_eq!(to_client(volume), client);
        assert_eq!(&to_volume(client)[..], volume, "{client:?}");
    }
}

#[test]
fn no_spelling_becomes_a_directory_above() {
    for name in ["\u{f029}", "\u{f029}\u{f029}", ".\u{f029}"] {
        assert_eq!(&to_volume(name)[..], name.as_bytes());
    }
}

#[test]
fn every_name_of_a_volume_comes_back() {
    let mut random = Random::seeded();
    for _ in 0..20_000 {
        let alphabet = b"a. :\x01\xef\x80\xa2\x9e\xc3\xa9\xf0\xff\\?";
        let name: Vec<u8> = (0..random.below(12))
            .map(|_| match random.below(4) {
                0 => u8::try_from(random.below(256)).unwrap(),
                _ => alphabet[random.below(alphabet.len())],
            })
            .filter(|byte| *byte != 0 && *byte != b'/')
            .collect();
        let client = to_client(&name);
        assert_eq!(&to_volume(&client)[..], &name[..], "{client:?}, {random}");
        if !matches!(&name[..], b"" | b"." | b"..") {
            assert!(check_component(&client).is_ok(), "{client:?}, {random}");
        }
    }
}

#[test]
fn upper_case_is_one_character_for_one() {
    assert_eq!("aZ1éßſ".chars().map(upcase).collect::<String>(), "AZ1ÉßS");
}

#[test]
fn times_convert_both_ways() {
    // 1970-01-01 and, as MS-DTYP has it, 100 ns after 1601-01-01.
    assert_eq!(from_unix(0, 0), 0x019d_b1de_d53e_8000);
    assert_eq!(to_unix(0x019d_b1de_d53e_8000), (0, 0));
    assert_eq!(from_unix(-11_644_473_600, 199), 1);
    assert_eq!(to_unix(1), (-11_644_473_600, 100));
    assert_eq!(to_unix(from_unix(1_700_000_000, 123_456_789)), (1_700_000_000, 123_456_700));
    assert_eq!(to_unix(from_unix(-1, 999_999_900)), (-1, 999_999_900));
}

#[test]
fn times_beyond_the_range_stop_at_its_ends() {
    assert_eq!(from_unix(i64::MIN, 0), 0);
    assert_eq!(from_unix(i64::MAX, 999_999_999), i64::MAX as u64);
    assert_eq!(from_unix(0, u32::MAX), 0x019d_b1de_d53e_8000 + 42_949_672);
    assert_eq!(to_unix(u64::MAX), to_unix(i64::MAX as u64));
}

#[test]
fn a_time_to_set_may_be_none() {
    assert_eq!(TimeChange::of(0), Ok(TimeChange::Keep));
    assert_eq!(TimeChange::of(u64::MAX), Ok(TimeChange::Suspend));
    assert_eq!(TimeChange::of(u64::MAX - 1), Ok(TimeChange::Resume));
    assert_eq!(TimeChange::of(5), Ok(TimeChange::Set(5)));
    assert!(TimeChange::of(u64::MAX - 2).is_err());
}
