//! What is not a good call gets the protocol's error, and nothing makes the server panic or take memory for a length
//! that was only announced.

use super::lifecycle::{ask, message};
use super::*;
use crate::nfs3::acl::NFS_ACL_PROGRAM;
use crate::nfs3::mount::MOUNT_PROGRAM;
use crate::portmap::PORTMAP_PROGRAM;
use crate::programs::Programs;
use crate::rpc::auth::OpaqueAuth;
use crate::rpc::call::Call;
use crate::rpc::record::{RECORD_LEN_MAX, RecordReader};
use crate::rpc::server::{Request, Service, Transport};
use crate::xdr::{Encoder, Message};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn call(prog: u32, vers: u32, proc: u32, args: &[u8]) -> Message {
    let mut bytes = words(&[9, 0, 2, prog, vers, proc, 0, 0, 0, 0]);
    bytes.extend_from_slice(args);
    Message::from(Bytes::from(bytes))
}

fn raw(bytes: Vec<u8>) -> Message {
    Message::from(Bytes::from(bytes))
}

/// A reply of `accept_stat` and what follows it (RFC 5531 §9).
fn accepted(rest: &[u32]) -> Vec<u8> {
    words(&[&[9, 1, 0, 0, 0], rest].concat())
}

#[tokio::test]
async fn wrong_programs_versions_and_procedures() {
    let fixture = Fixture::new();
    let served = fixture.serve().await;
    let ask = |message| ask(served.address, message);
    assert_eq!(ask(call(100_099, 1, 0, &[])).await.unwrap(), accepted(&[1]));
    for version in [0, 2, 4, u32::MAX] {
        assert_eq!(ask(call(NFS_PROGRAM, version, 0, &[])).await.unwrap(), accepted(&[2, 3, 3]));
    }
    assert_eq!(ask(call(NFS_ACL_PROGRAM, 2, 0, &[])).await.unwrap(), accepted(&[2, 3, 3]));
    assert_eq!(ask(call(NFS_ACL_PROGRAM, 3, 3, &[])).await.unwrap(), accepted(&[3]));
    assert_eq!(ask(call(MOUNT_PROGRAM, 1, 0, &[])).await.unwrap(), accepted(&[2, 3, 3]));
    assert_eq!(ask(call(PORTMAP_PROGRAM, 1, 0, &[])).await.unwrap(), accepted(&[2, 2, 4]));
    assert_eq!(ask(call(NFS_PROGRAM, 3, 22, &[])).await.unwrap(), accepted(&[3]));
    assert_eq!(ask(call(MOUNT_PROGRAM, 3, 6, &[])).await.unwrap(), accepted(&[3]));
    for (prog, vers) in [(NFS_PROGRAM, 3), (NFS_ACL_PROGRAM, 3), (MOUNT_PROGRAM, 3), (PORTMAP_PROGRAM, 2)] {
        assert_eq!(ask(call(prog, vers, 0, &[])).await.unwrap(), accepted(&[0]));
    }
}

#[tokio::test]
async fn bad_headers() {
    let fixture = Fixture::new();
    let served = fixture.serve().await;
    let ask = |bytes| ask(served.address, raw(bytes));
    // RPC version 3: MSG_DENIED, RPC_MISMATCH, 2 to 2.
    let version = words(&[9, 0, 3, NFS_PROGRAM, 3, 0, 0, 0, 0, 0]);
    assert_eq!(ask(version).await.unwrap(), words(&[9, 1, 1, 0, 2, 2]));
    // A credential of 401 bytes, a malformed AUTH_SYS, RPCSEC_GSS: MSG_DENIED, AUTH_ERROR.
    let long = words(&[9, 0, 2, NFS_PROGRAM, 3, 1, 1, 401]);
    assert_eq!(ask(long).await.unwrap(), words(&[9, 1, 1, 1, 1]));
    let malformed = words(&[9, 0, 2, NFS_PROGRAM, 3, 1, 1, 4, 7, 0, 0, 0]);
    assert_eq!(ask(malformed).await.unwrap(), words(&[9, 1, 1, 1, 1]));
    let gss = words(&[9, 0, 2, NFS_PROGRAM, 3, 1, 6, 0, 0, 0, 0]);
    assert_eq!(ask(gss).await.unwrap(), words(&[9, 1, 1, 1, 5]));
    // A reply, half a header, nothing: there is nobody to answer.
    assert_eq!(ask(words(&[9, 1, 0, 0, 0, 0])).await, None);
    assert_eq!(ask(words(&[9, 0])).await, None);
    assert_eq!(ask(Vec::new()).await, None);
}

