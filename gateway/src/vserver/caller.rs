//! On whose behalf a call runs, and what its file handles name for that caller: the one place where handles
//! are opened, export policies asked and users squashed, for every protocol. Does no volume operation of its own.

use super::{ExportAccess, ExportPolicies, MountedVolume, Namespace, Squash, Vserver};
use crate::handle::{FileHandle, HANDLE_LEN, HandleError, VolumeId};
use crate::rpc::auth::Credential;
use fsstore::{Context, FileId, ROOT, Time};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Why a caller does not reach the file that a handle names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unreachable {
    /// Not a handle that this vserver made.
    #[error("not a file handle")]
    BadHandle,
    /// The handle of another vserver, or of a volume that is not here.
    #[error("no such volume")]
    Stale,
    /// The volume's export policy does not let this client in.
    #[error("not exported to this client")]
    Access,
    /// The export policy lets this client read only.
    #[error("exported read-only to this client")]
    ReadOnly,
}

impl From<HandleError> for Unreachable {
    fn from(error: HandleError) -> Self {
        match error {
            HandleError::Bad => Unreachable::BadHandle,
            HandleError::OtherVserver => Unreachable::Stale,
        }
    }
}

/// The caller of one request, with the vserver as it was when the request passed the gate.
pub struct Caller {
    /// Who is called.
    pub vserver: Arc<Vserver>,
    /// Its tree.
    pub namespace: Arc<Namespace>,
    /// Its export policies.
    pub exports: Arc<ExportPolicies>,
    /// The client's address.
    pub client: IpAddr,
    /// Who the client says that its user is.
    pub credential: Credential,
    /// When the call began.
    pub now: Time,
}

impl Caller {
    /// A caller as of now.
    pub fn new(vserver: Arc<Vserver>, client: IpAddr, credential: Credential) -> Self {
        let (namespace, exports) = (vserver.namespace(), vserver.exports());
        Caller { vserver, namespace, exports, client, credential, now: now() }
    }

    /// The file that `handle` names, if the caller's address may reach its volume.
    ///
    /// # Errors
    /// [`Unreachable`].
    pub fn target(&self, handle: &[u8]) -> Result<Target<'_>, Unreachable> {
        let opened = FileHandle::open(handle, self.vserver.uuid, self.vserver.handle_key())?;
        let mount = self.namespace.volume(opened.volume).ok_or(Unreachable::Stale)?;
        self.target_in(mount, opened.file)
    }

    /// The same, for an operation that changes the volume.
    ///
    /// # Errors
    /// [`Unreachable`].
    pub fn target_to_change(&self, handle: &[u8]) -> Result<Target<'_>, Unreachable> {
        let target = self.target(handle)?;
        if target.writable { Ok(target) } else { Err(Unreachable::ReadOnly) }
    }

    /// A file of a mounted volume, if the caller's address may reach that volume.
    ///
    /// # Errors
    /// [`Unreachable::Access`].
    pub fn target_in<'a>(&self, mount: &'a MountedVolume, file: FileId) -> Result<Target<'a>, Unreachable> {
        let access = self.exports.check(&mount.policy, self.client).ok_or(Unreachable::Access)?;
        Ok(Target { mount, file, writable: access.write, cx: self.context(&access) })
    }

    /// The handle that names `file` for clients.
    pub fn handle(&self, volume: VolumeId, file: FileId) -> [u8; HANDLE_LEN] {
        FileHandle { volume, file }.seal(self.vserver.uuid, self.vserver.handle_key())
    }

    /// The volume mounted on `name` in `dir`.
    pub fn junction(&self, dir: &Target<'_>, name: &[u8]) -> Option<&MountedVolume> {
        self.namespace.junction_at(dir.mount.id, dir.file, name)
    }

    /// Where `..` of a mounted volume's root leads, out of the volume.
    pub fn above_root(&self, dir: &Target<'_>) -> Option<(&MountedVolume, FileId)> {
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
pub struct Target<'a> {
    /// The volume that it is in.
    pub mount: &'a MountedVolume,
    /// The file.
    pub file: FileId,
    /// Whether the export lets this client change the volume.
    pub writable: bool,
    /// The caller after squashing.
    pub cx: Context,
}
