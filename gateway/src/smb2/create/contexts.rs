//! The contexts of CREATE: what a client asks beside opening a file, and what it is answered (MS-SMB2 §3.3.5.9.1 and on).

use crate::smb2::apple;
use crate::smb2::dispatch::Asked;
use crate::smb2::open::Open;
use crate::smb2::wire::create::{CreateRequest, oplock};
use crate::smb2::wire::create_contexts::CreateContext;
use crate::smb2::wire::create_replies::CreateReplyContext;
use crate::smb2::wire::status::NtStatus;
use crate::smb2::{previous, shown};
use fsstore::{Attr, BLOCK_SIZE_U64};

/// The second of the snapshot that is asked for (`TWrp`).
pub(super) fn snapshot_time(contexts: &[CreateContext]) -> Option<i64> {
    contexts.iter().find_map(|context| match context {
        CreateContext::TimeWarp { timestamp } if *timestamp != 0 => Some(previous::of_filetime(*timestamp)),
        _ => None,
    })
}

/// Bytes to allocate (`AlSi`), in whole blocks.
pub(super) fn allocation(contexts: &[CreateContext]) -> u64 {
    let bytes = contexts.iter().find_map(|context| match context {
        CreateContext::AllocationSize(bytes) => Some(*bytes),
        _ => None,
    });
    bytes.and_then(|bytes| bytes.checked_next_multiple_of(BLOCK_SIZE_U64)).unwrap_or(0)
}

/// What is answered beside the open file. `most`: the rights to it.
pub(super) fn answers(
    asked: &Asked,
    request: &CreateRequest,
    open: &Open,
    attr: &Attr,
    most: u32,
) -> Vec<CreateReplyContext> {
    // A request that comes again may ask for less than its open has.
    let keeps_handle = matches!(request.oplock_level, oplock::BATCH | oplock::LEASE);
    let durable = open.durable.as_ref().filter(|_| keeps_handle);
    let answer = |context: &CreateContext| match context {
        CreateContext::MaximalAccess { .. } => {
            Some(CreateReplyContext::MaximalAccess { status: NtStatus::SUCCESS, access: most })
        }
        CreateContext::QueryOnDiskId => Some(CreateReplyContext::OnDiskId {
            file_id: shown::file_number(attr.id),
            volume_id: open.key.volume.0,
        }),
        CreateContext::DurableRequest => durable.map(|_| CreateReplyContext::Durable),
        CreateContext::DurableRequestV2 { .. } => durable.map(|durable| {
            let timeout_ms = u32::try_from(durable.away.as_millis()).unwrap_or(u32::MAX);
            CreateReplyContext::DurableV2 { timeout_ms, flags: 0 }
        }),
        CreateContext::Apple { .. } => apple::answer(&asked.session, context),
        _ => None,
    };
    request.contexts.iter().filter_map(answer).collect()
}
