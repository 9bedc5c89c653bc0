//! NLM version 4, the lock manager beside NFSv3, and NSM version 1, the status monitor (X/Open XNFS C702, chapters 10
//! and 11), over a vserver's open state. Real clients are the reference where the specification leaves things open:
//! Linux' lockd and statd above all.
//!
//! Sees a vserver only through [`Vserver`]; knows no configuration, no migration and no other protocol. A lock needs no
//! permission on the file but to reach it: the export policy decides.

mod dispatch;
mod granted;
mod locking;
mod owner;
mod status;
#[cfg(test)]
mod tests;
pub mod types;

pub use dispatch::run;
pub use status::run as run_status_monitor;

use crate::rpc::outgoing::Remote;
use crate::vserver::Vserver;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two looks for clients that have no locks any more.
const IDLE_LOOK: Duration = Duration::from_secs(60);

/// Tells clients what they wait to hear: that a lock is theirs now, that their locks were lost. Runs until `cancel`.
/// Several of these may run for one vserver, as for each of its LIFs; one works, the others stand by.
pub async fn call_clients(vserver: Arc<Vserver>, cancel: CancellationToken) {
    let work = async {
        let _teller = vserver.locks.teller.lock().await;
        // Whoever told before was cut off in the middle.
        vserver.locks.tell_all_again();
        tokio::join!(granted::tell_all(&vserver), status::tell_all(&vserver), forget_idle(&vserver));
    };
    cancel.run_until_cancelled(work).await;
}

async fn forget_idle(vserver: &Arc<Vserver>) {
    loop {
        tokio::time::sleep(IDLE_LOOK).await;
        // Not while the vserver is on its way to another cluster: the list travels.
        let Ok(_pass) = vserver.gate.enter().await else { return };
        if !vserver.grace.is_on() {
            vserver.watched.forget_idle(|client| vserver.locks.has_any(client)).await;
        }
    }
}

/// A client as seen from `local`.
fn remote(vserver: &Vserver, local: IpAddr, host: IpAddr) -> Remote {
    let portmap_port = vserver.client_portmap_port.load(Ordering::Relaxed);
    Remote { local: local.to_canonical(), host: host.to_canonical(), portmap_port }
}
