//! Controls of byte ranges: holes.

use super::super::io::{check_locks, off_thread};
use super::super::wire::create::access;
use super::super::wire::fsctl::{decode_allocated_ranges, decode_zero_data, put_allocated_range};
use super::super::wire::status::NtStatus;
use super::{Control, Said, success};
use bytes::{Bytes, BytesMut};
use fsstore::{Context, FileId, FileKind, FsError, Op, SeekWhat, Volume};
use std::ops::Range;

/// Bytes of an entry of FSCTL_QUERY_ALLOCATED_RANGES' answer.
const RANGE_LEN: usize = 16;
/// Entries in one answer. Who gets so many asks again behind them.
const RANGES_MAX: usize = 4096;

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
    let range = asked.start..asked.end.min(open.attr(vserver)?.size);
    let (volume, cx, file) = (open.volume(vserver)?, open.context(), open.key.file);
    let most = room.min(RANGES_MAX);
    let (found, whole) =
        off_thread(&volume, &cx, move |volume, cx| data_in(volume, cx, file, range, most)).await?;
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
