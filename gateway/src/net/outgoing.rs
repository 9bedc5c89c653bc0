//! Messages on their way into a stream, each behind four bytes that say how long it is. Copies nothing.

use std::io::{self, IoSlice};
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// Bytes before each message: record marking (RFC 5531 §11), and SMB's direct TCP transport (MS-SMB2 §2.1).
pub const MARK_LEN: usize = 4;
/// `UIO_MAXIOV`: most pieces that one system call takes.
const SLICES_MAX: usize = 1024;

/// A message to send.
pub trait Outbound: Send + 'static {
    /// What goes before it.
    fn mark(&self) -> [u8; MARK_LEN];
    /// Its length without that.
    fn len(&self) -> usize;
    /// Calls `visit` with each piece.
    fn each_slice<'a>(&'a self, visit: impl FnMut(&'a [u8]));

    /// Whether it has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Messages, each behind its mark, and how much of them is sent.
#[derive(Debug)]
pub struct Outgoing<M> {
    messages: Vec<M>,
    marks: Vec<[u8; MARK_LEN]>,
    /// Bytes, and of how many.
    sent: usize,
    len: usize,
}

impl<M: Outbound> Outgoing<M> {
    /// Nothing of `messages` is sent.
    pub fn new(messages: Vec<M>) -> Self {
        let marks: Vec<_> = messages.iter().map(Outbound::mark).collect();
        let len = messages.iter().map(|message| MARK_LEN + message.len()).sum();
        Outgoing { messages, marks, sent: 0, len }
    }

    /// Whether all is sent.
    pub fn is_sent(&self) -> bool {
        self.sent >= self.len
    }

    /// Sends by `write`, in as few calls as it allows and without copying anything, until all is sent or it would block.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn try_send(&mut self, write: impl Fn(&[IoSlice<'_>]) -> io::Result<usize>) -> io::Result<()> {
        while !self.is_sent() {
            match write(&self.slices()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends all.
    ///
    /// # Errors
    /// The stream's.
    pub async fn write_to(&mut self, stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        while !self.is_sent() {
            let written = stream.write_vectored(&self.slices()).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.sent += written;
        }
        Ok(())
    }

    /// What comes next, as much as the kernel takes at a time.
    fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut slices = Vec::with_capacity((self.messages.len() * 4).min(SLICES_MAX));
        let mut skip = self.sent;
        let mut take = |part| {
            let part: &[u8] = part;
            if skip >= part.len() {
                skip -= part.len();
            } else if slices.len() < SLICES_MAX {
                slices.push(IoSlice::new(&part[skip..]));
                skip = 0;
            }
        };
        for (mark, message) in self.marks.iter().zip(&self.messages) {
            take(mark);
            message.each_slice(&mut take);
        }
        slices
    }
}
