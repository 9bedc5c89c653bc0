//! What goes with a handle that deletes (MS-FSA §2.1.5.4), and when.

use super::Site;
use super::files::utf16;
use crate::smb2::wire::status::NtStatus;

const OPEN: u32 = 1;
const CREATE: u32 = 2;
const SHARE_ALL: u32 = 7;
const READ_WRITE: u32 = 3;
const DELETE: u32 = 0x0001_0000;
const DELETE_ON_CLOSE: u32 = 0x1000;
const NON_DIRECTORY_FILE: u32 = 0x40;
/// FileLinkInformation (MS-FSCC §2.4.28.2).
const LINK: u8 = 11;

fn link_to(name: &str) -> Vec<u8> {
    let name = utf16(name);
    let mut buffer = vec![0; 16];
    buffer.extend(u32::try_from(name.len()).unwrap().to_le_bytes());
    buffer.extend(name);
    buffer
}

#[tokio::test]
async fn one_of_two_names_goes_though_the_file_is_open_by_the_other() {
    let site = Site::new().await;
    let mut peer = site.login().await;
    let first = peer.open("first", READ_WRITE, SHARE_ALL, CREATE).await.unwrap();
    peer.write(first, b"kept").await;
    assert_eq!(peer.set_info(first, 1, LINK, &link_to("second")).await, NtStatus::SUCCESS);
    let options = DELETE_ON_CLOSE | NON_DIRECTORY_FILE;
    let going = peer.open_with("second", DELETE, SHARE_ALL, OPEN, options).await.unwrap();
    peer.close(going).await;
    assert!(!site.has("/second"));
    let again = peer.open("first", READ_WRITE, SHARE_ALL, OPEN).await.unwrap();
    assert_eq!(peer.read(again).await, b"kept");
    // Its only name now: this one stays until nobody has it open.
    let going = peer.open_with("first", DELETE, SHARE_ALL, OPEN, options).await.unwrap();
    peer.close(going).await;
    assert!(site.has("/first"));
    assert_eq!(peer.open("first", 1, SHARE_ALL, OPEN).await, Err(NtStatus::DELETE_PENDING));
    peer.close(first).await;
    peer.close(again).await;
    assert!(!site.has("/first"));
}
