//! GETATTR, SETATTR, LOOKUP, ACCESS and READLINK (RFC 1813 §3.3.1 to §3.3.5).

use super::caller::{Failed, Reply, Shown, check_name, handle};
use super::dispatch::Handler;
use super::others::{self, Touched};
use super::procedures::{
    Access, Access3Args, Access3ResOk, GetAttr, Lookup, Lookup3ResOk, ReadLink, ReadLink3ResOk, SetAttr,
    SetAttr3Args,
};
use super::status::NfsStat3;
use super::types::{DirOpArgs3, NfsFh3, NfsPath3, NfsTime3, SAttr3, SetTime3};
use crate::openstate::Deed;
use crate::vserver::{Caller, Target};
use fsstore::{FsError, Op, ROOT, SetAttrs, SetTime};

/// The attributes to set, as the store takes them.
pub(super) fn set_attrs(wire: &SAttr3) -> Result<SetAttrs, NfsStat3> {
    Ok(SetAttrs {
        mode: wire.mode.map(|mode| mode & 0o7777),
        uid: wire.uid,
        gid: wire.gid,
        size: wire.size,
        atime: set_time(&wire.atime)?,
        mtime: set_time(&wire.mtime)?,
        ..SetAttrs::default()
    })
}

fn set_time(wire: &SetTime3) -> Result<SetTime, NfsStat3> {
    match wire {
        SetTime3::DontChange => Ok(SetTime::Keep),
        SetTime3::SetToServerTime => Ok(SetTime::Now),
        SetTime3::SetToClientTime(NfsTime3 { nseconds: 1_000_000_000.., .. }) => Err(NfsStat3::Inval),
        SetTime3::SetToClientTime(time) => Ok(SetTime::To((*time).into())),
    }
}

impl Handler for GetAttr {
    async fn handle(caller: &Caller, object: NfsFh3) -> Reply<Self> {
        let target = caller.target(&object.0)?;
        let attr = target.mount.volume.getattr(target.file)?;
        Ok(target.attributes(&attr))
    }
}

impl Handler for SetAttr {
    const ONCE: bool = true;

    fn touches(caller: &Caller, args: &SetAttr3Args) -> Vec<Touched> {
        match args.new_attributes.size {
            Some(_) => others::file(caller, &args.object.0, Deed::Change),
            None => Vec::new(),
        }
    }

    async fn handle(caller: &Caller, args: SetAttr3Args) -> Reply<Self> {
        let target = caller.target_to_change(&args.object.0)?;
        let attrs = set_attrs(&args.new_attributes)?;
        let op = Op::SetAttr { file: target.file, attrs, guard: args.guard.map(Into::into) };
        let done =
            target.mount.volume.execute(&target.cx, op).map_err(|error| target.failed_change(error))?;
        target.durable(done.lsn).await?;
        Ok(target.wcc(Some(&done.object)))
    }
}

impl Handler for Lookup {
    async fn handle(caller: &Caller, args: DirOpArgs3) -> Reply<Self> {
        let dir = caller.target(&args.dir.0)?;
        let found = look_up(caller, &dir, &args).map_err(|status| dir.failed(status))?;
        Ok(Lookup3ResOk { dir_attributes: dir.post_op(), ..found })
    }
}

fn look_up(caller: &Caller, dir: &Target<'_>, args: &DirOpArgs3) -> Result<Lookup3ResOk, NfsStat3> {
    let name = check_name(&args.name)?;
    let child = caller.junction(dir, name);
    let attr = match dir.mount.volume.lookup(&dir.cx, dir.file, name) {
        // The directory that a volume is mounted on may be gone; the volume is there all the same.
        Err(FsError::NotFound) if child.is_some() => None,
        found => Some(found?),
    };
    let elsewhere = match (child, &name[..]) {
        (Some(child), _) => Some((child, ROOT)),
        (None, b"..") => caller.above_root(dir),
        _ => None,
    };
    let (object, attributes) = match (elsewhere, attr) {
        (Some((mount, file)), _) => {
            let target = caller.target_in(mount, file)?;
            (handle(caller, mount.id, file), target.post_op())
        }
        (None, Some(attr)) => (handle(caller, dir.mount.id, attr.id), Some(dir.attributes(&attr))),
        (None, None) => return Err(NfsStat3::NoEnt),
    };
    Ok(Lookup3ResOk { object, obj_attributes: attributes, dir_attributes: None })
}

impl Handler for Access {
    async fn handle(caller: &Caller, args: Access3Args) -> Reply<Self> {
        use fsstore::Access;
        const CHANGE: u32 = Access::MODIFY | Access::EXTEND | Access::DELETE;
        let target = caller.target(&args.object.0)?;
        let want = if target.writable { args.access } else { args.access & !CHANGE };
        let (granted, attr) = target
            .mount
            .volume
            .access(&target.cx, target.file, Access(want & 0x3f))
            .map_err(|error| target.failed(error))?;
        Ok(Access3ResOk { obj_attributes: Some(target.attributes(&attr)), access: granted.0 })
    }
}

impl Handler for ReadLink {
    async fn handle(caller: &Caller, symlink: NfsFh3) -> Reply<Self> {
        let target = caller.target(&symlink.0)?;
        let (path, attr) = target
            .mount
            .volume
            .readlink(&target.cx, target.file)
            .map_err(|error| -> Failed<_> { target.failed(error) })?;
        Ok(ReadLink3ResOk { symlink_attributes: Some(target.attributes(&attr)), data: NfsPath3(path) })
    }
}
