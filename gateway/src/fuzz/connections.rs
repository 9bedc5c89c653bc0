//! Calls through real sockets of loopback addresses: fragments in any pieces over TCP, datagrams over UDP.

use super::calls::{self, Streak};
use super::choices::Choices;
use super::decoders::reference;
use super::world::{CLIENTS, LOCAL, World};
use crate::programs;
use crate::rpc::call::{Call, CallError};
use crate::rpc::udp::{CALL_LEN_MAX, REPLY_LEN_MAX};
use crate::xdr::Decoder;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio_util::sync::CancellationToken;

const CALLS_MAX: usize = 32;
/// Datagrams that a socket's buffer certainly takes.
const DATAGRAMS_MAX: usize = 6;
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection with some calls on it, or some datagrams. Each call gets the one reply with its xid, and the server goes on.
pub fn connections(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime on this thread alone");
    let mut world = World::new();
    let mut choices = Choices::new(bytes);
    runtime.block_on(async {
        let talk = async {
            if choices.once_in(4) {
                datagrams(&mut world, &mut choices).await;
            } else {
                stream(&mut world, &mut choices).await;
            }
        };
        tokio::time::timeout(PATIENCE, talk).await.expect("the server does not answer");
    });
    drop(runtime);
    world.assert_bounded();
    world.end();
}

/// The xids of calls, and how often each is to be answered.
type Answers = BTreeMap<u32, usize>;

/// Whether a message is to be answered: it has an xid and is a call of some version of RPC.
fn answered(message: &[u8]) -> Option<u32> {
    match Call::decode(&mut Decoder::new(Bytes::copy_from_slice(message))) {
        Ok(Call { xid, .. }) | Err(CallError::RpcVersion { xid } | CallError::BadAuth { xid, .. }) => {
            Some(xid)
        }
        Err(CallError::NotACall) => None,
    }
}

fn count(answers: &mut Answers, xid: u32) {
    *answers.entry(xid).or_default() += 1;
}

async fn stream(world: &mut World, choices: &mut Choices<'_>) {
    let listener = TcpListener::bind(SocketAddr::new(LOCAL, 0)).await.expect("a free port");
    let address = listener.local_addr().expect("a listener has an address");
    let cancel = CancellationToken::new();
    let ports = world.programs.ports;
    let serving = tokio::spawn(programs::serve(listener, Arc::clone(world.vserver()), ports, cancel.clone()));
    let mut sent = Vec::new();
    let mut streak = Streak::default();
    let mut xid = 0;
    while xid < CALLS_MAX && !choices.is_empty() {
        xid += 1;
        let message = calls::message(world, &mut streak, choices, u32::try_from(xid).unwrap_or(0));
        put_record(&message, choices, &mut sent);
    }
    if choices.once_in(4) {
        choices.damage(&mut sent);
    }
    let (records, ends_well) = reference(&sent);
    let mut expected = Answers::new();
    let mut all = ends_well;
    for record in &records {
        match answered(record) {
            Some(xid) => count(&mut expected, xid),
            None => {
                all = false;
                break;
            }
        }
    }
    let client = connect(choices.pick(&CLIENTS), address).await;
    let replies = converse(client, &sent, choices).await;
    let (replies, _) = reference(&replies);
    let mut got = Answers::new();
    replies.iter().for_each(|reply| count(&mut got, answer_to(reply)));
    if all {
        assert_eq!(got, expected, "the replies are not those to the calls");
    } else {
        // The connection is closed with bytes that nobody has read, so replies may be lost on the way.
        assert!(got.iter().all(|(xid, times)| expected.get(xid).is_some_and(|most| times <= most)));
    }
    // Others are served all the same.
    let null = [0x8000_0028, 9, 0, 2, 100_003, 3, 0, 0, 0, 0, 0];
    let null: Vec<u8> = null.iter().flat_map(|word: &u32| word.to_be_bytes()).collect();
    let replies = converse(connect(CLIENTS[0], address).await, &null, &mut Choices::new(&[])).await;
    assert_eq!(replies.len(), 28, "the server does not go on");
    cancel.cancel();
    serving.await.expect("the server does not panic");
}

