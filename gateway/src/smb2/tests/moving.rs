//! Durable handles where their vserver has moved to: their clients find them, with all that they hold.

use super::Site;
use super::client::Peer;
use super::files::{Id, create_with};
use crate::openstate::Counts;
use crate::smb2::wire::header::Command;
use crate::smb2::wire::status::NtStatus;
use crate::vserver::SmbHandle;
use fsstore::{Context, Op, ROOT, Time};
use std::time::Duration;

const CREATE: u32 = 2;
const OPEN: u32 = 1;
const SHARE_ALL: u32 = 7;
const READ_WRITE: u32 = 3;
const DELETE: u32 = 0x0001_0000;
const LEASE: u8 = 0xFF;
const READ_HANDLE: u32 = 3;
const EXCLUSIVE_AT_ONCE: u32 = 0x12;
const UNLOCK: u32 = 4;

/// A lease that keeps what was read, and handles; the client counts its changes and is at 3.
fn lease() -> Vec<u8> {
    let mut context = b"RqLs".to_vec();
    context.extend([5; 16]);
    context.extend(READ_HANDLE.to_le_bytes());
    context.extend([0; 28]);
    context.extend([3, 0, 0, 0]);
    context
}

/// CREATE of a file that is to have a durable handle with this GUID, for so long.
fn durable(name: &str, share: u32, guid: [u8; 16], timeout_ms: u32) -> Vec<u8> {
    let context = [b"DH2Q".as_slice(), &timeout_ms.to_le_bytes(), &[0; 12], &guid].concat();
    let mut body = create_with(name, READ_WRITE, share, CREATE, 0, &[&context, &lease()]);
    body[3] = LEASE;
    body
}

fn id(response: &[u8]) -> Id {
    response[64..80].try_into().unwrap()
}

impl Peer {
    /// Asks for a handle that it had.
    async fn reclaim(&mut self, name: &str, id: Id, guid: [u8; 16]) -> (NtStatus, Vec<u8>) {
        let context = [b"DH2C".as_slice(), &id, &guid, &[0; 4]].concat();
        let mut body = create_with(name, READ_WRITE, SHARE_ALL, OPEN, 0, &[&context, &lease()]);
        body[3] = LEASE;
        self.call(Command::Create, &body).await
    }
}

/// The state and the epoch of the lease in a CREATE's response.
fn leased(response: &[u8]) -> (u32, u16) {
    let key = response.windows(16).position(|bytes| bytes == [5; 16]).expect("a lease");
    let state = u32::from_le_bytes(response[key + 16..key + 20].try_into().unwrap());
    (state, u16::from_le_bytes(response[key + 48..key + 50].try_into().unwrap()))
}

