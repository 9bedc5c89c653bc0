//! `/vservers/{v}/volumes/{vol}/snapshots`: snapshots.

use super::AdminState;
use super::problem::{Body, Path, Problem, Query, Reply};
use crate::cluster::{SnapshotDiff, SnapshotView};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use serde::Deserialize;

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct NewSnapshot {
    /// Name, unique in the volume.
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DiffQuery {
    base: Option<String>,
}

pub(super) fn routes() -> axum::Router<AdminState> {
    axum::Router::new()
        .route("/vservers/{vserver}/volumes/{volume}/snapshots", get(list).post(create))
        .route("/vservers/{vserver}/volumes/{volume}/snapshots/{snapshot}", get(show).delete(remove))
        .route("/vservers/{vserver}/volumes/{volume}/snapshots/{snapshot}/diff", get(diff))
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(list, create, show, remove, diff))]
pub(super) struct Api;

#[utoipa::path(get, path = "/api/v1/vservers/{vserver}/volumes/{volume}/snapshots",
    params(("vserver" = String, Path), ("volume" = String, Path)),
    responses((status = 200, body = [SnapshotView]), (status = 404, body = Problem)))]
async fn list(
    State(state): State<AdminState>,
    Path((vserver, volume)): Path<(String, String)>,
) -> Reply<Vec<SnapshotView>> {
    Ok(Body(state.cluster.snapshots(&vserver, &volume)?))
}

#[utoipa::path(post, path = "/api/v1/vservers/{vserver}/volumes/{volume}/snapshots",
    params(("vserver" = String, Path), ("volume" = String, Path)), request_body = NewSnapshot,
    responses((status = 201, body = SnapshotView), (status = 409, body = Problem)))]
async fn create(
    State(state): State<AdminState>,
    Path((vserver, volume)): Path<(String, String)>,
    Body(new): Body<NewSnapshot>,
) -> Result<(StatusCode, Body<SnapshotView>), Problem> {
    Ok((StatusCode::CREATED, Body(state.cluster.create_snapshot(&vserver, &volume, &new.name).await?)))
}

#[utoipa::path(get, path = "/api/v1/vservers/{vserver}/volumes/{volume}/snapshots/{snapshot}",
    params(("vserver" = String, Path), ("volume" = String, Path), ("snapshot" = String, Path)),
    responses((status = 200, body = SnapshotView), (status = 404, body = Problem)))]
async fn show(
    State(state): State<AdminState>,
    Path((vserver, volume, snapshot)): Path<(String, String, String)>,
) -> Reply<SnapshotView> {
    Ok(Body(state.cluster.snapshot(&vserver, &volume, &snapshot)?))
}

#[utoipa::path(delete, path = "/api/v1/vservers/{vserver}/volumes/{volume}/snapshots/{snapshot}",
    params(("vserver" = String, Path), ("volume" = String, Path), ("snapshot" = String, Path)),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn remove(
    State(state): State<AdminState>,
    Path((vserver, volume, snapshot)): Path<(String, String, String)>,
) -> Result<StatusCode, Problem> {
    state.cluster.delete_snapshot(&vserver, &volume, &snapshot).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[utoipa::path(get, path = "/api/v1/vservers/{vserver}/volumes/{volume}/snapshots/{snapshot}/diff",
    params(("vserver" = String, Path), ("volume" = String, Path), ("snapshot" = String, Path),
        ("base" = Option<String>, Query)),
    responses((status = 200, body = SnapshotDiff), (status = 404, body = Problem)))]
async fn diff(
    State(state): State<AdminState>,
    Path((vserver, volume, snapshot)): Path<(String, String, String)>,
    Query(query): Query<DiffQuery>,
) -> Reply<SnapshotDiff> {
    Ok(Body(state.cluster.snapshot_diff(&vserver, &volume, query.base, &snapshot).await?))
}
