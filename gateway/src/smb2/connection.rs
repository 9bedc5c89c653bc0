//! One connection: takes frames off it, runs those of different frames concurrently, sends the responses as they come.
//! What has been agreed on, and who has logged in.

use super::Listener;
use super::dispatch;
use super::frames::{Frame, FrameReader};
use super::login::Pending;
use super::negotiate::{Agreed, TRANSFER_MAX};
use super::reply::SendKeys;
use super::session::Session;
use super::window::Window;
use super::wire::status::NtStatus;
use crate::net::inflow::Messages;
use crate::net::limits::Seat;
use crate::net::outlet::Outlet;
use crate::net::places::{Place, Places};
use bytes::Bytes;
use futures_util::poll;
use futures_util::stream::{self, FuturesUnordered, Stream, StreamExt};
use parking_lot::Mutex;
use socket2::{SockRef, TcpKeepalive};
use std::collections::HashMap;
use std::future::ready;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio_util::sync::CancellationToken;

const KEEPALIVE: Duration = Duration::from_secs(30);
/// Longest frame of a client that has not logged in: a login's token has at most 64 KiB.
const FRAME_LEN_MAX_STRANGER: usize = 68 << 10;
/// Longest frame: one transfer with room for every header.
const FRAME_LEN_MAX: usize = TRANSFER_MAX as usize + (16 << 10);
/// Most sessions of one connection.
const SESSIONS_MAX: usize = 64;
/// Most logins of one connection that have begun.
const PENDING_MAX: usize = 16;

/// A connection.
pub(super) struct Connection {
    pub(super) listener: Arc<Listener>,
    pub(super) client: IpAddr,
    /// The connection is gone: nothing new is begun.
    pub(super) gone: CancellationToken,
    pub(super) agreed: OnceLock<Agreed>,
    pub(super) window: Mutex<Window>,
    sessions: Mutex<HashMap<u64, Arc<Session>>>,
    pending: Mutex<HashMap<u64, Pending>>,
    frame_len_max: Arc<AtomicUsize>,
}

/// What a frame leads to.
pub(super) enum Outcome {
    /// Send this.
    Reply(Frame),
    /// Send nothing.
    Nothing,
    /// Close the connection.
    Close,
}

impl Connection {
    /// Who is logged in.
    pub(super) fn session(&self, id: u64) -> Option<Arc<Session>> {
        self.sessions.lock().get(&id).filter(|session| !session.has_ended()).cloned()
    }

    /// How a session that has ended protected what it sent: so its end is told, too.
    pub(super) fn ended_keys(&self, id: u64) -> Option<Arc<SendKeys>> {
        self.sessions.lock().get(&id)?.keys.as_ref().map(|keys| Arc::clone(&keys.send))
    }

    /// A session that has just logged in.
    pub(super) fn put_session(&self, session: Arc<Session>) -> Result<(), NtStatus> {
        let mut sessions = self.sessions.lock();
        if sessions.len() >= SESSIONS_MAX {
            // Whatever a request that ran at its end has opened since is closed with it.
            let ended = sessions.extract_if(|_, session| session.has_ended());
            ended.for_each(|(_, session)| self.listener.end(&session));
        }
        if sessions.len() >= SESSIONS_MAX {
            return Err(NtStatus::INSUFFICIENT_RESOURCES);
        }
        self.listener.sessions.lock().insert(session.id, Arc::downgrade(&session));
        sessions.insert(session.id, session);
        self.frame_len_max.store(FRAME_LEN_MAX, Ordering::Relaxed);
        Ok(())
    }

    /// Ends a session: what it has open is closed.
    pub(super) fn log_off(&self, id: u64) {
        if let Some(session) = self.session(id) {
            self.listener.end(&session);
        }
    }

    pub(super) fn take_pending(&self, id: u64) -> Option<Pending> {
        self.pending.lock().remove(&id)
    }

    /// Keeps a login that goes on. Where too many have begun, one of them ends.
    pub(super) fn put_pending(&self, id: u64, pending: Pending) {
        let mut all = self.pending.lock();
        if all.len() >= PENDING_MAX {
            let one = all.keys().next().copied();
            one.and_then(|one| all.remove(&one));
        }
        all.insert(id, pending);
    }

    /// Tells a login that goes on what was answered.
    pub(super) fn said(&self, id: u64, response: &[u8]) {
        if let Some(pending) = self.pending.lock().get_mut(&id) {
            pending.said(&[response]);
        }
    }

    fn end(&self) {
        let sessions: Vec<_> = self.sessions.lock().drain().map(|(_, session)| session).collect();
        sessions.iter().for_each(|session| self.listener.end(session));
    }
}

/// One connection, from its first to its last byte.
pub(super) async fn converse(
    stream: TcpStream,
    listener: Arc<Listener>,
    seat: Arc<Seat>,
    cancel: CancellationToken,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 3);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    let gone = CancellationToken::new();
    let connection = Arc::new(Connection {
        listener,
        client: stream.peer_addr()?.ip().to_canonical(),
        gone: gone.clone(),
        agreed: OnceLock::new(),
        window: Mutex::default(),
        sessions: Mutex::default(),
        pending: Mutex::default(),
        frame_len_max: Arc::new(AtomicUsize::new(FRAME_LEN_MAX_STRANGER)),
    });
    let (reader, writer) = stream.into_split();
    let mut outlet: Outlet<Frame, Place> = Outlet::new(writer, seat.stall(), cancel.clone(), gone.clone());
    let mut intake = Box::pin(intake(reader, &connection, seat));
    let mut running = FuturesUnordered::new();
    let ended = loop {
        let (outcome, place) = tokio::select! {
            biased;
            () = cancel.cancelled() => break Ok(()),
            () = gone.cancelled() => break Ok(()),
            Some(ended) = running.next() => ended,
            arrived = intake.next() => {
                let (frame, place) = match arrived {
                    Some(Ok(arrival)) => arrival,
                    Some(Err(error)) => break Err(error),
                    None => break Ok(()),
                };
                let run = dispatch::run(Arc::clone(&connection), frame);
                let mut run = Box::pin(async move { (run.await, place) });
                // Most requests wait for nothing.
                match poll!(run.as_mut()) {
                    Poll::Ready(ended) => ended,
                    Poll::Pending => {
                        running.push(run);
                        continue;
                    }
                }
            }
            // Nothing else can be done at once: what is ready goes out together.
            () = ready(()), if !outlet.is_empty() => {
                outlet.flush();
                continue;
            }
        };
        match outcome {
            Outcome::Reply(frame) => outlet.push(frame, place),
            Outcome::Nothing => {}
            Outcome::Close => break Ok(()),
        }
    };
    drop(intake);
    gone.cancel();
    while running.next().await.is_some() {}
    connection.end();
    outlet.finish().await;
    ended
}

/// The frames of a connection, each as soon as there is a place for it.
fn intake(
    reader: OwnedReadHalf,
    connection: &Connection,
    seat: Arc<Seat>,
) -> impl Stream<Item = io::Result<(Bytes, Place)>> + use<> {
    let stall = seat.stall();
    let places = Places::new(seat);
    let frames = FrameReader::new(reader, Arc::clone(&connection.frame_len_max));
    stream::try_unfold(frames, move |mut frames| {
        let places = places.clone();
        async move {
            let turn = places.turn().await?;
            let Some(frame) = frames.next_within(stall).await? else { return Ok(None) };
            let place = places.place(turn, frame.len() + dispatch::reply_len_max(&frame)).await?;
            Ok(Some(((frame, place), frames)))
        }
    })
}
