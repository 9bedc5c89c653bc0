//! Record marking over TCP (RFC 5531 §11): messages in and out of a byte stream.
//!
//! A record is gathered in a buffer that grows with what has arrived, never with what was announced, and a
//! message in one fragment (all that real clients send) is handed on without a copy. Knows no RPC header.

use crate::net::outgoing::{MARK_LEN, Outbound, Outgoing};
use crate::xdr::Message;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

/// Largest record taken: 1 MiB of data with room for every header.
pub const RECORD_LEN_MAX: usize = (1 << 20) + (16 << 10);

const LAST_FRAGMENT: u32 = 0x8000_0000;
/// Space for the first bytes of a record.
const READ_LEN: usize = 64 << 10;
/// The buffer holds at most this many times what has arrived (or `READ_LEN`).
const GROWTH: usize = 16;

/// Takes records off a stream.
#[derive(Debug)]
pub struct RecordReader<R> {
    stream: R,
    buffer: BytesMut,
    /// Fragments of the current record before its last one, without their marks.
    gathered: BytesMut,
    /// Bytes that were taken off the stream.
    received: u64,
}

impl<R: AsyncRead + Unpin> RecordReader<R> {
    /// Reads records from `stream`.
    pub fn new(stream: R) -> Self {
        RecordReader { stream, buffer: BytesMut::new(), gathered: BytesMut::new(), received: 0 }
    }

    /// The next record; `None` where the stream ends between records. May be dropped and called again
    /// without loss.
    ///
    /// # Errors
    /// The stream's; `UnexpectedEof` inside a record; `InvalidData` where a record is over
    /// [`RECORD_LEN_MAX`] or has an empty fragment that is not its last. Then the stream can't be used any more.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            match self.take_fragment()? {
                Fragment::Last(data) if self.gathered.is_empty() => return Ok(Some(data.freeze())),
                Fragment::Last(data) => {
                    self.gathered.unsplit(data);
                    return Ok(Some(self.gathered.split().freeze()));
                }
                Fragment::More(data) => self.gathered.extend_from_slice(&data),
                Fragment::Missing(missing) => {
                    if !self.fill(missing).await? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Like [`RecordReader::next`], but gives up if for so long nothing comes that must come: the rest of a record that
    /// has begun, or the first one. A stream may be silent between records.
    ///
    /// # Errors
    /// Those of [`RecordReader::next`]; `TimedOut`.
    pub async fn next_within(&mut self, stall: Duration) -> io::Result<Option<Bytes>> {
        loop {
            let before = self.received;
            match tokio::time::timeout(stall, self.next()).await {
                Ok(record) => return record,
                Err(_) if self.received != before => {}
                Err(_) if self.received == 0 || !self.buffer.is_empty() || !self.gathered.is_empty() => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(_) => {}
            }
        }
    }

    /// Bytes of memory for what is not handed out yet, and bytes that came.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn held(&self) -> (usize, usize) {
        let arrived = usize::try_from(self.received).unwrap_or(usize::MAX);
        (self.buffer.capacity() + self.gathered.capacity(), arrived)
    }

