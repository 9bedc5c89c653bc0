//! NFS version 3 (RFC 1813) over a vserver's volumes. Sees a vserver only through [`Vserver`]; knows no
//! configuration, no migration and no other protocol.

mod attr;
mod caller;
mod dispatch;
mod info;
mod io;
pub mod mount;
mod namespace;
pub mod procedures;
mod readdir;
pub mod status;
pub mod types;

pub use crate::portmap::Ports;

#[cfg(test)]
mod tests;

use crate::rpc::{server, udp};
use crate::vserver::Vserver;
use std::sync::Arc;
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::CancellationToken;

/// Answers NFS, MOUNT and portmap calls that come in at `listener`, until `cancel`; then closes every connection at
/// once and returns when no call runs any more. `ports` is what portmap tells.
pub async fn serve(listener: TcpListener, vserver: Arc<Vserver>, ports: Ports, cancel: CancellationToken) {
    server::serve(listener, Arc::new(dispatch::Programs { vserver, ports }), cancel).await;
}

/// Answers MOUNT and portmap calls that come to `socket`, until `cancel`; returns when no call runs any more. NFS
/// itself is not served over UDP.
pub async fn serve_datagrams(
    socket: UdpSocket,
    vserver: Arc<Vserver>,
    ports: Ports,
    cancel: CancellationToken,
) -> std::io::Result<()> {
    udp::serve(socket, Arc::new(dispatch::Programs { vserver, ports }), cancel).await
}
