//! Telling an Ethernet segment which station an address is at now: gratuitous ARP for IPv4, unsolicited neighbour
//! advertisements for IPv6. Needs CAP_NET_RAW.
//!
//! It never keeps a LIF from being up: neighbours that hear nothing find out when their own entries run out.
//! The only `unsafe` of this crate is here, because no crate offers a safe `sockaddr_ll`.

use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Once;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// When to send, counted from when the address is up: a frame or two may get lost while a switch relearns ports.
const TIMES: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(100), Duration::from_millis(300), Duration::from_secs(1)];

const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const BROADCAST: Mac = [0xff; 6];
/// `ff02::1` on Ethernet, RFC 2464 §7.
const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const IPPROTO_ICMPV6: u8 = 58;
/// Receivers drop advertisements that may have come through a router, RFC 4861 §7.1.2.
const HOP_LIMIT: u8 = 255;
/// Length of a neighbour advertisement with its one option.
const ADVERTISEMENT_LEN: u8 = 32;

/// An Ethernet address.
pub(super) type Mac = [u8; 6];

/// The Ethernet interface that an address is on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// The kernel's number of the interface.
    pub(super) index: u32,
    /// Its own address.
    pub(super) mac: Mac,
}

/// Announces `address` a few times, until `cancel`. Sends nothing once that is cancelled: by then the address may
/// be somebody else's.
pub(super) async fn announce(address: IpAddr, link: Link, cancel: CancellationToken) {
    let socket = match open() {
        Ok(socket) => socket,
        Err(error) => return complain(address, &error),
    };
    let frame = frame(address, link.mac);
    let (start, mut complained) = (tokio::time::Instant::now(), false);
    for after in TIMES {
        tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            () = tokio::time::sleep_until(start + after) => {}
        }
        if let Err(error) = send(&socket, &frame, link.index)
            && !std::mem::replace(&mut complained, true)
        {
            complain(address, &error);
        }
    }
}

fn complain(address: IpAddr, error: &io::Error) {
    static PRIVILEGE: Once = Once::new();
    if error.kind() == io::ErrorKind::PermissionDenied {
        PRIVILEGE.call_once(|| {
            tracing::warn!("addresses are not announced to neighbours: that needs CAP_NET_RAW");
        });
    } else {
        tracing::warn!(%address, %error, "cannot announce an address to its neighbours");
    }
}

