//! `/vservers/{v}/lifs`: logical interfaces.

use super::AdminState;
use super::problem::{Body, Path, Problem, Reply};
use crate::cluster::{LifPatch, LifSpec, LifView};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;

pub(super) fn routes() -> axum::Router<AdminState> {
    axum::Router::new()
        .route("/vservers/{vserver}/lifs", get(list).post(create))
        .route("/vservers/{vserver}/lifs/{lif}", get(show).patch(modify).delete(remove))
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(list, create, show, modify, remove))]
pub(super) struct Api;

#[utoipa::path(get, path = "/api/v1/vservers/{vserver}/lifs", params(("vserver" = String, Path)),
    responses((status = 200, body = [LifView]), (status = 404, body = Problem)))]
async fn list(State(state): State<AdminState>, Path(vserver): Path<String>) -> Reply<Vec<LifView>> {
    Ok(Body(state.cluster.lifs(&vserver)?))
}

#[utoipa::path(post, path = "/api/v1/vservers/{vserver}/lifs", params(("vserver" = String, Path)),
    request_body = LifSpec,
    responses((status = 201, body = LifView), (status = 400, body = Problem), (status = 409, body = Problem)))]
async fn create(
    State(state): State<AdminState>,
    Path(vserver): Path<String>,
    Body(new): Body<LifSpec>,
) -> Result<(StatusCode, Body<LifView>), Problem> {
    Ok((StatusCode::CREATED, Body(state.cluster.create_lif(&vserver, new).await?)))
}

#[utoipa::path(get, path = "/api/v1/vservers/{vserver}/lifs/{lif}",
    params(("vserver" = String, Path), ("lif" = String, Path)),
    responses((status = 200, body = LifView), (status = 404, body = Problem)))]
async fn show(State(state): State<AdminState>, Path((vserver, lif)): Path<(String, String)>) -> Reply<LifView> {
    Ok(Body(state.cluster.lif(&vserver, &lif)?))
}

#[utoipa::path(patch, path = "/api/v1/vservers/{vserver}/lifs/{lif}",
    params(("vserver" = String, Path), ("lif" = String, Path)), request_body = LifPatch,
    responses((status = 200, body = LifView), (status = 400, body = Problem), (status = 409, body = Problem)))]
async fn modify(
    State(state): State<AdminState>,
    Path((vserver, lif)): Path<(String, String)>,
    Body(patch): Body<LifPatch>,
) -> Reply<LifView> {
    Ok(Body(state.cluster.modify_lif(&vserver, &lif, patch).await?))
}

#[utoipa::path(delete, path = "/api/v1/vservers/{vserver}/lifs/{lif}",
    params(("vserver" = String, Path), ("lif" = String, Path)),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn remove(
    State(state): State<AdminState>,
    Path((vserver, lif)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    state.cluster.delete_lif(&vserver, &lif).await?;
    Ok(StatusCode::NO_CONTENT)
}
