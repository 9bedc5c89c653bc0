//! Controls of byte ranges: holes.

use super::super::io::{check_locks, off_thread};
use super::super::shown;
use super::super::wire::create::access;
use super::super::wire::fsctl::{
    decode_allocated_ranges, decode_set_sparse, decode_zero_data, put_allocated_range,
};
use super::super::wire::status::NtStatus;
use super::{Control, Said, success};
use crate::openstate::Deed;
use bytes::{Bytes, BytesMut};
use fsstore::{Attr, Context, DosAttributes, FileId, FileKind, FsError, Op, SeekWhat, SetAttrs, Volume};
use std::ops::Range;

/// Bytes of an entry of FSCTL_QUERY_ALLOCATED_RANGES' answer.
const RANGE_LEN: usize = 16;
/// Entries in one answer. Who gets so many asks again behind them.
const RANGES_MAX: usize = 4096;

/// Whether a file calls itself sparse.
pub(super) fn is_sparse(attr: &Attr) -> bool {
    attr.dos.is_some_and(|dos| dos.has(DosAttributes::SPARSE))
}

/// FSCTL_SET_SPARSE: what the file is called from now on. Any file may have holes.
pub(super) fn set_sparse(control: &Control<'_>) -> Said {
    let open = &control.open;
    open.may(access::WRITE_DATA | access::APPEND_DATA | access::WRITE_ATTRIBUTES)?;
    if open.kind != FileKind::File {
        return Err(NtStatus::INVALID_PARAMETER.into());
    }
    let (vserver, sparse) = (control.vserver(), decode_set_sparse(&control.request.input));
    let attr = open.attr(vserver)?;
    if is_sparse(&attr) != sparse {
        let shown = shown::attributes(&attr, &open.name.lock().name);
        let bit = if sparse { DosAttributes::SPARSE } else { 0 };
        let dos = Some(DosAttributes(shown::settable(shown).0 | bit));
        let attrs = SetAttrs { dos, ..SetAttrs::default() };
        // Not as the user: who may write the file may say so without being its owner.
        let cx = Context::root(open.context().now);
        open.volume(vserver)?.execute(&cx, Op::SetAttr { file: open.base.file, attrs, guard: None })?;
    }
    success(Bytes::new())
}

/// FSCTL_SET_ZERO_DATA: makes a hole. The file stays as long as it is.
pub(super) async fn zero(control: &Control<'_>) -> Said {
    let open = &control.open;
    open.may(access::WRITE_DATA)?;
    let range = decode_zero_data(&control.request.input)?;
    let len = range.end - range.start;
    if len == 0 {
        return success(Bytes::new());
    }
    check_locks(control.vserver(), open, range.start, len, true)?;
    control.vserver().locks.contend(open.key, Deed::Change, Some(&open.owner));
    let (volume, cx, file) = (open.volume(control.vserver())?, open.context(), open.key.file);
    let op = Op::Deallocate { file, offset: range.start, len };
    let done = off_thread(&volume, &cx, move |volume, cx| volume.execute(cx, op)).await?;
    if open.write_through {
        volume.durable(done.lsn).await?;
    }
    success(Bytes::new())
}

/// FSCTL_QUERY_ALLOCATED_RANGES. A file that does not call itself sparse has all that it has.
pub(super) async fn allocated(control: &Control<'_>) -> Said {
    let open = &control.open;
    open.may(access::READ_DATA)?;
    let asked = decode_allocated_ranges(&control.request.input)?;
    if open.kind != FileKind::File {
        return Err(NtStatus::INVALID_PARAMETER.into());
    }
    let (vserver, room) = (control.vserver(), control.room() / RANGE_LEN);
    let attr = open.attr(vserver)?;
    let range = asked.start..asked.end.min(attr.size);
    let sparse = is_sparse(&attr);
    let (volume, cx, file) = (open.volume(vserver)?, open.context(), open.key.file);
    let most = room.min(RANGES_MAX);
    let (found, whole) = match (sparse, range.is_empty()) {
        (_, true) => (Vec::new(), true),
        (false, false) if most == 0 => (Vec::new(), false),
        (false, false) => (vec![range], true),
        (true, false) => {
            off_thread(&volume, &cx, move |volume, cx| data_in(volume, cx, file, range, most)).await?
        }
    };
    if !whole && found.is_empty() {
        return Err(NtStatus::BUFFER_TOO_SMALL.into());
    }
    let mut out = BytesMut::with_capacity(found.len() * RANGE_LEN);
    found.iter().for_each(|part| put_allocated_range(part.start, part.end - part.start, &mut out));
    Ok((out.freeze(), if whole { NtStatus::SUCCESS } else { NtStatus::BUFFER_OVERFLOW }))
}

/// Up to `most` parts of a range that are no holes, and whether they are all.
fn data_in(
    volume: &Volume,
    cx: &Context,
    file: FileId,
    range: Range<u64>,
    most: usize,
) -> Result<(Vec<Range<u64>>, bool), FsError> {
    let mut found = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let Some(start) = volume.seek(cx, file, at, SeekWhat::Data)?.filter(|start| *start < range.end)
        else {
            break;
        };
        if found.len() == most {
            return Ok((found, false));
        }
        let end = volume.seek(cx, file, start, SeekWhat::Hole)?.unwrap_or(range.end).min(range.end);
        found.push(start..end);
        at = end;
    }
    Ok((found, true))
}
