//! What handlers give, and how it becomes frames: headers, compounds, signatures, encryption. Knows no command.

use super::crypto::{Cipher, SealingKey, SigningKey, TRANSFORM_HEADER};
use super::frames::Frame;
use super::wire::breaks::NOTIFICATION_MESSAGE_ID;
use super::wire::error::{ErrorData, ErrorResponse};
use super::wire::frame::TransformHeader;
use super::wire::header::{Command, FLAG_RELATED, FLAG_RESPONSE, FLAG_SIGNED, HEADER_LEN, Header, Id};
use super::wire::status::NtStatus;
use crate::xdr::Tail;
use bytes::{BufMut, Bytes, BytesMut};
use std::sync::Arc;

/// The body of a response, behind room for its header.
#[derive(Debug)]
pub(super) struct Body {
    status: NtStatus,
    bytes: BytesMut,
    tail: Tail,
}

impl Body {
    /// What `encode` writes.
    pub(super) fn of(encode: impl FnOnce(&mut BytesMut)) -> Self {
        let mut bytes = BytesMut::with_capacity(2 * HEADER_LEN);
        bytes.put_bytes(0, HEADER_LEN);
        encode(&mut bytes);
        Body { status: NtStatus::SUCCESS, bytes, tail: Tail::default() }
    }

    /// With a status that is no failure, or one that has a body.
    pub(super) fn with_status(self, status: NtStatus) -> Self {
        Body { status, ..self }
    }

    /// With a payload behind it, which stays where it is.
    pub(super) fn with_tail(self, tail: Tail) -> Self {
        Body { tail, ..self }
    }

    /// Whether a login goes on after it.
    pub(super) fn goes_on(&self) -> bool {
        self.status == NtStatus::MORE_PROCESSING_REQUIRED
    }

    fn failure(failure: &Failure, in_context: bool) -> Self {
        let error = ErrorResponse { data: failure.data.clone(), in_context };
        Body::of(|out| error.encode(out)).with_status(failure.status)
    }
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) status: NtStatus,
    pub(super) data: ErrorData,
}

impl From<NtStatus> for Failure {
    fn from(status: NtStatus) -> Self {
        Failure { status, data: ErrorData::None }
    }
}

impl From<super::wire::Malformed> for Failure {
    fn from(malformed: super::wire::Malformed) -> Self {
        Failure::from(malformed.status)
    }
}

impl From<fsstore::FsError> for Failure {
    fn from(error: fsstore::FsError) -> Self {
        Failure::from(super::status::of(&error))
    }
}

/// What a handler gives.
pub(super) type Reply = Result<Body, Failure>;

/// The keys that protect what is sent in a session.
#[derive(Debug)]
pub(super) struct SendKeys {
    pub(super) signing: SigningKey,
    /// That of the session: its channels share it, and its nonces.
    pub(super) sealing: Option<Arc<SealingKey>>,
}

/// How a response is protected.
#[derive(Clone, Debug, Default)]
pub(super) enum Protection {
    /// Not at all.
    #[default]
    None,
    /// Signed.
    Signed(Arc<SendKeys>),
    /// Encrypted, with all that is in the same frame.
    Sealed(Arc<SendKeys>),
}

/// A response on its way.
#[derive(Debug)]
pub(super) struct Response {
    header: Header,
    body: Body,
    protection: Protection,
}

/// What a response says of its request, besides what the handler gives.
#[derive(Clone, Debug)]
pub(super) struct Answered<'a> {
    pub(super) request: &'a Header,
    pub(super) session_id: u64,
    pub(super) tree_id: u32,
    /// Credits that are granted.
    pub(super) credits: u16,
    /// Failures are told as dialect 3.1.1 tells them.
    pub(super) in_context: bool,
    /// The request waits, or waited, and this is what it is called by then.
    pub(super) async_id: Option<u64>,
    pub(super) protection: Protection,
}

impl Response {
    pub(super) fn new(answered: Answered<'_>, reply: Reply) -> Self {
        let request = answered.request;
        let refused = matches!(&reply, Err(failure) if failure.status != NtStatus::PENDING);
        let body = reply.unwrap_or_else(|failure| Body::failure(&failure, answered.in_context));
        // Without a key to sign with, a refusal has the signature of its request, as those of Windows do: who signs looks
        // at none that says it is not signed at all.
        let echoes = refused && request.is_signed() && matches!(answered.protection, Protection::None);
        let (signed, signature) = if echoes { (FLAG_SIGNED, request.signature) } else { (0, [0; 16]) };
        let sync = Id::Sync { tree_id: answered.tree_id };
        let id = answered.async_id.map_or(sync, |async_id| Id::Async { async_id });
        let header = Header {
            credit_charge: request.credit_charge,
            channel_sequence: 0,
            status: body.status,
            command: request.command,
            credits: answered.credits,
            flags: FLAG_RESPONSE | request.flags & FLAG_RELATED | signed,
            next_command: 0,
            message_id: request.message_id,
            id,
            session_id: answered.session_id,
            signature,
        };
        Response { header, body, protection: answered.protection }
    }

