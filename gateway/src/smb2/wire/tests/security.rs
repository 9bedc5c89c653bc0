//! SIDs and security descriptors.

use super::super::Reader;
use super::super::security::{
    Ace, AceType, CONTAINER_INHERIT, DACL_PROTECTED, Dacl, OBJECT_INHERIT, SecurityDescriptor,
};
use super::super::sid::Sid;
use super::super::status::NtStatus;
use super::hex;
use bytes::BytesMut;

/// `S-1-5-21-1-2-3-1000`.
const USER: &str = "01 05 000000000005 15000000 01000000 02000000 03000000 e8030000";
/// `S-1-5-32-544`.
const ADMINISTRATORS: &str = "01 02 000000000005 20000000 20020000";
/// `S-1-1-0`.
const EVERYONE: &str = "01 01 000000000001 00000000";

/// Owner, group, and a list that denies and allows.
pub(super) fn descriptor() -> Vec<u8> {
    hex(&format!(
        "01 00 0490 14000000 30000000 00000000 40000000 {USER} {ADMINISTRATORS}
         02 00 4000 0200 0000
         01 00 1400 00000100 {EVERYONE}
         00 03 2400 ff011f00 {USER}"
    ))
}

fn decoded() -> SecurityDescriptor {
    let user: Sid = "S-1-5-21-1-2-3-1000".parse().unwrap();
    SecurityDescriptor {
        control: DACL_PROTECTED,
        owner: Some(user),
        group: Some(Sid::ADMINISTRATORS),
        dacl: Dacl::List(vec![
            Ace { kind: AceType::Deny, flags: 0, mask: 0x0001_0000, sid: Sid::EVERYONE },
            Ace {
                kind: AceType::Allow,
                flags: OBJECT_INHERIT | CONTAINER_INHERIT,
                mask: 0x001f_01ff,
                sid: user,
            },
        ]),
    }
}

fn encoded(descriptor: &SecurityDescriptor) -> Vec<u8> {
    let mut out = BytesMut::from(&b"before"[..]);
    descriptor.encode(&mut out);
    out[6..].to_vec()
}

fn status(bytes: &[u8]) -> NtStatus {
    SecurityDescriptor::decode(bytes).unwrap_err().status
}

#[test]
fn a_descriptor_goes_both_ways() {
    assert_eq!(SecurityDescriptor::decode(&descriptor()), Ok(decoded()));
    assert_eq!(encoded(&decoded()), descriptor());
}

#[test]
fn no_list_and_an_empty_list_are_not_the_same() {
    for (dacl, expected) in [
        (Dacl::Absent, "01 00 0080 00000000 00000000 00000000 00000000"),
        (Dacl::Null, "01 00 0480 00000000 00000000 00000000 00000000"),
        (Dacl::List(Vec::new()), "01 00 0480 00000000 00000000 00000000 14000000 02 00 0800 0000 0000"),
    ] {
        let descriptor = SecurityDescriptor { dacl, ..SecurityDescriptor::default() };
        assert_eq!(encoded(&descriptor), hex(expected));
        assert_eq!(SecurityDescriptor::decode(&hex(expected)), Ok(descriptor));
    }
}

#[test]
fn the_order_of_the_parts_and_the_systems_list_mean_nothing() {
    // The list first, then the group, then the owner; a SACL is said to be at the list's place.
    let bytes = hex(&format!(
        "01 00 1490 40000000 30000000 14000000 14000000
         02 00 1c00 0100 0000 00 00 1400 01000000 {EVERYONE}
         {ADMINISTRATORS} {USER}"
    ));
    let descriptor = SecurityDescriptor::decode(&bytes).unwrap();
    assert_eq!(descriptor.owner, decoded().owner);
    assert_eq!(descriptor.group, Some(Sid::ADMINISTRATORS));
    assert_eq!(descriptor.control, DACL_PROTECTED);
    assert!(matches!(descriptor.dacl, Dacl::List(aces) if aces.len() == 1));
}

