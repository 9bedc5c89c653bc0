//! Open files of SMB clients as bytes, for the vserver's next home: those that outlive their client's connection.
//!
//! ```text
//! version | for each: 1, handle | 0
//! handle: ids | share | file | its name | rights | whose | client's state | what makes it durable | what it holds
//! ```
//! Everything is XDR.

use crate::handle::VolumeId;
use crate::openstate::{
    Access, ByteRange, Caching, Client, FileKey, HandoffError, HeldRange, Holdings, Kept, LeaseId, Owner,
    Protocol,
};
use crate::xdr::{Decoder, Encoder};
use bytes::Bytes;
use fsstore::{FileId, Generation, InodeNum, SnapshotId};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

const VERSION: u32 = 1;
/// Most handles of a vserver that stay without their clients.
pub const SMB_HANDLES_MAX: usize = 8_192;
/// Bytes after which no more handles are taken along: all that moves has to travel in one message.
const BYTES_MAX: usize = 4 << 20;
/// Most bytes of a name, an owner's id or a path.
const TEXT_MAX: usize = 128 << 10;
const GROUPS_MAX: u32 = 65_536;
const LOCKS_MAX: u32 = 1 << 17;

/// A file that a client of SMB has open (MS-SMB2 §3.3.1.10), and may come back to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SmbHandle {
    /// The two halves of its id.
    pub id: (u64, u64),
    /// The directory that its share is.
    pub share: FileKey,
    /// The file.
    pub file: FileKey,
    /// The directory that it was found in.
    pub dir: FileId,
    /// Its name there.
    pub name: Bytes,
    /// Its path in the share, as the client sees it.
    pub path: String,
    /// Rights that were granted.
    pub granted: u32,
    /// Writes wait until they are durable.
    pub write_through: bool,
    /// As whom its operations run.
    pub uid: u32,
    /// As whom its operations run.
    pub gid: u32,
    /// As whom its operations run.
    pub groups: Vec<u32>,
    /// `FilePositionInformation`.
    pub position: u64,
    /// What its CREATE did.
    pub action: u32,
    /// Bytes that its CREATE asked to allocate.
    pub allocation: u64,
    /// `Open.ChannelSequence`.
    pub channel_sequence: u16,
    /// Times that its writes leave alone, as its user has set them: of the last write, of the last change.
    pub keeps_times: (bool, bool),
    /// `Open.LockSequenceArray`; 255: nothing.
    pub lock_sequences: [u8; 64],
    /// `Open.CreateGuid`.
    pub create_guid: Option<[u8; 16]>,
    /// `Open.DurableOwner`.
    pub user: Option<String>,
    /// For how long it outlives a connection.
    pub away: Duration,
    /// How much of that is left.
    pub left: Duration,
    /// By whom the open state knows it.
    pub owner: Owner,
    /// What that holds.
    pub holdings: Holdings,
}

impl SmbHandle {
    /// To send; nothing, where there are none. What there is no room for stays behind: its client opens the file anew.
    pub fn encode_all(handles: &[SmbHandle]) -> Vec<u8> {
        if handles.is_empty() {
            return Vec::new();
        }
        let mut out = Encoder::default();
        out.u32(VERSION);
        for handle in handles.iter().take(SMB_HANDLES_MAX) {
            if out.len() > BYTES_MAX {
                break;
            }
            out.bool(true);
            handle.encode(&mut out);
        }
        out.bool(false);
        out.finish().into_bytes().into()
    }

    /// As received.
    ///
    /// # Errors
    /// [`HandoffError`].
    pub fn decode_all(bytes: &[u8]) -> Result<Vec<SmbHandle>, HandoffError> {
        if bytes.is_empty() {
            return Ok(Vec::new());
        }
        let mut input = Decoder::new(Bytes::copy_from_slice(bytes));
        let version = input.u32()?;
        if version != VERSION {
            return Err(HandoffError::Version(version));
        }
        let mut handles = Vec::new();
        while input.bool()? {
            if handles.len() == SMB_HANDLES_MAX {
                return Err(HandoffError::TooMany);
            }
            handles.push(SmbHandle::decode(&mut input)?);
        }
        input.finish()?;
        Ok(handles)
    }

    fn encode(&self, out: &mut Encoder) {
        out.u64(self.id.0);
        out.u64(self.id.1);
        put_key(out, self.share);
        put_key(out, self.file);
        put_file(out, self.dir);
        out.opaque(&self.name);
        out.opaque(self.path.as_bytes());
        out.u32(self.granted);
        out.bool(self.write_through);
        out.u32(self.uid);
        out.u32(self.gid);
        out.u32(count(self.groups.len()));
        self.groups.iter().for_each(|group| out.u32(*group));
        out.u64(self.position);
        out.u32(self.action);
        out.u64(self.allocation);
        out.u32(self.channel_sequence.into());
        out.bool(self.keeps_times.0);
        out.bool(self.keeps_times.1);
        out.array(&self.lock_sequences);
        put_some(out, self.create_guid.as_ref(), |out, guid| out.array(guid));
        put_some(out, self.user.as_ref(), |out, user| out.opaque(user.as_bytes()));
        out.u64(millis(self.away));
        out.u64(millis(self.left));
        put_owner(out, &self.owner);
        put_holdings(out, &self.holdings);
    }

