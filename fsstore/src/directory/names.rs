//! Where a name stands in its directory, and how it is found there: as it is, or as a name that differs from it in case alone.
//!
//! ```text
//! key: | 0 | hash of the folded name, 36 bits | slot, 3 | hash of the name, 16 | number, 8 |
//! ```
//!
//! The names that fold alike are neighbours, in one slot: one way down the index finds the first of them, however many
//! there are. Names whose folded forms share a hash but differ have slots of their own, so none stands in another's way. Within a slot
//! the hash of the name itself keeps a lookup of it to one leaf or two, also among a million that fold alike; the
//! number tells apart those that share that hash too.

use super::scan_keys;
use crate::error::{FsError, Result};
use crate::fold::fold_name;
use crate::ids::{Cookie, FileId};
use crate::inode::Inode;
use crate::io::Io;
use crate::op::FileKind;
use bytes::Bytes;
use siphasher::sip::SipHasher13;
use std::borrow::Cow;
use std::hash::Hasher;
use std::ops::{ControlFlow, Range};
use uuid::Uuid;

const NUMBER_BITS: u32 = 8;
pub(super) const NAME_BITS: u32 = 16;
const SLOT_BITS: u32 = 3;
const SLOT_SHIFT: u32 = NUMBER_BITS + NAME_BITS;
const FOLD_SHIFT: u32 = SLOT_SHIFT + SLOT_BITS;
/// Names of one slot with one hash that a directory can hold.
pub(crate) const COLLISIONS: u64 = 1 << NUMBER_BITS;
/// Folded names with one hash that a directory can hold.
pub(super) const SLOTS: u64 = 1 << SLOT_BITS;

/// What an entry leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    pub(crate) key: Cookie,
    pub(crate) file: FileId,
    pub(crate) kind: FileKind,
}

/// The volume's hash of names.
#[derive(Clone, Copy)]
pub(crate) struct NameHash(u64, u64);

/// What a name's key begins with, and which of the names in its slot it is among.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NameKey {
    pub(crate) folded: u64,
    pub(super) name: u64,
}

impl NameHash {
    pub(crate) fn new(uuid: Uuid) -> Self {
        let (high, low) = uuid.as_u64_pair();
        NameHash(high, low)
    }

    fn hash(self, bytes: &[u8]) -> u64 {
        let mut hasher = SipHasher13::new_with_keys(self.0, self.1);
        hasher.write(bytes);
        hasher.finish()
    }

    pub(crate) fn key(self, name: &[u8]) -> NameKey {
        let hash = self.hash(name);
        let folded = match fold_name(name) {
            Cow::Borrowed(_) => hash,
            Cow::Owned(folded) => self.hash(&folded),
        };
        // Never 0: small keys are the cookies of `.` and `..`.
        let folded = (folded >> (FOLD_SHIFT + 1)).max(1);
        NameKey { folded, name: hash & ((1 << NAME_BITS) - 1) }
    }
}

impl NameKey {
    /// Where `slot` begins; [`SLOTS`]: where the last one ends.
    fn slot_start(self, slot: u64) -> u64 {
        ((self.folded << SLOT_BITS) + slot) << SLOT_SHIFT
    }

    /// The keys that entries of this name can have in `slot`.
    pub(crate) fn keys(self, slot: u64) -> Range<u64> {
        let first = self.slot_start(slot) | self.name << NUMBER_BITS;
        first..first + COLLISIONS
    }

    /// The slot of an entry whose folded name has the same hash.
    pub(crate) fn slot_of(self, key: Cookie) -> Option<u64> {
        (key.0 >> FOLD_SHIFT == self.folded).then_some((key.0 >> SLOT_SHIFT) % SLOTS)
    }
}

/// Finds `name`.
pub(crate) fn lookup(dir: &Inode, io: &Io, hash: NameHash, name: &[u8]) -> Result<Option<Target>> {
    lookup_at(dir, io, hash.key(name), name)
}

