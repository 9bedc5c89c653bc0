//! The open state as bytes, for the vserver's next home and for its own next start.
//!
//! ```text
//! version | clients: protocol, address, name | owners: client's place, id
//! | locks: file, range, kind, owner's place, incarnation, since
//! | reservations: file, owner's place, access, deny, incarnation, since
//! | waiting: as locks, and return path | grants not yet settled: as waiting
//! ```
//! Everything is XDR. Lists begin with their length; places count from 0.

use super::locks::Held;
use super::owner::{ByteRange, Client, FileKey, Owner, Protocol};
use super::shares::{Access, Share};
use super::table::{Table, Waiting};
use super::waiter::Wait;
use super::{Grant, LockTable};
use crate::handle::VolumeId;
use crate::xdr::{Decoder, Encoder, XdrError};
use bytes::Bytes;
use fsstore::{FileId, Generation, InodeNum, SnapshotId};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

const VERSION: u32 = 1;
/// Most bytes of a name, an owner's id or a return path. No protocol has longer ones.
const BYTES_MAX: usize = 2048;
const EXCLUSIVE: u32 = 1;

/// Why exported open state was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HandoffError {
    /// Written by a version of this program that this one does not know.
    #[error("open state of unknown version {0}")]
    Version(u32),
    /// Not exported open state.
    #[error("malformed open state: {0}")]
    Malformed(#[from] XdrError),
    /// It names a client or an owner that it does not hold, or a protocol that does not exist.
    #[error("open state that contradicts itself")]
    Contradiction,
    /// It has more than this table takes.
    #[error("open state with too many entries")]
    TooMany,
}

impl LockTable {
    /// Everything that outlives its client's connection, for the vserver's next home. Freeze the vserver first.
    pub fn export(&self) -> Vec<u8> {
        let table = self.table.lock();
        let stays = |owner: &Owner| owner.client.protocol.outlives_connections();
        let files = || table.files.iter();
        let locks: Vec<_> = files()
            .flat_map(|(file, state)| state.locks.all().iter().map(move |held| (*file, held)))
            .filter(|(_, held)| stays(&held.owner))
            .collect();
        let shares: Vec<_> = files()
            .flat_map(|(file, state)| state.shares.held.iter().map(move |share| (*file, share)))
            .filter(|(_, share)| stays(&share.owner))
            .collect();
        let waits = |waiting: &'_ Waiting| match &waiting.wait {
            Wait::Told(path) if stays(&waiting.lock.owner) => {
                Some((waiting.file, waiting.lock.clone(), path.clone()))
            }
            Wait::Told(_) | Wait::Here(_) => None,
        };
        let waiting: Vec<_> = table.waiting.values().filter_map(waits).collect();
        let grants: Vec<_> = table.grants.values().filter(|grant| stays(&grant.lock.owner)).collect();
        let mut places = Places::default();
        let mut body = Encoder::with_capacity(64 * (locks.len() + shares.len() + waiting.len()) + 64);
        body.u32(count(locks.len()));
        for (file, held) in locks {
            put_lock(&mut body, file, held, &mut places);
        }
        body.u32(count(shares.len()));
        for (file, share) in shares {
            put_file(&mut body, file);
            body.u32(places.owner(&share.owner));
            body.u32(share.access.bits());
            body.u32(share.deny.bits());
            body.u32(share.incarnation);
            body.u64(share.since_s);
        }
        body.u32(count(waiting.len()));
        for (file, lock, return_path) in &waiting {
            put_lock(&mut body, *file, lock, &mut places);
            body.opaque(return_path);
        }
        body.u32(count(grants.len()));
        for grant in grants {
            put_lock(&mut body, grant.file, &grant.lock, &mut places);
            body.opaque(&grant.return_path);
        }
        let mut out = Encoder::default();
        out.u32(VERSION);
        places.encode(&mut out);
        let mut all: Vec<u8> = out.finish().into_bytes().into();
        all.extend_from_slice(&body.finish().into_bytes());
        all
    }

    /// Takes what [`LockTable::export`] gave elsewhere in place of what is here. All or nothing.
    ///
    /// # Errors
    /// [`HandoffError`].
    pub fn import(&self, exported: &[u8]) -> Result<(), HandoffError> {
        let mut input = Decoder::new(Bytes::copy_from_slice(exported));
        let version = input.u32()?;
        if version != VERSION {
            return Err(HandoffError::Version(version));
        }
        let mut table = Table::default();
        let owners = take_owners(&mut input, &mut table, self.limits.clients_max)?;
        // Splits may have taken a table a little over its limits.
        let held_max = self.limits.held_max * 2;
        for _ in 0..bounded(input.u32()?, held_max)? {
            let (file, held) = take_lock(&mut input, &owners)?;
            let client = Arc::clone(&held.owner.client);
            table.change_locks(file, &client, |locks| locks.set(held));
        }
        for _ in 0..bounded(input.u32()?, held_max)? {
            let (file, share) = take_share(&mut input, &owners)?;
            table.put_share(file, share);
        }
        for _ in 0..bounded(input.u32()?, self.limits.waiting_max)? {
            let (file, lock) = take_lock(&mut input, &owners)?;
            let wait = Wait::Told(input.opaque(BYTES_MAX)?.as_ref().into());
            let id = table.take_id();
            table.put_waiting(id, Waiting { file, lock, wait });
        }
        for _ in 0..bounded(input.u32()?, held_max)? {
            let (file, lock) = take_lock(&mut input, &owners)?;
            let return_path = input.opaque(BYTES_MAX)?.as_ref().into();
            let id = table.take_id();
            table.grants.insert(id, Grant { id, file, lock, return_path, told_before: true });
            table.untold.push_back(id);
        }
        input.finish()?;
        self.change(|mine| *mine = table);
        Ok(())
    }
}

