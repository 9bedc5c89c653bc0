//! Replies on their way out of a connection: at once where the socket takes them, else by a task that waits until it does.
//! So a reply costs no change of threads as long as its client keeps up.

use super::outgoing::{Outbound, Outgoing};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Replies sent in one go.
const BATCH_MAX: usize = 64;

/// Where the replies of one connection go. `P` is what each of them holds until it is sent.
pub(crate) struct Outlet<M, P> {
    socket: Arc<OwnedWriteHalf>,
    ready: Vec<M>,
    places: Vec<P>,
    queue: UnboundedSender<(Outgoing<M>, Vec<P>)>,
    /// Batches that the task has not sent yet: while there are any, nobody else writes.
    waiting: Arc<AtomicUsize>,
    task: JoinHandle<()>,
    cancel: CancellationToken,
    gone: CancellationToken,
}

impl<M: Outbound, P: Send + 'static> Outlet<M, P> {
    /// Of the connection that `socket` is the one half of. A client that takes nothing for `stall` is gone; a slow
    /// one gets its time.
    pub(crate) fn new(
        socket: OwnedWriteHalf,
        stall: Duration,
        cancel: CancellationToken,
        gone: CancellationToken,
    ) -> Self {
        let socket = Arc::new(socket);
        let (queue, batches) = unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let sender = Sender {
            socket: socket.clone(),
            waiting: waiting.clone(),
            stall,
            cancel: cancel.clone(),
            gone: gone.clone(),
        };
        let task = tokio::spawn(sender.send(batches));
        Outlet { socket, ready: Vec::new(), places: Vec::new(), queue, waiting, task, cancel, gone }
    }

    /// Takes a reply; [`Outlet::flush`] sends it.
    pub(crate) fn push(&mut self, reply: M, place: P) {
        self.ready.push(reply);
        self.places.push(place);
        if self.ready.len() >= BATCH_MAX {
            self.flush();
        }
    }

    /// Whether there is nothing to flush.
    pub(crate) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// Sends what was pushed, or leaves it to the task. Does not wait.
    pub(crate) fn flush(&mut self) {
        if self.ready.is_empty() || self.cancel.is_cancelled() {
            return;
        }
        let mut batch = Outgoing::new(std::mem::take(&mut self.ready));
        let places = std::mem::take(&mut self.places);
        if self.waiting.load(Ordering::Acquire) == 0 {
            match batch.try_send(|slices| self.socket.try_write_vectored(slices)) {
                Ok(()) if batch.is_sent() => return,
                Ok(()) => {}
                Err(_) => return self.gone.cancel(),
            }
        }
        self.waiting.fetch_add(1, Ordering::AcqRel);
        // It can't fail before the task has cancelled `gone`.
        drop(self.queue.send((batch, places)));
    }

    /// Waits until all is sent, or can't be; gives its half of the connection back.
    pub(crate) async fn finish(mut self) -> Option<OwnedWriteHalf> {
        self.flush();
        drop(self.queue);
        drop(self.task.await);
        Arc::into_inner(self.socket)
    }
}

/// The task.
struct Sender {
    socket: Arc<OwnedWriteHalf>,
    waiting: Arc<AtomicUsize>,
    stall: Duration,
    cancel: CancellationToken,
    gone: CancellationToken,
}

impl Sender {
    /// Sends replies until there are no more, `cancel`, or the client takes none.
    async fn send<M: Outbound, P>(self, mut batches: UnboundedReceiver<(Outgoing<M>, Vec<P>)>) {
        loop {
            let next = self.cancel.run_until_cancelled(batches.recv()).await;
            let Some(Some((mut batch, places))) = next else { return };
            while !batch.is_sent() {
                let writable = tokio::time::timeout(self.stall, self.socket.writable());
                let sent = match self.cancel.run_until_cancelled(writable).await {
                    None => return,
                    Some(Ok(Ok(()))) => batch.try_send(|slices| self.socket.try_write_vectored(slices)),
                    Some(_) => Err(io::ErrorKind::TimedOut.into()),
                };
                if sent.is_err() {
                    return self.gone.cancel();
                }
            }
            drop(places);
            self.waiting.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xdr::{Encoder, Message};
    use std::sync::atomic::AtomicU32;
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    /// Counts places that were given back.
    struct Place(Arc<AtomicU32>);

    impl Drop for Place {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    struct Fixture {
        outlet: Outlet<Message, Place>,
        client: TcpStream,
        free: Arc<AtomicU32>,
        cancel: CancellationToken,
        gone: CancellationToken,
    }

    async fn fixture(stall: Duration) -> Fixture {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_, socket) = listener.accept().await.unwrap().0.into_split();
        let (cancel, gone) = (CancellationToken::new(), CancellationToken::new());
        let outlet = Outlet::new(socket, stall, cancel.clone(), gone.clone());
        Fixture { outlet, client, free: Arc::default(), cancel, gone }
    }

    impl Fixture {
        /// A reply of 1 MiB of this byte.
        fn push(&mut self, byte: u8) {
            let mut reply = Encoder::default();
            reply.opaque(&vec![byte; 1 << 20]);
            self.outlet.push(reply.finish(), Place(self.free.clone()));
            self.outlet.flush();
        }

        fn free(&self) -> u32 {
            self.free.load(Ordering::Relaxed)
        }
    }

    #[tokio::test]
    async fn replies_to_a_slow_client_keep_their_order_and_their_places() {
        let mut fixture = fixture(Duration::from_secs(60)).await;
        (0..32).for_each(|byte| fixture.push(byte));
        assert!(fixture.free() < 32, "no socket takes 32 MiB");
        for byte in 0..32 {
            // Record mark, length, data.
            let mut reply = vec![0; 8 + (1 << 20)];
            fixture.client.read_exact(&mut reply).await.unwrap();
            assert!(reply[8..].iter().all(|got| *got == byte), "reply {byte}");
        }
        drop(fixture.outlet.finish().await);
        assert_eq!(fixture.free.load(Ordering::Relaxed), 32);
        assert!(!fixture.gone.is_cancelled());
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_gone_and_holds_nothing() {
        let mut fixture = fixture(Duration::from_millis(50)).await;
        (0..32).for_each(|byte| fixture.push(byte));
        fixture.gone.cancelled().await;
        drop(fixture.outlet.finish().await);
        assert_eq!(fixture.free.load(Ordering::Relaxed), 32);
    }

    #[tokio::test]
    async fn nothing_is_sent_after_the_end() {
        let mut fixture = fixture(Duration::from_secs(60)).await;
        fixture.cancel.cancel();
        fixture.push(1);
        drop(fixture.outlet.finish().await);
        let mut got = Vec::new();
        fixture.client.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, [0; 0]);
        assert_eq!(fixture.free.load(Ordering::Relaxed), 1);
    }
}