    fn take_fragment(&mut self) -> io::Result<Fragment> {
        let Some(mark) = self.buffer.first_chunk::<MARK_LEN>() else {
            return Ok(Fragment::Missing(MARK_LEN));
        };
        let mark = u32::from_be_bytes(*mark);
        let len = (mark & !LAST_FRAGMENT) as usize;
        let last = mark & LAST_FRAGMENT != 0;
        if len > RECORD_LEN_MAX - self.gathered.len() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("record fragment of {len} bytes"),
            ));
        }
        if len == 0 && !last {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "empty record fragment"));
        }
        let whole = MARK_LEN + len;
        if self.buffer.len() < whole {
            return Ok(Fragment::Missing(whole - self.buffer.len()));
        }
        self.buffer.advance(MARK_LEN);
        let data = self.buffer.split_to(len);
        Ok(if last { Fragment::Last(data) } else { Fragment::More(data) })
    }

    /// Reads some more; `false` at the stream's end between records. Reads past the `missing` bytes only if they are
    /// few: a large record then has its buffer for itself, and nothing of the next is to be moved.
    async fn fill(&mut self, missing: usize) -> io::Result<bool> {
        let want = missing.max(READ_LEN).min(READ_LEN.max(self.buffer.len() * GROWTH));
        if self.buffer.capacity() - self.buffer.len() < want.min(missing.max(READ_LEN / 16)) {
            self.buffer.reserve(want);
        }
        let len = self.stream.read_buf(&mut (&mut self.buffer).limit(want)).await?;
        if len > 0 {
            self.received += len as u64;
            return Ok(true);
        }
        if self.buffer.is_empty() && self.gathered.is_empty() {
            Ok(false)
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}

enum Fragment {
    Last(BytesMut),
    More(BytesMut),
    /// At least this many bytes are not here yet.
    Missing(usize),
}

/// Writes `messages`, each as a record of one fragment, in as few system calls as the stream allows and without
/// copying their tails. Leaves `messages` empty.
///
/// # Errors
/// The stream's.
pub async fn write_records<W: AsyncWrite + Unpin>(
    stream: &mut W,
    messages: &mut Vec<Message>,
) -> io::Result<()> {
    let mut batch = Outgoing::new(std::mem::take(messages));
    batch.write_to(stream).await
}

/// A record of one fragment.
impl Outbound for Message {
    fn mark(&self) -> [u8; MARK_LEN] {
        let len = u32::try_from(self.len()).expect("messages are far below 2 GiB");
        assert!(len < LAST_FRAGMENT, "messages are far below 2 GiB");
        (len | LAST_FRAGMENT).to_be_bytes()
    }

    fn len(&self) -> usize {
        Message::len(self)
    }

    fn each_slice<'a>(&'a self, visit: impl FnMut(&'a [u8])) {
        Message::each_slice(self, visit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xdr::Tail;
    use tokio::io::AsyncWriteExt;

    async fn records(mut stream: &[u8]) -> io::Result<Vec<Bytes>> {
        let mut reader = RecordReader::new(&mut stream);
        let mut records = Vec::new();
        while let Some(record) = reader.next().await? {
            records.push(record);
        }
        Ok(records)
    }

    fn kind(result: io::Result<Vec<Bytes>>) -> io::ErrorKind {
        result.unwrap_err().kind()
    }

    #[tokio::test]
    async fn records_on_the_wire() {
        // RFC 5531 §11: two records, the second in two fragments, then an empty one.
        let stream = b"\x80\0\0\x03abc\0\0\0\x02de\x80\0\0\x01f\x80\0\0\0";
        assert_eq!(records(stream).await.unwrap(), [&b"abc"[..], b"def", b""]);
    }

    #[tokio::test]
    async fn a_stream_may_end_only_between_records() {
        assert!(records(b"").await.unwrap().is_empty());
        for stream in [&b"\x80"[..], b"\x80\0\0\x03ab", b"\0\0\0\x02de", b"\0\0\0\x02de\x80\0"] {
            assert_eq!(kind(records(stream).await), io::ErrorKind::UnexpectedEof, "{stream:?}");
        }
    }

    #[tokio::test]
    async fn oversized_records_are_refused() {
        assert_eq!(kind(records(b"\xff\xff\xff\xff").await), io::ErrorKind::InvalidData);
        assert_eq!(kind(records(b"\x7f\xff\xff\xff").await), io::ErrorKind::InvalidData);
        assert_eq!(kind(records(b"\0\0\0\0").await), io::ErrorKind::InvalidData);
        // Small fragments that add up.
        let mut stream = Vec::new();
        for _ in 0..20 {
            stream.extend_from_slice(&65_536u32.to_be_bytes());
            stream.extend_from_slice(&[0; 65_536]);
        }
        assert_eq!(kind(records(&stream).await), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn the_buffer_grows_with_what_arrives() {
        let (mut client, server) = tokio::io::duplex(RECORD_LEN_MAX + MARK_LEN);
        let mut reader = RecordReader::new(server);
        let announced = u32::try_from(RECORD_LEN_MAX).unwrap() | LAST_FRAGMENT;
        client.write_all(&announced.to_be_bytes()).await.unwrap();
        client.write_all(&[0; 100]).await.unwrap();
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(20), reader.next()).await;
        assert!(waiting.is_err());
        assert!(reader.buffer.capacity() <= 2 * READ_LEN, "{}", reader.buffer.capacity());
        client.write_all(&vec![0; RECORD_LEN_MAX - 100]).await.unwrap();
        assert_eq!(reader.next().await.unwrap().unwrap().len(), RECORD_LEN_MAX);
    }

    #[tokio::test]
    async fn written_records_can_be_read() {
        let mut messages = vec![
            Message { head: Bytes::from_static(b"head"), tail: Tail::Bytes(Bytes::from_static(b"tail5")) },
            Message::from(Bytes::from_static(b"only")),
        ];
        let mut stream = Vec::new();
        write_records(&mut stream, &mut messages).await.unwrap();
        assert!(messages.is_empty());
        assert_eq!(records(&stream).await.unwrap(), [&b"headtail5\0\0\0"[..], b"only"]);
    }

    #[tokio::test]
    async fn more_records_than_one_system_call_takes() {
        let (mut near, far) = tokio::io::duplex(1000);
        let tail = Tail::Bytes(Bytes::from_static(b"tail"));
        let message = Message { head: Bytes::from_static(b"head"), tail };
        let writer = tokio::spawn(async move { write_records(&mut near, &mut vec![message; 1500]).await });
        let mut reader = RecordReader::new(far);
        for _ in 0..1500 {
            assert_eq!(reader.next().await.unwrap().unwrap(), &b"headtail"[..]);
        }
        writer.await.unwrap().unwrap();
    }
}
