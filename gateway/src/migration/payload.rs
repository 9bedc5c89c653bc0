//! What travels beside blocks: the configuration of a vserver (CRS) and the state of its protocols.
//!
//! Formats only. Both hold secrets or client data: never logged, sent only over the link between peers.

use crate::handle::HandleKey;
use crate::openstate::WatchedClient;
use crate::store::{
    Guarantee, LifPorts, LifRecord, QosRecord, SmbRecord, SnapshotSettings, VolumeRecord, VserverRecord,
};
use crate::vserver::{ExportRule, NtHash};
use crate::xdr::{Decoder, Encoder, XdrError};
use bytes::Bytes;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

const CRS_VERSION: u32 = 1;
const OPEN_STATE_VERSION: u8 = 3;
/// Without SMB's handles.
const OPEN_STATE_VERSION_2: u8 = 2;
/// Without locks.
const OPEN_STATE_VERSION_1: u8 = 1;
/// Version and write verifier.
const OPEN_STATE_HEAD: usize = 9;

/// The configuration of a vserver, as it travels.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crs {
    version: u32,
    /// Name.
    pub name: String,
    /// Identity.
    pub uuid: Uuid,
    /// Signs file handles: clients keep theirs. Secret.
    pub handle_key: HandleKey,
    /// Export policies by name.
    pub export_policies: BTreeMap<String, Vec<ExportRule>>,
    /// The operator's limits.
    pub qos: QosRecord,
    /// Calls run with the groups of the user database of where the vserver is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub extended_groups: bool,
    /// SMB users, groups and shares. Secret: the users' hashes are open, as the destination has another key.
    #[serde(default, skip_serializing_if = "SmbRecord::is_default")]
    pub smb: SmbRecord<NtHash>,
    volumes: Vec<CrsVolume>,
    lifs: Vec<CrsLif>,
}

impl std::fmt::Debug for Crs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Crs({}, ..)", self.name)
    }
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CrsVolume {
    name: String,
    uuid: Uuid,
    size_bytes: u64,
    junction: String,
    policy: String,
    #[serde(default)]
    snapshots: SnapshotSettings,
    #[serde(default)]
    guarantee: Guarantee,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CrsLif {
    name: String,
    address: IpNet,
    interface: Option<String>,
    ports: LifPorts,
}

impl Crs {
    /// The configuration of a vserver with these volumes and LIFs; `smb` is that of its record, with open secrets.
    pub fn new(
        vserver: &VserverRecord,
        smb: SmbRecord<NtHash>,
        volumes: Vec<VolumeRecord>,
        lifs: Vec<LifRecord>,
    ) -> Self {
        let volume = |v: VolumeRecord| CrsVolume {
            name: v.name,
            uuid: v.uuid,
            size_bytes: v.size_bytes,
            junction: v.junction,
            policy: v.policy,
            snapshots: v.snapshots,
            guarantee: v.guarantee,
        };
        let lif = |l: LifRecord| CrsLif {
            name: l.name,
            address: l.address,
            interface: l.interface,
            ports: l.ports,
        };
        Crs {
            version: CRS_VERSION,
            name: vserver.name.clone(),
            uuid: vserver.uuid,
            handle_key: vserver.handle_key.clone(),
            export_policies: vserver.export_policies.clone(),
            qos: vserver.qos,
            extended_groups: vserver.extended_groups,
            smb,
            volumes: volumes.into_iter().map(volume).collect(),
            lifs: lifs.into_iter().map(lif).collect(),
        }
    }

    /// To send.
    pub fn encode(&self) -> Vec<u8> {
        // Strings, numbers and maps with string keys always make JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// As received. Names are checked: they end up in keys of the store.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        // The parser's words could quote a secret, so they are not passed on.
        let crs: Crs = serde_json::from_slice(bytes).map_err(|error| {
            format!("the vserver's configuration does not read (byte {})", error.column())
        })?;
        if crs.version != CRS_VERSION {
            return Err(format!(
                "the vserver's configuration has version {}, not {CRS_VERSION}",
                crs.version
            ));
        }
        let names = crs.volumes.iter().map(|v| &v.name).chain(crs.lifs.iter().map(|l| &l.name));
        if let Some(bad) = names.chain([&crs.name]).find(|name| !crate::config::is_name(name)) {
            return Err(format!("{bad:?} in the vserver's configuration is no name"));
        }
        crs.smb.check()?;
        Ok(crs)
    }

    /// Its volumes as records of the store.
    pub fn volumes(&self) -> Vec<VolumeRecord> {
        let record = |v: &CrsVolume| VolumeRecord {
            vserver: self.name.clone(),
            name: v.name.clone(),
            uuid: v.uuid,
            size_bytes: v.size_bytes,
            junction: v.junction.clone(),
            policy: v.policy.clone(),
            snapshots: v.snapshots.clone(),
            // All blocks of a clone are sent: where it arrives it is a volume like others.
            clone_of: None,
            guarantee: v.guarantee,
        };
        self.volumes.iter().map(record).collect()
    }

    /// Its LIFs as records of the store, at home on `node`.
    pub fn lifs(&self, node: &str) -> Vec<LifRecord> {
        let record = |l: &CrsLif| LifRecord {
            vserver: self.name.clone(),
            name: l.name.clone(),
            address: l.address,
            interface: l.interface.clone(),
            home: node.to_owned(),
            ports: l.ports,
        };
        self.lifs.iter().map(record).collect()
    }
}

/// The state of a vserver's protocols.
///
/// ```text
/// 0         1                9
/// | version | write verifier | XDR: NSM state | watched clients | reply cache | locks | SMB handles
/// ```
/// The last three are opaques, as `ReplyCache::export`, `LockTable::export` and `SmbHandle::encode_all` give them. Version 2 had
/// no handles; in version 1 all that followed the verifier was the reply cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenState {
    /// The write verifier; clients need not send UNSTABLE writes again that are still in the log.
    pub write_verifier: [u8; 8],
    /// First answers to calls that must not be run twice.
    pub reply_cache: Vec<u8>,
    /// Locks, reservations and who waits for them.
    pub locks: Vec<u8>,
    /// Open files of SMB clients, with what they hold. Empty: none.
    pub smb_handles: Vec<u8>,
    /// Clients to be told if their locks are lost.
    pub watched: Vec<WatchedClient>,
    /// Which life of the vserver this is: clients need not hear that it moved.
    pub nsm_state: u32,
}

