//! Single calls to programs on other hosts, from an address of ours: where a program is (by the host's portmapper), and
//! one call to it over TCP or UDP. For callbacks to clients. Every wait and every length is bounded.

use super::auth::{AUTH_SYS, AuthSys, OpaqueAuth};
use super::call::{Call, ReplyHeader, ReplyStatus};
use super::record::{RecordReader, write_records};
use super::server::Transport;
use crate::xdr::{Decoder, Encoder, Message, Xdr};
use bytes::Bytes;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::net::{TcpSocket, UdpSocket};

/// Where portmappers are (RFC 1833 §3).
pub const PORTMAP_PORT: u16 = 111;
const PORTMAP: (u32, u32) = (100_000, 2);
const PMAPPROC_GETPORT: u32 = 3;
/// Connecting.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// An answer, once the question is sent.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);
/// A datagram is sent again after this time, twice; then it is given up.
const DATAGRAM_PATIENCE: [Duration; 3] =
    [Duration::from_millis(1000), Duration::from_millis(2000), Duration::from_millis(4000)];
const DATAGRAM_MAX: usize = 8192;

static NEXT_XID: AtomicU32 = AtomicU32::new(0);

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub enum CallFailed {
    /// The call can't have been received.
    #[error("not delivered: {0}")]
    Undelivered(io::Error),
    /// The call may have been run; its answer did not come.
    #[error("no answer: {0}")]
    Unanswered(io::Error),
    /// The other side is there and did not run the call.
    #[error("refused: {0:?}")]
    Refused(ReplyStatus),
    /// The host has no such program.
    #[error("the host has no such program")]
    NoProgram,
}

impl CallFailed {
    /// Whether the call may have been run.
    pub fn is_in_doubt(&self) -> bool {
        matches!(self, CallFailed::Unanswered(_))
    }
}

/// A program of another host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Program {
    /// Number.
    pub number: u32,
    /// Version.
    pub version: u32,
}

/// Another host, as seen from one of our addresses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Remote {
    /// Our address: hosts know us by it.
    pub local: IpAddr,
    /// Theirs.
    pub host: IpAddr,
    /// Where their portmapper is: [`PORTMAP_PORT`], but in tests.
    pub portmap_port: u16,
}

impl Remote {
    /// Finds `program` and calls it; over the transports of `order`, the first that the host has.
    ///
    /// # Errors
    /// [`CallFailed`], of the last transport that was tried.
    pub async fn call<A: Xdr, R: Xdr>(
        &self,
        program: Program,
        proc: u32,
        args: &A,
        order: [Transport; 2],
    ) -> Result<R, CallFailed> {
        let mut failed = CallFailed::NoProgram;
        for transport in order {
            let port = match self.port_of(program, transport).await {
                Ok(0) => continue,
                Ok(port) => port,
                Err(error) => {
                    // Asking has no effect: whatever became of the question, the call itself was not sent.
                    failed = CallFailed::Undelivered(io::Error::other(error));
                    break;
                }
            };
            match self.call_at(port, transport, program, proc, args).await {
                Err(CallFailed::Undelivered(error)) => failed = CallFailed::Undelivered(error),
                outcome => return outcome,
            }
        }
        Err(failed)
    }

    /// The port of `program`; 0 if the host does not have it. Asks over TCP, then over UDP.
    async fn port_of(&self, program: Program, transport: Transport) -> Result<u16, CallFailed> {
        let question = [program.number, program.version, ip_protocol(transport), 0];
        let portmap = Program { number: PORTMAP.0, version: PORTMAP.1 };
        let ask = |over| self.call_at(self.portmap_port, over, portmap, PMAPPROC_GETPORT, &question);
        let port: u32 = match ask(Transport::Tcp).await {
            Ok(port) => port,
            Err(_) => ask(Transport::Udp).await?,
        };
        Ok(u16::try_from(port).unwrap_or(0))
    }

