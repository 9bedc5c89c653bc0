//! Decoders alone: whatever comes, they say yes or no. What they take comes back from the encoders, where there are some.

use super::requests::{self, COMMANDS};
use crate::fuzz::choices::Choices;
use crate::smb2::crypto::{Cipher, OpeningKey, SealingKey};
use crate::smb2::wire::breaks::BreakAcknowledgement;
use crate::smb2::wire::create::{CloseRequest, CreateRequest};
use crate::smb2::wire::directory::QueryDirectoryRequest;
use crate::smb2::wire::frame::{FrameKind, Messages, Smb1Negotiate, TRANSFORM_LEN, TransformHeader};
use crate::smb2::wire::fsctl::{self, CopyChunks, DuplicateExtents, ValidateNegotiate};
use crate::smb2::wire::header::{Command, Header};
use crate::smb2::wire::info::ea::{decode_ea_names, decode_eas};
use crate::smb2::wire::info::set::SetFile;
use crate::smb2::wire::info::{QueryInfoRequest, SetInfoRequest};
use crate::smb2::wire::io::{FlushRequest, ReadRequest, WriteRequest};
use crate::smb2::wire::ioctl::IoctlRequest;
use crate::smb2::wire::lock::LockRequest;
use crate::smb2::wire::names::mapping::{to_client, to_volume};
use crate::smb2::wire::names::wildcard::Pattern;
use crate::smb2::wire::names::{Path, upcase, utf16};
use crate::smb2::wire::negotiate::NegotiateRequest;
use crate::smb2::wire::notify::ChangeNotifyRequest;
use crate::smb2::wire::plain::{CancelRequest, EchoRequest, LogoffRequest, TreeDisconnectRequest};
use crate::smb2::wire::security::SecurityDescriptor;
use crate::smb2::wire::session::SessionSetupRequest;
use crate::smb2::wire::status::NtStatus;
use crate::smb2::wire::tree::TreeConnectRequest;
use bytes::{Bytes, BytesMut};

/// Frames: plain, of SMB 1, encrypted; compounds, and each message by the decoder of its command.
pub fn smb_messages(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let frame = match choices.below(4) {
        0 => Bytes::copy_from_slice(choices.rest()),
        1 => return sealed(&mut choices),
        _ => {
            let mut frame = Vec::new();
            for number in 0..=choices.below(4) {
                let command = choices.pick(&COMMANDS);
                let body = requests::body(command, &[], &mut choices);
                requests::put(command, &body, number as u64, (1, 1), &mut choices, &mut frame);
            }
            if choices.once_in(2) {
                choices.damage(&mut frame);
            }
            Bytes::from(frame)
        }
    };
    let _ = FrameKind::of(&frame);
    let _ = Smb1Negotiate::decode(&frame);
    let _ = TransformHeader::decode(&frame);
    let mut left = frame.len();
    for message in Messages::new(frame) {
        let Ok((header, message)) = message else { break };
        left = left.checked_sub(message.len()).expect("messages of a frame are parts of it");
        comes_back(&header, &message);
        if let Some(command) = header.command() {
            request(command, &message);
        }
    }
}

/// What is read of a header is written again, but for what only one direction has.
fn comes_back(header: &Header, message: &[u8]) {
    let mut again = BytesMut::new();
    header.encode(&mut again);
    // In a request it is not a status that stands there, and half of it is nothing.
    let status = if header.is_response() { header.status } else { NtStatus(header.channel_sequence.into()) };
    let expected = Header { status, ..header.clone() };
    assert_eq!(Header::decode(&again), Ok(expected), "{:?}", message.get(..64));
}

