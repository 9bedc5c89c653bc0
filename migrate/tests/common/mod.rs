//! Two clusters in one process: real volumes in files, real TLS over loopback, and everything else of a
//! gateway as small as it can be. Crashing one keeps what is durable and forgets the rest.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test ends by panicking")]

use fsstore::{
    Context, CreateHow, FileDisk, FileId, Op, ROOT, Replica, SetAttrs, Time, Tuning, Volume, VolumeSpec,
};
use migrate::{
    DestinationHost, Epoch, FailAction, Failpoints, HostError, Identity, Journal, MigrationId,
    MigrationRecord, Migrator, Ownership, Peer, Peers, Placeholder, PortFuture, Ports, SourceHost,
    SourceVolume, VolumeInfo, link,
};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub const VOLUME_BYTES: u64 = 64 << 20;
pub const RECORD: usize = 8 << 10;

pub fn identity() -> Identity {
    let made = rcgen::generate_simple_self_signed(vec!["ferry-peer".to_owned()]).unwrap();
    Identity { certificate: made.cert.der().to_vec(), key: made.signing_key.serialize_der() }
}

fn tuning() -> Tuning {
    Tuning { cache_bytes: 16 << 20, dirty_bytes: 16 << 20, threads: true }
}

fn failed(error: impl std::fmt::Display) -> HostError {
    HostError::new(error)
}

#[derive(Default)]
struct Durable {
    records: HashMap<MigrationId, String>,
    epoch: u64,
    here: bool,
    placeholder: Option<Vec<VolumeInfo>>,
    applied: Option<(Vec<u8>, Vec<u8>)>,
}

/// One cluster's ports.
pub struct Host {
    pub name: &'static str,
    dir: PathBuf,
    durable: Mutex<Durable>,
    pub volumes: Mutex<Vec<SourceVolume>>,
    replicas: Mutex<HashMap<Uuid, Arc<Replica>>>,
    pub gate: Arc<RwLock<()>>,
    held: Mutex<Option<OwnedRwLockWriteGuard<()>>>,
    pub limit: Mutex<Option<u64>>,
    pub written: AtomicU64,
    identity: Identity,
    peer: Mutex<Option<Peer>>,
    pub finished: AtomicBool,
}

impl Host {
    pub fn new(name: &'static str, dir: PathBuf) -> Arc<Self> {
        Arc::new(Host {
            name,
            dir,
            durable: Mutex::default(),
            volumes: Mutex::default(),
            replicas: Mutex::default(),
            gate: Arc::default(),
            held: Mutex::default(),
            limit: Mutex::default(),
            written: AtomicU64::new(0),
            identity: identity(),
            peer: Mutex::default(),
            finished: AtomicBool::new(false),
        })
    }

    /// Whether clients are answered here, once the gate lets them through.
    pub fn owns(&self) -> bool {
        self.durable.lock().unwrap().here
    }

    pub fn has_placeholder(&self) -> bool {
        self.durable.lock().unwrap().placeholder.is_some()
    }

    pub fn applied(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        self.durable.lock().unwrap().applied.clone()
    }

    pub fn is_frozen(&self) -> bool {
        self.held.lock().unwrap().is_some()
    }

    pub fn meet(&self, other: &Host, address: SocketAddr) {
        let fingerprint = link::fingerprint(&other.identity.certificate);
        *self.peer.lock().unwrap() = Some(Peer { name: other.name.to_owned(), address, fingerprint });
    }

    fn path(&self, uuid: Uuid) -> PathBuf {
        self.dir.join(format!("{}-{uuid}", self.name))
    }

    /// Makes a vserver of `count` volumes, each with one file to write to.
    pub fn populate(&self, count: usize) -> Vec<(Uuid, FileId)> {
        let mut files = Vec::new();
        let now = Time { secs: 1, nanos: 0 };
        for index in 0..count {
            let uuid = Uuid::new_v4();
            let spec = VolumeSpec { uuid, size_bytes: VOLUME_BYTES };
            let disk = FileDisk::create(&self.path(uuid), VOLUME_BYTES).unwrap();
            let volume = Volume::create(Arc::new(disk), &spec, now, tuning()).unwrap();
            let op =
                Op::Create { dir: ROOT, name: "data".into(), how: CreateHow::Unchecked(SetAttrs::default()) };
            let made = volume.execute(&Context::root(now), op).unwrap();
            files.push((uuid, made.object.after.id));
            let info = VolumeInfo {
                uuid,
                name: format!("vol{index}"),
                size_bytes: VOLUME_BYTES,
                attributes: "junction".to_owned(),
            };
            self.volumes.lock().unwrap().push(SourceVolume { info, volume });
        }
        let mut durable = self.durable.lock().unwrap();
        (durable.epoch, durable.here) = (4, true);
        files
    }