    /// That a request waits (§3.3.4.2). Not signed: the response proper has the same message id, and a nonce of GMAC is used once.
    pub(super) fn interim(answered: Answered<'_>) -> Self {
        let protection = match &answered.protection {
            Protection::Signed(_) => Protection::None,
            other => other.clone(),
        };
        Response::new(Answered { protection, ..answered }, Err(NtStatus::PENDING.into()))
    }

    /// A frame's message that answers no request: a break of an oplock or a lease (§3.3.4.6).
    pub(super) fn notification(body: Body, protection: Protection) -> Self {
        let header = Header {
            credit_charge: 0,
            channel_sequence: 0,
            status: NtStatus::SUCCESS,
            command: Command::OplockBreak as u16,
            credits: 0,
            flags: FLAG_RESPONSE,
            next_command: 0,
            message_id: NOTIFICATION_MESSAGE_ID,
            id: Id::Sync { tree_id: 0 },
            session_id: 0,
            signature: [0; 16],
        };
        Response { header, body, protection }
    }

    /// The bytes of a response that has no payload apart, as they are before encryption.
    pub(super) fn preview(&self) -> Bytes {
        let mut bytes = self.body.bytes.clone();
        let mut header = self.header.clone();
        sign(&mut header, &self.protection, &mut bytes, &Tail::default());
        bytes.freeze()
    }

    /// `compound`: there are others in the frame, `last`: but none behind this one.
    fn finish(mut self, compound: bool, last: bool) -> (BytesMut, Tail) {
        let Body { mut bytes, mut tail, .. } = self.body;
        if compound {
            // Each has a multiple of eight bytes, also the last; a payload has no room to be apart then.
            std::mem::take(&mut tail).each_slice(|slice| bytes.put_slice(slice));
            bytes.put_bytes(0, bytes.len().next_multiple_of(8) - bytes.len());
        }
        if !last {
            self.header.next_command = u32::try_from(bytes.len()).expect("responses are far below 4 GiB");
        }
        sign(&mut self.header, &self.protection, &mut bytes, &tail);
        (bytes, tail)
    }
}

/// Puts the header in its place, and signs the whole if that is its protection.
fn sign(header: &mut Header, protection: &Protection, bytes: &mut BytesMut, tail: &Tail) {
    let Protection::Signed(keys) = protection else { return put_header(header, bytes) };
    header.flags |= FLAG_SIGNED;
    put_header(header, bytes);
    let mut pieces: Vec<&[u8]> = vec![bytes];
    tail.each_slice(|slice| pieces.push(slice));
    header.signature = keys.signing.sign(&pieces);
    put_header(header, bytes);
}

fn put_header(header: &Header, bytes: &mut BytesMut) {
    let mut out = BytesMut::with_capacity(HEADER_LEN);
    header.encode(&mut out);
    bytes[..HEADER_LEN].copy_from_slice(&out);
}

/// The responses to a frame's requests as one frame.
pub(super) fn frame(responses: Vec<Response>) -> Frame {
    let sealed = responses.iter().find_map(|response| match &response.protection {
        Protection::Sealed(keys) => Some((Arc::clone(keys), response.header.session_id)),
        Protection::None | Protection::Signed(_) => None,
    });
    let last = responses.len().saturating_sub(1);
    let mut head = BytesMut::new();
    let mut end = Tail::default();
    for (at, response) in responses.into_iter().enumerate() {
        let (bytes, tail) = response.finish(last > 0, at == last);
        if head.is_empty() {
            head = bytes;
        } else {
            head.unsplit(bytes);
        }
        end = tail;
    }
    match sealed {
        Some((keys, session_id)) => {
            Frame { head: seal(&keys, session_id, &head, &end), tail: Tail::default() }
        }
        None => Frame { head: head.freeze(), tail: end },
    }
}

fn seal(keys: &SendKeys, session_id: u64, head: &[u8], tail: &Tail) -> Bytes {
    let Some(key) = &keys.sealing else { return Bytes::new() };
    let len = head.len() + tail.len();
    let mut out = BytesMut::with_capacity(TRANSFORM_HEADER + len);
    let original_message_size = u32::try_from(len).expect("frames are far below 4 GiB");
    TransformHeader { signature: [0; 16], nonce: [0; 16], original_message_size, session_id }
        .encode(&mut out);
    out.put_slice(head);
    tail.each_slice(|slice| out.put_slice(slice));
    if let Some((header, message)) = out.split_first_chunk_mut() {
        key.seal(header, message);
    }
    out.freeze()
}

/// The cipher that a session's keys are made for where nothing is ever encrypted.
pub(super) const NO_CIPHER: Cipher = Cipher::Aes128Ccm;
