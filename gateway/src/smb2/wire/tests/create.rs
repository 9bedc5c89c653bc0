//! CREATE and its contexts.

use super::super::FileId;
use super::super::create::{
    CreateRequest, CreateResponse, FileFacts, access, action, disposition, oplock, options,
};
use super::super::create_contexts::{CreateContext, DURABLE_PERSISTENT};
use super::super::create_replies::CreateReplyContext;
use super::super::info::ea::Ea;
use super::super::lease::{LEASE_HANDLE, LEASE_READ, LEASE_WRITE, Lease, LeaseV2};
use super::super::status::NtStatus;
use super::io::{FILE, FILE_ID};
use super::{body, hex, message, utf16};
use bytes::Bytes;

const GUID: [u8; 16] = *b"0123456789abcdef";

/// One context: name, data and whether another follows.
fn context(name: &[u8], data: &[u8], more: bool) -> Vec<u8> {
    let data_at = (16 + name.len()).next_multiple_of(8);
    let len = (data_at + data.len()).next_multiple_of(8);
    let mut bytes = vec![0; len];
    let put = |bytes: &mut Vec<u8>, at: usize, value: usize, width: usize| {
        bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
    };
    put(&mut bytes, 0, if more { len } else { 0 }, 4);
    put(&mut bytes, 4, 16, 2);
    put(&mut bytes, 6, name.len(), 2);
    put(&mut bytes, 10, if data.is_empty() { 0 } else { data_at }, 2);
    put(&mut bytes, 12, data.len(), 4);
    bytes[16..16 + name.len()].copy_from_slice(name);
    bytes[data_at..data_at + data.len()].copy_from_slice(data);
    bytes
}

/// CREATE of `dir\file` with these contexts.
fn create(contexts: &[u8]) -> Bytes {
    let name = utf16(r"dir\file");
    let (at, len) = if contexts.is_empty() { (0, 0) } else { (0x88, u32::try_from(contexts.len()).unwrap()) };
    message(
        5,
        &[
            &hex(
                "3900 00 09 02000000 0000000000000000 0000000000000000 9f011200 80000000 07000000 03000000 44000000",
            ),
            &hex("7800 1000"),
            &u32::to_le_bytes(at),
            &len.to_le_bytes(),
            &name,
            contexts,
        ],
    )
}

/// With one context of each kind.
pub(super) fn full() -> Bytes {
    let mut contexts = Vec::new();
    let lease_v1 = [&GUID[..], &hex("05000000 00000000 0000000000000000")].concat();
    let lease_v2 =
        [&GUID[..], &hex("07000000 04000000 0000000000000000"), &[7; 16], &hex("0300 0000")].concat();
    let durable_v2 = [&hex("60ea0000 02000000 0000000000000000"), &GUID[..]].concat();
    let reconnect_v2 = [&hex(FILE), &GUID[..], &hex("02000000")].concat();
    let eas = hex("10000000 00 01 0200 61 00 7879 00000000 00000000 80 02 0000 6262 00");
    let all: &[(&[u8], &[u8])] = &[
        (b"MxAc", b""),
        (b"MxAc", &hex("0807060504030201")),
        (b"QFid", b""),
        (b"DHnQ", &[0; 16]),
        (b"DHnC", &hex(FILE)),
        (b"DH2Q", &durable_v2),
        (b"DH2C", &reconnect_v2),
        (b"RqLs", &lease_v1),
        (b"RqLs", &lease_v2),
        (b"AlSi", &hex("0000100000000000")),
        (b"ExtA", &eas),
        (b"SecD", b"descriptor"),
        (b"TWrp", &hex("0807060504030201")),
        (b"AAPL", &hex("01000000 00000000 0700000000000000 0300000000000000")),
        (&hex("45bca66aefa7f74a9008fa462e144d74"), &[&hex("1400 0000"), &GUID[..]].concat()),
        (
            &hex("b982d0b73b56074fa07b524a8116a010"),
            &hex("1800 0000 00000000 0100000000000000 0200000000000000"),
        ),
        (&hex("9ccbcf9e04c1e643980e158da1f6ec83"), b"vhd"),
    ];
    for (at, (name, data)) in all.iter().enumerate() {
        contexts.extend(context(name, data, at + 1 < all.len()));
    }
    create(&contexts)
}