    pub fn volume(&self, uuid: Uuid) -> Option<Arc<Volume>> {
        let volumes = self.volumes.lock().unwrap();
        volumes.iter().find(|v| v.info.uuid == uuid).map(|v| v.volume.clone())
    }

    /// Forgets what a restart of the node forgets, as far as migrations see it.
    pub fn forget_volatile(&self) {
        *self.held.lock().unwrap() = None;
        *self.limit.lock().unwrap() = None;
        self.replicas.lock().unwrap().clear();
    }
}

impl Journal for Host {
    fn save<'a>(&'a self, record: &'a MigrationRecord) -> PortFuture<'a, ()> {
        Box::pin(async move {
            let text = serde_json::to_string(record).map_err(failed)?;
            self.durable.lock().unwrap().records.insert(record.id, text);
            Ok(())
        })
    }
    fn load_all(&self) -> PortFuture<'_, Vec<MigrationRecord>> {
        Box::pin(async move {
            let durable = self.durable.lock().unwrap();
            durable.records.values().map(|text| serde_json::from_str(text).map_err(failed)).collect()
        })
    }
}

impl SourceHost for Host {
    fn begin<'a>(&'a self, _: &'a str, _: MigrationId) -> PortFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }
    fn end<'a>(&'a self, _: &'a str, _: MigrationId) -> PortFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }
    fn volumes<'a>(&'a self, _: &'a str) -> PortFuture<'a, Vec<SourceVolume>> {
        Box::pin(async { Ok(self.volumes.lock().unwrap().clone()) })
    }
    fn config<'a>(&'a self, _: &'a str) -> PortFuture<'a, Vec<u8>> {
        Box::pin(async { Ok(b"config".to_vec()) })
    }
    fn open_state<'a>(&'a self, _: &'a str) -> PortFuture<'a, Vec<u8>> {
        Box::pin(async {
            assert!(self.is_frozen(), "open state is taken while frozen");
            Ok(self.written.load(Ordering::SeqCst).to_be_bytes().to_vec())
        })
    }
    fn set_write_limit<'a>(&'a self, _: &'a str, limit: Option<u64>) -> PortFuture<'a, ()> {
        Box::pin(async move {
            *self.limit.lock().unwrap() = limit;
            Ok(())
        })
    }
    fn write_rate<'a>(&'a self, _: &'a str) -> PortFuture<'a, u64> {
        Box::pin(async move { Ok(self.limit.lock().unwrap().unwrap_or(40 << 20).min(40 << 20)) })
    }
    fn freeze<'a>(&'a self, _: &'a str) -> PortFuture<'a, ()> {
        Box::pin(async move {
            let guard = self.gate.clone().write_owned().await;
            *self.held.lock().unwrap() = Some(guard);
            Ok(())
        })
    }
    fn thaw<'a>(&'a self, _: &'a str) -> PortFuture<'a, ()> {
        Box::pin(async move {
            *self.held.lock().unwrap() = None;
            Ok(())
        })
    }
    fn ownership<'a>(&'a self, _: &'a str) -> PortFuture<'a, Ownership> {
        Box::pin(async move {
            let durable = self.durable.lock().unwrap();
            Ok(Ownership { epoch: Epoch(durable.epoch), here: durable.here })
        })
    }
    fn relinquish<'a>(&'a self, _: &'a str, epoch: Epoch, _: &'a str) -> PortFuture<'a, ()> {
        Box::pin(async move {
            let mut durable = self.durable.lock().unwrap();
            assert!(!durable.here || self.is_frozen(), "given up while requests pass");
            (durable.here, durable.epoch) = (false, epoch.0);
            Ok(())
        })
    }
    fn retire<'a>(&'a self, _: &'a str) -> PortFuture<'a, ()> {
        Box::pin(async move {
            self.volumes.lock().unwrap().clear();
            Ok(())
        })
    }
    fn cleanup<'a>(&'a self, _: &'a str) -> PortFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}

