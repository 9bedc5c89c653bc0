//! Metrics of a node in Prometheus' text format. What is counted where is named here and nowhere else.

use crate::cluster::Cluster;
use metrics::{counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use migrate::{MigrationRecord, Phase};
use std::sync::OnceLock;

static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

const PHASES: [Phase; 10] = [
    Phase::Setup,
    Phase::Baseline,
    Phase::Update,
    Phase::AdminCutover,
    Phase::Cutover,
    Phase::Activate,
    Phase::Completed,
    Phase::Paused,
    Phase::Aborted,
    Phase::Failed,
];

/// Begins to record. Once per process; later calls do nothing.
pub fn install() {
    HANDLE.get_or_init(|| {
        let handle = PrometheusBuilder::new().install_recorder().ok();
        describe_counter!("ferry_read_bytes_total", "Bytes that clients read, per vserver");
        describe_counter!("ferry_read_ops_total", "READ operations, per vserver");
        describe_counter!("ferry_write_bytes_total", "Bytes that clients wrote, per vserver");
        describe_counter!("ferry_write_ops_total", "WRITE operations, per vserver");
        describe_counter!("ferry_throttled_microseconds_total", "Time that writes waited for the throttle");
        describe_gauge!("ferry_write_limit_bytes_per_second", "Write limit in force; 0: none");
        describe_gauge!("ferry_requests_in_flight", "Requests inside the gate");
        describe_gauge!("ferry_requests_parked", "Requests that wait at a frozen gate");
        describe_gauge!("ferry_migration_phase", "1 for the phase that a migration is in");
        describe_counter!("ferry_consistency_points_total", "Consistency points taken by the clock");
        handle
    });
}

/// Counts a consistency point.
pub(crate) fn consistency_point() {
    counter!("ferry_consistency_points_total").increment(1);
}

/// The text of `/metrics`, as of now.
pub fn render(cluster: &Cluster, migrations: &[MigrationRecord]) -> String {
    for served in cluster.all_served() {
        let vserver = &served.vserver;
        let name = vserver.name.clone();
        let counters = vserver.qos.counters();
        counter!("ferry_read_bytes_total", "vserver" => name.clone()).absolute(counters.read_bytes);
        counter!("ferry_read_ops_total", "vserver" => name.clone()).absolute(counters.read_ops);
        counter!("ferry_write_bytes_total", "vserver" => name.clone()).absolute(counters.write_bytes);
        counter!("ferry_write_ops_total", "vserver" => name.clone()).absolute(counters.write_ops);
        counter!("ferry_throttled_microseconds_total", "vserver" => name.clone()).absolute(counters.throttled_us);
        let limit = vserver.qos.write_limit().unwrap_or(0);
        gauge!("ferry_write_limit_bytes_per_second", "vserver" => name.clone()).set(as_f64(limit));
        let in_flight = vserver.gate.in_flight() as u64;
        gauge!("ferry_requests_in_flight", "vserver" => name.clone()).set(as_f64(in_flight));
        gauge!("ferry_requests_parked", "vserver" => name).set(as_f64(vserver.gate.parked() as u64));
    }
    for record in migrations {
        for phase in PHASES {
            let (id, vserver) = (record.id.to_string(), record.spec.vserver.clone());
            let here = if record.phase == phase { 1.0 } else { 0.0 };
            gauge!("ferry_migration_phase", "id" => id, "vserver" => vserver, "phase" => phase.name()).set(here);
        }
    }
    match HANDLE.get() {
        Some(Some(handle)) => handle.render(),
        _ => String::new(),
    }
}

/// Gauges are floating point; above 2^53 the last digits do not matter.
fn as_f64(value: u64) -> f64 {
    value as f64
}
