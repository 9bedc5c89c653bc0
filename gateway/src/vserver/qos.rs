//! Quality of service of a virtual server: limits for all its clients together and for each of them, the write throttle
//! of a migration, and counters.
//!
//! Limits slow calls down and never fail them. The throttle holds back writes only, reads never. What a limit is, and
//! why, is decided elsewhere.

mod clients;
mod limit;

use clients::Clients;
use limit::Limit;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use tokio::time::Instant;

/// Bytes in one cell of a limiter. Cells of one byte are off by 10 to 100 % above 150 MB/s.
const CELL_BYTES: u64 = 1024;
/// The lowest write limit that can be set, in bytes per second: one cell a second.
pub const WRITE_LIMIT_MIN: u64 = CELL_BYTES;
/// The lowest limit of bytes that can be set, in bytes per second: a call of 1 MiB is to be through before its client
/// thinks that it was lost.
pub const BYTES_LIMIT_MIN: u64 = 64 << 10;
/// The lowest limit of calls that can be set, per second.
pub const OPS_LIMIT_MIN: u64 = 10;

/// Limits that an operator sets beside the one on writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// NFS calls per second, of all clients together.
    pub ops_per_s: Option<u64>,
    /// Bytes per second that are read and written, of all clients together.
    pub bytes_per_s: Option<u64>,
    /// NFS calls per second, of each client address.
    pub client_ops_per_s: Option<u64>,
    /// Bytes per second that are read and written, of each client address.
    pub client_bytes_per_s: Option<u64>,
}

/// What a call costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Bytes that it asks for.
    pub read: u32,
    /// Bytes that it brings.
    pub written: u32,
}

/// Bytes and operations since the vserver was mounted here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QosCounters {
    /// NFS calls of any kind (admitted).
    pub ops: u64,
    /// Bytes that clients read.
    pub read_bytes: u64,
    /// READ operations.
    pub read_ops: u64,
    /// Bytes that clients wrote (admitted).
    pub write_bytes: u64,
    /// WRITE operations (admitted).
    pub write_ops: u64,
    /// Time that writes spent waiting for the throttle, in microseconds, over all writes.
    pub throttled_us: u64,
    /// Time that calls spent waiting for the other limits, in microseconds, over all calls.
    pub delayed_us: u64,
    /// Clients that are told apart for the limits.
    pub clients: u64,
}

/// The throttle, the limits and the counters of one vserver.
#[derive(Debug)]
pub struct Qos {
    /// The write throttle.
    throttle: Limit,
    /// Whether there is any of the other limits.
    limited: AtomicBool,
    limit_ops: Limit,
    limit_bytes: Limit,
    clients: Clients,
    ops: AtomicU64,
    read_bytes: AtomicU64,
    read_ops: AtomicU64,
    write_bytes: AtomicU64,
    write_ops: AtomicU64,
    throttled_us: AtomicU64,
    delayed_us: AtomicU64,
}

impl Default for Qos {
    fn default() -> Self {
        Qos {
            throttle: Limit::new(CELL_BYTES),
            limited: AtomicBool::default(),
            limit_ops: Limit::new(1),
            limit_bytes: Limit::new(CELL_BYTES),
            clients: Clients::default(),
            ops: AtomicU64::default(),
            read_bytes: AtomicU64::default(),
            read_ops: AtomicU64::default(),
            write_bytes: AtomicU64::default(),
            write_ops: AtomicU64::default(),
            throttled_us: AtomicU64::default(),
            delayed_us: AtomicU64::default(),
        }
    }
}

impl Qos {
    /// No limit, all counters 0.
    pub fn new() -> Self {
        Qos::default()
    }

    /// Waits until a call of this client may go on under the limits in force. Call it before the gate: a call that
    /// waits here must not hold up a freeze.
    pub async fn admit(&self, client: IpAddr, cost: Cost) {
        if self.limited.load(Relaxed) {
            let start = Instant::now();
            self.wait_for_limits(client, u64::from(cost.read) + u64::from(cost.written)).await;
            self.delayed_us.fetch_add(microseconds_since(start), Relaxed);
        }
        self.ops.fetch_add(1, Relaxed);
        if cost.written > 0 {
            self.admit_write(cost.written).await;
        }
    }

    async fn wait_for_limits(&self, client: IpAddr, bytes: u64) {
        // First its own lines, where it holds back nobody else.
        let client = self.clients.of(client);
        client.ops.pass(1).await;
        client.bytes.pass(bytes).await;
        let _turn = client.turn.lock().await;
        self.limit_ops.pass(1).await;
        self.limit_bytes.pass(bytes).await;
    }

