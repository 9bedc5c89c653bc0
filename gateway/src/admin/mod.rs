//! The admin interface: REST under `/api/v1`, and `/metrics`. One file per resource.
//!
//! It translates between HTTP and `cluster` and `migrate`; it decides nothing and never sees a wire type.

mod accounts;
mod auth;
mod cluster;
mod export_policies;
mod lifs;
mod locks;
mod migrations;
mod peers;
mod problem;
mod qtrees;
mod quotas;
mod shares;
mod snapshots;
#[cfg(test)]
mod tests;
mod volumes;
mod vservers;

pub use auth::AdminToken;
pub use problem::Problem;

use crate::cluster::Cluster;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware;
use axum::routing::get;
use migrate::Migrator;
use std::future::Future;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi;

/// What handlers work with.
#[derive(Clone)]
pub struct AdminState {
    /// The control plane.
    pub cluster: Arc<Cluster>,
    /// The migrations.
    pub migrator: Arc<Migrator>,
    /// What requests must carry.
    pub token: AdminToken,
    /// Ends streams that would go on for ever.
    pub stopping: CancellationToken,
}

#[derive(OpenApi)]
#[openapi(info(title = "Ferry", description = "Administration of a Ferry cluster"))]
struct Api;

/// The description of everything under `/api/v1`.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let parts = [
        cluster::Api::openapi(),
        peers::Api::openapi(),
        vservers::Api::openapi(),
        volumes::Api::openapi(),
        snapshots::Api::openapi(),
        qtrees::Api::openapi(),
        quotas::Api::openapi(),
        lifs::Api::openapi(),
        locks::Api::openapi(),
        export_policies::Api::openapi(),
        accounts::Api::openapi(),
        shares::Api::openapi(),
        migrations::Api::openapi(),
    ];
    let mut whole = Api::openapi();
    for part in parts {
        whole.merge(part);
    }
    whole
}

/// The whole interface.
pub fn router(state: AdminState) -> Router {
    let api = Router::new()
        .merge(cluster::routes())
        .merge(peers::routes())
        .merge(vservers::routes())
        .merge(volumes::routes())
        .merge(snapshots::routes())
        .merge(qtrees::routes())
        .merge(quotas::routes())
        .merge(lifs::routes())
        .merge(locks::routes())
        .merge(export_policies::routes())
        .merge(accounts::routes())
        .merge(shares::routes())
        .merge(migrations::routes());
    let protected = Router::new()
        .nest("/api/v1", api)
        .route("/metrics", get(metrics))
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .layer(middleware::from_fn_with_state(state.clone(), auth::require_token));
    // The description holds no secrets, and tools fetch it without a token.
    Router::new()
        .route("/api/v1/openapi.json", get(|| async { axum::Json(openapi()) }))
        .merge(protected)
        .with_state(state)
}

async fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no such path; /api/v1/openapi.json lists what there is")
}

async fn not_allowed() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this path has other methods; see /api/v1/openapi.json")
}

async fn metrics(State(state): State<AdminState>) -> String {
    let migrations: Vec<_> = state.migrator.list().into_iter().map(|status| status.record).collect();
    crate::metrics::render(&state.cluster, &migrations)
}

/// Serves the interface until `state.stopping`.
///
/// # Errors
/// The listener's.
pub fn serve(listener: TcpListener, state: AdminState) -> impl Future<Output = std::io::Result<()>> + Send {
    let stopping = state.stopping.clone();
    let app = router(state);
    async move { axum::serve(listener, app).with_graceful_shutdown(stopping.cancelled_owned()).await }
}