pub(super) fn lookup_at(dir: &Inode, io: &Io, key: NameKey, name: &[u8]) -> Result<Option<Target>> {
    let mut slot = 0;
    while slot < SLOTS {
        let keys = key.keys(slot);
        let (mut found, mut behind) = (None, None);
        scan_keys(dir, io, keys.start..key.slot_start(SLOTS), &mut |entry| {
            if !keys.contains(&entry.key.0) {
                behind = key.slot_of(entry.key);
            } else if entry.name == name {
                found = Some(entry.target());
            } else {
                return ControlFlow::Continue(());
            }
            ControlFlow::Break(())
        })?;
        match behind {
            // As nearly always: nothing else has the hash.
            None => return Ok(found),
            Some(behind) => slot = behind.max(slot + 1),
        }
    }
    Ok(None)
}

/// The names that fold alike.
pub(super) struct Alike {
    pub(super) slot: u64,
    /// The first of them, if there is any.
    pub(super) first: Option<(Target, Bytes)>,
}

/// Where the names that fold like `name` are, or would be; `None` if no slot is left for them.
pub(super) fn alike(dir: &Inode, io: &Io, key: NameKey, name: &[u8]) -> Result<Option<Alike>> {
    let folded = fold_name(name);
    let (mut slot, mut free) = (0, None);
    while slot < SLOTS {
        let mut next = None;
        scan_keys(dir, io, key.slot_start(slot)..key.slot_start(SLOTS), &mut |entry| {
            next = key.slot_of(entry.key).map(|slot| {
                let same = fold_name(entry.name) == folded;
                (slot, same.then(|| (entry.target(), Bytes::copy_from_slice(entry.name))))
            });
            ControlFlow::Break(())
        })?;
        match next {
            Some((slot, first @ Some(_))) => return Ok(Some(Alike { slot, first })),
            Some((taken, None)) if taken == slot => slot += 1,
            Some((taken, None)) => {
                free = free.or(Some(slot));
                slot = taken + 1;
            }
            None => {
                free = free.or(Some(slot));
                break;
            }
        }
    }
    Ok(free.map(|slot| Alike { slot, first: None }))
}

/// Finds `name`, or else the first that folds as it does, and gives how it is written.
pub(crate) fn lookup_folded(
    dir: &Inode,
    io: &Io,
    hash: NameHash,
    name: &[u8],
) -> Result<Option<(Target, Bytes)>> {
    let key = hash.key(name);
    // In this order nearly every lookup goes down the index once: the first is the only one.
    let Some(first) = alike(dir, io, key, name)?.and_then(|alike| alike.first) else { return Ok(None) };
    if first.1 == name {
        return Ok(Some(first));
    }
    let exact = lookup_at(dir, io, key, name)?;
    Ok(Some(exact.map_or(first, |target| (target, Bytes::copy_from_slice(name)))))
}

/// Whether another entry than `except` has a name that folds as `name` does.
pub(crate) fn has_alike(
    dir: &Inode,
    io: &Io,
    hash: NameHash,
    name: &[u8],
    except: Option<Cookie>,
) -> Result<bool> {
    let key = hash.key(name);
    let Some(Alike { slot, first: Some((first, _)) }) = alike(dir, io, key, name)? else { return Ok(false) };
    if Some(first.key) != except {
        return Ok(true);
    }
    let mut more = false;
    scan_keys(dir, io, first.key.0 + 1..key.slot_start(slot + 1), &mut |_| {
        more = true;
        ControlFlow::Break(())
    })?;
    Ok(more)
}

/// The key of a name that is not there yet.
///
/// # Errors
/// [`FsError::NoSpace`] if no number is left for its hash, or no slot.
pub(super) fn free_key(dir: &Inode, io: &Io, key: NameKey, name: &[u8]) -> Result<Cookie> {
    let Alike { slot, first } = alike(dir, io, key, name)?.ok_or(FsError::NoSpace)?;
    let keys = key.keys(slot);
    let mut free = keys.start;
    if first.is_some() {
        scan_keys(dir, io, keys.clone(), &mut |entry| {
            if entry.key.0 != free {
                return ControlFlow::Break(());
            }
            free += 1;
            ControlFlow::Continue(())
        })?;
    }
    if free < keys.end { Ok(Cookie(free)) } else { Err(FsError::NoSpace) }
}
