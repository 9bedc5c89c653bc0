//! The gate of a virtual server: every request passes it; a cutover shuts it and waits for those inside.
//!
//! Requests are parked, never refused, while it is frozen. It must not know what a request is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::sync::Notify;

const OPEN: u8 = 0;
const FROZEN: u8 = 1;
const CLOSED: u8 = 2;

/// Longest time that a request stays parked if [`Gate::set_park_limit`] said nothing else.
pub const PARK_LIMIT_DEFAULT: Duration = Duration::from_secs(180);

/// The vserver has moved away or is shut down: drop the request and close the connection. The client
/// retransmits to whoever holds the address now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the virtual server is not served here any more")]
pub struct GateClosed;

/// Open, frozen or closed. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: AtomicU8,
    in_flight: AtomicUsize,
    parked: AtomicUsize,
    park_limit_ms: AtomicU64,
    /// The state changed.
    changed: Notify,
    /// `in_flight` came down to 0.
    drained: Notify,
}

/// Held for the life of one request; counts it as in flight.
#[derive(Debug)]
pub struct GatePass {
    inner: Arc<Inner>,
}

impl Drop for GatePass {
    fn drop(&mut self) {
        self.inner.leave();
    }
}

impl Inner {
    fn leave(&self) {
        if self.in_flight.fetch_sub(1, SeqCst) == 1 {
            self.drained.notify_waiters();
        }
    }
}

/// Counts a parked request for as long as it lives, also if its task is dropped.
struct Parked<'a>(&'a AtomicUsize);

impl<'a> Parked<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, SeqCst);
        Parked(count)
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Default for Gate {
    fn default() -> Self {
        Gate::new()
    }
}

impl Gate {
    /// An open gate.
    pub fn new() -> Self {
        Gate {
            inner: Arc::new(Inner {
                state: AtomicU8::new(OPEN),
                in_flight: AtomicUsize::new(0),
                parked: AtomicUsize::new(0),
                park_limit_ms: AtomicU64::new(millis(PARK_LIMIT_DEFAULT)),
                changed: Notify::new(),
                drained: Notify::new(),
            }),
        }
    }

    /// Passes the gate if it is open now. For what no client waits for.
    pub fn pass_now(&self) -> Option<GatePass> {
        self.try_enter().ok().flatten()
    }

    /// Enters; waits while the gate is frozen. Wait for QoS *before* this: a throttled request that already
    /// holds its pass would lengthen the pause of a cutover.
    ///
    /// # Errors
    /// [`GateClosed`] once the gate is closed, or after the park limit.
    pub async fn enter(&self) -> Result<GatePass, GateClosed> {
        match self.try_enter() {
            Ok(Some(pass)) => Ok(pass),
            Ok(None) => self.enter_parked().await,
            Err(closed) => Err(closed),
        }
    }

    /// `Ok(None)` where the gate is frozen.
    fn try_enter(&self) -> Result<Option<GatePass>, GateClosed> {
        // Count first, look second; `freeze` writes the state first and counts second. Whatever the order, either
        // this sees the frozen gate or `freeze` sees this request.
        self.inner.in_flight.fetch_add(1, SeqCst);
        let pass = GatePass { inner: Arc::clone(&self.inner) };
        match self.inner.state.load(SeqCst) {
            OPEN => Ok(Some(pass)),
            FROZEN => Ok(None),
            _ => Err(GateClosed),
        }
    }

    async fn enter_parked(&self) -> Result<GatePass, GateClosed> {
        let _parked = Parked::new(&self.inner.parked);
        let limit = Duration::from_millis(self.inner.park_limit_ms.load(SeqCst));
        let wait = async {
            loop {
                let changed = self.inner.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if let Some(pass) = self.try_enter()? {
                    return Ok(pass);
                }
                changed.await;
            }
        };
        tokio::time::timeout(limit, wait).await.unwrap_or(Err(GateClosed))
    }

    /// Freezes the gate; returns when no request is inside. New ones wait. If the caller gives up waiting, the
    /// gate stays frozen until [`Gate::thaw`]. A closed gate stays closed.
    pub async fn freeze(&self) {
        let _ = self.inner.state.compare_exchange(OPEN, FROZEN, SeqCst, SeqCst);
        self.drained().await;
    }