    /// Waits until `bytes` may be written under the throttle in force, first come first served.
    async fn admit_write(&self, bytes: u32) {
        if self.throttle.get().is_some() {
            let start = Instant::now();
            self.throttle.pass(u64::from(bytes)).await;
            self.throttled_us.fetch_add(microseconds_since(start), Relaxed);
        }
        self.write_bytes.fetch_add(u64::from(bytes), Relaxed);
        self.write_ops.fetch_add(1, Relaxed);
    }

    /// Counts what a read gave.
    pub fn count_read(&self, bytes: u32) {
        self.read_bytes.fetch_add(u64::from(bytes), Relaxed);
        self.read_ops.fetch_add(1, Relaxed);
    }

    /// Sets the write limit, in bytes per second, or lifts it. Takes hold within one chunk, also for writes that
    /// already wait. Limits below [`WRITE_LIMIT_MIN`] count as that.
    pub fn set_write_limit(&self, bytes_per_s: Option<u64>) {
        if self.write_limit() != bytes_per_s.map(|limit| limit.max(WRITE_LIMIT_MIN)) {
            self.throttle.set(bytes_per_s);
        }
    }

    /// The write limit in force, in bytes per second.
    pub fn write_limit(&self) -> Option<u64> {
        self.throttle.get()
    }

    /// Sets the other limits. They take hold at once, also for calls that already wait.
    pub fn set_limits(&self, limits: &Limits) {
        self.limited.store(*limits != Limits::default(), Relaxed);
        self.limit_ops.set(limits.ops_per_s);
        self.limit_bytes.set(limits.bytes_per_s);
        self.clients.set(limits);
    }

    /// The counters. A rate is the difference of two readings over the time between them.
    pub fn counters(&self) -> QosCounters {
        QosCounters {
            ops: self.ops.load(Relaxed),
            read_bytes: self.read_bytes.load(Relaxed),
            read_ops: self.read_ops.load(Relaxed),
            write_bytes: self.write_bytes.load(Relaxed),
            write_ops: self.write_ops.load(Relaxed),
            throttled_us: self.throttled_us.load(Relaxed),
            delayed_us: self.delayed_us.load(Relaxed),
            clients: self.clients.len() as u64,
        }
    }
}

