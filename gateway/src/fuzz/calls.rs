//! Calls as clients send them, and as nobody should: half of them as they ought to be, the others damaged or invented.

use super::choices::Choices;
use super::table::{Entry, Field, PROCEDURES};
use super::world::World;
use crate::nfs3::acl::{AclEnt, AclTag};
use crate::nfs3::types::{NFS_PROGRAM, NfsTime3, SAttr3, SetTime3};
use crate::nlm::types::NLM_PROGRAM;
use crate::rpc::auth::{AUTH_SYS, AuthSys, OpaqueAuth};
use crate::rpc::call::Call;
use crate::xdr::Encoder;
use bytes::Bytes;
use std::sync::LazyLock;

/// Procedures of NFS and of the lock manager with arguments of several parts.
static BUSY: LazyLock<Vec<usize>> = LazyLock::new(|| {
    let busy = |entry: &Entry| [NFS_PROGRAM, NLM_PROGRAM].contains(&entry.prog) && entry.fields.len() > 1;
    (0..PROCEDURES.len()).filter(|which| busy(&PROCEDURES[*which])).collect()
});

/// What most calls are about for a while: tables fill up by that.
#[derive(Default)]
pub(super) struct Streak {
    which: usize,
    left: usize,
}

impl Streak {
    /// The place of the next call's procedure.
    fn next(&mut self, choices: &mut Choices<'_>) -> usize {
        if self.left > 0 && choices.once_in(2) {
            self.left -= 1;
            return self.which;
        }
        if choices.once_in(64) {
            let left = choices.below(200);
            *self = Streak { which: choices.below(PROCEDURES.len()), left };
        }
        // Half of the others are those that do something.
        if choices.once_in(2) { choices.pick(&BUSY) } else { choices.below(PROCEDURES.len()) }
    }
}

/// A whole call message with this xid.
pub(super) fn message(
    world: &mut World,
    streak: &mut Streak,
    choices: &mut Choices<'_>,
    xid: u32,
) -> Vec<u8> {
    let which = streak.next(choices);
    let mut args = Encoder::default();
    let entry = &PROCEDURES[which];
    let kind = choices.below(8);
    match kind {
        0 => args.array(choices.pick_bytes()),
        _ => arguments(entry, &mut |paths, choices| world.handle(paths, choices), choices, &mut args),
    }
    let mut args = args.finish().into_bytes().to_vec();
    if kind < 3 {
        choices.damage(&mut args);
    }
    let (prog, vers, proc) = numbers(entry, choices);
    let call = Call { xid, prog, vers, proc, cred: credential(choices), verf: OpaqueAuth::NONE };
    let mut out = Encoder::default();
    call.encode(&mut out);
    let mut bytes = out.finish().into_bytes().to_vec();
    if kind == 3 && choices.once_in(3) {
        choices.damage(&mut bytes);
    }
    bytes.extend_from_slice(&args);
    bytes
}

/// Those of the procedure, or near them.
fn numbers(entry: &Entry, choices: &mut Choices<'_>) -> (u32, u32, u32) {
    let Entry { prog, vers, proc, .. } = *entry;
    if !choices.once_in(16) {
        return (prog, vers, proc);
    }
    match choices.below(4) {
        0 => (prog.wrapping_add(choices.pick(&[1, 2, 99])), vers, proc),
        1 => (prog, choices.pick(&[0, 1, 2, 3, 4, 5, u32::MAX]), proc),
        2 => (prog, vers, choices.number()),
        _ => (prog, vers.wrapping_add(choices.pick(&[u32::MAX, 0, 1])), u32::from(choices.byte() % 26)),
    }
}

