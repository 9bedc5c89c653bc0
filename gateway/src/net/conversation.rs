//! One connection, from its first to its last byte: what arrives is run, concurrently, and what it leads to is sent as it
//! comes.

use super::ending::Ending;
use super::limits::Seat;
use super::outgoing::Outbound;
use super::outlet::Outlet;
use super::places::Place;
use futures_util::future::BoxFuture;
use futures_util::poll;
use futures_util::stream::{FuturesUnordered, Stream, StreamExt};
use socket2::{SockRef, TcpKeepalive};
use std::future::{Future, ready};
use std::io;
use std::task::Poll;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_util::sync::CancellationToken;

/// A connection that says nothing for so long is probed.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// What a message leads to.
pub enum Outcome<M> {
    /// Send this.
    Reply(M),
    /// Send nothing: the caller asks again, or wants no answer.
    Drop,
    /// Close the connection.
    Close,
    /// Send this now; the rest comes when it comes, and until then the message takes up nobody's place.
    Later(M, BoxFuture<'static, Outcome<M>>),
}

impl<M: std::fmt::Debug> std::fmt::Debug for Outcome<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Outcome::Reply(reply) => write!(f, "Reply({reply:?})"),
            Outcome::Drop => write!(f, "Drop"),
            Outcome::Close => write!(f, "Close"),
            Outcome::Later(now, _) => write!(f, "Later({now:?})"),
        }
    }
}

/// Sets a connection up and takes its two halves apart.
pub(crate) fn split(stream: TcpStream) -> io::Result<(OwnedReadHalf, OwnedWriteHalf)> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream.into_split())
}

/// Ends when the client is gone, an outcome says so, or at `ending`; what has begun is run to its end first. `gone` is
/// cancelled then: whoever waits for others gives up. `unasked`: what is sent without a message that asks for it.
pub(crate) async fn converse<M, A, F>(
    writer: OwnedWriteHalf,
    seat: &Seat,
    (ending, gone): (Ending, CancellationToken),
    arrivals: impl Stream<Item = io::Result<(A, Place)>>,
    unasked: impl Stream<Item = M>,
    run: impl Fn(A) -> F,
) -> io::Result<()>
where
    M: Outbound + Send + 'static,
    F: Future<Output = Outcome<M>> + Send,
{
    let mut outlet: Outlet<M, Option<Place>> =
        Outlet::new(writer, seat.stall(), ending.silent.clone(), gone.clone());
    let mut arrivals = Box::pin(arrivals);
    let mut unasked = std::pin::pin!(unasked);
    let mut running: FuturesUnordered<BoxFuture<'_, (Outcome<M>, Option<Place>)>> = FuturesUnordered::new();
    let ended = loop {
        let (outcome, place) = tokio::select! {
            biased;
            () = ending.silent.cancelled() => break Ok(()),
            () = gone.cancelled() => break Ok(()),
            Some(ended) = running.next() => ended,
            Some(message) = unasked.next() => (Outcome::Reply(message), None),
            arrived = arrivals.next() => {
                let (arrival, place) = match arrived {
                    Some(Ok(arrival)) => arrival,
                    Some(Err(error)) => break Err(error),
                    None => break Ok(()),
                };
                let outcome = run(arrival);
                let mut run: BoxFuture<'_, _> = Box::pin(async move { (outcome.await, Some(place)) });
                // Most messages wait for nothing.
                match poll!(run.as_mut()) {
                    Poll::Ready(ended) => ended,
                    Poll::Pending => {
                        running.push(run);
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
            Outcome::Later(message, rest) => {
                outlet.push(message, place);
                running.push(Box::pin(async move { (rest.await, None) }));
            }
        }
    };
    drop(arrivals);
    // What has begun is finished: a REMOVE that was run must be known as run when the client repeats it.
    gone.cancel();
    while let Some((outcome, place)) = running.next().await {
        match outcome {
            Outcome::Reply(message) => outlet.push(message, place),
            Outcome::Drop | Outcome::Close => {}
            Outcome::Later(_, rest) => running.push(Box::pin(async move { (rest.await, None) })),
        }
    }
    if let Some(socket) = outlet.finish().await {
        ending.part(socket);
    }
    ended
}
