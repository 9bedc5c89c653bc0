//! Access control lists of the NT and NFSv4 kind, beside the mode bits. Knows what a list means, and nothing of inodes.
//!
//! A file has a stored list or none. Mode and list always say something about each other:
//!
//! | when | then |
//! | --- | --- |
//! | no list is stored | [`Acl::from_mode`]: a list of at most five entries that grants exactly what the mode does (RFC 8881 §6.4.3) |
//! | a list is stored | the mode's nine bits follow from its entries for owner, group and everyone (RFC 8881 §6.3.2); setuid, setgid and sticky stay |
//! | access is checked with a list | entries in their order; the first that speaks of a bit decides it; what none grants is refused |
//! | a chmod meets a list | entries for owner, group and everyone give way to those of the mode; allow entries for others keep at most the group's bits (RFC 8881 §6.4.1) |
//! | a chown meets a list | nothing: owner and group entries speak of whoever that is |
//! | a file is made in a directory whose list has entries to inherit | it gets those as its list, and its mode from that; the mode asked for gives setuid, setgid and sticky only (RFC 8881 §6.4.3.2) |
//! | a list is taken away | the mode that followed from it stays |
//!
//! Mode bits are [`AceMask`] bits: read is `READ_DATA`; write is `WRITE_DATA` and `APPEND_DATA` both, for a directory
//! `DELETE_CHILD` too; execute is `EXECUTE`. The store makes no difference between adding a file, a directory and a name.

use crate::error::{FsError, Result};
use crate::layout::{Reader, Writer};
use crate::op::Context;

/// Most entries of a list: they fit in one block.
pub const ACES_MAX: usize = 400;

/// An access control list. Owner and group are those of the file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Acl {
    /// The entries, in the order in which they count; at most [`ACES_MAX`].
    pub aces: Vec<Ace>,
}

/// One entry (RFC 8881 §6.2.1, nfsace4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ace {
    /// Whether it grants or refuses.
    pub kind: AceKind,
    /// Whom it speaks of.
    pub who: AceWho,
    /// How it is inherited: bits of [`AceFlags`].
    pub flags: u8,
    /// What it grants or refuses: bits of [`AceMask`].
    pub mask: u32,
}

/// What an entry does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AceKind {
    /// Grants.
    Allow,
    /// Refuses.
    Deny,
}

/// Whom an entry speaks of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AceWho {
    /// The file's owner (OWNER@).
    Owner,
    /// Members of the file's group (GROUP@).
    Group,
    /// Everybody, owner and group too (EVERYONE@).
    Everyone,
    /// One user.
    User(u32),
    /// Members of one group.
    GroupId(u32),
}

/// Bits of [`Ace::mask`], with the values of RFC 8881 §6.2.1.3.1 and of NT's access mask.
#[derive(Debug)]
pub struct AceMask;

#[allow(missing_docs, reason = "the names are the specification's")]
impl AceMask {
    pub const READ_DATA: u32 = 0x1;
    pub const WRITE_DATA: u32 = 0x2;
    pub const APPEND_DATA: u32 = 0x4;
    pub const READ_NAMED_ATTRS: u32 = 0x8;
    pub const WRITE_NAMED_ATTRS: u32 = 0x10;
    pub const EXECUTE: u32 = 0x20;
    pub const DELETE_CHILD: u32 = 0x40;
    pub const READ_ATTRIBUTES: u32 = 0x80;
    pub const WRITE_ATTRIBUTES: u32 = 0x100;
    pub const DELETE: u32 = 0x1_0000;
    pub const READ_ACL: u32 = 0x2_0000;
    pub const WRITE_ACL: u32 = 0x4_0000;
    pub const WRITE_OWNER: u32 = 0x8_0000;
    pub const SYNCHRONIZE: u32 = 0x10_0000;
    /// All that may be set.
    pub const ALL: u32 = 0x1F_07FF;
}

/// Bits of [`Ace::flags`] (RFC 8881 §6.2.1.4.1).
#[derive(Debug)]
pub struct AceFlags;

