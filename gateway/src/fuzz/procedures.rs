//! Whole calls, one after the other and several at once, through the dispatcher to volumes; every reply is looked at.

use super::calls::{self, Streak};
use super::choices::Choices;
use super::table::{self, Entry, PROCEDURES};
use super::world::{CLIENTS, LOCAL, World};
use crate::nlm;
use crate::rpc::auth::Credential;
use crate::rpc::call::{Call, CallError};
use crate::rpc::server::{self, Ends, Outcome, Service, Transport};
use crate::xdr::{Decoder, Message};
use bytes::Bytes;
use futures_util::future::join_all;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What a reply may have beyond what it was foreseen to have (`Service::reply_len_max`): attributes, a name, two opaques.
const SMALL: usize = 8 << 10;
/// Calls of one input.
const CALLS_MAX: u32 = 4096;
/// More is a call that hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often a procedure has answered.
#[derive(Debug)]
pub struct Tally {
    /// Which one: program, version and procedure.
    pub procedure: (u32, u32, u32),
    /// With what its callers want.
    pub successes: AtomicU64,
    /// With anything else.
    pub errors: AtomicU64,
}

/// Of every procedure, since the process began.
pub static TALLIES: std::sync::LazyLock<Vec<Tally>> = std::sync::LazyLock::new(|| {
    let tally = |entry: &Entry| Tally {
        procedure: (entry.prog, entry.vers, entry.proc),
        successes: AtomicU64::new(0),
        errors: AtomicU64::new(0),
    };
    PROCEDURES.iter().map(tally).collect()
});

/// A call and whom it comes from.
#[derive(Clone)]
struct Sent {
    message: Bytes,
    client: SocketAddr,
    transport: Transport,
}

/// A history of calls: `bytes` decide what each is. Each gets the one reply that it ought to get, nothing grows over its
/// limit, and the volumes are sound afterwards.
pub fn procedures(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime on this thread alone");
    let mut world = World::new();
    let mut choices = Choices::new(bytes);
    runtime.block_on(async {
        let end = CancellationToken::new();
        let telling = tokio::spawn(nlm::call_clients(Arc::clone(world.vserver()), end.clone()));
        run(&mut world, &mut choices).await;
        end.cancel();
        telling.await.expect("nobody panics who calls clients");
    });
    // Answers to asynchronous calls may still be on their way.
    drop(runtime);
    world.assert_bounded();
    world.end();
}

async fn run(world: &mut World, choices: &mut Choices<'_>) {
    let mut xid = 0;
    let mut streak = Streak::default();
    while !choices.is_empty() && xid < CALLS_MAX {
        if choices.once_in(32) {
            world.event(choices);
        }
        let mut sent: Vec<Sent> = Vec::new();
        for _ in 0..choices.pick(&[1, 1, 1, 4]) {
            xid += 1;
            sent.push(call(world, &mut streak, choices, xid));
        }
        if choices.once_in(8) {
            // As where a client hears nothing.
            sent.extend_from_within(..1);
        }
        let replies = join_all(sent.iter().map(|one| answer(world, one)));
        let replies = tokio::time::timeout(PATIENCE, replies).await.expect("a call hangs");
        for (one, reply) in sent.iter().zip(&replies) {
            look_at(one, reply.as_ref());
        }
        let again = &sent[0];
        if choices.once_in(8) && find(&again.message).is_some_and(|entry| PROCEDURES[entry].once) {
            let reply = tokio::time::timeout(PATIENCE, answer(world, again)).await.expect("a call hangs");
            assert_eq!(reply, replies[0], "a repeated call was answered in another way");
        }
        if xid % 64 == 0 {
            world.assert_bounded();
        }
    }
}

fn call(world: &mut World, streak: &mut Streak, choices: &mut Choices<'_>, xid: u32) -> Sent {
    let message = Bytes::from(calls::message(world, streak, choices, xid));
    let port = choices.pick(&[700, 50_000]);
    let client = SocketAddr::new(
        choices.pick(&[CLIENTS[0], CLIENTS[0], CLIENTS[0], CLIENTS[1], CLIENTS[2], CLIENTS[3]]),
        port,
    );
    let transport = if choices.once_in(8) { Transport::Udp } else { Transport::Tcp };
    Sent { message, client, transport }
}

