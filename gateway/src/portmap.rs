//! Portmap version 2 (RFC 1833 §3) and rpcbind versions 3 and 4 (RFC 1833 §2): where a vserver's programs are.
//! Answers questions only; nobody can register anything.

use crate::rpc::auth::AuthStat;
use crate::rpc::call::{Call, CallError, Refusal, encode_refusal, encode_success};
use crate::xdr::{Decoder, Encoder, Result, Xdr, XdrError};
use bytes::Bytes;
use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

/// The portmap program, which is also rpcbind.
pub const PORTMAP_PROGRAM: u32 = 100_000;

const NFS: (u32, u32) = (100_003, 3);
const MOUNT: (u32, u32) = (100_005, 3);
const PORTMAP: (u32, u32) = (PORTMAP_PROGRAM, 2);
const IPPROTO_TCP: u32 = 6;
/// Longest string of an rpcbind argument.
const STRING_MAX: usize = 255;
/// Largest datagram that can be a question.
const DATAGRAM_MAX: usize = 1024;

/// The ports that a vserver's programs are on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ports {
    /// NFS.
    pub nfs: u16,
    /// MOUNT.
    pub mount: u16,
    /// Portmap and rpcbind.
    pub portmap: u16,
}

impl Ports {
    fn table(&self) -> [((u32, u32), u16); 3] {
        [(PORTMAP, self.portmap), (NFS, self.nfs), (MOUNT, self.mount)]
    }

    /// The TCP port of a program, 0 if it is not here.
    fn of(&self, program: u32, version: u32) -> u16 {
        self.table().iter().find(|(known, _)| *known == (program, version)).map_or(0, |(_, port)| *port)
    }
}

/// `mapping`, RFC 1833 §3.1.
struct Mapping {
    prog: u32,
    vers: u32,
    prot: u32,
    port: u32,
}

impl Xdr for Mapping {
    fn encode(&self, out: &mut Encoder) {
        for word in [self.prog, self.vers, self.prot, self.port] {
            out.u32(word);
        }
    }
    fn decode(input: &mut Decoder) -> Result<Self> {
        Ok(Mapping { prog: input.u32()?, vers: input.u32()?, prot: input.u32()?, port: input.u32()? })
    }
}

/// `rpcb`, RFC 1833 §2.1.
struct Rpcb {
    prog: u32,
    vers: u32,
    netid: Bytes,
}

impl Rpcb {
    fn decode(input: &mut Decoder) -> Result<Self> {
        let rpcb = Rpcb { prog: input.u32()?, vers: input.u32()?, netid: input.opaque(STRING_MAX)? };
        input.opaque(STRING_MAX)?;
        input.opaque(STRING_MAX)?;
        Ok(rpcb)
    }
}

/// Answers one call to the portmap program that came in at `local`: the whole reply message.
pub fn answer(call: &Call, args: Bytes, ports: &Ports, local: IpAddr) -> Encoder {
    let mut out = Encoder::with_capacity(128);
    encode_success(&mut out, call.xid);
    let mut input = Decoder::new(args);
    let refused = match (call.vers, call.proc) {
        (2..=4, 0) => Ok(()),
        (2, _) => answer_v2(call.proc, &mut input, ports, &mut out),
        (3 | 4, _) => answer_rpcbind(call.proc, &mut input, ports, local, &mut out),
        _ => Err(Refusal::ProgMismatch { low: 2, high: 4 }),
    };
    match refused {
        Ok(()) => out,
        Err(why) => refusal(call.xid, why),
    }
}

fn answer_v2(
    procedure: u32,
    input: &mut Decoder,
    ports: &Ports,
    out: &mut Encoder,
) -> std::result::Result<(), Refusal> {
    match procedure {
        // PMAPPROC_SET and PMAPPROC_UNSET: never.
        1 | 2 => {
            input.take::<Mapping>()?;
            out.bool(false);
        }
        // PMAPPROC_GETPORT.
        3 => {
            let asked: Mapping = input.take()?;
            let port = if asked.prot == IPPROTO_TCP { ports.of(asked.prog, asked.vers) } else { 0 };
            out.u32(u32::from(port));
        }
        // PMAPPROC_DUMP.
        4 => {
            for ((prog, vers), port) in ports.table() {
                out.bool(true);
                out.put(&Mapping { prog, vers, prot: IPPROTO_TCP, port: u32::from(port) });
            }
            out.bool(false);
        }
        _ => return Err(Refusal::ProcUnavail),
    }
    Ok(())
}

fn answer_rpcbind(
    procedure: u32,
    input: &mut Decoder,
    ports: &Ports,
    local: IpAddr,
    out: &mut Encoder,
) -> std::result::Result<(), Refusal> {
    match procedure {
        // RPCBPROC_SET and RPCBPROC_UNSET: never.
        1 | 2 => {
            Rpcb::decode(input)?;
            out.bool(false);
        }
        // RPCBPROC_GETADDR, and version 4's RPCBPROC_GETVERSADDR.
        3 | 9 => {
            let asked = Rpcb::decode(input)?;
            let port = if asked.netid == netid(local) { ports.of(asked.prog, asked.vers) } else { 0 };
            let address = if port == 0 { String::new() } else { universal_address(local, port) };
            out.opaque(address.as_bytes());
        }
        // RPCBPROC_DUMP.
        4 => {
            for ((prog, vers), port) in ports.table() {
                out.bool(true);
                out.u32(prog);
                out.u32(vers);
                out.opaque(netid(local).as_bytes());
                out.opaque(universal_address(local, port).as_bytes());
                out.opaque(b"superuser");
            }
            out.bool(false);
        }
        _ => return Err(Refusal::ProcUnavail),
    }
    Ok(())
}