#[allow(missing_docs, reason = "the names are the specification's")]
impl AceFlags {
    pub const FILE_INHERIT: u8 = 0x01;
    pub const DIRECTORY_INHERIT: u8 = 0x02;
    pub const NO_PROPAGATE_INHERIT: u8 = 0x04;
    pub const INHERIT_ONLY: u8 = 0x08;
    pub const INHERITED: u8 = 0x80;
    /// All that may be set.
    pub const ALL: u8 = 0x8F;
    const INHERIT: u8 = 0x03;
}

/// What the owner may always do, and what everybody may.
const OWNER_ALWAYS: u32 =
    AceMask::WRITE_ATTRIBUTES | AceMask::WRITE_ACL | AceMask::WRITE_NAMED_ATTRS | EVERYONE_ALWAYS;
const EVERYONE_ALWAYS: u32 =
    AceMask::READ_ATTRIBUTES | AceMask::READ_ACL | AceMask::READ_NAMED_ATTRS | AceMask::SYNCHRONIZE;

/// The mask bits of permission bits (one octal digit).
pub(crate) fn mask_of(bits: u32, dir: bool) -> u32 {
    let write = AceMask::WRITE_DATA | AceMask::APPEND_DATA | if dir { AceMask::DELETE_CHILD } else { 0 };
    let mut mask = 0;
    for (bit, more) in [(4, AceMask::READ_DATA), (2, write), (1, AceMask::EXECUTE)] {
        if bits & bit != 0 {
            mask |= more;
        }
    }
    mask
}

impl Ace {
    fn counts(&self) -> bool {
        self.flags & AceFlags::INHERIT_ONLY == 0
    }

    fn is_special(&self) -> bool {
        matches!(self.who, AceWho::Owner | AceWho::Group | AceWho::Everyone)
    }

    /// The entry that a new file or directory gets of this one.
    fn inherited(&self, dir: bool) -> Option<Ace> {
        use AceFlags as F;
        let for_child = self.flags & if dir { F::DIRECTORY_INHERIT } else { F::FILE_INHERIT } != 0;
        let goes_on = dir && self.flags & F::INHERIT != 0 && self.flags & F::NO_PROPAGATE_INHERIT == 0;
        let flags = match (for_child, goes_on) {
            (true, true) => self.flags & F::INHERIT,
            (true, false) => 0,
            (false, true) => self.flags & F::INHERIT | F::INHERIT_ONLY,
            (false, false) => return None,
        };
        Some(Ace { flags: flags | F::INHERITED, ..*self })
    }
}

/// The first entry that speaks of a bit decides it.
fn granted(aces: impl Iterator<Item = Ace>, want: u32) -> bool {
    let mut left = want;
    for ace in aces.filter(Ace::counts) {
        match ace.kind {
            AceKind::Allow => left &= !ace.mask,
            AceKind::Deny if left & ace.mask != 0 => return false,
            AceKind::Deny => {}
        }
        if left == 0 {
            return true;
        }
    }
    left == 0
}

impl Acl {
    /// The list that grants exactly what a mode does.
    pub fn from_mode(mode: u32, dir: bool) -> Acl {
        let [owner, group, other] = [6, 3, 0].map(|shift| mode >> shift & 7);
        let ace = |kind, who, mask| Ace { kind, who, flags: 0, mask };
        let aces = [
            ace(AceKind::Deny, AceWho::Owner, mask_of((group | other) & !owner, dir)),
            ace(AceKind::Allow, AceWho::Owner, mask_of(owner, dir) | OWNER_ALWAYS),
            ace(AceKind::Deny, AceWho::Group, mask_of(other & !group, dir)),
            ace(AceKind::Allow, AceWho::Group, mask_of(group, dir) | EVERYONE_ALWAYS),
            ace(AceKind::Allow, AceWho::Everyone, mask_of(other, dir) | EVERYONE_ALWAYS),
        ];
        Acl { aces: aces.into_iter().filter(|ace| ace.mask != 0).collect() }
    }

