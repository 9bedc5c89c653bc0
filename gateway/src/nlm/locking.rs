//! The procedures of NLM that ask for locks and give them up, on the open state that all protocols share.

use super::owner::{client, lock_owner, range, share_owner, svid_and_oh};
use super::types::*;
use crate::handle::FileHandle;
use crate::openstate::{
    Access, Client, FileKey, Full, Held, LockOutcome, LockRequest, ShareRequest, Wait, WatchedClient,
};
use crate::rpc::server::Transport;
use crate::vserver::{Caller, Unreachable};
use fsstore::FileKind;
use std::net::{IpAddr, Ipv6Addr};

/// `fsh4_mode` and `fsh4_access` know reading and writing (RFC 1813 §6.2).
const SHARE_BITS: u32 = 3;

/// A call to the lock manager.
pub(super) struct Asked {
    /// Who calls.
    pub(super) caller: Caller,
    /// The address that was called: the client knows the vserver by it.
    pub(super) local: IpAddr,
    /// How the call came.
    pub(super) transport: Transport,
}

impl From<Unreachable> for Nlm4Stat {
    fn from(why: Unreachable) -> Self {
        match why {
            Unreachable::Stale => Nlm4Stat::StaleFh,
            Unreachable::ReadOnly => Nlm4Stat::RoFs,
            Unreachable::BadHandle | Unreachable::Access => Nlm4Stat::Failed,
        }
    }
}

impl From<Full> for Nlm4Stat {
    fn from(_: Full) -> Self {
        Nlm4Stat::DeniedNoLocks
    }
}

impl Asked {
    /// The file to be locked: it is there, and the client may reach it.
    fn file(&self, handle: &NetObj) -> Result<FileKey, Nlm4Stat> {
        let target = self.caller.target(&handle.0)?;
        let attr = target.mount.volume.getattr(target.file).map_err(|_| Nlm4Stat::StaleFh)?;
        if attr.kind != FileKind::File {
            return Err(Nlm4Stat::Failed);
        }
        Ok(FileKey { volume: target.mount.id, file: target.file })
    }

    /// The file whose lock is given up. That it is gone, or not exported to the client any more, is no reason to keep
    /// the lock.
    fn file_to_leave(&self, handle: &NetObj) -> Result<FileKey, Nlm4Stat> {
        let vserver = &self.caller.vserver;
        let opened = FileHandle::open(&handle.0, vserver.uuid, vserver.handle_key())
            .map_err(|error| Nlm4Stat::from(Unreachable::from(error)))?;
        Ok(FileKey { volume: opened.volume, file: opened.file })
    }

    fn client(&self, name: &HostName) -> Result<Client, Nlm4Stat> {
        client(self.caller.client, name).ok_or(Nlm4Stat::DeniedNoLocks)
    }

    /// In the grace period only what was lost is given, after it nothing can have been lost.
    fn check_grace(&self, reclaim: bool) -> Result<(), Nlm4Stat> {
        if self.caller.vserver.grace.is_on() == reclaim { Ok(()) } else { Err(Nlm4Stat::DeniedGracePeriod) }
    }

    /// Makes sure that the client will hear if its locks are lost.
    async fn watch(&self, client: &Client) -> Result<(), Nlm4Stat> {
        let watched = WatchedClient { client: client.address, local: self.local, name: client.name.clone() };
        self.caller.vserver.watched.watch(&watched).await.map_err(|error| {
            tracing::warn!(vserver = self.caller.vserver.name, %error, "a lock is refused");
            Nlm4Stat::DeniedNoLocks
        })
    }

    fn now_s(&self) -> u64 {
        u64::try_from(self.caller.now.secs).unwrap_or(0)
    }
}

fn either(outcome: Result<Nlm4Stat, Nlm4Stat>) -> Nlm4Stat {
    outcome.unwrap_or_else(|stat| stat)
}

/// `NLM4_TEST`.
pub(super) fn test(asked: &Asked, args: Nlm4TestArgs) -> Nlm4TestRes {
    let Nlm4TestArgs { cookie, exclusive, alock } = args;
    let found = || -> Result<Option<Held>, Nlm4Stat> {
        let range = range(&alock).ok_or(Nlm4Stat::FBig)?;
        let file = asked.file(&alock.fh)?;
        asked.check_grace(false)?;
        let owner = lock_owner(asked.client(&alock.caller_name)?, alock.svid, &alock.oh);
        Ok(asked.caller.vserver.locks.test(file, &owner, range, exclusive))
    };
    let stat = match found() {
        Ok(None) => Ok(Nlm4Stat::Granted),
        Ok(Some(held)) => Err(holder(&held)),
        Err(stat) => Ok(stat),
    };
    Nlm4TestRes { cookie, stat }
}

fn holder(held: &Held) -> Nlm4Holder {
    let (svid, oh) = svid_and_oh(&held.owner);
    let (l_offset, l_len) = (held.range.first, held.range.bytes());
    Nlm4Holder { exclusive: held.exclusive, svid, oh, l_offset, l_len }
}

/// `NLM4_LOCK`, and `NLM4_NM_LOCK` for clients that do not want to be watched.
pub(super) async fn lock(asked: &Asked, args: Nlm4LockArgs, watched: bool) -> Nlm4Res {
    let cookie = args.cookie.clone();
    Nlm4Res { cookie, stat: either(try_lock(asked, args, watched).await) }
}

