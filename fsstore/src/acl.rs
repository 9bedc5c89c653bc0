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
//! | a list is taken away, or one is set that says no more than a mode | the mode that followed from it stays, and no list |
//!
//! A list may have a *mask*, as POSIX ACLs do ([`AceWho::Mask`]): then the rules of POSIX.1e take the place of those of RFC 8881 for
//! the mode's group bits, chmod and inheritance. They are in [`mask`].
//!
//! A list may be that of an NT security descriptor ([`Nt`]): then it is kept to the letter, and inherited by NT's rules. They are in [`nt`].
//!
//! Mode bits are [`AceMask`] bits: read is `READ_DATA`; write is `WRITE_DATA` and `APPEND_DATA` both, for a directory
//! `DELETE_CHILD` too; execute is `EXECUTE`. The store makes no difference between adding a file, a directory and a name.

mod mask;
mod nt;

pub use nt::{Nt, NtControl, Sid};

use crate::error::{FsError, Result};
use crate::ids::BLOCK_SIZE;
use crate::layout::{Reader, Writer};
use crate::op::Context;

/// Most entries of a list: they fit in one block.
pub const ACES_MAX: usize = 400;

/// An access control list. Owner and group are those of the file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Acl {
    /// The entries, in the order in which they count; at most [`ACES_MAX`].
    pub aces: Vec<Ace>,
    /// What the NT security descriptor that this was set with says beside; `None` for a list of another origin.
    pub nt: Option<Nt>,
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
    /// Nobody: all that the other entries grant to named users, to named groups and to the file's group is cut down to these bits.
    /// Always [`AceKind::Allow`]. Whoever shows lists to clients that know no mask has to cut the entries down for them.
    Mask,
    /// Whom NT knows by this, and Unix by no number.
    Sid(Sid),
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
    /// All that NT knows of (`FILE_ALL_ACCESS`).
    pub const FULL_CONTROL: u32 = 0x1F_01FF;

    /// The bits of permission bits (one octal digit), for a directory or something else.
    pub fn of_permissions(bits: u32, dir: bool) -> u32 {
        let write = Self::WRITE_DATA | Self::APPEND_DATA | if dir { Self::DELETE_CHILD } else { 0 };
        let mut mask = 0;
        for (bit, more) in [(4, Self::READ_DATA), (2, write), (1, Self::EXECUTE)] {
            if bits & bit != 0 {
                mask |= more;
            }
        }
        mask
    }
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

impl Ace {
    fn counts(&self) -> bool {
        self.flags & AceFlags::INHERIT_ONLY == 0
    }

    fn is_named(&self) -> bool {
        matches!(self.who, AceWho::User(_) | AceWho::GroupId(_) | AceWho::Sid(_))
    }

    /// The entry as far as it is in force itself.
    fn own(&self) -> Ace {
        Ace { flags: self.flags & AceFlags::INHERITED, ..*self }
    }

    /// The entry as far as it's there to be inherited.
    fn heritable(&self) -> Option<Ace> {
        let inherits = self.flags & AceFlags::INHERIT != 0;
        inherits.then_some(Ace { flags: self.flags | AceFlags::INHERIT_ONLY, ..*self })
    }

