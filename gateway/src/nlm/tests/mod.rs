//! A real server over a real volume on loopback, and clients that bring a portmapper, a lock manager and a status
//! monitor of their own, each at an address of its own.

mod golden;
mod granted;
mod locking;
mod malformed;
mod restart;

use super::types::procedure as p;
use super::types::*;
use crate::handle::{FileHandle, HandleKey, VolumeId};
use crate::net::limits::Limits;
use crate::portmap::{PORTMAP_PROGRAM, Ports};
use crate::programs::serve;
use crate::rpc::auth::OpaqueAuth;
use crate::rpc::call::{Call, Refusal, ReplyHeader, ReplyStatus, encode_success};
use crate::rpc::record::{RecordReader, write_records};
use crate::rpc::server::{Outcome, Request, Service};
use crate::rpc::{server, udp};
use crate::vserver::{ExportPolicies, ExportRule, MountedVolume, Namespace, Squash, Vserver, parse_client};
use crate::xdr::{Decoder, Encoder, Xdr};
use bytes::Bytes;
use fsstore::{Context, CreateHow, FileDisk, FileId, Op, ROOT, SetAttrs, Time, Tuning, Volume, VolumeSpec};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

const PORTS: Ports = Ports { nfs: 2049, mount: 20048, portmap: 111, nlm: 4045, nsm: 4046 };
const NOW: Time = Time { secs: 7, nanos: 0 };
const PATIENCE: Duration = Duration::from_secs(20);

/// A vserver with one volume, at an address of its own; each test has its own network.
struct Fixture {
    _dir: TempDir,
    vserver: Arc<Vserver>,
    volume: Arc<Volume>,
    /// Third byte of all addresses.
    net: u8,
    address: SocketAddr,
    serving: Option<(CancellationToken, JoinHandle<()>)>,
}

impl Fixture {
    async fn new(net: u8) -> Self {
        let dir = TempDir::new().unwrap();
        let disk = Arc::new(FileDisk::create(&dir.path().join("v"), 32 << 20).unwrap());
        let spec = VolumeSpec { uuid: Uuid::new_v4(), size_bytes: 32 << 20 };
        let volume = Volume::create(disk, &spec, NOW, Tuning::default()).unwrap();
        let vserver = Vserver::new("vs1", Uuid::new_v4(), HandleKey::generate(), *b"verifier");
        let listener = TcpListener::bind(SocketAddr::new([127, 92, net, 100].into(), 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut fixture = Fixture { _dir: dir, vserver, volume, net, address, serving: None };
        fixture.mount();
        fixture.serve_on(listener);
        fixture
    }

    fn mount(&self) {
        let mount = MountedVolume {
            id: VolumeId::of(self.volume.uuid()),
            name: "v".to_owned(),
            volume: Arc::clone(&self.volume),
            junction: "/".to_owned(),
            policy: "default".to_owned(),
        };
        self.vserver.set_namespace(Namespace::build(vec![mount], NOW).unwrap());
        self.export("127.0.0.0/8");
    }

    fn export(&self, clients: &str) {
        let client = parse_client(clients).unwrap();
        let rule = ExportRule { anon_uid: 1, anon_gid: 1, ..ExportRule::new(client, true, Squash::Root) };
        let policies = BTreeMap::from([("default".to_owned(), vec![rule])]);
        self.vserver.set_exports(ExportPolicies::new(policies));
    }

    fn serve_on(&mut self, listener: TcpListener) {
        let cancel = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, Arc::clone(&self.vserver), PORTS, cancel.clone()));
        self.serving = Some((cancel, serving));
    }

