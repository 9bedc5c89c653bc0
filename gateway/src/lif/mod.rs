//! Logical interfaces: bringing an address with its endpoints up, and taking it down at once.
//!
//! What is served on the endpoints is the caller's: this file knows no protocol. It changes no records.

mod address;
mod announce;

use crate::net::ending::Ending;
use crate::store::LifRecord;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, UdpSocket};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long binding is tried again: the last holder of the address may only just have let go of it.
const BIND_PATIENCE: Duration = Duration::from_secs(5);
const BIND_PAUSE: Duration = Duration::from_millis(20);
/// How long a server may take to end after it was cancelled.
const DOWN_PATIENCE: Duration = Duration::from_secs(2);
const BACKLOG: u32 = 1024;

/// Between two attempts to get a UDP port.
const DATAGRAM_PAUSE: Duration = Duration::from_millis(500);

/// Where calls come in, bound to a port of the LIF's address.
#[derive(Debug)]
pub enum Endpoint {
    /// Connections.
    Tcp(TcpListener),
    /// Datagrams.
    Udp(UdpSocket),
}

/// Serves one endpoint until it ends; then nothing comes from it or its connections any more when it returns.
pub type Serve = Arc<dyn Fn(Endpoint, Ending) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// Why a LIF is not up.
#[derive(Debug, thiserror::Error)]
pub enum LifError {
    /// The address could not be given to the network interface.
    #[error("cannot add {address} to interface {interface}: {error}")]
    Address {
        /// The address.
        address: IpAddr,
        /// The interface.
        interface: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// A port could not be had.
    #[error("cannot listen on {address}: {error}{}", hint(.error))]
    Bind {
        /// Where.
        address: SocketAddr,
        /// What the kernel said.
        error: io::Error,
    },
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            " (ports below 1024 need privileges: choose others with --nfs-port, --mount-port, --portmap-port and --smb-port)"
        }
        io::ErrorKind::AddrNotAvailable => {
            " (this host does not have the address: name an --interface to put it on)"
        }
        _ => "",
    }
}

/// A LIF that is up. Dropped without [`LifUp::down`], its listeners close but the address stays on the host.
#[derive(Debug)]
pub struct LifUp {
    ending: Ending,
    /// What serves the endpoints, and what announces the address.
    servers: Vec<JoinHandle<()>>,
    /// What serves SMB, which comes and goes while the LIF is up.
    smb: Option<SmbServer>,
    added: Option<address::Added>,
}

/// What serves the SMB port of a LIF.
#[derive(Debug)]
pub struct SmbServer {
    ending: Ending,
    server: JoinHandle<()>,
}

impl SmbServer {
    /// Closes the port and its connections. Returns when that is done.
    pub async fn end(self) {
        self.ending.close();
        wait_for(vec![self.server]).await;
    }
}

impl Drop for LifUp {
    fn drop(&mut self) {
        self.ending.silent.cancel();
    }
}

/// Adds the address where the LIF names an interface, binds all ports and serves them.
///
/// # Errors
/// [`LifError`]; nothing stays up then.
pub async fn up(lif: &LifRecord, serve: &Serve) -> Result<LifUp, LifError> {
    let ip = lif.address.addr();
    let added = match &lif.interface {
        Some(interface) if !ip.is_loopback() => {
            Some(address::add(lif.address, interface).await.map_err(|error| LifError::Address {
                address: ip,
                interface: interface.clone(),
                error,
            })?)
        }
        _ => None,
    };
    let mut up = LifUp { ending: Ending::default(), servers: Vec::new(), smb: None, added };
    for port in lif.ports.tcp() {
        let address = SocketAddr::new(ip, port);
        match bind(address).await {
            Ok(listener) => {
                up.servers.push(tokio::spawn(serve(Endpoint::Tcp(listener), up.ending.clone())));
            }
            Err(error) => {
                up.down().await;
                return Err(LifError::Bind { address, error });
            }
        }
    }
    for port in lif.ports.udp() {
        let (serve, ending) = (Arc::clone(serve), up.ending.clone());
        up.servers.push(tokio::spawn(datagrams(SocketAddr::new(ip, port), serve, ending)));
    }
    // Only now: whoever is led here finds somebody who listens.
    if let Some(link) = up.added.as_ref().and_then(|added| added.link) {
        up.servers.push(tokio::spawn(announce::announce(ip, link, up.ending.silent.clone())));
    }
    tracing::info!(vserver = lif.vserver, lif = lif.name, address = %ip, "LIF up");
    Ok(up)
}

