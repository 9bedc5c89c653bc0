//! A listener: takes connections as far as the limits let it, runs each in a task of its own, waits for all at the end.

use super::limits::{Clients, Limits, Seat};
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// At most so often it is said that connections are refused.
const REFUSAL_WARN_INTERVAL: Duration = Duration::from_secs(10);
/// Pause after an accept that failed for want of resources.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Takes connections until `cancel`; returns when the last of them has ended.
pub(crate) async fn accept_all<F>(
    listener: TcpListener,
    limits: Limits,
    cancel: CancellationToken,
    converse: impl Fn(TcpStream, Arc<Seat>) -> F,
) where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let clients = Clients::new(limits);
    let mut told = None;
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
        let seat = match clients.sit(client) {
            Ok(seat) => Arc::new(seat),
            Err(full) => {
                // Whoever tries again and again is not to fill the log.
                if told.is_none_or(|told: Instant| told.elapsed() > REFUSAL_WARN_INTERVAL) {
                    told = Some(Instant::now());
                    tracing::warn!(%client, ?full, "refused a connection: there are too many already");
                }
                continue;
            }
        };
        let conversation = converse(stream, seat);
        tasks.spawn(async move {
            if let Err(error) = conversation.await {
                tracing::debug!(%client, %error, "connection ended");
            }
        });
    }
    drop(listener);
    tasks.close();
    tasks.wait().await;
}
