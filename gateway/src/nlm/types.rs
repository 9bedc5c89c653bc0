//! Wire types of NLM version 4 (X/Open XNFS C702, chapter 10 and appendix; 64-bit offsets) and of the status monitor
//! NSM version 1 (chapter 11).

use crate::xdr::{Decoder, Encoder, Result, Xdr, xdr_enum, xdr_struct};
use bytes::Bytes;

/// `NLM_PROG`.
pub const NLM_PROGRAM: u32 = 100_021;
/// `NLM4_VERS`: what goes with NFS version 3.
pub const NLM_V4: u32 = 4;
/// `SM_PROG`.
pub const NSM_PROGRAM: u32 = 100_024;
/// `SM_VERS`.
pub const NSM_V1: u32 = 1;

/// `LM_MAXSTRLEN`: bytes of a caller's name.
pub const NAME_LEN_MAX: usize = 1024;
/// `MAXNETOBJ_SZ`: bytes of a cookie, a handle or an owner.
pub const NETOBJ_LEN_MAX: usize = 1024;

/// Procedures of version 4.
pub mod procedure {
    #![expect(missing_docs, reason = "the specification's names")]
    pub const NULL: u32 = 0;
    pub const TEST: u32 = 1;
    pub const LOCK: u32 = 2;
    pub const CANCEL: u32 = 3;
    pub const UNLOCK: u32 = 4;
    pub const GRANTED: u32 = 5;
    pub const TEST_MSG: u32 = 6;
    pub const LOCK_MSG: u32 = 7;
    pub const CANCEL_MSG: u32 = 8;
    pub const UNLOCK_MSG: u32 = 9;
    pub const GRANTED_MSG: u32 = 10;
    pub const TEST_RES: u32 = 11;
    pub const LOCK_RES: u32 = 12;
    pub const CANCEL_RES: u32 = 13;
    pub const UNLOCK_RES: u32 = 14;
    pub const GRANTED_RES: u32 = 15;
    pub const SHARE: u32 = 20;
    pub const UNSHARE: u32 = 21;
    pub const NM_LOCK: u32 = 22;
    pub const FREE_ALL: u32 = 23;
    /// NSM's.
    pub const SM_STAT: u32 = 1;
    pub const SM_MON: u32 = 2;
    pub const SM_UNMON: u32 = 3;
    pub const SM_UNMON_ALL: u32 = 4;
    pub const SM_SIMU_CRASH: u32 = 5;
    pub const SM_NOTIFY: u32 = 6;
}

/// `netobj`: bytes that only their maker understands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NetObj(pub Bytes);

impl Xdr for NetObj {
    fn encode(&self, out: &mut Encoder) {
        out.opaque(&self.0);
    }
    fn decode(input: &mut Decoder) -> Result<Self> {
        Ok(NetObj(input.opaque(NETOBJ_LEN_MAX)?))
    }
}

/// A host's name: `string<LM_MAXSTRLEN>`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HostName(pub Bytes);

impl Xdr for HostName {
    fn encode(&self, out: &mut Encoder) {
        out.opaque(&self.0);
    }
    fn decode(input: &mut Decoder) -> Result<Self> {
        Ok(HostName(input.opaque(NAME_LEN_MAX)?))
    }
}

xdr_enum! {
    /// `nlm4_stats`.
    pub enum Nlm4Stat {
        /// `NLM4_GRANTED`.
        Granted = 0,
        /// `NLM4_DENIED`: somebody else has a lock there.
        Denied = 1,
        /// `NLM4_DENIED_NOLOCKS`: the server has no room.
        DeniedNoLocks = 2,
        /// `NLM4_BLOCKED`: the request waits; GRANTED will be called.
        Blocked = 3,
        /// `NLM4_DENIED_GRACE_PERIOD`: only reclaims now.
        DeniedGracePeriod = 4,
        /// `NLM4_DEADLCK`: it would wait for ever.
        DeadLck = 5,
        /// `NLM4_ROFS`: read-only file system.
        RoFs = 6,
        /// `NLM4_STALE_FH`: no such file.
        StaleFh = 7,
        /// `NLM4_FBIG`: an offset that files do not have.
        FBig = 8,
        /// `NLM4_FAILED`: anything else.
        Failed = 9,
    }
}