impl LifUp {
    /// Closes listeners and connections and takes the address off the host. Returns when that is done; a server
    /// that does not end in time is dropped.
    pub async fn down(self) {
        self.ending.closed.cancel();
        self.hand_over().await;
    }

    /// The same for an address that another node is about to serve: connections fall silent, and are closed when that node does and
    /// what this gives is cancelled.
    pub async fn hand_over(mut self) -> CancellationToken {
        self.ending.silent.cancel();
        let mut servers = std::mem::take(&mut self.servers);
        servers.extend(self.take_smb().map(|smb| smb.server));
        wait_for(servers).await;
        if let Some(added) = self.added.take()
            && let Err(error) = address::remove(&added).await
        {
            tracing::warn!(%error, "cannot take an address off its interface");
        }
        self.ending.closed.clone()
    }

    /// Whether the SMB port is served.
    pub fn serves_smb(&self) -> bool {
        self.smb.is_some()
    }

    /// Serves the SMB port, from here on and until it is taken out again or the LIF goes down.
    pub fn serve_smb(&mut self, listener: TcpListener, serve: &Serve) {
        let ending = self.ending.child();
        let server = tokio::spawn(serve(Endpoint::Tcp(listener), ending.clone()));
        self.smb = Some(SmbServer { ending, server });
    }

    /// Takes out what serves the SMB port, to be ended.
    pub fn take_smb(&mut self) -> Option<SmbServer> {
        self.smb.take()
    }
}

/// Waits until servers that were cancelled have ended; who does not in time is dropped.
async fn wait_for(servers: Vec<JoinHandle<()>>) {
    let deadline = tokio::time::Instant::now() + DOWN_PATIENCE;
    for server in servers {
        let abort = server.abort_handle();
        if tokio::time::timeout_at(deadline, server).await.is_err() {
            tracing::warn!("a server did not end in time when its LIF went down");
            abort.abort();
        }
    }
}

/// Listens on a port of an address that is up.
///
/// # Errors
/// [`LifError::Bind`]
pub fn listen(address: SocketAddr) -> Result<TcpListener, LifError> {
    try_bind(address).map_err(|error| LifError::Bind { address, error })
}

async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let deadline = tokio::time::Instant::now() + BIND_PATIENCE;
    loop {
        match try_bind(address) {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse && tokio::time::Instant::now() < deadline =>
            {
                tokio::time::sleep(BIND_PAUSE).await;
            }
            result => return result,
        }
    }
}

