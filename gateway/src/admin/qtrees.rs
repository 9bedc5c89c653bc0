//! `/vservers/{v}/volumes/{vol}/qtrees`: qtrees.

use super::AdminState;
use super::problem::{Body, Path, Problem, Reply};
use crate::cluster::{NewQtree, QtreePatch, QtreeView};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;

pub(super) fn routes() -> axum::Router<AdminState> {
    axum::Router::new()
        .route("/vservers/{vserver}/volumes/{volume}/qtrees", get(list).post(create))
        .route("/vservers/{vserver}/volumes/{volume}/qtrees/{qtree}", get(show).patch(rename).delete(remove))
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(list, create, show, rename, remove))]
pub(super) struct Api;

#[utoipa::path(get, path = "/api/v1/vservers/{vserver}/volumes/{volume}/qtrees",
    params(("vserver" = String, Path), ("volume" = String, Path)),
    responses((status = 200, body = [QtreeView]), (status = 404, body = Problem)))]
async fn list(
    State(state): State<AdminState>,
    Path((vserver, volume)): Path<(String, String)>,
) -> Reply<Vec<QtreeView>> {
    Ok(Body(state.cluster.qtrees(&vserver, &volume).await?))
}

#[utoipa::path(post, path = "/api/v1/vservers/{vserver}/volumes/{volume}/qtrees",
    params(("vserver" = String, Path), ("volume" = String, Path)), request_body = NewQtree,
    responses((status = 201, body = QtreeView), (status = 400, body = Problem), (status = 409, body = Problem)))]
async fn create(
    State(state): State<AdminState>,
    Path((vserver, volume)): Path<(String, String)>,
    Body(new): Body<NewQtree>,
) -> Result<(StatusCode, Body<QtreeView>), Problem> {
    Ok((StatusCode::CREATED, Body(state.cluster.create_qtree(&vserver, &volume, new).await?)))
}

#[utoipa::path(get, path = "/api/v1/vservers/{vserver}/volumes/{volume}/qtrees/{qtree}",
    params(("vserver" = String, Path), ("volume" = String, Path), ("qtree" = String, Path)),
    responses((status = 200, body = QtreeView), (status = 404, body = Problem)))]
async fn show(
    State(state): State<AdminState>,
    Path((vserver, volume, qtree)): Path<(String, String, String)>,
) -> Reply<QtreeView> {
    Ok(Body(state.cluster.qtree(&vserver, &volume, &qtree).await?))
}

#[utoipa::path(patch, path = "/api/v1/vservers/{vserver}/volumes/{volume}/qtrees/{qtree}",
    params(("vserver" = String, Path), ("volume" = String, Path), ("qtree" = String, Path)),
    request_body = QtreePatch,
    responses((status = 200, body = QtreeView), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn rename(
    State(state): State<AdminState>,
    Path((vserver, volume, qtree)): Path<(String, String, String)>,
    Body(patch): Body<QtreePatch>,
) -> Reply<QtreeView> {
    Ok(Body(state.cluster.rename_qtree(&vserver, &volume, &qtree, patch).await?))
}

#[utoipa::path(delete, path = "/api/v1/vservers/{vserver}/volumes/{volume}/qtrees/{qtree}",
    params(("vserver" = String, Path), ("volume" = String, Path), ("qtree" = String, Path)),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn remove(
    State(state): State<AdminState>,
    Path((vserver, volume, qtree)): Path<(String, String, String)>,
) -> Result<StatusCode, Problem> {
    state.cluster.delete_qtree(&vserver, &volume, &qtree).await?;
    Ok(StatusCode::NO_CONTENT)
}
