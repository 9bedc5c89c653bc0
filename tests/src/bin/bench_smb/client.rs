//! A connection of dialect 3.1.1: logged in, in a share, with messages that are plain, signed or encrypted. It knows no more
//! of a request than its command and its bytes.

use crate::login;
use anyhow::{Context as _, Result, bail, ensure};
use bytes::{BufMut as _, BytesMut};
use gateway::smb2::crypto::{
    Binding, Cipher, OpeningKey, PreauthHash, SealingKey, SessionKeys, SigningAlgorithm, SigningKey,
    TRANSFORM_HEADER,
};
use gateway::smb2::wire::frame::TransformHeader;
use gateway::smb2::wire::header::{Command, FLAG_SIGNED, HEADER_LEN, Header, Id};
use gateway::smb2::wire::status::NtStatus;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::time::Duration;

/// Some responses of 1 MiB.
const INPUT_LEN: usize = 8 << 20;
/// Credits that a client keeps, if the server lets it.
const CREDITS: u16 = 512;
const MARK_LEN: usize = 4;
const SIGNATURE: Range<usize> = 48..64;
/// Payload that one credit pays for (MS-SMB2 §3.1.5.2).
const CREDIT_BYTES: usize = 65_536;

/// How messages are protected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Protection {
    Plain,
    /// AES-GMAC.
    Signed,
    /// AES-128-GCM.
    Encrypted,
}

/// What is sent: a body, and what it carries.
pub(crate) struct Request<'a> {
    pub(crate) command: Command,
    pub(crate) body: Vec<u8>,
    pub(crate) payload: &'a [u8],
    /// Bytes that the response may carry.
    pub(crate) answer_len: usize,
}

impl Request<'_> {
    pub(crate) fn new(command: Command, body: Vec<u8>) -> Request<'static> {
        Request { command, body, payload: &[], answer_len: 0 }
    }

    fn charge(&self) -> u16 {
        charge(self.payload.len().max(self.answer_len))
    }
}

fn charge(bytes: usize) -> u16 {
    u16::try_from(bytes.div_ceil(CREDIT_BYTES).max(1)).unwrap_or(u16::MAX)
}

/// The final response to a request.
pub(crate) struct Response {
    pub(crate) header: Header,
    /// Where in [`Connection::bytes`] it is: header and body. Until the next is received.
    at: Range<usize>,
}

struct Keys {
    signing: SigningKey,
    sealing: SealingKey,
    opening: OpeningKey,
}

pub(crate) struct Connection {
    stream: TcpStream,
    protection: Protection,
    keys: Option<Keys>,
    preauth: PreauthHash,
    message_id: u64,
    credits: u16,
    session_id: u64,
    tree_id: u32,
    out: BytesMut,
    input: Vec<u8>,
    /// What of `input` was received and not taken yet.
    held: Range<usize>,
}

impl Connection {
    /// Logs in and connects to the share.
    pub(crate) fn open(server: SocketAddr, protection: Protection, share: &str) -> Result<Connection> {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut connection = Connection {
            stream,
            protection,
            keys: None,
            preauth: PreauthHash::default(),
            message_id: 0,
            credits: 1,
            session_id: 0,
            tree_id: 0,
            out: BytesMut::new(),
            input: vec![0; INPUT_LEN],
            held: 0..0,
        };
        connection.negotiate()?;
        connection.log_in()?;
        let path: Vec<u8> = format!(r"\\server\{share}").encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut body = [9, 0, 72, u16::try_from(path.len())?].map(u16::to_le_bytes).concat();
        body.extend(path);
        let response = connection.ask(&Request::new(Command::TreeConnect, body)).context("TREE_CONNECT")?;
        connection.tree_id = response.header.tree_id().context("a tree's id")?;
        Ok(connection)
    }