impl From<XdrError> for Refusal {
    fn from(_: XdrError) -> Self {
        Refusal::GarbageArgs
    }
}

fn netid(local: IpAddr) -> &'static str {
    if local.to_canonical().is_ipv4() { "tcp" } else { "tcp6" }
}

/// RFC 5665 §5.2.3: the address, then the port's two bytes in decimal.
fn universal_address(local: IpAddr, port: u16) -> String {
    format!("{}.{}.{}", local.to_canonical(), port >> 8, port & 0xff)
}

/// Answers portmap questions that come as datagrams, until `cancel`.
///
/// # Errors
/// The socket's, where it can't be used at all.
pub async fn serve_udp(socket: UdpSocket, ports: Ports, cancel: CancellationToken) -> io::Result<()> {
    let local = socket.local_addr()?.ip();
    let mut datagram = vec![0; DATAGRAM_MAX];
    loop {
        let received = tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            received = socket.recv_from(&mut datagram) => received,
        };
        // An ICMP error of an earlier answer shows up here; it says nothing about the next question.
        let Ok((len, client)) = received else { continue };
        if let Some(reply) = answer_datagram(&datagram[..len], &ports, local, client) {
            let _ = socket.send_to(&reply, client).await;
        }
    }
}

fn answer_datagram(datagram: &[u8], ports: &Ports, local: IpAddr, client: SocketAddr) -> Option<Bytes> {
    let mut input = Decoder::new(Bytes::copy_from_slice(datagram));
    let out = match Call::decode(&mut input) {
        Ok(call) if call.prog == PORTMAP_PROGRAM => answer(&call, input.rest().clone(), ports, local),
        Ok(call) => refusal(call.xid, Refusal::ProgUnavail),
        Err(CallError::NotACall) => {
            tracing::debug!(%client, "a datagram that is no RPC call");
            return None;
        }
        Err(CallError::RpcVersion { xid }) => refusal(xid, Refusal::RpcMismatch),
        Err(CallError::BadCredential { xid }) => refusal(xid, Refusal::Auth(AuthStat::BadCred)),
    };
    Some(out.finish().into_bytes())
}

fn refusal(xid: u32, refusal: Refusal) -> Encoder {
    let mut out = Encoder::with_capacity(64);
    encode_refusal(&mut out, xid, refusal);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::auth::OpaqueAuth;

    const PORTS: Ports = Ports { nfs: 2049, mount: 20048, portmap: 111 };
    const HEADER_LEN: usize = 24;

    fn ask(vers: u32, proc: u32, args: &[u8]) -> Vec<u8> {
        let none = OpaqueAuth::NONE;
        let call = Call { xid: 1, prog: PORTMAP_PROGRAM, vers, proc, cred: none.clone(), verf: none };
        let reply = answer(&call, Bytes::copy_from_slice(args), &PORTS, "127.0.0.9".parse().unwrap());
        reply.finish().into_bytes().to_vec()
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn getport() {
        // RFC 1833 §3.2: prog, vers, prot, port -> port.
        assert_eq!(ask(2, 3, &words(&[100_003, 3, 6, 0]))[HEADER_LEN..], words(&[2049]));
        assert_eq!(ask(2, 3, &words(&[100_005, 3, 6, 0]))[HEADER_LEN..], words(&[20048]));
        assert_eq!(ask(2, 3, &words(&[100_003, 3, 17, 0]))[HEADER_LEN..], words(&[0]));
        assert_eq!(ask(2, 3, &words(&[100_003, 4, 6, 0]))[HEADER_LEN..], words(&[0]));
    }

    #[test]
    fn dump() {
        let expected = words(&[1, 100_000, 2, 6, 111, 1, 100_003, 3, 6, 2049, 1, 100_005, 3, 6, 20048, 0]);
        assert_eq!(ask(2, 4, &[])[HEADER_LEN..], expected);
    }

    #[test]
    fn getaddr() {
        let mut args = words(&[100_003, 3, 3]);
        args.extend_from_slice(b"tcp\0\0\0\0\0\0\0\0\0");
        let expected = b"\0\0\0\x0d127.0.0.9.8.1\0\0\0";
        assert_eq!(&ask(3, 3, &args)[HEADER_LEN..], expected);
        assert_eq!(&ask(4, 3, &args)[HEADER_LEN..], expected);
    }

    #[tokio::test]
    async fn datagrams_are_answered() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let cancel = CancellationToken::new();
        let serving = tokio::spawn(serve_udp(server, PORTS, cancel.clone()));
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut answer = [0; 64];
        // No call at all: silence; the next question is answered.
        client.send_to(b"?", address).await.unwrap();
        let question = words(&[7, 0, 2, PORTMAP_PROGRAM, 2, 3, 0, 0, 0, 0, 100_003, 3, 6, 0]);
        client.send_to(&question, address).await.unwrap();
        let len = client.recv(&mut answer).await.unwrap();
        assert_eq!(answer[..len], words(&[7, 1, 0, 0, 0, 0, 2049]));
        cancel.cancel();
        serving.await.unwrap().unwrap();
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let accept_stat = |reply: Vec<u8>| u32::from_be_bytes(*reply[20..].first_chunk().unwrap());
        assert_eq!(accept_stat(ask(2, 3, &[0; 15])), 4);
        assert_eq!(accept_stat(ask(2, 9, &[])), 3);
        assert_eq!(ask(5, 0, &[])[20..], words(&[2, 2, 4]));
        assert_eq!(ask(2, 1, &words(&[100_003, 3, 6, 1]))[HEADER_LEN..], words(&[0]));
    }
}
