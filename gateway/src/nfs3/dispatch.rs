//! From an RPC call to the procedure that it asks for: program and version, credential, arguments, write throttle,
//! gate, reply cache, in this order. Knows no volume.

use super::caller::{Caller, Reply};
use super::io::IO_LEN_MAX;
use super::mount::{self, MOUNT_PROGRAM, MOUNT_V3};
use super::procedures::*;
use super::types::{NFS_PROGRAM, NFS_V3};
use crate::portmap::{self, PORTMAP_PROGRAM, Ports};
use crate::rpc::auth::Credential;
use crate::rpc::call::{Call, Refusal, encode_success};
use crate::rpc::drc::{Admission, CallKey};
use crate::rpc::server::{Outcome, Request, Service, Transport};
use crate::vserver::{GatePass, Vserver};
use crate::xdr::{Decoder, Encoder, Message, Xdr};
use bytes::Bytes;
use std::future::Future;
use std::sync::Arc;

/// A procedure that this server runs.
pub(super) trait Handler: Procedure + Sized {
    /// Whether running it twice differs from running it once: its replies are kept.
    const ONCE: bool = false;

    /// Bytes that the write throttle counts.
    fn written(_: &Self::Args) -> u32 {
        0
    }

    /// Runs it.
    fn handle(caller: &Caller, args: Self::Args) -> impl Future<Output = Reply<Self>> + Send;
}

/// NFS, MOUNT and portmap of one vserver.
pub(super) struct Programs {
    pub(super) vserver: Arc<Vserver>,
    pub(super) ports: Ports,
}

impl Service for Programs {
    fn reply_len_max(&self, call: &Call, args: &Bytes) -> usize {
        let mut input = Decoder::new(args.clone());
        let count = match (call.prog, call.proc) {
            (NFS_PROGRAM, Read::NUMBER) => input.take::<Read3Args>().map_or(0, |args| args.count),
            (NFS_PROGRAM, ReadDir::NUMBER) => input.take::<ReadDir3Args>().map_or(0, |args| args.count),
            (NFS_PROGRAM, ReadDirPlus::NUMBER) => {
                input.take::<ReadDirPlus3Args>().map_or(0, |args| args.maxcount)
            }
            _ => 0,
        };
        count.min(IO_LEN_MAX) as usize
    }

    async fn run(&self, request: Request) -> Outcome {
        let call = &request.call;
        let refusal = match (call.prog, call.vers) {
            (NFS_PROGRAM, _) if request.transport == Transport::Udp => Refusal::ProgUnavail,
            (NFS_PROGRAM, NFS_V3) => return self.nfs(request).await,
            (MOUNT_PROGRAM, MOUNT_V3) => return self.mount(request).await,
            (PORTMAP_PROGRAM, _) => {
                return Outcome::Reply(
                    portmap::answer(call, request.args, &self.ports, request.local, request.transport)
                        .finish(),
                );
            }
            (NFS_PROGRAM, _) => Refusal::ProgMismatch { low: NFS_V3, high: NFS_V3 },
            (MOUNT_PROGRAM, _) => Refusal::ProgMismatch { low: MOUNT_V3, high: MOUNT_V3 },
            _ => Refusal::ProgUnavail,
        };
        Outcome::refused(call.xid, refusal)
    }
}

impl Programs {
    async fn mount(&self, request: Request) -> Outcome {
        let xid = request.call.xid;
        let credential = match Credential::of(&request.call.cred) {
            Ok(credential) => credential,
            Err(stat) => return Outcome::refused(xid, Refusal::Auth(stat)),
        };
        let _pass = match self.pass(&request).await {
            Ok(pass) => pass,
            Err(outcome) => return outcome,
        };
        let caller = Caller::new(Arc::clone(&self.vserver), request.client, credential);
        let mut out = success(xid);
        match mount::run(&caller, request.call.proc, request.args, &mut out) {
            Ok(()) => Outcome::Reply(out.finish()),
            Err(refusal) => Outcome::refused(xid, refusal),
        }
    }

