//! LOCK (MS-SMB2 §3.3.5.14): its order, and its place in the sequence of an open.

use super::Site;
use super::client::Peer;
use super::files::Id;
use crate::smb2::wire::header::Command;
use crate::smb2::wire::status::NtStatus;

const CREATE: u32 = 2;
const SHARE_ALL: u32 = 7;
const READ_WRITE: u32 = 3;
const EXCLUSIVE_AT_ONCE: u32 = 0x12;
const UNLOCK: u32 = 4;

impl Peer {
    /// One lock after the other, of ten bytes each.
    async fn locks(&mut self, id: Id, sequence: u32, flags: &[u32]) -> NtStatus {
        let mut body = [48, u16::try_from(flags.len()).unwrap()].map(u16::to_le_bytes).concat();
        body.extend(sequence.to_le_bytes());
        body.extend(id);
        for (at, flags) in (0_u64..).zip(flags) {
            body.extend([at * 10, 10].map(u64::to_le_bytes).concat());
            body.extend([*flags, 0].map(u32::to_le_bytes).concat());
        }
        self.call(Command::Lock, &body).await.0
    }

    pub(super) async fn lock(&mut self, id: Id, sequence: u32, flags: u32) -> NtStatus {
        self.locks(id, sequence, &[flags]).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_comes_again_is_not_taken_again() {
    let site = Site::new().await;
    let mut peer = site.login().await;
    let file = peer.open("f", READ_WRITE, SHARE_ALL, CREATE).await.unwrap();
    assert_eq!(peer.lock(file, 0x11, EXCLUSIVE_AT_ONCE).await, NtStatus::SUCCESS);
    assert_eq!(peer.lock(file, 0x11, EXCLUSIVE_AT_ONCE).await, NtStatus::SUCCESS);
    assert_eq!(peer.lock(file, 0x12, EXCLUSIVE_AT_ONCE).await, NtStatus::LOCK_NOT_GRANTED);
    // What failed is tried again, and the bucket has forgotten what was before.
    assert_eq!(peer.lock(file, 0x12, EXCLUSIVE_AT_ONCE).await, NtStatus::LOCK_NOT_GRANTED);
    assert_eq!(peer.lock(file, 0x11, EXCLUSIVE_AT_ONCE).await, NtStatus::LOCK_NOT_GRANTED);
    // There is no such bucket.
    assert_eq!(peer.lock(file, 0x01, EXCLUSIVE_AT_ONCE).await, NtStatus::LOCK_NOT_GRANTED);
    assert_eq!(peer.lock(file, 0x411, EXCLUSIVE_AT_ONCE).await, NtStatus::LOCK_NOT_GRANTED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_unlocks_locks_nothing() {
    let site = Site::new().await;
    let mut peer = site.login().await;
    let file = peer.open("f", READ_WRITE, SHARE_ALL, CREATE).await.unwrap();
    let both = [EXCLUSIVE_AT_ONCE, EXCLUSIVE_AT_ONCE];
    assert_eq!(peer.locks(file, 0, &both).await, NtStatus::SUCCESS);
    assert_eq!(peer.locks(file, 0, &[UNLOCK, EXCLUSIVE_AT_ONCE]).await, NtStatus::INVALID_PARAMETER);
    // What came before the mistake was done, the second range is locked still.
    assert_eq!(peer.lock(file, 0, UNLOCK).await, NtStatus::RANGE_NOT_LOCKED);
    assert_eq!(peer.lock(file, 0, EXCLUSIVE_AT_ONCE).await, NtStatus::SUCCESS);
    assert_eq!(peer.locks(file, 0, &[UNLOCK, UNLOCK]).await, NtStatus::SUCCESS);
}
