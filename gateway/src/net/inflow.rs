//! Bytes off a stream, gathered until a message is whole. The buffer grows with what has arrived, never with what was
//! announced.

use bytes::{BufMut, Bytes, BytesMut};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Space for the first bytes of a message.
pub(crate) const READ_LEN: usize = 64 << 10;
/// The buffer holds at most this many times what has arrived (or `READ_LEN`).
const GROWTH: usize = 16;

/// What has come and was not taken yet.
#[derive(Debug)]
pub(crate) struct Inflow<R> {
    stream: R,
    pub(crate) buffer: BytesMut,
    /// Bytes that were taken off the stream.
    pub(crate) received: u64,
}

impl<R: AsyncRead + Unpin> Inflow<R> {
    pub(crate) fn new(stream: R) -> Self {
        Inflow { stream, buffer: BytesMut::new(), received: 0 }
    }

    /// Reads some more; `false` at the stream's end. Reads past the `missing` bytes only if they are
    /// few: a large message then has its buffer for itself, and nothing of the next is to be moved.
    pub(crate) async fn fill(&mut self, missing: usize) -> io::Result<bool> {
        let want = missing.max(READ_LEN).min(READ_LEN.max(self.buffer.len() * GROWTH));
        if self.buffer.capacity() - self.buffer.len() < want.min(missing.max(READ_LEN / 16)) {
            self.buffer.reserve(want);
        }
        let len = self.stream.read_buf(&mut (&mut self.buffer).limit(want)).await?;
        self.received += len as u64;
        Ok(len > 0)
    }
}

/// A stream of messages.
pub(crate) trait Messages {
    /// The next message; `None` where the stream ends between messages. May be dropped and called again without loss.
    async fn next(&mut self) -> io::Result<Option<Bytes>>;
    /// Bytes that came so far.
    fn received(&self) -> u64;
    /// Whether part of a message is here.
    fn is_amid(&self) -> bool;

    /// Like [`Messages::next`], but gives up with `TimedOut` if for so long nothing comes that must come: the rest of a
    /// message that has begun, or the first one. A stream may be silent between messages.
    async fn next_within(&mut self, stall: Duration) -> io::Result<Option<Bytes>> {
        loop {
            let before = self.received();
            match tokio::time::timeout(stall, self.next()).await {
                Ok(message) => return message,
                Err(_) if self.received() != before => {}
                Err(_) if self.received() == 0 || self.is_amid() => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(_) => {}
            }
        }
    }
}
