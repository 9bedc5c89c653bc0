//! Decoders alone: records, headers, arguments, file handles, and the state that a vserver brings along from elsewhere.

use super::calls::{self, credential as credential_of};
use super::choices::Choices;
use super::table::{PROCEDURES, assert_comes_back};
use crate::handle::{FileHandle, HANDLE_LEN, HandleKey, VolumeId};
use crate::openstate::{Break, Holder, LockTable};
use crate::rpc::auth::{AUTH_SYS, AuthSys, Credential, OpaqueAuth};
use crate::rpc::call::{Call, ReplyHeader};
use crate::rpc::drc::ReplyCache;
use crate::rpc::record::{RECORD_LEN_MAX, RecordReader};
use crate::vserver::SmbHandle;
use crate::xdr::{Decoder, Encoder};
use bytes::Bytes;
use fsstore::{FileId, Generation, InodeNum, SnapshotId};
use futures_util::FutureExt;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, ReadBuf};
use uuid::Uuid;

/// A stream whose bytes come in pieces, of these lengths in turn.
struct Pieces<'a> {
    bytes: &'a [u8],
    lens: VecDeque<usize>,
    /// Every other time nothing is there yet.
    ready: bool,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.ready = !self.ready;
        if !self.ready {
            return Poll::Pending;
        }
        let len = self.lens.front().copied().unwrap_or(usize::MAX).min(buf.remaining());
        let turn = self.lens.len().min(1);
        self.lens.rotate_left(turn);
        let (now, later) = self.bytes.split_at(len.min(self.bytes.len()));
        self.bytes = later;
        buf.put_slice(now);
        Poll::Ready(Ok(()))
    }
}

/// The records of a stream as RFC 5531 §11 has them, and whether the stream ends well behind the last of them.
pub(super) fn reference(mut stream: &[u8]) -> (Vec<Vec<u8>>, bool) {
    let (mut records, mut current, mut inside) = (Vec::new(), Vec::new(), false);
    while let Some((mark, rest)) = stream.split_first_chunk::<4>() {
        let mark = u32::from_be_bytes(*mark);
        let (last, len) = (mark >> 31 == 1, (mark & 0x7fff_ffff) as usize);
        if current.len() + len > RECORD_LEN_MAX || (len == 0 && !last) || rest.len() < len {
            return (records, false);
        }
        current.extend_from_slice(&rest[..len]);
        stream = &rest[len..];
        inside = !last;
        if last {
            records.push(std::mem::take(&mut current));
        }
    }
    (records, stream.is_empty() && !inside)
}

/// A stream of records, in pieces; and large ones, of which only the beginning comes. What is held is not much more than what
/// has arrived.
pub fn rpc_records(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let lens: VecDeque<usize> =
        (0..choices.below(5)).map(|_| choices.pick(&[1, 2, 3, 4, 5, 100, 70_000])).collect();
    // A byte of input may stand for many on the wire.
    let times = choices.pick(&[1, 1, 1, 100, 5000]);
    let rest = choices.rest();
    let (head, body) = rest.split_at(rest.len().min(64));
    let mut stream = head.to_vec();
    body.iter().for_each(|byte| stream.extend(std::iter::repeat_n(*byte, times)));
    stream.truncate(3 * RECORD_LEN_MAX);
    let (expected, ends_well) = reference(&stream);
    let mut reader = RecordReader::new(Pieces { bytes: &stream, lens, ready: false });
    let mut records = Vec::new();
    let ended = loop {
        // It may be dropped at any time and called again.
        match reader.next().now_or_never() {
            Some(Ok(Some(record))) => records.push(record),
            Some(ended) => break ended,
            None => {}
        }
        let (held, arrived) = reader.held();
        // What it asks for is 16 times what has arrived; it may get twice that. Memory that nobody has written to costs nothing.
        assert!(held <= 32 * arrived + (256 << 10), "{held} bytes are held of {arrived}");
        assert!(held <= 4 * RECORD_LEN_MAX, "{held} bytes are held");
    };
    assert_eq!(records, expected);
    assert_eq!(ended.is_ok(), ends_well, "{ended:?}");
}

/// Header, credential and verifier of a call; a reply's header. Some are damaged, others invented.
pub fn rpc_headers(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let message = if choices.once_in(2) {
        let cred = credential_of(&mut choices);
        let verf =
            OpaqueAuth { flavor: choices.number(), body: Bytes::copy_from_slice(choices.pick_bytes()) };
        let [prog, vers, proc] = [choices.number(), choices.number(), choices.number()];
        let mut out = Encoder::default();
        Call { xid: choices.any_u32(), prog, vers, proc, cred, verf }.encode(&mut out);
        let mut message = out.finish().into_bytes().to_vec();
        choices.damage(&mut message);
        Bytes::from(message)
    } else {
        Bytes::copy_from_slice(choices.rest())
    };
    let mut input = Decoder::new(message.clone());
    if let Ok(call) = Call::decode(&mut input) {
        let used = message.len() - input.rest().len();
        let mut out = Encoder::default();
        call.encode(&mut out);
        let again = out.finish().into_bytes();
        assert_eq!(again.len(), used);
        assert_eq!(Call::decode(&mut Decoder::new(again)), Ok(call.clone()));
        credential(&call.cred);
    }
    credential(&OpaqueAuth { flavor: AUTH_SYS, body: message.clone() });
    let _ = ReplyHeader::decode(&mut Decoder::new(message));
}