fn bounded(len: u32, max: usize) -> Result<u32, HandoffError> {
    if len as usize > max { Err(HandoffError::TooMany) } else { Ok(len) }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// Clients and owners by the order in which they were first seen.
#[derive(Default)]
struct Places<'a> {
    clients: HashMap<&'a Client, u32>,
    client_list: Vec<&'a Client>,
    owners: HashMap<&'a Owner, u32>,
    owner_list: Vec<(u32, &'a Owner)>,
}

impl<'a> Places<'a> {
    fn owner(&mut self, owner: &'a Owner) -> u32 {
        if let Some(place) = self.owners.get(owner) {
            return *place;
        }
        let client: &'a Client = &owner.client;
        let client_place = *self.clients.entry(client).or_insert_with(|| {
            self.client_list.push(client);
            count(self.client_list.len() - 1)
        });
        let place = count(self.owner_list.len());
        self.owner_list.push((client_place, owner));
        self.owners.insert(owner, place);
        place
    }

    fn encode(&self, out: &mut Encoder) {
        out.u32(count(self.client_list.len()));
        for client in &self.client_list {
            out.u32(client.protocol as u32);
            let address = match client.address {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => v6,
            };
            out.array(&address.octets());
            out.opaque(&client.name);
        }
        out.u32(count(self.owner_list.len()));
        for (client, owner) in &self.owner_list {
            out.u32(*client);
            out.opaque(&owner.id);
        }
    }
}

fn take_owners(
    input: &mut Decoder,
    table: &mut Table,
    clients_max: usize,
) -> Result<Vec<Arc<Owner>>, HandoffError> {
    let mut clients = Vec::new();
    // Clients that only wait are not among those that are bounded.
    for _ in 0..bounded(input.u32()?, clients_max * 2)? {
        let protocol = Protocol::from_number(input.u32()?).ok_or(HandoffError::Contradiction)?;
        let address = IpAddr::V6(Ipv6Addr::from(input.array::<16>()?)).to_canonical();
        let name = input.opaque(BYTES_MAX)?.as_ref().into();
        clients.push(Arc::new(Client { protocol, address, name }));
    }
    let mut owners = Vec::new();
    for _ in 0..input.u32()? {
        let client = clients.get(input.u32()? as usize).ok_or(HandoffError::Contradiction)?;
        let id = input.opaque(BYTES_MAX)?.as_ref().into();
        owners.push(table.intern(Owner { client: Arc::clone(client), id }));
    }
    Ok(owners)
}

fn put_file(out: &mut Encoder, file: FileKey) {
    out.u64(file.volume.0);
    out.u64(file.file.ino.0);
    out.u32(file.file.generation.0);
    out.u64(file.file.snapshot.0);
}

fn take_file(input: &mut Decoder) -> Result<FileKey, HandoffError> {
    let volume = VolumeId(input.u64()?);
    let (ino, generation) = (InodeNum(input.u64()?), Generation(input.u32()?));
    Ok(FileKey { volume, file: FileId { ino, generation, snapshot: SnapshotId(input.u64()?) } })
}

fn put_lock<'a>(out: &mut Encoder, file: FileKey, held: &'a Held, places: &mut Places<'a>) {
    put_file(out, file);
    out.u64(held.range.first);
    out.u64(held.range.last);
    out.u32(if held.exclusive { EXCLUSIVE } else { 0 });
    out.u32(places.owner(&held.owner));
    out.u32(held.incarnation);
    out.u64(held.since_s);
}

fn take_lock(input: &mut Decoder, owners: &[Arc<Owner>]) -> Result<(FileKey, Held), HandoffError> {
    let file = take_file(input)?;
    let range = ByteRange { first: input.u64()?, last: input.u64()? };
    if range.first > range.last {
        return Err(HandoffError::Contradiction);
    }
    let exclusive = input.u32()? == EXCLUSIVE;
    let owner = take_owner(input, owners)?;
    Ok((file, Held { range, exclusive, owner, incarnation: input.u32()?, since_s: input.u64()? }))
}

fn take_share(input: &mut Decoder, owners: &[Arc<Owner>]) -> Result<(FileKey, Share), HandoffError> {
    let file = take_file(input)?;
    let owner = take_owner(input, owners)?;
    let (access, deny) = (Access::from_bits(input.u32()?), Access::from_bits(input.u32()?));
    let (incarnation, since_s) = (input.u32()?, input.u64()?);
    Ok((file, Share { owner, access, deny, incarnation, since_s, looks_only: false }))
}

fn take_owner(input: &mut Decoder, owners: &[Arc<Owner>]) -> Result<Arc<Owner>, HandoffError> {
    owners.get(input.u32()? as usize).cloned().ok_or(HandoffError::Contradiction)
}
