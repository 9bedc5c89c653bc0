//! Everything that a protocol may see of a virtual server.
//!
//! Protocol folders import this, the store, and what they share among themselves. This module knows no protocol's
//! wire types, no configuration store, no migration: those who know them build a [`Vserver`] and change its parts.

mod admission;
mod caller;
mod export_policies;
mod exports;
mod gate;
mod groups;
mod lockout;
mod mounts;
mod names;
mod namespace;
mod qos;
mod shares;
mod sid;
mod smb_clients;
mod smb_handles;
mod users;

pub use crate::handle::VolumeId;
pub use caller::{Caller, Target, Unreachable};
pub use export_policies::{Decision, ExportAccess, ExportPolicies, hosts_named};
pub use exports::{
    ANON_ID_DEFAULT, ClientMatch, ExportRule, POLICY_DEFAULT, RULES_MAX, Squash, parse_client,
};
pub use gate::{Gate, GateClosed, GatePass, PARK_LIMIT_DEFAULT};
pub use groups::Groups;
pub use lockout::Lockout;
pub use mounts::Mounts;
pub use names::{Host, Names, Netgroups};
pub use namespace::{MountedVolume, Namespace, NamespaceError, check_junction_path};
pub use qos::{BYTES_LIMIT_MIN, Cost, Limits, OPS_LIMIT_MIN, Qos, QosCounters, WRITE_LIMIT_MIN};
pub use shares::{
    ACCESS_MAX, Encryption, SHARES_MAX, Share, ShareAccess, ShareGrant, Shares, SmbSettings, is_everyone,
};
pub use sid::Sid;
pub use smb_clients::SmbClients;
pub use smb_handles::{SMB_HANDLES_MAX, SmbHandle};
pub use users::{
    Account, COMMENT_LEN_MAX, GROUPS_MAX, Group, NtHash, RID_FIRST, USER_GROUPS_MAX, USERS_MAX, UnixId, User,
    Users, check_account_name, fold_name, machine_sid,
};

use crate::handle::HandleKey;
use crate::openstate::{Grace, LockTable, WatchedClients};
use crate::rpc::drc::ReplyCache;
use crate::rpc::outgoing::PORTMAP_PORT;
use arc_swap::ArcSwap;
use std::sync::atomic::AtomicU16;
use std::sync::{Arc, OnceLock};
use uuid::Uuid;

/// A virtual server that is served here. Always in an [`Arc`].
#[derive(Debug)]
pub struct Vserver {
    /// Its name.
    pub name: String,
    /// Its identity, the same wherever it moves.
    pub uuid: Uuid,
    /// Every request passes it.
    pub gate: Gate,
    /// Limits, write throttle and counters.
    pub qos: Qos,
    /// First answers to calls that must not be run twice; moves with the vserver.
    pub reply_cache: ReplyCache,
    /// Groups of users, if calls are to run with those of the user database.
    pub groups: Groups,
    /// Failed logins of SMB users.
    pub lockout: Lockout,
    /// What SMB keeps for all of the vserver's addresses; set by SMB when it is first needed.
    pub smb: OnceLock<Arc<dyn SmbClients>>,
    /// What clients say that they have mounted.
    pub mounts: Mounts,
    /// Locks and share reservations of all protocols; move with the vserver.
    pub locks: LockTable,
    /// Clients to be told when their locks are lost; move with the vserver.
    pub watched: WatchedClients,
    /// After locks were lost.
    pub grace: Grace,
    /// Where clients' portmappers are; only tests have others.
    pub client_portmap_port: AtomicU16,
    handle_key: HandleKey,
    write_verifier: [u8; 8],
    namespace: ArcSwap<Namespace>,
    exports: ArcSwap<ExportPolicies>,
    users: ArcSwap<Users>,
    shares: ArcSwap<Shares>,
}

impl Vserver {
    /// A vserver with an open gate, no volumes, export policies, users or shares.
    pub fn new(name: &str, uuid: Uuid, handle_key: HandleKey, write_verifier: [u8; 8]) -> Arc<Self> {
        Arc::new(Vserver {
            name: name.to_owned(),
            uuid,
            gate: Gate::new(),
            qos: Qos::new(),
            reply_cache: ReplyCache::default(),
            groups: Groups::default(),
            lockout: Lockout::default(),
            smb: OnceLock::new(),
            mounts: Mounts::default(),
            locks: LockTable::default(),
            watched: WatchedClients::default(),
            grace: Grace::default(),
            client_portmap_port: AtomicU16::new(PORTMAP_PORT),
            handle_key,
            write_verifier,
            namespace: ArcSwap::default(),
            exports: ArcSwap::default(),
            users: ArcSwap::from_pointee(Users::new(uuid, [], [])),
            shares: ArcSwap::default(),
        })
    }

    /// The secret that signs file handles; moves with the vserver.
    pub fn handle_key(&self) -> &HandleKey {
        &self.handle_key
    }

    /// The write verifier (RFC 1813 §3.3.7): moves with the vserver, and is another one after a restart that may
    /// have lost UNSTABLE writes.
    pub fn write_verifier(&self) -> [u8; 8] {
        self.write_verifier
    }

    /// Open files of SMB clients that outlive their connections, encoded. Freeze the vserver first.
    pub fn smb_handles(&self) -> Vec<u8> {
        let handles = self.smb.get().map(|smb| smb.handles(self)).unwrap_or_default();
        SmbHandle::encode_all(&handles)
    }

    /// The tree as it is now. Take it once per request.
    pub fn namespace(&self) -> Arc<Namespace> {
        self.namespace.load_full()
    }

    /// The export policies as they are now.
    pub fn exports(&self) -> Arc<ExportPolicies> {
        self.exports.load_full()
    }

    /// The SMB users and groups as they are now.
    pub fn users(&self) -> Arc<Users> {
        self.users.load_full()
    }

    /// The shares as they are now.
    pub fn shares(&self) -> Arc<Shares> {
        self.shares.load_full()
    }

    /// Swaps the tree; requests that began before keep theirs.
    pub fn set_namespace(&self, namespace: Namespace) {
        self.namespace.store(Arc::new(namespace));
    }

    /// Swaps the export policies.
    pub fn set_exports(&self, exports: ExportPolicies) {
        self.exports.store(Arc::new(exports));
    }

    /// Swaps the SMB users and groups. Who is logged in stays so.
    pub fn set_users(&self, users: Users) {
        self.users.store(Arc::new(users));
    }

    /// Swaps the shares.
    pub fn set_shares(&self, shares: Shares) {
        self.shares.store(Arc::new(shares));
    }
}
