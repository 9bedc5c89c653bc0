//! TREE_CONNECT (MS-SMB2 §3.3.5.7): a share, for one session.

use super::connection::Connection;
use super::reply::{Body, Failure};
use super::session::Session;
use super::wire::create::access;
use super::wire::status::NtStatus;
use super::wire::tree::*;
use crate::vserver::{Encryption, Share, ShareAccess, VolumeId};
use bytes::Bytes;
use fsstore::FileId;
use std::sync::Arc;

/// All rights to a file or directory.
pub(super) const RIGHTS_ALL: u32 = 0x001F_01FF;
/// What `Change` leaves of them: no permissions, no owner.
const RIGHTS_CHANGE: u32 = RIGHTS_ALL & !(access::WRITE_DAC | access::WRITE_OWNER | access::DELETE_CHILD);
/// What `Read` leaves of them.
const RIGHTS_READ: u32 = access::READ_DATA
    | access::READ_EA
    | access::EXECUTE
    | access::READ_ATTRIBUTES
    | access::READ_CONTROL
    | access::SYNCHRONIZE;

/// What a share gives access to.
#[derive(Debug)]
pub(super) enum Root {
    /// A directory.
    Disk { volume: VolumeId, dir: FileId },
    /// Named pipes: `IPC$`.
    Pipes,
}

/// A share that a session has connected to.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) id: u32,
    pub(super) root: Root,
    /// Rights that the share grants at the most.
    pub(super) rights: u32,
    pub(super) sealing_required: bool,
    /// Listings leave out what the user may not open.
    pub(super) access_based_enumeration: bool,
}

impl Tree {
    /// The directory that the share is.
    pub(super) fn dir(&self) -> Result<(VolumeId, FileId), NtStatus> {
        match self.root {
            Root::Disk { volume, dir } => Ok((volume, dir)),
            Root::Pipes => Err(NtStatus::INVALID_DEVICE_REQUEST),
        }
    }
}

fn rights(granted: ShareAccess) -> u32 {
    match granted {
        ShareAccess::Read => RIGHTS_READ,
        ShareAccess::Change => RIGHTS_CHANGE,
        ShareAccess::Full => RIGHTS_ALL,
    }
}

/// Connects a session to a share.
pub(super) fn connect(
    connection: &Connection,
    session: &Session,
    message: &Bytes,
) -> Result<(Arc<Tree>, Body), Failure> {
    let request = TreeConnectRequest::decode(message)?;
    let name = request.share()?;
    let vserver = &connection.listener.vserver;
    if name.eq_ignore_ascii_case("IPC$") {
        let tree = session.connect(|id| Tree {
            id,
            root: Root::Pipes,
            rights: RIGHTS_ALL,
            sealing_required: false,
            access_based_enumeration: false,
        })?;
        let response = TreeConnectResponse {
            share_type: SHARE_TYPE_PIPE,
            share_flags: SHARE_NO_CACHING,
            capabilities: 0,
            maximal_access: RIGHTS_ALL,
        };
        return Ok((tree, Body::of(|out| response.encode(out))));
    }
    let shares = vserver.shares();
    let share = shares.get(name).ok_or(NtStatus::BAD_NETWORK_NAME)?;
    let granted = granted(connection, session, share).ok_or(NtStatus::ACCESS_DENIED)?;
    let seal = shares.encryption_of(share);
    let sealing_required = seal == Encryption::Required;
    let can_seal = session.keys.as_ref().is_some_and(|keys| keys.opening.is_some());
    if sealing_required && !can_seal {
        return Err(NtStatus::ACCESS_DENIED.into());
    }
    let (volume, dir) = vserver.namespace().resolve(&share.path).map_err(|_| NtStatus::BAD_NETWORK_NAME)?;
    let rights = rights(granted);
    let tree = session.connect(|id| Tree {
        id,
        root: Root::Disk { volume, dir },
        rights,
        sealing_required,
        access_based_enumeration: share.access_based_enumeration,
    })?;
    let mut share_flags = 0;
    if share.access_based_enumeration {
        share_flags |= SHARE_ACCESS_BASED_DIRECTORY_ENUM;
    }
    if can_seal && seal != Encryption::Off {
        share_flags |= SHARE_ENCRYPT_DATA;
    }
    let response = TreeConnectResponse {
        share_type: SHARE_TYPE_DISK,
        share_flags,
        capabilities: 0,
        maximal_access: rights,
    };
    Ok((tree, Body::of(|out| response.encode(out))))
}

fn granted(connection: &Connection, session: &Session, share: &Share) -> Option<ShareAccess> {
    let users = connection.listener.vserver.users();
    match &session.identity().user {
        Some(name) => share.access_of(users.get(name)?, &users),
        None => share.guest_access(),
    }
}
