//! `/vservers/{v}/volumes/{vol}/quotas`: quota rules, and what is used.

use super::AdminState;
use super::problem::{Body, Path, Problem, Query, Reply};
use crate::cluster::{QuotaAmounts, QuotaRuleView, QuotaUseView, QuotaWhom};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use serde::Deserialize;

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct NewQuota {
    /// Whom it is for.
    whom: QuotaWhom,
    /// What they may use.
    limits: QuotaAmounts,
}

pub(super) fn routes() -> axum::Router<AdminState> {
    axum::Router::new()
        .route("/vservers/{vserver}/volumes/{volume}/quotas", get(list).put(set).delete(remove))
        .route("/vservers/{vserver}/volumes/{volume}/quotas/report", get(report))
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(list, set, remove, report))]
pub(super) struct Api;

#[utoipa::path(get, path = "/api/v1/vservers/{vserver}/volumes/{volume}/quotas",
    params(("vserver" = String, Path), ("volume" = String, Path)),
    responses((status = 200, body = [QuotaRuleView]), (status = 404, body = Problem)))]
async fn list(
    State(state): State<AdminState>,
    Path((vserver, volume)): Path<(String, String)>,
) -> Reply<Vec<QuotaRuleView>> {
    Ok(Body(state.cluster.quota_rules(&vserver, &volume).await?))
}

/// Sets the rule for `whom`, or replaces it.
#[utoipa::path(put, path = "/api/v1/vservers/{vserver}/volumes/{volume}/quotas",
    params(("vserver" = String, Path), ("volume" = String, Path)), request_body = NewQuota,
    responses((status = 200, body = QuotaRuleView), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
async fn set(
    State(state): State<AdminState>,
    Path((vserver, volume)): Path<(String, String)>,
    Body(new): Body<NewQuota>,
) -> Reply<QuotaRuleView> {
    Ok(Body(state.cluster.set_quota(&vserver, &volume, new.whom, new.limits).await?))
}

#[utoipa::path(delete, path = "/api/v1/vservers/{vserver}/volumes/{volume}/quotas",
    params(("vserver" = String, Path), ("volume" = String, Path), ("kind" = String, Query),
        ("qtree" = Option<String>, Query), ("id" = Option<u32>, Query)),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn remove(
    State(state): State<AdminState>,
    Path((vserver, volume)): Path<(String, String)>,
    Query(whom): Query<QuotaWhom>,
) -> Result<StatusCode, Problem> {
    state.cluster.delete_quota(&vserver, &volume, whom).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What every qtree, user and group uses that uses anything or has a rule.
#[utoipa::path(get, path = "/api/v1/vservers/{vserver}/volumes/{volume}/quotas/report",
    params(("vserver" = String, Path), ("volume" = String, Path)),
    responses((status = 200, body = [QuotaUseView]), (status = 404, body = Problem)))]
async fn report(
    State(state): State<AdminState>,
    Path((vserver, volume)): Path<(String, String)>,
) -> Reply<Vec<QuotaUseView>> {
    Ok(Body(state.cluster.quota_report(&vserver, &volume).await?))
}