#[test]
fn every_bad_part_has_its_status() {
    let with = |at: usize, byte: u8| {
        let mut bad = descriptor();
        bad[at] = byte;
        SecurityDescriptor::decode(&bad).map_err(|error| error.status)
    };
    assert_eq!(with(0, 2), Err(NtStatus::INVALID_SECURITY_DESCR));
    assert_eq!(with(3, 0x10), Err(NtStatus::INVALID_SECURITY_DESCR), "not self-relative");
    assert_eq!(with(4, 19), Err(NtStatus::INVALID_SECURITY_DESCR), "owner in the fixed part");
    assert_eq!(with(7, 0xff), Err(NtStatus::INVALID_SECURITY_DESCR), "owner outside");
    assert_eq!(with(0x14, 2), Err(NtStatus::INVALID_SID), "revision");
    assert_eq!(with(0x15, 16), Err(NtStatus::INVALID_SID), "too many sub-authorities");
    assert_eq!(with(0x40, 1), Err(NtStatus::INVALID_ACL), "revision");
    assert_eq!(with(0x42, 7), Err(NtStatus::INVALID_ACL), "shorter than its head");
    assert_eq!(with(0x43, 1), Err(NtStatus::INVALID_ACL), "longer than the descriptor");
    assert_eq!(with(0x44, 3), Err(NtStatus::INVALID_ACL), "more entries than there are");
    assert_eq!(with(0x45, 0xff), Err(NtStatus::INVALID_ACL));
    assert_eq!(with(0x48, 9), Err(NtStatus::INVALID_ACL), "a type that nobody knows");
    assert_eq!(with(0x4a, 3), Err(NtStatus::INVALID_ACL), "an entry shorter than its head");
    assert_eq!(with(0x4a, 0x10), Err(NtStatus::INVALID_ACL), "an entry shorter than its SID");
    let whole = descriptor();
    assert!((0..whole.len()).all(|len| status(&whole[..len]).is_error()));
}

#[test]
fn the_longest_list_fits_its_length() {
    let sid = Sid::new(5, &[7; 15]).unwrap();
    let ace = Ace { kind: AceType::Allow, flags: 0, mask: 1, sid };
    let most = Dacl::List(vec![ace; super::super::security::ACES_MAX]);
    let descriptor = SecurityDescriptor { dacl: most, ..SecurityDescriptor::default() };
    assert_eq!(SecurityDescriptor::decode(&encoded(&descriptor)), Ok(descriptor));
}

#[test]
fn sids_go_both_ways() {
    for (text, bytes) in [
        ("S-1-5-21-1-2-3-1000", USER),
        ("S-1-5-32-544", ADMINISTRATORS),
        ("S-1-1-0", EVERYONE),
        ("S-1-0x123456789abc-4294967295", "01 01 123456789abc ffffffff"),
        ("S-1-5", "01 00 000000000005"),
    ] {
        let bytes = hex(bytes);
        let sid = Sid::decode(&mut Reader::new(&bytes, "SID")).unwrap();
        assert_eq!(sid.to_string(), text);
        assert_eq!(text.parse(), Ok(sid));
        assert_eq!(sid.wire_len(), bytes.len());
        let mut out = BytesMut::new();
        sid.encode(&mut out);
        assert_eq!(out[..], bytes[..]);
    }
    assert_eq!(Sid::USERS.to_string(), "S-1-5-32-545");
    assert_eq!(Sid::USERS.sub_authorities(), [32, 545]);
}

#[test]
fn what_is_no_sid_does_not_become_one() {
    for bad in [
        "",
        "S-1",
        "S-1-",
        "S-2-5-1",
        "S-1-5-",
        "S-1-5-x",
        "S-1-5-4294967296",
        "S-1-0x1000000000000",
        "S-1-281474976710656",
        "S-1-5-1-2-3-4-5-6-7-8-9-10-11-12-13-14-15-16",
    ] {
        assert_eq!(bad.parse::<Sid>().unwrap_err().status, NtStatus::INVALID_SID, "{bad}");
    }
    assert!(Sid::new(5, &[0; 16]).is_none());
    assert!(Sid::new(5, &[0; 15]).unwrap().child(1).is_none());
    assert_eq!(Sid::new(5, &[32]).unwrap().child(545), Some(Sid::USERS));
}
