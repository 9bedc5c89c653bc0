//! The reply cache: a call that must not be run twice gets its first answer again when the client repeats it.
//!
//! One cache per vserver. Entries are keyed by the client's address without its port, because after a
//! migration the repetition comes over a new connection; for the same reason the cache moves with the
//! vserver ([`ReplyCache::export`], [`ReplyCache::import`]). Bounded by count, bytes and age.
//! Must not know which procedures need it: the program says.

use crate::xdr::{Decoder, Encoder, Xdr, XdrError};
use aws_lc_rs::digest;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// Bytes of the arguments that tell two calls with the same xid apart.
const SUMMED_LEN: usize = 256;
const EXPORT_VERSION: u32 = 1;

/// How much a cache may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Finished calls.
    pub entries_max: usize,
    /// Bytes of their replies.
    pub bytes_max: usize,
    /// How long a reply is kept. A client may use an xid again, so this should not be long.
    pub age_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { entries_max: 16_384, bytes_max: 16 << 20, age_max: Duration::from_secs(300) }
    }
}

/// Tells one call from every other; equal for a call and its repetition.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CallKey {
    client: IpAddr,
    xid: u32,
    prog: u32,
    vers: u32,
    proc: u32,
    args_len: u32,
    args_sum: u64,
}

impl CallKey {
    /// The key of a call from `client` with these header fields and these encoded arguments.
    pub fn new(client: IpAddr, xid: u32, prog: u32, vers: u32, proc: u32, args: &[u8]) -> Self {
        let sum = digest::digest(&digest::SHA256, &args[..args.len().min(SUMMED_LEN)]);
        let mut args_sum = [0; 8];
        args_sum.copy_from_slice(&sum.as_ref()[..8]);
        CallKey {
            client: client.to_canonical(),
            xid,
            prog,
            vers,
            proc,
            args_len: u32::try_from(args.len()).unwrap_or(u32::MAX),
            args_sum: u64::from_be_bytes(args_sum),
        }
    }
}

impl Xdr for CallKey {
    fn encode(&self, out: &mut Encoder) {
        let client = match self.client {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        out.array(&client.octets());
        for word in [self.xid, self.prog, self.vers, self.proc, self.args_len] {
            out.u32(word);
        }
        out.u64(self.args_sum);
    }

    fn decode(input: &mut Decoder) -> Result<Self, XdrError> {
        Ok(CallKey {
            client: IpAddr::V6(Ipv6Addr::from(input.array::<16>()?)).to_canonical(),
            xid: input.u32()?,
            prog: input.u32()?,
            vers: input.u32()?,
            proc: input.u32()?,
            args_len: input.u32()?,
            args_sum: input.u64()?,
        })
    }
}

/// What becomes of a call.
#[derive(Debug)]
pub enum Admission<'a> {
    /// Never seen: run it, then [`InProgress::finish`].
    New(InProgress<'a>),
    /// It has been answered; this is the answer.
    Done(Bytes),
}

/// What is known of a call now.
enum Known<'a> {
    Settled(Admission<'a>),
    /// It is running; this ends when it does.
    Running(OwnedNotified),
}

/// A call that is being run. Dropped without [`InProgress::finish`], it is as if the call had never come.
#[derive(Debug)]
pub struct InProgress<'a> {
    cache: &'a ReplyCache,
    key: CallKey,
}

impl InProgress<'_> {
    /// Keeps `reply`, the whole reply message without its record mark.
    pub fn finish(self, reply: Bytes) {
        self.cache.inner.lock().insert_done(self.key, reply, Instant::now(), &self.cache.limits);
    }
}

impl Drop for InProgress<'_> {
    fn drop(&mut self) {
        let mut inner = self.cache.inner.lock();
        if let Entry::Occupied(call) = inner.calls.entry(self.key)
            && matches!(call.get(), State::Running(_))
            && let State::Running(ended) = call.remove()
        {
            ended.notify_waiters();
        }
    }
}

/// Why an exported cache was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ImportError {
    /// Written by a version of this program that this one does not know.
    #[error("reply cache of unknown version {0}")]
    Version(u32),
    /// Not an exported cache.
    #[error("malformed reply cache: {0}")]
    Malformed(#[from] XdrError),
}

/// The reply cache of one vserver.
#[derive(Debug, Default)]
pub struct ReplyCache {
    limits: Limits,
    inner: Mutex<Inner>,
}

impl ReplyCache {
    /// An empty cache.
    pub fn new(limits: Limits) -> Self {
        ReplyCache { limits, inner: Mutex::default() }
    }

