//! The network interface that an address of this host is on.

use futures_util::{StreamExt, TryStreamExt};
use rtnetlink::packet_route::link::LinkAttribute;
use std::net::IpAddr;
use std::path::Path;

/// What is said of an interface that doesn't say how fast it is.
const SPEED_UNKNOWN_MBITS: u64 = 1_000;

/// A network interface, with one of its addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Interface {
    pub(crate) address: IpAddr,
    /// The kernel's number; `u32::MAX` if it has no such address by itself, as with those of a loopback network.
    pub(crate) index: u32,
    pub(crate) speed_mbits: u64,
}

impl Interface {
    /// That of an address.
    pub(crate) async fn of(address: IpAddr) -> Interface {
        let unknown = Interface { address, index: u32::MAX, speed_mbits: SPEED_UNKNOWN_MBITS };
        let Ok((connection, handle, _)) = rtnetlink::new_connection() else { return unknown };
        let connection = tokio::spawn(connection);
        let found = find(&handle, unknown).await;
        connection.abort();
        found.unwrap_or(unknown)
    }
}

async fn find(handle: &rtnetlink::Handle, unknown: Interface) -> Option<Interface> {
    let addresses = handle.address().get().set_address_filter(unknown.address).execute();
    let index = std::pin::pin!(addresses).next().await?.ok()?.header.index;
    let links = handle.link().get().match_index(index).execute();
    let link = std::pin::pin!(links).try_next().await.ok()??;
    let name = link.attributes.into_iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name),
        _ => None,
    })?;
    Some(Interface { index, speed_mbits: speed_mbits(&name).unwrap_or(SPEED_UNKNOWN_MBITS), ..unknown })
}

/// As the driver tells it; some have none, or -1.
fn speed_mbits(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(Path::new("/sys/class/net").join(name).join("speed")).ok()?;
    text.trim().parse().ok().filter(|speed| *speed > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_is_on_an_interface() {
        let here = Interface::of("127.0.0.1".parse().unwrap()).await;
        let lo = std::fs::read_to_string("/sys/class/net/lo/ifindex").unwrap();
        assert_eq!(here.index, lo.trim().parse::<u32>().unwrap());
        assert!(here.speed_mbits > 0);
        let elsewhere = Interface::of("192.0.2.1".parse().unwrap()).await;
        assert_eq!((elsewhere.index, elsewhere.speed_mbits), (u32::MAX, SPEED_UNKNOWN_MBITS));
    }
}
