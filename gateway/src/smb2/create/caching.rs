//! What a CREATE asks to keep of its file, an oplock or a lease (MS-SMB2 §3.3.5.9.8, §3.3.5.9.11), and what it gets.

use super::Opening;
use crate::openstate::{Caching, CachingRequest, FileKey, Granted, LeaseId};
use crate::smb2::caching;
use crate::smb2::durable::{Asks, Durable};
use crate::smb2::open::Open;
use crate::smb2::wire::create::oplock;
use crate::smb2::wire::create_contexts::CreateContext;
use crate::smb2::wire::create_replies::CreateReplyContext;
use crate::smb2::wire::lease::{LEASE_BREAK_IN_PROGRESS, Lease, LeaseV2};
use crate::smb2::wire::negotiate::Dialect;
use crate::smb2::wire::status::NtStatus;
use fsstore::{Attr, FileKind};

impl Opening<'_> {
    /// The lease that is asked for, where the dialect has it.
    fn lease(&self) -> Option<&Lease> {
        let agreed = self.asked.agreed()?;
        let lease = self.request.contexts.iter().find_map(|context| match context {
            CreateContext::Lease(lease) => Some(lease),
            _ => None,
        });
        lease.filter(|lease| {
            self.request.oplock_level == oplock::LEASE
                && lease.key != [0; 16]
                && agreed.dialect >= if lease.v2.is_some() { Dialect::Smb300 } else { Dialect::Smb210 }
        })
    }

    pub(super) fn lease_id(&self) -> Option<LeaseId> {
        let client = self.asked.agreed()?.client_guid;
        self.lease().map(|lease| LeaseId { client, key: lease.key })
    }

    /// A lease is of one file: with its key no other is opened or made.
    pub(super) fn check_lease(&self, exists: Option<Attr>) -> Result<(), NtStatus> {
        let found = exists.map(|attr| FileKey { volume: self.found.volume, file: attr.id });
        let leased = self.lease_id().and_then(|lease| self.vserver().locks.lease_file(lease));
        if leased.is_some() && leased != found { Err(NtStatus::INVALID_PARAMETER) } else { Ok(()) }
    }

    /// What is asked to be kept.
    pub(super) fn caching(&self, open: &Open) -> Option<CachingRequest> {
        if open.kind != FileKind::File {
            return None;
        }
        let lease = self.lease_id();
        let holder = caching::holder(self.asked, open.id, lease.is_some());
        if let Some(asked) = self.lease() {
            let epoch = asked.v2.map(|v2| v2.epoch);
            return Some(CachingRequest { lease, wanted: Caching::from_bits(asked.state), epoch, holder });
        }
        let wanted = caching::of_level(self.request.oplock_level);
        (wanted != Caching::NONE).then_some(CachingRequest { lease: None, wanted, epoch: None, holder })
    }

    /// Whether the open outlives its connection: its client keeps handles, and asked for it (§3.3.5.9.6, §3.3.5.9.10).
    pub(super) fn durable(&self, open: &Open, granted: Option<Granted>) -> Option<Durable> {
        let Asks::New { create_guid, away } = self.asks else { return None };
        let qualifies = granted.is_some_and(|granted| granted.state.has(Caching::HANDLE));
        (qualifies && open.stream.is_none()).then(|| Durable {
            create_guid,
            away,
            user: self.asked.session.identity().user.clone(),
        })
    }

    /// The level that the response names.
    pub(super) fn level(&self, granted: Option<Granted>) -> u8 {
        match granted {
            None => oplock::NONE,
            Some(_) if self.lease().is_some() => oplock::LEASE,
            Some(granted) => caching::level(granted.state),
        }
    }

    /// What the response says of a lease.
    pub(super) fn leased(&self, granted: Option<Granted>) -> Option<CreateReplyContext> {
        let (lease, granted) = (self.lease()?, granted?);
        Some(answer(lease, granted))
    }
}

/// A lease as the response names it.
pub(super) fn answer(lease: &Lease, granted: Granted) -> CreateReplyContext {
    CreateReplyContext::Lease(Lease {
        key: lease.key,
        state: granted.state.bits(),
        flags: if granted.breaking { LEASE_BREAK_IN_PROGRESS } else { 0 },
        // In the version in which it was asked for first.
        v2: granted.epoch.map(|epoch| LeaseV2 { parent_key: lease.v2.and_then(|v2| v2.parent_key), epoch }),
    })
}