    /// The listener goes down and comes up, as where a LIF is changed.
    async fn bounce(&mut self) {
        let (cancel, serving) = self.serving.take().unwrap();
        cancel.cancel();
        serving.await.unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.address).unwrap();
        self.serve_on(socket.listen(16).unwrap());
    }

    /// The same volume and addresses with none of the locks: the node was killed and came up again.
    async fn crash(&mut self) {
        let (cancel, serving) = self.serving.take().unwrap();
        cancel.cancel();
        serving.await.unwrap();
        let old = Arc::clone(&self.vserver);
        self.vserver = Vserver::new("vs1", old.uuid, old.handle_key().clone(), *b"verifier");
        self.mount();
        let port = old.client_portmap_port.load(Ordering::Relaxed);
        self.vserver.client_portmap_port.store(port, Ordering::Relaxed);
        self.vserver.watched.load(old.watched.all(), old.watched.state() + 2, true);
        self.vserver.grace.begin(Duration::from_secs(60));
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.address).unwrap();
        self.serve_on(socket.listen(16).unwrap());
    }

    fn file(&self, name: &'static str) -> FileId {
        let cx = Context { uid: 0, gid: 0, groups: Vec::new(), now: NOW };
        let how = CreateHow::Unchecked(SetAttrs::default());
        let op = Op::Create { dir: ROOT, name: Bytes::from_static(name.as_bytes()), how };
        self.volume.execute(&cx, op).unwrap().object.after.id
    }

    fn handle_of(&self, file: FileId) -> NetObj {
        let handle = FileHandle { volume: VolumeId::of(self.volume.uuid()), file };
        NetObj(Bytes::copy_from_slice(&handle.seal(self.vserver.uuid, self.vserver.handle_key())))
    }

    fn handle(&self, name: &'static str) -> NetObj {
        self.handle_of(self.file(name))
    }

    async fn client(&self, number: u8) -> Client {
        Client::new([127, 92, self.net, number].into(), self.address).await
    }

    /// A lock manager of the client `number`, over TCP or over UDP only.
    async fn lockd(&self, number: u8, stream: bool) -> Lockd {
        let lockd = Lockd::new([127, 92, self.net, number].into(), stream, &self.vserver).await;
        self.vserver.client_portmap_port.store(lockd.port, Ordering::Relaxed);
        lockd
    }

    /// Waits until so many locks are held and so many requests wait.
    async fn settled(&self, locks: usize, waiting: usize) {
        let reached = async {
            loop {
                let counts = self.vserver.locks.counts();
                if (counts.locks, counts.waiting) == (locks, waiting) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let counts = || self.vserver.locks.counts();
        tokio::time::timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("{:?}", counts()));
    }
}

/// A client's connection.
struct Client {
    stream: TcpStream,
    xid: u32,
}

/// What came instead of results.
type Refused = ReplyStatus;

impl Client {
    async fn new(from: IpAddr, to: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from, 0)).unwrap();
        Client { stream: socket.connect(to).await.unwrap(), xid: u32::from_be_bytes([0, 0, 1, 0]) }
    }

    async fn raw(&mut self, prog: u32, vers: u32, proc: u32, args: Bytes) -> Result<Bytes, Refused> {
        self.xid += 1;
        self.again(prog, vers, proc, args).await
    }

    /// The same xid once more.
    async fn again(&mut self, prog: u32, vers: u32, proc: u32, args: Bytes) -> Result<Bytes, Refused> {
        let none = OpaqueAuth::NONE;
        let mut out = Encoder::default();
        Call { xid: self.xid, prog, vers, proc, cred: none.clone(), verf: none }.encode(&mut out);
        out.array(&args);
        let mut messages = vec![out.finish()];
        write_records(&mut self.stream, &mut messages).await.unwrap();
        let mut records = RecordReader::new(&mut self.stream);
        let reply = tokio::time::timeout(PATIENCE, records.next()).await.unwrap().unwrap().unwrap();
        let mut input = Decoder::new(reply);
        match ReplyHeader::decode(&mut input).unwrap().status {
            ReplyStatus::Success => Ok(input.rest().clone()),
            refused => Err(refused),
        }
    }

    async fn call<R: Xdr>(&mut self, proc: u32, args: &impl Xdr) -> R {
        let reply = self.raw(NLM_PROGRAM, NLM_V4, proc, encode(args)).await.unwrap();
        let mut input = Decoder::new(reply);
        let result = input.take().unwrap();
        input.finish().unwrap();
        result
    }

    async fn lock(&mut self, args: &Nlm4LockArgs) -> Nlm4Stat {
        let res: Nlm4Res = self.call(p::LOCK, args).await;
        assert_eq!(res.cookie, args.cookie);
        res.stat
    }

    async fn unlock(&mut self, args: &Nlm4LockArgs) -> Nlm4Stat {
        let args = Nlm4UnlockArgs { cookie: args.cookie.clone(), alock: args.alock.clone() };
        self.call::<Nlm4Res>(p::UNLOCK, &args).await.stat
    }

    async fn cancel(&mut self, args: &Nlm4LockArgs) -> Nlm4Stat {
        let Nlm4LockArgs { cookie, block, exclusive, alock, .. } = args.clone();
        self.call::<Nlm4Res>(p::CANCEL, &Nlm4CancArgs { cookie, block, exclusive, alock }).await.stat
    }

    async fn test(&mut self, args: &Nlm4LockArgs) -> Result<Nlm4Stat, Nlm4Holder> {
        let Nlm4LockArgs { cookie, exclusive, alock, .. } = args.clone();
        self.call::<Nlm4TestRes>(p::TEST, &Nlm4TestArgs { cookie, exclusive, alock }).await.stat
    }

    async fn notify(&mut self, name: &'static str, state: u32) {
        let change = StatChge { mon_name: name_of(name), state };
        let reply = self.raw(NSM_PROGRAM, NSM_V1, p::SM_NOTIFY, encode(&change)).await.unwrap();
        assert!(reply.is_empty());
    }
}

