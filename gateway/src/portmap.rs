//! Portmap version 2 (RFC 1833 §3) and rpcbind versions 3 and 4 (RFC 1833 §2): where a vserver's programs are.
//! Answers questions only, over TCP and UDP alike; nobody can register anything.

use crate::rpc::call::{Call, Refusal, encode_refusal, encode_success};
use crate::rpc::server::Transport;
use crate::xdr::{Decoder, Encoder, Result, Xdr, XdrError};
use bytes::Bytes;
use std::net::IpAddr;

/// The portmap program, which is also rpcbind.
pub const PORTMAP_PROGRAM: u32 = 100_000;

const NFS_PROGRAM: u32 = 100_003;
const NFS_ACL_PROGRAM: u32 = 100_227;
const MOUNT_PROGRAM: u32 = 100_005;
const NLM_PROGRAM: u32 = 100_021;
const NSM_PROGRAM: u32 = 100_024;
/// Longest string of an rpcbind argument.
const STRING_MAX: usize = 255;

/// The ports that a vserver's programs are on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ports {
    /// NFS.
    pub nfs: u16,
    /// MOUNT.
    pub mount: u16,
    /// Portmap and rpcbind.
    pub portmap: u16,
    /// Lock manager.
    pub nlm: u16,
    /// Status monitor.
    pub nsm: u16,
}

/// One version of a program that is here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Service {
    prog: u32,
    vers: u32,
    transport: Transport,
    port: u16,
}

impl Ports {
    /// Everything that a vserver's clients may call.
    fn services(&self) -> impl Iterator<Item = Service> {
        use Transport::{Tcp, Udp};
        const BOTH: &[Transport] = &[Tcp, Udp];
        let programs: [(u32, &[u32], &[Transport], u16); 6] = [
            (PORTMAP_PROGRAM, &[2, 3, 4], BOTH, self.portmap),
            (NFS_PROGRAM, &[3], &[Tcp], self.nfs),
            (NFS_ACL_PROGRAM, &[3], &[Tcp], self.nfs),
            (MOUNT_PROGRAM, &[3], BOTH, self.mount),
            (NLM_PROGRAM, &[4], BOTH, self.nlm),
            (NSM_PROGRAM, &[1], BOTH, self.nsm),
        ];
        let services = programs.into_iter().flat_map(|(prog, versions, transports, port)| {
            versions.iter().flat_map(move |&vers| {
                transports.iter().map(move |&transport| Service { prog, vers, transport, port })
            })
        });
        services.filter(|service| service.port != 0)
    }

    /// Programs and versions at this port.
    pub(crate) fn at(&self, port: u16, transport: Transport) -> impl Iterator<Item = (u32, u32)> {
        let here = move |it: &Service| (it.port, it.transport) == (port, transport);
        self.services().filter(here).map(|service| (service.prog, service.vers))
    }

    /// The port of a program, 0 if it is not here. For a version that is not here it is that of another one, as rpcbind
    /// does it: who calls there learns which versions there are.
    fn of_any(&self, prog: u32, vers: u32, transport: Transport) -> u16 {
        let other = || self.services().find(|it| (it.prog, it.transport) == (prog, transport));
        match self.of(prog, vers, transport) {
            0 => other().map_or(0, |service| service.port),
            port => port,
        }
    }

    /// The port of just this version of a program, 0 if it is not here.
    fn of(&self, prog: u32, vers: u32, transport: Transport) -> u16 {
        let here = |it: &Service| (it.prog, it.vers, it.transport) == (prog, vers, transport);
        self.services().find(here).map_or(0, |service| service.port)
    }
}

