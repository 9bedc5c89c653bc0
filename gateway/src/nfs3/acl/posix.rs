//! POSIX.1e ACLs, and how they are kept as the store's lists: what a list grants, its ACL shows, and the other way round.
//!
//! An ACL becomes a list with a mask ([`Acl::masked`]): the owner's entry; for each named user what they get, then that they get nothing
//! more; what the groups get, then that their members get nothing more; everyone's entry. A default ACL is the same, to be inherited
//! only. An access ACL of three entries is what the mode says. A list that was made so gives the same ACL back.
//!
//! What this makes otherwise than a local file system on Linux:
//! - Of several groups that a user is in, one may grant reading and another writing, and the user then has both, also in one request.
//!   POSIX.1e wants one group that grants all of it. (NFSv3's ACCESS asks for each right by itself, with every server.)
//! - A mask of nothing leaves named users and groups with nothing, as POSIX.1e says. Linux then treats them as others.
//! - Named users and groups fill a list of [`fsstore::ACES_MAX`] entries, two each, access and default ACL together.
//! - An ACL without named users and groups whose mask is what the group has is one of three entries: the protocol has no other.
//!
//! A list that was not made so gives the ACL that is closest to it and shows nobody more than they have: who may be refused something, by
//! a group that they may be in, is not shown to have it. Its entries to be inherited are no default ACL: clients leave
//! inheritance to the server then, which does it better than they could.

use super::{AclEnt, AclTag};
use crate::nfs3::status::NfsStat3;
use fsstore::{Ace, AceFlags, AceKind, AceMask, AceWho, Acl};
use std::collections::BTreeMap;

const TO_INHERIT: u8 = AceFlags::FILE_INHERIT | AceFlags::DIRECTORY_INHERIT | AceFlags::INHERIT_ONLY;

/// A POSIX ACL; rights are those of one octal digit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PosixAcl {
    owner: u32,
    users: BTreeMap<u32, u32>,
    group: u32,
    groups: BTreeMap<u32, u32>,
    /// There is one where somebody is named, or it takes from what the group has.
    mask: Option<u32>,
    other: u32,
}

impl PosixAcl {
    /// The three entries that stand for a mode.
    pub(super) fn of_mode(mode: u32) -> PosixAcl {
        let [owner, group, other] = [6, 3, 0].map(|shift| mode >> shift & 7);
        PosixAcl { owner, users: BTreeMap::new(), group, groups: BTreeMap::new(), mask: None, other }
    }

    /// The ACL of these entries, in any order; none, if there are none.
    pub(super) fn of_entries(entries: &[AclEnt]) -> Result<Option<PosixAcl>, NfsStat3> {
        if entries.is_empty() {
            return Ok(None);
        }
        let [mut owner, mut group, mut mask, mut other] = [None; 4];
        let [mut users, mut groups] = [BTreeMap::new(), BTreeMap::new()];
        for &AclEnt { tag, id, perm } in entries {
            let tag = tag & !AclTag::DEFAULT;
            // Solaris sets other bits of the mask, too.
            let perm = if tag == AclTag::CLASS_OBJ { perm & 7 } else { perm };
            let second = match tag {
                AclTag::USER_OBJ => owner.replace(perm),
                AclTag::USER => users.insert(id, perm),
                AclTag::GROUP_OBJ => group.replace(perm),
                AclTag::GROUP => groups.insert(id, perm),
                AclTag::CLASS_OBJ => mask.replace(perm),
                AclTag::OTHER_OBJ => other.replace(perm),
                _ => return Err(NfsStat3::Inval),
            };
            let nobody = id == u32::MAX && matches!(tag, AclTag::USER | AclTag::GROUP);
            if second.is_some() || nobody || perm > 7 {
                return Err(NfsStat3::Inval);
            }
        }
        let (Some(owner), Some(group), Some(other)) = (owner, group, other) else {
            return Err(NfsStat3::Inval);
        };
        let acl = PosixAcl { owner, users, group, groups, mask, other };
        if acl.names_somebody() && mask.is_none() { Err(NfsStat3::Inval) } else { Ok(Some(acl.minimal())) }
    }

    fn names_somebody(&self) -> bool {
        !(self.users.is_empty() && self.groups.is_empty())
    }

    /// Without a mask that says nothing.
    fn minimal(mut self) -> PosixAcl {
        self.mask = self.mask.filter(|mask| self.names_somebody() || *mask != self.group);
        self
    }

    /// The entries in the order that Solaris wants, at least four.
    pub(super) fn entries(&self, (uid, gid): (u32, u32)) -> Vec<AclEnt> {
        let entry = |tag, id, perm| AclEnt { tag, id, perm };
        let mut entries = vec![entry(AclTag::USER_OBJ, uid, self.owner)];
        entries.extend(self.users.iter().map(|(id, perm)| entry(AclTag::USER, *id, *perm)));
        entries.push(entry(AclTag::GROUP_OBJ, gid, self.group));
        entries.extend(self.groups.iter().map(|(id, perm)| entry(AclTag::GROUP, *id, *perm)));
        entries.push(entry(AclTag::CLASS_OBJ, 0, self.mask.unwrap_or(self.group)));
        entries.push(entry(AclTag::OTHER_OBJ, 0, self.other));
        entries
    }

