//! What clients see of a vserver that freezes, moves or goes away, and of calls that they repeat.

use super::*;
use crate::rpc::auth::{AUTH_SYS, AuthSys, OpaqueAuth};
use crate::rpc::call::Call;
use crate::rpc::record::{RecordReader, write_records};
use crate::xdr::{Encoder, Message, Xdr};
use tokio::net::TcpStream;

/// A call with an xid of the test's choice.
pub(super) fn message<P: Procedure>(xid: u32, args: &P::Args) -> Message {
    let mut body = Encoder::default();
    body.put(&AuthSys { stamp: 0, machine_name: Bytes::new(), uid: 0, gid: 0, gids: vec![] });
    let cred = OpaqueAuth { flavor: AUTH_SYS, body: body.finish().into_bytes() };
    let mut out = Encoder::default();
    let call = Call { xid, prog: P::PROGRAM, vers: NFS_V3, proc: P::NUMBER, cred, verf: OpaqueAuth::NONE };
    call.encode(&mut out);
    args.encode(&mut out);
    out.finish()
}

/// Sends one message over a connection of its own.
pub(super) async fn ask(address: SocketAddr, message: Message) -> Option<Bytes> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    write_records(&mut stream, &mut vec![message]).await.unwrap();
    RecordReader::new(stream).next().await.unwrap_or(None)
}

