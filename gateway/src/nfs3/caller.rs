//! What NFS procedures have in common: how they fail, what they say about the file that they are about, which names they take.

use super::procedures::Procedure;
use super::status::NfsStat3;
use super::types::{FAttr3, FileName3, NfsFh3, PostOpAttr, WccData};
use crate::handle::VolumeId;
use crate::vserver::{Caller, Target, Unreachable};
use bytes::Bytes;
use fsstore::{Attr, Change, FileId, FsError, Lsn, NAME_MAX};

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

impl From<Unreachable> for NfsStat3 {
    fn from(why: Unreachable) -> Self {
        match why {
            Unreachable::BadHandle => NfsStat3::BadHandle,
            Unreachable::Stale => NfsStat3::Stale,
            Unreachable::Access => NfsStat3::Acces,
            Unreachable::ReadOnly => NfsStat3::RoFs,
        }
    }
}

impl<F: Default> From<Unreachable> for Failed<F> {
    fn from(why: Unreachable) -> Self {
        Failed::from(NfsStat3::from(why))
    }
}

/// The handle that names `file` for clients.
pub(super) fn handle(caller: &Caller, volume: VolumeId, file: FileId) -> NfsFh3 {
    NfsFh3(Bytes::copy_from_slice(&caller.handle(volume, file)))
}

/// How NFS tells clients about a file.
pub(super) trait Shown {
    /// `fattr3` of these attributes.
    fn attributes(&self, attr: &Attr) -> FAttr3;
    /// `post_op_attr` as of now.
    fn post_op(&self) -> PostOpAttr;
    /// `wcc_data` of what an operation did.
    fn wcc(&self, change: Option<&Change>) -> WccData;
    /// Waits until the operation `lsn` is durable.
    async fn durable(&self, lsn: Lsn) -> Result<(), NfsStat3>;

    /// `wcc_data` that only says how things are now.
    fn wcc_now(&self) -> WccData {
        WccData { before: None, after: self.post_op() }
    }

    /// A failure that shows the object's attributes.
    fn failed(&self, status: impl Into<NfsStat3>) -> Failed<PostOpAttr> {
        Failed { status: status.into(), fail: self.post_op() }
    }

    /// A failure that shows the object's attributes as `wcc_data`.
    fn failed_change(&self, status: impl Into<NfsStat3>) -> Failed<WccData> {
        Failed { status: status.into(), fail: self.wcc_now() }
    }
}

impl Shown for Target<'_> {
    fn attributes(&self, attr: &Attr) -> FAttr3 {
        FAttr3::of(self.mount.id, attr)
    }

    fn post_op(&self) -> PostOpAttr {
        self.mount.volume.getattr(self.file).ok().map(|attr| self.attributes(&attr))
    }

    fn wcc(&self, change: Option<&Change>) -> WccData {
        WccData::of(self.mount.id, change)
    }

    async fn durable(&self, lsn: Lsn) -> Result<(), NfsStat3> {
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