fn try_bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Connections of the last holder may linger in TIME_WAIT; they must not keep the address.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves a UDP port. Another program may hold just that one, be it for a moment; clients that ask over TCP must not
/// suffer from it, so the LIF is up without and this tries again.
async fn datagrams(address: SocketAddr, serve: Serve, ending: Ending) {
    let bind = async {
        let mut told = false;
        loop {
            match UdpSocket::bind(address).await {
                Ok(socket) => return socket,
                Err(error) if !std::mem::replace(&mut told, true) => {
                    tracing::warn!(%address, %error, "nothing is answered over UDP for now");
                }
                Err(_) => {}
            }
            tokio::time::sleep(DATAGRAM_PAUSE).await;
        }
    };
    let Some(socket) = ending.silent.run_until_cancelled(bind).await else { return };
    serve(Endpoint::Udp(socket), ending.clone()).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::LifPorts;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpStream;

    /// Accepts and holds connections until cancelled.
    fn holder() -> Serve {
        Arc::new(|endpoint, ending| {
            Box::pin(async move {
                let listener = match endpoint {
                    Endpoint::Tcp(listener) => listener,
                    Endpoint::Udp(socket) => return echo(socket, ending.silent).await,
                };
                let mut held = Vec::new();
                loop {
                    tokio::select! {
                        () = ending.silent.cancelled() => return,
                        accepted = listener.accept() => held.extend(accepted.ok()),
                    }
                }
            })
        })
    }

    async fn echo(socket: UdpSocket, cancel: CancellationToken) {
        let mut buffer = [0; 64];
        while let Some(received) = cancel.run_until_cancelled(socket.recv_from(&mut buffer)).await {
            let (len, client) = received.unwrap();
            socket.send_to(&buffer[..len], client).await.unwrap();
        }
    }

    fn lif(address: &str, port: u16) -> LifRecord {
        LifRecord {
            vserver: "vs".to_owned(),
            name: "lif1".to_owned(),
            address: crate::vserver::parse_client(address).unwrap(),
            interface: None,
            home: "n".to_owned(),
            ports: LifPorts { nfs: port, mount: port + 1, portmap: 0, ..LifPorts::default() },
        }
    }

    #[tokio::test]
    async fn a_lif_that_goes_down_ends_its_connections_and_frees_its_ports() {
        let lif = lif("127.91.3.7", 33_049);
        let first = up(&lif, &holder()).await.unwrap();
        let mut client = TcpStream::connect("127.91.3.7:33049").await.unwrap();
        first.down().await;
        assert_eq!(client.read(&mut [0; 1]).await.unwrap_or(0), 0);
        assert!(TcpStream::connect("127.91.3.7:33050").await.is_err());
        let again = up(&lif, &holder()).await.unwrap();
        TcpStream::connect("127.91.3.7:33050").await.unwrap();
        again.down().await;
    }

    #[tokio::test]
    async fn bringing_a_lif_up_waits_for_the_last_holder() {
        let lif = lif("127.91.3.8", 33_059);
        let first = up(&lif, &holder()).await.unwrap();
        let second = tokio::spawn({
            let lif = lif.clone();
            async move { up(&lif, &holder()).await }
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!second.is_finished());
        first.down().await;
        second.await.unwrap().unwrap().down().await;
    }

    #[tokio::test]
    async fn a_lif_is_up_without_a_udp_port_that_another_holds_and_gets_it_later() {
        let taken = UdpSocket::bind("127.91.3.9:33080").await.unwrap();
        // MOUNT's port is one above.
        let lif = up(&lif("127.91.3.9", 33_079), &holder()).await.unwrap();
        TcpStream::connect("127.91.3.9:33080").await.unwrap();
        drop(taken);
        let client = UdpSocket::bind("127.91.3.9:0").await.unwrap();
        let asking = async {
            loop {
                client.send_to(b"here?", "127.91.3.9:33080").await.unwrap();
                let mut answer = [0; 8];
                let patience = Duration::from_millis(100);
                if let Ok(Ok(len)) = tokio::time::timeout(patience, client.recv(&mut answer)).await {
                    return answer[..len].to_vec();
                }
            }
        };
        assert_eq!(tokio::time::timeout(Duration::from_secs(10), asking).await.unwrap(), b"here?");
        lif.down().await;
        UdpSocket::bind("127.91.3.9:33080").await.unwrap();
        UdpSocket::bind("127.91.3.9:33079").await.unwrap();
    }

    #[tokio::test]
    async fn an_address_that_the_host_has_not_got_is_explained() {
        let error = up(&lif("192.0.2.1", 33_069), &holder()).await.unwrap_err().to_string();
        assert!(error.contains("192.0.2.1:33069") && error.contains("--interface"), "{error}");
    }
}
