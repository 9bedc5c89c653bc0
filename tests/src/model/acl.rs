//! Access control lists in the model: each rule of RFC 8881 §6 written down bit by bit.

use super::ops::stamp;
use super::perm::strip_setgid;
use super::{Model, Node, change};
use fsstore::{
    ACES_MAX, Ace, AceFlags, AceKind, AceMask, AceWho, Acl, Context, Done, FileId, FileKind, FsError, Result,
};

const TO_INHERIT: u8 = AceFlags::FILE_INHERIT | AceFlags::DIRECTORY_INHERIT;

/// What the permission bits of one octal digit are as bits of a list.
fn bits_of(digit: u32, is_dir: bool) -> u32 {
    let mut bits = 0;
    if digit & 4 != 0 {
        bits |= AceMask::READ_DATA;
    }
    if digit & 2 != 0 {
        bits |= AceMask::WRITE_DATA | AceMask::APPEND_DATA;
        bits |= if is_dir { AceMask::DELETE_CHILD } else { 0 };
    }
    if digit & 1 != 0 {
        bits |= AceMask::EXECUTE;
    }
    bits
}

/// Whether every bit of `want` is granted: of the entries that are for the caller, the first with the bit says so.
fn grants(acl: &Acl, want: u32, is_for: impl Fn(&AceWho) -> bool) -> bool {
    (0..32).map(|bit| 1 << bit).filter(|bit| want & bit != 0).all(|bit| {
        let in_force = acl.aces.iter().filter(|ace| ace.flags & AceFlags::INHERIT_ONLY == 0);
        let first = in_force.filter(|ace| is_for(&ace.who)).find(|ace| ace.mask & bit != 0);
        first.is_some_and(|ace| ace.kind == AceKind::Allow)
    })
}

/// The bits of the mask in force: those that each entry for the mask has.
fn mask(acl: &Acl) -> Option<u32> {
    let mut found = None;
    for ace in &acl.aces {
        if ace.who == AceWho::Mask && ace.flags & AceFlags::INHERIT_ONLY == 0 {
            found = Some(found.unwrap_or(u32::MAX) & ace.mask);
        }
    }
    found
}

/// The list with what its mask takes away taken away.
fn unmasked(acl: &Acl) -> Acl {
    let mut acl = acl.clone();
    let Some(mask) = mask(&acl) else { return acl };
    for ace in &mut acl.aces {
        let by_class = matches!(ace.who, AceWho::Group | AceWho::User(_) | AceWho::GroupId(_));
        if by_class && ace.kind == AceKind::Allow {
            ace.mask &= mask;
        }
    }
    acl
}

/// Whether a file's list grants the caller those bits.
pub(super) fn grants_to(acl: &Acl, cx: &Context, node: &Node, want: u32) -> bool {
    grants(&unmasked(acl), want, |who| match who {
        AceWho::Owner => cx.uid == node.attr.uid,
        AceWho::Group => cx.in_group(node.attr.gid),
        AceWho::Everyone => true,
        AceWho::User(uid) => cx.uid == *uid,
        AceWho::GroupId(gid) => cx.in_group(*gid),
        AceWho::Mask | AceWho::Sid(_) => false,
    })
}

/// The same for permission bits.
pub(super) fn allows(acl: &Acl, cx: &Context, node: &Node, digit: u32) -> bool {
    grants_to(acl, cx, node, bits_of(digit, node.attr.kind == FileKind::Dir))
}

/// The nine mode bits that follow from a list.
pub(super) fn mode_of(acl: &Acl, is_dir: bool) -> u32 {
    let digit = |class: AceWho| {
        let has = |digit| grants(acl, bits_of(digit, is_dir), |who| [class, AceWho::Everyone].contains(who));
        [4, 2, 1].into_iter().filter(|digit| has(*digit)).sum::<u32>()
    };
    let of_mask = mask(acl).map(|mask| {
        let has = |digit| mask & bits_of(digit, is_dir) == bits_of(digit, is_dir);
        [4, 2, 1].into_iter().filter(|digit| has(*digit)).sum::<u32>()
    });
    let group = of_mask.unwrap_or_else(|| digit(AceWho::Group));
    digit(AceWho::Owner) * 0o100 + group * 0o10 + digit(AceWho::Everyone)
}