impl OpenState {
    /// To send.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(OPEN_STATE_HEAD + self.reply_cache.len());
        out.push(OPEN_STATE_VERSION);
        out.extend_from_slice(&self.write_verifier);
        let mut rest = Encoder::with_capacity(self.reply_cache.len() + self.locks.len() + 64);
        rest.u32(self.nsm_state);
        rest.u32(u32::try_from(self.watched.len()).unwrap_or(u32::MAX));
        self.watched.iter().for_each(|client| rest.put(client));
        rest.opaque(&self.reply_cache);
        rest.opaque(&self.locks);
        rest.opaque(&self.smb_handles);
        out.extend_from_slice(&rest.finish().into_bytes());
        out
    }

    /// As received.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let wrong = || "the protocol state of the vserver does not read".to_owned();
        let (head, rest) = bytes.split_at_checked(OPEN_STATE_HEAD).ok_or_else(wrong)?;
        let (version, verifier) = head.split_first().ok_or_else(wrong)?;
        let write_verifier = verifier.try_into().map_err(|_| wrong())?;
        if *version == OPEN_STATE_VERSION_1 {
            let locks = crate::openstate::LockTable::default().export();
            let reply_cache = rest.to_vec();
            return Ok(OpenState { write_verifier, reply_cache, locks, ..OpenState::default() });
        }
        if !matches!(*version, OPEN_STATE_VERSION | OPEN_STATE_VERSION_2) {
            return Err(format!("the protocol state has version {version}, not {OPEN_STATE_VERSION}"));
        }
        Self::decode_rest(write_verifier, rest, *version).map_err(|_| wrong())
    }

    fn decode_rest(write_verifier: [u8; 8], rest: &[u8], version: u8) -> Result<Self, XdrError> {
        let mut input = Decoder::new(Bytes::copy_from_slice(rest));
        let nsm_state = input.u32()?;
        let watched = (0..input.u32()?).map(|_| input.take()).collect::<Result<_, _>>()?;
        let reply_cache = input.opaque(usize::MAX)?.into();
        let locks = input.opaque(usize::MAX)?.into();
        let smb_handles = match version {
            OPEN_STATE_VERSION_2 => Vec::new(),
            _ => input.opaque(usize::MAX)?.into(),
        };
        input.finish()?;
        Ok(OpenState { write_verifier, reply_cache, locks, smb_handles, watched, nsm_state })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Ownership, OwnershipState, ScheduleRecord, SnapshotDirSetting};

    fn vserver() -> VserverRecord {
        VserverRecord {
            name: "vs1".to_owned(),
            uuid: Uuid::new_v4(),
            ownership: Ownership { epoch: 1, state: OwnershipState::Serving },
            handle_key: HandleKey::generate(),
            write_verifier: [1; 8],
            mounted: true,
            export_policies: BTreeMap::new(),
            qos: QosRecord {
                write_limit_bytes_per_s: Some(5000),
                client_limit_ops_per_s: Some(70),
                ..QosRecord::default()
            },
            nsm_state: 3,
            extended_groups: true,
            smb: SmbRecord::default(),
        }
    }

    fn volume(name: &str) -> VolumeRecord {
        VolumeRecord {
            vserver: "vs1".to_owned(),
            name: name.to_owned(),
            uuid: Uuid::new_v4(),
            size_bytes: 1 << 30,
            junction: "/".to_owned(),
            policy: "default".to_owned(),
            snapshots: SnapshotSettings {
                dir: SnapshotDirSetting::Everywhere,
                schedule: Some(ScheduleRecord { rules: "hourly 6".parse().unwrap(), since_s: 7 }),
            },
            clone_of: None,
            guarantee: Guarantee::default(),
        }
    }

    #[test]
    fn a_configuration_reads_back_and_keeps_its_secret_to_itself() {
        let crs = Crs::new(&vserver(), SmbRecord::default(), vec![volume("a"), volume("b")], Vec::new());
        let back = Crs::decode(&crs.encode()).unwrap();
        assert_eq!(back, crs);
        assert_eq!(back.volumes().len(), 2);
        assert_eq!(back.volumes()[0].snapshots, volume("a").snapshots, "schedules move along");
        assert_eq!(format!("{crs:?}"), "Crs(vs1, ..)");
    }

    #[test]
    fn malformed_configurations_are_refused() {
        let crs = Crs::new(&vserver(), SmbRecord::default(), vec![volume("../x")], Vec::new());
        assert!(Crs::decode(&crs.encode()).unwrap_err().contains("../x"));
        assert!(Crs::decode(b"{}").is_err());
        let text =
            String::from_utf8(Crs::new(&vserver(), SmbRecord::default(), Vec::new(), Vec::new()).encode())
                .unwrap();
        assert!(
            Crs::decode(text.replace("\"version\":1", "\"version\":2").as_bytes())
                .unwrap_err()
                .contains("version 2")
        );
    }

    #[test]
    fn protocol_state_reads_back_and_short_or_newer_ones_are_refused() {
        let watched = WatchedClient {
            client: [10, 0, 0, 1].into(),
            local: "fd00::1".parse().unwrap(),
            name: Box::from(*b"client"),
        };
        let state = OpenState {
            write_verifier: *b"verifier",
            reply_cache: vec![1, 2, 3],
            locks: vec![4, 5],
            smb_handles: vec![6],
            watched: vec![watched],
            nsm_state: 7,
        };
        let bytes = state.encode();
        assert_eq!(OpenState::decode(&bytes).unwrap(), state);
        for len in 0..bytes.len() {
            assert!(OpenState::decode(&bytes[..len]).is_err(), "{len} bytes");
        }
        assert!(OpenState::decode(&[4; 9]).is_err());
        let mut of_version_2 = bytes;
        of_version_2[0] = 2;
        of_version_2.truncate(of_version_2.len() - 8);
        assert_eq!(OpenState::decode(&of_version_2).unwrap(), OpenState { smb_handles: Vec::new(), ..state });
        let older = OpenState::decode(b"\x01verifier123").unwrap();
        assert_eq!((older.reply_cache.as_slice(), older.watched.len()), (&b"123"[..], 0));
    }
}
