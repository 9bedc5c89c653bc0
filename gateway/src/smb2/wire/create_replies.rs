//! The contexts of CREATE's reply, MS-SMB2 §2.2.14.2: what a client is answered beside the open file.

use super::create_contexts::{AAPL_MODEL_INFO, AAPL_SERVER_CAPS, AAPL_SERVER_QUERY, AAPL_VOLUME_CAPS};
use super::cursor::{len16, len32, pad, patch_u32};
use super::lease::Lease;
use super::status::NtStatus;
use bytes::{BufMut, BytesMut};

/// What is answered beside the open file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CreateReplyContext {
    /// `MxAc`.
    MaximalAccess {
        /// Whether the access could be found out.
        status: NtStatus,
        /// The mask.
        access: u32,
    },
    /// `QFid`.
    OnDiskId {
        /// The file in its volume.
        file_id: u64,
        /// The volume.
        volume_id: u64,
    },
    /// `DHnQ`: the handle is durable.
    Durable,
    /// `DH2Q`: the handle is durable.
    DurableV2 {
        /// For how long without a connection, in milliseconds.
        timeout_ms: u32,
        /// [`super::create_contexts::DURABLE_PERSISTENT`].
        flags: u32,
    },
    /// `RqLs`: the lease as granted, in the version of the request.
    Lease(Lease),
    /// `AAPL`: what the server is; each part where the request's bitmap has it.
    Apple {
        /// [`AAPL_SERVER_CAPS`].
        server_capabilities: Option<u64>,
        /// [`AAPL_VOLUME_CAPS`].
        volume_capabilities: Option<u64>,
        /// [`AAPL_MODEL_INFO`]: the icon that Finder shows.
        model: Option<String>,
    },
}

impl CreateReplyContext {
    fn name(&self) -> &'static [u8; 4] {
        match self {
            CreateReplyContext::MaximalAccess { .. } => b"MxAc",
            CreateReplyContext::OnDiskId { .. } => b"QFid",
            CreateReplyContext::Durable => b"DHnQ",
            CreateReplyContext::DurableV2 { .. } => b"DH2Q",
            CreateReplyContext::Lease(_) => b"RqLs",
            CreateReplyContext::Apple { .. } => b"AAPL",
        }
    }

    fn encode_data(&self, out: &mut BytesMut) {
        match self {
            CreateReplyContext::MaximalAccess { status, access } => {
                out.put_u32_le(status.0);
                out.put_u32_le(*access);
            }
            CreateReplyContext::OnDiskId { file_id, volume_id } => {
                out.put_u64_le(*file_id);
                out.put_u64_le(*volume_id);
                out.put_bytes(0, 16);
            }
            CreateReplyContext::Durable => out.put_u64_le(0),
            CreateReplyContext::DurableV2 { timeout_ms, flags } => {
                out.put_u32_le(*timeout_ms);
                out.put_u32_le(*flags);
            }
            CreateReplyContext::Lease(lease) => lease.encode(out),
            CreateReplyContext::Apple { server_capabilities, volume_capabilities, model } => {
                encode_apple(*server_capabilities, *volume_capabilities, model.as_deref(), out);
            }
        }
    }
}

fn encode_apple(server: Option<u64>, volume: Option<u64>, model: Option<&str>, out: &mut BytesMut) {
    let bit = |there: bool, bit: u64| if there { bit } else { 0 };
    out.put_u32_le(AAPL_SERVER_QUERY);
    out.put_u32_le(0);
    out.put_u64_le(
        bit(server.is_some(), AAPL_SERVER_CAPS)
            | bit(volume.is_some(), AAPL_VOLUME_CAPS)
            | bit(model.is_some(), AAPL_MODEL_INFO),
    );
    server.into_iter().chain(volume).for_each(|capabilities| out.put_u64_le(capabilities));
    if let Some(model) = model {
        out.put_u32_le(0);
        let len = out.len();
        out.put_u32_le(0);
        super::names::put_utf16(out, model);
        let bytes = len32(out.len() - len - 4);
        patch_u32(out, len, bytes);
    }
}

/// Appends contexts; the first begins at a multiple of eight bytes of the message.
pub(super) fn encode_contexts(contexts: &[CreateReplyContext], out: &mut BytesMut) {
    let first = out.len();
    let mut last = None;
    for context in contexts {
        pad(out, first, 8);
        let start = out.len();
        if let Some(last) = last {
            patch_u32(out, last, len32(start - last));
        }
        last = Some(start);
        let name = context.name();
        out.put_u32_le(0);
        out.put_u16_le(16);
        out.put_u16_le(len16(name.len()));
        out.put_u16_le(0);
        out.put_u16_le(24);
        let len = out.len();
        out.put_u32_le(0);
        out.put_slice(name);
        out.put_u32_le(0);
        context.encode_data(out);
        let data = len32(out.len() - start - 24);
        patch_u32(out, len, data);
    }
}