    async fn drained(&self) {
        loop {
            let drained = self.inner.drained.notified();
            tokio::pin!(drained);
            drained.as_mut().enable();
            if self.inner.in_flight.load(SeqCst) == 0 {
                return;
            }
            drained.await;
        }
    }

    /// Opens a frozen gate; the parked requests go on. A closed gate stays closed.
    pub fn thaw(&self) {
        let _ = self.inner.state.compare_exchange(FROZEN, OPEN, SeqCst, SeqCst);
        self.inner.changed.notify_waiters();
    }

    /// Closes the gate for good: parked and later requests end with [`GateClosed`]. Those inside finish.
    pub fn close(&self) {
        self.inner.state.store(CLOSED, SeqCst);
        self.inner.changed.notify_waiters();
    }

    /// Closes the gate and waits until nothing is inside.
    pub async fn close_and_drain(&self) {
        self.close();
        self.drained().await;
    }

    /// Bounds how long requests stay parked from now on: the cutover window and some seconds.
    pub fn set_park_limit(&self, limit: Duration) {
        self.inner.park_limit_ms.store(millis(limit), SeqCst);
    }

    /// How many requests are inside.
    pub fn in_flight(&self) -> usize {
        self.inner.in_flight.load(SeqCst)
    }

    /// How many requests wait at the frozen gate.
    pub fn parked(&self) -> usize {
        self.inner.parked.load(SeqCst)
    }

    /// Whether the gate is frozen.
    pub fn is_frozen(&self) -> bool {
        self.inner.state.load(SeqCst) == FROZEN
    }

    /// Whether the gate is closed.
    pub fn is_closed(&self) -> bool {
        self.inner.state.load(SeqCst) == CLOSED
    }
}

fn millis(limit: Duration) -> u64 {
    u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_frozen_gate_parks_requests_and_thaw_lets_them_in() {
        let gate = Gate::new();
        gate.freeze().await;
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.enter().await.map(|_| ()) }
        });
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(!waiting.is_finished());
        assert_eq!(gate.parked(), 1);
        gate.thaw();
        assert_eq!(waiting.await.unwrap(), Ok(()));
        assert_eq!((gate.parked(), gate.in_flight()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn freeze_waits_for_requests_in_flight() {
        let gate = Gate::new();
        let pass = gate.enter().await.unwrap();
        let freezing = tokio::spawn({
            let gate = gate.clone();
            async move { gate.freeze().await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!freezing.is_finished());
        drop(pass);
        freezing.await.unwrap();
        assert!(gate.is_frozen());
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_gate_ends_parked_and_later_requests_and_never_opens_again() {
        let gate = Gate::new();
        gate.freeze().await;
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.enter().await.map(|_| ()) }
        });
        tokio::time::sleep(Duration::from_millis(1)).await;
        gate.close();
        assert_eq!(waiting.await.unwrap(), Err(GateClosed));
        gate.thaw();
        assert!(gate.enter().await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_is_parked_no_longer_than_the_limit() {
        let gate = Gate::new();
        gate.set_park_limit(Duration::from_secs(10));
        gate.freeze().await;
        let start = tokio::time::Instant::now();
        assert!(gate.enter().await.is_err());
        assert_eq!(start.elapsed().as_secs(), 10);
        assert_eq!(gate.parked(), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_request_is_inside_while_the_gate_is_frozen() {
        let gate = Gate::new();
        let inside = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let (gate, inside) = (gate.clone(), Arc::clone(&inside));
                tokio::spawn(async move {
                    while let Ok(pass) = gate.enter().await {
                        inside.fetch_add(1, SeqCst);
                        tokio::task::yield_now().await;
                        inside.fetch_sub(1, SeqCst);
                        drop(pass);
                    }
                })
            })
            .collect();
        for _ in 0..200 {
            gate.freeze().await;
            assert_eq!(inside.load(SeqCst), 0);
            tokio::task::yield_now().await;
            assert_eq!(inside.load(SeqCst), 0);
            gate.thaw();
            tokio::task::yield_now().await;
        }
        gate.close_and_drain().await;
        for task in tasks {
            task.await.unwrap();
        }
    }
}
