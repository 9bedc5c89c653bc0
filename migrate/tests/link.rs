//! The link: peers with the pinned certificates meet, all others do not.

#![allow(clippy::unwrap_used, reason = "a test ends by panicking")]

mod common;

use common::Host;
use migrate::protocol::{Frame, Stream};
use migrate::{MigrationId, Peer, link};
use std::sync::Arc;
use tokio::net::TcpListener;

struct Met {
    a: Arc<Host>,
    b: Arc<Host>,
    listener: TcpListener,
    at: Peer,
}

async fn met() -> Met {
    let dir = std::env::temp_dir();
    let (a, b) = (Host::new("a", dir.clone()), Host::new("b", dir));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    b.meet(&a, address);
    let fingerprint = link::fingerprint(&migrate::Peers::identity(&*b).certificate);
    let at = Peer { name: "b".to_owned(), address, fingerprint };
    Met { a, b, listener, at }
}

async fn greet(met: Met, identity: migrate::Identity, at: Peer) -> (bool, bool) {
    let server = tokio::spawn(async move {
        let (tcp, _) = met.listener.accept().await.unwrap();
        let Ok((peer, hello, mut stream)) = link::accept(met.b, tcp).await else { return false };
        assert_eq!((peer.name.as_str(), hello.stream), ("a", Stream::Data));
        link::write(&mut stream, &Frame::Welcome).await.is_ok()
    });
    let hello = link::hello(MigrationId::random(), Stream::Data);
    let connected = link::connect(identity, &at, hello).await.is_ok();
    (connected, server.await.unwrap())
}

#[tokio::test]
async fn pinned_peers_meet() {
    let met = met().await;
    let (identity, at) = (migrate::Peers::identity(&*met.a), met.at.clone());
    assert_eq!(greet(met, identity, at).await, (true, true));
}

#[tokio::test]
async fn a_server_with_another_certificate_is_refused() {
    let met = met().await;
    let identity = migrate::Peers::identity(&*met.a);
    let at = Peer { fingerprint: [7; 32], ..met.at.clone() };
    assert_eq!(greet(met, identity, at).await, (false, false));
}

#[tokio::test]
async fn a_client_with_another_certificate_is_refused() {
    let met = met().await;
    let at = met.at.clone();
    assert_eq!(greet(met, common::identity(), at).await, (false, false));
}
