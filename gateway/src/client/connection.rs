//! The client's connection: matches replies to calls by xid, and after a loss connects again and repeats every call
//! that has no reply yet, in the order in which they were made. Knows no program.

use crate::rpc::record::{RecordReader, write_records};
use crate::xdr::Message;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

/// Pause between attempts to connect.
const RECONNECT_PAUSE: Duration = Duration::from_millis(20);
/// One attempt to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Calls written in one go.
const BATCH_MAX: usize = 32;

/// A handle on the connection. The connection ends with its last handle.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    shared: Arc<Shared>,
    queue: UnboundedSender<u32>,
    _end: Arc<DropGuard>,
}

#[derive(Debug)]
struct Shared {
    /// Calls made so far; with `xid_base` it gives the next xid.
    made: AtomicU64,
    /// Random, because the reply cache of the server can't tell two clients of one host apart.
    xid_base: u32,
    connections: AtomicU64,
    /// Calls without a reply. As many as there are callers waiting.
    waiting: Mutex<HashMap<u32, Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    /// Place in the order in which calls were made.
    order: u64,
    message: Message,
    /// Number of the connection that it was last written to.
    sent_on: u64,
    reply: oneshot::Sender<Bytes>,
}

/// Forgets a call whose caller has given up.
struct Forget<'a> {
    shared: &'a Shared,
    xid: u32,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.shared.waiting.lock().remove(&self.xid);
    }
}

impl Connection {
    pub(super) fn new(address: SocketAddr, silence_max: Duration) -> Self {
        let shared = Arc::new(Shared {
            made: AtomicU64::new(0),
            xid_base: Uuid::new_v4().as_fields().0,
            connections: AtomicU64::new(0),
            waiting: Mutex::default(),
        });
        let (queue, queued) = unbounded_channel();
        let end = CancellationToken::new();
        let driver = Driver { address, silence_max, shared: Arc::clone(&shared), queued };
        let ended = end.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = driver.run() => {}
            }
        });
        Connection { shared, queue, _end: Arc::new(end.drop_guard()) }
    }

    pub(super) fn count(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    #[expect(clippy::cast_possible_truncation, reason = "xids wrap around")]
    pub(super) fn next_xid(&self) -> u32 {
        self.shared.xid_base.wrapping_add(self.shared.made.fetch_add(1, Ordering::Relaxed) as u32)
    }

    /// Sends a call and waits for its reply, however long that takes. `None` only at the runtime's end.
    pub(super) async fn exchange(&self, xid: u32, message: Message) -> Option<Bytes> {
        let (reply, answered) = oneshot::channel();
        let order = self.shared.made.load(Ordering::Relaxed);
        self.shared.waiting.lock().insert(xid, Waiting { order, message, sent_on: 0, reply });
        let _forget = Forget { shared: &self.shared, xid };
        self.queue.send(xid).ok()?;
        answered.await.ok()
    }
}

struct Driver {
    address: SocketAddr,
    silence_max: Duration,
    shared: Arc<Shared>,
    queued: UnboundedReceiver<u32>,
}

impl Driver {
    async fn run(mut self) {
        loop {
            // An idle client stays away until it has something to ask.
            if self.shared.waiting.lock().is_empty() && self.queued.recv().await.is_none() {
                return;
            }
            match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(self.address)).await {
                Ok(Ok(stream)) => {
                    if let Err(error) = self.converse(stream).await {
                        tracing::debug!(%error, address = %self.address, "connection lost");
                    }
                }
                Ok(Err(error)) => tracing::debug!(%error, address = %self.address, "can't connect"),
                Err(_) => {}
            }
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
    }

    /// One connection, until it breaks or falls silent.
    async fn converse(&mut self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let number = self.shared.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let (reader, writer) = stream.into_split();
        tokio::select! {
            received = receive(reader, &self.shared, self.silence_max) => received,
            sent = send(writer, &self.shared, &mut self.queued, number) => sent,
        }
    }
}

/// Gives replies to those who wait for them.
async fn receive(reader: OwnedReadHalf, shared: &Shared, silence_max: Duration) -> io::Result<()> {
    let mut records = RecordReader::new(reader);
    let mut look = tokio::time::interval(silence_max / 4);
    let mut heard = Instant::now();
    loop {
        let record = tokio::select! {
            record = records.next() => record?.ok_or(io::ErrorKind::UnexpectedEof)?,
            now = look.tick() => {
                if shared.waiting.lock().is_empty() {
                    heard = now;
                }
                if now.duration_since(heard) >= silence_max {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                continue;
            }
        };
        heard = Instant::now();
        let Some(xid) = record.first_chunk::<4>().map(|xid| u32::from_be_bytes(*xid)) else { continue };
        if let Some(waiting) = shared.waiting.lock().remove(&xid) {
            let _ = waiting.reply.send(record);
        }
    }
}

/// Writes the calls that wait from before this connection, then new ones as they are made.
async fn send(
    mut writer: OwnedWriteHalf,
    shared: &Shared,
    queued: &mut UnboundedReceiver<u32>,
    number: u64,
) -> io::Result<()> {
    let mut batch: Vec<u32> = {
        let waiting = shared.waiting.lock();
        let mut calls: Vec<_> = waiting.iter().map(|(xid, call)| (call.order, *xid)).collect();
        calls.sort_unstable();
        calls.into_iter().map(|(_, xid)| xid).collect()
    };
    let mut messages = Vec::with_capacity(BATCH_MAX);
    loop {
        for xid in batch.drain(..) {
            // Not those that were answered meanwhile, nor those that stand in the queue and were just repeated.
            if let Some(call) = shared.waiting.lock().get_mut(&xid)
                && call.sent_on != number
            {
                call.sent_on = number;
                messages.push(call.message.clone());
            }
        }
        write_records(&mut writer, &mut messages).await?;
        if queued.recv_many(&mut batch, BATCH_MAX).await == 0 {
            return Ok(());
        }
    }
}
