//! `/vservers/{v}/export-policies`: who may reach the volumes of a vserver.

use super::AdminState;
use super::problem::{Body, Path, Problem, Reply};
use crate::vserver::ExportRule;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use serde::{Deserialize, Serialize};

/// A policy. The first rule that matches a client's address decides.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct ExportPolicyView {
    /// Name, unique in the vserver.
    name: String,
    /// The rules, in order.
    rules: Vec<ExportRule>,
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct NewRules {
    /// The rules, in order; they replace those that were there.
    rules: Vec<ExportRule>,
}

pub(super) fn routes() -> axum::Router<AdminState> {
    axum::Router::new()
        .route("/vservers/{vserver}/export-policies", get(list).post(create))
        .route("/vservers/{vserver}/export-policies/{policy}", get(show).put(modify).delete(remove))
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(list, create, show, modify, remove))]
pub(super) struct Api;

#[utoipa::path(get, path = "/api/v1/vservers/{vserver}/export-policies", params(("vserver" = String, Path)),
    responses((status = 200, body = [ExportPolicyView]), (status = 404, body = Problem)))]
async fn list(State(state): State<AdminState>, Path(vserver): Path<String>) -> Reply<Vec<ExportPolicyView>> {
    let policies = state.cluster.export_policies(&vserver)?;
    Ok(Body(policies.into_iter().map(|(name, rules)| ExportPolicyView { name, rules }).collect()))
}

#[utoipa::path(post, path = "/api/v1/vservers/{vserver}/export-policies", params(("vserver" = String, Path)),
    request_body = ExportPolicyView,
    responses((status = 201, body = ExportPolicyView), (status = 400, body = Problem), (status = 409, body = Problem)))]
async fn create(
    State(state): State<AdminState>,
    Path(vserver): Path<String>,
    Body(new): Body<ExportPolicyView>,
) -> Result<(StatusCode, Body<ExportPolicyView>), Problem> {
    state.cluster.put_export_policy(&vserver, &new.name, new.rules, true).await?;
    let rules = state.cluster.export_policy(&vserver, &new.name)?;
    Ok((StatusCode::CREATED, Body(ExportPolicyView { name: new.name, rules })))
}

#[utoipa::path(get, path = "/api/v1/vservers/{vserver}/export-policies/{policy}",
    params(("vserver" = String, Path), ("policy" = String, Path)),
    responses((status = 200, body = ExportPolicyView), (status = 404, body = Problem)))]
async fn show(
    State(state): State<AdminState>,
    Path((vserver, name)): Path<(String, String)>,
) -> Reply<ExportPolicyView> {
    let rules = state.cluster.export_policy(&vserver, &name)?;
    Ok(Body(ExportPolicyView { name, rules }))
}

#[utoipa::path(put, path = "/api/v1/vservers/{vserver}/export-policies/{policy}",
    params(("vserver" = String, Path), ("policy" = String, Path)), request_body = NewRules,
    responses((status = 200, body = ExportPolicyView), (status = 404, body = Problem)))]
async fn modify(
    State(state): State<AdminState>,
    Path((vserver, name)): Path<(String, String)>,
    Body(new): Body<NewRules>,
) -> Reply<ExportPolicyView> {
    state.cluster.put_export_policy(&vserver, &name, new.rules, false).await?;
    let rules = state.cluster.export_policy(&vserver, &name)?;
    Ok(Body(ExportPolicyView { name, rules }))
}

#[utoipa::path(delete, path = "/api/v1/vservers/{vserver}/export-policies/{policy}",
    params(("vserver" = String, Path), ("policy" = String, Path)),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn remove(
    State(state): State<AdminState>,
    Path((vserver, policy)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    state.cluster.delete_export_policy(&vserver, &policy).await?;
    Ok(StatusCode::NO_CONTENT)
}