    async fn nfs(&self, request: Request) -> Outcome {
        match request.call.proc {
            0 => match self.pass(&request).await {
                Ok(_) => Outcome::Reply(success(request.call.xid).finish()),
                Err(outcome) => outcome,
            },
            GetAttr::NUMBER => self.procedure::<GetAttr>(request).await,
            SetAttr::NUMBER => self.procedure::<SetAttr>(request).await,
            Lookup::NUMBER => self.procedure::<Lookup>(request).await,
            Access::NUMBER => self.procedure::<Access>(request).await,
            ReadLink::NUMBER => self.procedure::<ReadLink>(request).await,
            Read::NUMBER => self.procedure::<Read>(request).await,
            Write::NUMBER => self.procedure::<Write>(request).await,
            Create::NUMBER => self.procedure::<Create>(request).await,
            MkDir::NUMBER => self.procedure::<MkDir>(request).await,
            SymLink::NUMBER => self.procedure::<SymLink>(request).await,
            MkNod::NUMBER => self.procedure::<MkNod>(request).await,
            Remove::NUMBER => self.procedure::<Remove>(request).await,
            RmDir::NUMBER => self.procedure::<RmDir>(request).await,
            Rename::NUMBER => self.procedure::<Rename>(request).await,
            Link::NUMBER => self.procedure::<Link>(request).await,
            ReadDir::NUMBER => self.procedure::<ReadDir>(request).await,
            ReadDirPlus::NUMBER => self.procedure::<ReadDirPlus>(request).await,
            FsStat::NUMBER => self.procedure::<FsStat>(request).await,
            FsInfo::NUMBER => self.procedure::<FsInfo>(request).await,
            PathConf::NUMBER => self.procedure::<PathConf>(request).await,
            Commit::NUMBER => self.procedure::<Commit>(request).await,
            _ => Outcome::refused(request.call.xid, Refusal::ProcUnavail),
        }
    }

    async fn procedure<P: Handler>(&self, request: Request) -> Outcome {
        let xid = request.call.xid;
        let credential = match Credential::of(&request.call.cred) {
            Ok(credential) => credential,
            Err(stat) => return Outcome::refused(xid, Refusal::Auth(stat)),
        };
        let mut input = Decoder::new(request.args.clone());
        let decoded = input.take::<P::Args>().and_then(|args| input.finish().map(|()| args));
        let Ok(args) = decoded else {
            return Outcome::refused(xid, Refusal::GarbageArgs);
        };
        let written = P::written(&args);
        if written > 0 {
            // Before the gate: a write that waits for the throttle must not hold up a freeze.
            tokio::select! {
                biased;
                () = self.vserver.qos.admit_write(written) => {}
                () = request.gone.cancelled() => return Outcome::Drop,
            }
        }
        let _pass = match self.pass(&request).await {
            Ok(pass) => pass,
            Err(outcome) => return outcome,
        };
        if P::ONCE {
            return self.once::<P>(&request, credential, args).await;
        }
        Outcome::Reply(self.answer::<P>(&request, credential, args).await)
    }

    async fn once<P: Handler>(&self, request: &Request, credential: Credential, args: P::Args) -> Outcome {
        let Call { xid, prog, vers, proc, .. } = request.call;
        let key = CallKey::new(request.client, xid, prog, vers, proc, &request.args);
        let admission = tokio::select! {
            biased;
            admission = self.vserver.reply_cache.admit(key) => admission,
            () = request.gone.cancelled() => return Outcome::Drop,
        };
        let running = match admission {
            Admission::New(running) => running,
            Admission::Done(reply) => return Outcome::Reply(Message { head: reply, tail: Bytes::new() }),
        };
        let reply = self.answer::<P>(request, credential, args).await.into_bytes();
        running.finish(reply.clone());
        Outcome::Reply(Message { head: reply, tail: Bytes::new() })
    }

    async fn answer<P: Handler>(&self, request: &Request, credential: Credential, args: P::Args) -> Message {
        let caller = Caller::new(Arc::clone(&self.vserver), request.client, credential);
        let result: Res3<P> = match P::handle(&caller, args).await {
            Ok(ok) => Res3::Ok(ok),
            Err(failed) => Res3::Fail(failed.status, failed.fail),
        };
        let mut out = success(request.call.xid);
        result.encode(&mut out);
        out.finish()
    }

    /// Passes the gate, or says what becomes of the call instead.
    async fn pass(&self, request: &Request) -> Result<GatePass, Outcome> {
        tokio::select! {
            biased;
            pass = self.vserver.gate.enter() => pass.map_err(|_| Outcome::Close),
            () = request.gone.cancelled() => Err(Outcome::Drop),
        }
    }
}

fn success(xid: u32) -> Encoder {
    let mut out = Encoder::with_capacity(256);
    encode_success(&mut out, xid);
    out
}
