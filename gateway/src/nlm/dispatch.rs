//! From an RPC call to NLM to the procedure that it asks for: gate, reply cache, arguments; and the answers of the
//! asynchronous variants, which are calls to the client.

use super::locking::Asked;
use super::types::procedure as p;
use super::types::{NLM_PROGRAM, NLM_V4, Nlm4Res, Nlm4Stat, Nlm4TestArgs};
use super::{locking, remote};
use crate::rpc::call::{Refusal, encode_refusal, encode_success};
use crate::rpc::outgoing::Program;
use crate::rpc::server::{Outcome, Request, Transport};
use crate::vserver::Vserver;
use crate::xdr::{Decoder, Encoder, Message, Xdr, XdrError};
use bytes::Bytes;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// NLM version 4.
pub(super) const NLM: Program = Program { number: NLM_PROGRAM, version: NLM_V4 };
/// Answers to asynchronous calls that are on their way to clients. One that finds no place is not sent: the client asks
/// again.
static ANSWERS: Semaphore = Semaphore::const_new(128);

/// Runs one call to NLM version 4.
pub async fn run(vserver: &Arc<Vserver>, request: Request) -> Outcome {
    let xid = request.call.xid;
    let (caller, _pass) = match vserver.admit(&request).await {
        Ok(admitted) => admitted,
        Err(outcome) => return outcome,
    };
    let asked = Asked { caller, local: request.local.to_canonical(), transport: request.transport };
    let answer = answer(&asked, xid, request.call.proc, request.args.clone());
    // Run late, and once more, an UNLOCK or a LOCK would undo what its client did since.
    let changes = matches!(
        request.call.proc,
        p::LOCK..=p::UNLOCK | p::LOCK_MSG..=p::UNLOCK_MSG | p::SHARE..=p::FREE_ALL
    );
    if changes { vserver.once(&request, answer).await } else { Outcome::Reply(answer.await) }
}

async fn answer(asked: &Asked, xid: u32, proc: u32, args: Bytes) -> Message {
    let mut out = Encoder::with_capacity(128);
    encode_success(&mut out, xid);
    match procedure(asked, proc, args, &mut out).await {
        Ok(()) => out.finish(),
        Err(refusal) => {
            let mut out = Encoder::with_capacity(64);
            encode_refusal(&mut out, xid, refusal);
            out.finish()
        }
    }
}

/// Runs one procedure and appends its results.
async fn procedure(asked: &Asked, proc: u32, args: Bytes, out: &mut Encoder) -> Result<(), Refusal> {
    match proc {
        p::NULL => {}
        p::TEST => out.put(&locking::test(asked, whole(args)?)),
        p::LOCK => out.put(&locking::lock(asked, whole(args)?, true).await),
        p::NM_LOCK => out.put(&locking::lock(asked, whole(args)?, false).await),
        p::CANCEL => out.put(&locking::cancel(asked, &whole(args)?)),
        p::UNLOCK => out.put(&locking::unlock(asked, &whole(args)?)),
        p::SHARE => out.put(&locking::share(asked, whole(args)?).await),
        p::UNSHARE => out.put(&locking::unshare(asked, &whole(args)?)),
        p::FREE_ALL => locking::free_all(asked, &whole(args)?),
        p::TEST_MSG => send_answer(asked, p::TEST_RES, locking::test(asked, whole(args)?)),
        p::LOCK_MSG => send_answer(asked, p::LOCK_RES, locking::lock(asked, whole(args)?, true).await),
        p::CANCEL_MSG => send_answer(asked, p::CANCEL_RES, locking::cancel(asked, &whole(args)?)),
        p::UNLOCK_MSG => send_answer(asked, p::UNLOCK_RES, locking::unlock(asked, &whole(args)?)),
        // Callbacks to clients. This is no client of anybody.
        p::GRANTED => out.put(&denied(&whole(args)?)),
        p::GRANTED_MSG => send_answer(asked, p::GRANTED_RES, denied(&whole(args)?)),
        p::TEST_RES..=p::GRANTED_RES => {}
        _ => return Err(Refusal::ProcUnavail),
    }
    Ok(())
}

fn denied(args: &Nlm4TestArgs) -> Nlm4Res {
    Nlm4Res { cookie: args.cookie.clone(), stat: Nlm4Stat::Denied }
}

/// All of the arguments.
pub(super) fn whole<A: Xdr>(args: Bytes) -> Result<A, Refusal> {
    let read = || -> Result<A, XdrError> {
        let mut input = Decoder::new(args);
        let value = input.take()?;
        input.finish()?;
        Ok(value)
    };
    read().map_err(|_| Refusal::GarbageArgs)
}

/// Calls the client with the result of an asynchronous call.
fn send_answer<R: Xdr + Send + Sync + 'static>(asked: &Asked, proc: u32, result: R) {
    let Ok(place) = ANSWERS.try_acquire() else {
        tracing::debug!(client = %asked.caller.client, "no place to answer an asynchronous call");
        return;
    };
    let remote = remote(&asked.caller.vserver, asked.local, asked.caller.client);
    let order = both(asked.transport);
    tokio::spawn(async move {
        let _place = place;
        if let Err(error) = remote.call::<R, ()>(NLM, proc, &result, order).await {
            tracing::debug!(client = %remote.host, %error, "no answer to an asynchronous call");
        }
    });
}

/// Both transports, that which the client used first.
pub(super) fn both(first: Transport) -> [Transport; 2] {
    match first {
        Transport::Tcp => [Transport::Tcp, Transport::Udp],
        Transport::Udp => [Transport::Udp, Transport::Tcp],
    }
}