#[tokio::test]
async fn garbage_arguments() {
    let (_fixture, served, _client, root) = all().await;
    let garbage = accepted(&[4]);
    let mut handle = words(&[u32::try_from(root.0.len()).unwrap()]);
    handle.extend_from_slice(&root.0);
    let with = |rest: &[u32]| [handle.clone(), words(rest)].concat();
    let cases = [
        (1, vec![]),
        (1, words(&[65])),
        (1, words(&[u32::MAX])),
        (1, with(&[0])),
        (3, with(&[u32::MAX])),
        (3, with(&[0x7fff_fff0, 1])),
        (2, with(&[2])),
        (7, with(&[0, 0, 4, 3, 4, 0])),
        (7, with(&[0, 0, 4, 2, u32::MAX, 0])),
        (8, with(&[1, 0x6100_0000, 3])),
        (11, with(&[1, 0x6100_0000, 8])),
        (16, with(&[0])),
    ];
    for (procedure, args) in cases {
        let reply = ask(served.address, call(NFS_PROGRAM, 3, procedure, &args)).await.unwrap();
        assert_eq!(reply, garbage, "procedure {procedure}, arguments {args:?}");
    }
    // A part that there is not, more entries than may be, more than are there, another number than was said.
    let acls = [
        with(&[16, 0, 0, 0, 0]),
        with(&[1, 1025, 1025]),
        with(&[1, 1000, 1000, 1, 0, 7]),
        with(&[1, 2, 1, 1, 0, 7, 0, 0]),
        with(&[1, 0, 0]),
    ];
    for args in acls {
        let reply = ask(served.address, call(NFS_ACL_PROGRAM, 3, 2, &args)).await.unwrap();
        assert_eq!(reply, garbage, "{args:?}");
    }
    let path = words(&[1025]);
    assert_eq!(ask(served.address, call(MOUNT_PROGRAM, 3, 1, &path)).await.unwrap(), garbage);
    assert_eq!(ask(served.address, call(PORTMAP_PROGRAM, 2, 3, &[0; 7])).await.unwrap(), garbage);
}

#[tokio::test]
async fn bad_handles() {
    let (fixture, _served, client, root) = all().await;
    for len in [0, 1, 32, 47, 49, 64] {
        let handle = NfsFh3(Bytes::from(vec![1; len]));
        assert_eq!(status(client.getattr(&handle).await), NfsStat3::BadHandle, "{len} bytes");
    }
    for at in [0, 12, 20, 31, 47] {
        let mut forged = root.0.to_vec();
        forged[at] ^= 1;
        let forged = NfsFh3(forged.into());
        assert_eq!(status(client.getattr(&forged).await), NfsStat3::BadHandle, "byte {at}");
        assert_eq!(status(client.remove(&forged, "a").await), NfsStat3::BadHandle);
        assert_eq!(status(client.fsinfo(&forged).await), NfsStat3::BadHandle);
    }
    let other = Fixture::new();
    let other_served = other.serve().await;
    let foreign = other_served.client().mount("/").await.unwrap();
    assert_eq!(status(client.getattr(&foreign).await), NfsStat3::Stale);
    fixture.vserver.set_namespace(Namespace::default());
    assert_eq!(status(client.getattr(&root).await), NfsStat3::Stale);
}