#[test]
fn a_request_says_how_to_open_what() {
    let request = CreateRequest::decode(&create(&[])).unwrap();
    let expected = CreateRequest {
        oplock_level: oplock::BATCH,
        impersonation_level: 2,
        desired_access: 0x0012_019f,
        file_attributes: 0x80,
        share_access: 7,
        disposition: disposition::OPEN_IF,
        options: options::NON_DIRECTORY_FILE | options::SEQUENTIAL_ONLY,
        name: r"dir\file".to_owned(),
        contexts: Vec::new(),
    };
    assert_eq!(request, expected);
    assert_ne!(request.desired_access & access::READ_DATA, 0);
}

#[test]
fn every_context_is_understood() {
    let lease = Lease { key: GUID, state: LEASE_READ | LEASE_WRITE, flags: 0, v2: None };
    let expected = [
        CreateContext::MaximalAccess { timestamp: None },
        CreateContext::MaximalAccess { timestamp: Some(0x0102_0304_0506_0708) },
        CreateContext::QueryOnDiskId,
        CreateContext::DurableRequest,
        CreateContext::DurableReconnect { file_id: FILE_ID },
        CreateContext::DurableRequestV2 { timeout_ms: 60_000, flags: DURABLE_PERSISTENT, create_guid: GUID },
        CreateContext::DurableReconnectV2 { file_id: FILE_ID, create_guid: GUID, flags: DURABLE_PERSISTENT },
        CreateContext::Lease(lease),
        CreateContext::Lease(Lease {
            state: LEASE_READ | LEASE_HANDLE | LEASE_WRITE,
            v2: Some(LeaseV2 { parent_key: Some([7; 16]), epoch: 3 }),
            ..lease
        }),
        CreateContext::AllocationSize(0x10_0000),
        CreateContext::ExtendedAttributes(vec![
            Ea { flags: 0, name: "a".into(), value: "xy".into() },
            Ea { flags: 0x80, name: "bb".into(), value: "".into() },
        ]),
        CreateContext::SecurityDescriptor("descriptor".into()),
        CreateContext::TimeWarp { timestamp: 0x0102_0304_0506_0708 },
        CreateContext::Apple { command: 1, request_bitmap: 7, client_capabilities: 3 },
        CreateContext::AppInstanceId(GUID),
        CreateContext::AppInstanceVersion { high: 1, low: 2 },
        CreateContext::Other { name: hex("9ccbcf9e04c1e643980e158da1f6ec83").into(), data: "vhd".into() },
    ];
    assert_eq!(CreateRequest::decode(&full()).unwrap().contexts, expected);
}

#[test]
fn a_known_context_has_its_own_length_and_no_other() {
    for (name, right) in [
        (&b"MxAc"[..], &[0usize, 8][..]),
        (b"DHnQ", &[16]),
        (b"DHnC", &[16]),
        (b"DH2Q", &[32]),
        (b"DH2C", &[36]),
        (b"RqLs", &[32, 52]),
        (b"AlSi", &[8]),
        (b"TWrp", &[8]),
        (b"AAPL", &[24]),
    ] {
        for len in 0..64 {
            let request = create(&context(name, &vec![0; len], false));
            assert_eq!(CreateRequest::decode(&request).is_ok(), right.contains(&len), "{name:?} {len}");
        }
    }
}

#[test]
fn chains_that_lead_astray_are_refused() {
    let good = [context(b"MxAc", b"", true), context(b"QFid", b"", false)].concat();
    assert_eq!(CreateRequest::decode(&create(&good)).unwrap().contexts.len(), 2);
    for next in [1u32, 8, 20, 28, 48, 56, 0xffff_fff8] {
        let mut bad = good.clone();
        bad[..4].copy_from_slice(&next.to_le_bytes());
        assert!(CreateRequest::decode(&create(&bad)).is_err(), "{next}");
    }
    let many: Vec<u8> = (0..65).flat_map(|at| context(b"QFid", b"", at < 64)).collect();
    assert!(CreateRequest::decode(&create(&many)).is_err());
    assert!(CreateRequest::decode(&create(&many[24..])).is_ok());
}

