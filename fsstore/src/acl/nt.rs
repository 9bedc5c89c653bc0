//! Lists that NT security descriptors were set with (MS-DTYP §2.4.6): kept to the letter, and inherited by NT's rules.
//!
//! | when | then |
//! | --- | --- |
//! | access is checked | entries for SIDs of classes of users count for these: authenticated users are everybody, administrators are root, owner rights is the owner |
//! | a directory is passed through | it needs no `EXECUTE`: Windows gives everybody the right to bypass traverse checking |
//! | a name is added to a directory | adding a directory needs `APPEND_DATA`, all else `WRITE_DATA` |
//! | a name is taken out of a directory | it needs `DELETE` of the file or `DELETE_CHILD` of the directory |
//! | the mode is asked for | the entries for the user and group that own the file are the owner's and the group's |
//! | a file is made in a directory with such a list | it gets the entries to inherit, those for its creator with the creator's own number (MS-DTYP §2.5.3.4); where there are none, a list that gives all to its owner and the system, whatever mode was asked for |
//! | a chmod meets the list | as with other lists; what the descriptor says of its owner and of inheritance stays |

use super::{Ace, AceFlags, AceKind, AceMask, AceWho, Acl};
use crate::layout::{Reader, Writer};
use crate::op::Context;

/// Bytes of a SID at the most.
const SID_LEN_MAX: usize = 68;

/// A security identifier (MS-DTYP §2.4.2.2) of somebody who has no number in Unix.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sid {
    len: u8,
    /// The others are 0.
    bytes: [u8; SID_LEN_MAX],
}

impl std::fmt::Debug for Sid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sid({:02x?})", self.as_bytes())
    }
}

impl Sid {
    /// `S-1-3-0`: in an entry to inherit, who will have made the file.
    pub const CREATOR_OWNER: Sid = Sid::known(3, &[0]);
    /// `S-1-3-1`: in an entry to inherit, that one's group.
    pub const CREATOR_GROUP: Sid = Sid::known(3, &[1]);
    /// `S-1-3-4`: whoever owns the file. Where an entry speaks of it, the owner has no rights but those of entries.
    pub const OWNER_RIGHTS: Sid = Sid::known(3, &[4]);
    /// `S-1-5-2`: who comes by the network.
    const NETWORK: Sid = Sid::known(5, &[2]);
    /// `S-1-5-11`: who has logged in.
    const AUTHENTICATED_USERS: Sid = Sid::known(5, &[11]);
    /// `S-1-5-18`: the system.
    const SYSTEM: Sid = Sid::known(5, &[18]);
    /// `S-1-5-32-544`: the administrators.
    const ADMINISTRATORS: Sid = Sid::known(5, &[32, 544]);
    /// `S-1-5-32-545`: the users.
    const USERS: Sid = Sid::known(5, &[32, 545]);

    const fn known(authority: u8, sub: &[u16]) -> Sid {
        let mut bytes = [0; SID_LEN_MAX];
        (bytes[0], bytes[7]) = (1, authority);
        let (mut at, mut len) = (0, 8);
        while at < sub.len() {
            [bytes[len], bytes[len + 1]] = sub[at].to_le_bytes();
            (at, len) = (at + 1, len + 4);
            bytes[1] += 1;
        }
        Sid { len: 8 + 4 * bytes[1], bytes }
    }

    /// From its form on the wire; nothing if it has not that form.
    pub fn from_bytes(wire: &[u8]) -> Option<Sid> {
        let formed = wire.len() >= 8 && wire[0] == 1 && wire.len() == 8 + 4 * usize::from(wire[1]);
        let mut bytes = [0; SID_LEN_MAX];
        bytes.get_mut(..wire.len()).filter(|_| formed)?.copy_from_slice(wire);
        Some(Sid { len: u8::try_from(wire.len()).ok()?, bytes })
    }

    /// Its form on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Whether the caller, before a file of `uid`, is one of these.
    pub(super) fn speaks_of(&self, cx: &Context, uid: u32) -> bool {
        match *self {
            Sid::AUTHENTICATED_USERS | Sid::USERS | Sid::NETWORK => true,
            Sid::OWNER_RIGHTS => cx.uid == uid,
            Sid::ADMINISTRATORS => cx.uid == 0,
            _ => false,
        }
    }

    /// Whose entries these are to the mode bits.
    fn class(&self) -> Option<AceWho> {
        match *self {
            Sid::AUTHENTICATED_USERS | Sid::USERS | Sid::NETWORK => Some(AceWho::Everyone),
            Sid::OWNER_RIGHTS => Some(AceWho::Owner),
            _ => None,
        }
    }

    pub(super) fn encode(&self, out: &mut Writer) {
        out.u8(self.len);
        out.raw(self.as_bytes());
    }

