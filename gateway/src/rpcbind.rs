//! Telling the rpcbind of this host where a vserver's programs are (RFC 1833 §2.2.1), for hosts that want it to answer
//! for them. Asks nothing else of it. A LIF has its own portmapper unless it is told not to.

use crate::portmap::{PORTMAP_PROGRAM, Ports, netid, universal_address};
use crate::rpc::auth::OpaqueAuth;
use crate::rpc::call::{Call, ReplyHeader, ReplyStatus};
use crate::rpc::record::{RecordReader, write_records};
use crate::rpc::server::Transport;
use crate::xdr::{Decoder, Encoder};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

/// Where rpcbind takes registrations, which it does from this host's programs only.
const SOCKET: &str = "/run/rpcbind.sock";
/// How long rpcbind may take for one answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long it may take when a LIF goes down, which must not wait.
const DOWN_PATIENCE: Duration = Duration::from_millis(500);
const RPCBIND_V4: u32 = 4;
const SET: u32 = 1;
const UNSET: u32 = 2;
const GETADDR: u32 = 3;
/// Longest address that is read.
const ADDRESS_LEN_MAX: usize = 255;

/// What rpcbind was told.
#[derive(Debug)]
struct Registered {
    socket: PathBuf,
    mappings: Vec<Mapping>,
}

/// `rpcb`, RFC 1833 §2.1.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Mapping {
    prog: u32,
    vers: u32,
    netid: &'static str,
    address: String,
}

/// Has what `ports` says is at this endpoint registered until `cancel`.
pub(crate) async fn keep_registered(
    ports: Ports,
    at: SocketAddr,
    transport: Transport,
    cancel: CancellationToken,
) {
    let socket = Path::new(SOCKET);
    let registered = register(socket, &ports, at, transport).await;
    cancel.cancelled().await;
    if tokio::time::timeout(DOWN_PATIENCE, registered.unregister()).await.is_err() {
        tracing::warn!(%at, "rpcbind did not take a registration back in time");
    }
}

/// Registers what `ports` says is at this endpoint. What rpcbind does not take is said in the log and left out.
async fn register(socket: &Path, ports: &Ports, at: SocketAddr, transport: Transport) -> Registered {
    let here = ports.at(at.port(), transport).filter(|(prog, _)| *prog != PORTMAP_PROGRAM);
    let mut registered = Registered { socket: socket.to_owned(), mappings: Vec::new() };
    for (prog, vers) in here {
        let address = universal_address(at.ip(), at.port());
        let mapping = Mapping { prog, vers, netid: netid(at.ip(), transport), address };
        match set(socket, &mapping).await {
            Ok(None) => registered.mappings.push(mapping),
            Ok(Some(other)) => tracing::warn!(
                ?mapping,
                other,
                "rpcbind leads clients to another server of this program, and does not know of this one"
            ),
            Err(error) => tracing::warn!(?mapping, %error, "cannot register with rpcbind"),
        }
    }
    registered
}

impl Registered {
    /// Takes it back.
    async fn unregister(self) {
        for mapping in &self.mappings {
            if let Err(error) = ask(&self.socket, UNSET, mapping).await {
                tracing::warn!(?mapping, %error, "cannot take a registration back from rpcbind");
            }
        }
    }
}

/// `None`: it is there now. Otherwise the address of another one.
async fn set(socket: &Path, mapping: &Mapping) -> io::Result<Option<String>> {
    if truth(&mut ask(socket, SET, mapping).await?)? {
        return Ok(None);
    }
    // Perhaps it was never taken back.
    let address = ask(socket, GETADDR, mapping).await?.opaque(ADDRESS_LEN_MAX).map_err(io::Error::other)?;
    let address = String::from_utf8_lossy(&address).into_owned();
    Ok((address != mapping.address).then_some(address))
}

fn truth(results: &mut Decoder) -> io::Result<bool> {
    results.u32().map(|value| value != 0).map_err(io::Error::other)
}