    async fn call_at<A: Xdr, R: Xdr>(
        &self,
        port: u16,
        transport: Transport,
        program: Program,
        proc: u32,
        args: &A,
    ) -> Result<R, CallFailed> {
        let xid = NEXT_XID.fetch_add(1, Ordering::Relaxed) ^ std::process::id().rotate_left(16);
        let message = encode_call(xid, program, proc, args);
        let reply = match transport {
            Transport::Tcp => self.over_tcp(port, xid, message).await?,
            Transport::Udp => self.over_udp(port, xid, message).await?,
        };
        let unanswered = |error: crate::xdr::XdrError| CallFailed::Unanswered(io::Error::other(error));
        let mut input = Decoder::new(reply);
        match ReplyHeader::decode(&mut input).map_err(unanswered)?.status {
            ReplyStatus::Success => input.take().map_err(unanswered),
            refused => Err(CallFailed::Refused(refused)),
        }
    }

    async fn over_tcp(&self, port: u16, xid: u32, message: Message) -> Result<Bytes, CallFailed> {
        let connect = async {
            let socket = if self.host.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            socket.bind(SocketAddr::new(self.local, 0))?;
            let stream = socket.connect(SocketAddr::new(self.host, port)).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        let stream = within(CONNECT_PATIENCE, connect).await.map_err(CallFailed::Undelivered)?;
        let talk = async {
            let (reader, mut writer) = stream.into_split();
            write_records(&mut writer, &mut vec![message]).await?;
            let mut records = RecordReader::new(reader);
            loop {
                let record = records.next().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
                if is_reply_to(&record, xid) {
                    return Ok(record);
                }
            }
        };
        within(ANSWER_PATIENCE, talk).await.map_err(CallFailed::Unanswered)
    }

    async fn over_udp(&self, port: u16, xid: u32, message: Message) -> Result<Bytes, CallFailed> {
        let open = async {
            let socket = UdpSocket::bind(SocketAddr::new(self.local, 0)).await?;
            socket.connect(SocketAddr::new(self.host, port)).await?;
            Ok(socket)
        };
        let socket = open.await.map_err(CallFailed::Undelivered)?;
        let message = message.into_bytes();
        let mut datagram = vec![0; DATAGRAM_MAX];
        let mut in_doubt = false;
        for patience in DATAGRAM_PATIENCE {
            let exchange = async {
                socket.send(&message).await?;
                loop {
                    let len = socket.recv(&mut datagram).await?;
                    if is_reply_to(&datagram[..len], xid) {
                        return Ok(Bytes::copy_from_slice(&datagram[..len]));
                    }
                }
            };
            match within(patience, exchange).await {
                Ok(reply) => return Ok(reply),
                // An ICMP message: nobody is there.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    return Err(if in_doubt {
                        CallFailed::Unanswered(error)
                    } else {
                        CallFailed::Undelivered(error)
                    });
                }
                Err(_) => in_doubt = true,
            }
        }
        Err(CallFailed::Unanswered(io::ErrorKind::TimedOut.into()))
    }
}

/// As portmap has it.
fn ip_protocol(transport: Transport) -> u32 {
    match transport {
        Transport::Tcp => 6,
        Transport::Udp => 17,
    }
}

async fn within<T>(patience: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(patience, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn is_reply_to(message: &[u8], xid: u32) -> bool {
    message.first_chunk() == Some(&xid.to_be_bytes())
}

/// As the superuser, which is who lock managers take callbacks from.
fn encode_call<A: Xdr>(xid: u32, program: Program, proc: u32, args: &A) -> Message {
    let mut body = Encoder::default();
    body.put(&AuthSys {
        stamp: 0,
        machine_name: Bytes::from_static(b"ferry"),
        uid: 0,
        gid: 0,
        gids: Vec::new(),
    });
    let cred = OpaqueAuth { flavor: AUTH_SYS, body: body.finish().into_bytes() };
    let Program { number: prog, version: vers } = program;
    let mut out = Encoder::with_capacity(256);
    Call { xid, prog, vers, proc, cred, verf: OpaqueAuth::NONE }.encode(&mut out);
    out.put(args);
    out.finish()
}
