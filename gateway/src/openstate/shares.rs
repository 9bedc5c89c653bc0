//! Share reservations of one file (deny modes): which conflict. Knows nothing of limits.

use super::owner::Owner;
use std::sync::Arc;

/// Reading, writing and deleting: what an opener does, or what it denies to others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Access {
    /// Read.
    pub read: bool,
    /// Write.
    pub write: bool,
    /// Delete or rename.
    pub delete: bool,
}

impl Access {
    /// From the three low bits: 1 read, 2 write, 4 delete.
    pub fn from_bits(bits: u32) -> Self {
        Access { read: bits & 1 != 0, write: bits & 2 != 0, delete: bits & 4 != 0 }
    }

    /// As three bits: 1 read, 2 write, 4 delete.
    pub fn bits(self) -> u32 {
        u32::from(self.read) | u32::from(self.write) << 1 | u32::from(self.delete) << 2
    }

    fn meets(self, other: Access) -> bool {
        self.bits() & other.bits() != 0
    }
}

/// A share reservation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Share {
    /// Whose.
    pub owner: Arc<Owner>,
    /// What the owner does with the file.
    pub access: Access,
    /// What others may not do meanwhile.
    pub deny: Access,
    /// Which life of the client it belongs to; 0 where the protocol does not count them.
    pub incarnation: u32,
    /// Since when, in seconds since 1970.
    pub since_s: u64,
    /// The owner looks at attributes only, and is in nobody's way.
    pub looks_only: bool,
}

/// The reservations of one file, one for each owner.
#[derive(Debug, Default)]
pub(super) struct Shares {
    pub(super) held: Vec<Share>,
}

impl Shares {
    /// Others' reservations that keep this one out.
    pub(super) fn conflict(&self, owner: &Owner, access: Access, deny: Access) -> Option<&Share> {
        self.held
            .iter()
            .find(|share| *share.owner != *owner && (share.deny.meets(access) || share.access.meets(deny)))
    }

    /// Whether one of them would keep out somebody who has none yet.
    pub(super) fn bar(&self, access: Access, deny: Access) -> bool {
        self.held.iter().any(|share| share.deny.meets(access) || share.access.meets(deny))
    }

    /// Whether one of them denies the access.
    pub(super) fn denies(&self, access: Access) -> bool {
        self.held.iter().any(|share| share.deny.meets(access))
    }

    /// Gives it to its owner, in place of what that has.
    pub(super) fn set(&mut self, share: Share) {
        self.clear(&share.owner);
        self.held.push(share);
    }

    /// Takes the owner's away; says whether it had one.
    pub(super) fn clear(&mut self, owner: &Owner) -> bool {
        let before = self.held.len();
        self.held.retain(|share| *share.owner != *owner);
        self.held.len() != before
    }
}
