//! SMB 2 and 3. Nothing is spoken yet: the port is there, and connections end at once.

use crate::vserver::Vserver;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves a vserver's shares to whoever connects, until cancelled.
pub async fn serve(listener: TcpListener, vserver: Arc<Vserver>, cancel: CancellationToken) {
    while let Some(accepted) = cancel.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((_closed_at_once, client)) => tracing::debug!(vserver = vserver.name, %client, "no SMB yet"),
            // Out of descriptors, say: it must not become a busy loop.
            Err(error) => {
                tracing::warn!(%error, "cannot take an SMB connection");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}
