//! Which previous versions there are of what is in a volume.

use super::super::previous;
use super::super::wire::fsctl::{SNAPSHOTS_MIN, put_snapshots};
use super::super::wire::status::NtStatus;
use super::{Control, Said, success};
use bytes::BytesMut;

/// FSCTL_SRV_ENUMERATE_SNAPSHOTS (§3.3.5.15.1): the snapshots of the file's volume.
pub(super) fn snapshots(control: &Control<'_>) -> Said {
    if control.room() < SNAPSHOTS_MIN {
        return Err(NtStatus::INVALID_PARAMETER.into());
    }
    let tokens = previous::tokens(&*control.open.volume(control.vserver())?);
    let mut out = BytesMut::new();
    put_snapshots(tokens.iter().map(String::as_str), control.room(), &mut out);
    success(out)
}
