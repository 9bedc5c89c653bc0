//! CHANGE_NOTIFY (MS-SMB2 §3.3.5.19): what is told, when, and how a wait ends.

use super::Site;
use super::client::{Peer, mkdir};
use super::files::{Id, utf16};
use crate::smb2::wire::header::{Command, HEADER_LEN, Header};
use crate::smb2::wire::notify::filter;
use crate::smb2::wire::status::NtStatus;

const OPEN: u32 = 1;
const SHARE_ALL: u32 = 7;
const READ: u32 = 1;
const WATCH_TREE: u16 = 1;

fn notify(id: Id, flags: u16, len: u32, filter: u32) -> Vec<u8> {
    let mut body = [32_u16, flags].map(u16::to_le_bytes).concat();
    body.extend(len.to_le_bytes());
    body.extend(id);
    body.extend([filter, 0].map(u32::to_le_bytes).concat());
    body
}

/// One entry (MS-FSCC §2.7.1).
fn entry(action: u32, path: &str) -> Vec<u8> {
    let name = utf16(path);
    let mut entry = [0, action, u32::try_from(name.len()).unwrap()].map(u32::to_le_bytes).concat();
    entry.extend(name);
    entry
}

async fn answer(peer: &mut Peer) -> (Header, Vec<u8>) {
    let (header, response) = peer.receive().await.unwrap();
    (header, response[HEADER_LEN + 8..].to_vec())
}

/// Sends a request that waits.
async fn wait(peer: &mut Peer, body: &[u8]) -> Header {
    let request = peer.signed(Command::ChangeNotify, body);
    let (header, _) = peer.ask(&request).await.unwrap();
    assert_eq!(header.status, NtStatus::PENDING);
    header
}

#[tokio::test]
async fn a_change_is_told_while_and_before_somebody_waits() {
    let site = Site::new().await;
    let (mut peer, mut other) = (site.login().await, site.login().await);
    let root = peer.open("", READ, SHARE_ALL, OPEN).await.unwrap();
    let ask = notify(root, WATCH_TREE, 1000, filter::DIR_NAME);
    wait(&mut peer, &ask).await;
    assert_eq!(other.call(Command::Create, &mkdir("a")).await.0, NtStatus::SUCCESS);
    let (header, news) = answer(&mut peer).await;
    assert_eq!((header.status, news), (NtStatus::SUCCESS, entry(1, "a")));
    // Nobody waits for this one, and the filter is that of the first request.
    assert_eq!(other.call(Command::Create, &mkdir("a\\b")).await.0, NtStatus::SUCCESS);
    let (status, response) = peer.call(Command::ChangeNotify, &notify(root, 0, 1000, filter::SIZE)).await;
    assert_eq!((status, response[8..].to_vec()), (NtStatus::SUCCESS, entry(1, "a\\b")));
    // More than there is room for: the client is to look for itself.
    for name in 0..50 {
        let name = format!("with a longer name {name}");
        assert_eq!(other.call(Command::Create, &mkdir(&name)).await.0, NtStatus::SUCCESS);
    }
    let (status, _) = peer.call(Command::ChangeNotify, &ask).await;
    assert_eq!(status, NtStatus::NOTIFY_ENUM_DIR);
}

#[tokio::test]
async fn a_wait_ends_with_its_handle_and_when_it_is_taken_back() {
    let site = Site::new().await;
    let mut peer = site.login().await;
    let root = peer.open("", READ, SHARE_ALL, OPEN).await.unwrap();
    let ask = notify(root, 0, 1000, filter::FILE_NAME);
    let waiting = wait(&mut peer, &ask).await;
    // It has the message id of what it takes back.
    peer.message_id = waiting.message_id;
    let cancel = peer.signed(Command::Cancel, &[4, 0, 0, 0]);
    peer.send(&cancel).await;
    assert_eq!(peer.receive().await.unwrap().0.status, NtStatus::CANCELLED);
    wait(&mut peer, &ask).await;
    let mut close = [24_u16, 0, 0, 0].map(u16::to_le_bytes).concat();
    close.extend(root);
    let close = peer.signed(Command::Close, &close);
    peer.send(&close).await;
    let mut statuses = [peer.receive().await.unwrap().0.status, peer.receive().await.unwrap().0.status];
    statuses.sort_by_key(|status| *status != NtStatus::SUCCESS);
    assert_eq!(statuses, [NtStatus::SUCCESS, NtStatus::NOTIFY_CLEANUP]);
    let file = peer.open("file", 3, SHARE_ALL, 2).await.unwrap();
    let (status, _) = peer.call(Command::ChangeNotify, &notify(file, 0, 1000, filter::FILE_NAME)).await;
    assert_eq!(status, NtStatus::INVALID_PARAMETER, "not a directory");
}

#[tokio::test]
async fn requests_of_one_handle_are_answered_in_their_order() {
    let site = Site::new().await;
    let (mut peer, mut other) = (site.login().await, site.login().await);
    let root = peer.open("", READ, SHARE_ALL, OPEN).await.unwrap();
    let ask = notify(root, 0, 1000, filter::DIR_NAME);
    let waiting = [wait(&mut peer, &ask).await, wait(&mut peer, &ask).await, wait(&mut peer, &ask).await];
    for (waiting, name) in waiting.iter().zip(["a", "b", "c"]) {
        assert_eq!(other.call(Command::Create, &mkdir(name)).await.0, NtStatus::SUCCESS);
        let (header, news) = answer(&mut peer).await;
        assert_eq!((header.message_id, news), (waiting.message_id, entry(1, name)));
    }
}