    /// Says what becomes of the call `key`. A repetition of a call that is running waits for its answer: the
    /// connection that the call came over may be gone, so that nobody else would get it.
    pub async fn admit(&self, key: CallKey) -> Admission<'_> {
        loop {
            match self.look_at(key, Instant::now()) {
                Known::Settled(admission) => return admission,
                Known::Running(ended) => ended.await,
            }
        }
    }

    fn look_at(&self, key: CallKey, now: Instant) -> Known<'_> {
        let mut inner = self.inner.lock();
        inner.expire(now, &self.limits);
        match inner.calls.entry(key) {
            Entry::Vacant(vacant) => {
                vacant.insert(State::Running(Arc::default()));
                Known::Settled(Admission::New(InProgress { cache: self, key }))
            }
            Entry::Occupied(known) => match known.get() {
                // Made under the lock, it hears of an end that comes right after.
                State::Running(ended) => Known::Running(Arc::clone(ended).notified_owned()),
                State::Done(reply) => Known::Settled(Admission::Done(reply.clone())),
            },
        }
    }

    /// Finished calls in the cache.
    pub fn len(&self) -> usize {
        self.inner.lock().order.len()
    }

    /// Whether no finished call is in the cache.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every finished call, oldest first, for the vserver's next home. At most a little over
    /// [`Limits::bytes_max`] bytes. Calls that are running are left out: freeze the vserver first.
    pub fn export(&self) -> Vec<u8> {
        let inner = self.inner.lock();
        let mut out = Encoder::with_capacity(inner.bytes + inner.order.len() * 64 + 8);
        out.u32(EXPORT_VERSION);
        let done = || {
            inner.order.iter().filter_map(|(key, _)| match inner.calls.get(key) {
                Some(State::Done(reply)) => Some((key, reply)),
                _ => None,
            })
        };
        out.u32(u32::try_from(done().count()).unwrap_or(u32::MAX));
        for (key, reply) in done() {
            out.put(key);
            out.opaque(reply);
        }
        out.finish().into_bytes().into()
    }

    /// Adds what [`ReplyCache::export`] gave elsewhere, within this cache's limits. All or nothing; repeating it
    /// changes nothing.
    ///
    /// # Errors
    /// [`ImportError`] where `exported` is not such a cache.
    pub fn import(&self, exported: &[u8]) -> Result<(), ImportError> {
        let mut input = Decoder::new(Bytes::copy_from_slice(exported));
        let version = input.u32()?;
        if version != EXPORT_VERSION {
            return Err(ImportError::Version(version));
        }
        let mut calls = Vec::new();
        for _ in 0..input.u32()? {
            let key: CallKey = input.take()?;
            // A copy of its own: a slice would keep the whole export in memory as long as one entry lives.
            calls.push((key, Bytes::copy_from_slice(&input.opaque(self.limits.bytes_max)?)));
        }
        input.finish()?;
        let now = Instant::now();
        let mut inner = self.inner.lock();
        for (key, reply) in calls {
            inner.insert_done(key, reply, now, &self.limits);
        }
        Ok(())
    }
}

#[derive(Debug)]
enum State {
    /// Notified when the call has ended.
    Running(Arc<Notify>),
    Done(Bytes),
}

#[derive(Debug, Default)]
struct Inner {
    calls: HashMap<CallKey, State>,
    /// The finished calls, oldest first, and when they finished. Each key of a `Done` call stands here once.
    order: VecDeque<(CallKey, Instant)>,
    /// Bytes of all kept replies.
    bytes: usize,
}

impl Inner {
    fn insert_done(&mut self, key: CallKey, reply: Bytes, now: Instant, limits: &Limits) {
        self.bytes += reply.len();
        match self.calls.insert(key, State::Done(reply)) {
            Some(State::Done(old)) => self.bytes -= old.len(),
            Some(State::Running(ended)) => {
                self.order.push_back((key, now));
                ended.notify_waiters();
            }
            None => self.order.push_back((key, now)),
        }
        while self.order.len() > limits.entries_max || self.bytes > limits.bytes_max {
            self.drop_oldest();
        }
    }