    pub(super) fn decode(input: &mut Reader<'_>) -> Option<Sid> {
        let len = usize::from(input.u8());
        Sid::from_bytes(input.raw(len))
    }
}

/// Bits of [`Nt::control`].
#[derive(Debug)]
pub struct NtControl;

impl NtControl {
    /// New files inherit with [`AceFlags::INHERITED`] (`SE_DACL_AUTO_INHERITED`).
    pub const AUTO_INHERITED: u8 = 0x01;
    /// Nothing is inherited from above (`SE_DACL_PROTECTED`); a note for clients.
    pub const PROTECTED: u8 = 0x02;
    /// The descriptor says that there is no list; the one here grants everything.
    pub const NO_LIST: u8 = 0x04;
}

/// What an NT security descriptor says beside the entries of its list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Nt {
    /// Bits of [`NtControl`].
    pub control: u8,
    /// An owner who has no number in Unix, as long as the file's uid is the one here.
    pub owner: Option<(u32, Sid)>,
    /// As `owner`, for the group.
    pub group: Option<(u32, Sid)>,
}

impl Nt {
    pub(super) fn after_chmod(self) -> Nt {
        Nt { control: self.control & !NtControl::NO_LIST, ..self }
    }

    pub(super) fn encode(&self, out: &mut Writer) {
        out.u8(self.control);
        for who in [self.owner, self.group] {
            out.u8(u8::from(who.is_some()));
            if let Some((id, sid)) = who {
                out.u32(id);
                sid.encode(out);
            }
        }
    }

    pub(super) fn decode(input: &mut Reader<'_>) -> Option<Nt> {
        let control = input.u8();
        let mut who = || match input.u8() {
            0 => Some(None),
            1 => Some(Some((input.u32(), Sid::decode(input)?))),
            _ => None,
        };
        Some(Nt { control, owner: who()?, group: who()? })
    }
}

impl Acl {
    /// The nine permission bits of a file of this owner and group.
    pub(crate) fn mode_of(&self, dir: bool, uid: u32, gid: u32) -> u32 {
        if self.nt.is_none() {
            return self.mode(dir);
        }
        let by_class = |ace: &Ace| {
            let who = match ace.who {
                AceWho::User(user) if user == uid => AceWho::Owner,
                AceWho::GroupId(group) if group == gid => AceWho::Group,
                AceWho::Sid(sid) => sid.class().unwrap_or(ace.who),
                who => who,
            };
            Ace { who, ..*ace }
        };
        Acl { aces: self.aces.iter().map(by_class).collect(), nt: None }.mode(dir)
    }

    /// The list of a new file or directory of this owner and group.
    pub(super) fn nt_inherited(&self, dir: bool, uid: u32, gid: u32) -> Acl {
        let control = self.nt.map_or(0, |nt| nt.control) & NtControl::AUTO_INHERITED;
        let mark = if control == 0 { 0 } else { AceFlags::INHERITED };
        let aces = self.aces.iter().flat_map(|ace| ace.nt_inherited(dir, uid, gid, mark)).flatten().collect();
        let inherited = Acl { aces, nt: Some(Nt { control, ..Nt::default() }) };
        // Entries for creators become two: a list that has no room for that is not cut, which could lose what it denies.
        if inherited.aces.is_empty() || inherited.check().is_err() {
            let all = |who| Ace { kind: AceKind::Allow, who, flags: 0, mask: AceMask::FULL_CONTROL };
            let aces = vec![all(AceWho::User(uid)), all(AceWho::Sid(Sid::SYSTEM))];
            return Acl { aces, nt: Some(Nt::default()) };
        }
        inherited
    }
}

impl Ace {
    /// What a new file or directory gets of this: an entry in force, and one that is there to be inherited further, or one for
    /// both.
    fn nt_inherited(&self, dir: bool, uid: u32, gid: u32, mark: u8) -> [Option<Ace>; 2] {
        use AceFlags as F;
        let further = self.flags & F::INHERIT;
        let for_child = self.flags & if dir { F::DIRECTORY_INHERIT } else { F::FILE_INHERIT } != 0;
        let goes_on = dir && further != 0 && self.flags & F::NO_PROPAGATE_INHERIT == 0;
        let who = match self.who {
            AceWho::Sid(Sid::CREATOR_OWNER) => AceWho::User(uid),
            AceWho::Sid(Sid::CREATOR_GROUP) => AceWho::GroupId(gid),
            who => who,
        };
        let own = |flags: u8| Some(Ace { who, flags: flags | mark, ..*self });
        let to_inherit = Some(Ace { flags: further | F::INHERIT_ONLY | mark, ..*self });
        match (for_child, goes_on) {
            (true, true) if who == self.who => [own(further), None],
            (true, true) => [own(0), to_inherit],
            (true, false) => [own(0), None],
            (false, true) => [to_inherit, None],
            (false, false) => [None, None],
        }
    }
}