    /// The nine permission bits that follow from the entries for owner, group and everyone.
    pub fn mode(&self, dir: bool) -> u32 {
        let class = |who: AceWho| {
            let digit = |bit: u32| {
                let of = |ace: &Ace| ace.who == who || ace.who == AceWho::Everyone;
                u32::from(granted(self.aces.iter().copied().filter(of), mask_of(bit, dir))) * bit
            };
            digit(4) | digit(2) | digit(1)
        };
        class(AceWho::Owner) << 6 | class(AceWho::Group) << 3 | class(AceWho::Everyone)
    }

    /// Whether the caller gets all of `want` of a file of `uid` and `gid`. Root is no matter of lists.
    pub(crate) fn grants(&self, cx: &Context, uid: u32, gid: u32, want: u32) -> bool {
        let of = |ace: &Ace| match ace.who {
            AceWho::Owner => cx.uid == uid,
            AceWho::Group => cx.in_group(gid),
            AceWho::Everyone => true,
            AceWho::User(user) => cx.uid == user,
            AceWho::GroupId(group) => cx.in_group(group),
        };
        granted(self.aces.iter().copied().filter(of), want)
    }

    /// The list after a chmod. What is there to be inherited stays.
    pub(crate) fn with_mode(&self, mode: u32, dir: bool) -> Acl {
        let trivial = Acl::from_mode(mode, dir).aces;
        let (first, last): (Vec<Ace>, Vec<Ace>) =
            trivial.into_iter().partition(|ace| ace.who == AceWho::Owner);
        let most = !mask_of(7 & !(mode >> 3), dir);
        let mut named = Vec::new();
        let mut to_inherit = Vec::new();
        for ace in &self.aces {
            if ace.flags & AceFlags::INHERIT != 0 {
                to_inherit.push(Ace { flags: ace.flags | AceFlags::INHERIT_ONLY, ..*ace });
            }
            if ace.counts() && !ace.is_special() {
                let mask = if ace.kind == AceKind::Allow { ace.mask & most } else { ace.mask };
                named.push(Ace { flags: ace.flags & AceFlags::INHERITED, mask, ..*ace });
            }
        }
        Acl { aces: [first, named, last, to_inherit].concat() }
    }

    /// The list of a new file or directory; `None` if there is nothing to inherit.
    pub(crate) fn inherited(&self, dir: bool) -> Option<Acl> {
        let aces: Vec<_> = self.aces.iter().filter_map(|ace| ace.inherited(dir)).collect();
        (!aces.is_empty()).then_some(Acl { aces })
    }

    /// # Errors
    /// [`FsError::Invalid`] for too many entries or unknown bits.
    pub(crate) fn check(&self) -> Result<()> {
        let known = |ace: &Ace| ace.mask & !AceMask::ALL == 0 && ace.flags & !AceFlags::ALL == 0;
        if self.aces.len() <= ACES_MAX && self.aces.iter().all(known) {
            Ok(())
        } else {
            Err(FsError::Invalid)
        }
    }

    /// 10 bytes an entry: kind and who, flags, mask, id.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        for ace in &self.aces {
            let (who, id) = match ace.who {
                AceWho::Owner => (0, 0),
                AceWho::Group => (1, 0),
                AceWho::Everyone => (2, 0),
                AceWho::User(id) => (3, id),
                AceWho::GroupId(id) => (4, id),
            };
            out.u8(who | if ace.kind == AceKind::Deny { 0x80 } else { 0 });
            out.u8(ace.flags);
            out.u32(ace.mask);
            out.u32(id);
        }
        out.0
    }

    /// `None` for what [`Acl::encode`] did not make.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Acl> {
        let mut input = Reader::new(bytes);
        let mut acl = Acl::default();
        while !input.is_empty() && acl.aces.len() <= ACES_MAX {
            let (first, flags, mask, id) = (input.u8(), input.u8(), input.u32(), input.u32());
            let who = match first & 0x7F {
                0 => AceWho::Owner,
                1 => AceWho::Group,
                2 => AceWho::Everyone,
                3 => AceWho::User(id),
                4 => AceWho::GroupId(id),
                _ => return None,
            };
            let kind = if first & 0x80 == 0 { AceKind::Allow } else { AceKind::Deny };
            acl.aces.push(Ace { kind, who, flags, mask });
        }
        (input.ok() && acl.check().is_ok()).then_some(acl)
    }
}
