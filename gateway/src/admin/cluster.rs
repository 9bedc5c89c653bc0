//! `/cluster` and `/nodes`: who this is.

use super::AdminState;
use super::problem::{Body, Problem, Reply};
use axum::extract::State;
use axum::routing::get;
use serde::Serialize;

/// The cluster.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct ClusterView {
    /// Name.
    name: String,
    /// Version of Ferry.
    version: String,
    /// Where other clusters reach it.
    peer_address: String,
    /// SHA-256 of its certificate.
    certificate_sha256: String,
    /// Nodes.
    nodes: Vec<String>,
    /// Vservers that are served.
    vservers_serving: usize,
}

/// A node.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct NodeView {
    /// Name.
    name: String,
    /// `up`: it has answered.
    state: String,
    /// Its admin address.
    admin_address: String,
    /// Where its volumes are.
    aggregate: String,
    /// Memory of its volumes in use for clean blocks and inodes, in bytes.
    cache_bytes: u64,
    /// Most of it.
    cache_limit_bytes: u64,
    /// Memory of its volumes in use for changes that no consistency point has written, in bytes.
    dirty_bytes: u64,
    /// Most of it: writers are slowed down before.
    dirty_limit_bytes: u64,
}

pub(super) fn routes() -> axum::Router<AdminState> {
    axum::Router::new()
        .route("/cluster", get(show_cluster))
        .route("/nodes", get(list_nodes))
        .route("/nodes/{node}", get(show_node))
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(show_cluster, list_nodes, show_node))]
pub(super) struct Api;

#[utoipa::path(get, path = "/api/v1/cluster", responses((status = 200, body = ClusterView)))]
async fn show_cluster(State(state): State<AdminState>) -> Reply<ClusterView> {
    let config = &state.cluster.config;
    Ok(Body(ClusterView {
        name: config.cluster.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        peer_address: config.peer.listen.to_string(),
        certificate_sha256: crate::peers::fingerprint_text(&state.cluster.identity.certificate),
        nodes: vec![config.cluster.node.clone()],
        vservers_serving: state.cluster.all_served().len(),
    }))
}

fn this_node(state: &AdminState) -> NodeView {
    let config = &state.cluster.config;
    let memory = state.cluster.memory_use();
    NodeView {
        name: config.cluster.node.clone(),
        state: "up".to_owned(),
        admin_address: config.admin.listen.to_string(),
        aggregate: config.aggregate_dir().display().to_string(),
        cache_bytes: memory.cache_bytes,
        cache_limit_bytes: memory.cache_bytes_max,
        dirty_bytes: memory.dirty_bytes,
        dirty_limit_bytes: memory.dirty_bytes_max,
    }
}

#[utoipa::path(get, path = "/api/v1/nodes", responses((status = 200, body = [NodeView])))]
async fn list_nodes(State(state): State<AdminState>) -> Reply<Vec<NodeView>> {
    Ok(Body(vec![this_node(&state)]))
}

#[utoipa::path(get, path = "/api/v1/nodes/{node}", params(("node" = String, Path)),
    responses((status = 200, body = NodeView), (status = 404, body = Problem)))]
async fn show_node(
    State(state): State<AdminState>,
    super::problem::Path(node): super::problem::Path<String>,
) -> Reply<NodeView> {
    let this = this_node(&state);
    if this.name != node {
        return Err(crate::cluster::ClusterError::not_found("node", &node).into());
    }
    Ok(Body(this))
}