    /// As a list with a mask.
    fn masked(&self, dir: bool) -> Acl {
        let mode = self.owner << 6 | self.mask.unwrap_or(self.group) << 3 | self.other;
        // Of a file, too, as for a directory: that is what it would have inherited.
        let ace = |kind, who, bits| Ace { kind, who, flags: 0, mask: AceMask::of_permissions(bits, true) };
        let allow = |who, bits: u32| ace(AceKind::Allow, who, bits);
        // All of it, so that it stays so whatever becomes of the mask.
        let no_more = |who| ace(AceKind::Deny, who, 7);
        let mut class = Vec::new();
        for (user, bits) in &self.users {
            class.extend([allow(AceWho::User(*user), *bits), no_more(AceWho::User(*user))]);
        }
        let named = self.groups.iter().map(|(group, bits)| (AceWho::GroupId(*group), *bits));
        let groups: Vec<_> = std::iter::once((AceWho::Group, self.group)).chain(named).collect();
        class.extend(groups.iter().map(|(who, bits)| allow(*who, *bits)));
        class.extend(groups.iter().map(|(who, _)| no_more(*who)));
        Acl::masked(mode, class, dir)
    }

    /// The ACL that is closest to a list's entries of a file of `uid`.
    fn of_aces(aces: &[Ace], uid: u32, dir: bool) -> PosixAcl {
        use AceWho::{Everyone, Group, GroupId, Mask, Owner, User};
        let (mut users, mut groups) = (BTreeMap::new(), BTreeMap::new());
        for ace in aces {
            match ace.who {
                User(user) => drop(users.insert(user, bits(aces, ace.who, is_group, dir))),
                GroupId(group) => drop(groups.insert(group, bits(aces, ace.who, is_group, dir))),
                Owner | Group | Everyone | Mask | AceWho::Sid(_) => {}
            }
        }
        let owner = bits(aces, Owner, |who| is_group(who) || who == User(uid), dir);
        let group = bits(aces, Group, is_group, dir);
        let other = bits(aces, Everyone, |_| false, dir);
        let acl = Acl { aces: aces.to_vec(), nt: None };
        let all = || users.values().chain(groups.values()).fold(group, |all, bits| all | bits);
        let mask = acl.mask().map_or_else(all, |_| acl.mode(dir) >> 3 & 7);
        PosixAcl { owner, users, group, groups, mask: Some(mask), other }.minimal()
    }
}

fn is_group(who: AceWho) -> bool {
    matches!(who, AceWho::Group | AceWho::GroupId(_))
}

/// What the entries for `who` and for everyone grant, where those of whom `may_be` is true may refuse it. A mask is not looked at.
fn bits(aces: &[Ace], who: AceWho, may_be: impl Fn(AceWho) -> bool, dir: bool) -> u32 {
    let sure = |ace: &&Ace| ace.who == who || ace.who == AceWho::Everyone;
    let granted = |bit: u32| {
        let mut left = AceMask::of_permissions(bit, dir);
        for ace in aces.iter().filter(|ace| sure(ace) || (ace.kind == AceKind::Deny && may_be(ace.who))) {
            match ace.kind {
                AceKind::Allow => left &= !ace.mask,
                AceKind::Deny if left & ace.mask != 0 => return 0,
                AceKind::Deny => {}
            }
        }
        if left == 0 { bit } else { 0 }
    };
    granted(4) | granted(2) | granted(1)
}

/// The list that keeps a file's ACLs.
pub(super) fn list(access: &PosixAcl, default: Option<&PosixAcl>, dir: bool) -> Acl {
    let mut acl = match access.mask {
        Some(_) => access.masked(dir),
        None => Acl::from_mode(access.owner << 6 | access.group << 3 | access.other, dir),
    };
    let default = default.map(|acl| acl.masked(true)).unwrap_or_default();
    acl.aces.extend(default.aces.iter().map(|ace| Ace { flags: TO_INHERIT, ..*ace }));
    acl
}

/// The access ACL and the default ACL that a list of a file of `uid` shows.
pub(super) fn of_list(acl: &Acl, uid: u32, dir: bool) -> (PosixAcl, Option<PosixAcl>) {
    let part = |wanted: fn(u8) -> bool| -> Vec<Ace> {
        let aces = acl.aces.iter().filter(|ace| wanted(ace.flags));
        aces.map(|ace| Ace { flags: 0, ..*ace }).collect()
    };
    let access = part(|flags| flags & AceFlags::INHERIT_ONLY == 0);
    let default = part(|flags| flags & TO_INHERIT == TO_INHERIT);
    let has_default = dir && default.iter().any(|ace| ace.who == AceWho::Mask);
    (PosixAcl::of_aces(&access, uid, dir), has_default.then(|| PosixAcl::of_aces(&default, uid, true)))
}
