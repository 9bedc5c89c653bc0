//! Controls that say or change what a file is: compression, object ids, reparse points.

use super::super::path::shown_target;
use super::super::wire::create::access;
use super::super::wire::fsctl::put_symlink;
use super::super::wire::status::NtStatus;
use super::{Control, Said, success};
use bytes::{BufMut, Bytes, BytesMut};
use fsstore::FileKind;

/// `COMPRESSION_FORMAT_NONE`, MS-FSCC §2.3.20.
const UNCOMPRESSED: [u8; 2] = [0, 0];
/// Bytes of `FILE_OBJECTID_BUFFER`, MS-FSCC §2.1.3.1.
const OBJECT_ID_LEN: usize = 64;

/// FSCTL_GET_COMPRESSION. Nothing is ever compressed.
pub(super) fn compression(control: &Control<'_>) -> Said {
    if control.room() < UNCOMPRESSED.len() {
        return Err(NtStatus::INVALID_USER_BUFFER.into());
    }
    success(&UNCOMPRESSED[..])
}

/// FSCTL_SET_COMPRESSION: only to what is there.
pub(super) fn set_compression(control: &Control<'_>) -> Said {
    control.open.may(access::WRITE_DATA)?;
    match control.request.input.first_chunk::<2>() {
        Some(&UNCOMPRESSED) => success(Bytes::new()),
        Some(_) => Err(NtStatus::NOT_SUPPORTED.into()),
        None => Err(NtStatus::INVALID_PARAMETER.into()),
    }
}

/// FSCTL_CREATE_OR_GET_OBJECT_ID: the file's number stands for it, for ever, and the volume's UUID for where it was made.
pub(super) fn object_id(control: &Control<'_>) -> Said {
    let file = control.open.base.file;
    let volume = control.open.volume(control.vserver())?;
    let mut out = BytesMut::with_capacity(OBJECT_ID_LEN);
    let put_id = |out: &mut BytesMut| {
        out.put_u64_le(file.ino.0);
        out.put_u64_le(file.generation.0.into());
    };
    put_id(&mut out);
    out.put_slice(volume.uuid().as_bytes());
    put_id(&mut out);
    out.put_bytes(0, OBJECT_ID_LEN - out.len());
    out.truncate(control.room());
    success(out)
}

/// FSCTL_GET_REPARSE_POINT: where a symbolic link leads.
pub(super) fn reparse_point(control: &Control<'_>) -> Said {
    let open = &control.open;
    if open.kind != FileKind::Symlink {
        return Err(NtStatus::NOT_A_REPARSE_POINT.into());
    }
    let (target, _) = open.volume(control.vserver())?.readlink(&open.context(), open.key.file)?;
    let mut out = BytesMut::new();
    let (target, relative) = shown_target(&target);
    put_symlink(&target, relative, &mut out);
    success(out)
}
