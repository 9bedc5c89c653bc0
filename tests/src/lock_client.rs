//! An NFSv3 client's lock manager, made of raw RPC: asks for locks over TCP from an address of its own, and, where it may
//! have port 111 there, hears what the server calls it with.

use bytes::Bytes;
use gateway::net::limits::Limits;
use gateway::nlm::types::{
    HostName, NLM_PROGRAM, NLM_V4, NSM_PROGRAM, NetObj, Nlm4Lock, Nlm4LockArgs, Nlm4Res, Nlm4Stat,
    Nlm4TestArgs, Nlm4TestRes, Nlm4UnlockArgs, StatChge, procedure,
};
use gateway::rpc::auth::OpaqueAuth;
use gateway::rpc::call::{Call, Refusal, ReplyHeader, ReplyStatus, encode_success};
use gateway::rpc::outgoing::PORTMAP_PORT;
use gateway::rpc::record::{RecordReader, write_records};
use gateway::rpc::server::{self, Outcome, Request, Service};
use gateway::xdr::{Decoder, Encoder, Xdr};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::{CancellationToken, DropGuard};

const PATIENCE: Duration = Duration::from_secs(30);

/// A client with one process.
#[derive(Clone, Debug)]
pub struct LockClient {
    /// Its address.
    pub address: Ipv4Addr,
    /// Where it asks.
    pub server: SocketAddr,
    /// What it calls itself.
    pub name: &'static str,
    /// Its process.
    pub svid: u32,
}

impl LockClient {
    /// An exclusive lock of `len` bytes from `offset`.
    pub fn wants(&self, handle: &[u8], offset: u64, len: u64) -> Nlm4LockArgs {
        Nlm4LockArgs {
            cookie: NetObj(Bytes::from_static(b"cook")),
            block: false,
            exclusive: true,
            alock: Nlm4Lock {
                caller_name: HostName(Bytes::from_static(self.name.as_bytes())),
                fh: NetObj(Bytes::copy_from_slice(handle)),
                oh: NetObj(format!("{}@{}", self.svid, self.name).into()),
                svid: self.svid,
                l_offset: offset,
                l_len: len,
            },
            reclaim: false,
            state: 1,
        }
    }

    /// LOCK.
    ///
    /// # Errors
    /// The connection's, or a refused call.
    pub async fn lock(&self, args: &Nlm4LockArgs) -> anyhow::Result<Nlm4Stat> {
        Ok(self.call::<Nlm4Res>(procedure::LOCK, args).await?.stat)
    }

    /// UNLOCK.
    ///
    /// # Errors
    /// The connection's, or a refused call.
    pub async fn unlock(&self, args: &Nlm4LockArgs) -> anyhow::Result<Nlm4Stat> {
        let args = Nlm4UnlockArgs { cookie: args.cookie.clone(), alock: args.alock.clone() };
        Ok(self.call::<Nlm4Res>(procedure::UNLOCK, &args).await?.stat)
    }

    /// TEST: the process that is in the way.
    ///
    /// # Errors
    /// The connection's, or a refused call.
    pub async fn holder(&self, args: &Nlm4LockArgs) -> anyhow::Result<Option<u32>> {
        let Nlm4LockArgs { cookie, exclusive, alock, .. } = args.clone();
        let res: Nlm4TestRes = self.call(procedure::TEST, &Nlm4TestArgs { cookie, exclusive, alock }).await?;
        Ok(res.stat.err().map(|holder| holder.svid))
    }

    async fn call<R: Xdr>(&self, proc: u32, args: &impl Xdr) -> anyhow::Result<R> {
        let xid = uuid::Uuid::new_v4().as_fields().0;
        let none = OpaqueAuth::NONE;
        let mut out = Encoder::default();
        Call { xid, prog: NLM_PROGRAM, vers: NLM_V4, proc, cred: none.clone(), verf: none }.encode(&mut out);
        out.put(args);
        let exchange = async {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::new(self.address.into(), 0))?;
            let mut stream = socket.connect(self.server).await?;
            write_records(&mut stream, &mut vec![out.finish()]).await?;
            RecordReader::new(stream).next().await
        };
        let reply = tokio::time::timeout(PATIENCE, exchange).await??;
        let mut input = Decoder::new(reply.ok_or_else(|| anyhow::anyhow!("the connection ended"))?);
        match ReplyHeader::decode(&mut input)?.status {
            ReplyStatus::Success => Ok(input.take()?),
            refused => anyhow::bail!("{refused:?}"),
        }
    }
}

/// What a client's programs were called with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard {
    /// GRANTED, for this process, from this address.
    Granted(u32, IpAddr),
    /// SM_NOTIFY, from this address.
    Notify(StatChge, IpAddr),
}

/// Portmapper, lock manager and status monitor of a client, all on port 111.
#[derive(Debug)]
pub struct Lockd {
    heard: UnboundedReceiver<Heard>,
    _end: DropGuard,
}

struct Programs(UnboundedSender<Heard>);

impl Service for Programs {
    fn reply_len_max(&self, _: &Call, _: &Bytes) -> usize {
        0
    }

    async fn run(&self, request: Request) -> Outcome {
        let Request { call, client, args, .. } = request;
        let mut input = Decoder::new(args);
        let mut out = Encoder::default();
        encode_success(&mut out, call.xid);
        match (call.prog, call.proc) {
            (100_000, 3) => {
                let asked = input.take::<[u32; 4]>();
                let tcp = asked.is_ok_and(|[_, _, protocol, _]| protocol == 6);
                out.u32(if tcp { u32::from(PORTMAP_PORT) } else { 0 });
            }
            (NLM_PROGRAM, procedure::GRANTED) => {
                let Ok(args) = input.take::<Nlm4TestArgs>() else { return Outcome::Close };
                out.put(&Nlm4Res { cookie: args.cookie, stat: Nlm4Stat::Granted });
                let _ = self.0.send(Heard::Granted(args.alock.svid, client));
            }
            (NSM_PROGRAM, procedure::SM_NOTIFY) => {
                let Ok(change) = input.take() else { return Outcome::Close };
                let _ = self.0.send(Heard::Notify(change, client));
            }
            _ => return Outcome::refused(call.xid, Refusal::ProgUnavail),
        }
        Outcome::Reply(out.finish())
    }
}

impl Lockd {
    /// Listens at `address`.
    ///
    /// # Errors
    /// The system's: port 111 needs privileges.
    pub async fn new(address: Ipv4Addr) -> std::io::Result<Lockd> {
        let listener = TcpListener::bind((address, PORTMAP_PORT)).await?;
        let (heard, hearing) = unbounded_channel();
        let end = CancellationToken::new();
        tokio::spawn(server::serve(listener, Arc::new(Programs(heard)), Limits::default(), end.clone()));
        Ok(Lockd { heard: hearing, _end: end.drop_guard() })
    }

    /// What it hears next.
    ///
    /// # Errors
    /// After a while, that it heard nothing.
    pub async fn hears(&mut self) -> anyhow::Result<Heard> {
        let heard = tokio::time::timeout(PATIENCE, self.heard.recv()).await?;
        heard.ok_or_else(|| anyhow::anyhow!("the lock manager has ended"))
    }
}