    fn decode(input: &mut Decoder) -> Result<SmbHandle, HandoffError> {
        Ok(SmbHandle {
            id: (input.u64()?, input.u64()?),
            share: take_key(input)?,
            file: take_key(input)?,
            dir: take_file(input)?,
            name: input.opaque(TEXT_MAX)?,
            path: take_text(input)?,
            granted: input.u32()?,
            write_through: input.bool()?,
            uid: input.u32()?,
            gid: input.u32()?,
            groups: take_list(input, GROUPS_MAX, |input| Ok(input.u32()?))?,
            position: input.u64()?,
            action: input.u32()?,
            allocation: input.u64()?,
            channel_sequence: take_u16(input)?,
            keeps_times: (input.bool()?, input.bool()?),
            lock_sequences: input.array()?,
            create_guid: take_some(input, |input| Ok(input.array()?))?,
            user: take_some(input, take_text)?,
            away: Duration::from_millis(input.u64()?),
            left: Duration::from_millis(input.u64()?),
            owner: take_owner(input)?,
            holdings: take_holdings(input)?,
        })
    }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn put_some<T>(out: &mut Encoder, value: Option<&T>, put: impl FnOnce(&mut Encoder, &T)) {
    out.bool(value.is_some());
    if let Some(value) = value {
        put(out, value);
    }
}

fn take_some<T>(
    input: &mut Decoder,
    take: impl FnOnce(&mut Decoder) -> Result<T, HandoffError>,
) -> Result<Option<T>, HandoffError> {
    if input.bool()? { take(input).map(Some) } else { Ok(None) }
}

fn take_list<T>(
    input: &mut Decoder,
    max: u32,
    take: impl Fn(&mut Decoder) -> Result<T, HandoffError>,
) -> Result<Vec<T>, HandoffError> {
    let len = input.u32()?;
    if len > max {
        return Err(HandoffError::TooMany);
    }
    (0..len).map(|_| take(input)).collect()
}

fn take_u16(input: &mut Decoder) -> Result<u16, HandoffError> {
    u16::try_from(input.u32()?).map_err(|_| HandoffError::Contradiction)
}

fn take_text(input: &mut Decoder) -> Result<String, HandoffError> {
    String::from_utf8(input.opaque(TEXT_MAX)?.into()).map_err(|_| HandoffError::Contradiction)
}

fn put_file(out: &mut Encoder, file: FileId) {
    out.u64(file.ino.0);
    out.u32(file.generation.0);
    out.u64(file.snapshot.0);
}

fn take_file(input: &mut Decoder) -> Result<FileId, HandoffError> {
    let (ino, generation) = (InodeNum(input.u64()?), Generation(input.u32()?));
    Ok(FileId { ino, generation, snapshot: SnapshotId(input.u64()?) })
}

fn put_key(out: &mut Encoder, key: FileKey) {
    out.u64(key.volume.0);
    put_file(out, key.file);
}

fn take_key(input: &mut Decoder) -> Result<FileKey, HandoffError> {
    Ok(FileKey { volume: VolumeId(input.u64()?), file: take_file(input)? })
}

fn put_owner(out: &mut Encoder, owner: &Owner) {
    let address = match owner.client.address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    out.array(&address.octets());
    out.opaque(&owner.client.name);
    out.opaque(&owner.id);
}

fn take_owner(input: &mut Decoder) -> Result<Owner, HandoffError> {
    let address = IpAddr::V6(Ipv6Addr::from(input.array::<16>()?)).to_canonical();
    let name = input.opaque(TEXT_MAX)?.as_ref().into();
    let client = Arc::new(Client { protocol: Protocol::Smb2, address, name });
    Ok(Owner { client, id: input.opaque(TEXT_MAX)?.as_ref().into() })
}

fn put_holdings(out: &mut Encoder, holdings: &Holdings) {
    out.u32(holdings.access.bits());
    out.u32(holdings.deny.bits());
    out.u64(holdings.since_s);
    out.bool(holdings.looks_only);
    out.u32(count(holdings.locks.len()));
    for lock in &holdings.locks {
        out.u64(lock.range.first);
        out.u64(lock.range.last);
        out.bool(lock.exclusive);
        out.u64(lock.since_s);
    }
    put_some(out, holdings.caching.as_ref(), |out, kept| {
        put_some(out, kept.lease.as_ref(), |out, lease| {
            out.array(&lease.client);
            out.array(&lease.key);
        });
        out.u32(kept.state.bits());
        put_some(out, kept.epoch.as_ref(), |out, epoch| out.u32((*epoch).into()));
    });
}

fn take_holdings(input: &mut Decoder) -> Result<Holdings, HandoffError> {
    Ok(Holdings {
        access: Access::from_bits(input.u32()?),
        deny: Access::from_bits(input.u32()?),
        since_s: input.u64()?,
        looks_only: input.bool()?,
        locks: take_list(input, LOCKS_MAX, take_range)?,
        caching: take_some(input, take_kept)?,
    })
}

fn take_range(input: &mut Decoder) -> Result<HeldRange, HandoffError> {
    let range = ByteRange { first: input.u64()?, last: input.u64()? };
    // The range of no bytes ends just before it begins.
    if range.first > range.last && range != ByteRange::empty(range.first) && range != ByteRange::empty(0) {
        return Err(HandoffError::Contradiction);
    }
    Ok(HeldRange { range, exclusive: input.bool()?, since_s: input.u64()? })
}

fn take_kept(input: &mut Decoder) -> Result<Kept, HandoffError> {
    let lease = take_some(input, |input| Ok(LeaseId { client: input.array()?, key: input.array()? }))?;
    let state = Caching::from_bits(input.u32()?);
    Ok(Kept { lease, state, epoch: take_some(input, take_u16)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(ino: u64) -> FileKey {
        let file = FileId { ino: InodeNum(ino), generation: Generation(2), snapshot: SnapshotId::ACTIVE };
        FileKey { volume: VolumeId(9), file }
    }

    fn handle() -> SmbHandle {
        let client =
            Client { protocol: Protocol::Smb2, address: [10, 0, 0, 1].into(), name: Box::from(*b"jane") };
        let lock = |range| HeldRange { range, exclusive: true, since_s: 5 };
        let lease = Some(LeaseId { client: [1; 16], key: [2; 16] });
        SmbHandle {
            id: (1 << 40, 7),
            share: key(1),
            file: key(70),
            dir: key(3).file,
            name: Bytes::from_static(b"na\xffme"),
            path: r"dir\näme".to_owned(),
            granted: 0x0012_0089,
            write_through: true,
            uid: 1000,
            gid: 1001,
            groups: vec![5, 6],
            position: 1 << 33,
            action: 2,
            allocation: 8192,
            channel_sequence: 65535,
            keeps_times: (true, false),
            lock_sequences: [255; 64],
            create_guid: Some([3; 16]),
            user: Some("Jane".to_owned()),
            away: Duration::from_secs(60),
            left: Duration::from_millis(1234),
            owner: Owner { client: Arc::new(client), id: Box::from([1, 2, 3]) },
            holdings: Holdings {
                access: Access::from_bits(3),
                deny: Access::from_bits(4),
                since_s: 6,
                looks_only: false,
                locks: vec![lock(ByteRange::new(5, 0)), lock(ByteRange::empty(9)), lock(ByteRange::empty(0))],
                caching: Some(Kept { lease, state: Caching::ALL, epoch: Some(12) }),
            },
        }
    }

    #[test]
    fn handles_read_back() {
        let mut second = SmbHandle { create_guid: None, user: None, ..handle() };
        second.holdings.caching = Some(Kept { lease: None, state: Caching::READ, epoch: None });
        let third = SmbHandle { holdings: Holdings { caching: None, ..handle().holdings }, ..handle() };
        for handles in [vec![], vec![handle()], vec![handle(), second, third]] {
            assert_eq!(SmbHandle::decode_all(&SmbHandle::encode_all(&handles)).unwrap(), handles);
        }
    }

    #[test]
    fn what_is_not_handles_is_refused() {
        let bytes = SmbHandle::encode_all(&[handle()]);
        for len in 1..bytes.len() {
            assert!(SmbHandle::decode_all(&bytes[..len]).is_err(), "{len} bytes");
        }
        assert!(SmbHandle::decode_all(&[&bytes[..], &[0; 4]].concat()).is_err());
        let newer = [&[0, 0, 0, 2], &bytes[4..]].concat();
        assert_eq!(SmbHandle::decode_all(&newer), Err(HandoffError::Version(2)));
        let mut backwards = handle();
        backwards.holdings.locks[0].range = ByteRange { first: 10, last: 5 };
        let bytes = SmbHandle::encode_all(&[backwards]);
        assert_eq!(SmbHandle::decode_all(&bytes), Err(HandoffError::Contradiction));
    }

    #[test]
    fn no_more_go_along_than_fit_into_a_message() {
        let small = SmbHandle::encode_all(&vec![handle(); SMB_HANDLES_MAX + 1]);
        assert_eq!(SmbHandle::decode_all(&small).unwrap().len(), SMB_HANDLES_MAX);
        let long = SmbHandle { path: "x".repeat(100_000), ..handle() };
        let bytes = SmbHandle::encode_all(&vec![long; 100]);
        assert!(bytes.len() < BYTES_MAX + (128 << 10));
        assert!(SmbHandle::decode_all(&bytes).is_ok_and(|handles| handles.len() > 40));
    }
}
