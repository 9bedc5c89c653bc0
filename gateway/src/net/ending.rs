//! How what serves an address ends: at once, or in two steps when another node takes the address over.
//!
//! A client that learns that its connection is closed opens the next one in less than a millisecond. If nobody has the address
//! then, its first packet is lost, and it tries again after a second (RFC 6298 §2.1); if the old node has it still, but listens no
//! more, a Linux NFS client waits three. So connections to an address that moves stay open, without a word, until the next node
//! serves it. Then the old node closes them, as what they are: connections of an address that it does not have any more.

use socket2::SockRef;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, UdpSocket};
use std::time::Duration;
use tokio::net::tcp::OwnedWriteHalf;
use tokio_util::sync::CancellationToken;

/// Connections are closed after so long though nobody said that the address is served elsewhere.
const PARTED_MAX: Duration = Duration::from_secs(10);
/// So long after its end was sent, a connection is forgotten: what the client answers goes to the next node, and if the address
/// came back, the rest of the old connection would answer for the client's next one.
const FAREWELL: Duration = Duration::from_millis(200);

/// The end of what serves an address.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    /// From here on nothing is taken and nothing sent.
    pub silent: CancellationToken,
    /// From here on connections are closed.
    pub closed: CancellationToken,
}

impl From<CancellationToken> for Ending {
    /// Both at once.
    fn from(cancel: CancellationToken) -> Ending {
        Ending { silent: cancel.clone(), closed: cancel }
    }
}

impl Ending {
    /// Everything ends now.
    pub fn close(&self) {
        self.silent.cancel();
        self.closed.cancel();
    }

    /// Another one that ends with this one, or before.
    pub fn child(&self) -> Ending {
        Ending { silent: self.silent.child_token(), closed: self.closed.child_token() }
    }

    /// Takes a connection that will say no more, and closes it when it is time to.
    pub(crate) fn part(&self, socket: OwnedWriteHalf) {
        if !self.silent.is_cancelled() || self.closed.is_cancelled() {
            return;
        }
        let moves = match outlives_its_address(&socket) {
            Ok(moves) => moves,
            Err(error) => {
                tracing::debug!(%error, "a connection is closed before its address moves");
                return;
            }
        };
        let closed = self.closed.clone();
        tokio::spawn(async move {
            drop(tokio::time::timeout(PARTED_MAX, closed.cancelled()).await);
            if moves {
                let socket_ref = SockRef::from(socket.as_ref());
                drop(socket_ref.shutdown(Shutdown::Write));
                tokio::time::sleep(FAREWELL).await;
                drop(socket_ref.set_linger(Some(Duration::ZERO)));
            }
        });
    }
}

/// Makes a connection able to send its end when this node does not have its address any more. `false`: it is a loopback address,
/// which stays.
///
/// # Errors
/// The kernel does not let us, or there is no way to the client but by that address.
fn outlives_its_address(socket: &OwnedWriteHalf) -> io::Result<bool> {
    let (local, client) = (socket.local_addr()?, socket.peer_addr()?);
    if local.ip().to_canonical().is_loopback() {
        return Ok(false);
    }
    if source_towards(client)? == local.ip() {
        return Err(io::Error::other("there is no other way to the client than by that address"));
    }
    let socket = SockRef::from(socket.as_ref());
    match local {
        SocketAddr::V4(_) => socket.set_ip_transparent_v4(true)?,
        SocketAddr::V6(_) => socket.set_ip_transparent_v6(true)?,
    }
    Ok(true)
}

/// The address that the kernel would choose for what is sent there.
fn source_towards(client: SocketAddr) -> io::Result<IpAddr> {
    let any = match client {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(client)?;
    Ok(socket.local_addr()?.ip())
}
