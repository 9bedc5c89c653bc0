//! Whole migrations between two clusters in one process: real volumes under a writer, real links, links cut
//! and either side stopped at every step.

#![allow(clippy::unwrap_used, reason = "a test ends by panicking")]

mod common;

use common::{Client, Host, Node, once, verify};
use fsstore::FileId;
use migrate::{Command, FailAction, Failpoints, MigrationId, MigrationSpec, Phase, Status};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use uuid::Uuid;

struct Pair {
    from: Node,
    to: Node,
    files: Vec<(Uuid, FileId)>,
    _dir: TempDir,
}

async fn pair(from_points: Failpoints, to_points: Failpoints) -> Pair {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (Host::new("a", dir.path().into()), Host::new("b", dir.path().into()));
    let files = a.populate(2);
    let any = "127.0.0.1:0".parse().unwrap();
    let from = Node::start(a.clone(), any, from_points).await;
    let to = Node::start(b.clone(), any, to_points).await;
    a.meet(&b, to.address());
    b.meet(&a, from.address());
    Pair { from, to, files, _dir: dir }
}

fn spec() -> MigrationSpec {
    MigrationSpec::new("v", "b")
}

impl Pair {
    fn client(&self) -> Client {
        Client::start([self.from.host.clone(), self.to.host.clone()], self.files.clone())
    }

