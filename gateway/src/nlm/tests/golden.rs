//! Bytes of arguments and results, written down by hand from X/Open XNFS (C702), chapters 10 and 11, in both directions.
//! In the hexadecimal text, each group is one XDR item.

use super::*;
use crate::xdr::golden::check;

/// `netobj`, the two bytes `ck`.
const COOKIE: &str = "00000002 636b0000";
/// `nlm4_lock`: caller `abc`, handle `hndl`, owner `o`, process 7, offset 2^32, length 5.
const LOCK: &str =
    "00000003 61626300 00000004 686e646c 00000001 6f000000 00000007 0000000100000000 0000000000000005";
const TRUE: &str = "00000001";
const FALSE: &str = "00000000";

fn netobj(bytes: &'static str) -> NetObj {
    NetObj(Bytes::from_static(bytes.as_bytes()))
}

fn alock() -> Nlm4Lock {
    Nlm4Lock {
        caller_name: name_of("abc"),
        fh: netobj("hndl"),
        oh: netobj("o"),
        svid: 7,
        l_offset: 1 << 32,
        l_len: 5,
    }
}

#[test]
fn arguments() {
    let (cookie, alock) = (netobj("ck"), alock());
    let lock = Nlm4LockArgs {
        cookie: cookie.clone(),
        block: true,
        exclusive: false,
        alock: alock.clone(),
        reclaim: true,
        state: 9,
    };
    check(lock, &[COOKIE, TRUE, FALSE, LOCK, TRUE, "00000009"]);
    let cancel = Nlm4CancArgs { cookie: cookie.clone(), block: false, exclusive: true, alock: alock.clone() };
    check(cancel, &[COOKIE, FALSE, TRUE, LOCK]);
    let test = Nlm4TestArgs { cookie: cookie.clone(), exclusive: true, alock: alock.clone() };
    check(test, &[COOKIE, TRUE, LOCK]);
    check(Nlm4UnlockArgs { cookie: cookie.clone(), alock }, &[COOKIE, LOCK]);
    let share =
        Nlm4Share { caller_name: name_of("abc"), fh: netobj("hndl"), oh: netobj("o"), mode: 2, access: 1 };
    let of_lock = "00000003 61626300 00000004 686e646c 00000001 6f000000";
    check(Nlm4ShareArgs { cookie, share, reclaim: false }, &[COOKIE, of_lock, "00000002", "00000001", FALSE]);
    check(Nlm4Notify { name: name_of("abc"), state: 5 }, &["00000003 61626300 00000005"]);
}

#[test]
fn results() {
    let cookie = netobj("ck");
    check(Nlm4Res { cookie: cookie.clone(), stat: Nlm4Stat::DeadLck }, &[COOKIE, "00000005"]);
    check(Nlm4TestRes { cookie: cookie.clone(), stat: Ok(Nlm4Stat::Granted) }, &[COOKIE, "00000000"]);
    let holder = Nlm4Holder { exclusive: true, svid: 7, oh: netobj("o"), l_offset: 3, l_len: 0 };
    check(
        Nlm4TestRes { cookie: cookie.clone(), stat: Err(holder) },
        &[COOKIE, "00000001", TRUE, "00000007 00000001 6f000000 0000000000000003 0000000000000000"],
    );
    check(Nlm4ShareRes { cookie, stat: Nlm4Stat::Granted, sequence: 1 }, &[COOKIE, "00000000", "00000001"]);
}

#[test]
fn status_monitor() {
    check(StatChge { mon_name: name_of("abc"), state: 5 }, &["00000003 61626300 00000005"]);
    check(SmStatRes { res_stat: 1, state: 3 }, &["00000001 00000003"]);
}
