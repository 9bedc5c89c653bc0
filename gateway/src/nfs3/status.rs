//! `nfsstat3`, and which of them each [`FsError`] is. One exhaustive match; nothing else maps errors.

use crate::xdr::xdr_enum;
use fsstore::FsError;

xdr_enum! {
    /// `nfsstat3`, RFC 1813 §2.6.
    pub enum NfsStat3 {
        /// The call succeeded.
        Ok = 0,
        /// Not owner.
        Perm = 1,
        /// No such file or directory.
        NoEnt = 2,
        /// A hard error of the server.
        Io = 5,
        /// No such device or address.
        NxIo = 6,
        /// Permission denied.
        Acces = 13,
        /// File exists.
        Exist = 17,
        /// A link across file systems.
        XDev = 18,
        /// No such device.
        NoDev = 19,
        /// Not a directory.
        NotDir = 20,
        /// Is a directory.
        IsDir = 21,
        /// Invalid argument, or one that this object does not support.
        Inval = 22,
        /// File too large.
        FBig = 27,
        /// No space left on device.
        NoSpc = 28,
        /// Read-only file system.
        RoFs = 30,
        /// Too many hard links.
        MLink = 31,
        /// The name is too long.
        NameTooLong = 63,
        /// Directory not empty.
        NotEmpty = 66,
        /// Quota exceeded.
        DQuot = 69,
        /// The file that the handle named is gone.
        Stale = 70,
        /// Too many levels of remote in path.
        Remote = 71,
        /// Not a file handle.
        BadHandle = 10001,
        /// SETATTR's guard did not match.
        NotSync = 10002,
        /// READDIR's cookie is stale.
        BadCookie = 10003,
        /// The operation is not supported.
        NotSupp = 10004,
        /// A buffer or request is too small.
        TooSmall = 10005,
        /// An error that maps to no other.
        ServerFault = 10006,
        /// An object of this type can't be made.
        BadType = 10007,
        /// Try again later.
        JukeBox = 10008,
    }
}

impl From<&FsError> for NfsStat3 {
    fn from(error: &FsError) -> Self {
        match error {
            FsError::NotFound => NfsStat3::NoEnt,
            FsError::Exists => NfsStat3::Exist,
            FsError::NotDir => NfsStat3::NotDir,
            FsError::IsDir => NfsStat3::IsDir,
            FsError::NotEmpty => NfsStat3::NotEmpty,
            FsError::Access => NfsStat3::Acces,
            FsError::Perm => NfsStat3::Perm,
            FsError::Stale => NfsStat3::Stale,
            FsError::NameTooLong => NfsStat3::NameTooLong,
            FsError::Invalid => NfsStat3::Inval,
            FsError::NoSpace | FsError::AttrsFull => NfsStat3::NoSpc,
            FsError::Quota => NfsStat3::DQuot,
            FsError::CrossDevice => NfsStat3::XDev,
            FsError::FileTooBig => NfsStat3::FBig,
            FsError::TooManyLinks => NfsStat3::MLink,
            FsError::ReadOnly => NfsStat3::RoFs,
            FsError::NotSync => NfsStat3::NotSync,
            FsError::BadCookie => NfsStat3::BadCookie,
            FsError::NotSupported => NfsStat3::NotSupp,
            FsError::Io(_) | FsError::Corrupt { .. } => NfsStat3::Io,
            FsError::Snapshot(_) | FsError::Format(_) | FsError::Resize(_) | FsError::QuotaConfig(_) => {
                NfsStat3::ServerFault
            }
        }
    }
}

impl From<FsError> for NfsStat3 {
    fn from(error: FsError) -> Self {
        NfsStat3::from(&error)
    }
}
