//! The MOUNT protocol, version 3 (RFC 1813 appendix I): from a path to the first file handle; who has mounted what, as
//! clients tell.

use super::caller::handle;
use super::dispatch::success;
use super::status::NfsStat3;
use super::types::NfsFh3;
use crate::rpc::auth::{AUTH_NONE, AUTH_SYS};
use crate::rpc::call::{Call, Refusal};
use crate::rpc::server::{Outcome, Request};
use crate::vserver::{Caller, Vserver};
use crate::xdr::{Decoder, Encoder, Result as XdrResult, Xdr, xdr_enum};
use bytes::Bytes;
use fsstore::{FileKind, FsError};
use std::sync::Arc;

/// The MOUNT program.
pub const MOUNT_PROGRAM: u32 = 100_005;
/// Its version here.
pub const MOUNT_V3: u32 = 3;
/// `MNTPATHLEN`: longest path, in bytes (RFC 1813 §5.1.2).
pub const MNTPATHLEN: usize = 1024;

/// Longest list that EXPORT or DUMP gives, in bytes; the rest is left out.
const LIST_LEN_MAX: usize = 256 << 10;

/// `MOUNTPROC3_MNT`, RFC 1813 §5.2.1.
pub const MNT: u32 = 1;
const DUMP: u32 = 2;
const UMNT: u32 = 3;
const UMNTALL: u32 = 4;
const EXPORT: u32 = 5;

xdr_enum! {
    /// `mountstat3`, RFC 1813 §5.1.5.
    pub enum MountStat3 {
        /// No error.
        Ok = 0,
        /// Not owner.
        Perm = 1,
        /// No such file or directory.
        NoEnt = 2,
        /// I/O error.
        Io = 5,
        /// Permission denied.
        Acces = 13,
        /// Not a directory.
        NotDir = 20,
        /// Invalid argument.
        Inval = 22,
        /// Path or name too long.
        NameTooLong = 63,
        /// Operation not supported.
        NotSupp = 10004,
        /// A failure on the server.
        ServerFault = 10006,
    }
}

impl From<FsError> for MountStat3 {
    fn from(error: FsError) -> Self {
        match NfsStat3::from(error) {
            NfsStat3::Perm => MountStat3::Perm,
            NfsStat3::NoEnt | NfsStat3::Stale => MountStat3::NoEnt,
            NfsStat3::Io => MountStat3::Io,
            NfsStat3::Acces => MountStat3::Acces,
            NfsStat3::NotDir => MountStat3::NotDir,
            NfsStat3::Inval => MountStat3::Inval,
            NfsStat3::NameTooLong => MountStat3::NameTooLong,
            _ => MountStat3::ServerFault,
        }
    }
}

/// `dirpath`, RFC 1813 §5.1.4.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DirPath(pub Bytes);

impl Xdr for DirPath {
    fn encode(&self, out: &mut Encoder) {
        out.opaque(&self.0);
    }
    fn decode(input: &mut Decoder) -> XdrResult<Self> {
        input.opaque(MNTPATHLEN).map(DirPath)
    }
}

/// `mountres3`, RFC 1813 §5.2.1: the handle, if the mount is granted. The flavors are the server's, both ways.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MountRes3(pub Result<NfsFh3, MountStat3>);

/// The credentials that this server takes, the preferred one first.
const AUTH_FLAVORS: [u32; 2] = [AUTH_SYS, AUTH_NONE];
/// Most flavors that a client reads.
const AUTH_FLAVORS_MAX: u32 = 64;

impl Xdr for MountRes3 {
    fn encode(&self, out: &mut Encoder) {
        match &self.0 {
            Ok(handle) => {
                out.put(&MountStat3::Ok);
                out.put(handle);
                out.u32(2);
                AUTH_FLAVORS.iter().for_each(|flavor| out.u32(*flavor));
            }
            Err(status) => out.put(status),
        }
    }
    fn decode(input: &mut Decoder) -> XdrResult<Self> {
        match input.take()? {
            MountStat3::Ok => {
                let handle = input.take()?;
                for _ in 0..input.u32()?.min(AUTH_FLAVORS_MAX) {
                    input.u32()?;
                }
                Ok(MountRes3(Ok(handle)))
            }
            status => Ok(MountRes3(Err(status))),
        }
    }
}

