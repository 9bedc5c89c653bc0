//! `/vservers`: virtual servers, and `/vservers/{v}/qos`.

use super::AdminState;
use super::problem::{Body, Path, Problem, Reply};
use crate::cluster::VserverView;
use crate::store::QosRecord;
use crate::vserver::Encryption;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct NewVserver {
    /// Name, unique in the cluster.
    name: String,
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct VserverPatch {
    /// `true`: serve it; `false`: stop it.
    online: Option<bool>,
    /// `true`: calls run with the groups of the node's user database; `false`: with the up to 16 that they name.
    extended_groups: Option<bool>,
    /// SMB clients that do not sign are refused; `false`: they may leave it.
    smb_signing_required: Option<bool>,
    /// The least encryption of every SMB share.
    smb_encryption: Option<Encryption>,
}

/// Limits and counters of a vserver.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct QosView {
    /// The operator's write limit.
    write_limit_bytes_per_s: Option<u64>,
    /// The limit in force, with that of a migration; only of a served vserver.
    write_limit_in_force_bytes_per_s: Option<u64>,
    /// Most NFS calls per second of all clients together.
    limit_ops_per_s: Option<u64>,
    /// Most bytes per second that all clients together may read and write.
    limit_bytes_per_s: Option<u64>,
    /// Most NFS calls per second of one client address.
    client_limit_ops_per_s: Option<u64>,
    /// Most bytes per second that one client address may read and write.
    client_limit_bytes_per_s: Option<u64>,
    /// What clients wrote in about the last second.
    write_bytes_per_s: u64,
    /// NFS calls since the vserver was mounted here.
    ops: u64,
    /// Since the vserver was mounted here.
    write_bytes: u64,
    /// Since the vserver was mounted here.
    read_bytes: u64,
    /// Time that writes waited for the throttle, since the vserver was mounted here.
    throttled_us: u64,
    /// Time that calls waited for the other limits, since the vserver was mounted here.
    delayed_us: u64,
    /// Requests that wait at the gate during a cutover.
    requests_parked: usize,
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct NewQos {
    /// Most bytes per second that clients may write; `null`: no limit.
    write_limit_bytes_per_s: Option<u64>,
    /// Most NFS calls per second of all clients together; `null`: no limit.
    limit_ops_per_s: Option<u64>,
    /// Most bytes per second that all clients together may read and write; `null`: no limit.
    limit_bytes_per_s: Option<u64>,
    /// Most NFS calls per second of one client address; `null`: no limit.
    client_limit_ops_per_s: Option<u64>,
    /// Most bytes per second that one client address may read and write; `null`: no limit.
    client_limit_bytes_per_s: Option<u64>,
}

pub(super) fn routes() -> axum::Router<AdminState> {
    axum::Router::new()
        .route("/vservers", get(list).post(create))
        .route("/vservers/{vserver}", get(show).patch(modify).delete(remove))
        .route("/vservers/{vserver}/qos", get(show_qos).put(set_qos))
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(list, create, show, modify, remove, show_qos, set_qos))]
pub(super) struct Api;

#[utoipa::path(get, path = "/api/v1/vservers", responses((status = 200, body = [VserverView])))]
async fn list(State(state): State<AdminState>) -> Reply<Vec<VserverView>> {
    Ok(Body(state.cluster.vservers()?))
}

#[utoipa::path(post, path = "/api/v1/vservers", request_body = NewVserver,
    responses((status = 201, body = VserverView), (status = 400, body = Problem), (status = 409, body = Problem)))]
async fn create(
    State(state): State<AdminState>,
    Body(new): Body<NewVserver>,
) -> Result<(StatusCode, Body<VserverView>), Problem> {
    Ok((StatusCode::CREATED, Body(state.cluster.create_vserver(&new.name).await?)))
}

#[utoipa::path(get, path = "/api/v1/vservers/{vserver}", params(("vserver" = String, Path)),
    responses((status = 200, body = VserverView), (status = 404, body = Problem)))]
