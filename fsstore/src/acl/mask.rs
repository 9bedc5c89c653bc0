//! Lists with a mask, which is how POSIX.1e ACLs are kept: what such a list looks like, and what a new file inherits of one.
//!
//! | when | then |
//! | --- | --- |
//! | access is checked | the entries for named users, named groups and the file's group grant at most the mask |
//! | the mode is asked for | its group bits are the mask |
//! | a chmod meets the list | the owner's bits, the mask and everyone's bits are the mode's; all other entries stay as they are |
//! | a file is made in a directory that has a mask to inherit | as after a chmod to what is both in the inherited list and in the mode asked for |
//! | a list that says no more than its mode would be inherited | only the mode is |

use super::{Ace, AceFlags, AceKind, AceMask, AceWho, Acl, OWNER_ALWAYS, permissions};

impl Acl {
    /// The list of a POSIX ACL: the owner's and everyone's entries, and the mask, are the mode's; `class` are the entries between
    /// them, for named users, named groups and the file's group.
    pub fn masked(mode: u32, class: Vec<Ace>, dir: bool) -> Acl {
        let [owner, mask, other] = [6, 3, 0].map(|shift| AceMask::of_permissions(mode >> shift & 7, dir));
        let allow = |who, mask| Ace { kind: AceKind::Allow, who, flags: 0, mask };
        let all = AceMask::of_permissions(7, dir);
        let mut aces = vec![
            allow(AceWho::Owner, owner | OWNER_ALWAYS),
            Ace { kind: AceKind::Deny, ..allow(AceWho::Owner, all) },
            allow(AceWho::Mask, mask),
        ];
        aces.extend(class);
        aces.push(allow(AceWho::Everyone, other | super::EVERYONE_ALWAYS));
        Acl { aces, nt: None }
    }

    /// The mask in force.
    pub fn mask(&self) -> Option<u32> {
        let masks = self.aces.iter().filter(|ace| ace.counts() && ace.who == AceWho::Mask);
        masks.map(|ace| ace.mask).reduce(|one, other| one & other)
    }

    /// The mask in force, as permission bits.
    pub(super) fn mask_permissions(&self, dir: bool) -> Option<u32> {
        self.mask().map(|mask| permissions(|bits| bits & !mask == 0, dir))
    }

    /// What a new file or directory gets of a list with a mask, and its mode.
    pub(super) fn limited_by(&self, mode: u32, dir: bool) -> (Option<Acl>, u32) {
        let granted = self.mode(dir) & mode;
        let named = self.aces.iter().any(|ace| ace.counts() && ace.is_named());
        // Without named users and groups there is somebody for a mask to limit only if it takes from what the group has.
        let minimal = !named && self.mask_permissions(dir) == Some(self.class(AceWho::Group, dir));
        let mut acl = if minimal { Acl::from_mode(granted, dir) } else { self.with_mode(granted, dir) };
        if minimal {
            acl.aces.extend(self.aces.iter().filter_map(Ace::heritable));
        }
        // A client that knows ACLs sets what it thinks that the file has inherited: it shall be the same.
        acl.aces.iter_mut().for_each(|ace| ace.flags &= !AceFlags::INHERITED);
        let says_more = acl != Acl::from_mode(granted, dir);
        (says_more.then_some(acl), mode & !0o777 | granted)
    }
}