/// Bytes that the reply to this call may have beyond a small number.
pub(crate) fn reply_len_max(call: &Call) -> usize {
    if matches!(call.proc, DUMP | EXPORT) { LIST_LEN_MAX } else { 0 }
}

/// Runs one call of MOUNT version 3.
pub(crate) async fn run(vserver: &Arc<Vserver>, request: Request) -> Outcome {
    let xid = request.call.xid;
    let (caller, _pass) = match vserver.admit(&request).await {
        Ok(admitted) => admitted,
        Err(outcome) => return outcome,
    };
    let mut out = success(xid);
    match procedure(&caller, request.call.proc, request.args, &mut out) {
        Ok(()) => Outcome::Reply(out.finish()),
        Err(refusal) => Outcome::refused(xid, refusal),
    }
}

/// Runs one procedure and appends its results.
///
/// # Errors
/// [`Refusal`] where there is no such procedure or its arguments are malformed.
fn procedure(caller: &Caller, procedure: u32, args: Bytes, out: &mut Encoder) -> Result<(), Refusal> {
    let mut input = Decoder::new(args);
    match procedure {
        0 => {}
        MNT => {
            let path: DirPath = input.take()?;
            let result = mount(caller, &path);
            match &result {
                Ok(_) => caller.vserver.mounts.add(caller.client, &String::from_utf8_lossy(&path.0)),
                Err(status) => {
                    let path = path.0.escape_ascii();
                    tracing::info!(client = %caller.client, %path, ?status, "mount refused");
                }
            }
            out.put(&MountRes3(result));
        }
        DUMP => dump(caller, out),
        UMNT => {
            let path: DirPath = input.take()?;
            caller.vserver.mounts.remove(caller.client, &String::from_utf8_lossy(&path.0));
        }
        UMNTALL => caller.vserver.mounts.remove_all(caller.client),
        EXPORT => exports(caller, out),
        _ => return Err(Refusal::ProcUnavail),
    }
    Ok(())
}

fn mount(caller: &Caller, path: &DirPath) -> Result<NfsFh3, MountStat3> {
    let path = std::str::from_utf8(&path.0).map_err(|_| MountStat3::NoEnt)?;
    let (volume, file) = caller.namespace.resolve(path)?;
    let mount = caller.namespace.volume(volume).ok_or(MountStat3::NoEnt)?;
    let target = caller.target_in(mount, file).map_err(|_| MountStat3::Acces)?;
    if mount.volume.getattr(target.file)?.kind != FileKind::Dir {
        return Err(MountStat3::NotDir);
    }
    Ok(handle(caller, volume, file))
}

/// `mountlist`, RFC 1813 §5.2.2.
fn dump(caller: &Caller, out: &mut Encoder) {
    let mut left = LIST_LEN_MAX;
    for (client, path) in caller.vserver.mounts.list() {
        let client = client.to_string();
        let Some(rest) = left.checked_sub(client.len() + path.len() + 20) else { break };
        left = rest;
        out.bool(true);
        out.opaque(client.as_bytes());
        out.opaque(path.as_bytes());
    }
    out.bool(false);
}

/// `exports`, RFC 1813 §5.2.5: the volumes that this client may reach, each with the clients that its policy names. No
/// groups means «everybody».
fn exports(caller: &Caller, out: &mut Encoder) {
    let mut left = LIST_LEN_MAX;
    for mount in caller.namespace.mounts().filter(|mount| caller.access(mount).is_some()) {
        let groups: Vec<String> =
            caller.exports.rules_of(&mount.policy).iter().map(|rule| rule.client.to_string()).collect();
        let everybody = groups.iter().any(|group| group == "*");
        let len = |text: &str| text.len() + 12;
        let groups_len: usize = groups.iter().map(|group| len(group)).sum();
        let Some(rest) = left.checked_sub(len(&mount.junction) + groups_len) else { break };
        left = rest;
        out.bool(true);
        out.opaque(mount.junction.as_bytes());
        for group in groups.iter().filter(|_| !everybody) {
            out.bool(true);
            out.opaque(group.as_bytes());
        }
        out.bool(false);
    }
    out.bool(false);
}
