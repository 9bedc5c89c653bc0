//! NSM version 1, from both ends: hears from clients that they went down, and tells clients that the vserver did.
//!
//! What is told: SM_NOTIFY to the status monitor of every watched client, from the address at which it took its locks
//! and with that address as name. Linux' statd takes the sender's address or that name for the host that lockd had it
//! watch, which is the address that was mounted; and it passes on only a `state` that is not the one it has.

use super::dispatch::whole;
use super::remote;
use super::types::procedure as p;
use super::types::{HostName, NSM_PROGRAM, NSM_V1, SmStatRes, StatChge};
use crate::openstate::{Client, WatchedClient};
use crate::rpc::call::{Refusal, encode_success};
use crate::rpc::outgoing::Program;
use crate::rpc::server::{Outcome, Request, Transport};
use crate::vserver::Vserver;
use crate::xdr::Encoder;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

const NSM: Program = Program { number: NSM_PROGRAM, version: NSM_V1 };
const STAT_FAIL: u32 = 1;
/// Clients that are told at the same time.
const CALLS_MAX: usize = 64;
/// First pause between attempts; each is twice the one before, up to the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Then a client is given up, as by sm-notify.
const PATIENCE: Duration = Duration::from_secs(900);

/// Runs one call to NSM version 1.
pub async fn run(vserver: &Arc<Vserver>, request: Request) -> Outcome {
    let _pass = match vserver.pass(&request).await {
        Ok(pass) => pass,
        Err(outcome) => return outcome,
    };
    let mut out = Encoder::with_capacity(64);
    encode_success(&mut out, request.call.xid);
    match procedure(vserver, &request, &mut out) {
        Ok(()) => Outcome::Reply(out.finish()),
        Err(refusal) => Outcome::refused(request.call.xid, refusal),
    }
}

fn procedure(vserver: &Vserver, request: &Request, out: &mut Encoder) -> Result<(), Refusal> {
    let state = vserver.watched.state();
    match request.call.proc {
        p::NULL | p::SM_SIMU_CRASH => {}
        // It watches for its own lock manager only, not for strangers.
        p::SM_STAT | p::SM_MON => out.put(&SmStatRes { res_stat: STAT_FAIL, state }),
        p::SM_UNMON | p::SM_UNMON_ALL => out.u32(state),
        p::SM_NOTIFY => {
            let change: StatChge = whole(request.args.clone())?;
            client_restarted(vserver, request.client.to_canonical(), &change);
        }
        _ => return Err(Refusal::ProcUnavail),
    }
    Ok(())
}

/// Gives up the locks of a client that says that it came up again, but for those that it took since.
fn client_restarted(vserver: &Vserver, from: IpAddr, change: &StatChge) {
    let gone = restarted(vserver, from, &change.mon_name);
    let released = vserver.locks.release(|client| gone.contains(client), Some(change.state));
    tracing::info!(
        vserver = vserver.name,
        client = %from,
        name = %change.mon_name.0.escape_ascii(),
        state = change.state,
        released,
        "a client came up again"
    );
}

/// Those who may be meant. Anybody can send such a message, so the address counts first: clients there with that name,
/// or else the only one there. A client that came back with another address is known by its name, if it may reach what
/// it has locked.
fn restarted(vserver: &Vserver, from: IpAddr, name: &HostName) -> BTreeSet<Client> {
    let all = vserver.locks.clients();
    let there: Vec<&Client> = all.iter().filter(|client| client.address == from).collect();
    let named: BTreeSet<Client> =
        there.iter().filter(|client| is_name_of(name, client)).map(|client| Client::clone(client)).collect();
    if !named.is_empty() {
        return named;
    }
    if let [only] = there[..] {
        return BTreeSet::from([only.clone()]);
    }
    let elsewhere = all.iter().filter(|client| client.address != from && is_name_of(name, client));
    elsewhere.filter(|client| may_reach_locks_of(vserver, from, client)).cloned().collect()
}

/// A host is known by its whole name, by the first part of it, or by its address.
fn is_name_of(name: &HostName, client: &Client) -> bool {
    let first =
        |name: &[u8]| name.split(|byte| *byte == b'.').next().unwrap_or_default().to_ascii_lowercase();
    let address = std::str::from_utf8(&name.0).ok().and_then(|text| text.parse::<IpAddr>().ok());
    match address {
        Some(address) => address == client.address,
        None => !name.0.is_empty() && first(&name.0) == first(&client.name),
    }
}

fn may_reach_locks_of(vserver: &Vserver, from: IpAddr, client: &Client) -> bool {
    let (namespace, exports) = (vserver.namespace(), vserver.exports());
    vserver.locks.volumes_of(|other| other == client).into_iter().all(|volume| {
        namespace.volume(volume).is_some_and(|mount| exports.check(&mount.policy, from).is_some())
    })
}

/// Tells every client whose locks were lost, each until it knows or has been given up.
pub(super) async fn tell_all(vserver: &Arc<Vserver>) {
    let clients = vserver.watched.to_tell();
    stream::iter(clients).for_each_concurrent(CALLS_MAX, |client| tell(vserver, client)).await;
}

async fn tell(vserver: &Arc<Vserver>, client: WatchedClient) {
    let remote = remote(vserver, client.local, client.client);
    let mon_name = HostName(Bytes::from(client.local.to_canonical().to_string()));
    let change = StatChge { mon_name, state: vserver.watched.state() };
    let order = [Transport::Udp, Transport::Tcp];
    let attempts = async {
        let mut pause = PAUSE_FIRST;
        while let Err(error) = remote.call::<_, ()>(NSM, p::SM_NOTIFY, &change, order).await {
            tracing::debug!(client = %client.client, %error, "a client does not know yet that its locks were lost");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    };
    if tokio::time::timeout(PATIENCE, attempts).await.is_err() {
        tracing::warn!(client = %client.client, "a client could not be told that its locks were lost");
    }
    vserver.watched.told(&client);
}
