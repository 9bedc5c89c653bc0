//! NFSACL version 3, the protocol beside NFSv3 by which Linux and Solaris clients read and set POSIX ACLs: GETACL and SETACL. No RFC
//! has it; names are those of Solaris' `nfs_acl.x`, behaviour is Linux' server's. What an ACL means is in `posix`.

mod posix;
#[cfg(test)]
mod tests;
mod types;

pub use types::{
    AclEnt, AclTag, GetAcl, GetAcl3Args, GetAcl3ResOk, NFS_ACL, NFS_ACL_PROGRAM, NFS_ACLCNT, NFS_DFACL,
    NFS_DFACLCNT, SecAttr, SetAcl, SetAcl3Args,
};

use super::caller::{Reply, Shown};
use super::dispatch::Handler;
use super::status::NfsStat3;
use crate::vserver::{Caller, Target};
use fsstore::{ACES_MAX, Done, FileKind, Op};
use posix::PosixAcl;

impl Handler for GetAcl {
    async fn handle(caller: &Caller, args: GetAcl3Args) -> Reply<Self> {
        let target = caller.target(&args.fh.0)?;
        let read = || -> Result<GetAcl3ResOk, NfsStat3> {
            let volume = &target.mount.volume;
            let (acl, attr) = (volume.acl(target.file)?, volume.getattr(target.file)?);
            let owners = (attr.uid, attr.gid);
            let (access, default) = posix::of_list(&acl, attr.uid, attr.kind == FileKind::Dir);
            let wanted = SecAttr::empty(args.mask).ok_or(NfsStat3::Inval)?;
            let acl =
                wanted.with(&access.entries(owners), &default.map_or(vec![], |acl| acl.entries(owners)));
            Ok(GetAcl3ResOk { attr: Some(target.attributes(&attr)), acl })
        };
        read().map_err(|status| target.failed(status))
    }
}

impl Handler for SetAcl {
    const ONCE: bool = true;

    async fn handle(caller: &Caller, args: SetAcl3Args) -> Reply<Self> {
        let target = caller.target_to_change(&args.fh.0)?;
        let done = set(&target, &args.acl).map_err(|status| target.failed(status))?;
        target.durable(done.lsn).await?;
        Ok(Some(target.attributes(&done.object.after)))
    }
}

/// Replaces both ACLs of a file: one that the client didn't send is taken away.
fn set(target: &Target<'_>, acl: &SecAttr) -> Result<Done, NfsStat3> {
    let volume = &target.mount.volume;
    let attr = volume.getattr(target.file)?;
    let dir = attr.kind == FileKind::Dir;
    if attr.kind == FileKind::Symlink {
        return Err(NfsStat3::NotSupp);
    }
    let sent = |part: u32, entries| {
        if acl.mask & part == 0 { Ok(None) } else { PosixAcl::of_entries(entries) }
    };
    let access = sent(NFS_ACL, &acl.aclent)?.unwrap_or_else(|| PosixAcl::of_mode(attr.mode));
    let default = sent(NFS_DFACL, &acl.dfaclent)?;
    if default.is_some() && !dir {
        return Err(NfsStat3::Acces);
    }
    let list = posix::list(&access, default.as_ref(), dir);
    if list.aces.len() > ACES_MAX {
        return Err(NfsStat3::NoSpc);
    }
    Ok(volume.execute(&target.cx, Op::SetAcl { file: target.file, acl: Some(list) })?)
}
