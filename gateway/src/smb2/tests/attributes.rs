//! DOS attributes (MS-FSCC §2.6): who gives them back overwrites, and what is read-only stays, whatever its mode says.

use super::Site;
use super::client::Peer;
use crate::smb2::wire::create::{access, attribute, disposition};
use crate::smb2::wire::header::{Command, HEADER_LEN};
use crate::smb2::wire::status::NtStatus;
use fsstore::{Context, DosAttributes, ROOT};

/// The body of a CREATE of a file.
fn open(name: &str, access: u32, attributes: u32, disposition: u32) -> Vec<u8> {
    let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut body = 57_u16.to_le_bytes().to_vec();
    body.extend([0, 0]);
    body.extend(2_u32.to_le_bytes());
    body.extend([0; 16]);
    body.extend([access, attributes, 7, disposition, 0].map(u32::to_le_bytes).concat());
    body.extend([120, u16::try_from(name.len()).unwrap()].map(u16::to_le_bytes).concat());
    body.extend([0; 8]);
    body.extend(name);
    body
}

async fn attributes(peer: &mut Peer, name: &str, attributes: u32, how: u32) -> Result<u32, NtStatus> {
    let request = peer.sealed(Command::Create, &open(name, access::READ_DATA, attributes, how));
    let (header, response) = peer.ask(&request).await.unwrap();
    // FileAttributes, MS-SMB2 §2.2.14.
    let at = HEADER_LEN + 56;
    match header.status {
        NtStatus::SUCCESS => Ok(u32::from_le_bytes(response[at..at + 4].try_into().unwrap())),
        status => Err(status),
    }
}

#[tokio::test]
async fn attributes_are_kept_and_have_to_be_given_again() {
    use attribute::{ARCHIVE, HIDDEN, READONLY, SYSTEM};
    use disposition::{CREATE, OPEN, OVERWRITE, SUPERSEDE};
    let site = Site::new().await;
    let mut peer = site.login().await;
    assert_eq!(attributes(&mut peer, "f", HIDDEN, CREATE).await, Ok(HIDDEN | ARCHIVE));
    assert_eq!(attributes(&mut peer, "f", 0, OPEN).await, Ok(HIDDEN | ARCHIVE));
    assert_eq!(attributes(&mut peer, "f", SYSTEM, OVERWRITE).await, Err(NtStatus::ACCESS_DENIED));
    let both = HIDDEN | SYSTEM;
    assert_eq!(attributes(&mut peer, "f", both, OVERWRITE).await, Ok(both | ARCHIVE));
    assert_eq!(attributes(&mut peer, "f", both | READONLY, SUPERSEDE).await, Ok(both | READONLY | ARCHIVE));
    assert_eq!(attributes(&mut peer, "f", both, SUPERSEDE).await, Err(NtStatus::ACCESS_DENIED));
    // To be read-only is not in the mode.
    let namespace = site.vserver.namespace();
    let volume = &namespace.volume(namespace.resolve("/").unwrap().0).unwrap().volume;
    let attr = volume.lookup(&Context::root(fsstore::Time::default()), ROOT, b"f").unwrap();
    assert_eq!(attr.mode, 0o644);
    assert!(attr.dos.unwrap().has(DosAttributes::READ_ONLY));
    // A name with a period is hidden as long as nobody has said anything else.
    assert_eq!(attributes(&mut peer, ".f", 0, CREATE).await, Ok(ARCHIVE));
}
