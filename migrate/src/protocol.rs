//! Frames of the migration link: encoding, decoding, bounds. Knows no socket; lengths are checked before
//! anything is allocated.
//!
//! ```text
//! frame   = length u32 | kind u8 | body            (big-endian; length counts kind and body)
//! message = json_length u32 | json | attachment    (kind 2)
//! blocks  = vbn u64 | crc32c u32 | whole blocks    (kind 18; at most BLOCKS_MAX bytes of blocks)
//! ```
//! The other bodies are JSON, a number, or opaque bytes, as [`Frame`] says.

use crate::message::Message;
use crate::model::{Mark, MigrationId};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use fsstore::{BLOCK_SIZE, Vbn};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};
use uuid::Uuid;

/// Version that both sides must speak.
pub const VERSION: u32 = 1;
/// Longest frame, length field excluded.
pub const FRAME_MAX: usize = 16 << 20;
/// Most bytes of blocks in one frame.
pub const BLOCKS_MAX: usize = 256 << 10;
/// Longest JSON body of anything but a message.
const JSON_MAX: usize = 64 << 10;
/// Bytes of a blocks frame before its blocks.
pub(crate) const BLOCKS_HEADER: usize = 4 + 1 + 8 + 4;

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Messages and heartbeats.
    Control,
    /// Blocks.
    Data,
}

/// First frame of a connection, from the source.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`].
    pub version: u32,
    /// Which migration.
    pub migration: MigrationId,
    /// What for.
    pub stream: Stream,
}

/// Source: a transfer of this volume to this snapshot is to begin.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Begin {
    /// Which volume.
    pub volume: Uuid,
    /// Name of the snapshot, for the record.
    pub snapshot: String,
    /// Its root checksum.
    pub to_root: u64,
}

/// Destination: what it has of that volume.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Have {
    /// Root checksum of the installed snapshot.
    pub installed_root: Option<u64>,
    /// A transfer that was broken off.
    pub mark: Option<Mark>,
}

/// Either side gives up a transfer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Broken {
    /// For people.
    pub reason: String,
    /// Whether trying again is pointless.
    pub fatal: bool,
}

/// Everything that travels on a link.
#[derive(Clone, PartialEq, Debug)]
pub enum Frame {
    /// Opens a connection.
    Hello(Hello),
    /// The destination takes the connection.
    Welcome,
    /// A control message.
    Message(Message),
    /// A sign of life, with a running number.
    Heartbeat(u64),
    /// See [`Begin`].
    Begin(Begin),
    /// See [`Have`].
    Have(Have),
    /// Source: blocks follow, from this mark on.
    Diff(Mark),
    /// Blocks from `vbn` on, already checked against their checksum.
    Blocks(Vbn, Bytes),
    /// Destination: everything before this block is durable.
    Marked(u64),
    /// Source: all blocks are sent; this image makes them the replica's state.
    Install(Bytes),
    /// Destination: installed; its root checksum.
    Installed(u64),
    /// See [`Broken`].
    Broken(Broken),
}