/// `mapping`, RFC 1833 §3.1.
pub(crate) struct Mapping {
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
pub(crate) struct Rpcb {
    prog: u32,
    vers: u32,
    netid: Bytes,
}

impl Rpcb {
    pub(crate) fn decode(input: &mut Decoder) -> Result<Self> {
        let rpcb = Rpcb { prog: input.u32()?, vers: input.u32()?, netid: input.opaque(STRING_MAX)? };
        input.opaque(STRING_MAX)?;
        input.opaque(STRING_MAX)?;
        Ok(rpcb)
    }
}

/// Answers one call to the portmap program that came in at this address, in this way: the whole reply message.
pub fn answer(call: &Call, args: Bytes, ports: &Ports, route: (IpAddr, Transport)) -> Encoder {
    let mut out = Encoder::with_capacity(128);
    encode_success(&mut out, call.xid);
    let mut input = Decoder::new(args);
    let refused = match (call.vers, call.proc) {
        (2..=4, 0) => Ok(()),
        (2, _) => answer_v2(call.proc, &mut input, ports, &mut out),
        // RPCBPROC_GETVERSADDR is only version 4's.
        (3, 9) => Err(Refusal::ProcUnavail),
        (3 | 4, _) => answer_rpcbind(call.proc, &mut input, ports, route, &mut out),
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
            let transport =
                [Transport::Tcp, Transport::Udp].into_iter().find(|it| protocol(*it) == asked.prot);
            let port = transport.map_or(0, |transport| ports.of_any(asked.prog, asked.vers, transport));
            out.u32(u32::from(port));
        }
        // PMAPPROC_DUMP.
        4 => {
            for Service { prog, vers, transport, port } in ports.services() {
                out.bool(true);
                out.put(&Mapping { prog, vers, prot: protocol(transport), port: u32::from(port) });
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
    (local, transport): (IpAddr, Transport),
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
            let transport = match &asked.netid[..] {
                // RFC 1833 §2.2.1: what the client uses to ask. Whoever names another wants to know of that one.
                b"" => Some(transport),
                asked => [Transport::Tcp, Transport::Udp]
                    .into_iter()
                    .find(|it| asked == netid(local, *it).as_bytes()),
            };
            let port = transport.map_or(0, |transport| match procedure {
                3 => ports.of_any(asked.prog, asked.vers, transport),
                _ => ports.of(asked.prog, asked.vers, transport),
            });
            let address = if port == 0 { String::new() } else { universal_address(local, port) };
            out.opaque(address.as_bytes());
        }
        // RPCBPROC_DUMP.
        4 => {
            for Service { prog, vers, transport, port } in ports.services() {
                out.bool(true);
                out.u32(prog);
                out.u32(vers);
                out.opaque(netid(local, transport).as_bytes());
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

/// `IPPROTO_TCP` or `IPPROTO_UDP`.
fn protocol(transport: Transport) -> u32 {
    match transport {
        Transport::Tcp => 6,
        Transport::Udp => 17,
    }
}

/// RFC 5665 §4.2.
pub(crate) fn netid(local: IpAddr, transport: Transport) -> &'static str {
    match (transport, local.to_canonical().is_ipv4()) {
        (Transport::Tcp, true) => "tcp",
        (Transport::Tcp, false) => "tcp6",
        (Transport::Udp, true) => "udp",
        (Transport::Udp, false) => "udp6",
    }
}

/// RFC 5665 §5.2.3: the address, then the port's two bytes in decimal.
pub(crate) fn universal_address(local: IpAddr, port: u16) -> String {
    format!("{}.{}.{}", local.to_canonical(), port >> 8, port & 0xff)
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

    const PORTS: Ports = Ports { nfs: 2049, mount: 20048, portmap: 111, nlm: 4045, nsm: 4046 };
    const HEADER_LEN: usize = 24;

    fn ask(vers: u32, proc: u32, args: &[u8]) -> Vec<u8> {
        ask_at("127.0.0.9", Transport::Tcp, vers, proc, args)
    }

    fn ask_at(local: &str, transport: Transport, vers: u32, proc: u32, args: &[u8]) -> Vec<u8> {
        let none = OpaqueAuth::NONE;
        let call = Call { xid: 1, prog: PORTMAP_PROGRAM, vers, proc, cred: none.clone(), verf: none };
        let args = Bytes::copy_from_slice(args);
        answer(&call, args, &PORTS, (local.parse().unwrap(), transport)).finish().into_bytes().to_vec()
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn getport() {
        // RFC 1833 §3.2: prog, vers, prot, port -> port.
        let port = |prog, vers, prot| ask(2, 3, &words(&[prog, vers, prot, 0]))[HEADER_LEN..].to_vec();
        assert_eq!(port(100_003, 3, 6), words(&[2049]));
        assert_eq!(port(100_005, 3, 6), words(&[20048]));
        assert_eq!(port(100_005, 3, 17), words(&[20048]));
        assert_eq!(port(100_003, 3, 17), words(&[0]), "NFS is not served over UDP");
        assert_eq!(port(100_003, 4, 6), words(&[2049]), "the version is told there");
        assert_eq!(port(100_227, 3, 6), words(&[2049]));
        assert_eq!(port(100_003, 3, 132), words(&[0]));
    }

    #[test]
    fn dump() {
        let mut expected = Vec::new();
        for vers in [2, 3, 4] {
            expected.extend([1, 100_000, vers, 6, 111, 1, 100_000, vers, 17, 111]);
        }
        expected.extend([1, 100_003, 3, 6, 2049, 1, 100_227, 3, 6, 2049]);
        expected.extend([1, 100_005, 3, 6, 20048, 1, 100_005, 3, 17, 20048]);
        expected.extend([1, 100_021, 4, 6, 4045, 1, 100_021, 4, 17, 4045]);
        expected.extend([1, 100_024, 1, 6, 4046, 1, 100_024, 1, 17, 4046, 0]);
        assert_eq!(ask(2, 4, &[])[HEADER_LEN..], words(&expected));
        let longest = ask_at("fd00:1111:2222:3333:4444:5555:6666:7777", Transport::Udp, 4, 4, &[]);
        assert!(longest.len() <= crate::rpc::udp::REPLY_LEN_MAX);
    }

    #[test]
    fn a_program_without_a_port_is_not_here() {
        let ports = Ports { portmap: 0, ..PORTS };
        assert!(ports.services().all(|service| service.prog != PORTMAP_PROGRAM));
    }

    /// The address that RPCBPROC_GETADDR gives for MOUNT.
    fn address(local: &str, transport: Transport, netid: &str) -> String {
        let mut args = Encoder::default();
        args.u32(100_005);
        args.u32(3);
        [netid, "", ""].iter().for_each(|text| args.opaque(text.as_bytes()));
        let reply = ask_at(local, transport, 4, 3, &args.finish().into_bytes());
        let mut reply = Decoder::new(Bytes::copy_from_slice(&reply[HEADER_LEN..]));
        String::from_utf8(reply.opaque(STRING_MAX).unwrap().to_vec()).unwrap()
    }

    #[test]
    fn getaddr() {
        let mut args = words(&[100_003, 3, 3]);
        args.extend_from_slice(b"tcp\0\0\0\0\0\0\0\0\0");
        let expected = b"\0\0\0\x0d127.0.0.9.8.1\0\0\0";
        assert_eq!(&ask(3, 3, &args)[HEADER_LEN..], expected);
        assert_eq!(&ask(4, 3, &args)[HEADER_LEN..], expected);
        for asked_over in [Transport::Tcp, Transport::Udp] {
            assert_eq!(address("127.0.0.9", asked_over, "udp"), "127.0.0.9.78.80");
            assert_eq!(address("127.0.0.9", asked_over, ""), "127.0.0.9.78.80");
            assert_eq!(address("127.0.0.9", asked_over, "udp6"), "");
            assert_eq!(address("::1", asked_over, "udp6"), "::1.78.80");
            assert_eq!(address("::1", asked_over, "tcp6"), "::1.78.80");
        }
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let accept_stat = |reply: Vec<u8>| u32::from_be_bytes(*reply[20..].first_chunk().unwrap());
        assert_eq!(accept_stat(ask(2, 3, &[0; 15])), 4);
        assert_eq!(accept_stat(ask(2, 9, &[])), 3);
        assert_eq!(accept_stat(ask(3, 9, &[0; 20])), 3, "GETVERSADDR is version 4's (RFC 1833 §2.2)");
        assert_eq!(ask(5, 0, &[])[20..], words(&[2, 2, 4]));
        assert_eq!(ask(2, 1, &words(&[100_003, 3, 6, 1]))[HEADER_LEN..], words(&[0]));
    }
}
