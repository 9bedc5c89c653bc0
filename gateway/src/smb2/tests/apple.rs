//! What Macs ask.

use super::Site;
use super::files::{create, utf16};
use crate::smb2::wire::header::Command;
use crate::smb2::wire::status::NtStatus;

/// Lists the root: attributes, the place of the size of extended attributes, that of the short name; of the entry `name`.
async fn listed(peer: &mut super::client::Peer, name: &str) -> ([u8; 4], [u8; 26]) {
    let root = peer.open("", 1, 7, 1).await.unwrap();
    // FileIdBothDirectoryInformation.
    let mut body = vec![33, 0, 37, 0];
    body.extend([0; 4]);
    body.extend(root);
    let pattern = utf16(name);
    body.extend([96, u16::try_from(pattern.len()).unwrap()].map(u16::to_le_bytes).concat());
    body.extend(1000_u32.to_le_bytes());
    body.extend(pattern);
    let (status, response) = peer.call(Command::QueryDirectory, &body).await;
    assert_eq!(status, NtStatus::SUCCESS);
    peer.close(root).await;
    let entry = &response[8..];
    (entry[64..68].try_into().unwrap(), entry[68..94].try_into().unwrap())
}

#[tokio::test]
async fn a_mac_finds_what_finder_shows_in_listings() {
    let site = Site::new().await;
    let mut peer = site.login().await;
    let fork = peer.open("file:AFP_Resource", 3, 7, 2).await.unwrap();
    peer.write(fork, &[1; 300]).await;
    let info = peer.open("file:AFP_AfpInfo", 3, 7, 2).await.unwrap();
    let mut kept = b"AFP\0\0\x01\0\0\0\0\0\0\0\0\0\x80TEXTttxt".to_vec();
    kept.extend([0x40, 0x01]);
    kept.resize(60, 0);
    peer.write(info, &kept).await;
    assert_eq!(listed(&mut peer, "file").await, ([0; 4], [0; 26]), "nobody has asked");
    // A query for the server's and the volume's capabilities and the model; the client reads Finder's facts.
    let mut context = b"AAPL".to_vec();
    context.extend([1_u64, 7, 1].map(u64::to_le_bytes).concat());
    let body = create("", 1, 7, 1, 0, &context);
    let (status, response) = peer.call(Command::Create, &body).await;
    assert_eq!(status, NtStatus::SUCCESS);
    let contexts = u32::from_le_bytes(response[80..84].try_into().unwrap()) as usize - 64;
    assert_eq!(response[contexts + 16..contexts + 20], *b"AAPL");
    let mut expected = [1_u64, 7, 4 | 1, 0].map(u64::to_le_bytes).concat();
    let model = utf16("Xserve");
    expected.extend([0, u32::try_from(model.len()).unwrap()].map(u32::to_le_bytes).concat());
    expected.extend(model);
    assert_eq!(response[contexts + 24..], expected);
    let (access, short_name) = listed(&mut peer, "file").await;
    assert_eq!(access, 0x001F_01FF_u32.to_le_bytes());
    assert_eq!(short_name[..2], 24_u16.to_le_bytes());
    assert_eq!(short_name[2..10], 300_u64.to_le_bytes());
    assert_eq!(short_name[10..22], *b"TEXTttxt\x40\x01\0\0");
    assert_ne!(short_name[22..], [0; 4], "seconds since 2000");
}