xdr_struct! {
    /// `nlm4_lock`.
    pub struct Nlm4Lock {
        /// The client's name for itself.
        pub caller_name: HostName,
        /// The file.
        pub fh: NetObj,
        /// The owner.
        pub oh: NetObj,
        /// The owner's process.
        pub svid: u32,
        /// First byte.
        pub l_offset: u64,
        /// Bytes; 0: to the end of the file.
        pub l_len: u64,
    }

    /// `nlm4_lockargs`.
    pub struct Nlm4LockArgs {
        /// Comes back in the reply.
        pub cookie: NetObj,
        /// Wait for the lock.
        pub block: bool,
        /// Exclusive or shared.
        pub exclusive: bool,
        /// The lock.
        pub alock: Nlm4Lock,
        /// The client had it before the server lost its locks.
        pub reclaim: bool,
        /// The client's NSM state.
        pub state: u32,
    }

    /// `nlm4_cancargs`.
    pub struct Nlm4CancArgs {
        /// Comes back in the reply.
        pub cookie: NetObj,
        /// As in the request.
        pub block: bool,
        /// As in the request.
        pub exclusive: bool,
        /// As in the request.
        pub alock: Nlm4Lock,
    }

    /// `nlm4_testargs`, also those of GRANTED.
    pub struct Nlm4TestArgs {
        /// Comes back in the reply.
        pub cookie: NetObj,
        /// Exclusive or shared.
        pub exclusive: bool,
        /// The lock.
        pub alock: Nlm4Lock,
    }

    /// `nlm4_unlockargs`.
    pub struct Nlm4UnlockArgs {
        /// Comes back in the reply.
        pub cookie: NetObj,
        /// The range.
        pub alock: Nlm4Lock,
    }

    /// `nlm4_res`.
    pub struct Nlm4Res {
        /// From the call.
        pub cookie: NetObj,
        /// How it went.
        pub stat: Nlm4Stat,
    }

    /// `nlm4_holder`.
    pub struct Nlm4Holder {
        /// Exclusive or shared.
        pub exclusive: bool,
        /// The holder's process.
        pub svid: u32,
        /// The holder.
        pub oh: NetObj,
        /// First byte.
        pub l_offset: u64,
        /// Bytes; 0: to the end of the file.
        pub l_len: u64,
    }

    /// `nlm4_share`.
    pub struct Nlm4Share {
        /// The client's name for itself.
        pub caller_name: HostName,
        /// The file.
        pub fh: NetObj,
        /// The owner.
        pub oh: NetObj,
        /// `fsh4_mode`, what is denied to others: 1 read, 2 write.
        pub mode: u32,
        /// `fsh4_access`, what the owner does: 1 read, 2 write.
        pub access: u32,
    }

    /// `nlm4_shareargs`.
    pub struct Nlm4ShareArgs {
        /// Comes back in the reply.
        pub cookie: NetObj,
        /// The reservation.
        pub share: Nlm4Share,
        /// The client had it before the server lost its locks.
        pub reclaim: bool,
    }

    /// `nlm4_shareres`.
    pub struct Nlm4ShareRes {
        /// From the call.
        pub cookie: NetObj,
        /// How it went.
        pub stat: Nlm4Stat,
        /// Has no meaning any more.
        pub sequence: u32,
    }

    /// `nlm4_notify`: whose locks FREE_ALL gives up.
    pub struct Nlm4Notify {
        /// The client's name for itself.
        pub name: HostName,
        /// Not used.
        pub state: u32,
    }

    /// NSM's `stat_chge`: a host went down or came up.
    pub struct StatChge {
        /// The host.
        pub mon_name: HostName,
        /// Its state: odd while it is up.
        pub state: u32,
    }

    /// NSM's `sm_stat_res`.
    pub struct SmStatRes {
        /// `STAT_SUCC` 0 or `STAT_FAIL` 1.
        pub res_stat: u32,
        /// The state of the monitor's own host.
        pub state: u32,
    }
}

/// `nlm4_testres`: its status, and the holder of the lock that is in the way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Nlm4TestRes {
    /// From the call.
    pub cookie: NetObj,
    /// [`Nlm4Stat::Denied`] goes with a holder.
    pub stat: std::result::Result<Nlm4Stat, Nlm4Holder>,
}

impl Xdr for Nlm4TestRes {
    fn encode(&self, out: &mut Encoder) {
        out.put(&self.cookie);
        match &self.stat {
            Ok(stat) => out.put(stat),
            Err(holder) => {
                out.put(&Nlm4Stat::Denied);
                out.put(holder);
            }
        }
    }

    fn decode(input: &mut Decoder) -> Result<Self> {
        let cookie = input.take()?;
        let stat = match input.take()? {
            Nlm4Stat::Denied => Err(input.take()?),
            stat => Ok(stat),
        };
        Ok(Nlm4TestRes { cookie, stat })
    }
}