pub(super) fn credential(choices: &mut Choices<'_>) -> OpaqueAuth {
    let kind = choices.below(16);
    if kind == 0 {
        return OpaqueAuth::NONE;
    }
    let uid = choices.pick(&[0, 0, 0, 0, 1000, 65_534, u32::MAX]);
    let gids = (0..choices.pick(&[0, 0, 0, 1, 2, 16, 16, 17])).map(|_| choices.number()).collect();
    let machine_name = Bytes::from_static(b"client");
    let mut body = Encoder::default();
    body.put(&AuthSys { stamp: 0, machine_name, uid, gid: choices.pick(&[0, 100]), gids });
    let mut body = body.finish().into_bytes().to_vec();
    if kind == 1 {
        choices.damage(&mut body);
    }
    let flavor = if kind == 2 { choices.number() } else { AUTH_SYS };
    OpaqueAuth { flavor, body: body.into() }
}

/// Where there is something of a kind in a volume.
pub(super) type Paths<'a> = &'a [&'a [&'a [u8]]];
/// Gives the bytes of a file handle.
pub(super) type Handles<'a> = &'a mut dyn FnMut(Paths<'_>, &mut Choices<'_>) -> Vec<u8>;

/// Arguments as a client would make them, with `handles` in them.
pub(super) fn arguments(entry: &Entry, handles: Handles<'_>, choices: &mut Choices<'_>, out: &mut Encoder) {
    for field in &entry.fields {
        put(*field, handles, choices, out);
    }
}

fn put(field: Field, handles: Handles<'_>, choices: &mut Choices<'_>, out: &mut Encoder) {
    match field {
        Field::Object => out.opaque(&handles(&[&[], &[b"dir"], &[b"file"], &[b"dir", b"link"]], choices)),
        Field::Dir => out.opaque(&handles(&[&[], &[b"dir"], &[b"sub"], &[b".snapshot"]], choices)),
        Field::File => out.opaque(&handles(&[&[b"file"], &[b"dir", b"a"], &[b"a"]], choices)),
        Field::Link => out.opaque(&handles(&[&[b"dir", b"link"]], choices)),
        Field::Name => out.opaque(&World::name(choices)),
        Field::Target => {
            let len = choices.pick(&[0, 1, 5, 1023, 4095, 4096, 5000]);
            out.opaque(&vec![b't'; len]);
        }
        Field::Attributes => out.put(&attributes(choices)),
        Field::Guard => out.put(&choices.once_in(4).then(|| time(choices))),
        Field::Data => data(choices, out),
        Field::How => {
            let how = choices.below(4);
            out.u32(u32::try_from(how).unwrap_or(0));
            match how {
                0 | 1 => out.put(&attributes(choices)),
                _ => out.array(&[choices.byte() & 1; 8]),
            }
        }
        Field::Node => {
            let kind = choices.pick(&[1, 2, 3, 4, 5, 6, 7, 7, 6, 4, 3, 8]);
            out.u32(kind);
            if matches!(kind, 3 | 4 | 6 | 7) {
                out.put(&attributes(choices));
            }
            if matches!(kind, 3 | 4) {
                out.u64(choices.long());
            }
        }
        Field::AclMask => out.u32(choices.pick(&[15, 15, 5, 1, 10, 0, 16])),
        Field::Acl => acl(choices, out),
        Field::Cookie | Field::Long => out.u64(choices.long()),
        Field::CookieVerifier => out.array(&[u8::from(choices.once_in(16)); 8]),
        Field::Number => out.u32(choices.number()),
        Field::Path => {
            let path =
                choices.pick(&["/", "/", "/sub", "/b", "/dir", "/dir/a", "/none", "", "/..", "/\u{1F4C1}"]);
            // Empty parts of a path mean nothing, and make it another text.
            let before = choices.pick(&[0, 1, 700, 900]);
            let before = "/".repeat(if before > 1 { before + usize::from(choices.byte()) } else { before });
            out.opaque(format!("{before}{path}").as_bytes());
        }
        Field::Bool => out.bool(choices.once_in(2)),
        Field::Reclaim => out.bool(choices.once_in(8)),
        Field::Range => {
            let ends: [u64; 2] = match choices.below(8) {
                0 => [choices.long(), choices.long()],
                1 => [0, 0],
                _ => [u64::from(choices.byte() % 16), u64::from(choices.byte() % 4)],
            };
            ends.iter().for_each(|end| out.u64(*end));
        }
        Field::Opaque => {
            let len = choices.pick(&[0, 1, 1, 1, 1, 1, 1, 1024]);
            let byte = choices.byte() & 3;
            out.opaque(&vec![byte; len]);
        }
        Field::Host => {
            let host = choices.pick(&["", "a", "b", "a.example", "127.0.0.1", "127.0.0.3", "::1"]);
            let longer = choices.pick(&[0, 0, 0, 0, 0, 0, 0, 256]);
            out.opaque(format!("{host}{}", "x".repeat(longer)).as_bytes());
        }
        Field::Protocol => out.u32(choices.pick(&[6, 17, 0, 132])),
        Field::Program => out.u32(choices.pick(&[100_000, 100_003, 100_005, 100_021, 100_024, 0, u32::MAX])),
        Field::NetId => out.opaque(choices.pick(&["tcp", "udp", "tcp6", "udp6", "", "local"]).as_bytes()),
    }
}

