//! `/vservers/{v}/locks`: locks that clients hold.

use super::AdminState;
use super::problem::{Body, Path, Problem, Reply};
use crate::cluster::{BrokenLocks, LockView};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use serde::Deserialize;
use std::net::IpAddr;

pub(super) fn routes() -> axum::Router<AdminState> {
    axum::Router::new().route("/vservers/{vserver}/locks", get(list).delete(break_locks))
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(list, break_locks))]
pub(super) struct Api;

/// Whose locks.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Whose {
    client: String,
    name: Option<String>,
}

#[utoipa::path(get, path = "/api/v1/vservers/{vserver}/locks", params(("vserver" = String, Path)),
    responses((status = 200, body = [LockView]), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn list(State(state): State<AdminState>, Path(vserver): Path<String>) -> Reply<Vec<LockView>> {
    Ok(Body(state.cluster.locks(&vserver)?))
}

#[utoipa::path(delete, path = "/api/v1/vservers/{vserver}/locks",
    params(("vserver" = String, Path), ("client" = String, Query), ("name" = Option<String>, Query)),
    responses((status = 200, body = BrokenLocks), (status = 400, body = Problem), (status = 404, body = Problem)))]
async fn break_locks(
    State(state): State<AdminState>,
    Path(vserver): Path<String>,
    whose: Result<Query<Whose>, axum::extract::rejection::QueryRejection>,
) -> Reply<BrokenLocks> {
    let wrong = |text: String| Problem::new(StatusCode::BAD_REQUEST, text);
    let Query(Whose { client, name }) = whose.map_err(|error| wrong(error.body_text()))?;
    let client: IpAddr = client.parse().map_err(|_| wrong(format!("`{client}` is no IP address")))?;
    Ok(Body(state.cluster.break_locks(&vserver, client, name).await?))
}
