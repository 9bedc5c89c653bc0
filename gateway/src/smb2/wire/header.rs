//! The header of every message, MS-SMB2 §2.2.1.

use super::status::NtStatus;
use super::{Malformed, Reader};
use bytes::{BufMut, BytesMut};

/// Bytes of the header.
pub const HEADER_LEN: usize = 64;
/// The first four bytes of a message.
pub const PROTOCOL_ID: [u8; 4] = *b"\xfeSMB";

/// `SMB2_FLAGS_SERVER_TO_REDIR`: a reply.
pub const FLAG_RESPONSE: u32 = 0x0000_0001;
/// `SMB2_FLAGS_ASYNC_COMMAND`: the header has an asynchronous id in the tree's place.
pub const FLAG_ASYNC: u32 = 0x0000_0002;
/// `SMB2_FLAGS_RELATED_OPERATIONS`: goes on with the session, tree and file of the message before it.
pub const FLAG_RELATED: u32 = 0x0000_0004;
/// `SMB2_FLAGS_SIGNED`.
pub const FLAG_SIGNED: u32 = 0x0000_0008;
/// `SMB2_FLAGS_PRIORITY_MASK`, dialect 3.1.1.
pub const FLAG_PRIORITY_MASK: u32 = 0x0000_0070;
/// `SMB2_FLAGS_DFS_OPERATIONS`.
pub const FLAG_DFS: u32 = 0x1000_0000;
/// `SMB2_FLAGS_REPLAY_OPERATION`, dialects 3.x.
pub const FLAG_REPLAY: u32 = 0x2000_0000;

/// Declares the commands with their numbers.
macro_rules! commands {
    ($($name:ident = $value:literal),* $(,)?) => {
        /// What a message asks for.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        #[repr(u16)]
        #[allow(missing_docs, reason = "the commands have the names of MS-SMB2 §2.2.1")]
        pub enum Command {
            $($name = $value,)*
        }

        impl Command {
            /// All of them.
            pub const ALL: &[Command] = &[$(Command::$name),*];

            /// The command of a number.
            #[must_use]
            pub fn of(number: u16) -> Option<Command> {
                match number {
                    $($value => Some(Command::$name),)*
                    _ => None,
                }
            }
        }
    };
}

commands! {
    Negotiate = 0x00,
    SessionSetup = 0x01,
    Logoff = 0x02,
    TreeConnect = 0x03,
    TreeDisconnect = 0x04,
    Create = 0x05,
    Close = 0x06,
    Flush = 0x07,
    Read = 0x08,
    Write = 0x09,
    Lock = 0x0a,
    Ioctl = 0x0b,
    Cancel = 0x0c,
    Echo = 0x0d,
    QueryDirectory = 0x0e,
    ChangeNotify = 0x0f,
    QueryInfo = 0x10,
    SetInfo = 0x11,
    OplockBreak = 0x12,
}

/// Which request or tree a message belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Id {
    /// MS-SMB2 §2.2.1.2.
    Sync {
        /// The tree connect.
        tree_id: u32,
    },
    /// MS-SMB2 §2.2.1.1.
    Async {
        /// Made by the server's interim reply.
        async_id: u64,
    },
}

/// The header of a request or a reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// Credits that a request is worth; 0 before dialect 2.1.
    pub credit_charge: u16,
    /// Of a request, in dialects 3.x. Not written in a reply.
    pub channel_sequence: u16,
    /// Of a reply. Not written in a request.
    pub status: NtStatus,
    /// What is asked, as it came; see [`Header::command`].
    pub command: u16,
    /// Credits asked for or granted.
    pub credits: u16,
    /// `FLAG_*`. [`FLAG_ASYNC`] is written as [`Header::id`] has it.
    pub flags: u32,
    /// Offset of the next message of a compound from this header; 0 in the last.
    pub next_command: u32,
    /// The client's number of the request.
    pub message_id: u64,
    /// Tree or asynchronous id.
    pub id: Id,
    /// The session; 0 where there is none yet.
    pub session_id: u64,
    /// Zero unless [`FLAG_SIGNED`].
    pub signature: [u8; 16],
}

impl Header {
    /// Takes the header off a message.
    ///
    /// # Errors
    /// [`Malformed`] where there is none, or not of this protocol.
    pub fn decode(message: &[u8]) -> Result<Header, Malformed> {
        let mut reader = Reader::new(message, "SMB2 header");
        if reader.array()? != PROTOCOL_ID || reader.u16()? != 64 {
            return Err(reader.malformed());
        }
        let credit_charge = reader.u16()?;
        let status = reader.u32()?;
        let (command, credits, flags) = (reader.u16()?, reader.u16()?, reader.u32()?);
        let (next_command, message_id, id) = (reader.u32()?, reader.u64()?, reader.u64()?);
        let id = if flags & FLAG_ASYNC != 0 {
            Id::Async { async_id: id }
        } else {
            Id::Sync { tree_id: high_half(id) }
        };
        Ok(Header {
            credit_charge,
            channel_sequence: low_half(status),
            status: NtStatus(status),
            command,
            credits,
            flags,
            next_command,
            message_id,
            id,
            session_id: reader.u64()?,
            signature: reader.array()?,
        })
    }

    /// Appends the header's 64 bytes.
    pub fn encode(&self, out: &mut BytesMut) {
        let (async_flag, id) = match self.id {
            Id::Sync { tree_id } => (0, u64::from(tree_id) << 32),
            Id::Async { async_id } => (FLAG_ASYNC, async_id),
        };
        out.put_slice(&PROTOCOL_ID);
        out.put_u16_le(64);
        out.put_u16_le(self.credit_charge);
        if self.is_response() {
            out.put_u32_le(self.status.0);
        } else {
            out.put_u32_le(u32::from(self.channel_sequence));
        }
        out.put_u16_le(self.command);
        out.put_u16_le(self.credits);
        out.put_u32_le(self.flags & !FLAG_ASYNC | async_flag);
        out.put_u32_le(self.next_command);
        out.put_u64_le(self.message_id);
        out.put_u64_le(id);
        out.put_u64_le(self.session_id);
        out.put_slice(&self.signature);
    }

    /// What is asked, if it is anything that the protocol has.
    #[must_use]
    pub fn command(&self) -> Option<Command> {
        Command::of(self.command)
    }

    /// A reply, which no client may send.
    #[must_use]
    pub fn is_response(&self) -> bool {
        self.flags & FLAG_RESPONSE != 0
    }

    /// Goes on with what the message before it in a compound was about.
    #[must_use]
    pub fn is_related(&self) -> bool {
        self.flags & FLAG_RELATED != 0
    }

    /// Carries a signature.
    #[must_use]
    pub fn is_signed(&self) -> bool {
        self.flags & FLAG_SIGNED != 0
    }

    /// The tree, in a message that is not asynchronous.
    #[must_use]
    pub fn tree_id(&self) -> Option<u32> {
        match self.id {
            Id::Sync { tree_id } => Some(tree_id),
            Id::Async { .. } => None,
        }
    }
}

fn low_half(word: u32) -> u16 {
    let [a, b, ..] = word.to_le_bytes();
    u16::from_le_bytes([a, b])
}

fn high_half(word: u64) -> u32 {
    let [.., a, b, c, d] = word.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
