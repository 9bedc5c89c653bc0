//! The load: raw RPC over several connections, many calls in flight on each, one thread a connection. It costs as little as
//! it can, for client and server share the machine, and it is the same for every server.

use anyhow::{Context as _, Result, ensure};
use bytes::{BufMut, Bytes};
use gateway::client::Options;
use gateway::nfs3::types::{NFS_PROGRAM, NFS_V3};
use gateway::rpc::auth::OpaqueAuth;
use gateway::rpc::call::{Call, ReplyHeader, ReplyStatus};
use gateway::xdr::{Decoder, Encoder};
use hdrhistogram::Histogram;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

const LAST_FRAGMENT: u32 = 0x8000_0000;
/// A reply of 1 MiB and then some.
const INPUT_LEN: usize = 4 << 20;
/// The low bits of an xid say which of the calls in flight it is.
const SLOT_BITS: u32 = 10;

/// Calls of one kind.
pub(crate) trait Calls: Sync {
    /// Appends the arguments of the next call, and says its procedure. `step` counts the calls of one `slot`, which are
    /// made one after the other; slots of all connections have different numbers.
    fn next(&self, slot: u64, step: u64, out: &mut Encoder) -> u32;
    /// Fails unless the results, which begin with a status of `NFS3_OK`, are what was asked for. Asked now and then.
    fn check(&self, results: Bytes) -> Result<()>;
}

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) connections: usize,
    /// Calls in flight on each.
    pub(crate) in_flight: usize,
    pub(crate) time: Duration,
}

/// What came of it.
pub(crate) struct Measured {
    pub(crate) calls: u64,
    pub(crate) took: Duration,
    /// In microseconds.
    pub(crate) latency: Histogram<u64>,
}

impl Measured {
    pub(crate) fn per_second(&self) -> f64 {
        self.calls as f64 / self.took.as_secs_f64()
    }
}

/// Makes calls for as long as `shape` says, and waits for their replies.
pub(crate) fn run(server: SocketAddr, shape: Shape, calls: &dyn Calls) -> Result<Measured> {
    let begun = Instant::now();
    let each = thread::scope(|scope| {
        let spawn = |number: usize| {
            scope.spawn(move || {
                let first_slot = (number * shape.in_flight) as u64;
                Connection::open(server, first_slot, shape.in_flight)?.run(calls, begun, shape.time)
            })
        };
        let threads: Vec<_> = (0..shape.connections).map(spawn).collect();
        let joined = threads.into_iter().map(|thread| thread.join().expect("the load does not panic"));
        joined.collect::<Result<Vec<_>>>()
    })?;
    let mut sum = Measured { calls: 0, took: begun.elapsed(), latency: histogram()? };
    for part in each {
        sum.calls += part.calls;
        sum.latency.add(part.latency)?;
    }
    Ok(sum)
}

fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000, 3)?)
}

struct Connection {
    stream: TcpStream,
    first_slot: u64,
    cred: OpaqueAuth,
    /// When the call of each slot was sent, and how many it has made.
    slots: Vec<(Instant, u64)>,
    out: Vec<u8>,
    input: Vec<u8>,
    /// What of `input` was received and not taken yet.
    held: std::ops::Range<usize>,
}

impl Connection {
    fn open(server: SocketAddr, first_slot: u64, in_flight: usize) -> Result<Connection> {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let slots = vec![(Instant::now(), 0); in_flight];
        let cred = Options::default().credential();
        let (out, input) = (Vec::new(), vec![0; INPUT_LEN]);
        Ok(Connection { stream, first_slot, cred, slots, out, input, held: 0..0 })
    }

    fn run(mut self, calls: &dyn Calls, begun: Instant, time: Duration) -> Result<Measured> {
        let mut measured = Measured { calls: 0, took: Duration::ZERO, latency: histogram()? };
        (0..self.slots.len()).for_each(|slot| self.call(calls, slot));
        let mut waiting = self.slots.len();
        while waiting > 0 {
            self.stream.write_all(&self.out)?;
            self.out.clear();
            self.receive()?;
            while let Some(slot) = self.take_reply(calls, &mut measured)? {
                waiting -= 1;
                if begun.elapsed() < time {
                    self.call(calls, slot);
                    waiting += 1;
                }
            }
        }
        Ok(measured)
    }

    /// Appends the next call of `slot` to what is sent next.
    fn call(&mut self, calls: &dyn Calls, slot: usize) {
        let step = self.slots[slot].1;
        let mut args = Encoder::with_capacity(256);
        let proc = calls.next(self.first_slot + slot as u64, step, &mut args);
        let args = args.finish();
        let low = u32::try_from(slot).unwrap_or(0);
        let xid = (u32::try_from(step & 0x3f_ffff).unwrap_or(0) << SLOT_BITS) | low;
        let cred = self.cred.clone();
        let call = Call { xid, prog: NFS_PROGRAM, vers: NFS_V3, proc, cred, verf: OpaqueAuth::NONE };
        let mut head = Encoder::with_capacity(128);
        call.encode(&mut head);
        let head = head.finish();
        let len = u32::try_from(head.len() + args.len()).unwrap_or(0);
        self.out.put_u32(LAST_FRAGMENT | len);
        head.each_slice(|part| self.out.put_slice(part));
        args.each_slice(|part| self.out.put_slice(part));
        self.slots[slot] = (Instant::now(), step + 1);
    }

    fn receive(&mut self) -> Result<()> {
        if self.held.end > self.input.len() / 2 {
            self.input.copy_within(self.held.clone(), 0);
            self.held = 0..self.held.len();
        }
        let read = self.stream.read(&mut self.input[self.held.end..])?;
        ensure!(read > 0, "the server closed the connection");
        self.held.end += read;
        Ok(())
    }

    /// Takes a reply off what was received: whose it is.
    fn take_reply(&mut self, calls: &dyn Calls, measured: &mut Measured) -> Result<Option<usize>> {
        let held = &self.input[self.held.clone()];
        let Some(mark) = held.first_chunk::<4>() else { return Ok(None) };
        let len = (u32::from_be_bytes(*mark) & !LAST_FRAGMENT) as usize;
        ensure!(len < INPUT_LEN / 2, "a reply of {len} bytes");
        let Some(reply) = held.get(4..4 + len) else { return Ok(None) };
        let xid = reply.first_chunk::<4>().map_or(0, |xid| u32::from_be_bytes(*xid));
        let slot = (xid & ((1 << SLOT_BITS) - 1)) as usize;
        let (sent, step) = *self.slots.get(slot).context("the reply to a call that was not made")?;
        measured
            .latency
            .saturating_record(u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX).max(1));
        measured.calls += 1;
        let looked_at = if step % 64 == 1 { reply } else { &reply[..reply.len().min(64)] };
        let mut input = Decoder::new(Bytes::copy_from_slice(looked_at));
        let header = ReplyHeader::decode(&mut input)?;
        ensure!(matches!(header.status, ReplyStatus::Success), "refused: {:?}", header.status);
        let results = input.rest().clone();
        let status = results.first_chunk::<4>().map_or(u32::MAX, |status| u32::from_be_bytes(*status));
        ensure!(status == 0, "NFS status {status}");
        if step % 64 == 1 {
            calls.check(results)?;
        }
        self.held.start += 4 + len;
        Ok(Some(slot))
    }
}