/// Why a peer's bytes were not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// The connection failed or ended.
    #[error("connection: {0}")]
    Io(#[from] std::io::Error),
    /// A frame longer than its kind may be.
    #[error("frame of {0} bytes is too long")]
    TooLong(usize),
    /// A body that is not what its kind says.
    #[error("malformed {0} frame")]
    Malformed(&'static str),
    /// A frame that makes no sense now.
    #[error("unexpected {0}")]
    Unexpected(&'static str),
    /// Blocks damaged on the way.
    #[error("blocks at {0} do not match their checksum")]
    Checksum(u64),
}

fn crc32c(bytes: &[u8]) -> u32 {
    let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes);
    u32::try_from(sum).unwrap_or(u32::MAX)
}

/// Fills in the header of a blocks frame whose blocks stand at `buf[BLOCKS_HEADER..]`.
pub(crate) fn seal_blocks(buf: &mut [u8], vbn: Vbn) {
    let crc = crc32c(buf.get(BLOCKS_HEADER..).unwrap_or_default());
    let length = u32::try_from(buf.len() - 4).unwrap_or(u32::MAX);
    let mut header = buf;
    header.put_u32(length);
    header.put_u8(18);
    header.put_u64(vbn.0);
    header.put_u32(crc);
}

impl Frame {
    /// The frame's bytes.
    ///
    /// # Errors
    /// [`ProtocolError::TooLong`] where the peer would refuse it.
    pub fn encode(&self) -> Result<Bytes, ProtocolError> {
        let mut body = BytesMut::new();
        let json = |body: &mut BytesMut, kind: u8, value: serde_json::Result<Vec<u8>>| {
            body.put_u8(kind);
            body.extend_from_slice(&value.map_err(|_| ProtocolError::Malformed("json"))?);
            Ok::<(), ProtocolError>(())
        };
        match self {
            Frame::Hello(hello) => json(&mut body, 0, serde_json::to_vec(hello))?,
            Frame::Welcome => body.put_u8(1),
            Frame::Message(message) => {
                let text = serde_json::to_vec(message).map_err(|_| ProtocolError::Malformed("json"))?;
                body.put_u8(2);
                body.put_u32(u32::try_from(text.len()).map_err(|_| ProtocolError::TooLong(text.len()))?);
                body.extend_from_slice(&text);
                body.extend_from_slice(&message.attachment());
            }
            Frame::Heartbeat(number) => {
                body.put_u8(3);
                body.put_u64(*number);
            }
            Frame::Begin(begin) => json(&mut body, 16, serde_json::to_vec(begin))?,
            Frame::Have(have) => json(&mut body, 17, serde_json::to_vec(have))?,
            Frame::Blocks(vbn, blocks) => {
                let mut frame = vec![0; BLOCKS_HEADER + blocks.len()];
                frame[BLOCKS_HEADER..].copy_from_slice(blocks);
                seal_blocks(&mut frame, *vbn);
                return Ok(frame.into());
            }
            Frame::Marked(next_vbn) => {
                body.put_u8(19);
                body.put_u64(*next_vbn);
            }
            Frame::Install(image) => {
                body.put_u8(20);
                body.extend_from_slice(image);
            }
            Frame::Installed(root) => {
                body.put_u8(21);
                body.put_u64(*root);
            }
            Frame::Broken(broken) => json(&mut body, 22, serde_json::to_vec(broken))?,
            Frame::Diff(mark) => json(&mut body, 23, serde_json::to_vec(mark))?,
        }
        if body.len() > FRAME_MAX {
            return Err(ProtocolError::TooLong(body.len()));
        }
        let mut frame = BytesMut::with_capacity(4 + body.len());
        frame.put_u32(u32::try_from(body.len()).map_err(|_| ProtocolError::TooLong(body.len()))?);
        frame.extend_from_slice(&body);
        Ok(frame.freeze())
    }

    /// Decodes the body of a frame of `kind`.
    ///
    /// # Errors
    /// [`ProtocolError`] for anything that [`encode`](Self::encode) would not have made.
    pub fn decode(kind: u8, mut body: Bytes) -> Result<Frame, ProtocolError> {
        if body.len() > longest_body(kind) {
            return Err(ProtocolError::TooLong(body.len()));
        }
        match kind {
            0 => Ok(Frame::Hello(parse(&body, "hello")?)),
            1 if body.is_empty() => Ok(Frame::Welcome),
            2 => decode_message(body),
            3 => Ok(Frame::Heartbeat(number(&mut body, "heartbeat")?)),
            16 => Ok(Frame::Begin(parse(&body, "begin")?)),
            17 => Ok(Frame::Have(parse(&body, "have")?)),
            18 => decode_blocks(body),
            19 => Ok(Frame::Marked(number(&mut body, "mark")?)),
            20 => Ok(Frame::Install(body)),
            21 => Ok(Frame::Installed(number(&mut body, "installed")?)),
            22 => Ok(Frame::Broken(parse(&body, "broken")?)),
            23 => Ok(Frame::Diff(parse(&body, "diff")?)),
            _ => Err(ProtocolError::Malformed("unknown")),
        }
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// [`ProtocolError`]; the connection is of no more use then.
    pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<Frame, ProtocolError> {
        let mut header = [0; 5];
        from.read_exact(&mut header).await?;
        let [a, b, c, d, kind] = header;
        let length = u32::from_be_bytes([a, b, c, d]);
        let length = usize::try_from(length).unwrap_or(usize::MAX).checked_sub(1);
        let length = length.ok_or(ProtocolError::Malformed("empty"))?;
        if length > longest_body(kind) {
            return Err(ProtocolError::TooLong(length));
        }
        let mut body = BytesMut::zeroed(length);
        from.read_exact(&mut body).await?;
        Frame::decode(kind, body.freeze())
    }

    /// The frame's name, safe to log.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Frame::Hello(_) => "hello",
            Frame::Welcome => "welcome",
            Frame::Message(message) => message.name(),
            Frame::Heartbeat(_) => "heartbeat",
            Frame::Begin(_) => "begin",
            Frame::Have(_) => "have",
            Frame::Diff(_) => "diff",
            Frame::Blocks(..) => "blocks",
            Frame::Marked(_) => "mark",
            Frame::Install(_) => "install",
            Frame::Installed(_) => "installed",
            Frame::Broken(_) => "broken",
        }
    }
}

