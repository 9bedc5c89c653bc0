//! A client of dialect 3.1.1 that shows its insides: what it sends can be spoilt before it goes.

use crate::smb2::auth::tests::client::{Client, SESSION_KEY};
use crate::smb2::crypto::{
    Binding, Cipher, OpeningKey, PreauthHash, SealingKey, SessionKeys, SigningAlgorithm, SigningKey,
    TRANSFORM_HEADER,
};
use crate::smb2::wire::frame::TransformHeader;
use crate::smb2::wire::header::{Command, FLAG_SIGNED, HEADER_LEN, Header, Id};
use crate::smb2::wire::status::NtStatus;
use bytes::BytesMut;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(super) struct Peer {
    stream: TcpStream,
    pub(super) message_id: u64,
    pub(super) session_id: u64,
    pub(super) tree_id: u32,
    pub(super) preauth: PreauthHash,
    pub(super) signing: Option<SigningKey>,
    pub(super) sealing: Option<SealingKey>,
    opening: Option<OpeningKey>,
}

/// A response: its header and all of its bytes.
pub(super) type Answer = (Header, Vec<u8>);

impl Peer {
    pub(super) async fn connect(address: SocketAddr) -> Peer {
        let stream = TcpStream::connect(address).await.unwrap();
        Peer {
            stream,
            message_id: 0,
            session_id: 0,
            tree_id: 0,
            preauth: PreauthHash::default(),
            signing: None,
            sealing: None,
            opening: None,
        }
    }

    pub(super) fn header(&mut self, command: Command) -> Header {
        let message_id = self.message_id;
        self.message_id += 1;
        Header {
            credit_charge: 1,
            channel_sequence: 0,
            status: NtStatus::SUCCESS,
            command: command as u16,
            credits: 64,
            flags: 0,
            next_command: 0,
            message_id,
            id: Id::Sync { tree_id: self.tree_id },
            session_id: self.session_id,
            signature: [0; 16],
        }
    }

    pub(super) fn message(&mut self, command: Command, body: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        self.header(command).encode(&mut out);
        out.extend_from_slice(body);
        out.to_vec()
    }

    /// The same, signed.
    pub(super) fn signed(&mut self, command: Command, body: &[u8]) -> Vec<u8> {
        self.signed_with(command, body, 0)
    }

    /// The same, with more flags in its header.
    pub(super) fn signed_with(&mut self, command: Command, body: &[u8], flags: u32) -> Vec<u8> {
        let mut message = self.message(command, body);
        message[16..20].copy_from_slice(&(FLAG_SIGNED | flags).to_le_bytes());
        let signature = self.signing.as_ref().unwrap().sign(&[&message]);
        message[48..64].copy_from_slice(&signature);
        message
    }

    /// The same, encrypted.
    pub(super) fn sealed(&mut self, command: Command, body: &[u8]) -> Vec<u8> {
        let message = self.message(command, body);
        let mut out = BytesMut::new();
        let original_message_size = u32::try_from(message.len()).unwrap();
        let header = TransformHeader {
            signature: [0; 16],
            nonce: [0; 16],
            original_message_size,
            session_id: self.session_id,
        };
        header.encode(&mut out);
        out.extend_from_slice(&message);
        let (header, message) = out.split_first_chunk_mut::<TRANSFORM_HEADER>().unwrap();
        self.sealing.as_ref().unwrap().seal(header, message);
        out.to_vec()
    }

    pub(super) async fn send(&mut self, frame: &[u8]) {
        let mark = u32::try_from(frame.len()).unwrap().to_be_bytes();
        // The server may have had enough already.
        let _ = self.stream.write_all(&[&mark, frame].concat()).await;
    }

    /// The next frame; `None`: the server closed the connection.
    pub(super) async fn receive(&mut self) -> Option<Answer> {
        let read = async {
            let len = self.stream.read_u32().await.ok()?;
            let mut frame = vec![0; len as usize];
            self.stream.read_exact(&mut frame).await.ok()?;
            Some(frame)
        };
        let mut frame = tokio::time::timeout(Duration::from_secs(10), read).await.expect("no answer")?;
        if frame.starts_with(b"\xfdSMB") {
            let (header, message) = frame.split_first_chunk_mut::<TRANSFORM_HEADER>().unwrap();
            self.opening.as_ref().unwrap().open(header, message).unwrap();
            frame.drain(..TRANSFORM_HEADER);
        }
        Some((Header::decode(&frame).unwrap(), frame))
    }

