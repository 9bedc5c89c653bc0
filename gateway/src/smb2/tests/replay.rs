//! CREATE requests that come twice (MS-SMB2 §3.3.5.9.10): what was done is not done again.

use super::Site;
use super::client::Peer;
use super::files::{Id, create};
use crate::smb2::wire::header::{Command, FLAG_REPLAY, HEADER_LEN};
use crate::smb2::wire::status::NtStatus;

const CREATE: u32 = 2;
const OPEN: u32 = 1;
const SHARE_ALL: u32 = 7;
const READ_WRITE: u32 = 3;
const BATCH: u8 = 9;

/// CREATE with a batch oplock and a durable handle.
fn durable(name: &str, disposition: u32, guid: [u8; 16]) -> Vec<u8> {
    let context = [b"DH2Q".as_slice(), &[0; 16], &guid].concat();
    let mut body = create(name, READ_WRITE, SHARE_ALL, disposition, 0, &context);
    body[3] = BATCH;
    body
}

fn id(response: &[u8]) -> Id {
    response[64..80].try_into().unwrap()
}

impl Peer {
    /// Asks once more.
    async fn replay(&mut self, body: &[u8]) -> (NtStatus, Vec<u8>) {
        let request = self.signed_with(Command::Create, body, FLAG_REPLAY);
        let (header, response) = self.ask(&request).await.unwrap();
        (header.status, response[HEADER_LEN..].to_vec())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_comes_again_gives_the_same_open() {
    let site = Site::new().await;
    let mut peer = site.login().await;
    let request = durable("f", CREATE, [1; 16]);
    let (status, first) = peer.call(Command::Create, &request).await;
    assert_eq!((status, first[2]), (NtStatus::SUCCESS, BATCH));
    let (status, again) = peer.replay(&request).await;
    assert_eq!((status, &again), (NtStatus::SUCCESS, &first));
    let unsaid = peer.call(Command::Create, &request).await.0;
    assert_eq!(unsaid, NtStatus::DUPLICATE_OBJECTID);
    // Another session of the client has no such open.
    let mut other = site.login().await;
    assert_eq!(other.replay(&request).await.0, NtStatus::DUPLICATE_OBJECTID);
    // Who uses it has had the response, so this is one more request.
    peer.write(id(&first), b"data").await;
    assert_eq!(peer.replay(&request).await.0, NtStatus::OBJECT_NAME_COLLISION);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_waits_is_not_run_twice() {
    let site = Site::new().await;
    let (mut holder, mut peer) = (site.login().await, site.login().await);
    let (status, held) = holder.call(Command::Create, &durable("f", CREATE, [1; 16])).await;
    assert_eq!(status, NtStatus::SUCCESS);
    let request = durable("f", OPEN, [2; 16]);
    assert_eq!(peer.call(Command::Create, &request).await.0, NtStatus::PENDING);
    assert_eq!(peer.replay(&request).await.0, NtStatus::FILE_NOT_AVAILABLE);
    let (news, _) = holder.receive().await.unwrap();
    assert_eq!(news.command(), Some(Command::OplockBreak));
    holder.close(id(&held)).await;
    let (header, first) = peer.receive().await.unwrap();
    assert_eq!(header.status, NtStatus::SUCCESS);
    let (status, again) = peer.replay(&request).await;
    assert_eq!((status, id(&again)), (NtStatus::SUCCESS, id(&first[HEADER_LEN..])));
    // With the open the request is forgotten.
    peer.close(id(&again)).await;
    assert_eq!(peer.call(Command::Create, &request).await.0, NtStatus::SUCCESS);
}
