//! Copies inside of the server: what the client does not have to carry to itself and back. Blocks are shared where they can be.

use super::super::io::{check_locks, off_thread};
use super::super::open::Open;
use super::super::reply::Failure;
use super::super::wire::FileId;
use super::super::wire::create::access;
use super::super::wire::fsctl::{
    CopyChunk, CopyChunks, DuplicateExtents, ResumeKey, code, put_copied, put_resume_key,
};
use super::super::wire::status::NtStatus;
use super::ranges::is_sparse;
use super::{Control, Said, success};
use crate::openstate::Deed;
use bytes::{Bytes, BytesMut};
use fsstore::{CLONE_MAX, Context, FileKind, FsError, Op, Volume};
use std::sync::Arc;

/// Bytes of one chunk, and of all chunks of a request; as Windows has them (MS-SMB2 §3.3.3).
const CHUNK_BYTES_MAX: u32 = 1 << 20;
const TOTAL_BYTES_MAX: u32 = 16 << 20;
/// Bytes of `SRV_COPYCHUNK_RESPONSE`.
const COPIED_LEN: usize = 12;

/// FSCTL_SRV_REQUEST_RESUME_KEY (§3.3.5.15.4): by which the client will name the file as a source. It is good in its own session only.
pub(super) fn resume_key(control: &Control<'_>) -> Said {
    let id = control.open.id;
    let mut key: ResumeKey = [0; 24];
    key[..8].copy_from_slice(&id.persistent.to_le_bytes());
    key[8..16].copy_from_slice(&id.volatile.to_le_bytes());
    let mut out = BytesMut::new();
    put_resume_key(&key, &mut out);
    success(out)
}

/// The open that a key is of.
fn id_of(key: &ResumeKey) -> Option<FileId> {
    let (persistent, rest) = key.split_first_chunk()?;
    let (volatile, rest) = rest.split_first_chunk()?;
    let id = FileId { persistent: u64::from_le_bytes(*persistent), volatile: u64::from_le_bytes(*volatile) };
    (rest == [0; 8]).then_some(id)
}

/// Bytes that a request asks to have copied; 0 for one that will be refused.
pub(super) fn bytes_asked(input: &[u8]) -> u32 {
    CopyChunks::decode(input).ok().and_then(|request| total(&request)).unwrap_or(0)
}

/// The bytes of all chunks. `None`: beyond the limits.
fn total(request: &CopyChunks) -> Option<u32> {
    let add = |total: u32, chunk: &CopyChunk| {
        let good = (1..=CHUNK_BYTES_MAX).contains(&chunk.length);
        total.checked_add(chunk.length).filter(|total| good && *total <= TOTAL_BYTES_MAX)
    };
    request.chunks.iter().try_fold(0, add)
}

fn copied(status: NtStatus, chunks: u32, chunk_bytes: u32, total: u32) -> Said {
    let mut out = BytesMut::new();
    put_copied(chunks, chunk_bytes, total, &mut out);
    Ok((out.freeze(), status))
}

/// FSCTL_SRV_COPYCHUNK and FSCTL_SRV_COPYCHUNK_WRITE (§3.3.5.15.6): one chunk after the other, up to the first that fails.
pub(super) async fn chunks(control: &Control<'_>) -> Said {
    if control.room() < COPIED_LEN {
        return Err(NtStatus::INVALID_PARAMETER.into());
    }
    let request = CopyChunks::decode(&control.request.input);
    let Some(request) = request.ok().filter(|request| total(request).is_some()) else {
        let chunks = u32::try_from(CopyChunks::CHUNKS_MAX).unwrap_or(u32::MAX);
        return copied(NtStatus::INVALID_PARAMETER, chunks, CHUNK_BYTES_MAX, TOTAL_BYTES_MAX);
    };
    let from = id_of(&request.source_key).and_then(|id| control.asked.session.open_in_any_tree(id).ok());
    let from = from.ok_or(NtStatus::OBJECT_NAME_NOT_FOUND)?;
    let copy = Copy::new(control, from, control.request.ctl_code == code::SRV_COPYCHUNK)?;
    let (mut done, mut bytes) = (0, 0);
    for chunk in &request.chunks {
        if let Err(failure) = copy.chunk(chunk).await {
            return copied(failure.status, done, 0, bytes);
        }
        done += 1;
        bytes += chunk.length;
    }
    copy.finish().await?;
    copied(NtStatus::SUCCESS, done, 0, bytes)
}

