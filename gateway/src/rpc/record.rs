//! Record marking over TCP (RFC 5531 §11): messages in and out of a byte stream.
//!
//! A record is gathered in a buffer that grows with what has arrived, never with what was announced, and a
//! message in one fragment (all that real clients send) is handed on without a copy. Knows no RPC header.

use crate::net::inflow::{Inflow, Messages};
use crate::net::outgoing::{MARK_LEN, Outbound, Outgoing};
use crate::xdr::Message;
use bytes::{Buf, Bytes, BytesMut};
use std::io;
use tokio::io::{AsyncRead, AsyncWrite};

/// Largest record taken: 1 MiB of data with room for every header.
pub const RECORD_LEN_MAX: usize = (1 << 20) + (16 << 10);

const LAST_FRAGMENT: u32 = 0x8000_0000;

/// Takes records off a stream.
#[derive(Debug)]
pub struct RecordReader<R> {
    inflow: Inflow<R>,
    /// Fragments of the current record before its last one, without their marks.
    gathered: BytesMut,
}

impl<R: AsyncRead + Unpin> RecordReader<R> {
    /// Reads records from `stream`.
    pub fn new(stream: R) -> Self {
        RecordReader { inflow: Inflow::new(stream), gathered: BytesMut::new() }
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

    /// Bytes of memory for what is not handed out yet, and bytes that came.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn held(&self) -> (usize, usize) {
        let arrived = usize::try_from(self.inflow.received).unwrap_or(usize::MAX);
        (self.inflow.buffer.capacity() + self.gathered.capacity(), arrived)
    }

    fn take_fragment(&mut self) -> io::Result<Fragment> {
        let Some(mark) = self.inflow.buffer.first_chunk::<MARK_LEN>() else {
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
        if self.inflow.buffer.len() < whole {
            return Ok(Fragment::Missing(whole - self.inflow.buffer.len()));
        }
        self.inflow.buffer.advance(MARK_LEN);
        let data = self.inflow.buffer.split_to(len);
        Ok(if last { Fragment::Last(data) } else { Fragment::More(data) })
    }

    /// Reads some more; `false` at the stream's end between records.
    async fn fill(&mut self, missing: usize) -> io::Result<bool> {
        if self.inflow.fill(missing).await? {
            return Ok(true);
        }
        if self.is_amid() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(false) }
    }
}

impl<R: AsyncRead + Unpin> Messages for RecordReader<R> {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        RecordReader::next(self).await
    }

    fn received(&self) -> u64 {
        self.inflow.received
    }

    fn is_amid(&self) -> bool {
        !self.inflow.buffer.is_empty() || !self.gathered.is_empty()
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
    use crate::net::inflow::READ_LEN;
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
        assert!(reader.inflow.buffer.capacity() <= 2 * READ_LEN, "{}", reader.inflow.buffer.capacity());
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
