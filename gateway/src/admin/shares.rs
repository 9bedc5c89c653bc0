//! `/vservers/{v}/shares`: what SMB clients may connect to.

use super::AdminState;
use super::problem::{Body, Path, Problem, Reply};
use crate::cluster::SharePatch;
use crate::vserver::Share;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;

pub(super) fn routes() -> axum::Router<AdminState> {
    axum::Router::new()
        .route("/vservers/{vserver}/shares", get(list).post(create))
        .route("/vservers/{vserver}/shares/{share}", get(show).patch(modify).delete(remove))
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(list, create, show, modify, remove))]
pub(super) struct Api;

#[utoipa::path(get, path = "/api/v1/vservers/{vserver}/shares", params(("vserver" = String, Path)),
    responses((status = 200, body = [Share]), (status = 404, body = Problem)))]
async fn list(State(state): State<AdminState>, Path(vserver): Path<String>) -> Reply<Vec<Share>> {
    Ok(Body(state.cluster.shares(&vserver)?))
}

#[utoipa::path(post, path = "/api/v1/vservers/{vserver}/shares", params(("vserver" = String, Path)),
    request_body = Share,
    responses((status = 201, body = Share), (status = 400, body = Problem), (status = 409, body = Problem)))]
async fn create(
    State(state): State<AdminState>,
    Path(vserver): Path<String>,
    Body(new): Body<Share>,
) -> Result<(StatusCode, Body<Share>), Problem> {
    Ok((StatusCode::CREATED, Body(state.cluster.create_share(&vserver, new).await?)))
}

#[utoipa::path(get, path = "/api/v1/vservers/{vserver}/shares/{share}",
    params(("vserver" = String, Path), ("share" = String, Path)),
    responses((status = 200, body = Share), (status = 404, body = Problem)))]
async fn show(
    State(state): State<AdminState>,
    Path((vserver, share)): Path<(String, String)>,
) -> Reply<Share> {
    Ok(Body(state.cluster.share(&vserver, &share)?))
}

#[utoipa::path(patch, path = "/api/v1/vservers/{vserver}/shares/{share}",
    params(("vserver" = String, Path), ("share" = String, Path)), request_body = SharePatch,
    responses((status = 200, body = Share), (status = 400, body = Problem), (status = 404, body = Problem)))]
async fn modify(
    State(state): State<AdminState>,
    Path((vserver, share)): Path<(String, String)>,
    Body(patch): Body<SharePatch>,
) -> Reply<Share> {
    Ok(Body(state.cluster.modify_share(&vserver, &share, patch).await?))
}

#[utoipa::path(delete, path = "/api/v1/vservers/{vserver}/shares/{share}",
    params(("vserver" = String, Path), ("share" = String, Path)),
    responses((status = 204), (status = 404, body = Problem)))]
async fn remove(
    State(state): State<AdminState>,
    Path((vserver, share)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    state.cluster.delete_share(&vserver, &share).await?;
    Ok(StatusCode::NO_CONTENT)
}
