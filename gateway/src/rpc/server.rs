//! Connections of RPC over TCP: takes calls off them, runs those of one connection concurrently, sends the replies
//! as they come. Everything a connection may pin is bounded. Knows no program: a [`Service`] runs the calls, those
//! that come over UDP (`udp.rs`) too.

use super::call::{Call, CallError, Refusal, encode_refusal};
use super::record::RecordReader;
use crate::net::inflow::Messages;
use crate::net::limits::{Clients, Limits, Seat};
use crate::net::outlet::Outlet;
use crate::net::places::{Place, Places};
use crate::xdr::{Decoder, Encoder, Message};
use bytes::Bytes;
use futures_util::poll;
use futures_util::stream::{self, FuturesUnordered, Stream, StreamExt};
use socket2::{SockRef, TcpKeepalive};
use std::future::{Future, ready};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const KEEPALIVE: Duration = Duration::from_secs(30);
/// Between two lines of log about connections that were refused.
const REFUSAL_WARN_INTERVAL: Duration = Duration::from_secs(10);
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
pub async fn serve<S: Service>(
    listener: TcpListener,
    service: Arc<S>,
    limits: Limits,
    cancel: CancellationToken,
) {
    let clients = Clients::new(limits);
    let mut told = None;
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, client) = match accepted {
            Ok((stream, client)) => (stream, client.ip().to_canonical()),
            Err(error) => {
                tracing::warn!(%error, "can't accept a connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let seat = match clients.sit(client) {
            Ok(seat) => Arc::new(seat),
            Err(full) => {
                // Whoever tries again and again is not to fill the log.
                if told.is_none_or(|told: Instant| told.elapsed() > REFUSAL_WARN_INTERVAL) {
                    told = Some(Instant::now());
                    tracing::warn!(%client, ?full, "refused a connection: there are too many already");
                }
                continue;
            }
        };
        let (service, cancel) = (Arc::clone(&service), cancel.clone());
        tasks.spawn(async move {
            if let Err(error) = converse(stream, service, seat, cancel).await {
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
    seat: Arc<Seat>,
    cancel: CancellationToken,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    let gone = CancellationToken::new();
    let (client, local) = (stream.peer_addr()?, stream.local_addr()?.ip());
    let ends = Ends { client, local, transport: Transport::Tcp, gone: gone.clone() };
    let (reader, writer) = stream.into_split();
    let mut outlet = Outlet::new(writer, seat.stall(), cancel.clone(), gone.clone());
    let mut intake = Box::pin(intake(reader, Arc::clone(&service), seat));
    let mut running = FuturesUnordered::new();
    let ended = loop {
        let (outcome, place) = tokio::select! {
            biased;
            () = cancel.cancelled() => break Ok(()),
            () = gone.cancelled() => break Ok(()),
            Some(ended) = running.next() => ended,
            arrived = intake.next() => {
                let (call, args, place) = match arrived {
                    Some(Ok(arrival)) => arrival,
                    Some(Err(error)) => break Err(error),
                    None => break Ok(()),
                };
                let outcome = run(&*service, call, args, &ends);
                let mut call = Box::pin(async move { (outcome.await, place) });
                // Most calls wait for nothing.
                match poll!(call.as_mut()) {
                    Poll::Ready(ended) => ended,
                    Poll::Pending => {
                        running.push(call);
                        continue;
                    }
                }
            }
            // Nothing else can be done at once: what is ready goes out together.
            () = ready(()), if !outlet.is_empty() => {
                outlet.flush();
                continue;
            }
        };
        match outcome {
            Outcome::Reply(message) => outlet.push(message, place),
            Outcome::Drop => {}
            Outcome::Close => break Ok(()),
        }
    };
    drop(intake);
    // What has begun is finished: a REMOVE that was run must be known as run when the client repeats it.
    gone.cancel();
    while let Some((outcome, place)) = running.next().await {
        if let Outcome::Reply(message) = outcome {
            outlet.push(message, place);
        }
    }
    outlet.finish().await;
    ended
}

/// Who speaks with whom.
pub(crate) struct Ends {
    pub(crate) client: SocketAddr,
    pub(crate) local: IpAddr,
    pub(crate) transport: Transport,
    pub(crate) gone: CancellationToken,
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
pub(crate) async fn run<S: Service>(
    service: &S,
    call: Result<Call, CallError>,
    args: Bytes,
    ends: &Ends,
) -> Outcome {
    match call {
        Ok(call) => service.run(ends.request(call, args)).await,
        Err(CallError::NotACall) => Outcome::Close,
        Err(CallError::RpcVersion { xid }) => Outcome::refused(xid, Refusal::RpcMismatch),
        Err(CallError::BadAuth { xid, stat }) => Outcome::refused(xid, Refusal::Auth(stat)),
    }
}

type Arrival = (Result<Call, CallError>, Bytes, Place);

/// The calls of a connection, each as soon as there is a place for it.
fn intake<S: Service>(
    reader: OwnedReadHalf,
    service: Arc<S>,
    seat: Arc<Seat>,
) -> impl Stream<Item = io::Result<Arrival>> {
    let stall = seat.stall();
    let places = Places::new(seat);
    stream::try_unfold(RecordReader::new(reader), move |mut records| {
        let (service, places) = (Arc::clone(&service), places.clone());
        async move {
            let turn = places.turn().await?;
            let Some(record) = records.next_within(stall).await? else { return Ok(None) };
            let record_len = record.len();
            let mut input = Decoder::new(record);
            let call = Call::decode(&mut input);
            let args = input.rest().clone();
            let reply_len = call.as_ref().map_or(0, |call| service.reply_len_max(call, &args));
            let place = places.place(turn, record_len + reply_len).await?;
            Ok(Some(((call, args, place), records)))
        }
    })
}
