//! From an NFS call to the procedure that it asks for: credential, arguments, limits, gate, reply cache, in
//! this order. Knows no volume.

use super::acl::{GetAcl, SetAcl};
use super::caller::Reply;
use super::io::IO_LEN_MAX;
use super::others::{self, InWay, Touched};
use super::procedures::*;
use super::status::NfsStat3;
use crate::rpc::auth::Credential;
use crate::rpc::call::{Call, Refusal, encode_success};
use crate::rpc::server::{Outcome, Request};
use crate::vserver::{Caller, Cost, GatePass, Vserver};
use crate::xdr::{Decoder, Encoder, Message, Xdr};
use bytes::Bytes;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

/// A procedure that this server runs.
pub(super) trait Handler: Procedure + Sized {
    /// Whether running it twice differs from running it once: its replies are kept.
    const ONCE: bool = false;

    /// Bytes that limits and the write throttle count.
    fn cost(_: &Self::Args) -> Cost {
        Cost::default()
    }

    /// What it does with files that others may have something of.
    fn touches(_: &Caller, _: &Self::Args) -> Vec<Touched> {
        Vec::new()
    }

    /// Runs it.
    fn handle(caller: &Caller, args: Self::Args) -> impl Future<Output = Reply<Self>> + Send;
}

/// Bytes that the reply to this call may have beyond a small number.
pub(crate) fn reply_len_max(call: &Call, args: &Bytes) -> usize {
    let mut input = Decoder::new(args.clone());
    let count = match call.proc {
        Read::NUMBER => input.take::<Read3Args>().map_or(0, |args| args.count),
        ReadDir::NUMBER => input.take::<ReadDir3Args>().map_or(0, |args| args.count),
        ReadDirPlus::NUMBER => input.take::<ReadDirPlus3Args>().map_or(0, |args| args.maxcount),
        _ => 0,
    };
    count.min(IO_LEN_MAX) as usize
}

/// Runs one call of NFS version 3.
pub(crate) async fn run(vserver: &Arc<Vserver>, request: Request) -> Outcome {
    let call = Running { vserver, request };
    match call.request.call.proc {
        0 => call.null().await,
        GetAttr::NUMBER => call.procedure::<GetAttr>().await,
        SetAttr::NUMBER => call.procedure::<SetAttr>().await,
        Lookup::NUMBER => call.procedure::<Lookup>().await,
        Access::NUMBER => call.procedure::<Access>().await,
        ReadLink::NUMBER => call.procedure::<ReadLink>().await,
        Read::NUMBER => call.procedure::<Read>().await,
        Write::NUMBER => call.procedure::<Write>().await,
        Create::NUMBER => call.procedure::<Create>().await,
        MkDir::NUMBER => call.procedure::<MkDir>().await,
        SymLink::NUMBER => call.procedure::<SymLink>().await,
        MkNod::NUMBER => call.procedure::<MkNod>().await,
        Remove::NUMBER => call.procedure::<Remove>().await,
        RmDir::NUMBER => call.procedure::<RmDir>().await,
        Rename::NUMBER => call.procedure::<Rename>().await,
        Link::NUMBER => call.procedure::<Link>().await,
        ReadDir::NUMBER => call.procedure::<ReadDir>().await,
        ReadDirPlus::NUMBER => call.procedure::<ReadDirPlus>().await,
        FsStat::NUMBER => call.procedure::<FsStat>().await,
        FsInfo::NUMBER => call.procedure::<FsInfo>().await,
        PathConf::NUMBER => call.procedure::<PathConf>().await,
        Commit::NUMBER => call.procedure::<Commit>().await,
        _ => Outcome::refused(call.request.call.xid, Refusal::ProcUnavail),
    }
}

/// Runs one call of NFSACL version 3.
pub(crate) async fn run_acl(vserver: &Arc<Vserver>, request: Request) -> Outcome {
    let call = Running { vserver, request };
    match call.request.call.proc {
        0 => call.null().await,
        GetAcl::NUMBER => call.procedure::<GetAcl>().await,
        SetAcl::NUMBER => call.procedure::<SetAcl>().await,
        _ => Outcome::refused(call.request.call.xid, Refusal::ProcUnavail),
    }
}

/// One call on its way.
struct Running<'a> {
    vserver: &'a Arc<Vserver>,
    request: Request,
}

impl Running<'_> {
    async fn null(&self) -> Outcome {
        match self.vserver.pass(&self.request).await {
            Ok(_) => Outcome::Reply(success(self.request.call.xid).finish()),
            Err(outcome) => outcome,
        }
    }

    async fn procedure<P: Handler>(&self) -> Outcome {
        let Running { vserver, request } = self;
        let xid = request.call.xid;
        let credential = match vserver.credential(request).await {
            Ok(credential) => credential,
            Err(outcome) => return outcome,
        };
        let mut input = Decoder::new(request.args.clone());
        let decoded = input.take::<P::Args>().and_then(|args| input.finish().map(|()| args));
        let Ok(args) = decoded else {
            return Outcome::refused(xid, Refusal::GarbageArgs);
        };
        // Before the gate: a call that waits for a limit must not hold up a freeze.
        let admitted = vserver.qos.admit(request.client, P::cost(&args));
        if let Err(outcome) = request.unless_gone(admitted).await {
            return outcome;
        }
        let _pass = match self.enter::<P>(&credential, &args).await {
            Ok(pass) => pass,
            Err(outcome) => return outcome,
        };
        if P::ONCE {
            return vserver.once(request, self.answer::<P>(credential, args)).await;
        }
        Outcome::Reply(self.answer::<P>(credential, args).await)
    }

    /// Into the gate, when nobody of another protocol is in the way.
    async fn enter<P: Handler>(&self, credential: &Credential, args: &P::Args) -> Result<GatePass, Outcome> {
        let Running { vserver, request } = self;
        let until = Instant::now() + others::PATIENCE;
        loop {
            let pass = vserver.pass(request).await?;
            if !vserver.locks.is_anything_open() {
                return Ok(pass);
            }
            let caller = Caller::new(Arc::clone(vserver), request, credential.clone());
            let wait = match others::in_way(&caller, &P::touches(&caller, args)) {
                InWay::Nobody => return Ok(pass),
                InWay::Wait(wait) if Instant::now() < until => wait,
                InWay::Wait(_) => return Err(self.failed::<P>(NfsStat3::JukeBox)),
                InWay::Denied(status) => return Err(self.failed::<P>(status)),
            };
            drop(pass);
            request.unless_gone(wait.within(until).over()).await?;
        }
    }

    fn failed<P: Handler>(&self, status: NfsStat3) -> Outcome {
        let mut out = success(self.request.call.xid);
        Res3::<P>::Fail(status, P::Fail::default()).encode(&mut out);
        Outcome::Reply(out.finish())
    }

    async fn answer<P: Handler>(&self, credential: Credential, args: P::Args) -> Message {
        let caller = Caller::new(Arc::clone(self.vserver), &self.request, credential);
        let result: Res3<P> = match P::handle(&caller, args).await {
            Ok(ok) => Res3::Ok(ok),
            Err(failed) => Res3::Fail(failed.status, failed.fail),
        };
        let mut out = success(self.request.call.xid);
        result.encode(&mut out);
        out.finish()
    }
}

pub(super) fn success(xid: u32) -> Encoder {
    let mut out = Encoder::with_capacity(256);
    encode_success(&mut out, xid);
    out
}