    pub(super) async fn ask(&mut self, frame: &[u8]) -> Option<Answer> {
        self.send(frame).await;
        self.receive().await
    }

    pub(super) async fn status(&mut self, frame: &[u8]) -> Option<NtStatus> {
        self.ask(frame).await.map(|(header, _)| header.status)
    }

    pub(super) async fn negotiate(&mut self) {
        let mut body = [36_u16, 1, 1, 0].map(u16::to_le_bytes).concat();
        body.extend(0x40_u32.to_le_bytes());
        body.extend([7; 16]);
        body.extend(104_u32.to_le_bytes());
        body.extend([3_u16, 0, 0x0311, 0].map(u16::to_le_bytes).concat());
        // Offset 104: pre-authentication integrity, encryption, signing; each at a multiple of eight.
        body.extend([1_u16, 38, 0, 0, 1, 32, 1].map(u16::to_le_bytes).concat());
        body.extend([9; 32]);
        body.extend([0; 2]);
        body.extend([2_u16, 4, 0, 0, 1, 2, 0, 0].map(u16::to_le_bytes).concat());
        body.extend([8_u16, 4, 0, 0, 1, 2].map(u16::to_le_bytes).concat());
        let request = self.message(Command::Negotiate, &body);
        let (header, response) = self.ask(&request).await.unwrap();
        assert_eq!(header.status, NtStatus::SUCCESS);
        self.preauth.extend(&[&request]);
        self.preauth.extend(&[&response]);
    }

    async fn setup(&mut self, token: &[u8]) -> Answer {
        let mut body = vec![25, 0, 0, 1];
        body.extend([0; 8]);
        body.extend([88, u16::try_from(token.len()).unwrap()].map(u16::to_le_bytes).concat());
        body.extend([0; 8]);
        body.extend(token);
        let request = self.message(Command::SessionSetup, &body);
        self.preauth.extend(&[&request]);
        self.ask(&request).await.unwrap()
    }

    /// Logs in and makes the session's keys. Whether the last response is signed with them is looked at.
    pub(super) async fn log_in(&mut self) {
        let client = Client::default();
        let (header, response) = self.setup(&client.negotiate()).await;
        assert_eq!(header.status, NtStatus::MORE_PROCESSING_REQUIRED);
        self.session_id = header.session_id;
        self.preauth.extend(&[&response]);
        let challenge = response[HEADER_LEN + 8..].to_vec();
        let (header, mut response) = self.setup(&client.authenticate(&challenge)).await;
        assert_eq!(header.status, NtStatus::SUCCESS);
        let keys = SessionKeys::derive(&SESSION_KEY, Binding::Preauth(&self.preauth), Cipher::Aes128Gcm);
        let signing = SigningKey::new(SigningAlgorithm::AesGmac, &keys.signing);
        response[48..64].fill(0);
        signing.verify(&[&response], &header.signature).unwrap();
        self.signing = Some(signing);
        self.sealing = Some(SealingKey::new(Cipher::Aes128Gcm, &keys.decryption));
        self.opening = Some(OpeningKey::new(Cipher::Aes128Gcm, &keys.encryption));
    }

    /// Encrypted, which is always allowed.
    pub(super) async fn tree_connect(&mut self, share: &str) {
        let path: Vec<u8> = format!(r"\\server\{share}").encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut body = [9, 0, 72, u16::try_from(path.len()).unwrap()].map(u16::to_le_bytes).concat();
        body.extend(path);
        let request = self.sealed(Command::TreeConnect, &body);
        let (header, _) = self.ask(&request).await.unwrap();
        assert_eq!(header.status, NtStatus::SUCCESS);
        self.tree_id = header.tree_id().unwrap();
    }
}

/// The body of a CREATE that makes a directory.
pub(super) fn mkdir(name: &str) -> Vec<u8> {
    let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut body = 57_u16.to_le_bytes().to_vec();
    body.extend([0, 0]);
    body.extend(2_u32.to_le_bytes());
    body.extend([0; 16]);
    // Access, attributes, sharing, disposition (create), options (directory).
    body.extend([0x0010_0081_u32, 0x10, 7, 2, 1].map(u32::to_le_bytes).concat());
    body.extend([120, u16::try_from(name.len()).unwrap()].map(u16::to_le_bytes).concat());
    body.extend([0; 8]);
    body.extend(name);
    body
}

/// The body of an ECHO.
pub(super) const ECHO: [u8; 4] = [4, 0, 0, 0];
