//! NTSTATUS of each [`FsError`]. One exhaustive match; nothing else maps errors.

use super::wire::status::NtStatus;
use fsstore::FsError;

/// What a client is told of a failed operation.
pub(super) fn of(error: &FsError) -> NtStatus {
    match error {
        FsError::NotFound => NtStatus::OBJECT_NAME_NOT_FOUND,
        FsError::Exists => NtStatus::OBJECT_NAME_COLLISION,
        FsError::NotDir => NtStatus::NOT_A_DIRECTORY,
        FsError::IsDir => NtStatus::FILE_IS_A_DIRECTORY,
        FsError::NotEmpty => NtStatus::DIRECTORY_NOT_EMPTY,
        FsError::Access | FsError::Perm => NtStatus::ACCESS_DENIED,
        FsError::Stale => NtStatus::FILE_CLOSED,
        FsError::NameTooLong => NtStatus::OBJECT_NAME_INVALID,
        FsError::Invalid | FsError::BadCookie | FsError::QuotaConfig(_) | FsError::Resize(_) => {
            NtStatus::INVALID_PARAMETER
        }
        FsError::NoSpace => NtStatus::DISK_FULL,
        FsError::Quota => NtStatus::QUOTA_EXCEEDED,
        FsError::CrossDevice => NtStatus::NOT_SAME_DEVICE,
        FsError::FileTooBig => NtStatus::DISK_FULL,
        FsError::TooManyLinks => NtStatus::TOO_MANY_LINKS,
        FsError::ReadOnly => NtStatus::MEDIA_WRITE_PROTECTED,
        FsError::NotSync => NtStatus::FILE_CLOSED,
        FsError::NotSupported => NtStatus::INVALID_DEVICE_REQUEST,
        FsError::Snapshot(_) | FsError::Format(_) => NtStatus::INTERNAL_ERROR,
        FsError::Io(_) => NtStatus::UNEXPECTED_IO_ERROR,
        FsError::Corrupt { .. } => NtStatus::DATA_ERROR,
        FsError::AttrsFull => NtStatus::EA_TOO_LARGE,
    }
}