/// FSCTL_DUPLICATE_EXTENTS_TO_FILE (MS-FSCC §2.3.8): blocks are shared or the request fails. Locks do not count, as with ReFS, and
/// what would be behind the target's end is left out, as Windows does.
pub(super) async fn extents(control: &Control<'_>) -> Said {
    let request = DuplicateExtents::decode(&control.request.input, false)?;
    let from = control.asked.session.open_in_any_tree(request.source_file_id).ok();
    let from = from.filter(|from| from.key.volume == control.open.key.volume);
    let copy = Copy::new(control, from.ok_or(NtStatus::INVALID_HANDLE)?, false)?;
    let (from_offset, to_offset) = (request.source_file_offset, request.target_file_offset);
    let end = |offset: u64| offset.checked_add(request.byte_count).ok_or(NtStatus::INVALID_PARAMETER);
    let (from_end, to_end) = (end(from_offset)?, end(to_offset)?);
    let (from, to) = (copy.from.attr(control.vserver())?, copy.to.attr(control.vserver())?);
    if from_end > from.size {
        return Err(NtStatus::NOT_SUPPORTED.into());
    }
    let to_end = to_end.min(to.size);
    let len = to_end.checked_sub(to_offset).ok_or(NtStatus::INVALID_PARAMETER)?;
    if len > 0 {
        // The other way round than MS-FSCC says, and as Windows does.
        let wants_holes = is_sparse(&from) && !is_sparse(&to);
        if wants_holes || copy.overlaps(from_offset, to_offset, len) {
            return Err(NtStatus::NOT_SUPPORTED.into());
        }
        copy.share(from_offset, to_offset, len).await?;
        copy.finish().await?;
    }
    success(Bytes::new())
}

/// A copy from one open to another.
struct Copy<'a> {
    control: &'a Control<'a>,
    from: Arc<Open>,
    to: &'a Arc<Open>,
    from_volume: Arc<Volume>,
    to_volume: Arc<Volume>,
    cx: Context,
}

impl<'a> Copy<'a> {
    fn new(control: &'a Control<'a>, from: Arc<Open>, reads_target: bool) -> Result<Self, NtStatus> {
        let to = &control.open;
        if [from.kind, to.kind] != [FileKind::File; 2] {
            return Err(NtStatus::ACCESS_DENIED);
        }
        from.may(access::READ_DATA | access::EXECUTE)?;
        to.may(access::WRITE_DATA | access::APPEND_DATA)?;
        if reads_target {
            to.may(access::READ_DATA)?;
        }
        // As with WRITE.
        control.vserver().locks.contend(to.key, Deed::Change, Some(&to.owner));
        let (from_volume, to_volume) = (from.volume(control.vserver())?, to.volume(control.vserver())?);
        Ok(Copy { control, from, to, from_volume, to_volume, cx: to.context() })
    }

    fn overlaps(&self, from_offset: u64, to_offset: u64, len: u64) -> bool {
        self.from.key == self.to.key && from_offset.abs_diff(to_offset) < len
    }

    async fn chunk(&self, chunk: &CopyChunk) -> Result<(), Failure> {
        let (vserver, len) = (self.control.vserver(), u64::from(chunk.length));
        let fits = |offset: u64| offset.checked_add(len).is_some_and(|end| end <= i64::MAX as u64);
        if !fits(chunk.source_offset) || !fits(chunk.target_offset) {
            return Err(NtStatus::INVALID_PARAMETER.into());
        }
        if self.from.attr(vserver)?.size < chunk.source_offset + len {
            return Err(NtStatus::INVALID_VIEW_SIZE.into());
        }
        // Who may only append changes nothing that is there (§3.3.5.13).
        if self.to.may(access::WRITE_DATA).is_err() && chunk.target_offset < self.to.attr(vserver)?.size {
            return Err(NtStatus::ACCESS_DENIED.into());
        }
        check_locks(vserver, &self.from, chunk.source_offset, len, false)?;
        check_locks(vserver, self.to, chunk.target_offset, len, true)?;
        let (from, file, to) = (Arc::clone(&self.from_volume), self.from.key.file, self.to.key.file);
        let shares = self.from.key.volume == self.to.key.volume
            && !self.overlaps(chunk.source_offset, chunk.target_offset, len);
        let chunk = *chunk;
        off_thread(&self.to_volume, &self.cx, move |volume, cx| {
            if shares {
                let (from_offset, to_offset) = (chunk.source_offset, chunk.target_offset);
                match volume.execute(cx, Op::CloneRange { from: file, from_offset, to, to_offset, len }) {
                    // Not at the edges of blocks, or a stream.
                    Err(FsError::Invalid) => {}
                    done => return done.map(drop),
                }
            }
            let data = from.read(cx, file, chunk.source_offset, chunk.length as usize)?.data;
            volume.execute(cx, Op::Write { file: to, offset: chunk.target_offset, data }).map(drop)
        })
        .await
    }

    /// Shares blocks, a step at a time.
    async fn share(&self, from_offset: u64, to_offset: u64, len: u64) -> Result<(), Failure> {
        let (from, to) = (self.from.key.file, self.to.key.file);
        let mut at = 0;
        while at < len {
            let step = (len - at).min(CLONE_MAX);
            let (from_offset, to_offset) = (from_offset + at, to_offset + at);
            let op = Op::CloneRange { from, from_offset, to, to_offset, len: step };
            off_thread(&self.to_volume, &self.cx, move |volume, cx| volume.execute(cx, op)).await?;
            at += step;
        }
        Ok(())
    }

    /// Makes durable what was copied to an open that wants that.
    async fn finish(&self) -> Result<(), Failure> {
        if self.to.write_through {
            self.to_volume.durable(self.to_volume.last_lsn()).await?;
        }
        Ok(())
    }
}
