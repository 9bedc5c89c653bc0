//! Who holds what: ranges of bytes, files, clients and owners, as every protocol names them. Knows no protocol.

use crate::handle::VolumeId;
use fsstore::FileId;
use std::net::IpAddr;
use std::sync::Arc;

/// A protocol by which locks are asked for. Owners of different protocols are never the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(u32)]
pub enum Protocol {
    /// NLM version 4, beside NFSv3.
    Nlm = 1,
    /// SMB 2 and 3.
    Smb2 = 2,
}

impl Protocol {
    pub(super) fn from_number(number: u32) -> Option<Self> {
        [Protocol::Nlm, Protocol::Smb2].into_iter().find(|protocol| *protocol as u32 == number)
    }

    /// Whether all that its clients hold outlives their connections, so that it moves with the vserver. Where only some does, the
    /// protocol says what ([`super::Holdings`]).
    pub fn outlives_connections(self) -> bool {
        match self {
            Protocol::Nlm => true,
            Protocol::Smb2 => false,
        }
    }

    /// Whether locks of one owner stand beside one another: they conflict with each other too, never merge, and are given up as
    /// they were taken (MS-FSA §2.1.5.8).
    pub fn stacks_locks(self) -> bool {
        match self {
            Protocol::Nlm => false,
            Protocol::Smb2 => true,
        }
    }

    /// The word that the API shows.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Nlm => "nlm",
            Protocol::Smb2 => "smb2",
        }
    }
}

/// A file that is locked or opened.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FileKey {
    /// Its volume.
    pub volume: VolumeId,
    /// The file in it.
    pub file: FileId,
}

/// A client: what loses all its locks at once when it goes down.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Client {
    /// By which protocol it came.
    pub protocol: Protocol,
    /// Its address.
    pub address: IpAddr,
    /// What it calls itself; not to be trusted.
    pub name: Box<[u8]>,
}

impl Client {
    /// Its name for people.
    pub fn name_text(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }
}

/// One owner of locks of a client, say a process: its locks never conflict with one another.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Owner {
    /// Whose it is.
    pub client: Arc<Client>,
    /// What the protocol tells its owners apart by.
    pub id: Box<[u8]>,
}

impl Owner {
    pub(super) fn stacks_locks(&self) -> bool {
        self.client.protocol.stacks_locks()
    }
}

/// Bytes `first` to `last`, both included. A range of no bytes, which SMB can lock too, ends before it begins: it overlaps those
/// that have bytes on both sides of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ByteRange {
    /// First byte.
    pub first: u64,
    /// Last byte; [`u64::MAX`]: to the end of the file, wherever that will be.
    pub last: u64,
}

impl ByteRange {
    /// `len` bytes from `first`; `len` 0, or more than there are numbers: to the end of the file.
    pub fn new(first: u64, len: u64) -> Self {
        let last = len.checked_sub(1).and_then(|more| first.checked_add(more)).unwrap_or(u64::MAX);
        ByteRange { first, last }
    }

    /// No bytes, just before `first`.
    pub fn empty(first: u64) -> Self {
        match first.checked_sub(1) {
            Some(last) => ByteRange { first, last },
            // Nothing lies on both sides of the beginning.
            None => ByteRange { first: u64::MAX, last: 0 },
        }
    }

    /// Bytes in it; 0: to the end of the file.
    pub fn bytes(self) -> u64 {
        if self.last == u64::MAX { 0 } else { (self.last + 1).saturating_sub(self.first) }
    }

    /// Whether it goes to the end of the file.
    pub fn is_to_end(self) -> bool {
        self.last == u64::MAX
    }

    pub(super) fn overlaps(self, other: ByteRange) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// Whether nothing lies between the two.
    pub(super) fn touches(self, other: ByteRange) -> bool {
        self.first <= other.last.saturating_add(1) && other.first <= self.last.saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_no_bytes_is_inside_of_what_has_bytes_on_both_sides() {
        let ten = ByteRange::empty(10);
        for (first, len, inside) in [(5, 10, true), (9, 2, true), (10, 5, false), (5, 5, false)] {
            assert_eq!(ten.overlaps(ByteRange::new(first, len)), inside, "{first} {len}");
        }
        assert!(!ten.overlaps(ten) && !ByteRange::empty(0).overlaps(ByteRange::new(0, 10)));
        assert_eq!(ten.bytes(), 0);
    }

    #[test]
    fn ranges() {
        assert_eq!(ByteRange::new(5, 0), ByteRange { first: 5, last: u64::MAX });
        assert_eq!(ByteRange::new(5, 1), ByteRange { first: 5, last: 5 });
        assert_eq!(ByteRange::new(5, u64::MAX), ByteRange { first: 5, last: u64::MAX });
        assert_eq!((ByteRange::new(5, 3).bytes(), ByteRange::new(5, 0).bytes()), (3, 0));
        assert!(ByteRange::new(0, 10).overlaps(ByteRange::new(9, 1)));
        assert!(!ByteRange::new(0, 10).overlaps(ByteRange::new(10, 1)));
        assert!(ByteRange::new(0, 10).touches(ByteRange::new(10, 1)));
        assert!(!ByteRange::new(0, 10).touches(ByteRange::new(11, 1)));
    }
}