impl DestinationHost for Host {
    fn prepare<'a>(&'a self, placeholder: &'a Placeholder) -> PortFuture<'a, ()> {
        Box::pin(async move {
            for info in &placeholder.volumes {
                if !self.path(info.uuid).exists() {
                    let spec = VolumeSpec { uuid: info.uuid, size_bytes: info.size_bytes };
                    let disk = FileDisk::create(&self.path(info.uuid), info.size_bytes).map_err(failed)?;
                    Replica::create(Arc::new(disk), &spec).and_then(Replica::close).map_err(failed)?;
                }
            }
            self.durable.lock().unwrap().placeholder = Some(placeholder.volumes.clone());
            Ok(())
        })
    }
    fn replica<'a>(&'a self, _: &'a str, volume: Uuid) -> PortFuture<'a, Arc<Replica>> {
        Box::pin(async move {
            let mut replicas = self.replicas.lock().unwrap();
            if let Some(open) = replicas.get(&volume) {
                return Ok(open.clone());
            }
            let disk = FileDisk::open(&self.path(volume)).map_err(failed)?;
            let replica = Arc::new(Replica::open(Arc::new(disk)).map_err(failed)?);
            replicas.insert(volume, replica.clone());
            Ok(replica)
        })
    }
    fn apply<'a>(&'a self, _: &'a str, config: &'a [u8], state: &'a [u8]) -> PortFuture<'a, ()> {
        Box::pin(async move {
            self.durable.lock().unwrap().applied = Some((config.to_vec(), state.to_vec()));
            Ok(())
        })
    }
    fn rollback<'a>(&'a self, _: &'a str) -> PortFuture<'a, ()> {
        Box::pin(async move {
            self.durable.lock().unwrap().applied = None;
            Ok(())
        })
    }
    fn activate<'a>(&'a self, _: &'a str, epoch: Epoch) -> PortFuture<'a, ()> {
        Box::pin(async move {
            if self.owns() && !self.volumes.lock().unwrap().is_empty() {
                return Ok(());
            }
            let placeholder = self.durable.lock().unwrap().placeholder.clone().unwrap();
            let mut mounted = Vec::new();
            for info in placeholder {
                if let Some(replica) = self.replicas.lock().unwrap().remove(&info.uuid) {
                    let replica = Arc::try_unwrap(replica).map_err(|_| failed("a replica is in use"))?;
                    replica.close().map_err(failed)?;
                }
                let disk = FileDisk::open(&self.path(info.uuid)).map_err(failed)?;
                let volume = Volume::open(Arc::new(disk), tuning()).map_err(failed)?;
                mounted.push(SourceVolume { info, volume });
            }
            *self.volumes.lock().unwrap() = mounted;
            let mut durable = self.durable.lock().unwrap();
            assert!(durable.applied.is_some(), "serving without the open state");
            (durable.here, durable.epoch) = (true, epoch.0);
            Ok(())
        })
    }
    fn discard<'a>(&'a self, _: &'a str, _: MigrationId) -> PortFuture<'a, ()> {
        Box::pin(async move {
            self.replicas.lock().unwrap().clear();
            self.durable.lock().unwrap().placeholder = None;
            Ok(())
        })
    }
    fn finish<'a>(&'a self, _: &'a str, prefix: &'a str) -> PortFuture<'a, ()> {
        Box::pin(async move {
            for source in self.volumes.lock().unwrap().iter() {
                for snapshot in source.volume.snapshots() {
                    if snapshot.name.starts_with(prefix) {
                        source.volume.snapshot_delete(snapshot.id).map_err(failed)?;
                    }
                }
            }
            self.finished.store(true, Ordering::SeqCst);
            Ok(())
        })
    }
}

impl Peers for Host {
    fn identity(&self) -> Identity {
        self.identity.clone()
    }
    fn by_name(&self, name: &str) -> Option<Peer> {
        self.peer.lock().unwrap().clone().filter(|peer| peer.name == name)
    }
    fn by_fingerprint(&self, fingerprint: &[u8; 32]) -> Option<Peer> {
        self.peer.lock().unwrap().clone().filter(|peer| peer.fingerprint == *fingerprint)
    }
}