/// The decoder of each command.
fn request(command: Command, message: &Bytes) {
    match command {
        Command::Negotiate => drop(NegotiateRequest::decode(message)),
        Command::SessionSetup => drop(SessionSetupRequest::decode(message)),
        Command::Logoff => drop(LogoffRequest::decode(message)),
        Command::TreeConnect => drop(TreeConnectRequest::decode(message).map(|tree| tree.share().is_ok())),
        Command::TreeDisconnect => drop(TreeDisconnectRequest::decode(message)),
        Command::Create => drop(CreateRequest::decode(message)),
        Command::Close => drop(CloseRequest::decode(message)),
        Command::Flush => drop(FlushRequest::decode(message)),
        Command::Read => drop(ReadRequest::decode(message)),
        Command::Write => {
            if let Ok(write) = WriteRequest::decode(message) {
                assert!(write.data.len() <= message.len());
            }
        }
        Command::Lock => drop(LockRequest::decode(message)),
        Command::Ioctl => drop(IoctlRequest::decode(message)),
        Command::Cancel => drop(CancelRequest::decode(message)),
        Command::Echo => drop(EchoRequest::decode(message)),
        Command::QueryDirectory => drop(QueryDirectoryRequest::decode(message)),
        Command::ChangeNotify => drop(ChangeNotifyRequest::decode(message)),
        Command::QueryInfo => drop(QueryInfoRequest::decode(message)),
        Command::SetInfo => {
            if let Ok(set) = SetInfoRequest::decode(message) {
                contents(set.info_class, &set.buffer);
            }
        }
        Command::OplockBreak => drop(BreakAcknowledgement::decode(message)),
    }
}

/// An encrypted message opens as it was, and not at all if anything of it has changed.
fn sealed(choices: &mut Choices<'_>) {
    let cipher = choices.pick(&[Cipher::Aes128Ccm, Cipher::Aes128Gcm, Cipher::Aes256Ccm, Cipher::Aes256Gcm]);
    let key = vec![5; cipher.key_bytes()];
    let mut frame = BytesMut::new();
    let plain = choices.take(200).to_vec();
    let header = TransformHeader {
        signature: [0; 16],
        nonce: [0; 16],
        original_message_size: u32::try_from(plain.len()).unwrap_or(0),
        session_id: choices.any_u64(),
    };
    header.encode(&mut frame);
    frame.extend_from_slice(&plain);
    let (head, message) = frame.split_first_chunk_mut::<TRANSFORM_LEN>().expect("a header of this length");
    SealingKey::new(cipher, &key).seal(head, message);
    let sent = frame.to_vec();
    let mut changed = sent.clone();
    choices.damage(&mut changed);
    let _ = TransformHeader::decode(&changed);
    let open = |frame: &mut [u8]| {
        let (head, message) = frame.split_first_chunk_mut::<TRANSFORM_LEN>()?;
        OpeningKey::new(cipher, &key).open(head, message).ok()?;
        Some(message.to_vec())
    };
    assert_eq!(open(&mut sent.clone()), Some(plain));
    // The protocol's own id is no part of what is protected; whoever reads it has looked at it before.
    if changed.get(4..) != sent.get(4..) {
        assert_eq!(open(&mut changed), None, "what was changed does not open");
    }
}

/// What messages carry: descriptors, attributes, changes, names, patterns, arguments of FSCTLs.
pub fn smb_contents(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let class = choices.byte();
    let mut carried = match choices.below(4) {
        0 => requests::descriptor(&mut choices),
        1 => requests::change(class, &mut choices),
        _ => choices.take(2000).to_vec(),
    };
    if choices.once_in(2) {
        choices.damage(&mut carried);
    }
    contents(class, &Bytes::from(carried));
}

fn contents(class: u8, bytes: &Bytes) {
    if let Ok(descriptor) = SecurityDescriptor::decode(bytes) {
        let mut again = BytesMut::new();
        descriptor.encode(&mut again);
        assert_eq!(SecurityDescriptor::decode(&again).as_ref(), Ok(&descriptor));
    }
    let _ = SetFile::decode(class, bytes);
    if let Ok(all) = decode_eas(bytes) {
        assert!(all.len() <= bytes.len());
    }
    let _ = decode_ea_names(bytes);
    let _ = ValidateNegotiate::decode(bytes);
    let _ = CopyChunks::decode(bytes);
    let _ = DuplicateExtents::decode(bytes, class.is_multiple_of(2));
    let _ = fsctl::decode_set_sparse(bytes);
    let _ = fsctl::decode_zero_data(bytes);
    let _ = fsctl::decode_allocated_ranges(bytes);
    let _ = fsctl::decode_resiliency(bytes);
    let _ = fsctl::decode_symlink(bytes);
    if let Ok(name) = utf16(bytes) {
        let _ = Path::parse(&name);
        if let Ok(pattern) = Pattern::new(&name, upcase) {
            // Patterns that take long for names that almost fit are what servers have fallen over.
            let _ = pattern.matches(&"a".repeat(255));
            let _ = pattern.matches(&name);
        }
        let shown = to_client(&to_volume(&name)).into_owned();
        assert_eq!(to_volume(&shown), to_volume(&name), "a name is the same after a round trip");
    }
}
