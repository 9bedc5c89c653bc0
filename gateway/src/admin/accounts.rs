//! `/vservers/{v}/users` and `/vservers/{v}/groups`: who may log in by SMB. Passwords go in and never come out.

use super::AdminState;
use super::problem::{Body, Path, Problem, Reply};
use crate::cluster::{GroupPatch, GroupView, NewGroup, NewUser, UserPatch, UserView};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};

pub(super) fn routes() -> axum::Router<AdminState> {
    axum::Router::new()
        .route("/vservers/{vserver}/users", get(list).post(create))
        .route("/vservers/{vserver}/users/{user}", get(show).patch(modify).delete(remove))
        .route("/vservers/{vserver}/users/{user}/unlock", post(unlock))
        .route("/vservers/{vserver}/groups", get(list_groups).post(create_group))
        .route("/vservers/{vserver}/groups/{group}", get(show_group).patch(modify_group).delete(remove_group))
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(
    list,
    create,
    show,
    modify,
    remove,
    unlock,
    list_groups,
    create_group,
    show_group,
    modify_group,
    remove_group
))]
pub(super) struct Api;

#[utoipa::path(get, path = "/api/v1/vservers/{vserver}/users", params(("vserver" = String, Path)),
    responses((status = 200, body = [UserView]), (status = 404, body = Problem)))]
async fn list(State(state): State<AdminState>, Path(vserver): Path<String>) -> Reply<Vec<UserView>> {
    Ok(Body(state.cluster.users(&vserver)?))
}

#[utoipa::path(post, path = "/api/v1/vservers/{vserver}/users", params(("vserver" = String, Path)),
    request_body = NewUser,
    responses((status = 201, body = UserView), (status = 400, body = Problem), (status = 409, body = Problem)))]
async fn create(
    State(state): State<AdminState>,
    Path(vserver): Path<String>,
    Body(new): Body<NewUser>,
) -> Result<(StatusCode, Body<UserView>), Problem> {
    Ok((StatusCode::CREATED, Body(state.cluster.create_user(&vserver, new).await?)))
}

#[utoipa::path(get, path = "/api/v1/vservers/{vserver}/users/{user}",
    params(("vserver" = String, Path), ("user" = String, Path)),
    responses((status = 200, body = UserView), (status = 404, body = Problem)))]
async fn show(
    State(state): State<AdminState>,
    Path((vserver, user)): Path<(String, String)>,
) -> Reply<UserView> {
    Ok(Body(state.cluster.user(&vserver, &user)?))
}

#[utoipa::path(patch, path = "/api/v1/vservers/{vserver}/users/{user}",
    params(("vserver" = String, Path), ("user" = String, Path)), request_body = UserPatch,
    responses((status = 200, body = UserView), (status = 400, body = Problem), (status = 404, body = Problem)))]
async fn modify(
    State(state): State<AdminState>,
    Path((vserver, user)): Path<(String, String)>,
    Body(patch): Body<UserPatch>,
) -> Reply<UserView> {
    Ok(Body(state.cluster.modify_user(&vserver, &user, patch).await?))
}

#[utoipa::path(delete, path = "/api/v1/vservers/{vserver}/users/{user}",
    params(("vserver" = String, Path), ("user" = String, Path)),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn remove(
    State(state): State<AdminState>,
    Path((vserver, user)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    state.cluster.delete_user(&vserver, &user).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[utoipa::path(post, path = "/api/v1/vservers/{vserver}/users/{user}/unlock",
    params(("vserver" = String, Path), ("user" = String, Path)),
    responses((status = 200, body = UserView), (status = 404, body = Problem)))]
async fn unlock(
    State(state): State<AdminState>,
    Path((vserver, user)): Path<(String, String)>,
) -> Reply<UserView> {
    Ok(Body(state.cluster.unlock_user(&vserver, &user)?))
}

#[utoipa::path(get, path = "/api/v1/vservers/{vserver}/groups", params(("vserver" = String, Path)),
    responses((status = 200, body = [GroupView]), (status = 404, body = Problem)))]
async fn list_groups(State(state): State<AdminState>, Path(vserver): Path<String>) -> Reply<Vec<GroupView>> {
    Ok(Body(state.cluster.groups(&vserver)?))
}

#[utoipa::path(post, path = "/api/v1/vservers/{vserver}/groups", params(("vserver" = String, Path)),
    request_body = NewGroup,
    responses((status = 201, body = GroupView), (status = 400, body = Problem), (status = 409, body = Problem)))]
async fn create_group(
    State(state): State<AdminState>,
    Path(vserver): Path<String>,
    Body(new): Body<NewGroup>,
) -> Result<(StatusCode, Body<GroupView>), Problem> {
    Ok((StatusCode::CREATED, Body(state.cluster.create_group(&vserver, new).await?)))
}

#[utoipa::path(get, path = "/api/v1/vservers/{vserver}/groups/{group}",
    params(("vserver" = String, Path), ("group" = String, Path)),
    responses((status = 200, body = GroupView), (status = 404, body = Problem)))]
async fn show_group(
    State(state): State<AdminState>,
    Path((vserver, group)): Path<(String, String)>,
) -> Reply<GroupView> {
    Ok(Body(state.cluster.group(&vserver, &group)?))
}

#[utoipa::path(patch, path = "/api/v1/vservers/{vserver}/groups/{group}",
    params(("vserver" = String, Path), ("group" = String, Path)), request_body = GroupPatch,
    responses((status = 200, body = GroupView), (status = 404, body = Problem)))]
async fn modify_group(
    State(state): State<AdminState>,
    Path((vserver, group)): Path<(String, String)>,
    Body(patch): Body<GroupPatch>,
) -> Reply<GroupView> {
    Ok(Body(state.cluster.modify_group(&vserver, &group, patch).await?))
}

#[utoipa::path(delete, path = "/api/v1/vservers/{vserver}/groups/{group}",
    params(("vserver" = String, Path), ("group" = String, Path)),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn remove_group(
    State(state): State<AdminState>,
    Path((vserver, group)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    state.cluster.delete_group(&vserver, &group).await?;
    Ok(StatusCode::NO_CONTENT)
}