/// As a connection does it.
async fn answer(world: &World, sent: &Sent) -> Option<Bytes> {
    let mut input = Decoder::new(sent.message.clone());
    let call = Call::decode(&mut input);
    let args = input.rest().clone();
    let foreseen = call.as_ref().map_or(0, |call| world.programs.reply_len_max(call, &args));
    let ends =
        Ends { client: sent.client, local: LOCAL, transport: sent.transport, gone: CancellationToken::new() };
    match server::run(&*world.programs, call, args, &ends).await {
        Outcome::Reply(message) => {
            assert!(
                message.len() <= foreseen + SMALL,
                "{} bytes, but foreseen were {foreseen}",
                message.len()
            );
            Some(Message::into_bytes(message))
        }
        Outcome::Drop | Outcome::Close | Outcome::Later(..) => None,
    }
}

/// The procedure that a message calls.
pub(super) fn find(message: &Bytes) -> Option<usize> {
    let call = Call::decode(&mut Decoder::new(message.clone())).ok()?;
    table::find(call.prog, call.vers, call.proc)
}

/// What the words of a reply say before results or reasons (RFC 5531 §9).
struct Head {
    xid: u32,
    denied: bool,
    stat: u32,
}

fn head(input: &mut Decoder) -> crate::xdr::Result<Head> {
    let xid = input.u32()?;
    assert_eq!(input.u32()?, 1, "not a reply");
    let denied = input.bool()?;
    if !denied {
        assert_eq!((input.u32()?, input.u32()?), (0, 0), "the verifier is not AUTH_NONE");
    }
    Ok(Head { xid, denied, stat: input.u32()? })
}

/// Whether a reply is one that this call may get.
fn look_at(sent: &Sent, reply: Option<&Bytes>) {
    let mut input = Decoder::new(sent.message.clone());
    let call = Call::decode(&mut input);
    let Some(reply) = reply else {
        assert_eq!(call, Err(CallError::NotACall), "a call was not answered");
        return;
    };
    let mut rest = Decoder::new(reply.clone());
    let head = head(&mut rest).expect("a reply has a header");
    let call = match call {
        Err(CallError::NotACall) => panic!("what is no call was answered"),
        Err(CallError::RpcVersion { xid }) => {
            assert_eq!((head.xid, head.denied, head.stat), (xid, true, 0));
            assert_eq!((rest.u32(), rest.u32()), (Ok(2), Ok(2)));
            return;
        }
        Err(CallError::BadAuth { xid, stat }) => {
            assert_eq!((head.xid, head.denied, head.stat), (xid, true, 1));
            assert_eq!(rest.u32(), Ok(stat as u32));
            return;
        }
        Ok(call) => call,
    };
    assert_eq!(head.xid, call.xid, "the reply to another call");
    let which = table::find(call.prog, call.vers, call.proc);
    let entry = which.map(|which| &PROCEDURES[which]);
    let success = match (head.denied, head.stat) {
        (true, stat) => {
            assert_eq!(stat, 1, "AUTH_ERROR");
            let refused = Credential::of(&call.cred).map(drop).expect_err("a good credential was refused");
            assert_eq!(rest.u32(), Ok(refused as u32));
            false
        }
        (false, 0) => {
            let entry = entry.expect("a procedure that is not there gave results");
            let success = (entry.results)(&mut rest);
            success
                .unwrap_or_else(|error| panic!("{call:?} gave what are not its results ({error}): {reply:?}"))
        }
        (false, stat) => {
            refused(&call, entry, sent.transport, input.rest(), stat);
            if stat == 2 {
                assert!(rest.u32().is_ok_and(|low| rest.u32().is_ok_and(|high| low <= high)));
            }
            false
        }
    };
    assert_eq!(rest.finish(), Ok(()), "{call:?}");
    if let Some(which) = which {
        let tally = &TALLIES[which];
        let count = if success { &tally.successes } else { &tally.errors };
        count.fetch_add(1, Relaxed);
    }
}

/// Whether a call may be refused with this `accept_stat` (RFC 5531 §9).
fn refused(call: &Call, entry: Option<&Entry>, transport: Transport, args: &Bytes, stat: u32) {
    let of_program = |entry: &Entry| entry.prog == call.prog;
    let nfs = [crate::nfs3::types::NFS_PROGRAM, crate::nfs3::acl::NFS_ACL_PROGRAM].contains(&call.prog);
    let nfs_over_udp = nfs && transport == Transport::Udp;
    let right = match stat {
        1 => nfs_over_udp || !PROCEDURES.iter().any(of_program),
        2 => !PROCEDURES.iter().any(|entry| of_program(entry) && entry.vers == call.vers),
        3 => entry.is_none(),
        4 => entry.and_then(|entry| entry.arguments).is_some_and(|whole| !whole(args.clone())),
        _ => false,
    };
    assert!(right, "{call:?} was refused with {stat}");
}