/// Waits until it is so.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..500 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_is_found_elsewhere_with_what_it_holds() {
    let site = Site::new().await;
    let mut peer = site.login().await;
    let (status, made) = peer.call(Command::Create, &durable("f", READ_WRITE, [1; 16], 0)).await;
    assert_eq!((status, leased(&made)), (NtStatus::SUCCESS, (READ_HANDLE, 4)));
    peer.write(id(&made), b"data").await;
    assert_eq!(peer.lock(id(&made), 0x11, EXCLUSIVE_AT_ONCE).await, NtStatus::SUCCESS);
    // What would end with its connection stays behind.
    peer.open("g", READ_WRITE, 0, CREATE).await.unwrap();
    site.vserver.gate.freeze().await;
    let handles = site.vserver.smb_handles();

    let there = site.elsewhere(&handles).await;
    assert_eq!(there.vserver.locks.counts(), Counts { locks: 1, shares: 1, waiting: 0, clients: 1 });
    let mut other = there.login().await;
    let others = other.open("f", READ_WRITE, SHARE_ALL, OPEN).await.unwrap();
    assert_eq!(other.lock(others, 0, EXCLUSIVE_AT_ONCE).await, NtStatus::LOCK_NOT_GRANTED);
    other.open("g", READ_WRITE, 0, OPEN).await.unwrap();

    let mut back = there.login().await;
    let wrong = back.reclaim("f", id(&made), [2; 16]).await.0;
    assert_eq!(wrong, NtStatus::OBJECT_NAME_NOT_FOUND);
    let (status, reclaimed) = back.reclaim("f", id(&made), [1; 16]).await;
    assert_eq!((status, leased(&reclaimed)), (NtStatus::SUCCESS, (READ_HANDLE, 4)));
    assert_eq!(id(&reclaimed), id(&made));
    assert_eq!(back.read(id(&made)).await, b"data");
    // The request was done where the vserver was.
    assert_eq!(back.lock(id(&made), 0x11, EXCLUSIVE_AT_ONCE).await, NtStatus::SUCCESS);
    assert_eq!(other.lock(others, 0, EXCLUSIVE_AT_ONCE).await, NtStatus::LOCK_NOT_GRANTED);
    assert_eq!(back.lock(id(&made), 0x12, UNLOCK).await, NtStatus::SUCCESS);
    assert_eq!(other.lock(others, 0, EXCLUSIVE_AT_ONCE).await, NtStatus::SUCCESS);
    // Who shares no deletion is asked to close the handle, and then is in the way still.
    let mut third = there.login().await;
    let deletes = create_with("f", DELETE, SHARE_ALL, OPEN, 0, &[]);
    assert_eq!(third.call(Command::Create, &deletes).await.0, NtStatus::PENDING);
    let (news, _) = back.receive().await.unwrap();
    assert_eq!(news.command(), Some(Command::OplockBreak));

    // Had the move failed, nothing would have changed where it was.
    site.vserver.gate.thaw();
    assert_eq!(peer.read(id(&made)).await, b"data");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_away_has_the_rest_of_the_time() {
    let site = Site::new().await;
    let mut peer = site.login().await;
    let (_, made) = peer.call(Command::Create, &durable("f", SHARE_ALL, [1; 16], 1500)).await;
    drop(peer);
    let left = || SmbHandle::decode_all(&site.vserver.smb_handles()).unwrap()[0].left;
    until("its connection is gone", || left() < Duration::from_millis(1400)).await;
    site.vserver.gate.freeze().await;
    let there = site.elsewhere(&site.vserver.smb_handles()).await;
    assert_eq!(there.vserver.locks.counts().shares, 1);
    until("it has been closed", || there.vserver.locks.counts() == Counts::default()).await;
    let mut back = there.login().await;
    assert_eq!(back.reclaim("f", id(&made), [1; 16]).await.0, NtStatus::OBJECT_NAME_NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_has_no_handles() {
    let site = Site::new().await;
    let mut peer = site.login().await;
    let (_, made) = peer.call(Command::Create, &durable("f", SHARE_ALL, [1; 16], 0)).await;
    site.vserver.gate.freeze().await;
    let handles = site.vserver.smb_handles();
    let op = Op::Remove { dir: ROOT, name: "f".into() };
    site.volume().execute(&Context::root(Time::default()), op).unwrap();
    let there = site.elsewhere(&handles).await;
    assert_eq!(there.vserver.locks.counts(), Counts::default());
    let mut back = there.login().await;
    assert_eq!(back.reclaim("f", id(&made), [1; 16]).await.0, NtStatus::OBJECT_NAME_NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_in_the_way_of_one_that_is_away_makes_it_go() {
    let site = Site::new().await;
    let mut peer = site.login().await;
    let (_, made) = peer.call(Command::Create, &durable("f", READ_WRITE, [1; 16], 0)).await;
    site.vserver.gate.freeze().await;
    let there = site.elsewhere(&site.vserver.smb_handles()).await;
    let mut other = there.login().await;
    let deletes = create_with("f", DELETE, SHARE_ALL, OPEN, 0, &[]);
    assert_eq!(other.call(Command::Create, &deletes).await.0, NtStatus::PENDING);
    let (header, _) = other.receive().await.unwrap();
    assert_eq!(header.status, NtStatus::SUCCESS);
    let mut back = there.login().await;
    assert_eq!(back.reclaim("f", id(&made), [1; 16]).await.0, NtStatus::OBJECT_NAME_NOT_FOUND);
}