    fn negotiate(&mut self) -> Result<()> {
        // One dialect; signing enabled; capabilities: large MTU and encryption.
        let mut body = [36_u16, 1, 1, 0].map(u16::to_le_bytes).concat();
        body.extend(0x44_u32.to_le_bytes());
        body.extend([7; 16]);
        body.extend(104_u32.to_le_bytes());
        body.extend([3_u16, 0, 0x0311, 0].map(u16::to_le_bytes).concat());
        // Offset 104: pre-authentication integrity, encryption, signing; each at a multiple of eight.
        body.extend([1_u16, 38, 0, 0, 1, 32, 1].map(u16::to_le_bytes).concat());
        body.extend([9; 32]);
        body.extend([0; 2]);
        body.extend([2_u16, 4, 0, 0, 1, Cipher::Aes128Gcm.id(), 0, 0].map(u16::to_le_bytes).concat());
        body.extend([8_u16, 4, 0, 0, 1, SigningAlgorithm::AesGmac.id()].map(u16::to_le_bytes).concat());
        let response = self.ask_hashed(Command::Negotiate, body)?;
        ensure!(response.header.status == NtStatus::SUCCESS, "NEGOTIATE: {:?}", response.header.status);
        let response = self.bytes(&response).to_vec();
        self.preauth.extend(&[&response]);
        Ok(())
    }

    fn log_in(&mut self) -> Result<()> {
        let first = self.set_up(&login::negotiate())?;
        ensure!(first.header.status == NtStatus::MORE_PROCESSING_REQUIRED, "{:?}", first.header.status);
        self.session_id = first.header.session_id;
        let response = self.bytes(&first).to_vec();
        self.preauth.extend(&[&response]);
        let token = response.get(HEADER_LEN + 8..).context("a token")?;
        let begin = token.windows(8).position(|bytes| bytes == b"NTLMSSP\0").context("a challenge")?;
        let (token, session_key) = login::authenticate(&token[begin..])?;
        let second = self.set_up(&token)?;
        ensure!(second.header.status == NtStatus::SUCCESS, "login: {:?}", second.header.status);
        let keys = SessionKeys::derive(&session_key, Binding::Preauth(&self.preauth), Cipher::Aes128Gcm);
        let keys = Keys {
            signing: SigningKey::new(SigningAlgorithm::AesGmac, &keys.signing),
            sealing: SealingKey::new(Cipher::Aes128Gcm, &keys.decryption),
            opening: OpeningKey::new(Cipher::Aes128Gcm, &keys.encryption),
        };
        let mut response = self.bytes(&second).to_vec();
        response[SIGNATURE].fill(0);
        keys.signing.verify(&[&response], &second.header.signature).context("the keys are others")?;
        self.keys = Some(keys);
        Ok(())
    }

    fn set_up(&mut self, token: &[u8]) -> Result<Response> {
        let mut body = vec![25, 0, 0, 1];
        body.extend([0; 8]);
        body.extend([88, u16::try_from(token.len())?].map(u16::to_le_bytes).concat());
        body.extend([0; 8]);
        body.extend(token);
        self.ask_hashed(Command::SessionSetup, body)
    }

    /// A request that the keys depend on.
    fn ask_hashed(&mut self, command: Command, body: Vec<u8>) -> Result<Response> {
        self.push(&Request::new(command, body));
        let message = self.out[MARK_LEN..].to_vec();
        self.preauth.extend(&[&message]);
        self.flush()?;
        self.wait()
    }

    /// Sends a request and waits for its response, which is a success.
    pub(crate) fn ask(&mut self, request: &Request<'_>) -> Result<Response> {
        self.push(request);
        self.flush()?;
        let response = self.wait()?;
        let status = response.header.status;
        ensure!(status == NtStatus::SUCCESS, "{:?}: {}", request.command, status.name().unwrap_or("?"));
        Ok(response)
    }

    /// Sends a request and waits for its response, whatever that is.
    pub(crate) fn try_ask(&mut self, request: &Request<'_>) -> Result<Response> {
        self.push(request);
        self.flush()?;
        self.wait()
    }

    fn wait(&mut self) -> Result<Response> {
        loop {
            if let Some(response) = self.take()? {
                return Ok(response);
            }
            self.receive()?;
        }
    }

    /// Whether there are credits for a request that carries so many bytes, in either direction.
    pub(crate) fn affords(&self, bytes: usize) -> bool {
        self.credits >= charge(bytes)
    }