/// What a new file or directory gets of its directory's list, and its mode, when it's made with `mode`.
pub(super) fn inherited(acl: &Acl, is_dir: bool, mode: u32) -> (Option<Acl>, u32) {
    let mut aces = Vec::new();
    for ace in &acl.aces {
        let wanted = if is_dir { AceFlags::DIRECTORY_INHERIT } else { AceFlags::FILE_INHERIT };
        let in_force = ace.flags & wanted != 0;
        let hands_on = is_dir && ace.flags & AceFlags::NO_PROPAGATE_INHERIT == 0;
        let kept = if hands_on { ace.flags & TO_INHERIT } else { 0 };
        if in_force {
            aces.push(Ace { flags: kept | AceFlags::INHERITED, ..*ace });
        } else if kept != 0 {
            aces.push(Ace { flags: kept | AceFlags::INHERIT_ONLY | AceFlags::INHERITED, ..*ace });
        }
    }
    if aces.is_empty() {
        return (None, mode);
    }
    let handed_down = Acl { aces, nt: None };
    let by_list = mode_of(&handed_down, is_dir);
    if mask(&handed_down).is_none() {
        return (Some(handed_down), mode & !0o777 | by_list);
    }
    // As POSIX.1e: the mode asked for limits owner, mask and others.
    let both = by_list & mode & 0o777;
    let mut made = after_chmod(&handed_down, both, is_dir);
    let in_force = |who: fn(&AceWho) -> bool| {
        handed_down.aces.iter().any(|ace| ace.flags & AceFlags::INHERIT_ONLY == 0 && who(&ace.who))
    };
    let mut raw = handed_down.clone();
    raw.aces.retain(|ace| ace.who != AceWho::Mask);
    let mask_says_nothing = mode_of(&raw, is_dir) & 0o70 == by_list & 0o70;
    if !in_force(|who| matches!(who, AceWho::User(_) | AceWho::GroupId(_))) && mask_says_nothing {
        made.aces.retain(|ace| ace.flags & AceFlags::INHERIT_ONLY != 0);
        made.aces = [Acl::from_mode(both, is_dir).aces, made.aces].concat();
    }
    made.aces.iter_mut().for_each(|ace| ace.flags &= !AceFlags::INHERITED);
    let plain = made == Acl::from_mode(both, is_dir);
    ((!plain).then_some(made), mode & !0o777 | both)
}

/// A list with a mask after a chmod: only what the mode says is new.
fn after_chmod_of_masked(acl: &Acl, mode: u32, is_dir: bool) -> Acl {
    let by_mode = Acl::from_mode(mode, is_dir);
    let allow = |who| by_mode.aces.iter().copied().find(|ace| ace.who == who && ace.kind == AceKind::Allow);
    let (owner, everyone) = (allow(AceWho::Owner), allow(AceWho::Everyone));
    let rest = Ace { kind: AceKind::Deny, who: AceWho::Owner, flags: 0, mask: bits_of(7, is_dir) };
    let mask =
        Ace { kind: AceKind::Allow, who: AceWho::Mask, flags: 0, mask: bits_of(mode >> 3 & 7, is_dir) };
    let mut aces: Vec<Ace> = owner.into_iter().chain([rest, mask]).collect();
    for ace in &acl.aces {
        let by_class = matches!(ace.who, AceWho::Group | AceWho::User(_) | AceWho::GroupId(_));
        if by_class && ace.flags & AceFlags::INHERIT_ONLY == 0 {
            aces.push(Ace { flags: ace.flags & AceFlags::INHERITED, ..*ace });
        }
    }
    aces.extend(everyone);
    let to_inherit = acl.aces.iter().filter(|ace| ace.flags & TO_INHERIT != 0);
    aces.extend(to_inherit.map(|ace| Ace { flags: ace.flags | AceFlags::INHERIT_ONLY, ..*ace }));
    Acl { aces, nt: None }
}

