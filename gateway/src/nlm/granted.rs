//! Tells clients that a lock for which they waited is theirs (`NLM4_GRANTED`).
//!
//! By the synchronous procedure: its answer says at once whether the client took the lock, and every client has it. A
//! client that does not want it, or certainly was not reached, loses it to the next who waits. One that may have heard
//! and can't be asked keeps it: it would not know that it lost it.

use super::dispatch::{NLM, both};
use super::locking::read_return_path;
use super::owner::svid_and_oh;
use super::remote;
use super::types::{HostName, NetObj, Nlm4Lock, Nlm4Res, Nlm4Stat, Nlm4TestArgs, procedure};
use crate::handle::FileHandle;
use crate::openstate::Grant;
use crate::rpc::outgoing::CallFailed;
use crate::vserver::Vserver;
use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::sync::Arc;
use std::time::Duration;

/// Clients that are called at the same time.
const CALLS_MAX: usize = 128;
/// Pauses before the attempts. Linux asks again by itself after 30 s, and then has its lock.
const PAUSES_MS: [u64; 9] = [0, 250, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000];

/// Tells of every grant, for ever.
pub(super) async fn tell_all(vserver: &Arc<Vserver>) {
    let mut calls = FuturesUnordered::new();
    loop {
        tokio::select! {
            grant = vserver.locks.next_grant(), if calls.len() < CALLS_MAX => calls.push(tell(vserver, grant)),
            Some(()) = calls.next() => {}
        }
    }
}

async fn tell(vserver: &Arc<Vserver>, grant: Grant) {
    let taken = ask(vserver, &grant).await;
    // The table travels in a cutover; it must not change behind the gate. Where the gate is closed, the vserver's new
    // home tells again.
    let Ok(_pass) = vserver.gate.enter().await else { return };
    if taken {
        vserver.locks.settle(grant.id);
    } else {
        tracing::debug!(client = %grant.lock.owner.client.address, "a lock that was waited for goes to the next");
        vserver.locks.give_back(grant.id);
    }
}

/// Whether the client has the lock now, as far as can be known.
async fn ask(vserver: &Arc<Vserver>, grant: &Grant) -> bool {
    let client = &grant.lock.owner.client;
    let Some((local, transport)) = read_return_path(&grant.return_path) else { return false };
    let remote = remote(vserver, local, client.address);
    let args = granted_args(vserver, grant);
    let mut in_doubt = grant.told_before;
    for pause_ms in PAUSES_MS {
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        if !vserver.locks.is_untold(grant.id) {
            return true;
        }
        match remote.call::<_, Nlm4Res>(NLM, procedure::GRANTED, &args, both(transport)).await {
            Ok(Nlm4Res { stat: Nlm4Stat::Granted, .. }) => return true,
            Ok(Nlm4Res { stat: Nlm4Stat::DeniedGracePeriod, .. }) => {}
            // It says so also if it heard before and nobody waits any more.
            Ok(_) => return in_doubt,
            Err(error) => {
                in_doubt |= error.is_in_doubt();
                told_of_trouble(&error, client.address);
            }
        }
    }
    in_doubt
}

fn told_of_trouble(error: &CallFailed, client: std::net::IpAddr) {
    tracing::debug!(%client, %error, "a client was not told of its lock");
}

/// The arguments by which the client knows its request: handle, owner, process and range as it sent them.
fn granted_args(vserver: &Vserver, grant: &Grant) -> Nlm4TestArgs {
    let handle = FileHandle { volume: grant.file.volume, file: grant.file.file };
    let handle = handle.seal(vserver.uuid, vserver.handle_key());
    let (svid, oh) = svid_and_oh(&grant.lock.owner);
    Nlm4TestArgs {
        cookie: NetObj(Bytes::copy_from_slice(&grant.id.to_be_bytes())),
        exclusive: grant.lock.exclusive,
        alock: Nlm4Lock {
            caller_name: HostName(Bytes::copy_from_slice(vserver.name.as_bytes())),
            fh: NetObj(Bytes::copy_from_slice(&handle)),
            oh,
            svid,
            l_offset: grant.lock.range.first,
            l_len: grant.lock.range.bytes(),
        },
    }
}
