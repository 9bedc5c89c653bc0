//! Runs control streams: heartbeats, messages in and out, and on the source's side connecting again. Tells
//! the driver what happens; knows no phase.

use super::{Clock, Shared};
use crate::heartbeat::{Due, Heartbeat};
use crate::link::{self, PeerStream};
use crate::message::Message;
use crate::model::MigrationId;
use crate::protocol::{Frame, ProtocolError, Stream};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Messages that wait in either direction.
const QUEUE: usize = 64;
/// First and longest pause before connecting again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// What a control stream tells its driver.
pub(super) enum LinkEvent {
    /// Messages go in here from now on; `cut` breaks the stream.
    Up {
        out: mpsc::Sender<Message>,
        cut: CancellationToken,
    },
    Message(Message),
    Down(String),
}

/// An event with the number of the stream that it is about.
pub(super) type Numbered = (u64, LinkEvent);

/// Serves one control stream until it breaks. Events carry `generation`, so that those of a stream that was
/// replaced can be told apart.
pub(super) async fn run(
    stream: PeerStream,
    generation: u64,
    events: &mpsc::Sender<Numbered>,
    clock: Clock,
    stop: &CancellationToken,
) {
    let (out, outgoing) = mpsc::channel(QUEUE);
    let cut = stop.child_token();
    if events.send((generation, LinkEvent::Up { out, cut: cut.clone() })).await.is_err() {
        return;
    }
    let reason = match serve(stream, generation, outgoing, events, clock, &cut).await {
        Ok(()) => "link closed".to_owned(),
        Err(error) => format!("link lost: {error}"),
    };
    // The driver may have ended.
    let _ = events.send((generation, LinkEvent::Down(reason))).await;
}

async fn serve(
    stream: PeerStream,
    generation: u64,
    mut outgoing: mpsc::Receiver<Message>,
    events: &mpsc::Sender<Numbered>,
    clock: Clock,
    cut: &CancellationToken,
) -> Result<(), ProtocolError> {
    let (mut from, mut into) = tokio::io::split(stream);
    let mut beat = Heartbeat::new(clock.now_ms());
    let (frames_in, mut frames) = mpsc::channel(QUEUE);
    // A task of its own, because reading a frame may not be cancelled half-way.
    let reader = tokio::spawn(async move {
        loop {
            let frame = Frame::read(&mut from).await;
            let failed = frame.is_err();
            if frames_in.send(frame).await.is_err() || failed {
                return;
            }
        }
    });
    let _ends_with_us = AbortOnDrop(reader);
    loop {
        tokio::select! {
            frame = frames.recv() => {
                beat.heard(clock.now_ms());
                match frame.unwrap_or(Err(ProtocolError::Unexpected("end")))? {
                    Frame::Heartbeat(_) => {}
                    Frame::Message(message) => {
                        if events.send((generation, LinkEvent::Message(message))).await.is_err() {
                            return Ok(());
                        }
                    }
                    other => return Err(ProtocolError::Unexpected(other.name())),
                }
            }
            message = outgoing.recv() => match message {
                Some(message) => link::write(&mut into, &Frame::Message(message)).await?,
                None => return Ok(()),
            },
            () = clock.sleep_until(beat.next_ms()) => match beat.poll(clock.now_ms()) {
                Due::Send(number) => link::write(&mut into, &Frame::Heartbeat(number)).await?,
                Due::Lost => return Err(ProtocolError::Io(std::io::ErrorKind::TimedOut.into())),
                Due::Nothing => {}
            },
            () = cut.cancelled() => return Ok(()),
        }
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Keeps a control stream to the peer up for as long as `wanted` says so.
pub(super) async fn maintain(
    shared: Arc<Shared>,
    id: MigrationId,
    peer: String,
    mut wanted: watch::Receiver<bool>,
    events: mpsc::Sender<Numbered>,
    stop: CancellationToken,
) {
    let mut backoff = BACKOFF.0;
    let mut generation = 0;
    loop {
        while !*wanted.borrow_and_update() {
            tokio::select! {
                changed = wanted.changed() => if changed.is_err() { return },
                () = stop.cancelled() => return,
            }
        }
        let connected = tokio::select! {
            connected = shared.connect(&peer, id, Stream::Control) => connected,
            () = stop.cancelled() => return,
        };
        match connected {
            Ok(stream) => {
                backoff = BACKOFF.0;
                generation += 1;
                let this = stop.child_token();
                let unwanted = async {
                    while *wanted.borrow_and_update() {
                        if wanted.changed().await.is_err() {
                            break;
                        }
                    }
                    this.cancel();
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    () = run(stream, generation, &events, shared.clock, &this) => {}
                    () = unwanted => {}
                }
            }
            Err(error) => {
                tracing::debug!(%id, peer, %error, "cannot connect");
                backoff = (backoff * 2).min(BACKOFF.1);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(backoff) => {}
            () = stop.cancelled() => return,
        }
    }
}