    /// Appends a request to what is sent next, and gives its number.
    pub(crate) fn push(&mut self, request: &Request<'_>) -> u64 {
        let charge = request.charge();
        // Nobody may be led to another tree: this request is never plain (MS-SMB2 §3.2.4.2.4).
        let at_least = self.protection == Protection::Plain && request.command == Command::TreeConnect;
        let protection = if at_least { Protection::Signed } else { self.protection };
        let message_id = self.message_id;
        self.message_id += u64::from(charge);
        self.credits = self.credits.saturating_sub(charge);
        let keys = self.keys.as_ref();
        let header = Header {
            credit_charge: charge,
            channel_sequence: 0,
            status: NtStatus::SUCCESS,
            command: request.command as u16,
            credits: CREDITS.saturating_sub(self.credits).max(charge),
            flags: if protection == Protection::Signed && keys.is_some() { FLAG_SIGNED } else { 0 },
            next_command: 0,
            message_id,
            id: Id::Sync { tree_id: self.tree_id },
            session_id: self.session_id,
            signature: [0; 16],
        };
        let len = HEADER_LEN + request.body.len() + request.payload.len();
        let transform =
            if protection == Protection::Encrypted && keys.is_some() { TRANSFORM_HEADER } else { 0 };
        self.out.put_u32(u32::try_from(transform + len).unwrap_or(0));
        let start = self.out.len();
        if transform > 0 {
            let original_message_size = u32::try_from(len).unwrap_or(0);
            let session_id = self.session_id;
            TransformHeader { signature: [0; 16], nonce: [0; 16], original_message_size, session_id }
                .encode(&mut self.out);
        }
        header.encode(&mut self.out);
        self.out.put_slice(&request.body);
        self.out.put_slice(request.payload);
        let message = &mut self.out[start..];
        match (protection, keys) {
            (Protection::Signed, Some(keys)) => {
                let signature = keys.signing.sign(&[message]);
                message[SIGNATURE].copy_from_slice(&signature);
            }
            (Protection::Encrypted, Some(keys)) => {
                if let Some((header, message)) = message.split_first_chunk_mut() {
                    keys.sealing.seal(header, message);
                }
            }
            _ => {}
        }
        message_id
    }

    /// Sends what was pushed.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.stream.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    /// Waits until more has arrived.
    pub(crate) fn receive(&mut self) -> Result<()> {
        if self.held.end > self.input.len() / 2 {
            self.input.copy_within(self.held.clone(), 0);
            self.held = 0..self.held.len();
        }
        let read = self.stream.read(&mut self.input[self.held.end..])?;
        ensure!(read > 0, "the server closed the connection");
        self.held.end += read;
        Ok(())
    }

    /// Takes a final response off what was received, and looks at its protection.
    pub(crate) fn take(&mut self) -> Result<Option<Response>> {
        loop {
            let held = &self.input[self.held.clone()];
            let Some(mark) = held.first_chunk() else { return Ok(None) };
            let len = u32::from_be_bytes(*mark) as usize;
            ensure!(len < INPUT_LEN / 2, "a response of {len} bytes");
            if held.len() < MARK_LEN + len {
                return Ok(None);
            }
            let mut at = self.held.start + MARK_LEN..self.held.start + MARK_LEN + len;
            self.held.start = at.end;
            let frame = &mut self.input[at.clone()];
            let sealed = frame.starts_with(b"\xfdSMB");
            if sealed {
                let keys = self.keys.as_ref().context("encrypted before the login")?;
                let (header, message) = frame.split_first_chunk_mut().context("a header")?;
                keys.opening.open(header, message).context("a response that was changed")?;
                at.start += TRANSFORM_HEADER;
            }
            let message = &mut self.input[at.clone()];
            let header = Header::decode(message)?;
            // An interim response brings the request's credits, the final one none (MS-SMB2 §3.3.4.2).
            self.credits = self.credits.saturating_add(header.credits);
            if header.status == NtStatus::PENDING || header.message_id == u64::MAX {
                continue;
            }
            match (self.protection, &self.keys) {
                (Protection::Signed, Some(keys)) => {
                    message[SIGNATURE].fill(0);
                    let good = keys.signing.verify(&[message], &header.signature);
                    good.context("a response that was changed, or not signed")?;
                }
                (Protection::Encrypted, Some(_)) if !sealed => bail!("a response that is not encrypted"),
                _ => {}
            }
            return Ok(Some(Response { header, at }));
        }
    }

    /// Header and body of the response that was taken last.
    pub(crate) fn bytes(&self, response: &Response) -> &[u8] {
        &self.input[response.at.clone()]
    }
}