/// A cluster's migrator with its listener.
pub struct Node {
    pub host: Arc<Host>,
    pub migrator: Arc<Migrator>,
    address: SocketAddr,
    cancel: CancellationToken,
    server: tokio::task::JoinHandle<()>,
}

impl Node {
    pub async fn start(host: Arc<Host>, address: SocketAddr, failpoints: Failpoints) -> Node {
        let ports = Ports {
            journal: host.clone(),
            source: host.clone(),
            destination: host.clone(),
            peers: host.clone(),
        };
        let migrator = Migrator::new(ports, failpoints);
        migrator.resume_all().await.unwrap();
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let cancel = CancellationToken::new();
        let server = tokio::spawn(migrator.clone().serve(listener, cancel.clone()));
        Node { host, migrator, address, cancel, server }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends and starts it again on its durable state.
    pub async fn restart(self) -> Node {
        self.cancel.cancel();
        self.server.await.unwrap();
        self.migrator.shutdown().await;
        self.host.forget_volatile();
        Node::start(self.host, self.address, Failpoints::off()).await
    }
}

/// Fires `action` once, at `place`, and tells.
pub fn once(place: &'static str, action: FailAction) -> (Failpoints, Arc<AtomicBool>) {
    let fired = Arc::new(AtomicBool::new(false));
    let flag = fired.clone();
    let points =
        Failpoints::hook(move |at| (at == place && !flag.swap(true, Ordering::SeqCst)).then_some(action));
    (points, fired)
}

/// What a client was told is durable: the newest record number at each place.
pub type Acknowledged = HashMap<(Uuid, u64), u64>;

/// A client that writes numbered records until told to stop, to whoever serves.
pub struct Client {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Acknowledged>,
}

impl Client {
    pub fn start(hosts: [Arc<Host>; 2], files: Vec<(Uuid, FileId)>) -> Client {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut acknowledged = Acknowledged::new();
            let mut number = 0;
            while !stopped.load(Ordering::SeqCst) {
                for host in &hosts {
                    let Ok(_pass) = host.gate.try_read() else { continue };
                    if host.owns() {
                        number += 1;
                        write_record(host, &files, number, &mut acknowledged);
                    }
                    let limit = *host.limit.lock().unwrap();
                    if let Some(limit) = limit.filter(|_| host.owns()) {
                        std::thread::sleep(
                            Duration::from_secs(RECORD as u64) / u32::try_from(limit).unwrap(),
                        );
                    }
                }
                std::thread::sleep(Duration::from_micros(500));
            }
            acknowledged
        });
        Client { stop, thread }
    }

    pub fn stop(self) -> Acknowledged {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

fn write_record(host: &Host, files: &[(Uuid, FileId)], number: u64, acknowledged: &mut Acknowledged) {
    let (uuid, file) = files[usize::try_from(number).unwrap() % files.len()];
    let Some(volume) = host.volume(uuid) else { return };
    let offset = (number.wrapping_mul(0x9e37_79b9) % 2048) * RECORD as u64;
    let data = number.to_be_bytes().repeat(RECORD / 8);
    let cx = Context::root(Time { secs: 2, nanos: 0 });
    let done = volume.execute(&cx, Op::Write { file, offset, data: data.into() }).unwrap();
    if number.is_multiple_of(4) {
        volume.wait_durable(done.lsn).unwrap();
    }
    // Not durable yet, but a planned move must not lose it either.
    acknowledged.insert((uuid, offset), number);
    host.written.store(number, Ordering::SeqCst);
}

/// Every acknowledged record is on `host`.
pub fn verify(host: &Host, files: &[(Uuid, FileId)], acknowledged: &Acknowledged) {
    assert!(acknowledged.len() > 10, "the client wrote too little to say anything");
    let cx = Context::root(Time { secs: 3, nanos: 0 });
    for ((uuid, offset), number) in acknowledged {
        let file = files.iter().find(|(at, _)| at == uuid).unwrap().1;
        let read = host.volume(*uuid).unwrap().read(&cx, file, *offset, RECORD).unwrap();
        assert_eq!(read.data, number.to_be_bytes().repeat(RECORD / 8), "record {number} is lost");
    }
}
