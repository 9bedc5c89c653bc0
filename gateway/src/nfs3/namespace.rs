//! The procedures that make, move and remove names: CREATE, MKDIR, SYMLINK, MKNOD, REMOVE, RMDIR, RENAME and LINK
//! (RFC 1813 §3.3.8 to §3.3.15). Each is answered when it is durable.

use super::attr::set_attrs;
use super::caller::{Failed, Reply, Shown, check_entry_name, handle};
use super::dispatch::Handler;
use super::others::{self, Touched};
use super::procedures::*;
use super::status::NfsStat3;
use super::types::{DirOpArgs3, FType3, FileName3, SAttr3, WccData};
use crate::openstate::Deed;
use crate::vserver::{Caller, Target};
use bytes::Bytes;
use fsstore::{CreateHow, Done, FileKind, Op, SetAttrs};
use std::net::IpAddr;

/// Makes a name in `place` with the operation that `make` builds, and answers as CREATE does.
async fn create(
    caller: &Caller,
    place: &DirOpArgs3,
    make: impl FnOnce(&Target<'_>, Bytes) -> Result<Op, NfsStat3> + Send,
) -> Result<Create3ResOk, Failed<WccData>> {
    let dir = caller.target_to_change(&place.dir.0)?;
    let run = || {
        let name = check_entry_name(&place.name, NfsStat3::Exist)?;
        let op = make(&dir, name)?;
        dir.mount.volume.execute(&dir.cx, op).map_err(NfsStat3::from)
    };
    let done = run().map_err(|status| dir.failed_change(status))?;
    dir.durable(done.lsn).await?;
    Ok(Create3ResOk {
        obj: Some(handle(caller, dir.mount.id, done.object.after.id)),
        obj_attributes: Some(dir.attributes(&done.object.after)),
        dir_wcc: dir.wcc(done.dir.as_ref()),
    })
}

/// The attributes of something new that has no size of its own.
fn new_attrs(wire: &SAttr3) -> Result<SetAttrs, NfsStat3> {
    set_attrs(wire).map(|attrs| SetAttrs { size: None, ..attrs })
}

/// The verifier of an exclusive CREATE, made the client's own: Linux makes it of its clock since boot and a process's number, which two
/// machines that began alike have in common, and then both would be told that they made the file (RFC 1813 §3.3.8).
fn of_client(verifier: [u8; 8], client: IpAddr) -> [u8; 8] {
    let address = match client {
        IpAddr::V4(address) => u64::from(u32::from(address)),
        IpAddr::V6(address) => {
            let (high, low) = (u128::from(address) >> 64, u128::from(address) & u128::from(u64::MAX));
            u64::try_from(high ^ low).unwrap_or(0)
        }
    };
    (u64::from_be_bytes(verifier) ^ address.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_be_bytes()
}

impl Handler for Create {
    const ONCE: bool = true;

    fn touches(caller: &Caller, args: &Create3Args) -> Vec<Touched> {
        match &args.how {
            CreateHow3::Unchecked(attributes) if attributes.size.is_some() => {
                others::named(caller, &args.place.dir.0, &args.place.name.0, Deed::Change)
            }
            _ => Vec::new(),
        }
    }

    async fn handle(caller: &Caller, args: Create3Args) -> Reply<Self> {
        create(caller, &args.place, |dir, name| {
            let how = match &args.how {
                CreateHow3::Unchecked(attributes) => CreateHow::Unchecked(set_attrs(attributes)?),
                CreateHow3::Guarded(attributes) => CreateHow::Guarded(set_attrs(attributes)?),
                CreateHow3::Exclusive(verifier) => CreateHow::Exclusive(of_client(*verifier, caller.client)),
            };
            Ok(Op::Create { dir: dir.file, name, how })
        })
        .await
    }
}

impl Handler for MkDir {
    const ONCE: bool = true;

    async fn handle(caller: &Caller, args: MkDir3Args) -> Reply<Self> {
        create(caller, &args.place, |dir, name| {
            Ok(Op::Mkdir { dir: dir.file, name, attrs: new_attrs(&args.attributes)? })
        })
        .await
    }
}

impl Handler for SymLink {
    const ONCE: bool = true;

    async fn handle(caller: &Caller, args: SymLink3Args) -> Reply<Self> {
        create(caller, &args.place, |dir, name| {
            let attrs = new_attrs(&args.symlink_attributes)?;
            // A slice would keep the whole received record for as long as the target is cached.
            let target = Bytes::copy_from_slice(&args.symlink_data.0);
            Ok(Op::Symlink { dir: dir.file, name, target, attrs })
        })
        .await
    }
}

impl Handler for MkNod {
    const ONCE: bool = true;

    async fn handle(caller: &Caller, args: MkNod3Args) -> Reply<Self> {
        create(caller, &args.place, |dir, name| {
            let (kind, attributes, rdev) = match &args.what {
                MkNodData3::Device(kind, attributes, spec) => {
                    (kind, attributes, (spec.specdata1, spec.specdata2))
                }
                MkNodData3::Pipe(kind, attributes) => (kind, attributes, (0, 0)),
                MkNodData3::Other(_) => return Err(NfsStat3::BadType),
            };
            let kind = match kind {
                FType3::Chr => FileKind::CharDevice,
                FType3::Blk => FileKind::BlockDevice,
                FType3::Sock => FileKind::Socket,
                FType3::Fifo => FileKind::Fifo,
                FType3::Reg | FType3::Dir | FType3::Lnk => return Err(NfsStat3::BadType),
            };
            // As mknod(2): anybody may make a pipe or a socket, only the superuser a device.
            if matches!(kind, FileKind::CharDevice | FileKind::BlockDevice) && dir.cx.uid != 0 {
                return Err(NfsStat3::Perm);
            }
            Ok(Op::Mknod { dir: dir.file, name, kind, rdev, attrs: new_attrs(attributes)? })
        })
        .await
    }
}

/// A name in `dir` that a call wants to remove or rename. What a volume is mounted on stays where it is.
fn removable(caller: &Caller, dir: &Target<'_>, name: &FileName3) -> Result<Bytes, NfsStat3> {
    let name = check_entry_name(name, NfsStat3::Inval)?;
    if caller.junction(dir, &name).is_some() { Err(NfsStat3::Acces) } else { Ok(name) }
}

/// Removes the name in `place` with the operation that `remove` builds.
async fn remove(
    caller: &Caller,
    place: &DirOpArgs3,
    remove: impl FnOnce(&Target<'_>, Bytes) -> Op + Send,
) -> Result<WccData, Failed<WccData>> {
    let dir = caller.target_to_change(&place.dir.0)?;
    let run = || {
        let op = remove(&dir, removable(caller, &dir, &place.name)?);
        dir.mount.volume.execute(&dir.cx, op).map_err(NfsStat3::from)
    };
    let done: Done = run().map_err(|status| dir.failed_change(status))?;
    dir.durable(done.lsn).await?;
    Ok(dir.wcc(done.dir.as_ref()))
}

impl Handler for Remove {
    const ONCE: bool = true;

    fn touches(caller: &Caller, args: &DirOpArgs3) -> Vec<Touched> {
        others::named(caller, &args.dir.0, &args.name.0, Deed::Unname)
    }

    async fn handle(caller: &Caller, args: DirOpArgs3) -> Reply<Self> {
        remove(caller, &args, |dir, name| Op::Remove { dir: dir.file, name }).await
    }
}

impl Handler for RmDir {
    const ONCE: bool = true;

    async fn handle(caller: &Caller, args: DirOpArgs3) -> Reply<Self> {
        remove(caller, &args, |dir, name| Op::Rmdir { dir: dir.file, name }).await
    }
}

impl Handler for Rename {
    const ONCE: bool = true;

    fn touches(caller: &Caller, args: &Rename3Args) -> Vec<Touched> {
        [&args.from, &args.to]
            .into_iter()
            .flat_map(|place| others::named(caller, &place.dir.0, &place.name.0, Deed::Unname))
            .collect()
    }

    async fn handle(caller: &Caller, args: Rename3Args) -> Reply<Self> {
        let from_dir = caller.target_to_change(&args.from.dir.0)?;
        let to_dir = caller.target_to_change(&args.to.dir.0)?;
        let run = || {
            if from_dir.mount.id != to_dir.mount.id {
                return Err(NfsStat3::XDev);
            }
            let from = removable(caller, &from_dir, &args.from.name)?;
            let to = removable(caller, &to_dir, &args.to.name)?;
            let op = Op::Rename { from_dir: from_dir.file, from, to_dir: to_dir.file, to };
            from_dir.mount.volume.execute(&from_dir.cx, op).map_err(NfsStat3::from)
        };
        let done = run().map_err(|status| {
            let fail = Rename3Res { fromdir_wcc: from_dir.wcc_now(), todir_wcc: to_dir.wcc_now() };
            Failed { status, fail }
        })?;
        from_dir.durable(done.lsn).await?;
        Ok(Rename3Res {
            fromdir_wcc: from_dir.wcc(done.dir.as_ref()),
            todir_wcc: to_dir.wcc(done.to_dir.as_ref().or(done.dir.as_ref())),
        })
    }
}

impl Handler for Link {
    const ONCE: bool = true;

    async fn handle(caller: &Caller, args: Link3Args) -> Reply<Self> {
        let file = caller.target_to_change(&args.file.0)?;
        let dir = caller.target_to_change(&args.link.dir.0)?;
        let run = || {
            if file.mount.id != dir.mount.id {
                return Err(NfsStat3::XDev);
            }
            let name = check_entry_name(&args.link.name, NfsStat3::Exist)?;
            let op = Op::Link { file: file.file, dir: dir.file, name };
            dir.mount.volume.execute(&dir.cx, op).map_err(NfsStat3::from)
        };
        let done = run().map_err(|status| {
            let fail = Link3Res { file_attributes: file.post_op(), linkdir_wcc: dir.wcc_now() };
            Failed { status, fail }
        })?;
        dir.durable(done.lsn).await?;
        Ok(Link3Res {
            file_attributes: Some(file.attributes(&done.object.after)),
            linkdir_wcc: dir.wcc(done.dir.as_ref()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::of_client;

    #[test]
    fn two_clients_never_share_a_verifier_and_one_keeps_its_own() {
        let clients = ["10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"].map(|text| text.parse().unwrap());
        let seen: std::collections::BTreeSet<_> =
            clients.map(|client| of_client(*b"verifier", client)).into();
        assert_eq!(seen.len(), clients.len());
        assert_eq!(of_client(*b"verifier", clients[0]), of_client(*b"verifier", clients[0]));
    }
}
