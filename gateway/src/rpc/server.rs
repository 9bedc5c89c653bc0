//! Connections of RPC over TCP: takes calls off them, runs those of one connection concurrently, sends the replies
//! as they come. Everything a connection may pin is bounded. Knows no program: a [`Service`] runs the calls, those
//! that come over UDP (`udp.rs`) too.

use super::call::{Call, CallError, Refusal, encode_refusal};
use super::record::RecordReader;
use crate::net::accept::accept_all;
use crate::net::conversation;
use crate::net::ending::Ending;
use crate::net::inflow::Messages;
use crate::net::limits::{Limits, Seat};
use crate::net::places::{Place, Places};
use crate::xdr::{Decoder, Encoder, Message};
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

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
pub type Outcome = conversation::Outcome<Message>;

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

/// Serves every connection of `listener` until `ending`, which says when they are closed, and returns when no call
/// runs any more.
pub async fn serve<S: Service>(
    listener: TcpListener,
    service: Arc<S>,
    limits: Limits,
    ending: impl Into<Ending>,
) {
    let ending = ending.into();
    accept_all(listener, limits, ending.silent.clone(), move |stream, seat| {
        converse(stream, Arc::clone(&service), seat, ending.clone())
    })
    .await;
}

/// One connection, from its first to its last byte.
async fn converse<S: Service>(
    stream: TcpStream,
    service: Arc<S>,
    seat: Arc<Seat>,
    ending: Ending,
) -> io::Result<()> {
    let gone = CancellationToken::new();
    let (client, local) = (stream.peer_addr()?, stream.local_addr()?.ip());
    let ends = Ends { client, local, transport: Transport::Tcp, gone: gone.clone() };
    let (reader, writer) = conversation::split(stream)?;
    let calls = intake(reader, Arc::clone(&service), Arc::clone(&seat));
    let run = |(call, args)| run(&*service, call, args, &ends);
    conversation::converse(writer, &seat, (ending, gone), calls, stream::pending(), run).await
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

type Arrival = ((Result<Call, CallError>, Bytes), Place);

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
            Ok(Some((((call, args), place), records)))
        }
    })
}
