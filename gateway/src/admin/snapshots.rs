//! `/vservers/{v}/volumes/{vol}/snapshots`: snapshots.

use super::AdminState;
use super::problem::{Body, Path, Problem, Query, Reply};
use crate::cluster::{ChangeView, NewSchedule, Restore, ScheduleView, SnapshotDiff, SnapshotView};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct NewSnapshot {
    /// Name, unique in the volume.
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangesQuery {
    base: String,
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
        .route("/vservers/{vserver}/volumes/{volume}/snapshots/{snapshot}/changes", get(changes))
        .route("/vservers/{vserver}/volumes/{volume}/snapshots/{snapshot}/restore", post(restore))
        .route(
            "/vservers/{vserver}/volumes/{volume}/snapshot-schedule",
            get(show_schedule).put(set_schedule).delete(clear_schedule),
        )
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(
    list,
    create,
    show,
    remove,
    diff,
    changes,
    restore,
    show_schedule,
    set_schedule,
    clear_schedule
))]
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

/// What changed since the snapshot `base`: one JSON object per line, as it is found. If it can't be read to its end, the last
/// line is a problem document.
#[utoipa::path(get, path = "/api/v1/vservers/{vserver}/volumes/{volume}/snapshots/{snapshot}/changes",
    params(("vserver" = String, Path), ("volume" = String, Path), ("snapshot" = String, Path),
        ("base" = String, Query)),
    responses((status = 200, body = ChangeView, content_type = "application/x-ndjson"), (status = 404, body = Problem)))]
async fn changes(
    State(state): State<AdminState>,
    Path((vserver, volume, snapshot)): Path<(String, String, String)>,
    Query(query): Query<ChangesQuery>,
) -> Result<Response, Problem> {
    let queue = state.cluster.snapshot_changes(&vserver, &volume, &query.base, &snapshot)?;
    let lines = futures_util::stream::unfold(queue, |mut queue| async move {
        let line = match queue.recv().await? {
            Ok(change) => serde_json::to_vec(&change),
            Err(error) => serde_json::to_vec(&Problem::from(error)),
        };
        let line = line.map(|mut line| {
            line.push(b'\n');
            line
        });
        Some((line, queue))
    });
    let kind = [(axum::http::header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, axum::body::Body::from_stream(lines)).into_response())
}

#[utoipa::path(post, path = "/api/v1/vservers/{vserver}/volumes/{volume}/snapshots/{snapshot}/restore",
    params(("vserver" = String, Path), ("volume" = String, Path), ("snapshot" = String, Path)),
    request_body = Restore,
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn restore(
    State(state): State<AdminState>,
    Path((vserver, volume, snapshot)): Path<(String, String, String)>,
    Body(what): Body<Restore>,
) -> Result<StatusCode, Problem> {
    state.cluster.restore_snapshot(&vserver, &volume, &snapshot, what).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[utoipa::path(get, path = "/api/v1/vservers/{vserver}/volumes/{volume}/snapshot-schedule",
    params(("vserver" = String, Path), ("volume" = String, Path)),
    responses((status = 200, body = ScheduleView), (status = 404, body = Problem)))]
async fn show_schedule(
    State(state): State<AdminState>,
    Path((vserver, volume)): Path<(String, String)>,
) -> Reply<ScheduleView> {
    Ok(Body(state.cluster.snapshot_schedule(&vserver, &volume)?))
}

#[utoipa::path(put, path = "/api/v1/vservers/{vserver}/volumes/{volume}/snapshot-schedule",
    params(("vserver" = String, Path), ("volume" = String, Path)), request_body = NewSchedule,
    responses((status = 200, body = ScheduleView), (status = 400, body = Problem), (status = 409, body = Problem)))]
async fn set_schedule(
    State(state): State<AdminState>,
    Path((vserver, volume)): Path<(String, String)>,
    Body(new): Body<NewSchedule>,
) -> Reply<ScheduleView> {
    Ok(Body(state.cluster.set_snapshot_schedule(&vserver, &volume, Some(new)).await?))
}

#[utoipa::path(delete, path = "/api/v1/vservers/{vserver}/volumes/{volume}/snapshot-schedule",
    params(("vserver" = String, Path), ("volume" = String, Path)),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn clear_schedule(
    State(state): State<AdminState>,
    Path((vserver, volume)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    state.cluster.set_snapshot_schedule(&vserver, &volume, None).await?;
    Ok(StatusCode::NO_CONTENT)
}
