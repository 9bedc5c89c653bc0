//! RPC over UDP (RFC 5531 §5.1): one call in a datagram, one reply in another, sent from the address that was called.
//!
//! Anybody can write any client's address on a datagram, so a reply has a small bound: a socket is no lever against
//! others. What waits is bounded too; what finds no place is dropped, and its client asks again. Knows no program: a
//! [`Service`] runs the calls.

use super::call::{Call, CallError, Refusal, encode_refusal};
use super::server::{Ends, Outcome, Service, Transport, run};
use crate::xdr::{Decoder, Encoder, Message};
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

/// Longest call, in bytes: what clients send at most (`UDPMSGSIZE` of their RPC libraries).
pub const CALL_LEN_MAX: usize = 8800;
/// Longest reply, in bytes. A call with a longer one gets `SYSTEM_ERR`: it is to come over TCP.
pub const REPLY_LEN_MAX: usize = 4096;
/// Calls of one socket that run.
const CALLS_MAX: usize = 128;
/// Calls of one client address among them.
const CLIENT_CALLS_MAX: usize = 32;
/// Pause after a socket error.
const RECEIVE_RETRY: Duration = Duration::from_millis(50);

/// Which call it is: a client that hears nothing sends it again.
type CallId = (SocketAddr, u32);

/// Answers the calls that come to `socket` until `cancel`; returns when none runs any more. The socket is to be bound
/// to one address, from which the replies then come.
///
/// # Errors
/// Where the socket has no address.
pub async fn serve<S: Service>(
    socket: UdpSocket,
    service: Arc<S>,
    cancel: CancellationToken,
) -> io::Result<()> {
    let local = socket.local_addr()?.ip();
    let gone = CancellationToken::new();
    let mut buffer = vec![0; CALL_LEN_MAX + 1];
    let mut known: HashSet<CallId> = HashSet::with_capacity(CALLS_MAX);
    let mut running = FuturesUnordered::new();
    loop {
        let received = tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            Some((id, outcome)) = running.next() => {
                known.remove(&id);
                reply(&socket, id, outcome).await;
                continue;
            }
            received = socket.recv_from(&mut buffer) => received,
        };
        let (len, client) = match received {
            Ok(received) => received,
            // The ICMP answer to an earlier reply shows up here; it says nothing about the next call.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
            Err(error) => {
                tracing::warn!(%error, "can't receive a datagram");
                tokio::time::sleep(RECEIVE_RETRY).await;
                continue;
            }
        };
        let Some((id, call, args)) = take(&buffer[..len], client, &known) else { continue };
        known.insert(id);
        let ends = Ends { client, local, transport: Transport::Udp, gone: gone.clone() };
        let service = &*service;
        running.push(async move { (id, run(service, call, args, &ends).await) });
    }
    // What has begun is finished, what still waits gives up.
    gone.cancel();
    while let Some((id, outcome)) = running.next().await {
        reply(&socket, id, outcome).await;
    }
    Ok(())
}

type Arrival = (CallId, Result<Call, CallError>, Bytes);

/// The call in a datagram; `None` if there is none, it runs already, or there is no place for it.
fn take(datagram: &[u8], client: SocketAddr, known: &HashSet<CallId>) -> Option<Arrival> {
    // Every RPC message begins with its xid.
    let xid = u32::from_be_bytes(*datagram.first_chunk()?);
    let id = (client, xid);
    let of_client = || known.iter().filter(|(other, _)| other.ip() == client.ip()).count();
    if datagram.len() > CALL_LEN_MAX
        || known.len() >= CALLS_MAX
        || known.contains(&id)
        || of_client() >= CLIENT_CALLS_MAX
    {
        tracing::debug!(%client, len = datagram.len(), "a datagram was dropped");
        return None;
    }
    let mut input = Decoder::new(Bytes::copy_from_slice(datagram));
    let call = Call::decode(&mut input);
    Some((id, call, input.rest().clone()))
}

async fn reply(socket: &UdpSocket, (client, xid): CallId, outcome: Outcome) {
    let message = match outcome {
        Outcome::Reply(message) if message.len() <= REPLY_LEN_MAX => message,
        Outcome::Reply(message) => {
            tracing::debug!(%client, len = message.len(), "a reply was too long for a datagram");
            refusal(xid, Refusal::SystemErr)
        }
        // No call of RPC is answered twice.
        Outcome::Drop | Outcome::Close | Outcome::Later(..) => return,
    };
    // A reply that can't be sent is lost, as UDP may lose any: the client asks again.
    if let Err(error) = socket.send_to(&message.into_bytes(), client).await {
        tracing::debug!(%client, %error, "a reply was not sent");
    }
}