#[test]
fn a_context_has_its_name_and_data_inside() {
    let good = context(b"Name", b"data", false);
    let with = |at: usize, byte: u8| {
        let mut bad = good.clone();
        bad[at] = byte;
        CreateRequest::decode(&create(&bad))
    };
    assert!(with(0, 0).is_ok());
    assert!(with(4, 15).is_err(), "name in the head");
    assert!(with(5, 1).is_err(), "name outside");
    assert!(with(6, 3).is_err(), "name too short");
    assert!(with(10, 15).is_err(), "data in the head");
    assert!(with(10, 29).is_err(), "data goes on outside");
    assert!(with(11, 1).is_err(), "data outside");
    assert!(with(12, 9).is_err(), "data too long");
    assert!(with(15, 0xff).is_err());
}

#[test]
fn half_a_surrogate_pair_is_no_name() {
    let fixed = create(&[]).slice(64..120);
    let bad = message(5, &[&fixed, &hex("6400 00d8 6900 7200 6400 6900 7200 6400")]);
    assert_eq!(CreateRequest::decode(&bad).unwrap_err().status, NtStatus::OBJECT_NAME_INVALID);
}

fn response(contexts: Vec<CreateReplyContext>) -> Vec<u8> {
    let file = FileFacts {
        creation_time: 1,
        last_access_time: 2,
        last_write_time: 3,
        change_time: 4,
        allocation_size: 0x1000,
        end_of_file: 5,
        file_attributes: 0x20,
    };
    let response = CreateResponse {
        oplock_level: oplock::LEASE,
        flags: 0,
        action: action::CREATED,
        file,
        file_id: FileId { persistent: 0x0807_0605_0403_0201, volatile: 0x1817_1615_1413_1211 },
        contexts,
    };
    body(|out| response.encode(out))
}

const FIXED: &str = "5900 ff 00 02000000 0100000000000000 0200000000000000 0300000000000000 0400000000000000
    0010000000000000 0500000000000000 20000000 00000000 0102030405060708 1112131415161718";

#[test]
fn a_reply_says_what_was_opened() {
    assert_eq!(response(Vec::new()), hex(&format!("{FIXED} 00000000 00000000")));
}

#[test]
fn a_reply_has_its_contexts_in_a_chain() {
    let lease = Lease { key: GUID, state: 1, flags: 0, v2: Some(LeaseV2 { parent_key: None, epoch: 2 }) };
    let bytes = response(vec![
        CreateReplyContext::MaximalAccess { status: NtStatus::SUCCESS, access: 0x001f_01ff },
        CreateReplyContext::OnDiskId { file_id: 0x11, volume_id: 0x22 },
        CreateReplyContext::Durable,
        CreateReplyContext::DurableV2 { timeout_ms: 60_000, flags: DURABLE_PERSISTENT },
        CreateReplyContext::Lease(lease),
        CreateReplyContext::Apple {
            server_capabilities: Some(1),
            volume_capabilities: Some(2),
            model: Some("Xs".to_owned()),
        },
    ]);
    let guid = GUID.map(|byte| format!("{byte:02x}")).concat();
    // 0x98 is 152: the header's 64 and the fixed 88.
    let expected = format!(
        "{FIXED} 98000000 20010000
         20000000 1000 0400 0000 1800 08000000 4d784163 00000000 00000000 ff011f00
         38000000 1000 0400 0000 1800 20000000 51466964 00000000 1100000000000000 2200000000000000
             00000000000000000000000000000000
         20000000 1000 0400 0000 1800 08000000 44486e51 00000000 0000000000000000
         20000000 1000 0400 0000 1800 08000000 44483251 00000000 60ea0000 02000000
         50000000 1000 0400 0000 1800 34000000 52714c73 00000000 {guid} 01000000 00000000 0000000000000000
             00000000000000000000000000000000 0200 0000 00000000
         00000000 1000 0400 0000 1800 2c000000 4141504c 00000000 01000000 00000000 0700000000000000
             0100000000000000 0200000000000000 00000000 04000000 5800 7300"
    );
    let expected = hex(&expected);
    assert_eq!(expected.len() - 88, 0x20 + 0x38 + 0x20 + 0x20 + 0x50 + 0x18 + 0x2c);
    // The length of the chain is patched in below: it is what the sum says.
    let len = u32::try_from(expected.len() - 88).unwrap();
    assert_eq!(bytes[84..88], len.to_le_bytes());
    assert_eq!(bytes[..84], expected[..84]);
    assert_eq!(bytes[88..], expected[88..]);
}
