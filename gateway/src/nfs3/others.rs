//! What clients of other protocols have of the files that a call is about: what they keep to themselves they give up first,
//! and what they deny to others is denied. ARCHITECTURE.md has the table.

use super::status::NfsStat3;
use crate::openstate::{Access, BreakWait, Deed, FileKey, Protocol};
use crate::vserver::{Caller, Target};
use bytes::Bytes;
use std::time::Duration;

/// A call waits so long for others, outside of the gate. Then its client is told to come again, as it does by itself.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// A file that a call is about, and what it does with it.
pub(super) type Touched = (FileKey, Deed);

/// The file that a handle names.
pub(super) fn file(caller: &Caller, handle: &Bytes, deed: Deed) -> Vec<Touched> {
    let key = |target: Target<'_>| (FileKey { volume: target.mount.id, file: target.file }, deed);
    caller.target(handle).map(key).into_iter().collect()
}

/// The file that a name in a directory is of, if there is one.
pub(super) fn named(caller: &Caller, dir: &Bytes, name: &Bytes, deed: Deed) -> Vec<Touched> {
    let Ok(dir) = caller.target(dir) else { return Vec::new() };
    let found = dir.mount.volume.lookup(&dir.cx, dir.file, name);
    found.map(|attr| (FileKey { volume: dir.mount.id, file: attr.id }, deed)).into_iter().collect()
}

/// Others who are in the way of a call.
pub(super) enum InWay {
    Nobody,
    /// They are giving up what they keep.
    Wait(BreakWait),
    /// They have said that nobody may do so.
    Denied(NfsStat3),
}

/// Has others give up what is in the way. Who removes or renames a file asks nobody's leave, as on any UNIX.
pub(super) fn in_way(caller: &Caller, touched: &[Touched]) -> InWay {
    let locks = &caller.vserver.locks;
    for (file, deed) in touched {
        let access = match deed {
            Deed::Read => Access { read: true, ..Access::default() },
            Deed::Change => Access { write: true, ..Access::default() },
            Deed::Unname => Access::default(),
        };
        let denied = locks.is_denied_by(Protocol::Smb2, *file, access);
        // A handle that is open in a client's cache alone denies nothing once it is closed.
        let deed = if denied { Deed::Unname } else { *deed };
        match locks.contend(*file, deed, None) {
            Some(wait) => return InWay::Wait(wait),
            None if denied => return InWay::Denied(NfsStat3::Acces),
            None => {}
        }
    }
    InWay::Nobody
}