/// A list after a chmod.
pub(super) fn after_chmod(acl: &Acl, mode: u32, is_dir: bool) -> Acl {
    if mask(acl).is_some() {
        return after_chmod_of_masked(acl, mode, is_dir);
    }
    let by_mode = Acl::from_mode(mode, is_dir);
    let (of_owner, of_others): (Vec<Ace>, Vec<Ace>) =
        by_mode.aces.into_iter().partition(|ace| ace.who == AceWho::Owner);
    let mut aces = of_owner;
    for ace in acl.aces.iter().filter(|ace| ace.flags & AceFlags::INHERIT_ONLY == 0) {
        if matches!(ace.who, AceWho::User(_) | AceWho::GroupId(_)) {
            let mut mask = ace.mask;
            if ace.kind == AceKind::Allow {
                let not_the_groups = bits_of(7, is_dir) & !bits_of(mode >> 3 & 7, is_dir);
                // A bit that stands for two is taken if it may not be had by the group.
                mask &= !(not_the_groups | bits_of(!(mode >> 3) & 7, is_dir));
            }
            aces.push(Ace { flags: ace.flags & AceFlags::INHERITED, mask, ..*ace });
        }
    }
    aces.extend(of_others);
    let to_inherit = acl.aces.iter().filter(|ace| ace.flags & TO_INHERIT != 0);
    aces.extend(to_inherit.map(|ace| Ace { flags: ace.flags | AceFlags::INHERIT_ONLY, ..*ace }));
    Acl { aces, nt: None }
}

impl Model {
    /// The list in force.
    pub fn acl(&self, file: FileId) -> Result<Acl> {
        let node = self.node(file)?;
        let by_mode = || Acl::from_mode(node.attr.mode, node.attr.kind == FileKind::Dir);
        Ok(node.acl.clone().unwrap_or_else(by_mode))
    }

    pub(super) fn set_acl(&mut self, cx: &Context, file: FileId, acl: Option<&Acl>) -> Result<Done> {
        let node = self.node(file)?;
        if node.stream_of.is_some() || node.attr.kind == FileKind::Symlink {
            return Err(FsError::Invalid);
        }
        let granted = node.acl.as_ref().is_some_and(|acl| grants_to(acl, cx, node, AceMask::WRITE_ACL));
        if cx.uid != 0 && cx.uid != node.attr.uid && !granted {
            return Err(FsError::Perm);
        }
        if let Some(acl) = acl {
            let known = |ace: &Ace| {
                ace.mask & !AceMask::ALL == 0
                    && ace.flags & !AceFlags::ALL == 0
                    && (ace.who, ace.kind) != (AceWho::Mask, AceKind::Deny)
            };
            if acl.aces.is_empty() || acl.aces.len() > ACES_MAX || !acl.aces.iter().all(known) {
                return Err(FsError::Invalid);
            }
        } else if node.acl.is_none() {
            return Ok(self.done(self.unchanged(file), None));
        }
        let is_dir = node.attr.kind == FileKind::Dir;
        let says_more = |acl: &&Acl| **acl != Acl::from_mode(mode_of(acl, is_dir), is_dir);
        let kept = acl.filter(says_more);
        let same_mode = |acl: &Acl| mode_of(acl, is_dir) == node.attr.mode & 0o777;
        if acl.is_some_and(same_mode) && node.acl.as_ref() == kept {
            return Ok(self.done(self.unchanged(file), None));
        }
        let node = self.node_mut(file);
        let before = node.attr;
        if let Some(acl) = acl {
            node.attr.mode = strip_setgid(cx, before.gid, node.attr.mode & !0o777 | mode_of(acl, is_dir));
        }
        node.acl = kept.cloned();
        node.attr.ctime = stamp(&node.attr, cx);
        let after = node.attr;
        Ok(self.done(change(&before, &after), None))
    }
}