/// One call of rpcbind version 4; its results.
async fn ask(socket: &Path, proc: u32, mapping: &Mapping) -> io::Result<Decoder> {
    let exchange = async {
        let mut stream = UnixStream::connect(socket).await?;
        let none = OpaqueAuth::NONE;
        let call =
            Call { xid: 1, prog: PORTMAP_PROGRAM, vers: RPCBIND_V4, proc, cred: none.clone(), verf: none };
        let mut out = Encoder::default();
        call.encode(&mut out);
        out.u32(mapping.prog);
        out.u32(mapping.vers);
        for text in [mapping.netid, &mapping.address, "ferry"] {
            out.opaque(text.as_bytes());
        }
        write_records(&mut stream, &mut vec![out.finish()]).await?;
        RecordReader::new(stream).next().await
    };
    let reply = tokio::time::timeout(PATIENCE, exchange).await.map_err(io::Error::from)??;
    let mut reply = Decoder::new(reply.ok_or(io::ErrorKind::UnexpectedEof)?);
    match ReplyHeader::decode(&mut reply).map_err(io::Error::other)?.status {
        ReplyStatus::Success => Ok(reply),
        refused => Err(io::Error::other(format!("the call was refused: {refused:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::call::encode_success;
    use parking_lot::Mutex;
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use tokio::net::UnixListener;

    type Known = Arc<Mutex<BTreeMap<(u32, u32, String), String>>>;

    /// As rpcbind does: one address for each program, version and netid; the first stays.
    async fn rpcbind(listener: UnixListener, known: Known) {
        while let Ok((stream, _)) = listener.accept().await {
            let (reader, mut writer) = stream.into_split();
            let mut records = RecordReader::new(reader);
            let mut input = Decoder::new(records.next().await.unwrap().unwrap());
            let call = Call::decode(&mut input).unwrap();
            assert_eq!((call.prog, call.vers), (100_000, 4));
            let (prog, vers) = (input.u32().unwrap(), input.u32().unwrap());
            let mut text = || String::from_utf8(input.opaque(99).unwrap().to_vec()).unwrap();
            let (netid, address, _owner) = (text(), text(), text());
            let mut out = Encoder::default();
            encode_success(&mut out, call.xid);
            let key = (prog, vers, netid);
            {
                let mut known = known.lock();
                match call.proc {
                    SET if known.contains_key(&key) => out.bool(false),
                    SET => out.bool(known.insert(key, address).is_none()),
                    UNSET => out.bool(known.remove(&key).is_some()),
                    _ => out.opaque(known.get(&key).map_or("", String::as_str).as_bytes()),
                }
            }
            write_records(&mut writer, &mut vec![out.finish()]).await.unwrap();
        }
    }

    #[tokio::test]
    async fn what_is_at_an_endpoint_is_registered_and_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("rpcbind.sock");
        let known = Known::default();
        let serving = tokio::spawn(rpcbind(UnixListener::bind(&socket).unwrap(), Arc::clone(&known)));
        let ports = Ports { nfs: 2049, mount: 20048, portmap: 111, nlm: 4045, nsm: 4046 };
        let at = |address: &str| address.parse().unwrap();
        let nfs = register(&socket, &ports, at("192.0.2.7:2049"), Transport::Tcp).await;
        let mount = register(&socket, &ports, at("[fd00::7]:20048"), Transport::Udp).await;
        let portmap = register(&socket, &ports, at("192.0.2.7:111"), Transport::Tcp).await;
        assert!(portmap.mappings.is_empty(), "rpcbind is that itself");
        let entry = |prog, netid: &str, address: &str| ((prog, 3, netid.to_owned()), address.to_owned());
        let all = BTreeMap::from([
            entry(100_003, "tcp", "192.0.2.7.8.1"),
            entry(100_227, "tcp", "192.0.2.7.8.1"),
            entry(100_005, "udp6", "fd00::7.78.80"),
        ]);
        assert_eq!(*known.lock(), all);
        // Another LIF finds the place taken; what is its own, from before a crash, is its own.
        let other = register(&socket, &ports, at("192.0.2.8:2049"), Transport::Tcp).await;
        assert!(other.mappings.is_empty());
        let again = register(&socket, &ports, at("192.0.2.7:2049"), Transport::Tcp).await;
        assert_eq!(again.mappings, nfs.mappings);
        other.unregister().await;
        assert_eq!(*known.lock(), all);
        again.unregister().await;
        mount.unregister().await;
        assert!(known.lock().is_empty());
        serving.abort();
    }

    #[tokio::test]
    async fn without_rpcbind_nothing_is_registered() {
        let dir = tempfile::tempdir().unwrap();
        let ports = Ports { nfs: 2049, mount: 20048, portmap: 0, nlm: 4045, nsm: 4046 };
        let at = "192.0.2.7:2049".parse().unwrap();
        let none = register(&dir.path().join("nobody"), &ports, at, Transport::Tcp).await;
        assert!(none.mappings.is_empty());
        none.unregister().await;
    }
}
