//! What clients may take of a listener: connections, memory, patience. One client can't take it all, however it behaves.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Limits of one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of all clients.
    pub connections: usize,
    /// Connections of one client address.
    pub client_connections: usize,
    /// How long a connection may say nothing at all before its first call, stop in the middle of a call, or take no
    /// reply.
    pub stall: Duration,
    /// KiB of all connections' calls and replies that were received and not sent.
    pub kib: usize,
    /// KiB of those of one client address.
    pub client_kib: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: 1024,
            client_connections: 256,
            stall: Duration::from_secs(60),
            kib: 1 << 20,
            client_kib: 1 << 18,
        }
    }
}

/// Who is connected to a listener.
#[derive(Debug)]
pub(crate) struct Clients {
    limits: Limits,
    kib: Arc<Semaphore>,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    connections: usize,
    clients: HashMap<IpAddr, Of>,
}

/// What one client has.
#[derive(Debug)]
struct Of {
    connections: usize,
    kib: Arc<Semaphore>,
}

/// A connection's place. Given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    clients: Arc<Clients>,
    client: IpAddr,
    /// Memory of the client.
    pub(crate) client_kib: Arc<Semaphore>,
}

/// Why a client gets no seat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Full {
    /// The listener has no room.
    Listener,
    /// The client has too many.
    Client,
}

impl Clients {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        let kib = Arc::new(Semaphore::new(limits.kib));
        Arc::new(Clients { limits, kib, table: Mutex::default() })
    }

    /// A place for one more connection of `client`.
    pub(crate) fn sit(self: &Arc<Self>, client: IpAddr) -> Result<Seat, Full> {
        let mut table = self.table.lock();
        if table.connections >= self.limits.connections {
            return Err(Full::Listener);
        }
        let of = table
            .clients
            .entry(client)
            .or_insert_with(|| Of { connections: 0, kib: Arc::new(Semaphore::new(self.limits.client_kib)) });
        if of.connections >= self.limits.client_connections {
            return Err(Full::Client);
        }
        of.connections += 1;
        let client_kib = Arc::clone(&of.kib);
        table.connections += 1;
        Ok(Seat { clients: Arc::clone(self), client, client_kib })
    }
}

impl Seat {
    /// Memory of all clients. Taken after that of the client, so that who waits for its own holds none of it.
    pub(crate) fn kib(&self) -> &Arc<Semaphore> {
        &self.clients.kib
    }

    pub(crate) fn stall(&self) -> Duration {
        self.clients.limits.stall
    }

