//! On whose behalf an NFS call runs, and what its file handles name for that caller: the one place where handles
//! are opened, export policies asked and users squashed. Does no volume operation of its own.

use super::procedures::Procedure;
use super::status::NfsStat3;
use super::types::{FAttr3, FileName3, NfsFh3, PostOpAttr, WccData};
use crate::handle::{FileHandle, VolumeId};
use crate::rpc::auth::Credential;
use crate::vserver::{ExportAccess, ExportPolicies, MountedVolume, Namespace, Squash, Vserver};
use bytes::Bytes;
use fsstore::{Attr, Change, Context, FileId, FsError, Lsn, NAME_MAX, ROOT, Time};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// A failed procedure: its status and the `resfail` branch.
#[derive(Debug)]
pub(super) struct Failed<F> {
    pub(super) status: NfsStat3,
    pub(super) fail: F,
}

impl<F: Default> From<NfsStat3> for Failed<F> {
    fn from(status: NfsStat3) -> Self {
        Failed { status, fail: F::default() }
    }
}

impl<F: Default> From<FsError> for Failed<F> {
    fn from(error: FsError) -> Self {
        Failed::from(NfsStat3::from(error))
    }
}

/// What a procedure's handler gives.
pub(super) type Reply<P> = Result<<P as Procedure>::Ok, Failed<<P as Procedure>::Fail>>;

/// The caller of one request, with the vserver as it was when the request passed the gate.
pub(super) struct Caller {
    pub(super) vserver: Arc<Vserver>,
    pub(super) namespace: Arc<Namespace>,
    pub(super) exports: Arc<ExportPolicies>,
    pub(super) client: IpAddr,
    pub(super) credential: Credential,
    pub(super) now: Time,
}

impl Caller {
    pub(super) fn new(vserver: Arc<Vserver>, client: IpAddr, credential: Credential) -> Self {
        let (namespace, exports) = (vserver.namespace(), vserver.exports());
        Caller { vserver, namespace, exports, client, credential, now: now() }
    }

    /// The file that `handle` names, if the caller's address may reach its volume.
    pub(super) fn target(&self, handle: &NfsFh3) -> Result<Target<'_>, NfsStat3> {
        let opened = FileHandle::open(&handle.0, self.vserver.uuid, self.vserver.handle_key())?;
        let mount = self.namespace.volume(opened.volume).ok_or(NfsStat3::Stale)?;
        self.target_in(mount, opened.file)
    }

    /// The same, for an operation that changes the volume.
    pub(super) fn target_to_change(&self, handle: &NfsFh3) -> Result<Target<'_>, NfsStat3> {
        let target = self.target(handle)?;
        if target.writable { Ok(target) } else { Err(NfsStat3::RoFs) }
    }

    /// A file of a mounted volume, if the caller's address may reach that volume.
    pub(super) fn target_in<'a>(
        &self,
        mount: &'a MountedVolume,
        file: FileId,
    ) -> Result<Target<'a>, NfsStat3> {
        let access = self.exports.check(&mount.policy, self.client).ok_or(NfsStat3::Acces)?;
        Ok(Target { mount, file, writable: access.write, cx: self.context(&access) })
    }

    /// The handle that names `file` for clients.
    pub(super) fn handle(&self, volume: VolumeId, file: FileId) -> NfsFh3 {
        let sealed = FileHandle { volume, file }.seal(self.vserver.uuid, self.vserver.handle_key());
        NfsFh3(Bytes::copy_from_slice(&sealed))
    }

    /// The volume mounted on `name` in `dir`.
    pub(super) fn junction(&self, dir: &Target<'_>, name: &[u8]) -> Option<&MountedVolume> {
        self.namespace.junction_at(dir.mount.id, dir.file, name)
    }

    /// Where `..` of a mounted volume's root leads, out of the volume.
    pub(super) fn above_root(&self, dir: &Target<'_>) -> Option<(&MountedVolume, FileId)> {
        if dir.file != ROOT {
            return None;
        }
        let (parent, parent_dir) = self.namespace.parent_of_root(dir.mount.id)?;
        Some((self.namespace.volume(parent)?, parent_dir))
    }

    fn context(&self, access: &ExportAccess) -> Context {
        let Credential { uid, gid, groups } = &self.credential;
        let squashed = |id: u32, anonymous: u32| if id == 0 { anonymous } else { id };
        match access.squash {
            Squash::None => Context { uid: *uid, gid: *gid, groups: groups.clone(), now: self.now },
            Squash::Root => Context {
                uid: squashed(*uid, access.anon_uid),
                gid: squashed(*gid, access.anon_gid),
                groups: groups.iter().map(|group| squashed(*group, access.anon_gid)).collect(),
                now: self.now,
            },
            Squash::All => {
                Context { uid: access.anon_uid, gid: access.anon_gid, groups: Vec::new(), now: self.now }
            }
        }
    }
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time { secs: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanos: since.subsec_nanos() }
}