    /// The entry, granting no more than `most` if it's for named users or groups or the file's group.
    fn within(&self, most: u32) -> Ace {
        let limited = self.kind == AceKind::Allow && (self.is_named() || self.who == AceWho::Group);
        Ace { mask: if limited { self.mask & most } else { self.mask }, ..*self }
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

/// The permission bits whose bits of a list are had.
fn permissions(has: impl Fn(u32) -> bool, dir: bool) -> u32 {
    let digit = |bit: u32| u32::from(has(AceMask::of_permissions(bit, dir))) * bit;
    digit(4) | digit(2) | digit(1)
}

impl Acl {
    /// The list that grants exactly what a mode does.
    pub fn from_mode(mode: u32, dir: bool) -> Acl {
        let [owner, group, other] = [6, 3, 0].map(|shift| mode >> shift & 7);
        let ace = |kind, who, mask| Ace { kind, who, flags: 0, mask };
        let aces = [
            ace(AceKind::Deny, AceWho::Owner, AceMask::of_permissions((group | other) & !owner, dir)),
            ace(AceKind::Allow, AceWho::Owner, AceMask::of_permissions(owner, dir) | OWNER_ALWAYS),
            ace(AceKind::Deny, AceWho::Group, AceMask::of_permissions(other & !group, dir)),
            ace(AceKind::Allow, AceWho::Group, AceMask::of_permissions(group, dir) | EVERYONE_ALWAYS),
            ace(AceKind::Allow, AceWho::Everyone, AceMask::of_permissions(other, dir) | EVERYONE_ALWAYS),
        ];
        Acl { aces: aces.into_iter().filter(|ace| ace.mask != 0).collect(), nt: None }
    }

    /// The nine permission bits that follow from the entries for owner, group and everyone.
    /// The mask, if there is one, is what the group has.
    pub fn mode(&self, dir: bool) -> u32 {
        let group = self.mask_permissions(dir).unwrap_or_else(|| self.class(AceWho::Group, dir));
        self.class(AceWho::Owner, dir) << 6 | group << 3 | self.class(AceWho::Everyone, dir)
    }

    /// The permission bits of everyone's entries and these others.
    fn class(&self, who: AceWho, dir: bool) -> u32 {
        let of = |ace: &Ace| ace.who == who || ace.who == AceWho::Everyone;
        permissions(|mask| granted(self.aces.iter().copied().filter(of), mask), dir)
    }

    /// Whether the caller gets all of `want` of a file of `uid` and `gid`. Root is no matter of lists.
    pub fn grants(&self, cx: &Context, uid: u32, gid: u32, want: u32) -> bool {
        let of = |ace: &Ace| match ace.who {
            AceWho::Owner => cx.uid == uid,
            AceWho::Group => cx.in_group(gid),
            AceWho::Everyone => true,
            AceWho::User(user) => cx.uid == user,
            AceWho::GroupId(group) => cx.in_group(group),
            AceWho::Mask => false,
            AceWho::Sid(sid) => sid.speaks_of(cx, uid),
        };
        let most = self.mask().unwrap_or(AceMask::ALL);
        granted(self.aces.iter().filter(|ace| of(ace)).map(|ace| ace.within(most)), want)
    }

    /// The list after a chmod. What is there to be inherited stays.
    pub(crate) fn with_mode(&self, mode: u32, dir: bool) -> Acl {
        let mut acl = if self.mask().is_some() {
            let class = |ace: &&Ace| ace.counts() && (ace.is_named() || ace.who == AceWho::Group);
            Acl::masked(mode, self.aces.iter().filter(class).map(Ace::own).collect(), dir)
        } else {
            self.reduced_to(mode, dir)
        };
        acl.aces.extend(self.aces.iter().filter_map(Ace::heritable));
        acl.nt = self.nt.map(Nt::after_chmod);
        acl
    }

    /// The entries in force after a chmod of a list without a mask.
    fn reduced_to(&self, mode: u32, dir: bool) -> Acl {
        let trivial = Acl::from_mode(mode, dir).aces;
        let (first, last): (Vec<Ace>, Vec<Ace>) =
            trivial.into_iter().partition(|ace| ace.who == AceWho::Owner);
        let most = !AceMask::of_permissions(7 & !(mode >> 3), dir);
        let named = self.aces.iter().filter(|ace| ace.counts() && ace.is_named());
        let named: Vec<Ace> = named.map(|ace| ace.own().within(most)).collect();
        Acl { aces: [first, named, last].concat(), nt: None }
    }

    /// The list, if any, and the mode of a new file or directory of this owner and group that was asked for with `mode`; `None`
    /// if there is nothing to inherit.
    pub(crate) fn inherited(
        &self,
        dir: bool,
        mode: u32,
        (uid, gid): (u32, u32),
    ) -> Option<(Option<Acl>, u32)> {
        if self.nt.is_some() {
            let acl = self.nt_inherited(dir, uid, gid);
            let mode = mode & !0o777 | acl.mode_of(dir, uid, gid);
            return Some((Some(acl), mode));
        }
        let acl = Acl { aces: self.aces.iter().filter_map(|ace| ace.inherited(dir)).collect(), nt: None };
        if acl.aces.is_empty() {
            return None;
        }
        if acl.mask().is_some() {
            return Some(acl.limited_by(mode, dir));
        }
        let mode = mode & !0o777 | acl.mode(dir);
        Some((Some(acl), mode))
    }

    /// # Errors
    /// [`FsError::Invalid`] for too many entries, unknown bits or a mask that refuses.
    pub(crate) fn check(&self) -> Result<()> {
        let known = |ace: &Ace| {
            let kind = ace.who != AceWho::Mask || ace.kind == AceKind::Allow;
            kind && ace.mask & !AceMask::ALL == 0 && ace.flags & !AceFlags::ALL == 0
        };
        let fits = self.aces.len() <= ACES_MAX && self.encode().len() <= BLOCK_SIZE;
        if fits && self.aces.iter().all(known) { Ok(()) } else { Err(FsError::Invalid) }
    }

    /// What an NT descriptor says beside its entries, then 10 bytes an entry, more for one with a SID: kind and who, flags, mask,
    /// id.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        if let Some(nt) = &self.nt {
            out.u8(NT);
            nt.encode(&mut out);
        }
        for ace in &self.aces {
            let (who, id) = match ace.who {
                AceWho::Owner => (0, 0),
                AceWho::Group => (1, 0),
                AceWho::Everyone => (2, 0),
                AceWho::User(id) => (3, id),
                AceWho::GroupId(id) => (4, id),
                AceWho::Mask => (5, 0),
                AceWho::Sid(_) => (6, 0),
            };
            out.u8(who | if ace.kind == AceKind::Deny { 0x80 } else { 0 });
            out.u8(ace.flags);
            out.u32(ace.mask);
            match ace.who {
                AceWho::Sid(sid) => sid.encode(&mut out),
                _ => out.u32(id),
            }
        }
        out.0
    }

    /// `None` for what [`Acl::encode`] did not make.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Acl> {
        let mut input = Reader::new(bytes);
        let mut acl = Acl::default();
        if bytes.first() == Some(&NT) {
            input.u8();
            acl.nt = Some(Nt::decode(&mut input)?);
        }
        while !input.is_empty() && acl.aces.len() <= ACES_MAX {
            let (first, flags, mask) = (input.u8(), input.u8(), input.u32());
            let who = match first & 0x7F {
                6 => AceWho::Sid(Sid::decode(&mut input)?),
                kind => {
                    let id = input.u32();
                    match kind {
                        0 => AceWho::Owner,
                        1 => AceWho::Group,
                        2 => AceWho::Everyone,
                        3 => AceWho::User(id),
                        4 => AceWho::GroupId(id),
                        5 => AceWho::Mask,
                        _ => return None,
                    }
                }
            };
            let kind = if first & 0x80 == 0 { AceKind::Allow } else { AceKind::Deny };
            acl.aces.push(Ace { kind, who, flags, mask });
        }
        (input.ok() && acl.check().is_ok()).then_some(acl)
    }
}

/// Stands before what an NT descriptor says beside its entries.
const NT: u8 = 0x7F;
