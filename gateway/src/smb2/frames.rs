//! Frames of SMB's direct TCP transport (MS-SMB2 §2.1): four bytes with the length, then one message, a compound of
//! messages, or an encrypted one. In and out; knows no header.

use crate::net::inflow::{Inflow, Messages, READ_LEN};
use crate::net::outgoing::{MARK_LEN, Outbound};
use crate::xdr::Tail;
use bytes::{Buf, Bytes};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::AsyncRead;

/// Takes frames off a stream.
#[derive(Debug)]
pub(super) struct FrameReader<R> {
    inflow: Inflow<R>,
    /// Longest frame that is taken now; grows when somebody has logged in.
    len_max: Arc<AtomicUsize>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(super) fn new(stream: R, len_max: Arc<AtomicUsize>) -> Self {
        FrameReader { inflow: Inflow::new(stream), len_max }
    }

    /// The frame that the buffer begins with. A large one has its memory for itself: it is decrypted where it is.
    fn take(&mut self, len: usize) -> Bytes {
        let buffer = &mut self.inflow.buffer;
        if len > READ_LEN && len == buffer.len() { std::mem::take(buffer) } else { buffer.split_to(len) }
            .freeze()
    }
}

impl<R: AsyncRead + Unpin> Messages for FrameReader<R> {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let missing = match self.inflow.buffer.first_chunk::<MARK_LEN>() {
                None => MARK_LEN,
                Some(mark) => {
                    let len = u32::from_be_bytes(*mark) as usize;
                    if len > self.len_max.load(Ordering::Relaxed) {
                        return Err(io::Error::new(
                            io::ErrorKind::InvalidData,
                            format!("frame of {len} bytes"),
                        ));
                    }
                    let whole = MARK_LEN + len;
                    if self.inflow.buffer.len() >= whole {
                        self.inflow.buffer.advance(MARK_LEN);
                        return Ok(Some(self.take(len)));
                    }
                    whole - self.inflow.buffer.len()
                }
            };
            if !self.inflow.fill(missing).await? {
                return if self.is_amid() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(None) };
            }
        }
    }

    fn received(&self) -> u64 {
        self.inflow.received
    }

    fn is_amid(&self) -> bool {
        !self.inflow.buffer.is_empty()
    }
}

/// A frame to send.
#[derive(Debug, Default)]
pub(super) struct Frame {
    /// Everything but the payload that ends it.
    pub(super) head: Bytes,
    /// That payload, from where it is.
    pub(super) tail: Tail,
}

impl Outbound for Frame {
    fn mark(&self) -> [u8; MARK_LEN] {
        u32::try_from(self.len()).expect("frames are far below 16 MiB").to_be_bytes()
    }

    fn len(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    fn each_slice<'a>(&'a self, mut visit: impl FnMut(&'a [u8])) {
        visit(&self.head);
        self.tail.each_slice(visit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn frames(mut stream: &[u8], len_max: usize) -> io::Result<Vec<Bytes>> {
        let mut reader = FrameReader::new(&mut stream, Arc::new(AtomicUsize::new(len_max)));
        let mut frames = Vec::new();
        while let Some(frame) = reader.next().await? {
            frames.push(frame);
        }
        Ok(frames)
    }

    #[tokio::test]
    async fn frames_come_whole_or_not_at_all() {
        let stream = b"\0\0\0\x02ab\0\0\0\0\0\0\0\x03cde";
        assert_eq!(frames(stream, 3).await.unwrap(), [&b"ab"[..], b"", b"cde"]);
        for end in [1, 5, 9, 13] {
            let error = frames(&stream[..end], 3).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{end}");
        }
        assert_eq!(frames(stream, 2).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        // A NetBIOS keep-alive or session request is no message of this transport.
        assert_eq!(frames(b"\x81\0\0\x01a", 1 << 20).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_frame_says_how_long_it_is() {
        let frame = Frame { head: Bytes::from_static(b"abc"), tail: Tail::Bytes(Bytes::from_static(b"de")) };
        assert_eq!(frame.mark(), [0, 0, 0, 5]);
        let mut all = Vec::new();
        frame.each_slice(|slice| all.extend_from_slice(slice));
        assert_eq!(all, b"abcde");
    }
}
