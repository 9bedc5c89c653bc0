//! What Macs ask for: the `AAPL` context of CREATE, and Finder's facts in listings. Apple has published no specification; this is
//! what its clients and Samba's `vfs_fruit` have in common. Resource forks and Finder's information are plain named streams.

use super::session::Session;
use super::wire::create_contexts::{
    AAPL_MODEL_INFO, AAPL_SERVER_CAPS, AAPL_SERVER_QUERY, AAPL_VOLUME_CAPS, CreateContext,
};
use super::wire::create_replies::CreateReplyContext;
use super::wire::directory::Finder;
use fsstore::{Attr, Context, FileKind, FsError, Volume};
use std::sync::atomic::Ordering;

/// `kAAPL_SUPPORTS_READ_DIR_ATTR`: listings have what Finder shows of each file.
const READ_DIR_ATTRIBUTES: u64 = 1;
/// `kAAPL_UNIX_BASED`.
const UNIX_BASED: u64 = 4;
/// The icon that Finder shows for the server.
const MODEL: &str = "Xserve";

/// The stream of a resource fork.
const RESOURCE_FORK: &[u8] = b"AFP_Resource";
/// The stream of Finder's information: 16 bytes of head, then `FinderInfo`.
const AFP_INFO: &[u8] = b"AFP_AfpInfo";
const AFP_INFO_LEN: usize = 60;
const FINDER_INFO_AT: usize = 16;
/// 1 January 2000, from which Finder counts its seconds.
const EPOCH_S: i64 = 946_684_800;

/// Answers a client that asks what the server is; from then on listings are as it can read them.
pub(super) fn answer(session: &Session, context: &CreateContext) -> Option<CreateReplyContext> {
    let CreateContext::Apple { command: AAPL_SERVER_QUERY, request_bitmap, client_capabilities } = context
    else {
        return None;
    };
    let asks = |bit: u64| request_bitmap & bit != 0;
    let reads = asks(AAPL_SERVER_CAPS) && client_capabilities & READ_DIR_ATTRIBUTES != 0;
    if reads {
        session.reads_finder.store(true, Ordering::Relaxed);
    }
    let server = UNIX_BASED | if reads { READ_DIR_ATTRIBUTES } else { 0 };
    Some(CreateReplyContext::Apple {
        server_capabilities: asks(AAPL_SERVER_CAPS).then_some(server),
        // Names are not case-sensitive.
        volume_capabilities: asks(AAPL_VOLUME_CAPS).then_some(0),
        model: asks(AAPL_MODEL_INFO).then(|| MODEL.to_owned()),
    })
}

/// What Finder shows of a file. `access`: the rights that the user has to it.
pub(super) fn finder(volume: &Volume, cx: &Context, attr: &Attr, access: u32) -> Finder {
    let resource_fork_len = volume.stream(attr.id, RESOURCE_FORK).map_or(0, |stream| stream.size);
    let kept = kept_info(volume, cx, attr).unwrap_or_default();
    let mut info = [0; 16];
    if attr.kind != FileKind::Dir {
        // Type and creator.
        info[..8].copy_from_slice(&kept[..8]);
    }
    // Flags and extended flags.
    info[8..10].copy_from_slice(&kept[8..10]);
    info[10..12].copy_from_slice(&kept[24..26]);
    let made = i32::try_from(attr.btime.secs.saturating_sub(EPOCH_S)).unwrap_or(i32::MIN);
    info[12..].copy_from_slice(&made.to_be_bytes());
    Finder { access, resource_fork_len, info }
}

/// `FinderInfo` as the client wrote it.
fn kept_info(volume: &Volume, cx: &Context, attr: &Attr) -> Result<[u8; 32], FsError> {
    let stream = volume.stream(attr.id, AFP_INFO)?;
    let read = volume.read(cx, stream.id, 0, AFP_INFO_LEN)?;
    let info = read.data.get(FINDER_INFO_AT..).and_then(|rest| rest.first_chunk());
    Ok(info.copied().unwrap_or_default())
}