fn longest_body(kind: u8) -> usize {
    match kind {
        1 => 0,
        2 => FRAME_MAX - 1,
        3 | 19 | 21 => 8,
        18 => 12 + BLOCKS_MAX,
        _ => JSON_MAX,
    }
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8], what: &'static str) -> Result<T, ProtocolError> {
    serde_json::from_slice(body).map_err(|_| ProtocolError::Malformed(what))
}

fn number(body: &mut Bytes, what: &'static str) -> Result<u64, ProtocolError> {
    if body.len() != 8 {
        return Err(ProtocolError::Malformed(what));
    }
    Ok(body.get_u64())
}

fn decode_message(mut body: Bytes) -> Result<Frame, ProtocolError> {
    let malformed = || ProtocolError::Malformed("message");
    let length = body.try_get_u32().map_err(|_| malformed())?;
    let length = usize::try_from(length).ok().filter(|l| *l <= body.len()).ok_or_else(malformed)?;
    let text = body.split_to(length);
    let message: Message = parse(&text, "message")?;
    message.attach(body.to_vec()).map(Frame::Message).ok_or_else(malformed)
}

fn decode_blocks(mut body: Bytes) -> Result<Frame, ProtocolError> {
    let malformed = || ProtocolError::Malformed("blocks");
    let vbn = body.try_get_u64().map_err(|_| malformed())?;
    let crc = body.try_get_u32().map_err(|_| malformed())?;
    if body.is_empty() || !body.len().is_multiple_of(BLOCK_SIZE) {
        return Err(malformed());
    }
    if crc32c(&body) != crc {
        return Err(ProtocolError::Checksum(vbn));
    }
    Ok(Frame::Blocks(Vbn(vbn), body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Epoch, MigrationSpec};

    async fn through(bytes: &[u8]) -> Result<Frame, ProtocolError> {
        Frame::read(&mut &*bytes).await
    }

    #[tokio::test]
    async fn golden_bytes() {
        assert_eq!(&Frame::Welcome.encode().unwrap()[..], [0, 0, 0, 1, 1]);
        assert_eq!(&Frame::Heartbeat(7).encode().unwrap()[..], [0, 0, 0, 9, 3, 0, 0, 0, 0, 0, 0, 0, 7]);
        let ready = Frame::Message(Message::Ready { attempt: 2 }).encode().unwrap();
        assert_eq!(&ready[..9], [0, 0, 0, 33, 2, 0, 0, 0, 28]);
        assert_eq!(&ready[9..], &br#"{"type":"ready","attempt":2}"#[..]);
        let blocks = Frame::Blocks(Vbn(0x0102), Bytes::from(vec![0; BLOCK_SIZE])).encode().unwrap();
        // CRC-32C of 4096 zeros is 0x98f94189.
        assert_eq!(
            &blocks[..BLOCKS_HEADER],
            [0, 0, 0x10, 0x0d, 18, 0, 0, 0, 0, 0, 0, 1, 2, 0x98, 0xf9, 0x41, 0x89]
        );
    }

    #[tokio::test]
    async fn every_frame_survives_the_wire() {
        let mark = Mark { to_root: u64::MAX, from_root: 1, next_vbn: 9 };
        let hello = Hello { version: VERSION, migration: MigrationId::random(), stream: Stream::Data };
        let frames = [
            Frame::Hello(hello),
            Frame::Welcome,
            Frame::Heartbeat(1),
            Frame::Begin(Begin { volume: Uuid::nil(), snapshot: "s".into(), to_root: u64::MAX }),
            Frame::Have(Have { installed_root: None, mark: Some(mark) }),
            Frame::Diff(mark),
            Frame::Blocks(Vbn(3), Bytes::from(vec![9; 2 * BLOCK_SIZE])),
            Frame::Marked(12),
            Frame::Install(Bytes::from_static(b"image")),
            Frame::Installed(u64::MAX),
            Frame::Broken(Broken { reason: "r".into(), fatal: true }),
            Frame::Message(Message::Handover {
                attempt: 1,
                config_bytes: 2,
                config: vec![1, 2],
                open_state: vec![3],
            }),
            Frame::Message(Message::Setup {
                spec: MigrationSpec::new("v", "d"),
                epoch: Epoch(3),
                volumes: vec![],
                config: vec![5],
            }),
        ];
        for frame in frames {
            assert_eq!(through(&frame.encode().unwrap()).await.unwrap(), frame);
        }
    }

    #[tokio::test]
    async fn lengths_are_refused_before_anything_is_allocated() {
        for kind in 0..=255 {
            let result = through(&[0xff, 0xff, 0xff, 0xff, kind]).await;
            assert!(matches!(result, Err(ProtocolError::TooLong(_))), "kind {kind}: {result:?}");
        }
        assert!(matches!(through(&[0, 0, 0, 0, 3]).await, Err(ProtocolError::Malformed(_))));
        let long =
            Message::Handover { attempt: 1, config_bytes: 0, config: vec![], open_state: vec![0; FRAME_MAX] };
        assert!(matches!(Frame::Message(long).encode(), Err(ProtocolError::TooLong(_))));
    }

    #[tokio::test]
    async fn damage_is_noticed() {
        let mut blocks = Frame::Blocks(Vbn(1), Bytes::from(vec![1; BLOCK_SIZE])).encode().unwrap().to_vec();
        blocks[BLOCKS_HEADER + 100] ^= 1;
        assert!(matches!(through(&blocks).await, Err(ProtocolError::Checksum(1))));
        // A message that claims more configuration than came with it.
        let lie = Message::Handover { attempt: 1, config_bytes: 9, config: vec![1], open_state: vec![] };
        let bytes = Frame::Message(lie).encode().unwrap();
        assert!(matches!(through(&bytes).await, Err(ProtocolError::Malformed("message"))));
    }

    #[test]
    fn random_bytes_never_panic() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for round in 0..20_000 {
            let mut body = vec![0; round % 64];
            for byte in &mut body {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = state.to_be_bytes()[0];
            }
            for kind in [0, 1, 2, 3, 16, 17, 18, 19, 20, 21, 22, 23, 99] {
                drop(Frame::decode(kind, Bytes::from(body.clone())));
            }
        }
    }
}
