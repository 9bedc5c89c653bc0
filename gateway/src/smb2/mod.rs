//! SMB 2 and 3 (MS-SMB2): dialects 2.0.2 to 3.1.1 over direct TCP.
//!
//! A frame comes in (`frames`), its requests are checked and run one after the other (`connection`, `dispatch`), each by the
//! handler of its command (`create`, `io`, `directory`, ...), and the responses leave together (`reply`). `wire` is the codec,
//! `auth` and `crypto` are what logins and keys need; these three know nothing else of the gateway.

mod apple;
pub mod auth;
mod caching;
mod close;
mod connection;
mod create;
pub mod crypto;
mod directory;
mod dispatch;
mod durable;
mod frames;
mod io;
mod ioctl;
mod lock_sequence;
mod locking;
mod login;
mod moving;
mod negotiate;
mod notify;
mod open;
mod path;
mod pipe;
mod previous;
mod query;
mod quota;
mod replay;
mod reply;
mod rights;
mod security;
mod session;
mod set;
mod shown;
mod state;
mod status;
mod streams;
#[cfg(test)]
mod tests;
mod times;
mod tree;
mod window;
pub mod wire;

use state::State;

use crate::net::accept::accept_all;
use crate::net::ending::Ending;
use crate::net::interface::Interface;
use crate::net::limits::Limits;
use crate::vserver::{SmbClients, Vserver};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use wire::status::NtStatus;

/// What the connections of one endpoint share.
#[derive(Debug)]
struct Listener {
    vserver: Arc<Vserver>,
    state: Arc<State>,
}

impl Listener {
    /// The same for a vserver wherever it is.
    fn guid(&self) -> [u8; 16] {
        self.vserver.uuid.to_bytes_le()
    }
}

/// A vserver's clients, for who knows no SMB.
pub fn clients(vserver: &Vserver) -> Arc<dyn SmbClients> {
    state::of(vserver)
}

/// Serves a vserver's shares to whoever connects, until `ending`, which says when connections are closed, and returns when no
/// request runs any more.
pub async fn serve(listener: TcpListener, vserver: Arc<Vserver>, ending: impl Into<Ending>) {
    let ending = ending.into();
    let shared = Arc::new(Listener { state: state::of(&vserver), vserver });
    let _reachable = match listener.local_addr() {
        Ok(address) => Some(shared.state.reachable(Interface::of(address.ip()).await)),
        Err(_) => None,
    };
    accept_all(listener, Limits::default(), ending.silent.clone(), move |stream, seat| {
        connection::converse(stream, Arc::clone(&shared), seat, ending.clone())
    })
    .await;
}

fn now() -> fsstore::Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    fsstore::Time { secs: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanos: since.subsec_nanos() }
}

fn filetime_now() -> u64 {
    let now = now();
    wire::filetime::from_unix(now.secs, now.nanos)
}

/// Bytes that nobody can foretell.
fn random<const N: usize>() -> Result<[u8; N], NtStatus> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| NtStatus::INSUFFICIENT_RESOURCES)?;
    Ok(bytes)
}
