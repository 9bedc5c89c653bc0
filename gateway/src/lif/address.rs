//! Addresses on network interfaces, through rtnetlink. Needs CAP_NET_ADMIN; loopback LIFs never come here.

use super::announce::Link;
use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use std::io;

/// An address that was added here, and so is to be removed here.
#[derive(Debug)]
pub(super) struct Added {
    message: AddressMessage,
    /// Where its neighbours are, if that is an Ethernet.
    pub(super) link: Option<Link>,
}

fn other(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}

/// Adds `address` to `interface`. An address that is there already counts as added: a node that crashed left it.
pub(super) async fn add(address: IpNet, interface: &str) -> io::Result<Added> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    let connection = tokio::spawn(connection);
    let result = async {
        let mut links = handle.link().get().match_name(interface.to_owned()).execute();
        let link = links
            .try_next()
            .await
            .map_err(other)?
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such interface"))?;
        let mut request =
            handle.address().add(link.header.index, address.addr(), address.prefix_len()).replace();
        // Duplicate address detection would keep IPv6 from binding for over a second.
        if address.addr().is_ipv6() {
            request.message_mut().attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        let message = request.message_mut().clone();
        request.execute().await.map_err(other)?;
        Ok(Added { message, link: ethernet(&link) })
    }
    .await;
    connection.abort();
    result
}

/// The link, if it has neighbours that resolve addresses to Ethernet addresses.
fn ethernet(link: &LinkMessage) -> Option<Link> {
    if link.header.link_layer_type != LinkLayerType::Ether || link.header.flags.contains(LinkFlags::Noarp) {
        return None;
    }
    let mac = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(mac) => mac.as_slice().try_into().ok(),
        _ => None,
    })?;
    Some(Link { index: link.header.index, mac })
}

/// Takes it off again.
pub(super) async fn remove(added: &Added) -> io::Result<()> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    let connection = tokio::spawn(connection);
    let result = handle.address().del(added.message.clone()).execute().await.map_err(other);
    connection.abort();
    result
}