fn encode(value: &impl Xdr) -> Bytes {
    let mut out = Encoder::default();
    out.put(value);
    out.finish().into_bytes()
}

fn name_of(name: &'static str) -> HostName {
    HostName(Bytes::from_static(name.as_bytes()))
}

/// An exclusive lock that is not waited for, of process `svid` on host `name`, as Linux asks for it.
fn lock(fh: &NetObj, name: &'static str, svid: u32, offset: u64, len: u64) -> Nlm4LockArgs {
    Nlm4LockArgs {
        cookie: NetObj(Bytes::copy_from_slice(&svid.to_be_bytes())),
        block: false,
        exclusive: true,
        alock: Nlm4Lock {
            caller_name: name_of(name),
            fh: fh.clone(),
            oh: NetObj(format!("{svid}@{name}").into()),
            svid,
            l_offset: offset,
            l_len: len,
        },
        reclaim: false,
        state: 3,
    }
}

fn waits(args: Nlm4LockArgs) -> Nlm4LockArgs {
    Nlm4LockArgs { block: true, ..args }
}

/// What a client's programs were called with.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Heard {
    Granted(Nlm4TestArgs),
    Res(u32, Bytes),
    Notify(StatChge, IpAddr),
}

/// The programs of a client: portmapper, lock manager and status monitor on one port.
struct Lockd {
    port: u16,
    heard: UnboundedReceiver<Heard>,
    /// What GRANTED is answered with.
    answer: Arc<Mutex<Nlm4Stat>>,
    _end: DropGuard,
}

struct Programs {
    port: u16,
    stream: bool,
    heard: UnboundedSender<Heard>,
    answer: Arc<Mutex<Nlm4Stat>>,
}

impl Service for Programs {
    fn reply_len_max(&self, _: &Call, _: &Bytes) -> usize {
        0
    }

    async fn run(&self, request: Request) -> Outcome {
        let call = &request.call;
        let mut input = Decoder::new(request.args.clone());
        let mut out = Encoder::default();
        encode_success(&mut out, call.xid);
        match (call.prog, call.proc) {
            (PORTMAP_PROGRAM, 3) => {
                let [_, _, protocol, _]: [u32; 4] = input.take().unwrap();
                let here = protocol == if self.stream { 6 } else { 17 };
                out.u32(if here { u32::from(self.port) } else { 0 });
            }
            (NLM_PROGRAM, p::GRANTED) => {
                let args: Nlm4TestArgs = input.take().unwrap();
                let stat = *self.answer.lock();
                out.put(&Nlm4Res { cookie: args.cookie.clone(), stat });
                self.heard.send(Heard::Granted(args)).unwrap();
            }
            (NLM_PROGRAM, p::TEST_RES..=p::UNLOCK_RES) => {
                self.heard.send(Heard::Res(call.proc, request.args.clone())).unwrap();
            }
            (NSM_PROGRAM, p::SM_NOTIFY) => {
                self.heard.send(Heard::Notify(input.take().unwrap(), request.client)).unwrap();
            }
            _ => return Outcome::refused(call.xid, Refusal::ProgUnavail),
        }
        Outcome::Reply(out.finish())
    }
}

impl Lockd {
    async fn new(address: IpAddr, stream: bool, vserver: &Vserver) -> Self {
        // All clients' portmappers are on one port.
        let known = vserver.client_portmap_port.load(Ordering::Relaxed);
        let port = if known == 111 { 0 } else { known };
        let listener = TcpListener::bind(SocketAddr::new(address, port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let socket = UdpSocket::bind(SocketAddr::new(address, port)).await.unwrap();
        let (heard, hearing) = unbounded_channel();
        let answer = Arc::new(Mutex::new(Nlm4Stat::Granted));
        let programs = Arc::new(Programs { port, stream, heard, answer: Arc::clone(&answer) });
        let end = CancellationToken::new();
        tokio::spawn(server::serve(listener, Arc::clone(&programs), Limits::default(), end.clone()));
        tokio::spawn(udp::serve(socket, programs, end.clone()));
        Lockd { port, heard: hearing, answer, _end: end.drop_guard() }
    }

    async fn hears(&mut self) -> Heard {
        tokio::time::timeout(PATIENCE, self.heard.recv()).await.unwrap().unwrap()
    }

    /// Waits for a GRANTED that matches the request as Linux matches it: process, handle and range.
    async fn hears_granted(&mut self, request: &Nlm4LockArgs) {
        let Heard::Granted(args) = self.hears().await else { panic!("no GRANTED") };
        let (ours, theirs) = (&request.alock, &args.alock);
        assert_eq!((ours.svid, &ours.fh, &ours.oh), (theirs.svid, &theirs.fh, &theirs.oh));
        assert_eq!((ours.l_offset, ours.l_len), (theirs.l_offset, theirs.l_len));
        assert_eq!(request.exclusive, args.exclusive);
    }
}
