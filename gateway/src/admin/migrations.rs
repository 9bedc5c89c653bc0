//! `/migrations`: starting, looking at and commanding migrations, and their events as a stream.

use super::AdminState;
use super::problem::{Body, Path, Problem, Reply};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::{get, post};
use futures_util::stream::{self, Stream};
use migrate::{Command, CommandError, MigrationId, MigrationSpec, Status, StatusWatch, ThrottlePolicy};
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use uuid::Uuid;

/// Largest cutover window, in seconds.
const WINDOW_S_MAX: f64 = 3600.0;

/// What to move, where to, and within which bounds.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct NewMigration {
    /// The vserver.
    vserver: String,
    /// The peer cluster to move to.
    destination: String,
    /// Longest time that the vserver may be unavailable, in seconds; default 120.
    cutover_window_s: Option<f64>,
    /// Pause that the throttle works for, in milliseconds; default 300.
    pause_target_ms: Option<u64>,
    /// Updates repeat until sending what changed meanwhile takes no longer, in milliseconds; default 2000.
    lag_goal_ms: Option<u64>,
    /// Whether to cut over without being told; default true.
    auto_cutover: Option<bool>,
    /// Whether to remove the source's copy once the destination serves; default false.
    auto_source_cleanup: Option<bool>,
    /// Fraction to which one throttle step lowers the write limit; default 0.5.
    throttle_factor: Option<f64>,
    /// The write limit never goes below this; default 1 MiB/s.
    throttle_floor_bytes_per_s: Option<u64>,
    /// Only check whether the migration could start.
    #[serde(default)]
    check_only: bool,
}

/// What a start or a command answers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct MigrationStarted {
    /// The migration; `null` for `check_only`.
    id: Option<Uuid>,
    /// In words.
    detail: String,
}

impl NewMigration {
    fn spec(&self) -> Result<MigrationSpec, Problem> {
        let refuse = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
        let mut spec = MigrationSpec::new(&self.vserver, &self.destination);
        if let Some(window_s) = self.cutover_window_s {
            if !(window_s > 0.0 && window_s <= WINDOW_S_MAX) {
                return Err(refuse(format!("cutover_window_s must be more than 0 and at most {WINDOW_S_MAX}")));
            }
            let window = std::time::Duration::from_secs_f64(window_s);
            spec.cutover_window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX).max(1);
        }
        let ThrottlePolicy { factor, floor_bytes_per_s, .. } = spec.throttle;
        spec.throttle.factor = self.throttle_factor.unwrap_or(factor);
        if !(spec.throttle.factor > 0.0 && spec.throttle.factor < 1.0) {
            return Err(refuse("throttle_factor must be more than 0 and less than 1".to_owned()));
        }
        spec.throttle.floor_bytes_per_s = self.throttle_floor_bytes_per_s.unwrap_or(floor_bytes_per_s);
        spec.pause_target_ms = self.pause_target_ms.unwrap_or(spec.pause_target_ms);
        spec.lag_goal_ms = self.lag_goal_ms.unwrap_or(spec.lag_goal_ms);
        spec.auto_cutover = self.auto_cutover.unwrap_or(spec.auto_cutover);
        spec.auto_source_cleanup = self.auto_source_cleanup.unwrap_or(spec.auto_source_cleanup);
        Ok(spec)
    }
}

pub(super) fn routes() -> axum::Router<AdminState> {
    axum::Router::new()
        .route("/migrations", get(list).post(start))
        .route("/migrations/{id}", get(show))
        .route("/migrations/{id}/events", get(events))
        .route("/migrations/{id}/{action}", post(command))
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(list, start, show, command, events))]
pub(super) struct Api;

#[utoipa::path(get, path = "/api/v1/migrations", responses((status = 200, body = [Object])))]
async fn list(State(state): State<AdminState>) -> Reply<Vec<Status>> {
    Ok(Body(state.migrator.list()))
}

#[utoipa::path(post, path = "/api/v1/migrations", request_body = NewMigration,
    responses((status = 200, description = "check_only: it could start", body = MigrationStarted),
        (status = 201, body = MigrationStarted), (status = 400, body = Problem), (status = 409, body = Problem)))]
async fn start(
    State(state): State<AdminState>,
    Body(new): Body<NewMigration>,
) -> Result<(StatusCode, Body<MigrationStarted>), Problem> {
    let spec = new.spec()?;
    state.cluster.record(&spec.vserver)?;
    if new.check_only {
        state.migrator.check(&spec).await?;
        let detail = format!("vserver `{}` can move to `{}`", spec.vserver, spec.destination);
        return Ok((StatusCode::OK, Body(MigrationStarted { id: None, detail })));
    }
    let id = state.migrator.start(spec).await?;
    Ok((StatusCode::CREATED, Body(MigrationStarted { id: Some(id.0), detail: "started".to_owned() })))
}

#[utoipa::path(get, path = "/api/v1/migrations/{id}", params(("id" = Uuid, Path)),
    responses((status = 200, body = Object), (status = 404, body = Problem)))]
async fn show(State(state): State<AdminState>, Path(id): Path<Uuid>) -> Reply<Status> {
    Ok(Body(state.migrator.status(MigrationId(id)).ok_or(CommandError::NotFound)?))
}

#[utoipa::path(post, path = "/api/v1/migrations/{id}/{action}",
    params(("id" = Uuid, Path), ("action" = String, Path, description = "pause, resume, cutover, abort or cleanup")),
    responses((status = 202, body = MigrationStarted), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn command(
    State(state): State<AdminState>,
    Path((id, action)): Path<(Uuid, String)>,
) -> Result<(StatusCode, Body<MigrationStarted>), Problem> {
    let all = [Command::Pause, Command::Resume, Command::Cutover, Command::Abort, Command::Cleanup];
    let command = all.into_iter().find(|command| command.name() == action).ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, format!("`{action}` is not pause, resume, cutover, abort or cleanup"))
    })?;
    state.migrator.command(MigrationId(id), command).await?;
    Ok((StatusCode::ACCEPTED, Body(MigrationStarted { id: Some(id), detail: format!("{action} accepted") })))
}

#[utoipa::path(get, path = "/api/v1/migrations/{id}/events", params(("id" = Uuid, Path)),
    responses((status = 200, description = "server-sent events: `status`, whose data is the migration as JSON",
        content_type = "text/event-stream", body = String), (status = 404, body = Problem)))]
async fn events(
    State(state): State<AdminState>,
    Path(id): Path<Uuid>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let mut watch = state.migrator.watch(MigrationId(id)).ok_or(CommandError::NotFound)?;
    let first = watch.current();
    Ok(Sse::new(stream::unfold((watch, first, state), next_event)).keep_alive(KeepAlive::default()))
}

type EventState = (StatusWatch, Option<Status>, AdminState);

/// One event per change; ends with the migration's driver, and with the node.
async fn next_event((mut watch, pending, state): EventState) -> Option<(Result<Event, Infallible>, EventState)> {
    let status = match pending {
        Some(status) => status,
        None => tokio::select! {
            changed = watch.changed() => changed?,
            () = state.stopping.cancelled() => return None,
        },
    };
    let event = Event::default().event("status").json_data(&status).unwrap_or_default();
    Some((Ok(event), (watch, None, state)))
}
