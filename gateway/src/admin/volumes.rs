//! `/vservers/{v}/volumes`: volumes.

use super::AdminState;
use super::problem::{Body, Path, Problem, Reply};
use crate::cluster::{NewClone, NewVolume, VolumePatch, VolumeView};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};

pub(super) fn routes() -> axum::Router<AdminState> {
    axum::Router::new()
        .route("/vservers/{vserver}/volumes", get(list).post(create))
        .route("/vservers/{vserver}/volumes/{volume}", get(show).patch(modify).delete(remove))
        .route("/vservers/{vserver}/volumes/{volume}/clones", post(create_clone))
        .route("/vservers/{vserver}/volumes/{volume}/split", post(split))
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(list, create, show, modify, remove, create_clone, split))]
pub(super) struct Api;

#[utoipa::path(get, path = "/api/v1/vservers/{vserver}/volumes", params(("vserver" = String, Path)),
    responses((status = 200, body = [VolumeView]), (status = 404, body = Problem)))]
async fn list(State(state): State<AdminState>, Path(vserver): Path<String>) -> Reply<Vec<VolumeView>> {
    Ok(Body(state.cluster.volumes(&vserver)?))
}

#[utoipa::path(post, path = "/api/v1/vservers/{vserver}/volumes", params(("vserver" = String, Path)),
    request_body = NewVolume,
    responses((status = 201, body = VolumeView), (status = 400, body = Problem), (status = 409, body = Problem)))]
async fn create(
    State(state): State<AdminState>,
    Path(vserver): Path<String>,
    Body(new): Body<NewVolume>,
) -> Result<(StatusCode, Body<VolumeView>), Problem> {
    Ok((StatusCode::CREATED, Body(state.cluster.create_volume(&vserver, new).await?)))
}

#[utoipa::path(get, path = "/api/v1/vservers/{vserver}/volumes/{volume}",
    params(("vserver" = String, Path), ("volume" = String, Path)),
    responses((status = 200, body = VolumeView), (status = 404, body = Problem)))]
async fn show(
    State(state): State<AdminState>,
    Path((vserver, volume)): Path<(String, String)>,
) -> Reply<VolumeView> {
    Ok(Body(state.cluster.volume(&vserver, &volume)?))
}

#[utoipa::path(patch, path = "/api/v1/vservers/{vserver}/volumes/{volume}",
    params(("vserver" = String, Path), ("volume" = String, Path)), request_body = VolumePatch,
    responses((status = 200, body = VolumeView), (status = 400, body = Problem), (status = 409, body = Problem)))]
async fn modify(
    State(state): State<AdminState>,
    Path((vserver, volume)): Path<(String, String)>,
    Body(patch): Body<VolumePatch>,
) -> Reply<VolumeView> {
    Ok(Body(state.cluster.modify_volume(&vserver, &volume, patch).await?))
}

#[utoipa::path(delete, path = "/api/v1/vservers/{vserver}/volumes/{volume}",
    params(("vserver" = String, Path), ("volume" = String, Path)),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn remove(
    State(state): State<AdminState>,
    Path((vserver, volume)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    state.cluster.delete_volume(&vserver, &volume).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a writable clone of a snapshot of this volume; it shares the snapshot's blocks.
#[utoipa::path(post, path = "/api/v1/vservers/{vserver}/volumes/{volume}/clones",
    params(("vserver" = String, Path), ("volume" = String, Path)), request_body = NewClone,
    responses((status = 201, body = VolumeView), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn create_clone(
    State(state): State<AdminState>,
    Path((vserver, volume)): Path<(String, String)>,
    Body(new): Body<NewClone>,
) -> Result<(StatusCode, Body<VolumeView>), Problem> {
    Ok((StatusCode::CREATED, Body(state.cluster.create_clone(&vserver, &volume, new).await?)))
}

/// Begins to give this clone blocks of its own; `clone_of` of the volume says how far that is, and is gone at the end.
#[utoipa::path(post, path = "/api/v1/vservers/{vserver}/volumes/{volume}/split",
    params(("vserver" = String, Path), ("volume" = String, Path)),
    responses((status = 202, body = VolumeView), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn split(
    State(state): State<AdminState>,
    Path((vserver, volume)): Path<(String, String)>,
) -> Result<(StatusCode, Body<VolumeView>), Problem> {
    Ok((StatusCode::ACCEPTED, Body(state.cluster.split_clone(&vserver, &volume).await?)))
}
