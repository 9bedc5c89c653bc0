//! What waits, and what ends the waiting: LOCK, CHANGE_NOTIFY, breaks of oplocks and leases.

use super::super::breaks::{BreakAcknowledgement, LeaseBreakAck, LeaseBreakNotification, OplockBreak};
use super::super::create::oplock;
use super::super::lease::{LEASE_HANDLE, LEASE_READ, LEASE_WRITE};
use super::super::lock::{LOCK_EXCLUSIVE, LOCK_FAIL_IMMEDIATELY, LOCK_UNLOCK, LockElement, LockRequest};
use super::super::notify::{Action, ChangeNotifyRequest, NotifyList, WATCH_TREE, filter};
use super::io::{FILE, FILE_ID};
use super::{body, hex, message};
use bytes::{Bytes, BytesMut};

pub(super) fn lock() -> Bytes {
    let locks = "0010000000000000 0100000000000000 12000000 00000000
        ffffffffffffffff ffffffffffffffff 04000000 00000000";
    message(10, &[&hex(&format!("3000 0200 35000000 {FILE} {locks}"))])
}

pub(super) fn notify() -> Bytes {
    message(15, &[&hex(&format!("2000 0100 00100000 {FILE} 03000000 00000000"))])
}

pub(super) fn oplock_ack() -> Bytes {
    message(18, &[&hex(&format!("1800 01 00 00000000 {FILE}"))])
}

pub(super) fn lease_ack() -> Bytes {
    message(18, &[&hex(&format!("2400 0000 00000000 {FILE} 01000000 0000000000000000"))])
}

#[test]
fn a_lock_request_has_ranges_and_a_place_in_the_sequence() {
    let request = LockRequest::decode(&lock()).unwrap();
    assert_eq!((request.sequence_number, request.sequence_index), (5, 3));
    assert_eq!(request.file_id, FILE_ID);
    let expected = [
        LockElement { offset: 0x1000, length: 1, flags: LOCK_EXCLUSIVE | LOCK_FAIL_IMMEDIATELY },
        LockElement { offset: u64::MAX, length: u64::MAX, flags: LOCK_UNLOCK },
    ];
    assert_eq!(request.locks, expected);
    for count in [0u16, 3, 0xffff] {
        let mut bad = lock().to_vec();
        bad[66..68].copy_from_slice(&count.to_le_bytes());
        assert!(LockRequest::decode(&bad.into()).is_err(), "{count}");
    }
}

#[test]
fn a_watch_is_on_a_directory_or_its_tree() {
    let expected = ChangeNotifyRequest {
        flags: WATCH_TREE,
        output_buffer_length: 0x1000,
        file_id: FILE_ID,
        completion_filter: filter::FILE_NAME | filter::DIR_NAME,
    };
    assert_eq!(ChangeNotifyRequest::decode(&notify()), Ok(expected));
}

#[test]
fn changes_form_a_chain_that_ends_where_the_buffer_does() {
    let changes = |max| {
        let mut out = BytesMut::new();
        let mut list = NotifyList::new(&out, max);
        let all = list.push(Action::RenamedOldName, "a", &mut out)
            && list.push(Action::RenamedNewName, r"d\b", &mut out);
        (all, out)
    };
    let both = hex("10000000 04000000 02000000 6100 0000 00000000 05000000 06000000 64005c006200");
    assert_eq!(changes(34), (true, both[..].into()));
    let first = hex("00000000 04000000 02000000 6100");
    assert_eq!(changes(33), (false, first[..].into()));
    assert_eq!(changes(13), (false, BytesMut::new()));
}

#[test]
fn breaks_are_told_apart_by_their_size() {
    let of_oplock = OplockBreak { oplock_level: oplock::LEVEL_II, file_id: FILE_ID };
    assert_eq!(BreakAcknowledgement::decode(&oplock_ack()), Ok(BreakAcknowledgement::Oplock(of_oplock)));
    assert_eq!(body(|out| of_oplock.encode(out)), oplock_ack()[64..]);
    let key = *hex(FILE).first_chunk().unwrap();
    let of_lease = LeaseBreakAck { key, state: LEASE_READ };
    assert_eq!(BreakAcknowledgement::decode(&lease_ack()), Ok(BreakAcknowledgement::Lease(of_lease)));
    assert_eq!(body(|out| of_lease.encode(out)), lease_ack()[64..]);
    for size in [0u8, 25, 44] {
        let mut bad = lease_ack().to_vec();
        bad[64] = size;
        assert!(BreakAcknowledgement::decode(&bad.into()).is_err(), "{size}");
    }
}

#[test]
fn a_lease_is_broken_from_one_state_to_another() {
    let notification = LeaseBreakNotification {
        new_epoch: 3,
        ack_required: true,
        key: [6; 16],
        current_state: LEASE_READ | LEASE_WRITE | LEASE_HANDLE,
        new_state: LEASE_READ,
    };
    let expected =
        format!("2c00 0300 01000000 {} 07000000 01000000 00000000 00000000 00000000", "06".repeat(16));
    assert_eq!(body(|out| notification.encode(out)), hex(&expected));
}