fn microseconds_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    const READ: Cost = Cost { read: 64 << 10, written: 0 };

    /// Eight writers write 32 KiB pieces for `secs` of paused time; the bytes that got through.
    async fn written_in(qos: &Arc<Qos>, piece: u32, secs: u64) -> u64 {
        let before = qos.counters().write_bytes;
        let writers: Vec<_> = (0..8)
            .map(|_| {
                let qos = Arc::clone(qos);
                tokio::spawn(async move {
                    loop {
                        qos.admit_write(piece).await;
                    }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_secs(secs)).await;
        let after = qos.counters().write_bytes;
        for writer in &writers {
            writer.abort();
        }
        after - before
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_the_limit_within_3_percent() {
        for (limit, piece) in [(100_000, 100), (1 << 20, 4096), (50 << 20, 32 << 10), (400 << 20, 1 << 20)] {
            let qos = Arc::new(Qos::new());
            qos.set_write_limit(Some(limit));
            let bytes = written_in(&qos, piece, 10).await;
            let off = (bytes as f64 / 10.0 / limit as f64) - 1.0;
            assert!(off.abs() < 0.03, "limit {limit}, pieces of {piece}: off by {:.2} %", off * 100.0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lifted_limit_frees_a_waiting_write_at_once() {
        let qos = Arc::new(Qos::new());
        qos.set_write_limit(Some(WRITE_LIMIT_MIN));
        let waiting = tokio::spawn({
            let qos = Arc::clone(&qos);
            async move { qos.admit_write(1 << 20).await }
        });
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(!waiting.is_finished());
        let start = Instant::now();
        qos.set_write_limit(None);
        waiting.await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(qos.write_limit(), None);
        assert!(qos.counters().throttled_us >= 3_000_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_limit_takes_hold_for_a_write_that_already_waits() {
        let qos = Arc::new(Qos::new());
        qos.set_write_limit(Some(WRITE_LIMIT_MIN));
        let waiting = tokio::spawn({
            let qos = Arc::clone(&qos);
            async move { qos.admit_write(1 << 20).await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        qos.set_write_limit(Some(1 << 20));
        let start = Instant::now();
        waiting.await.unwrap();
        let took_ms = start.elapsed().as_millis();
        assert!((900..=1050).contains(&took_ms), "{took_ms} ms");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nothing_waits_and_reads_are_only_counted() {
        let qos = Qos::new();
        let start = Instant::now();
        qos.admit_write(u32::MAX).await;
        qos.set_write_limit(Some(WRITE_LIMIT_MIN));
        qos.count_read(u32::MAX);
        assert_eq!(start.elapsed(), Duration::ZERO);
        let counters = qos.counters();
        assert_eq!((counters.write_bytes, counters.read_bytes), (u64::from(u32::MAX), u64::from(u32::MAX)));
        assert_eq!((counters.write_ops, counters.read_ops), (1, 1));
    }

    fn address(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    /// What each of the clients got through in `secs` of paused time, with so many calls in flight each.
    async fn admitted_in(qos: &Arc<Qos>, clients: &[(u8, usize)], cost: Cost, secs: u64) -> Vec<u64> {
        let mut counts = Vec::new();
        let mut tasks = Vec::new();
        for (client, calls) in clients {
            let count = Arc::new(AtomicU64::new(0));
            counts.push(Arc::clone(&count));
            for _ in 0..*calls {
                let (qos, count, client) = (Arc::clone(qos), Arc::clone(&count), address(*client));
                tasks.push(tokio::spawn(async move {
                    loop {
                        qos.admit(client, cost).await;
                        count.fetch_add(1, Relaxed);
                        tokio::time::sleep(Duration::from_micros(10)).await;
                    }
                }));
            }
        }
        tokio::time::sleep(Duration::from_secs(secs)).await;
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
        counts.iter().map(|count| count.load(Relaxed)).collect()
    }

    fn about(got: u64, expected: u64) -> bool {
        got.abs_diff(expected) * 20 <= expected
    }

    #[tokio::test(start_paused = true)]
    async fn each_client_gets_its_own_rate() {
        let qos = Arc::new(Qos::new());
        qos.set_limits(&Limits { client_ops_per_s: Some(100), ..Limits::default() });
        let got = admitted_in(&qos, &[(1, 50), (2, 1)], Cost::default(), 10).await;
        assert!(got.iter().all(|got| about(*got, 1000)), "{got:?}");
        qos.set_limits(&Limits { client_bytes_per_s: Some(1 << 20), ..Limits::default() });
        let got = admitted_in(&qos, &[(1, 50), (2, 4)], READ, 10).await;
        assert!(got.iter().all(|got| about(*got, 160)), "16 reads of 64 KiB a second: {got:?}");
        assert!(qos.counters().delayed_us > 0);
        assert_eq!(qos.counters().throttled_us, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_at_its_limit_slows_no_other() {
        let qos = Arc::new(Qos::new());
        let limits = Limits { client_ops_per_s: Some(10), ops_per_s: Some(1_000_000), ..Limits::default() };
        qos.set_limits(&limits);
        for _ in 0..200 {
            let qos = Arc::clone(&qos);
            tokio::spawn(async move { qos.admit(address(1), READ).await });
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        let start = Instant::now();
        qos.admit(address(2), READ).await;
        assert!(start.elapsed() < Duration::from_millis(5), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn clients_share_the_vservers_limit_evenly_however_much_each_asks() {
        let qos = Arc::new(Qos::new());
        qos.set_limits(&Limits { ops_per_s: Some(300), ..Limits::default() });
        let got = admitted_in(&qos, &[(1, 200), (2, 10), (3, 2)], Cost::default(), 10).await;
        assert!(got.iter().all(|got| about(*got, 1000)), "{got:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn lifted_limits_free_every_call_that_waits_at_once() {
        let qos = Arc::new(Qos::new());
        let limit = Some(BYTES_LIMIT_MIN);
        qos.set_limits(&Limits { client_bytes_per_s: limit, bytes_per_s: limit, ..Limits::default() });
        let calls: Vec<_> = (0..100)
            .map(|n| {
                let qos = Arc::clone(&qos);
                tokio::spawn(async move { qos.admit(address(n % 5), READ).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(calls.iter().filter(|call| !call.is_finished()).count() > 90);
        let start = Instant::now();
        qos.set_limits(&Limits::default());
        for call in calls {
            call.await.unwrap();
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(qos.counters().ops, 100);
    }
}