fn credential(auth: &OpaqueAuth) {
    let found = Credential::of(auth);
    if auth.flavor == AUTH_SYS {
        let mut input = Decoder::new(auth.body.clone());
        let whole = input.take::<AuthSys>().ok().filter(|_| input.rest().is_empty());
        assert_eq!(found.is_ok(), whole.is_some());
        whole.inspect(|sys| assert_comes_back(sys, &auth.body));
    }
}

/// The arguments and results of a procedure, which the first byte chooses. Some are damaged, others invented.
pub fn arguments(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let entry = &PROCEDURES[choices.below(PROCEDURES.len())];
    let message = if choices.once_in(2) {
        let mut out = Encoder::default();
        let mut handles = |_: calls::Paths<'_>, choices: &mut Choices<'_>| choices.pick_bytes().to_vec();
        calls::arguments(entry, &mut handles, &mut choices, &mut out);
        let mut message = out.finish().into_bytes().to_vec();
        if choices.once_in(2) {
            choices.damage(&mut message);
        }
        Bytes::from(message)
    } else {
        Bytes::copy_from_slice(choices.rest())
    };
    if let Some(arguments) = entry.arguments {
        arguments(message.clone());
    }
    let _ = (entry.results)(&mut Decoder::new(message));
}

/// A file handle: it says what it was made of, and nothing else is one.
pub fn handles(bytes: &[u8]) {
    static KEY: LazyLock<HandleKey> = LazyLock::new(|| HandleKey::from_bytes([3; 16]));
    let vserver = Uuid::from_u128(0x77 << 64);
    assert!(FileHandle::open(bytes, vserver, &KEY).is_err(), "nobody has made this handle");
    let mut choices = Choices::new(bytes);
    let file = FileId {
        ino: InodeNum(choices.any_u64()),
        generation: Generation(choices.any_u32()),
        snapshot: SnapshotId(choices.any_u64()),
    };
    let handle = FileHandle { volume: VolumeId(choices.any_u64()), file };
    let sealed = handle.seal(vserver, &KEY);
    assert_eq!(FileHandle::open(&sealed, vserver, &KEY), Ok(handle));
    assert!(FileHandle::open(&sealed, Uuid::from_u128(0x78 << 64), &KEY).is_err());
    assert!(FileHandle::open(&sealed, vserver, &HandleKey::from_bytes([4; 16])).is_err());
    let mut changed = sealed.to_vec();
    choices.damage(&mut changed);
    if changed != sealed {
        assert!(
            FileHandle::open(&changed, vserver, &KEY).is_err(),
            "{changed:?} for {:?}",
            &sealed[..HANDLE_LEN]
        );
    }
}

/// A client of SMB that is away.
#[derive(Debug)]
struct Nobody;

impl Holder for Nobody {
    fn tell(&self, _: Break) {}
}

/// A reply cache, a lock table and SMB handles of another node. What is taken over can be handed on.
pub fn handoffs(bytes: &[u8]) {
    let cache = ReplyCache::default();
    if cache.import(bytes).is_ok() {
        let (again, second) = (cache.export(), ReplyCache::default());
        second.import(&again).expect("a cache that was exported");
        assert_eq!(second.export(), again);
    }
    let locks = LockTable::default();
    if locks.import(bytes).is_ok() {
        let second = LockTable::default();
        second.import(&locks.export()).expect("a table that was exported");
        assert_eq!(second.counts(), locks.counts());
    }
    if let Ok(handles) = SmbHandle::decode_all(bytes) {
        let again = SmbHandle::decode_all(&SmbHandle::encode_all(&handles)).expect("handles that were sent");
        assert!(handles.starts_with(&again));
        let here = LockTable::default();
        let adopted = handles.into_iter().filter(|handle| {
            let (owner, holdings) = (handle.owner.clone(), handle.holdings.clone());
            here.adopt(handle.file, owner, holdings, Arc::new(Nobody)).is_ok()
        });
        let adopted: Vec<_> = adopted.collect();
        for handle in &adopted {
            assert!(here.holdings(handle.file, &handle.owner).is_some());
            here.close(handle.file, &handle.owner);
        }
        assert_eq!(here.counts(), crate::openstate::Counts::default());
    }
    let _ = locks.entries(100);
    locks.release(|_| true, None);
    assert_eq!(locks.counts(), crate::openstate::Counts::default());
}
