//! A good message for every decoder, and randomness.

use super::super::create::{CloseRequest, CreateRequest};
use super::super::io::{FlushRequest, ReadRequest, WriteRequest};
use super::super::negotiate::NegotiateRequest;
use super::super::plain::{CancelRequest, EchoRequest, LogoffRequest, TreeDisconnectRequest};
use super::super::session::SessionSetupRequest;
use super::super::tree::TreeConnectRequest;
use super::{create, hex, io, message, negotiate, session};
use bytes::Bytes;

/// A decoder, and whether it takes these bytes.
pub(super) type Decoder = fn(&Bytes) -> bool;

/// Decoders of whole messages, each with a good one.
pub(super) fn requests() -> Vec<(&'static str, Bytes, Decoder)> {
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
    ]
}

/// Numbers from a seed (SplitMix64). Shows the seed; `FERRY_TEST_SEED` replays it.
pub(super) struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    pub(super) fn seeded() -> Random {
        let given = std::env::var("FERRY_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            u64::from(now.unwrap_or_default().subsec_nanos())
        });
        Random { seed, state: seed }
    }

    pub(super) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ self.state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap()
    }
}

impl std::fmt::Display for Random {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FERRY_TEST_SEED={}", self.seed)
    }
}