/// A message as a record of some fragments.
fn put_record(message: &[u8], choices: &mut Choices<'_>, out: &mut Vec<u8>) {
    let mut rest = message;
    for _ in 0..choices.pick(&[0, 0, 0, 0, 1, 2, 5]) {
        let len = choices.pick(&[1, 2, 4, 40, 1000]).min(rest.len());
        let (fragment, later) = rest.split_at(len);
        if !fragment.is_empty() {
            out.extend_from_slice(&u32::try_from(len).unwrap_or(0).to_be_bytes());
            out.extend_from_slice(fragment);
        }
        rest = later;
    }
    out.extend_from_slice(&(u32::try_from(rest.len()).unwrap_or(0) | 1 << 31).to_be_bytes());
    out.extend_from_slice(rest);
}

async fn connect(from: std::net::IpAddr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::new(from, 0)).expect("a loopback address");
    let stream = socket.connect(to).await.expect("the server listens");
    stream.set_nodelay(true).expect("an option that every socket has");
    stream
}

/// Sends all of `sent` in pieces, and gives what comes back until the server has closed.
async fn converse(stream: TcpStream, sent: &[u8], choices: &mut Choices<'_>) -> Vec<u8> {
    let (mut reader, mut writer) = stream.into_split();
    let send = async {
        let mut rest = sent;
        while !rest.is_empty() {
            let len = if choices.is_empty() {
                rest.len()
            } else {
                choices.pick(&[1, 3, 100, 5000]).min(rest.len())
            };
            let (now, later) = rest.split_at(len);
            if writer.write_all(now).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
            rest = later;
        }
        let _ = writer.shutdown().await;
    };
    let receive = async {
        let mut all = Vec::new();
        let _ = reader.read_to_end(&mut all).await;
        all
    };
    tokio::join!(send, receive).1
}

/// The xid of a reply.
fn answer_to(reply: &[u8]) -> u32 {
    let word =
        |at: usize| reply.get(at..at + 4).and_then(|word| Some(u32::from_be_bytes(*word.first_chunk()?)));
    assert_eq!(word(4), Some(1), "not a reply: {reply:?}");
    word(0).expect("a reply has an xid")
}

async fn datagrams(world: &mut World, choices: &mut Choices<'_>) {
    let socket = UdpSocket::bind(SocketAddr::new(LOCAL, 0)).await.expect("a free port");
    let address = socket.local_addr().expect("a socket has an address");
    let cancel = CancellationToken::new();
    let (vserver, ports) = (Arc::clone(world.vserver()), world.programs.ports);
    let serving = tokio::spawn(programs::serve_datagrams(socket, vserver, ports, cancel.clone()));
    let client = UdpSocket::bind(SocketAddr::new(choices.pick(&CLIENTS), 0)).await.expect("a free port");
    client.connect(address).await.expect("a datagram socket connects at once");
    let mut streak = Streak::default();
    let mut xid = 0;
    while xid < 1000 && !choices.is_empty() {
        let mut expected = Answers::new();
        for _ in 0..=choices.below(DATAGRAMS_MAX) {
            xid += 1;
            let message = calls::message(world, &mut streak, choices, xid);
            let Some(answered) = answered(&message).filter(|_| message.len() <= CALL_LEN_MAX) else {
                let _ = client.send(&message).await;
                continue;
            };
            // One with the xid of another that runs is dropped, as it should be.
            if expected.contains_key(&answered) || client.send(&message).await.is_err() {
                continue;
            }
            count(&mut expected, answered);
        }
        let mut reply = vec![0; 65_536];
        while !expected.is_empty() {
            let len = client.recv(&mut reply).await.expect("the server's socket is there");
            assert!(len <= REPLY_LEN_MAX);
            let xid = answer_to(&reply[..len]);
            assert!(expected.remove(&xid).is_some(), "nobody has asked, or not so often: {xid}");
        }
    }
    cancel.cancel();
    serving.await.expect("the server does not panic").expect("its socket has an address");
}