async fn show(State(state): State<AdminState>, Path(vserver): Path<String>) -> Reply<VserverView> {
    Ok(Body(state.cluster.vserver(&vserver)?))
}

#[utoipa::path(patch, path = "/api/v1/vservers/{vserver}", params(("vserver" = String, Path)),
    request_body = VserverPatch, responses((status = 200, body = VserverView), (status = 409, body = Problem)))]
async fn modify(
    State(state): State<AdminState>,
    Path(vserver): Path<String>,
    Body(patch): Body<VserverPatch>,
) -> Reply<VserverView> {
    if let Some(extended) = patch.extended_groups {
        state.cluster.set_extended_groups(&vserver, extended).await?;
    }
    if patch.smb_signing_required.is_some() || patch.smb_encryption.is_some() {
        let cluster = &state.cluster;
        cluster.set_smb_settings(&vserver, patch.smb_signing_required, patch.smb_encryption).await?;
    }
    if let Some(online) = patch.online {
        state.cluster.set_vserver_online(&vserver, online).await?;
    }
    Ok(Body(state.cluster.vserver(&vserver)?))
}

#[utoipa::path(delete, path = "/api/v1/vservers/{vserver}", params(("vserver" = String, Path)),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn remove(State(state): State<AdminState>, Path(vserver): Path<String>) -> Result<StatusCode, Problem> {
    state.cluster.delete_vserver(&vserver).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[utoipa::path(get, path = "/api/v1/vservers/{vserver}/qos", params(("vserver" = String, Path)),
    responses((status = 200, body = QosView), (status = 404, body = Problem)))]
async fn show_qos(State(state): State<AdminState>, Path(vserver): Path<String>) -> Reply<QosView> {
    qos_view(&state, &vserver)
}

fn qos_view(state: &AdminState, vserver: &str) -> Reply<QosView> {
    let record = state.cluster.record(vserver)?;
    let served = state.cluster.served(vserver);
    let counters = served.as_ref().map(|served| served.vserver.qos.counters()).unwrap_or_default();
    Ok(Body(QosView {
        write_limit_bytes_per_s: record.qos.write_limit_bytes_per_s,
        write_limit_in_force_bytes_per_s: served.as_ref().and_then(|served| served.vserver.qos.write_limit()),
        limit_ops_per_s: record.qos.limit_ops_per_s,
        limit_bytes_per_s: record.qos.limit_bytes_per_s,
        client_limit_ops_per_s: record.qos.client_limit_ops_per_s,
        client_limit_bytes_per_s: record.qos.client_limit_bytes_per_s,
        ops: counters.ops,
        write_bytes_per_s: served.as_ref().map_or(0, |served| served.write_rate()),
        write_bytes: counters.write_bytes,
        read_bytes: counters.read_bytes,
        throttled_us: counters.throttled_us,
        delayed_us: counters.delayed_us,
        requests_parked: served.map_or(0, |served| served.vserver.gate.parked()),
    }))
}

#[utoipa::path(put, path = "/api/v1/vservers/{vserver}/qos", params(("vserver" = String, Path)),
    request_body = NewQos, responses((status = 200, body = QosView), (status = 400, body = Problem)))]
async fn set_qos(
    State(state): State<AdminState>,
    Path(vserver): Path<String>,
    Body(new): Body<NewQos>,
) -> Reply<QosView> {
    let qos = QosRecord {
        write_limit_bytes_per_s: new.write_limit_bytes_per_s,
        limit_ops_per_s: new.limit_ops_per_s,
        limit_bytes_per_s: new.limit_bytes_per_s,
        client_limit_ops_per_s: new.client_limit_ops_per_s,
        client_limit_bytes_per_s: new.client_limit_bytes_per_s,
    };
    state.cluster.set_qos(&vserver, qos).await?;
    qos_view(&state, &vserver)
}
