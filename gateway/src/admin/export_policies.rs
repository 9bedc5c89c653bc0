//! `/vservers/{v}/export-policies`: who may reach the volumes of a vserver.

use super::AdminState;
use super::problem::{Body, Path, Problem, Query, Reply};
use crate::cluster::RuleEdit;
use crate::vserver::ExportRule;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

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

/// A rule and its place.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct NewRule {
    /// The number that it is to have, counted from 1; left out: the last.
    index: Option<usize>,
    /// The rule.
    rule: ExportRule,
}

/// Whom to check.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
struct CheckQuery {
    /// The client's address.
    #[param(value_type = String)]
    client: IpAddr,
    /// The port that it calls from; left out: a privileged one.
    port: Option<u16>,
}

/// What a policy says about a client.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct CheckView {
    /// The policy.
    policy: String,
    /// The client's address.
    #[schema(value_type = String)]
    client: IpAddr,
    /// `rw`, `ro` or `none`.
    access: &'static str,
    /// Number of the rule that decides, counted from 1.
    index: Option<usize>,
    /// That rule.
    rule: Option<ExportRule>,
    /// Why it is that one.
    why: String,
    /// Names in the rules before it that are not known, so that they match nobody.
    unknown: Vec<String>,
}

pub(super) fn routes() -> axum::Router<AdminState> {
    axum::Router::new()
        .route("/vservers/{vserver}/export-policies", get(list).post(create))
        .route("/vservers/{vserver}/export-policies/{policy}", get(show).put(modify).delete(remove))
        .route("/vservers/{vserver}/export-policies/{policy}/rules", post(add_rule))
        .route("/vservers/{vserver}/export-policies/{policy}/rules/{index}", delete(remove_rule))
        .route("/vservers/{vserver}/export-policies/{policy}/check", get(check))
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(list, create, show, modify, remove, add_rule, remove_rule, check))]
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

#[utoipa::path(post, path = "/api/v1/vservers/{vserver}/export-policies/{policy}/rules",
    params(("vserver" = String, Path), ("policy" = String, Path)), request_body = NewRule,
    responses((status = 200, body = ExportPolicyView), (status = 400, body = Problem), (status = 404, body = Problem)))]
async fn add_rule(
    State(state): State<AdminState>,
    Path((vserver, name)): Path<(String, String)>,
    Body(new): Body<NewRule>,
) -> Reply<ExportPolicyView> {
    let edit = RuleEdit::Insert(new.index, new.rule);
    state.cluster.edit_export_policy(&vserver, &name, edit).await?;
    let rules = state.cluster.export_policy(&vserver, &name)?;
    Ok(Body(ExportPolicyView { name, rules }))
}

#[utoipa::path(delete, path = "/api/v1/vservers/{vserver}/export-policies/{policy}/rules/{index}",
    params(("vserver" = String, Path), ("policy" = String, Path), ("index" = usize, Path)),
    responses((status = 200, body = ExportPolicyView), (status = 400, body = Problem), (status = 404, body = Problem)))]
async fn remove_rule(
    State(state): State<AdminState>,
    Path((vserver, name, index)): Path<(String, String, usize)>,
) -> Reply<ExportPolicyView> {
    state.cluster.edit_export_policy(&vserver, &name, RuleEdit::Remove(index)).await?;
    let rules = state.cluster.export_policy(&vserver, &name)?;
    Ok(Body(ExportPolicyView { name, rules }))
}

#[utoipa::path(get, path = "/api/v1/vservers/{vserver}/export-policies/{policy}/check",
    params(("vserver" = String, Path), ("policy" = String, Path), CheckQuery),
    responses((status = 200, body = CheckView), (status = 404, body = Problem)))]
async fn check(
    State(state): State<AdminState>,
    Path((vserver, policy)): Path<(String, String)>,
    Query(CheckQuery { client, port }): Query<CheckQuery>,
) -> Reply<CheckView> {
    let checked = state.cluster.check_export(&vserver, &policy, client, port)?;
    let access = match checked.decision.access {
        Some(access) if access.write => "rw",
        Some(_) => "ro",
        None => "none",
    };
    let (index, why, unknown) = (checked.decision.rule, checked.decision.why, checked.decision.unknown);
    Ok(Body(CheckView { policy, client, access, index, rule: checked.rule, why, unknown }))
}
