//! SMB 2 and 3 (MS-SMB2): dialects 2.0.2 to 3.1.1 over direct TCP.
//!
//! A frame comes in (`frames`), its requests are checked and run one after the other (`connection`, `dispatch`), each by the
//! handler of its command (`create`, `io`, `directory`, ...), and the responses leave together (`reply`). `wire` is the codec,
//! `auth` and `crypto` are what logins and keys need; these three know nothing else of the gateway.

pub mod auth;
mod close;
mod connection;
mod create;
pub mod crypto;
mod directory;
mod dispatch;
mod frames;
mod io;
mod ioctl;
mod locking;
mod login;
mod negotiate;
mod open;
mod path;
mod pipe;
mod query;
mod reply;
mod rights;
mod security;
mod session;
mod set;
mod shown;
mod status;
mod streams;
#[cfg(test)]
mod tests;
mod tree;
mod window;
pub mod wire;

use crate::net::limits::{Clients, Limits};
use crate::vserver::Vserver;
use parking_lot::Mutex;
use session::Session;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wire::status::NtStatus;

/// Pause after an accept that failed for want of resources.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// What the connections of one endpoint share.
#[derive(Debug)]
struct Listener {
    vserver: Arc<Vserver>,
    /// Sessions that are logged in.
    sessions: Mutex<HashMap<u64, Weak<Session>>>,
}

impl Listener {
    /// The same for a vserver wherever it is.
    fn guid(&self) -> [u8; 16] {
        self.vserver.uuid.to_bytes_le()
    }

    /// Ends a session that its client has lost (PreviousSessionId, MS-SMB2 §3.3.5.5.3). Only who is the same may.
    fn end_previous(&self, session: &Session, previous: u64) {
        let found = self.sessions.lock().get(&previous).and_then(Weak::upgrade);
        if let Some(old) = found
            && old.id != session.id
            && old.identity.user == session.identity.user
        {
            self.end(&old);
        }
    }

    /// Ends a session and closes what it has open.
    fn end(&self, session: &Session) {
        self.sessions.lock().remove(&session.id);
        let inside = self.vserver.gate.pass_now();
        for open in session.end() {
            match &inside {
                Some(inside) => open.close(&self.vserver, inside),
                None => open.abandon(&self.vserver),
            }
        }
    }
}

/// Serves a vserver's shares to whoever connects, until `cancel`; then closes every connection at once and returns when no
/// request runs any more.
pub async fn serve(listener: TcpListener, vserver: Arc<Vserver>, cancel: CancellationToken) {
    let shared = Arc::new(Listener { vserver, sessions: Mutex::default() });
    let clients = Clients::new(Limits::default());
    let tasks = TaskTracker::new();
    while let Some(accepted) = cancel.run_until_cancelled(listener.accept()).await {
        let (stream, client) = match accepted {
            Ok((stream, client)) => (stream, client.ip().to_canonical()),
            Err(error) => {
                tracing::warn!(%error, "can't accept a connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let Ok(seat) = clients.sit(client) else {
            tracing::debug!(%client, "refused a connection: there are too many already");
            continue;
        };
        let (shared, cancel) = (Arc::clone(&shared), cancel.clone());
        tasks.spawn(async move {
            if let Err(error) = connection::converse(stream, shared, Arc::new(seat), cancel).await {
                tracing::debug!(%client, %error, "connection ended");
            }
        });
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
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