    /// The most KiB that one call may want.
    pub(crate) fn call_kib_max(&self) -> u32 {
        let most = self.clients.limits.client_kib.min(self.clients.limits.kib);
        u32::try_from(most).unwrap_or(u32::MAX)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut table = self.clients.table.lock();
        table.connections -= 1;
        if let Some(of) = table.clients.get_mut(&self.client) {
            of.connections -= 1;
            if of.connections == 0 {
                table.clients.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::call::{Call, encode_success};
    use crate::rpc::server::{self, Outcome, Request, Service};
    use crate::xdr::Encoder;
    use bytes::Bytes;
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpSocket, TcpStream};
    use tokio_util::sync::CancellationToken;

    const PATIENCE: Duration = Duration::from_secs(20);
    const REPLY_LEN: usize = 256 << 10;

    /// Answers procedure 1 with a large reply and others with nothing.
    struct Large;

    impl Service for Large {
        fn reply_len_max(&self, call: &Call, _: &Bytes) -> usize {
            if call.proc == 1 { REPLY_LEN } else { 0 }
        }

        async fn run(&self, request: Request) -> Outcome {
            let mut out = Encoder::with_capacity(64);
            encode_success(&mut out, request.call.xid);
            if request.call.proc == 1 {
                out.opaque(&vec![0; REPLY_LEN]);
            }
            Outcome::Reply(out.finish())
        }
    }

    struct Running {
        address: SocketAddr,
        cancel: CancellationToken,
        serving: tokio::task::JoinHandle<()>,
    }

    async fn running(limits: Limits) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cancel = CancellationToken::new();
        let serving = tokio::spawn(server::serve(listener, Arc::new(Large), limits, cancel.clone()));
        Running { address, cancel, serving }
    }

    fn record(xid: u32, proc: u32) -> Vec<u8> {
        let call = [0x8000_0028, xid, 0, 2, 7, 1, proc, 0, 0, 0, 0];
        call.iter().flat_map(|word: &u32| word.to_be_bytes()).collect()
    }

    /// Whether the small reply to a NULL call comes.
    async fn answered(stream: &mut TcpStream) -> bool {
        let mut reply = [0; 28];
        stream.write_all(&record(1, 0)).await.is_ok()
            && tokio::time::timeout(PATIENCE, stream.read_exact(&mut reply)).await.unwrap().is_ok()
    }

    /// Returns once the server has closed the connection.
    async fn closed(stream: &mut TcpStream) {
        let mut all = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("still open");
    }

    async fn connect_from(from: &str, to: SocketAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(from.parse().unwrap()).unwrap();
        socket.connect(to).await.unwrap()
    }

    #[tokio::test]
    async fn silent_connections_and_half_calls_are_closed_and_idle_clients_are_not() {
        let server = running(Limits { stall: Duration::from_millis(100), ..Limits::default() }).await;
        let mut good = TcpStream::connect(server.address).await.unwrap();
        assert!(answered(&mut good).await);
        let mut silent = TcpStream::connect(server.address).await.unwrap();
        let mut half = TcpStream::connect(server.address).await.unwrap();
        half.write_all(&record(1, 0)[..20]).await.unwrap();
        // It was good for a while.
        let mut later = TcpStream::connect(server.address).await.unwrap();
        assert!(answered(&mut later).await);
        later.write_all(&record(1, 0)[..3]).await.unwrap();
        for stream in [&mut silent, &mut half, &mut later] {
            closed(stream).await;
        }
        // All that time without a call.
        assert!(answered(&mut good).await);
        server.cancel.cancel();
        server.serving.await.unwrap();
    }

    #[tokio::test]
    async fn a_client_that_takes_no_replies_loses_its_connection_and_holds_up_nobody() {
        let limits = Limits {
            stall: Duration::from_millis(200),
            client_connections: 4,
            client_kib: 4096,
            kib: 8192,
            ..Limits::default()
        };
        let server = running(limits).await;
        let mut greedy = Vec::new();
        for _ in 0..4 {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            for xid in 0..100 {
                stream.write_all(&record(xid, 1)).await.unwrap();
            }
            greedy.push(stream);
        }
        // Another address is served while they are there, and after.
        let mut other = connect_from("127.0.0.2:0", server.address).await;
        for _ in 0..20 {
            assert!(answered(&mut other).await);
        }
        // Its own connections find room again once all of those are closed.
        let room = async {
            loop {
                let mut fresh = Vec::new();
                for _ in 0..4 {
                    let mut stream = TcpStream::connect(server.address).await.unwrap();
                    fresh.push(answered(&mut stream).await.then_some(stream));
                }
                if fresh.iter().all(Option::is_some) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, room).await.expect("still connected");
        assert!(answered(&mut other).await);
        drop(greedy);
    }

    #[tokio::test]
    async fn one_client_has_so_many_connections_and_all_have_so_many() {
        let limits = Limits { connections: 3, client_connections: 2, ..Limits::default() };
        let server = running(limits).await;
        let mut first = TcpStream::connect(server.address).await.unwrap();
        let mut second = TcpStream::connect(server.address).await.unwrap();
        assert!(answered(&mut first).await && answered(&mut second).await);
        let mut third = TcpStream::connect(server.address).await.unwrap();
        assert!(!answered(&mut third).await, "a third one of that client");
        let mut other = connect_from("127.0.0.2:0", server.address).await;
        assert!(answered(&mut other).await);
        let mut another = connect_from("127.0.0.3:0", server.address).await;
        assert!(!answered(&mut another).await, "a fourth one in all");
        drop(first);
        let again = async {
            while !answered(&mut TcpStream::connect(server.address).await.unwrap()).await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, again).await.unwrap();
    }
}
