//! Requests that come together: what those that are related take over, and how the answers are packed (MS-SMB2 §3.3.5.2.7.2, §3.3.4.1.3).

use super::Site;
use super::client::{ECHO, Peer};
use super::files::create;
use crate::smb2::wire::header::{Command, FLAG_RELATED, FLAG_SIGNED, HEADER_LEN, Header};
use crate::smb2::wire::status::NtStatus;

/// What a request of a compound is: related or not, and its body.
type Part = (bool, Command, Vec<u8>);

impl Peer {
    /// Asks for all of it at once; each answer with its body.
    async fn together(&mut self, parts: &[Part]) -> Vec<(NtStatus, Vec<u8>)> {
        let mut frame = Vec::new();
        for (at, (related, command, body)) in parts.iter().enumerate() {
            let mut message = self.message(*command, body);
            if at + 1 < parts.len() {
                message.resize(message.len().next_multiple_of(8), 0);
                let next = u32::try_from(message.len()).unwrap();
                message[20..24].copy_from_slice(&next.to_le_bytes());
            }
            let flags = FLAG_SIGNED | if *related { FLAG_RELATED } else { 0 };
            message[16..20].copy_from_slice(&flags.to_le_bytes());
            let signature = self.signing.as_ref().unwrap().sign(&[&message]);
            message[48..64].copy_from_slice(&signature);
            frame.extend(message);
        }
        let (_, mut rest) = self.ask(&frame).await.unwrap();
        let mut answers = Vec::new();
        loop {
            assert!(rest.len().is_multiple_of(8) || parts.len() == 1, "{} bytes", rest.len());
            let header = Header::decode(&rest).unwrap();
            let next = if header.next_command == 0 { rest.len() } else { header.next_command as usize };
            let behind = rest.split_off(next);
            rest[48..64].fill(0);
            self.signing.as_ref().unwrap().verify(&[&rest], &header.signature).unwrap();
            answers.push((header.status, rest[HEADER_LEN..].to_vec()));
            if header.next_command == 0 {
                return answers;
            }
            rest = behind;
        }
    }

    async fn statuses(&mut self, parts: &[Part]) -> Vec<NtStatus> {
        self.together(parts).await.into_iter().map(|(status, _)| status).collect()
    }
}

/// READ of three bytes, and CLOSE, of what the request before has opened.
fn read() -> Vec<u8> {
    let mut body = [49_u16, 0].map(u16::to_le_bytes).concat();
    body.extend(3_u32.to_le_bytes());
    body.extend([0; 8]);
    body.extend([0xff; 16]);
    body.extend([0; 17]);
    body
}

fn close() -> Vec<u8> {
    let mut body = [24_u16, 0, 0, 0].map(u16::to_le_bytes).concat();
    body.extend([0xff; 16]);
    body
}

#[tokio::test]
async fn related_requests_go_on_with_what_was_opened() {
    let site = Site::new().await;
    let mut peer = site.login().await;
    let id = peer.open("file", 3, 7, 2).await.unwrap();
    peer.write(id, b"123").await;
    let parts = [
        (false, Command::Create, create("file", 1, 7, 1, 0, &[])),
        (true, Command::Read, read()),
        (true, Command::Read, read()),
        (true, Command::Close, close()),
        (true, Command::Close, close()),
    ];
    let answers = peer.together(&parts).await;
    let (first, second) = (&answers[1].1, &answers[2].1);
    // 16 bytes before the payload, and as many behind it as make the answer a multiple of eight.
    assert_eq!((&first[16..], &second[16..]), (&b"123\0\0\0\0\0"[..], &b"123\0\0\0\0\0"[..]));
    let statuses: Vec<_> = answers.iter().map(|(status, _)| *status).collect();
    let done = NtStatus::SUCCESS;
    assert_eq!(statuses, [done, done, done, done, NtStatus::FILE_CLOSED]);
    // The payload that ends a compound is filled up too, one by itself is not.
    let answers = peer.together(&parts[..2]).await;
    assert_eq!(answers[1].1[16..], *b"123\0\0\0\0\0");
    assert_eq!(peer.read(id).await, b"123");
}

#[tokio::test]
async fn what_is_related_to_nothing_fails() {
    let site = Site::new().await;
    let mut peer = site.login().await;
    let parts = [
        (true, Command::Create, create("file", 1, 7, 3, 0, &[])),
        (true, Command::Close, close()),
        (false, Command::Close, close()),
        (true, Command::Close, close()),
        (false, Command::Echo, ECHO.to_vec()),
    ];
    let (wrong, closed) = (NtStatus::INVALID_PARAMETER, NtStatus::FILE_CLOSED);
    assert_eq!(peer.statuses(&parts).await, [wrong, wrong, closed, closed, NtStatus::SUCCESS]);
    let parts = [
        (false, Command::Create, create("file", 1, 7, 1, 0, &[])),
        (true, Command::Read, read()),
        (true, Command::Close, close()),
    ];
    let none = NtStatus::OBJECT_NAME_NOT_FOUND;
    assert_eq!(peer.statuses(&parts).await, [none, none, none], "nothing was made by a request that failed");
}
