//! MOUNT's lists, and export rules as a call meets them.

use super::*;
use crate::nfs3::caller::Shown;
use crate::nfs3::mount::{DirPath, MNT, MOUNT_PROGRAM, MOUNT_V3, MountRes3, MountStat3};
use crate::programs::Programs;
use crate::rpc::auth::{Credential, OpaqueAuth};
use crate::rpc::call::{Call, ReplyHeader, ReplyStatus};
use crate::rpc::server::{Outcome, Request, Service, Transport};
use crate::vserver::{Caller, ClientMatch};
use crate::xdr::{Decoder, Encoder};
use fsstore::Lsn;
use futures_util::FutureExt;

const DUMP: u32 = 2;
const UMNT: u32 = 3;
const UMNTALL: u32 = 4;
const EXPORT: u32 = 5;

fn request((client, client_port): (&str, u16), proc: u32, args: Bytes) -> Request {
    let none = OpaqueAuth::NONE;
    Request {
        client: client.parse().unwrap(),
        client_port,
        local: "127.0.0.1".parse().unwrap(),
        transport: Transport::Udp,
        call: Call { xid: 1, prog: MOUNT_PROGRAM, vers: MOUNT_V3, proc, cred: none.clone(), verf: none },
        args,
        gone: CancellationToken::new(),
    }
}

/// The results of a MOUNT procedure that a client with this address and port calls.
async fn call(programs: &Programs, client: (&str, u16), proc: u32, path: Option<&str>) -> Decoder {
    let mut args = Encoder::default();
    if let Some(path) = path {
        args.put(&DirPath(Bytes::copy_from_slice(path.as_bytes())));
    }
    let request = request(client, proc, args.finish().into_bytes());
    let Outcome::Reply(reply) = programs.run(request).await else { panic!("no reply") };
    let mut reply = Decoder::new(reply.into_bytes());
    assert_eq!(ReplyHeader::decode(&mut reply).unwrap().status, ReplyStatus::Success);
    reply
}

async fn mount(programs: &Programs, client: (&str, u16), path: &str) -> Result<NfsFh3, MountStat3> {
    call(programs, client, MNT, Some(path)).await.take::<MountRes3>().unwrap().0
}

/// A list of pairs of text, the second one a list for EXPORT.
async fn list(programs: &Programs, client: &str, proc: u32) -> Vec<(String, Vec<String>)> {
    let mut reply = call(programs, (client, 700), proc, None).await;
    let text = |reply: &mut Decoder| String::from_utf8(reply.opaque(1024).unwrap().to_vec()).unwrap();
    let mut list = Vec::new();
    while reply.u32().unwrap() == 1 {
        let first = text(&mut reply);
        let mut rest = Vec::new();
        if proc == DUMP {
            rest.push(text(&mut reply));
        } else {
            while reply.u32().unwrap() == 1 {
                rest.push(text(&mut reply));
            }
        }
        list.push((first, rest));
    }
    reply.finish().unwrap();
    list
}

fn entry(first: &str, rest: &[&str]) -> (String, Vec<String>) {
    (first.to_owned(), rest.iter().map(|text| (*text).to_owned()).collect())
}

#[tokio::test]
async fn mount_keeps_a_list_of_who_has_mounted_what() {
    let fixture = Fixture::new();
    let programs = Programs { vserver: Arc::clone(&fixture.vserver), ports: PORTS };
    assert_eq!(list(&programs, "127.0.0.1", DUMP).await, []);
    for (client, path) in [("127.0.0.1", "/"), ("127.0.0.1", "/sub"), ("127.0.0.2", "/")] {
        mount(&programs, (client, 700), path).await.unwrap();
    }
    assert_eq!(mount(&programs, ("127.0.0.2", 700), "/none").await, Err(MountStat3::NoEnt));
    let all = [entry("127.0.0.1", &["/"]), entry("127.0.0.1", &["/sub"]), entry("127.0.0.2", &["/"])];
    assert_eq!(list(&programs, "127.0.0.3", DUMP).await, all);
    call(&programs, ("127.0.0.1", 700), UMNT, Some("/")).await;
    assert_eq!(list(&programs, "127.0.0.3", DUMP).await, all[1..]);
    call(&programs, ("127.0.0.1", 700), UMNTALL, None).await;
    assert_eq!(list(&programs, "127.0.0.3", DUMP).await, all[2..]);
}

