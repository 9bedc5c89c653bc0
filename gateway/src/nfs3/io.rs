//! READ, WRITE and COMMIT (RFC 1813 §3.3.6, §3.3.7, §3.3.21). Payloads are handed on, never copied.

use super::caller::{Reply, Shown};
use super::dispatch::Handler;
use super::others::{self, Touched};
use super::procedures::{
    Commit, Commit3Args, Commit3ResOk, Read, Read3Args, Read3ResOk, Write, Write3Args, Write3ResOk,
};
use super::status::NfsStat3;
use super::types::{ReadPayload, StableHow};
use crate::openstate::Deed;
use crate::vserver::{Caller, Cost, Target};
use crate::xdr::Tail;
use fsstore::{Context, Done, FileId, FsError, Op, Volume};
use std::sync::Arc;

/// Most bytes that one READ returns and one WRITE should bring (FSINFO's `rtmax` and `wtmax`).
pub(super) const IO_LEN_MAX: u32 = 1 << 20;

/// A write of more bytes goes to a thread that may block: it spends long enough in the volume to hold up the other
/// requests of its connection.
const INLINE_WRITE_LEN_MAX: usize = 64 << 10;

/// Runs volume work that may wait for the disk on a thread where that is allowed.
async fn off_thread<T: Send + 'static>(
    target: &Target<'_>,
    work: impl FnOnce(&Volume, &Context, FileId) -> Result<T, FsError> + Send + 'static,
) -> Result<T, NfsStat3> {
    let (volume, cx, file) = (Arc::clone(&target.mount.volume), target.cx.clone(), target.file);
    match tokio::task::spawn_blocking(move || work(&volume, &cx, file)).await {
        Ok(result) => result.map_err(NfsStat3::from),
        Err(error) => {
            tracing::error!(%error, "a volume operation ended without a result");
            Err(NfsStat3::ServerFault)
        }
    }
}

impl Handler for Read {
    fn cost(args: &Read3Args) -> Cost {
        Cost { read: args.count.min(IO_LEN_MAX), written: 0 }
    }

    fn touches(caller: &Caller, args: &Read3Args) -> Vec<Touched> {
        others::file(caller, &args.file.0, Deed::Read)
    }

    async fn handle(caller: &Caller, args: Read3Args) -> Reply<Self> {
        let target = caller.target(&args.file.0)?;
        let (offset, len) = (args.offset, args.count.min(IO_LEN_MAX) as usize);
        let cached = target.mount.volume.read_cached(&target.cx, target.file, offset, len);
        let done = match cached.map_err(|error| target.failed(error))? {
            Some(done) => done,
            None => off_thread(&target, move |volume, cx, file| volume.read_rope(cx, file, offset, len))
                .await
                .map_err(|status| target.failed(status))?,
        };
        let count = u32::try_from(done.data.len()).unwrap_or(args.count);
        caller.vserver.qos.count_read(count);
        Ok(Read3ResOk {
            file_attributes: Some(target.attributes(&done.attr)),
            count,
            eof: done.eof,
            data: ReadPayload(Tail::Pages(done.data)),
        })
    }
}

impl Handler for Write {
    fn cost(args: &Write3Args) -> Cost {
        Cost { read: 0, written: u32::try_from(args.data.0.len()).unwrap_or(u32::MAX) }
    }

    fn touches(caller: &Caller, args: &Write3Args) -> Vec<Touched> {
        others::file(caller, &args.file.0, Deed::Change)
    }

    async fn handle(caller: &Caller, args: Write3Args) -> Reply<Self> {
        let target = caller.target_to_change(&args.file.0)?;
        if args.count as usize != args.data.0.len() {
            return Err(target.failed_change(NfsStat3::Inval));
        }
        if args.offset.checked_add(u64::from(args.count)).is_none() {
            return Err(target.failed_change(NfsStat3::FBig));
        }
        let done = write(&target, &args).await.map_err(|status| target.failed_change(status))?;
        let committed = match args.stable {
            StableHow::Unstable => StableHow::Unstable,
            StableHow::DataSync | StableHow::FileSync => {
                target.durable(done.lsn).await?;
                StableHow::FileSync
            }
        };
        Ok(Write3ResOk {
            file_wcc: target.wcc(Some(&done.object)),
            count: u32::try_from(done.count).unwrap_or(args.count),
            committed,
            verf: caller.vserver.write_verifier(),
        })
    }
}

async fn write(target: &Target<'_>, args: &Write3Args) -> Result<Done, NfsStat3> {
    let op = Op::Write { file: target.file, offset: args.offset, data: args.data.0.clone() };
    if args.data.0.len() <= INLINE_WRITE_LEN_MAX {
        return target.mount.volume.execute(&target.cx, op).map_err(NfsStat3::from);
    }
    off_thread(target, move |volume, cx, _| volume.execute(cx, op)).await
}

impl Handler for Commit {
    /// Commits the whole volume: its log is one, so a part would cost the same.
    async fn handle(caller: &Caller, args: Commit3Args) -> Reply<Self> {
        let target = caller.target_to_change(&args.file.0)?;
        target.mount.volume.getattr(target.file)?;
        let durable = target.committed(target.mount.volume.last_lsn()).await;
        durable.map_err(|status| target.failed_change(status))?;
        Ok(Commit3ResOk { file_wcc: target.wcc_now(), verf: caller.vserver.write_verifier() })
    }
}