async fn try_lock(asked: &Asked, args: Nlm4LockArgs, watched: bool) -> Result<Nlm4Stat, Nlm4Stat> {
    let Nlm4LockArgs { block, exclusive, alock, reclaim, state, .. } = args;
    let range = range(&alock).ok_or(Nlm4Stat::FBig)?;
    let file = asked.file(&alock.fh)?;
    asked.check_grace(reclaim)?;
    let client = asked.client(&alock.caller_name)?;
    if watched {
        asked.watch(&client).await?;
    }
    let request = LockRequest {
        file,
        owner: lock_owner(client, alock.svid, &alock.oh),
        range,
        exclusive,
        incarnation: state,
        now_s: asked.now_s(),
        wait: block.then(|| Wait::Told(return_path(asked.local, asked.transport))),
    };
    Ok(match asked.caller.vserver.locks.lock(request)? {
        LockOutcome::Granted => Nlm4Stat::Granted,
        LockOutcome::Denied(_) => Nlm4Stat::Denied,
        LockOutcome::Waiting => Nlm4Stat::Blocked,
        LockOutcome::Deadlock => Nlm4Stat::DeadLck,
    })
}

/// `NLM4_CANCEL`. Denied where the lock is held already: the client then gives it up by UNLOCK.
pub(super) fn cancel(asked: &Asked, args: &Nlm4CancArgs) -> Nlm4Res {
    let alock = &args.alock;
    let run = || -> Result<Nlm4Stat, Nlm4Stat> {
        let range = range(alock).ok_or(Nlm4Stat::FBig)?;
        let file = asked.file_to_leave(&alock.fh)?;
        let owner = lock_owner(asked.client(&alock.caller_name)?, alock.svid, &alock.oh);
        let gone = asked.caller.vserver.locks.cancel(file, &owner, range, args.exclusive);
        Ok(if gone { Nlm4Stat::Granted } else { Nlm4Stat::Denied })
    };
    Nlm4Res { cookie: args.cookie.clone(), stat: either(run()) }
}

/// `NLM4_UNLOCK`. Also in the grace period: a lock that is given up need not be reclaimed.
pub(super) fn unlock(asked: &Asked, args: &Nlm4UnlockArgs) -> Nlm4Res {
    let alock = &args.alock;
    let run = || -> Result<Nlm4Stat, Nlm4Stat> {
        let range = range(alock).ok_or(Nlm4Stat::FBig)?;
        let file = asked.file_to_leave(&alock.fh)?;
        let owner = lock_owner(asked.client(&alock.caller_name)?, alock.svid, &alock.oh);
        asked.caller.vserver.locks.unlock(file, &owner, range)?;
        Ok(Nlm4Stat::Granted)
    };
    Nlm4Res { cookie: args.cookie.clone(), stat: either(run()) }
}

/// `NLM4_SHARE`.
pub(super) async fn share(asked: &Asked, args: Nlm4ShareArgs) -> Nlm4ShareRes {
    let cookie = args.cookie.clone();
    Nlm4ShareRes { cookie, stat: either(try_share(asked, args).await), sequence: 0 }
}

async fn try_share(asked: &Asked, args: Nlm4ShareArgs) -> Result<Nlm4Stat, Nlm4Stat> {
    let Nlm4ShareArgs { share, reclaim, .. } = args;
    let file = asked.file(&share.fh)?;
    asked.check_grace(reclaim)?;
    let client = asked.client(&share.caller_name)?;
    asked.watch(&client).await?;
    let request = ShareRequest {
        file,
        owner: share_owner(client, &share.oh),
        access: Access::from_bits(share.access & SHARE_BITS),
        deny: Access::from_bits(share.mode & SHARE_BITS),
        incarnation: 0,
        now_s: asked.now_s(),
    };
    let conflict = asked.caller.vserver.locks.share(request)?;
    Ok(if conflict.is_some() { Nlm4Stat::Denied } else { Nlm4Stat::Granted })
}

/// `NLM4_UNSHARE`.
pub(super) fn unshare(asked: &Asked, args: &Nlm4ShareArgs) -> Nlm4ShareRes {
    let run = || -> Result<Nlm4Stat, Nlm4Stat> {
        let file = asked.file_to_leave(&args.share.fh)?;
        let owner = share_owner(asked.client(&args.share.caller_name)?, &args.share.oh);
        asked.caller.vserver.locks.unshare(file, &owner);
        Ok(Nlm4Stat::Granted)
    };
    Nlm4ShareRes { cookie: args.cookie.clone(), stat: either(run()), sequence: 0 }
}

/// `NLM4_FREE_ALL`: the client came up again and has nothing, but only what came from its own address is given up.
pub(super) fn free_all(asked: &Asked, args: &Nlm4Notify) {
    let Ok(client) = asked.client(&args.name) else { return };
    let released = asked.caller.vserver.locks.release(|other| *other == client, None);
    if released > 0 {
        tracing::info!(client = %client.address, name = client.name_text(), released, "locks given up");
    }
}

/// How to call the client when the lock is its own.
fn return_path(local: IpAddr, transport: Transport) -> Box<[u8]> {
    let local = match local {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    let mut path = local.octets().to_vec();
    path.push(u8::from(transport == Transport::Udp));
    path.into()
}

/// What [`return_path`] holds.
pub(super) fn read_return_path(path: &[u8]) -> Option<(IpAddr, Transport)> {
    let (local, transport) = path.split_first_chunk::<16>()?;
    let transport = if transport == [1] { Transport::Udp } else { Transport::Tcp };
    Some((IpAddr::V6(Ipv6Addr::from(*local)).to_canonical(), transport))
}
