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
use crate::net::conversation;
use crate::net::ending::Ending;
use crate::net::inflow::Messages;
use crate::net::limits::Seat;
use crate::net::places::{Place, Places};
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Longest frame of a client that has not logged in: a login's token has at most 64 KiB.
const FRAME_LEN_MAX_STRANGER: usize = 68 << 10;
/// Longest frame: one transfer with room for every header.
const FRAME_LEN_MAX: usize = TRANSFER_MAX as usize + (16 << 10);
/// Most sessions of one connection.
const SESSIONS_MAX: usize = 64;
/// Most logins of one connection that have begun.
const PENDING_MAX: usize = 16;
/// Most requests of one connection that wait for others.
const WAITING_MAX: usize = 512;
/// Frames that a client has not asked for and has not taken yet.
const UNASKED_MAX: usize = 1024;

/// A session, on this connection.
#[derive(Clone, Debug)]
pub(super) struct Channel {
    pub(super) session: Arc<Session>,
    /// `None`: nobody logged in.
    pub(super) send: Option<Arc<SendKeys>>,
}

/// A connection.
pub(super) struct Connection {
    pub(super) listener: Arc<Listener>,
    pub(super) client: IpAddr,
    /// The connection is gone: nothing new is begun.
    pub(super) gone: CancellationToken,
    pub(super) agreed: OnceLock<Agreed>,
    pub(super) window: Mutex<Window>,
    sessions: Mutex<HashMap<u64, Channel>>,
    pending: Mutex<HashMap<u64, Pending>>,
    frame_len_max: Arc<AtomicUsize>,
    /// Requests that wait, by their message id, and how they are told to give up.
    waiting: Mutex<HashMap<u64, CancellationToken>>,
    unasked: mpsc::Sender<Frame>,
}

/// What a frame leads to.
pub(super) type Outcome = conversation::Outcome<Frame>;

/// A request that waits, while it does.
pub(super) struct Waits {
    connection: Arc<Connection>,
    message_id: u64,
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.connection.waiting.lock().remove(&self.message_id);
    }
}

impl Connection {
    /// Who is logged in.
    pub(super) fn session(&self, id: u64) -> Option<Arc<Session>> {
        self.channel(id).map(|channel| channel.session)
    }

    /// The same with the keys of this connection.
    pub(super) fn channel(&self, id: u64) -> Option<Channel> {
        self.sessions.lock().get(&id).filter(|channel| !channel.session.has_ended()).cloned()
    }

    /// How a session that has ended protected what it sent: so its end is told, too.
    pub(super) fn ended_keys(&self, id: u64) -> Option<Arc<SendKeys>> {
        self.sessions.lock().get(&id)?.send.clone()
    }

    /// A session that has just logged in, or joined.
    pub(super) fn put_session(&self, channel: Channel) -> Result<(), NtStatus> {
        let mut sessions = self.sessions.lock();
        if sessions.len() >= SESSIONS_MAX {
            // Whatever a request that ran at its end has opened since is closed with it.
            let ended = sessions.extract_if(|_, channel| channel.session.has_ended());
            ended.for_each(|(_, channel)| self.end_session(&channel.session, false));
        }
        if sessions.len() >= SESSIONS_MAX {
            return Err(NtStatus::INSUFFICIENT_RESOURCES);
        }
        self.listener.state.add(&channel.session);
        sessions.insert(channel.session.id, channel);
        self.frame_len_max.store(FRAME_LEN_MAX, Ordering::Relaxed);
        Ok(())
    }

    /// Ends a session: what it has open is closed.
    pub(super) fn log_off(&self, id: u64) {
        if let Some(session) = self.session(id) {
            // Who logs off may log in again and come back to durable handles, as with other servers.
            self.end_session(&session, true);
        }
    }

    fn end_session(&self, session: &Session, lost: bool) {
        self.listener.state.end(&self.listener.vserver, session, lost);
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

    /// Notes that a request waits; `give_up` ends that.
    pub(super) fn waits(
        self: &Arc<Self>,
        message_id: u64,
        give_up: CancellationToken,
    ) -> Result<Waits, NtStatus> {
        let mut waiting = self.waiting.lock();
        if waiting.len() >= WAITING_MAX {
            return Err(NtStatus::INSUFFICIENT_RESOURCES);
        }
        waiting.insert(message_id, give_up);
        Ok(Waits { connection: Arc::clone(self), message_id })
    }

    /// CANCEL: a request that waits gives up (§3.3.5.16).
    pub(super) fn give_up(&self, message_id: u64) {
        if let Some(waiting) = self.waiting.lock().get(&message_id) {
            waiting.cancel();
        }
    }

    /// Sends what no request asks for. A client that does not take it in time is given up.
    pub(super) fn send(&self, frame: Frame) {
        if self.unasked.try_send(frame).is_err() {
            self.gone.cancel();
        }
    }

    fn end(&self) {
        let sessions: Vec<_> = self.sessions.lock().drain().map(|(_, channel)| channel.session).collect();
        // A session ends with the last of its connections.
        sessions
            .iter()
            .filter(|session| session.leave(self))
            .for_each(|session| self.end_session(session, true));
    }
}

/// One connection, from its first to its last byte.
pub(super) async fn converse(
    stream: TcpStream,
    listener: Arc<Listener>,
    seat: Arc<Seat>,
    ending: Ending,
) -> io::Result<()> {
    let gone = CancellationToken::new();
    let (unasked, mut unasked_frames) = mpsc::channel(UNASKED_MAX);
    let connection = Arc::new(Connection {
        listener,
        client: stream.peer_addr()?.ip().to_canonical(),
        gone: gone.clone(),
        agreed: OnceLock::new(),
        window: Mutex::default(),
        sessions: Mutex::default(),
        pending: Mutex::default(),
        frame_len_max: Arc::new(AtomicUsize::new(FRAME_LEN_MAX_STRANGER)),
        waiting: Mutex::default(),
        unasked,
    });
    let (reader, writer) = conversation::split(stream)?;
    let frames = intake(reader, &connection, Arc::clone(&seat));
    let run = |frame| dispatch::run(Arc::clone(&connection), frame);
    let unasked = stream::poll_fn(move |cx| unasked_frames.poll_recv(cx));
    let ended = conversation::converse(writer, &seat, (ending, gone), frames, unasked, run).await;
    connection.end();
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
