//! Connections of RPC over TCP: takes calls off them, runs those of one connection concurrently, sends the replies
//! as they come. Everything a connection may pin is bounded. Knows no program: a [`Service`] runs the calls, those
//! that come over UDP (`udp.rs`) too.

use super::auth::AuthStat;
use super::call::{Call, CallError, Refusal, encode_refusal};
use super::record::{RecordReader, write_records};
use crate::xdr::{Decoder, Encoder, Message};
use bytes::Bytes;
use futures_util::stream::{self, FuturesUnordered, Stream, StreamExt};
use socket2::{SockRef, TcpKeepalive};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections of one listener.
const CONNECTIONS_MAX: usize = 1024;
/// Calls of one connection that were received and whose replies are not sent.
const CALLS_MAX: usize = 128;
/// KiB of one connection's calls and replies in that state.
const CALLS_KIB_MAX: u32 = 16 << 10;
/// KiB of all connections' calls and replies in that state.
const LISTENER_KIB_MAX: usize = 1 << 20;
/// Replies sent in one go.
const REPLY_BATCH_MAX: usize = 64;
/// A client that takes nothing for so long is gone.
const WRITE_STALL_MAX: Duration = Duration::from_secs(60);
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Pause after an accept that failed for want of resources.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// How a call came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// On a TCP connection.
    Tcp,
    /// In a UDP datagram: a small one, and anybody may have put the client's address on it.
    Udp,
}

/// A call as it came in.
#[derive(Debug)]
pub struct Request {
    /// The client's address.
    pub client: IpAddr,
    /// The client's port; below 1024 only a privileged program of the client's host can have sent the call.
    pub client_port: u16,
    /// The address that the client called.
    pub local: IpAddr,
    /// How it came.
    pub transport: Transport,
    /// The header.
    pub call: Call,
    /// The encoded arguments.
    pub args: Bytes,
    /// Cancelled once the connection is gone. A call that has changed nothing yet must then be given up: its client
    /// repeats it elsewhere, and a late WRITE could overwrite a newer one.
    pub gone: CancellationToken,
}

impl Request {
    /// Waits for `wait`, but no longer than the client is there.
    ///
    /// # Errors
    /// What becomes of the call of a client that is gone.
    pub async fn unless_gone<T>(&self, wait: impl Future<Output = T>) -> Result<T, Outcome> {
        tokio::select! {
            biased;
            done = wait => Ok(done),
            () = self.gone.cancelled() => Err(Outcome::Drop),
        }
    }
}

/// How a call ended.
#[derive(Debug)]
pub enum Outcome {
    /// Send this message.
    Reply(Message),
    /// Send nothing.
    Drop,
    /// Send nothing and close the connection.
    Close,
}

impl Outcome {
    /// The reply that refuses call `xid`.
    pub fn refused(xid: u32, refusal: Refusal) -> Self {
        let mut out = Encoder::with_capacity(64);
        encode_refusal(&mut out, xid, refusal);
        Outcome::Reply(out.finish())
    }
}

/// Runs calls.
pub trait Service: Send + Sync + 'static {
    /// Bytes that the reply to this call may have beyond a small number.
    fn reply_len_max(&self, call: &Call, args: &Bytes) -> usize;
    /// Runs one call. Once begun, it is run to its end even if the connection goes away.
    fn run(&self, request: Request) -> impl Future<Output = Outcome> + Send;
}