#[tokio::test]
async fn an_oversized_record_ends_its_connection_only() {
    let (_fixture, served, client, root) = all().await;
    let len = u32::try_from(RECORD_LEN_MAX + 1).unwrap();
    for mark in [0xffff_ffff, 0x7fff_ffff, 0x8000_0000 | len, len, 0] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(&mark.to_be_bytes()).await.unwrap();
        assert!(matches!(RecordReader::new(stream).next().await, Ok(None) | Err(_)), "{mark:#x}");
    }
    client.getattr(&root).await.unwrap();
}

#[tokio::test]
async fn a_write_whose_count_is_not_its_length() {
    let (_fixture, served, client, root) = all().await;
    let file = make(&client, &root, "a").await;
    let args =
        Write3Args { file, offset: 0, count: 9, stable: StableHow::FileSync, data: Payload(text("x")) };
    let reply = ask(served.address, message::<Write>(9, &args)).await.unwrap();
    assert_eq!(reply[20..28], words(&[0, 22]));
}

/// Runs a call straight in the dispatcher.
async fn dispatch(programs: &Programs, (prog, vers, proc): (u32, u32, u32), args: Bytes) {
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let none = OpaqueAuth::NONE;
    let call = Call { xid: 1, prog, vers, proc, cred: none.clone(), verf: none };
    let _ = programs.reply_len_max(&call, &args);
    let gone = CancellationToken::new();
    let (client_port, transport) = (0, Transport::Tcp);
    programs.run(Request { client: local, client_port, local, transport, call, args, gone }).await;
}

/// Arguments that begin as good ones do: a handle, a name, then words that are mostly small.
fn near_arguments() -> impl Strategy<Value = (bool, Vec<u8>, Vec<u32>, usize)> {
    let word = prop_oneof![4 => 0..4u32, 1 => any::<u32>()];
    (
        any::<bool>(),
        prop::collection::vec(any::<u8>(), 0..12),
        prop::collection::vec(word, 0..24),
        0..200usize,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    // Each case runs a few hundred calls, so that the volumes are made but a few times.
    #[test]
    fn no_bytes_make_the_dispatcher_panic(
        random in prop::collection::vec(
            ((0..4usize, 0..6u32, 0..24u32), prop::collection::vec(any::<u8>(), 0..200)), 100),
        near in prop::collection::vec((0..24u32, near_arguments()), 300),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let fixture = Fixture::new();
            let namespace = fixture.vserver.namespace();
            let mount = namespace.mounts().next().unwrap();
            let attrs = fsstore::SetAttrs { mode: Some(0o777), ..Default::default() };
            let open_root = fsstore::Op::SetAttr { file: fsstore::ROOT, attrs, guard: None };
            mount.volume.execute(&fsstore::Context::root(Time::default()), open_root).unwrap();
            let programs = Programs { vserver: Arc::clone(&fixture.vserver), ports: PORTS };
            let known = [NFS_PROGRAM, MOUNT_PROGRAM, PORTMAP_PROGRAM, NFS_ACL_PROGRAM];
            for ((prog, vers, proc), args) in random {
                dispatch(&programs, (known[prog], vers, proc), args.into()).await;
            }
            let root = crate::handle::FileHandle { volume: mount.id, file: fsstore::ROOT };
            let root = root.seal(fixture.vserver.uuid, fixture.vserver.handle_key());
            for (proc, (named, name, rest, len)) in near {
                let mut out = Encoder::default();
                out.opaque(&root);
                if named {
                    out.opaque(&name);
                }
                rest.iter().for_each(|word| out.u32(*word));
                let args = out.finish().into_bytes();
                let len = if len < 100 { args.len() } else { args.len().min(len) };
                let program = if named { NFS_PROGRAM } else { NFS_ACL_PROGRAM };
                for prog in [NFS_PROGRAM, program] {
                    dispatch(&programs, (prog, NFS_V3, proc), args.slice(..len)).await;
                }
            }
        });
    }
}