    async fn ends(&self, id: MigrationId) -> Status {
        let limit = Instant::now() + Duration::from_secs(60);
        loop {
            let status = self.from.migrator.status(id).unwrap();
            let over = status.record.is_final();
            if over && (status.record.settled || status.record.phase == Phase::Failed) {
                return status;
            }
            assert!(Instant::now() < limit, "stuck: {status:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn reaches(&self, id: MigrationId, phase: Phase) {
        let limit = Instant::now() + Duration::from_secs(30);
        while self.from.migrator.status(id).unwrap().record.phase != phase {
            assert!(Instant::now() < limit, "never {phase}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The vserver is there, whole, and nowhere else.
    fn arrived(&self, client: Client) {
        std::thread::sleep(Duration::from_millis(50));
        let acknowledged = client.stop();
        let (from, to) = (&self.from.host, &self.to.host);
        assert!(!from.owns() && to.owns());
        let (config, state) = to.applied().unwrap();
        assert_eq!(config, b"config");
        assert_eq!(state, from.written.load(Ordering::SeqCst).to_be_bytes());
        assert!(to.written.load(Ordering::SeqCst) > 0, "the client goes on at the destination");
        verify(to, &self.files, &acknowledged);
    }

    /// The vserver stayed, serves, unthrottled.
    fn stayed(&self, client: Client) {
        let (from, to) = (&self.from.host, &self.to.host);
        let before = from.written.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(50));
        let acknowledged = client.stop();
        assert!(from.owns() && !to.owns() && !from.is_frozen());
        assert!(from.written.load(Ordering::SeqCst) > before, "the source serves");
        assert_eq!(*from.limit.lock().unwrap(), None);
        verify(from, &self.files, &acknowledged);
    }
}

async fn fired(flag: &Arc<AtomicBool>, place: &str) {
    let limit = Instant::now() + Duration::from_secs(30);
    while !flag.load(Ordering::SeqCst) {
        assert!(Instant::now() < limit, "{place} was never passed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Let it take effect.
    tokio::time::sleep(Duration::from_millis(20)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vserver_moves_under_load() {
    let pair = pair(Failpoints::off(), Failpoints::off()).await;
    let client = pair.client();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let id = pair.from.migrator.start(spec()).await.unwrap();
    let record = pair.ends(id).await.record;
    assert_eq!(record.phase, Phase::Completed, "{:?}", record.error);
    assert!(record.bytes_baseline > 1 << 20 && record.update_rounds >= 1);
    let pause_ms = record.pause_ms.unwrap();
    eprintln!("pause predicted {:?} ms, measured {pause_ms} ms", record.predicted_pause_ms);
    assert!(pause_ms < 5_000);
    assert!(pair.to.host.finished.load(Ordering::SeqCst));
    for source in pair.to.host.volumes.lock().unwrap().iter() {
        assert_eq!(source.volume.snapshots(), [], "snapshots of the migration stay behind");
    }
    pair.arrived(client);
    assert!(pair.from.migrator.command(id, Command::Pause).await.is_err());
    pair.from.migrator.command(id, Command::Cleanup).await.unwrap();
    assert!(pair.from.migrator.command(id, Command::Abort).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_are_throttled_in_steps_and_never_for_longer_than_the_move() {
    let pair = pair(Failpoints::off(), Failpoints::off()).await;
    let client = pair.client();
    // A goal that only a nearly idle writer meets.
    let id = pair.from.migrator.start(MigrationSpec { pause_target_ms: 2, ..spec() }).await.unwrap();
    let record = pair.ends(id).await.record;
    assert_eq!(record.phase, Phase::Completed, "{:?}", record.error);
    let limits: Vec<_> = record.throttle_steps.iter().map(|step| step.limit_bytes_per_s).collect();
    eprintln!("{limits:?}, {}", record.throttle_steps[0].reason);
    let (last, steps) = limits.split_last().unwrap();
    assert!(!steps.is_empty() && steps.is_sorted_by(|a, b| a > b), "{limits:?}");
    assert_eq!((*last, record.write_limit_bytes_per_s), (None, None));
    assert_eq!(*pair.from.host.limit.lock().unwrap(), None);
    pair.arrived(client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_link_only_delays() {
    for place in [
        "source.setup.setup",
        "source.baseline.transfer",
        "source.baseline.blocks",
        "source.update.measure",
        "source.cutover.freeze",
        "source.cutover.transfer",
        "source.cutover.handover",
        "source.activate.relinquish",
        "source.activate.activate",
        "source.completed.complete",
    ] {
        let (points, flag) = once(place, FailAction::Cut);
        let pair = pair(points, Failpoints::off()).await;
        cut_and_arrive(pair, place, flag).await;
    }
    for place in [
        "destination.baseline.blocks",
        "destination.cutover.apply",
        "destination.cutover.ready",
        "destination.activate.activate",
        "destination.completed.activated",
    ] {
        let (points, flag) = once(place, FailAction::Cut);
        let pair = pair(Failpoints::off(), points).await;
        cut_and_arrive(pair, place, flag).await;
    }
}

async fn cut_and_arrive(pair: Pair, place: &str, flag: Arc<AtomicBool>) {
    let client = pair.client();
    let id = pair.from.migrator.start(spec()).await.unwrap();
    fired(&flag, place).await;
    let record = pair.ends(id).await.record;
    assert_eq!(record.phase, Phase::Completed, "{place}: {:?}", record.error);
    eprintln!("{place}: {} attempts", record.attempt);
    pair.arrived(client);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_restarts_goes_on() {
    for place in [
        "source.setup.prepare",
        "source.baseline.blocks",
        "source.update.transfer",
        "source.cutover.freeze",
        "source.cutover.handover",
        "source.activate.persist",
        "source.activate.relinquish",
        "source.activate.activate",
        "source.completed.retire",
    ] {
        let (points, flag) = once(place, FailAction::Stop);
        let mut pair = pair(points, Failpoints::off()).await;
        let client = pair.client();
        let id = pair.from.migrator.start(spec()).await.unwrap();
        fired(&flag, place).await;
        pair.from = pair.from.restart().await;
        let record = pair.ends(id).await.record;
        assert_eq!(record.phase, Phase::Completed, "{place}: {:?}", record.error);
        pair.arrived(client);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_that_restarts_goes_on() {
    for place in [
        "destination.setup.prepare",
        "destination.baseline.blocks",
        "destination.cutover.persist",
        "destination.cutover.apply",
        "destination.cutover.ready",
        "destination.activate.persist",
        "destination.activate.activate",
        "destination.completed.activated",
    ] {
        let (points, flag) = once(place, FailAction::Stop);
        let mut pair = pair(Failpoints::off(), points).await;
        let client = pair.client();
        let id = pair.from.migrator.start(spec()).await.unwrap();
        fired(&flag, place).await;
        pair.to = pair.to.restart().await;
        let record = pair.ends(id).await.record;
        assert_eq!(record.phase, Phase::Completed, "{place}: {:?}", record.error);
        pair.arrived(client);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_pause_resume_and_abort() {
    let pair = pair(Failpoints::off(), Failpoints::off()).await;
    let client = pair.client();
    let migrator = &pair.from.migrator;
    let id = migrator.start(MigrationSpec { auto_cutover: false, ..spec() }).await.unwrap();
    assert!(migrator.start(spec()).await.is_err(), "one migration of a vserver at a time");
    pair.reaches(id, Phase::Update).await;
    migrator.command(id, Command::Pause).await.unwrap();
    pair.reaches(id, Phase::Paused).await;
    migrator.command(id, Command::Resume).await.unwrap();
    pair.reaches(id, Phase::Update).await;
    migrator.command(id, Command::Abort).await.unwrap();
    assert_eq!(pair.ends(id).await.record.phase, Phase::Aborted);
    assert!(!pair.to.host.has_placeholder());
    pair.stayed(client);
    // The vserver can be moved after all.
    let client = pair.client();
    let id = migrator.start(spec()).await;
    assert!(id.is_err() || pair.ends(id.unwrap()).await.record.phase != Phase::Aborted);
    drop(client.stop());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_that_is_too_short_falls_back_and_the_source_serves() {
    let pair = pair(Failpoints::off(), Failpoints::off()).await;
    let client = pair.client();
    let spec = MigrationSpec { cutover_window_ms: 1, attempts_max: 2, ..spec() };
    let id = pair.from.migrator.start(spec).await.unwrap();
    let record = pair.ends(id).await.record;
    assert_eq!(record.phase, Phase::Failed, "{:?}", record.error);
    pair.stayed(client);
}
