//! Metrics of a node in Prometheus' text format. What is counted where is named here and nowhere else.

use crate::cluster::Cluster;
use crate::vserver::Vserver;
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
        describe_gauge!("ferry_locks_held", "Byte-range locks that clients hold");
        describe_gauge!("ferry_locks_waiting", "Requests that wait for a lock");
        describe_gauge!("ferry_share_reservations", "Share reservations that clients hold");
        describe_gauge!("ferry_lock_clients", "Clients that hold or want locks");
        describe_gauge!("ferry_lock_grace_seconds", "What is left of the grace period");
        describe_gauge!("ferry_migration_phase", "1 for the phase that a migration is in");
        describe_counter!("ferry_consistency_points_total", "Consistency points taken by the clock");
        describe_gauge!("ferry_volume_fault", "1 for a volume that takes no changes or can't be mounted");
        describe_gauge!("ferry_volume_scrub_progress_ratio", "How much of the scrub's pass is done, 0 to 1");
        describe_gauge!(
            "ferry_volume_scrub_damaged_blocks",
            "Blocks of a volume that the scrub found damaged"
        );
        describe_gauge!("ferry_memory_cache_bytes", "Clean blocks and inodes of volumes in memory");
        describe_gauge!("ferry_memory_cache_limit_bytes", "Most of them");
        describe_gauge!(
            "ferry_memory_dirty_bytes",
            "Changes in memory that no consistency point has written"
        );
        describe_gauge!("ferry_memory_dirty_limit_bytes", "Most of them");
        describe_counter!("ferry_scrubbed_bytes_total", "Bytes that the background scrub has read");
        handle
    });
}

/// Counts what the scrub has read.
pub(crate) fn scrubbed(bytes: u64) {
    counter!("ferry_scrubbed_bytes_total").increment(bytes);
}

/// How the volumes of a vserver are.
fn volumes(cluster: &Cluster, vserver: &str) {
    for volume in cluster.volumes(vserver).unwrap_or_default() {
        let (vserver, name) = (vserver.to_owned(), volume.name);
        let fault = if volume.fault.is_some() { 1.0 } else { 0.0 };
        gauge!("ferry_volume_fault", "vserver" => vserver.clone(), "volume" => name.clone()).set(fault);
        let Some(scrub) = volume.scrub else { continue };
        gauge!("ferry_volume_scrub_progress_ratio", "vserver" => vserver.clone(), "volume" => name.clone())
            .set(as_f64(scrub.progress_percent) / 100.0);
        gauge!("ferry_volume_scrub_damaged_blocks", "vserver" => vserver, "volume" => name)
            .set(as_f64(scrub.damaged_blocks));
    }
}

/// What clients of a vserver have locked.
fn locks(vserver: &Vserver) {
    let counts = vserver.locks.counts();
    let gauge = |what: &'static str, value: usize| {
        gauge!(what, "vserver" => vserver.name.clone()).set(as_f64(value as u64));
    };
    gauge("ferry_locks_held", counts.locks);
    gauge("ferry_locks_waiting", counts.waiting);
    gauge("ferry_share_reservations", counts.shares);
    gauge("ferry_lock_clients", counts.clients);
    let left = vserver.grace.left().unwrap_or_default();
    gauge!("ferry_lock_grace_seconds", "vserver" => vserver.name.clone()).set(left.as_secs_f64());
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
        volumes(cluster, &name);
        locks(vserver);
        let counters = vserver.qos.counters();
        counter!("ferry_read_bytes_total", "vserver" => name.clone()).absolute(counters.read_bytes);
        counter!("ferry_read_ops_total", "vserver" => name.clone()).absolute(counters.read_ops);
        counter!("ferry_write_bytes_total", "vserver" => name.clone()).absolute(counters.write_bytes);
        counter!("ferry_write_ops_total", "vserver" => name.clone()).absolute(counters.write_ops);
        counter!("ferry_throttled_microseconds_total", "vserver" => name.clone())
            .absolute(counters.throttled_us);
        let limit = vserver.qos.write_limit().unwrap_or(0);
        gauge!("ferry_write_limit_bytes_per_second", "vserver" => name.clone()).set(as_f64(limit));
        let in_flight = vserver.gate.in_flight() as u64;
        gauge!("ferry_requests_in_flight", "vserver" => name.clone()).set(as_f64(in_flight));
        gauge!("ferry_requests_parked", "vserver" => name).set(as_f64(vserver.gate.parked() as u64));
    }
    let memory = cluster.memory_use();
    gauge!("ferry_memory_cache_bytes").set(as_f64(memory.cache_bytes));
    gauge!("ferry_memory_cache_limit_bytes").set(as_f64(memory.cache_bytes_max));
    gauge!("ferry_memory_dirty_bytes").set(as_f64(memory.dirty_bytes));
    gauge!("ferry_memory_dirty_limit_bytes").set(as_f64(memory.dirty_bytes_max));
    for record in migrations {
        for phase in PHASES {
            let (id, vserver) = (record.id.to_string(), record.spec.vserver.clone());
            let here = if record.phase == phase { 1.0 } else { 0.0 };
            gauge!("ferry_migration_phase", "id" => id, "vserver" => vserver, "phase" => phase.name())
                .set(here);
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
