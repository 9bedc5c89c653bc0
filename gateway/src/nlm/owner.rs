//! How NLM's callers and owners are named in the open state: a client is its address with its name, an owner its process
//! number with its opaque bytes; owners of share reservations have no process.

use super::types::{HostName, NetObj, Nlm4Lock};
use crate::openstate::{ByteRange, Client, Owner, Protocol};
use bytes::Bytes;
use std::net::IpAddr;
use std::sync::Arc;

/// Most bytes of a client's name that are taken: no host has a longer one.
const CLIENT_NAME_MAX: usize = 255;
/// Files end before this offset; Linux' lock manager has the same bound.
const OFFSET_MAX: u64 = i64::MAX.cast_unsigned();

const OF_LOCK: u8 = b'L';
const OF_SHARE: u8 = b'S';

/// The client of a call; `None` where its name is too long.
pub(super) fn client(address: IpAddr, name: &HostName) -> Option<Client> {
    let name: Box<[u8]> = (name.0.len() <= CLIENT_NAME_MAX).then(|| name.0.as_ref().into())?;
    Some(Client { protocol: Protocol::Nlm, address: address.to_canonical(), name })
}

/// The owner of a lock.
pub(super) fn lock_owner(client: Client, svid: u32, oh: &NetObj) -> Owner {
    let mut id = Vec::with_capacity(5 + oh.0.len());
    id.push(OF_LOCK);
    id.extend_from_slice(&svid.to_be_bytes());
    id.extend_from_slice(&oh.0);
    Owner { client: Arc::new(client), id: id.into() }
}

/// The owner of a share reservation.
pub(super) fn share_owner(client: Client, oh: &NetObj) -> Owner {
    let mut id = Vec::with_capacity(1 + oh.0.len());
    id.push(OF_SHARE);
    id.extend_from_slice(&oh.0);
    Owner { client: Arc::new(client), id: id.into() }
}

/// The process and the opaque bytes of a lock's owner; of another protocol's, nothing.
pub(super) fn svid_and_oh(owner: &Owner) -> (u32, NetObj) {
    if owner.client.protocol == Protocol::Nlm
        && let Some((&OF_LOCK, rest)) = owner.id.split_first()
        && let Some((svid, oh)) = rest.split_first_chunk::<4>()
    {
        return (u32::from_be_bytes(*svid), NetObj(Bytes::copy_from_slice(oh)));
    }
    (0, NetObj::default())
}

/// The bytes of a lock; `None` where no file has the first of them.
pub(super) fn range(lock: &Nlm4Lock) -> Option<ByteRange> {
    if lock.l_offset > OFFSET_MAX {
        return None;
    }
    let range = ByteRange::new(lock.l_offset, lock.l_len);
    // Some clients mean the end of the file by a length that goes beyond all files.
    Some(if range.last >= OFFSET_MAX { ByteRange::new(range.first, 0) } else { range })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(l_offset: u64, l_len: u64) -> Nlm4Lock {
        let (caller_name, fh, oh) = (HostName::default(), NetObj::default(), NetObj::default());
        Nlm4Lock { caller_name, fh, oh, svid: 0, l_offset, l_len }
    }

    #[test]
    fn ranges_of_the_wire() {
        assert_eq!(range(&lock(3, 4)), Some(ByteRange { first: 3, last: 6 }));
        assert_eq!(range(&lock(3, 0)), Some(ByteRange { first: 3, last: u64::MAX }));
        assert_eq!(range(&lock(3, u64::MAX)), Some(ByteRange { first: 3, last: u64::MAX }));
        assert_eq!(range(&lock(0, 1 << 63)), Some(ByteRange { first: 0, last: u64::MAX }));
        assert_eq!(range(&lock(1 << 63, 1)), None);
    }

    #[test]
    fn owners_keep_what_they_are_told_by() {
        let name = |len: usize| HostName(Bytes::from(vec![b'n'; len]));
        let client_of = |len| client("::ffff:10.0.0.1".parse().unwrap(), &name(len));
        assert!(client_of(256).is_none());
        let client = client_of(255).unwrap();
        assert_eq!(client.address, IpAddr::from([10, 0, 0, 1]));
        let oh = NetObj(Bytes::from_static(b"7@host"));
        let lock = lock_owner(client.clone(), 7, &oh);
        assert_eq!(svid_and_oh(&lock), (7, oh.clone()));
        assert_eq!(svid_and_oh(&share_owner(client, &oh)), (0, NetObj::default()));
    }
}