/// Serves every connection of `listener` until `cancel`; then closes them all at once, and returns when no call
/// runs any more.
pub async fn serve<S: Service>(listener: TcpListener, service: Arc<S>, cancel: CancellationToken) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let memory = Arc::new(Semaphore::new(LISTENER_KIB_MAX));
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "can't accept a connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&connections).try_acquire_owned() else {
            tracing::warn!("refused a connection: there are {CONNECTIONS_MAX} already");
            continue;
        };
        let (service, memory, cancel) = (Arc::clone(&service), Arc::clone(&memory), cancel.clone());
        tasks.spawn(async move {
            let _place = place;
            if let Err(error) = converse(stream, service, memory, cancel).await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}

/// One connection, from its first to its last byte.
async fn converse<S: Service>(
    stream: TcpStream,
    service: Arc<S>,
    memory: Arc<Semaphore>,
    cancel: CancellationToken,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    let gone = CancellationToken::new();
    let (client, local) = (stream.peer_addr()?, stream.local_addr()?.ip());
    let ends = Ends { client, local, transport: Transport::Tcp, gone: gone.clone() };
    let (reader, writer) = stream.into_split();
    let (replies, queue) = unbounded_channel();
    let writing = tokio::spawn(send(writer, queue, cancel.clone(), gone.clone()));
    let mut intake = Box::pin(intake(reader, Arc::clone(&service), memory));
    let mut running = FuturesUnordered::new();
    let ended = loop {
        let arrived = tokio::select! {
            biased;
            () = cancel.cancelled() => break Ok(()),
            () = gone.cancelled() => break Ok(()),
            Some((outcome, place)) = running.next() => {
                match outcome {
                    Outcome::Reply(message) => drop(replies.send((message, place))),
                    Outcome::Drop => {}
                    Outcome::Close => break Ok(()),
                }
                continue;
            }
            arrived = intake.next() => arrived,
        };
        let (call, args, place) = match arrived {
            Some(Ok(arrival)) => arrival,
            Some(Err(error)) => break Err(error),
            None => break Ok(()),
        };
        let outcome = run(&*service, call, args, &ends);
        running.push(async move { (outcome.await, place) });
    };
    drop(intake);
    // What has begun is finished: a REMOVE that was run must be known as run when the client repeats it.
    gone.cancel();
    while let Some((outcome, place)) = running.next().await {
        if let Outcome::Reply(message) = outcome {
            drop(replies.send((message, place)));
        }
    }
    drop(replies);
    drop(writing.await);
    ended
}

/// Who speaks with whom.
pub(super) struct Ends {
    pub(super) client: SocketAddr,
    pub(super) local: IpAddr,
    pub(super) transport: Transport,
    pub(super) gone: CancellationToken,
}

impl Ends {
    fn request(&self, call: Call, args: Bytes) -> Request {
        Request {
            // A dual-stack socket shows IPv4 clients as ::ffff:a.b.c.d.
            client: self.client.ip().to_canonical(),
            client_port: self.client.port(),
            local: self.local,
            transport: self.transport,
            call,
            args,
            gone: self.gone.clone(),
        }
    }
}

/// Runs one call, or says what becomes of what is none.
pub(super) async fn run<S: Service>(
    service: &S,
    call: Result<Call, CallError>,
    args: Bytes,
    ends: &Ends,
) -> Outcome {
    match call {
        Ok(call) => service.run(ends.request(call, args)).await,
        Err(CallError::NotACall) => Outcome::Close,
        Err(CallError::RpcVersion { xid }) => Outcome::refused(xid, Refusal::RpcMismatch),
        Err(CallError::BadCredential { xid }) => Outcome::refused(xid, Refusal::Auth(AuthStat::BadCred)),
    }
}

/// A call's place among those of its connection; held until its reply is sent.
struct Place {
    _call: OwnedSemaphorePermit,
    _kib: OwnedSemaphorePermit,
    _listener_kib: OwnedSemaphorePermit,
}

type Arrival = (Result<Call, CallError>, Bytes, Place);

/// The calls of a connection, each as soon as there is a place for it.
fn intake<S: Service>(
    reader: OwnedReadHalf,
    service: Arc<S>,
    memory: Arc<Semaphore>,
) -> impl Stream<Item = io::Result<Arrival>> {
    let calls = Arc::new(Semaphore::new(CALLS_MAX));
    let kib = Arc::new(Semaphore::new(CALLS_KIB_MAX as usize));
    stream::try_unfold(RecordReader::new(reader), move |mut records| {
        let (service, memory) = (Arc::clone(&service), Arc::clone(&memory));
        let (calls, kib) = (Arc::clone(&calls), Arc::clone(&kib));
        async move {
            let call_place = calls.acquire_owned().await.map_err(io::Error::other)?;
            let Some(record) = records.next().await? else { return Ok(None) };
            let record_len = record.len();
            let mut input = Decoder::new(record);
            let call = Call::decode(&mut input);
            let args = input.rest().clone();
            let reply_len = call.as_ref().map_or(0, |call| service.reply_len_max(call, &args));
            let want =
                u32::try_from((record_len + reply_len) >> 10).unwrap_or(u32::MAX).min(CALLS_KIB_MAX - 1) + 1;
            let kib_place = kib.acquire_many_owned(want).await.map_err(io::Error::other)?;
            let listener_place = memory.acquire_many_owned(want).await.map_err(io::Error::other)?;
            let place = Place { _call: call_place, _kib: kib_place, _listener_kib: listener_place };
            Ok(Some(((call, args, place), records)))
        }
    })
}

/// Sends replies until there are no more, `cancel`, or the client takes none. The last closes the connection.
async fn send(
    mut writer: OwnedWriteHalf,
    mut queue: UnboundedReceiver<(Message, Place)>,
    cancel: CancellationToken,
    gone: CancellationToken,
) {
    let mut batch = Vec::with_capacity(REPLY_BATCH_MAX);
    loop {
        let received = tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            received = queue.recv_many(&mut batch, REPLY_BATCH_MAX) => received,
        };
        if received == 0 {
            return;
        }
        let (mut messages, places): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
        let written = tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            written = tokio::time::timeout(WRITE_STALL_MAX, write_records(&mut writer, &mut messages)) => written,
        };
        drop(places);
        if !matches!(written, Ok(Ok(()))) {
            gone.cancel();
            return;
        }
    }
}