#[tokio::test]
async fn export_shows_a_client_what_it_may_reach_and_for_whom_it_is() {
    let fixture = Fixture::new();
    let programs = Programs { vserver: Arc::clone(&fixture.vserver), ports: PORTS };
    let rules = ["127.0.0.0/8", "host.example.com", "@web"];
    let rules = rules.map(|text| ExportRule::new(text.parse::<ClientMatch>().unwrap(), true, Squash::None));
    fixture.export(rules.to_vec());
    let groups = ["127.0.0.0/8", "host.example.com", "@web"];
    assert_eq!(list(&programs, "127.0.0.1", EXPORT).await, [entry("/", &groups), entry("/sub", &groups)]);
    assert_eq!(list(&programs, "10.0.0.1", EXPORT).await, []);
    fixture.export(vec![ExportRule::new(ClientMatch::Any, false, Squash::All)]);
    assert_eq!(list(&programs, "10.0.0.1", EXPORT).await, [entry("/", &[]), entry("/sub", &[])], "everybody");
}

/// The connection has set so much memory aside for the reply.
#[tokio::test]
async fn no_list_is_longer_than_was_foreseen() {
    let fixture = Fixture::new();
    let programs = Programs { vserver: Arc::clone(&fixture.vserver), ports: PORTS };
    let client = "127.0.0.1".parse().unwrap();
    for number in 0..1024 {
        fixture.vserver.mounts.add(client, &format!("{}{number}", "/".repeat(1000)));
    }
    for proc in [DUMP, EXPORT] {
        let request = request(("127.0.0.1", 700), proc, Bytes::new());
        let foreseen = programs.reply_len_max(&request.call, &request.args);
        let Outcome::Reply(reply) = programs.run(request).await else { panic!("no reply") };
        assert!(reply.len() <= foreseen + 4096, "{} bytes, but foreseen were {foreseen}", reply.len());
    }
    assert!(list(&programs, "127.0.0.1", DUMP).await.len() > 200);
}

#[tokio::test]
async fn a_secure_rule_takes_calls_from_privileged_ports_only() {
    let fixture = Fixture::new();
    let programs = Programs { vserver: Arc::clone(&fixture.vserver), ports: PORTS };
    fixture.export(vec![ExportRule { secure: true, ..rule("127.0.0.0/8", true, Squash::None) }]);
    assert!(mount(&programs, ("127.0.0.1", 1023), "/").await.is_ok());
    assert_eq!(mount(&programs, ("127.0.0.1", 1024), "/").await, Err(MountStat3::Acces));
}

#[tokio::test]
async fn early_replies_do_not_wait_for_the_disk_and_commit_does() {
    let fixture = Fixture::new();
    let waits = |early_replies| {
        fixture.export(vec![ExportRule { early_replies, ..rule("127.0.0.0/8", true, Squash::None) }]);
        let credential = Credential { uid: 0, gid: 0, groups: Vec::new() };
        let request = request(("127.0.0.1", 700), MNT, Bytes::new());
        let caller = Caller::new(Arc::clone(&fixture.vserver), &request, credential);
        let mount = caller.namespace.mounts().next().unwrap();
        let target = caller.target_in(mount, fsstore::ROOT).unwrap();
        // An operation that never comes.
        let late = Lsn(u64::MAX);
        (target.durable(late).now_or_never().is_none(), target.committed(late).now_or_never().is_none())
    };
    assert_eq!(waits(false), (true, true));
    assert_eq!(waits(true), (false, true));
}