fn remove(root: &NfsFh3, xid: u32) -> Message {
    message::<Remove>(xid, &DirOpArgs3 { dir: root.clone(), name: "a".into() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_remove_gets_its_first_answer() {
    let (_fixture, served, client, root) = all().await;
    make(&client, &root, "a").await;
    let first = ask(served.address, remove(&root, 77)).await.unwrap();
    let repeated = ask(served.address, remove(&root, 77)).await.unwrap();
    assert_eq!(first, repeated);
    let another = ask(served.address, remove(&root, 78)).await.unwrap();
    assert_ne!(first[4..], another[4..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_answer_moves_with_the_vserver() {
    let (fixture, served, client, root) = all().await;
    make(&client, &root, "a").await;
    let first = ask(served.address, remove(&root, 77)).await.unwrap();
    let moved = Vserver::new(
        "vs1",
        fixture.vserver.uuid,
        fixture.vserver.handle_key().clone(),
        fixture.vserver.write_verifier(),
    );
    moved.set_namespace(Namespace::clone(&fixture.vserver.namespace()));
    moved.set_exports(ExportPolicies::new(fixture.vserver.exports().rules()));
    moved.reply_cache.import(&fixture.vserver.reply_cache.export()).unwrap();
    let new_home = Served::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), moved);
    assert_eq!(ask(new_home.address, remove(&root, 77)).await.unwrap(), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_vserver_answers_when_it_thaws() {
    let (fixture, _served, client, root) = all().await;
    let file = make(&client, &root, "a").await;
    fixture.vserver.gate.freeze().await;
    let writing = tokio::spawn({
        let (client, file) = (client.clone(), file.clone());
        async move { client.write(&file, 0, text("x"), StableHow::FileSync).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!writing.is_finished());
    assert_eq!(fixture.vserver.gate.in_flight(), 0);
    fixture.vserver.gate.thaw();
    assert_eq!(writing.await.unwrap().unwrap().count, 1);
    assert_eq!(client.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_follows_its_server() {
    let (fixture, served, client, root) = all().await;
    let file = make(&client, &root, "a").await;
    let address = served.address;
    fixture.vserver.gate.freeze().await;
    let calls: Vec<_> = (0..20u64)
        .map(|n| {
            let (client, file) = (client.clone(), file.clone());
            tokio::spawn(
                async move { client.write(&file, n * 10, text("0123456789"), StableHow::FileSync).await },
            )
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    fixture.vserver.gate.close();
    served.stop().await;

    let moved = Vserver::new("vs1", fixture.vserver.uuid, fixture.vserver.handle_key().clone(), *b"verifier");
    moved.set_namespace(Namespace::clone(&fixture.vserver.namespace()));
    moved.set_exports(ExportPolicies::new(fixture.vserver.exports().rules()));
    let _new_home = Served::start(TcpListener::bind(address).await.unwrap(), moved);
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().count, 10);
    }
    assert_eq!(client.connections(), 2);
    assert_eq!(client.read(&file, 0, 1000).await.unwrap().data.bytes(), "0123456789".repeat(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_gate_ends_the_connection_without_an_answer() {
    let (fixture, served, _client, root) = all().await;
    fixture.vserver.gate.close();
    assert_eq!(ask(served.address, message::<GetAttr>(1, &root)).await, None);
}

/// Waits until so many calls wait at the gate.
async fn parked(vserver: &Vserver, calls: usize) {
    for _ in 0..1000 {
        if vserver.gate.parked() == calls {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{} calls wait at the gate, not {calls}", vserver.gate.parked());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_waits_at_the_gate_dies_with_its_connection() {
    let (fixture, served, client, root) = all().await;
    let file = make(&client, &root, "a").await;
    fixture.vserver.gate.freeze().await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let args = Write3Args {
        file: file.clone(),
        offset: 0,
        count: 1,
        stable: StableHow::FileSync,
        data: Payload(text("x")),
    };
    write_records(&mut stream, &mut vec![message::<Write>(5, &args)]).await.unwrap();
    parked(&fixture.vserver, 1).await;
    drop(stream);
    parked(&fixture.vserver, 0).await;
    fixture.vserver.gate.thaw();
    assert_eq!(client.getattr(&file).await.unwrap().size, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_closes_idle_connections_at_once() {
    let (_fixture, served, _client, _root) = all().await;
    let stream = TcpStream::connect(served.address).await.unwrap();
    let mut reader = RecordReader::new(stream);
    tokio::time::sleep(Duration::from_millis(20)).await;
    served.stop().await;
    assert!(matches!(reader.next().await, Ok(None) | Err(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_does_not_hold_up_a_freeze() {
    let (fixture, served, client, root) = all().await;
    let file = make(&client, &root, "a").await;
    client.write(&file, 0, Bytes::from(vec![1; 1 << 20]), StableHow::Unstable).await.unwrap();
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let args = Read3Args { file: file.clone(), offset: 0, count: 1 << 20 };
    let mut messages: Vec<_> = (0..200).map(|xid| message::<Read>(xid, &args)).collect();
    write_records(&mut stream, &mut messages).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    tokio::time::timeout(Duration::from_secs(10), fixture.vserver.gate.freeze()).await.unwrap();
    fixture.vserver.gate.thaw();
    assert_eq!(client.read(&file, 0, 10).await.unwrap().count, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn throttled_writes_leave_reads_alone() {
    let (fixture, _served, client, root) = all().await;
    let file = make(&client, &root, "a").await;
    fixture.vserver.qos.set_write_limit(Some(64 << 10));
    let writing = tokio::spawn({
        let (client, file) = (client.clone(), file.clone());
        async move { client.write(&file, 0, Bytes::from(vec![1; 256 << 10]), StableHow::Unstable).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    client.read(&file, 0, 10).await.unwrap();
    assert!(!writing.is_finished());
    tokio::time::timeout(Duration::from_secs(5), fixture.vserver.gate.freeze()).await.unwrap();
    fixture.vserver.gate.thaw();
    fixture.vserver.qos.set_write_limit(None);
    writing.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_wait_for_a_limit_hold_up_neither_a_freeze_nor_other_clients() {
    let (fixture, _served, client, root) = all().await;
    let file = make(&client, &root, "a").await;
    let limits = crate::vserver::Limits { client_bytes_per_s: Some(64 << 10), ..Default::default() };
    fixture.vserver.qos.set_limits(&limits);
    let writing = tokio::spawn({
        let (client, file) = (client.clone(), file.clone());
        async move { client.write(&file, 0, Bytes::from(vec![1; 1 << 20]), StableHow::Unstable).await }
    });
    let waits = async {
        while fixture.vserver.qos.counters().ops < 3 || writing.is_finished() {
            // A call of the same client that costs no bytes.
            client.getattr(&file).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(5), waits).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), fixture.vserver.gate.freeze()).await.unwrap();
    fixture.vserver.gate.thaw();
    let other = crate::vserver::Cost { read: 1 << 10, written: 0 };
    let other = fixture.vserver.qos.admit("127.0.0.2".parse().unwrap(), other);
    tokio::time::timeout(Duration::from_secs(5), other).await.unwrap();
    assert!(!writing.is_finished());
    fixture.vserver.qos.set_limits(&crate::vserver::Limits::default());
    writing.await.unwrap().unwrap();
}
