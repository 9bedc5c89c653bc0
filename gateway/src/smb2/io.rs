//! READ, WRITE and FLUSH (MS-SMB2 §3.3.5.11 to §3.3.5.13). Payloads are handed on, not copied. What is written is durable after FLUSH, or at once where the client says write-through.

use super::dispatch::Asked;
use super::open::Open;
use super::reply::{Body, Failure, Reply};
use super::wire::create::access;
use super::wire::io::*;
use super::wire::plain::FlushResponse;
use super::wire::status::NtStatus;
use crate::openstate::{ByteRange, Deed};
use crate::vserver::Vserver;
use crate::xdr::Tail;
use fsstore::{Context, FileKind, FsError, Op, Volume};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A write of more bytes goes to a thread that may block: it spends long enough in the volume to hold up the other
/// requests of its connection.
const INLINE_WRITE_LEN_MAX: usize = 64 << 10;

/// Runs volume work that may wait for the disk on a thread where that is allowed.
pub(super) async fn off_thread<T: Send + 'static>(
    volume: &Arc<Volume>,
    cx: &Context,
    work: impl FnOnce(&Volume, &Context) -> Result<T, FsError> + Send + 'static,
) -> Result<T, Failure> {
    let (volume, cx) = (Arc::clone(volume), cx.clone());
    match tokio::task::spawn_blocking(move || work(&volume, &cx)).await {
        Ok(result) => result.map_err(Failure::from),
        Err(error) => {
            tracing::error!(%error, "a volume operation ended without a result");
            Err(NtStatus::INTERNAL_ERROR.into())
        }
    }
}

/// Whether a lock keeps this open from the range.
pub(super) fn check_locks(
    vserver: &Vserver,
    open: &Open,
    offset: u64,
    len: u64,
    writes: bool,
) -> Result<(), NtStatus> {
    if len == 0 {
        return Ok(());
    }
    let range = ByteRange::new(offset, len);
    match vserver.locks.barring(open.key, &open.owner, range, writes) {
        None => Ok(()),
        Some(_) => Err(NtStatus::FILE_LOCK_CONFLICT),
    }
}

fn check_range(asked: &Asked, offset: u64, len: usize) -> Result<(), NtStatus> {
    let most = asked.agreed().map_or(0, super::negotiate::Agreed::transfer_max);
    let end = offset.checked_add(len as u64);
    let fits = len <= most as usize && end.is_some_and(|end| end <= i64::MAX as u64);
    if fits { Ok(()) } else { Err(NtStatus::INVALID_PARAMETER) }
}

/// Reads.
pub(super) async fn read(asked: &Asked, request: ReadRequest) -> Reply {
    let open = asked.session.open(asked.id(request.file_id)?, &asked.tree)?;
    let vserver = &asked.connection.listener.vserver;
    open.may(access::READ_DATA | access::EXECUTE)?;
    if open.kind == FileKind::Dir {
        return Err(NtStatus::INVALID_DEVICE_REQUEST.into());
    }
    let (offset, len) = (request.offset, request.length as usize);
    check_range(asked, offset, len)?;
    check_locks(vserver, &open, offset, len as u64, false)?;
    let (volume, cx, file) = (open.volume(vserver)?, open.context(), open.key.file);
    let done = match volume.read_cached(&cx, file, offset, len)? {
        Some(done) => done,
        None => off_thread(&volume, &cx, move |volume, cx| volume.read_rope(cx, file, offset, len)).await?,
    };
    let count = u32::try_from(done.data.len()).unwrap_or(request.length);
    vserver.qos.count_read(count);
    if count < request.minimum_count || count == 0 && len > 0 {
        return Err(NtStatus::END_OF_FILE.into());
    }
    open.position.store(offset.saturating_add(count.into()), Ordering::Relaxed);
    let response = ReadResponse { data_length: count };
    Ok(Body::of(|out| response.encode(out)).with_tail(Tail::Pages(done.data)))
}

/// Writes.
pub(super) async fn write(asked: &Asked, request: WriteRequest) -> Reply {
    let open = asked.session.open(asked.id(request.file_id)?, &asked.tree)?;
    let vserver = &asked.connection.listener.vserver;
    open.may(access::WRITE_DATA | access::APPEND_DATA)?;
    let len = request.data.len();
    check_range(asked, request.offset, len)?;
    check_locks(vserver, &open, request.offset, len as u64, true)?;
    // Nobody who may write has to wait: what others have written is back since they let this one in.
    vserver.locks.contend(open.key, Deed::Change, Some(&open.owner));
    let (volume, cx) = (open.volume(vserver)?, open.context());
    let op = Op::Write { file: open.key.file, offset: request.offset, data: request.data };
    let done = if len <= INLINE_WRITE_LEN_MAX {
        open.write(&volume, &cx, op)?
    } else {
        let open = Arc::clone(&open);
        off_thread(&volume, &cx, move |volume, cx| open.write(volume, cx, op)).await?
    };
    if open.write_through || request.flags & WRITE_THROUGH != 0 {
        volume.durable(done.lsn).await?;
    }
    let response = WriteResponse { count: u32::try_from(done.count).unwrap_or(u32::MAX) };
    Ok(Body::of(|out| response.encode(out)))
}

/// Makes durable what was done. Of the whole volume: its log is one, so a part would cost the same.
pub(super) async fn flush(asked: &Asked) -> Reply {
    let request = FlushRequest::decode(&asked.message)?;
    let open = asked.session.open(asked.id(request.file_id)?, &asked.tree)?;
    open.may(access::WRITE_DATA | access::APPEND_DATA)?;
    let volume = open.volume(&asked.connection.listener.vserver)?;
    volume.durable(volume.last_lsn()).await?;
    open.times.lock().reveal();
    Ok(Body::of(|out| FlushResponse.encode(out)))
}