    fn expire(&mut self, now: Instant, limits: &Limits) {
        while self.order.front().is_some_and(|(_, at)| now.saturating_duration_since(*at) > limits.age_max) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some((key, _)) = self.order.pop_front() else { return };
        if let Some(State::Done(reply)) = self.calls.remove(&key) {
            self.bytes -= reply.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn key(xid: u32) -> CallKey {
        CallKey::new(IpAddr::V4(Ipv4Addr::LOCALHOST), xid, 100_003, 3, 12, b"args")
    }

    fn begin(cache: &ReplyCache, key: CallKey, now: Instant) -> Option<InProgress<'_>> {
        match cache.look_at(key, now) {
            Known::Settled(Admission::New(call)) => Some(call),
            _ => None,
        }
    }

    fn run(cache: &ReplyCache, key: CallKey, reply: &'static [u8]) {
        begin(cache, key, Instant::now()).unwrap().finish(Bytes::from_static(reply));
    }

    fn known(cache: &ReplyCache, key: CallKey) -> Option<Bytes> {
        match cache.look_at(key, Instant::now()) {
            Known::Settled(Admission::Done(reply)) => Some(reply),
            _ => None,
        }
    }

    #[test]
    fn a_repeated_call_gets_the_first_answer() {
        let cache = ReplyCache::default();
        run(&cache, key(1), b"first");
        assert_eq!(known(&cache, key(1)), Some(Bytes::from_static(b"first")));
        assert_eq!(known(&cache, key(2)), None);
    }

    #[tokio::test]
    async fn a_running_call_is_not_started_again() {
        let cache = ReplyCache::default();
        let call = begin(&cache, key(1), Instant::now()).unwrap();
        let repeated = cache.admit(key(1));
        tokio::pin!(repeated);
        assert!(futures_util::poll!(&mut repeated).is_pending());
        call.finish(Bytes::from_static(b"x"));
        assert!(matches!(repeated.await, Admission::Done(reply) if reply == b"x"[..]));
    }

    #[tokio::test]
    async fn a_call_given_up_can_be_run_again() {
        let cache = ReplyCache::default();
        let call = begin(&cache, key(1), Instant::now()).unwrap();
        let repeated = cache.admit(key(1));
        tokio::pin!(repeated);
        assert!(futures_util::poll!(&mut repeated).is_pending());
        drop(call);
        assert!(matches!(repeated.await, Admission::New(_)));
    }

    #[test]
    fn calls_differ_by_client_arguments_and_procedure() {
        let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let base = CallKey::new(client, 1, 100_003, 3, 12, b"args");
        assert_eq!(base, key(1));
        assert_eq!(base, CallKey::new("::ffff:127.0.0.1".parse().unwrap(), 1, 100_003, 3, 12, b"args"));
        assert_ne!(base, CallKey::new("127.0.0.2".parse().unwrap(), 1, 100_003, 3, 12, b"args"));
        assert_ne!(base, CallKey::new(client, 1, 100_003, 3, 13, b"args"));
        assert_ne!(base, CallKey::new(client, 1, 100_003, 3, 12, b"brgs"));
        assert_ne!(base, CallKey::new(client, 1, 100_003, 3, 12, b"argsargs"));
    }

    #[test]
    fn count_and_bytes_are_bounded() {
        let limits = Limits { entries_max: 3, bytes_max: 100, ..Limits::default() };
        let cache = ReplyCache::new(limits);
        for xid in 0..5 {
            run(&cache, key(xid), b"0123456789");
        }
        assert_eq!(cache.len(), 3);
        assert_eq!(known(&cache, key(1)), None);
        assert!(known(&cache, key(2)).is_some());
        run(&cache, key(9), &[0; 95]);
        assert_eq!(cache.len(), 1);
        assert_eq!(cache.inner.lock().bytes, 95);
    }

    #[test]
    fn old_replies_are_forgotten() {
        let cache = ReplyCache::default();
        run(&cache, key(1), b"x");
        let later = Instant::now() + cache.limits.age_max + Duration::from_secs(1);
        assert!(begin(&cache, key(1), later).is_some());
        assert_eq!(cache.inner.lock().bytes, 0);
    }

    #[test]
    fn the_cache_moves() {
        let source = ReplyCache::default();
        run(&source, key(1), b"one");
        run(&source, key(2), b"two");
        let running = begin(&source, key(3), Instant::now());
        let exported = source.export();
        let destination = ReplyCache::default();
        destination.import(&exported).unwrap();
        destination.import(&exported).unwrap();
        assert_eq!(known(&destination, key(1)), Some(Bytes::from_static(b"one")));
        assert_eq!(known(&destination, key(2)), Some(Bytes::from_static(b"two")));
        assert_eq!(destination.len(), 2);
        assert!(begin(&destination, key(3), Instant::now()).is_some());
        drop(running);
    }

    #[test]
    fn malformed_exports_are_refused_whole() {
        let source = ReplyCache::default();
        run(&source, key(1), b"one");
        run(&source, key(2), b"two");
        let good = source.export();
        let cache = ReplyCache::default();
        for len in 0..good.len() {
            cache.import(&good[..len]).unwrap_err();
        }
        let mut longer = good.clone();
        longer.push(0);
        cache.import(&longer).unwrap_err();
        let mut newer = good;
        newer[3] = 9;
        assert_eq!(cache.import(&newer), Err(ImportError::Version(9)));
        assert!(cache.is_empty());
    }
}
