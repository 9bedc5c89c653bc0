//! FSSTAT, FSINFO and PATHCONF (RFC 1813 §3.3.18 to §3.3.20).

use super::caller::{Reply, Shown};
use super::dispatch::Handler;
use super::io::IO_LEN_MAX;
use super::procedures::{FsInfo, FsInfo3ResOk, FsStat, FsStat3ResOk, PathConf, PathConf3ResOk};
use super::types::{NfsFh3, NfsTime3};
use crate::vserver::Caller;
use fsstore::{BLOCK_SIZE, FILE_SIZE_MAX, LINK_MAX, NAME_MAX};

#[expect(clippy::cast_possible_truncation, reason = "4096")]
const BLOCK_LEN: u32 = BLOCK_SIZE as u32;
#[expect(clippy::cast_possible_truncation, reason = "255")]
const NAME_LEN_MAX: u32 = NAME_MAX as u32;
/// Preferred size of a READDIR request.
const DIR_LEN_PREFERRED: u32 = 64 << 10;

/// `FSF3_LINK`, `FSF3_SYMLINK`, `FSF3_HOMOGENEOUS` and `FSF3_CANSETTIME`.
const PROPERTIES: u32 = 0x01 | 0x02 | 0x08 | 0x10;

impl Handler for FsStat {
    async fn handle(caller: &Caller, root: NfsFh3) -> Reply<Self> {
        let target = caller.target(&root.0)?;
        let attr = target.mount.volume.getattr(target.file)?;
        // In a qtree with a limit, what that leaves.
        let space = target.mount.volume.statfs_of(target.file)?;
        Ok(FsStat3ResOk {
            obj_attributes: Some(target.attributes(&attr)),
            tbytes: space.total_bytes,
            fbytes: space.free_bytes,
            abytes: space.available_bytes,
            tfiles: space.files.saturating_add(space.free_files),
            ffiles: space.free_files,
            afiles: space.free_files,
            invarsec: 0,
        })
    }
}

impl Handler for FsInfo {
    async fn handle(caller: &Caller, root: NfsFh3) -> Reply<Self> {
        let target = caller.target(&root.0)?;
        let attr = target.mount.volume.getattr(target.file)?;
        Ok(FsInfo3ResOk {
            obj_attributes: Some(target.attributes(&attr)),
            rtmax: IO_LEN_MAX,
            rtpref: IO_LEN_MAX,
            rtmult: BLOCK_LEN,
            wtmax: IO_LEN_MAX,
            wtpref: IO_LEN_MAX,
            wtmult: BLOCK_LEN,
            dtpref: DIR_LEN_PREFERRED,
            maxfilesize: FILE_SIZE_MAX,
            time_delta: NfsTime3 { seconds: 0, nseconds: 1 },
            properties: PROPERTIES,
        })
    }
}

impl Handler for PathConf {
    async fn handle(caller: &Caller, object: NfsFh3) -> Reply<Self> {
        let target = caller.target(&object.0)?;
        let attr = target.mount.volume.getattr(target.file)?;
        Ok(PathConf3ResOk {
            obj_attributes: Some(target.attributes(&attr)),
            linkmax: LINK_MAX,
            name_max: NAME_LEN_MAX,
            no_trunc: true,
            chown_restricted: true,
            case_insensitive: false,
            case_preserving: true,
        })
    }
}
