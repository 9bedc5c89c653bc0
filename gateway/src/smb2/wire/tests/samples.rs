//! A good message for every decoder, and randomness.

use super::super::breaks::BreakAcknowledgement;
use super::super::create::{CloseRequest, CreateRequest};
use super::super::directory::QueryDirectoryRequest;
use super::super::fsctl::{CopyChunks, DuplicateExtents, ValidateNegotiate};
use super::super::fsctl::{decode_allocated_ranges, decode_resiliency, decode_symlink, decode_zero_data};
use super::super::info::ea::{decode_ea_names, decode_eas};
use super::super::info::set::SetFile;
use super::super::info::{QueryInfoRequest, SetInfoRequest, file_class};
use super::super::io::{FlushRequest, ReadRequest, WriteRequest};
use super::super::ioctl::IoctlRequest;
use super::super::lock::LockRequest;
use super::super::negotiate::NegotiateRequest;
use super::super::notify::ChangeNotifyRequest;
use super::super::plain::{CancelRequest, EchoRequest, LogoffRequest, TreeDisconnectRequest};
use super::super::security::SecurityDescriptor;
use super::super::session::SessionSetupRequest;
use super::super::tree::TreeConnectRequest;
use super::{create, directory, hex, info, io, ioctl, message, negotiate, security, session, waiting};
use bytes::Bytes;

/// A decoder, and whether it takes these bytes.
pub(in crate::smb2) type Decoder = fn(&Bytes) -> bool;

/// Decoders of whole messages, each with a good one.
pub(in crate::smb2) fn requests() -> Vec<(&'static str, Bytes, Decoder)> {
    let four = message(2, &[&hex("0400 0000")]);
    vec![
        ("NEGOTIATE", negotiate::request(), |bytes| NegotiateRequest::decode(bytes).is_ok()),
        ("SESSION_SETUP", session::setup(), |bytes| SessionSetupRequest::decode(bytes).is_ok()),
        ("LOGOFF", four.clone(), |bytes| LogoffRequest::decode(bytes).is_ok()),
        ("TREE_CONNECT", session::tree_connect(), |bytes| TreeConnectRequest::decode(bytes).is_ok()),
        ("TREE_DISCONNECT", four.clone(), |bytes| TreeDisconnectRequest::decode(bytes).is_ok()),
        ("CREATE", create::full(), |bytes| CreateRequest::decode(bytes).is_ok()),
        ("CLOSE", io::close(), |bytes| CloseRequest::decode(bytes).is_ok()),
        ("FLUSH", io::flush(), |bytes| FlushRequest::decode(bytes).is_ok()),
        ("READ", io::read(), |bytes| ReadRequest::decode(bytes).is_ok()),
        ("WRITE", io::write(), |bytes| WriteRequest::decode(bytes).is_ok()),
        ("CANCEL", four.clone(), |bytes| CancelRequest::decode(bytes).is_ok()),
        ("ECHO", four, |bytes| EchoRequest::decode(bytes).is_ok()),
        ("LOCK", waiting::lock(), |bytes| LockRequest::decode(bytes).is_ok()),
        ("IOCTL", ioctl::request(), |bytes| IoctlRequest::decode(bytes).is_ok()),
        ("QUERY_DIRECTORY", directory::query(), |bytes| QueryDirectoryRequest::decode(bytes).is_ok()),
        ("CHANGE_NOTIFY", waiting::notify(), |bytes| ChangeNotifyRequest::decode(bytes).is_ok()),
        ("QUERY_INFO", info::query(), |bytes| QueryInfoRequest::decode(bytes).is_ok()),
        ("SET_INFO", info::set(), |bytes| SetInfoRequest::decode(bytes).is_ok()),
        ("oplock break", waiting::oplock_ack(), |bytes| BreakAcknowledgement::decode(bytes).is_ok()),
        ("lease break", waiting::lease_ack(), |bytes| BreakAcknowledgement::decode(bytes).is_ok()),
    ]
}

/// Decoders of what messages carry, each with something good.
pub(super) fn contents() -> Vec<(&'static str, Bytes, Decoder)> {
    let eas = Bytes::from(hex("10000000 00 01 0200 61 00 7879 00000000 00000000 80 02 0000 6262 00"));
    let names = Bytes::from(hex("08000000 01 61 00 00 00000000 02 6262 00"));
    let basic = Bytes::from(vec![0; 40]);
    let extents = Bytes::from(vec![0; 56]);
    vec![
        ("descriptor", security::descriptor().into(), |bytes| SecurityDescriptor::decode(bytes).is_ok()),
        ("attributes", eas, |bytes| decode_eas(bytes).is_ok()),
        ("names of attributes", names, |bytes| decode_ea_names(bytes).is_ok()),
        ("times", basic, |bytes| SetFile::decode(file_class::BASIC, bytes).is_ok()),
        ("rename", info::rename(), |bytes| SetFile::decode(file_class::RENAME, bytes).is_ok()),
        ("rename, extended", info::rename(), |bytes| SetFile::decode(file_class::RENAME_EX, bytes).is_ok()),
        ("validation", ioctl::validate(), |bytes| ValidateNegotiate::decode(bytes).is_ok()),
        ("copy", ioctl::copy_chunks(), |bytes| CopyChunks::decode(bytes).is_ok()),
        ("symbolic link", ioctl::symlink(), |bytes| decode_symlink(bytes).is_ok()),
        ("extents", extents.clone(), |bytes| DuplicateExtents::decode(bytes, false).is_ok()),
        ("extents, extended", extents.clone(), |bytes| DuplicateExtents::decode(bytes, true).is_ok()),
        ("zero data", extents.clone(), |bytes| decode_zero_data(bytes).is_ok()),
        ("allocated ranges", extents.clone(), |bytes| decode_allocated_ranges(bytes).is_ok()),
        ("resiliency", extents, |bytes| decode_resiliency(bytes).is_ok()),
    ]
}

/// Numbers from a seed (SplitMix64), which is printed; `SEED` in the environment replays it.
pub(in crate::smb2) struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    pub(in crate::smb2) fn seeded() -> Random {
        let given = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            u64::from(now.unwrap_or_default().subsec_nanos())
        });
        println!("SEED={seed}");
        Random { seed, state: seed }
    }

    pub(in crate::smb2) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ self.state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(in crate::smb2) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap()
    }
}

impl std::fmt::Display for Random {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SEED={}", self.seed)
    }
}
