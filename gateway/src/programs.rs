//! The RPC programs of one vserver: looks at a call's program and version, and hands it to the protocol. Knows no
//! procedure.

use crate::net::ending::Ending;
use crate::net::limits::Limits;
use crate::nfs3;
use crate::nfs3::acl::NFS_ACL_PROGRAM;
use crate::nfs3::mount::{self, MOUNT_PROGRAM, MOUNT_V3};
use crate::nfs3::types::{NFS_PROGRAM, NFS_V3};
use crate::nlm;
use crate::nlm::types::{NLM_PROGRAM, NLM_V4, NSM_PROGRAM, NSM_V1};
use crate::portmap::{self, PORTMAP_PROGRAM, Ports};
use crate::rpc::call::{Call, Refusal};
use crate::rpc::server::{self, Outcome, Request, Service, Transport};
use crate::rpc::udp;
use crate::vserver::Vserver;
use bytes::Bytes;
use std::sync::Arc;
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::CancellationToken;

/// What answers on every endpoint of a vserver: any program on any port.
pub(crate) struct Programs {
    pub(crate) vserver: Arc<Vserver>,
    pub(crate) ports: Ports,
}

/// Answers the calls that come in at `listener`, until `cancel`; then closes every connection at once and returns when
/// no call runs any more. `ports` is what portmap tells.
pub async fn serve(listener: TcpListener, vserver: Arc<Vserver>, ports: Ports, cancel: CancellationToken) {
    serve_within(listener, vserver, ports, Limits::default(), cancel).await;
}

/// The same, with other limits of what clients may take.
pub async fn serve_within(
    listener: TcpListener,
    vserver: Arc<Vserver>,
    ports: Ports,
    limits: Limits,
    ending: impl Into<Ending>,
) {
    let ending = ending.into();
    let calls = nlm::call_clients(Arc::clone(&vserver), ending.silent.clone());
    let serving = server::serve(listener, Arc::new(Programs { vserver, ports }), limits, ending);
    tokio::join!(serving, calls);
}

/// Answers the calls that come to `socket`, until `cancel`; returns when none runs any more. NFS itself is not served
/// over UDP.
///
/// # Errors
/// Where the socket has no address.
pub async fn serve_datagrams(
    socket: UdpSocket,
    vserver: Arc<Vserver>,
    ports: Ports,
    cancel: CancellationToken,
) -> std::io::Result<()> {
    udp::serve(socket, Arc::new(Programs { vserver, ports }), cancel).await
}

impl Service for Programs {
    fn reply_len_max(&self, call: &Call, args: &Bytes) -> usize {
        match call.prog {
            NFS_PROGRAM => nfs3::reply_len_max(call, args),
            MOUNT_PROGRAM => mount::reply_len_max(call),
            _ => 0,
        }
    }

    async fn run(&self, request: Request) -> Outcome {
        let call = &request.call;
        let refusal = match (call.prog, call.vers) {
            (NFS_PROGRAM | NFS_ACL_PROGRAM, _) if request.transport == Transport::Udp => Refusal::ProgUnavail,
            (NFS_PROGRAM, NFS_V3) => return nfs3::run(&self.vserver, request).await,
            (NFS_ACL_PROGRAM, NFS_V3) => return nfs3::run_acl(&self.vserver, request).await,
            (MOUNT_PROGRAM, MOUNT_V3) => return mount::run(&self.vserver, request).await,
            (NLM_PROGRAM, NLM_V4) => return nlm::run(&self.vserver, request).await,
            (NSM_PROGRAM, NSM_V1) => return nlm::run_status_monitor(&self.vserver, request).await,
            (PORTMAP_PROGRAM, _) => {
                let route = (request.local, request.transport);
                return Outcome::Reply(portmap::answer(call, request.args, &self.ports, route).finish());
            }
            (NFS_PROGRAM | NFS_ACL_PROGRAM, _) => Refusal::ProgMismatch { low: NFS_V3, high: NFS_V3 },
            (MOUNT_PROGRAM, _) => Refusal::ProgMismatch { low: MOUNT_V3, high: MOUNT_V3 },
            (NLM_PROGRAM, _) => Refusal::ProgMismatch { low: NLM_V4, high: NLM_V4 },
            (NSM_PROGRAM, _) => Refusal::ProgMismatch { low: NSM_V1, high: NSM_V1 },
            _ => Refusal::ProgUnavail,
        };
        Outcome::refused(call.xid, refusal)
    }
}