fn time(choices: &mut Choices<'_>) -> NfsTime3 {
    NfsTime3 {
        seconds: choices.number(),
        nseconds: choices.pick(&[0, 1, 999_999_999, 1_000_000_000, u32::MAX]),
    }
}

fn set_time(choices: &mut Choices<'_>) -> SetTime3 {
    match choices.below(4) {
        0 => SetTime3::SetToServerTime,
        1 => SetTime3::SetToClientTime(time(choices)),
        _ => SetTime3::DontChange,
    }
}

fn attributes(choices: &mut Choices<'_>) -> SAttr3 {
    SAttr3 {
        mode: choices.once_in(2).then(|| choices.pick(&[0o777, 0o777, 0o755, 0, u32::MAX])),
        uid: choices.once_in(8).then(|| choices.number()),
        gid: choices.once_in(8).then(|| choices.number()),
        size: choices.once_in(4).then(|| choices.long()),
        atime: set_time(choices),
        mtime: set_time(choices),
    }
}

/// An access ACL and a default ACL, or something like them.
fn acl(choices: &mut Choices<'_>, out: &mut Encoder) {
    out.u32(choices.pick(&[15, 15, 5, 1, 10, 0, 16]));
    for default in [0, AclTag::DEFAULT] {
        let full: &[u32] = &[
            AclTag::USER_OBJ,
            AclTag::USER,
            AclTag::GROUP_OBJ,
            AclTag::GROUP,
            AclTag::CLASS_OBJ,
            AclTag::OTHER_OBJ,
        ];
        let tags =
            choices.pick(&[full, &[AclTag::USER_OBJ, AclTag::GROUP_OBJ, AclTag::OTHER_OBJ], &full[1..], &[]]);
        let len = u32::try_from(tags.len()).unwrap_or(0);
        out.u32(if choices.once_in(32) { choices.number() } else { len });
        out.u32(len);
        for tag in tags {
            let id = choices.pick(&[0, 1000, 1001, u32::MAX]);
            out.put(&AclEnt { tag: tag | default, id, perm: choices.pick(&[7, 6, 4, 0, 8]) });
        }
    }
}

/// `count`, `stable` and the data of WRITE. The data is mostly as long as it is said to be.
fn data(choices: &mut Choices<'_>, out: &mut Encoder) {
    let len = choices.pick(&[0, 1, 7, 100, 4096, 4097, 65_536, 70_000, 300_000, 1 << 20]);
    let said = if choices.once_in(8) { choices.number() } else { u32::try_from(len).unwrap_or(0) };
    out.u32(said);
    out.u32(choices.pick(&[0, 0, 1, 2, 2, 3]));
    out.opaque(&vec![choices.byte(); len]);
}