/// A file, and as whom the caller may use it.
pub(super) struct Target<'a> {
    pub(super) mount: &'a MountedVolume,
    pub(super) file: FileId,
    /// Whether the export lets this client change the volume.
    pub(super) writable: bool,
    /// The caller after squashing.
    pub(super) cx: Context,
}

impl Target<'_> {
    pub(super) fn attributes(&self, attr: &Attr) -> FAttr3 {
        FAttr3::of(self.mount.id, attr)
    }

    /// `post_op_attr` as of now.
    pub(super) fn post_op(&self) -> PostOpAttr {
        self.mount.volume.getattr(self.file).ok().map(|attr| self.attributes(&attr))
    }

    /// `wcc_data` of what an operation did.
    pub(super) fn wcc(&self, change: Option<&Change>) -> WccData {
        WccData::of(self.mount.id, change)
    }

    /// `wcc_data` that only says how things are now.
    pub(super) fn wcc_now(&self) -> WccData {
        WccData { before: None, after: self.post_op() }
    }

    /// A failure that shows the object's attributes.
    pub(super) fn failed(&self, status: impl Into<NfsStat3>) -> Failed<PostOpAttr> {
        Failed { status: status.into(), fail: self.post_op() }
    }

    /// A failure that shows the object's attributes as `wcc_data`.
    pub(super) fn failed_change(&self, status: impl Into<NfsStat3>) -> Failed<WccData> {
        Failed { status: status.into(), fail: self.wcc_now() }
    }

    /// Waits until the operation `lsn` is durable.
    pub(super) async fn durable(&self, lsn: Lsn) -> Result<(), NfsStat3> {
        self.mount.volume.durable(lsn).await.map_err(NfsStat3::from)
    }
}

/// A name to look up: 1 to 255 bytes without `/` and NUL.
pub(super) fn check_name(name: &FileName3) -> Result<&Bytes, NfsStat3> {
    let name = &name.0;
    if name.is_empty() || name.contains(&b'/') {
        return Err(NfsStat3::Acces);
    }
    if name.contains(&0) {
        return Err(NfsStat3::Inval);
    }
    if name.len() > NAME_MAX {
        return Err(NfsStat3::NameTooLong);
    }
    Ok(name)
}

/// A name to make, remove or rename: as [`check_name`], and neither `.` nor `..`, which get `dots`.
/// Gives a copy: a slice would keep the whole received record for as long as the store caches the name.
pub(super) fn check_entry_name(name: &FileName3, dots: NfsStat3) -> Result<Bytes, NfsStat3> {
    let name = check_name(name)?;
    if matches!(&name[..], b"." | b"..") { Err(dots) } else { Ok(Bytes::copy_from_slice(name)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &[u8]) -> Result<(), NfsStat3> {
        check_name(&FileName3(Bytes::copy_from_slice(name))).map(drop)
    }

    #[test]
    fn names() {
        assert_eq!(check(b"a"), Ok(()));
        assert_eq!(check(b".."), Ok(()));
        assert_eq!(check(&[0xff; 255]), Ok(()));
        assert_eq!(check(&[b'a'; 256]), Err(NfsStat3::NameTooLong));
        assert_eq!(check(b""), Err(NfsStat3::Acces));
        assert_eq!(check(b"a/b"), Err(NfsStat3::Acces));
        assert_eq!(check(b"a\0b"), Err(NfsStat3::Inval));
        let dots = |name: &str| check_entry_name(&name.into(), NfsStat3::Exist).map(drop);
        assert_eq!(dots("."), Err(NfsStat3::Exist));
        assert_eq!(dots(".."), Err(NfsStat3::Exist));
        assert_eq!(dots("..."), Ok(()));
    }
}