fn refusal(xid: u32, refusal: Refusal) -> Message {
    let mut out = Encoder::with_capacity(64);
    encode_refusal(&mut out, xid, refusal);
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::call::encode_success;
    use crate::rpc::server::Request;
    use tokio::sync::Semaphore;

    const PATIENCE: Duration = Duration::from_secs(10);
    /// What a procedure of [`Echo`] does.
    const ECHO: u32 = 1;
    const WAIT: u32 = 2;
    const LONG: u32 = 3;

    /// Repeats the arguments, at once or when it is let to; or says more than a datagram holds.
    struct Echo {
        let_go: Semaphore,
        begun: Semaphore,
    }

    impl Service for Echo {
        fn reply_len_max(&self, _: &Call, _: &Bytes) -> usize {
            0
        }

        async fn run(&self, request: Request) -> Outcome {
            assert_eq!(request.transport, Transport::Udp);
            self.begun.add_permits(1);
            if request.call.proc == WAIT {
                tokio::select! {
                    permit = self.let_go.acquire() => permit.unwrap().forget(),
                    () = request.gone.cancelled() => return Outcome::Drop,
                }
            }
            let mut out = Encoder::with_capacity(64);
            encode_success(&mut out, request.call.xid);
            out.opaque(&request.args);
            if request.call.proc == LONG {
                out.opaque(&[0; REPLY_LEN_MAX]);
            }
            Outcome::Reply(out.finish())
        }
    }

    struct Running {
        echo: Arc<Echo>,
        address: SocketAddr,
        cancel: CancellationToken,
        serving: tokio::task::JoinHandle<io::Result<()>>,
    }

    async fn running() -> Running {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let echo = Arc::new(Echo { let_go: Semaphore::new(0), begun: Semaphore::new(0) });
        let cancel = CancellationToken::new();
        let serving = tokio::spawn(serve(socket, Arc::clone(&echo), cancel.clone()));
        Running { echo, address, cancel, serving }
    }

    fn call(xid: u32, proc: u32) -> Vec<u8> {
        [xid, 0, 2, 7, 1, proc, 0, 0, 0, 0, 0xabcd].iter().flat_map(|word: &u32| word.to_be_bytes()).collect()
    }

    /// The words of the next reply.
    async fn answer(client: &UdpSocket) -> Vec<u32> {
        let mut buffer = vec![0; CALL_LEN_MAX];
        let len = tokio::time::timeout(PATIENCE, client.recv(&mut buffer)).await.unwrap().unwrap();
        buffer[..len].chunks(4).map(|word| u32::from_be_bytes(*word.first_chunk().unwrap())).collect()
    }

    async fn client(server: &Running) -> UdpSocket {
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(server.address).await.unwrap();
        client
    }

    async fn begun(server: &Running, calls: u32) {
        let begun = server.echo.begun.acquire_many(calls);
        tokio::time::timeout(PATIENCE, begun).await.unwrap().unwrap().forget();
    }

    #[tokio::test]
    async fn a_call_is_answered_and_noise_is_not() {
        let server = running().await;
        let client = client(&server).await;
        client.send(b"?").await.unwrap();
        client.send(&[0; CALL_LEN_MAX + 1]).await.unwrap();
        // A reply is no call.
        client.send(&[0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0]).await.unwrap();
        client.send(&call(9, ECHO)).await.unwrap();
        assert_eq!(answer(&client).await, [9, 1, 0, 0, 0, 0, 4, 0xabcd]);
        // Another RPC version.
        let mut newer = call(10, ECHO);
        newer[11] = 3;
        client.send(&newer).await.unwrap();
        assert_eq!(answer(&client).await, [10, 1, 1, 0, 2, 2]);
        server.cancel.cancel();
        server.serving.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_reply_that_is_too_long_is_to_come_over_tcp() {
        let server = running().await;
        let client = client(&server).await;
        client.send(&call(3, LONG)).await.unwrap();
        assert_eq!(answer(&client).await, [3, 1, 0, 0, 0, 5]);
    }

    #[tokio::test]
    async fn a_call_that_runs_is_not_run_again_and_holds_back_no_other() {
        let server = running().await;
        let client = client(&server).await;
        for _ in 0..3 {
            client.send(&call(1, WAIT)).await.unwrap();
        }
        client.send(&call(2, ECHO)).await.unwrap();
        assert_eq!(answer(&client).await[0], 2);
        server.echo.let_go.add_permits(1);
        assert_eq!(answer(&client).await[0], 1);
        begun(&server, 2).await;
        assert_eq!(server.echo.begun.available_permits(), 0);
    }

    #[tokio::test]
    async fn one_address_has_so_many_calls_and_what_waits_gives_up_at_the_end() {
        let server = running().await;
        let client = client(&server).await;
        let most = u32::try_from(CLIENT_CALLS_MAX).unwrap();
        for xid in 0..most + 5 {
            client.send(&call(xid, WAIT)).await.unwrap();
        }
        begun(&server, most).await;
        client.send(&call(1000, ECHO)).await.unwrap();
        // Calls of another address find room.
        let other = UdpSocket::bind("127.0.0.2:0").await.unwrap();
        other.send_to(&call(7, ECHO), server.address).await.unwrap();
        assert_eq!(answer(&other).await[0], 7);
        begun(&server, 1).await;
        assert_eq!(server.echo.begun.available_permits(), 0);
        server.cancel.cancel();
        tokio::time::timeout(PATIENCE, server.serving).await.unwrap().unwrap().unwrap();
    }
}
