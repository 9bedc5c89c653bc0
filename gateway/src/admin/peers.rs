//! `/peers`: other clusters, and the token by which they learn to know this one.

use super::AdminState;
use super::problem::{Body, Path, Problem, Reply};
use crate::peers::fingerprint_text;
use crate::store::PeerRecord;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// A peer.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct PeerView {
    /// Name of the other cluster.
    name: String,
    /// Where it answers peers.
    address: String,
    /// SHA-256 of the certificate that is pinned.
    certificate_sha256: String,
}

impl From<PeerRecord> for PeerView {
    fn from(record: PeerRecord) -> Self {
        PeerView {
            address: record.address.to_string(),
            certificate_sha256: fingerprint_text(&record.certificate),
            name: record.name,
        }
    }
}

/// What the other cluster is to be given.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct IdentityView {
    /// The token.
    token: String,
    /// SHA-256 of the certificate in it, to compare over another channel.
    certificate_sha256: String,
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPeer {
    /// What `ferry peer show-identity` of the other cluster printed.
    token: String,
    /// Refuses a token of any other cluster.
    name: Option<String>,
    /// Replaces the address in the token.
    #[schema(value_type = Option<String>)]
    address: Option<SocketAddr>,
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct PeerPatch {
    /// New address.
    #[schema(value_type = String)]
    address: SocketAddr,
}

pub(super) fn routes() -> axum::Router<AdminState> {
    axum::Router::new()
        .route("/identity", get(show_identity))
        .route("/peers", get(list).post(create))
        .route("/peers/{peer}", get(show).patch(modify).delete(remove))
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(show_identity, list, create, show, modify, remove))]
pub(super) struct Api;

#[utoipa::path(get, path = "/api/v1/identity", responses((status = 200, body = IdentityView)))]
async fn show_identity(State(state): State<AdminState>) -> Reply<IdentityView> {
    Ok(Body(IdentityView {
        token: state.cluster.token().to_text(),
        certificate_sha256: fingerprint_text(&state.cluster.identity.certificate),
    }))
}

#[utoipa::path(get, path = "/api/v1/peers", responses((status = 200, body = [PeerView])))]
async fn list(State(state): State<AdminState>) -> Reply<Vec<PeerView>> {
    Ok(Body(state.cluster.peers()?.into_iter().map(PeerView::from).collect()))
}

#[utoipa::path(post, path = "/api/v1/peers", request_body = NewPeer,
    responses((status = 201, body = PeerView), (status = 400, body = Problem), (status = 409, body = Problem)))]
async fn create(
    State(state): State<AdminState>,
    Body(new): Body<NewPeer>,
) -> Result<(StatusCode, Body<PeerView>), Problem> {
    if let Some(name) = &new.name {
        let token = crate::peers::PeerToken::from_text(&new.token)
            .map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.to_string()))?;
        if token.cluster != *name {
            let detail = format!("the token is of cluster `{}`, not `{name}`", token.cluster);
            return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
        }
    }
    let record = state.cluster.create_peer(&new.token, new.address).await?;
    Ok((StatusCode::CREATED, Body(record.into())))
}

#[utoipa::path(get, path = "/api/v1/peers/{peer}", params(("peer" = String, Path)),
    responses((status = 200, body = PeerView), (status = 404, body = Problem)))]
async fn show(State(state): State<AdminState>, Path(peer): Path<String>) -> Reply<PeerView> {
    Ok(Body(state.cluster.peer(&peer)?.into()))
}

#[utoipa::path(patch, path = "/api/v1/peers/{peer}", params(("peer" = String, Path)), request_body = PeerPatch,
    responses((status = 200, body = PeerView), (status = 404, body = Problem)))]
async fn modify(
    State(state): State<AdminState>,
    Path(peer): Path<String>,
    Body(patch): Body<PeerPatch>,
) -> Reply<PeerView> {
    Ok(Body(state.cluster.modify_peer(&peer, patch.address).await?.into()))
}

#[utoipa::path(delete, path = "/api/v1/peers/{peer}", params(("peer" = String, Path)),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn remove(State(state): State<AdminState>, Path(peer): Path<String>) -> Result<StatusCode, Problem> {
    state.cluster.delete_peer(&peer).await?;
    Ok(StatusCode::NO_CONTENT)
}