/// A socket that sends frames and receives none (protocol 0).
fn open() -> io::Result<Socket> {
    let socket = Socket::new(Domain::from(libc::AF_PACKET), Type::RAW, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn send(socket: &Socket, frame: &Frame, interface: u32) -> io::Result<()> {
    socket.send_to(&frame.bytes, &link_address(frame.ethertype, interface)?).map(drop)
}

#[expect(unsafe_code, reason = "no crate has a safe sockaddr_ll")]
fn link_address(ethertype: u16, interface: u32) -> io::Result<SockAddr> {
    let family = libc::sa_family_t::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
    let interface = libc::c_int::try_from(interface).map_err(io::Error::other)?;
    let len = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).map_err(io::Error::other)?;
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: `sockaddr_ll` is one of this platform's socket addresses and all its bit patterns are valid; family
    // and length that are handed to `SockAddr::new` are those of `sockaddr_ll`, and all its fields are set or zero.
    unsafe {
        let address: &mut libc::sockaddr_ll = storage.view_as();
        address.sll_family = family;
        address.sll_protocol = ethertype.to_be();
        address.sll_ifindex = interface;
        Ok(SockAddr::new(storage, len))
    }
}

/// An Ethernet frame.
#[derive(Debug)]
struct Frame {
    ethertype: u16,
    bytes: Vec<u8>,
}

/// What tells the segment that `address` is at `mac`.
fn frame(address: IpAddr, mac: Mac) -> Frame {
    let (destination, ethertype, payload) = match address {
        IpAddr::V4(address) => (BROADCAST, ETHERTYPE_ARP, arp_announcement(address, mac)),
        IpAddr::V6(address) => (ALL_NODES_MAC, ETHERTYPE_IPV6, neighbor_advertisement(address, mac)),
    };
    let bytes = [&destination[..], &mac, &ethertype.to_be_bytes(), &payload].concat();
    Frame { ethertype, bytes }
}

/// ARP Announcement, RFC 5227 §2.3: a request (RFC 826) whose sender and target are the same address.
fn arp_announcement(address: Ipv4Addr, mac: Mac) -> Vec<u8> {
    const HARDWARE_ETHERNET: [u8; 2] = [0, 1];
    const LENGTHS: [u8; 2] = [6, 4];
    const REQUEST: [u8; 2] = [0, 1];
    let protocol = ETHERTYPE_IPV4.to_be_bytes();
    let address = address.octets();
    [&HARDWARE_ETHERNET[..], &protocol, &LENGTHS, &REQUEST, &mac, &address, &[0; 6], &address].concat()
}

/// Unsolicited Neighbor Advertisement, RFC 4861 §7.2.6, to all nodes, in its IPv6 packet.
fn neighbor_advertisement(address: Ipv6Addr, mac: Mac) -> Vec<u8> {
    const TYPE_CODE: [u8; 2] = [136, 0];
    /// Override: entries that exist are to be replaced. Neither Router nor Solicited.
    const FLAGS: [u8; 4] = [0x20, 0, 0, 0];
    const TARGET_LINK_LAYER_ADDRESS: [u8; 2] = [2, 1];
    let (source, destination) = (address.octets(), ALL_NODES.octets());
    let message = |checksum: u16| {
        let checksum = checksum.to_be_bytes();
        [&TYPE_CODE[..], &checksum, &FLAGS, &source, &TARGET_LINK_LAYER_ADDRESS, &mac].concat()
    };
    // The pseudo-header of RFC 8200 §8.1.
    let lengths = [0, 0, 0, ADVERTISEMENT_LEN, 0, 0, 0, IPPROTO_ICMPV6];
    let checksum = internet_checksum(&[&source[..], &destination, &lengths, &message(0)].concat());
    let header = [0x60, 0, 0, 0, 0, ADVERTISEMENT_LEN, IPPROTO_ICMPV6, HOP_LIMIT];
    [&header[..], &source, &destination, &message(checksum)].concat()
}

/// RFC 1071, of an even number of bytes: all words taken away from ones' complement zero, with end-around borrow.
fn internet_checksum(bytes: &[u8]) -> u16 {
    bytes.as_chunks().0.iter().fold(0xffff_u16, |sum, word| {
        let (sum, carry) = sum.overflowing_sub(u16::from_be_bytes(*word));
        sum.wrapping_sub(u16::from(carry))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [0x02, 0xfe, 0x12, 0x34, 0x56, 0x78];

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> =
            hex.chars().filter_map(|c| c.to_digit(16)).map(|d| u8::try_from(d).unwrap()).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    #[test]
    fn gratuitous_arp() {
        let frame = frame("192.0.2.7".parse().unwrap(), MAC);
        assert_eq!(frame.ethertype, 0x0806);
        let expected = bytes(
            "ffffffffffff 02fe12345678 0806
             0001 0800 06 04 0001
             02fe12345678 c0000207
             000000000000 c0000207",
        );
        assert_eq!(frame.bytes, expected);
    }

    #[test]
    fn unsolicited_neighbour_advertisement() {
        let frame = frame("2001:db8::7".parse().unwrap(), MAC);
        assert_eq!(frame.ethertype, 0x86dd);
        let expected = bytes(
            "333300000001 02fe12345678 86dd
             60000000 0020 3a ff
             20010db8000000000000000000000007
             ff020000000000000000000000000001
             88 00 8f75 20000000
             20010db8000000000000000000000007
             02 01 02fe12345678",
        );
        assert_eq!(frame.bytes, expected);
    }

    #[test]
    fn the_checksum_of_rfc_1071() {
        // §3: the sum of these words is ddf2.
        assert_eq!(internet_checksum(&bytes("0001 f203 f4f5 f6f7")), !0xddf2);
        // A message that holds its own checksum sums up to nothing.
        assert_eq!(internet_checksum(&bytes("0001 f203 f4f5 f6f7 220d")), 0);
    }

    #[tokio::test]
    async fn an_announcement_that_fails_ends_quietly() {
        let nowhere = Link { index: u32::MAX, mac: MAC };
        let cancel = CancellationToken::new();
        let announcing = tokio::spawn(announce("192.0.2.7".parse().unwrap(), nowhere, cancel.clone()));
        cancel.cancel();
        tokio::time::timeout(Duration::from_secs(5), announcing).await.unwrap().unwrap();
    }
}
