//! Security descriptors (MS-DTYP §2.4.6) of files: owner, group and list as the volume keeps them, and back.

use super::open::Open;
use super::reply::Failure;
use super::wire::create::access;
use super::wire::info::security_information as part;
use super::wire::security::{Ace, AceType, DACL_AUTO_INHERITED, Dacl, INHERITED, SecurityDescriptor};
use super::wire::sid::Sid;
use super::wire::status::NtStatus;
use crate::vserver::{UnixId, Users, Vserver};
use bytes::BytesMut;
use fsstore::{AceFlags, AceKind, AceMask, AceWho, Acl, Attr, FileKind, Op, SetAttrs};

/// What a list's entries may hold besides what a volume keeps: nothing that it would lose.
const FLAGS: [(u8, u8); 5] = [
    (AceFlags::FILE_INHERIT, super::wire::security::OBJECT_INHERIT),
    (AceFlags::DIRECTORY_INHERIT, super::wire::security::CONTAINER_INHERIT),
    (AceFlags::NO_PROPAGATE_INHERIT, super::wire::security::NO_PROPAGATE_INHERIT),
    (AceFlags::INHERIT_ONLY, super::wire::security::INHERIT_ONLY),
    (AceFlags::INHERITED, INHERITED),
];

/// A SID of the vserver's as it goes over the wire...
pub(super) fn wire(sid: &crate::vserver::Sid) -> Sid {
    Sid::new(sid.authority(), sid.sub_authorities()).unwrap_or(Sid::NULL)
}

/// ... and the other way round.
pub(super) fn ours(sid: &Sid) -> Option<crate::vserver::Sid> {
    crate::vserver::Sid::new(sid.authority(), sid.sub_authorities())
}

/// A Unix id on the wire.
pub(super) fn wire_sid(users: &Users, id: UnixId) -> Sid {
    wire(&users.sid_of(id))
}

/// The Unix id that a SID stands for.
pub(super) fn unix_id(users: &Users, sid: &Sid) -> Option<UnixId> {
    users.id_of(&ours(sid)?)
}

/// Appends the parts of a file's descriptor that are asked for.
pub(super) fn describe(
    vserver: &Vserver,
    open: &Open,
    parts: u32,
    out: &mut BytesMut,
) -> Result<(), Failure> {
    let volume = open.volume(vserver)?;
    let attr = volume.getattr(open.base.file)?;
    let users = vserver.users();
    let asked = |bit: u32| parts & bit != 0;
    let mut descriptor = SecurityDescriptor::default();
    if asked(part::OWNER) {
        descriptor.owner = Some(wire_sid(&users, UnixId::User(attr.uid)));
    }
    if asked(part::GROUP) {
        descriptor.group = Some(wire_sid(&users, UnixId::Group(attr.gid)));
    }
    if asked(part::DACL) {
        let list = entries(&users, &attr, &volume.acl(open.base.file)?);
        if list.iter().any(|ace| ace.flags & INHERITED != 0) {
            descriptor.control |= DACL_AUTO_INHERITED;
        }
        descriptor.dacl = Dacl::List(list);
    }
    descriptor.encode(out);
    Ok(())
}

/// A list as clients see it. What a mask keeps from those it is for is left out.
fn entries(users: &Users, attr: &Attr, acl: &Acl) -> Vec<Ace> {
    let mask_of = |inherit_only: bool| {
        let is_mask = |ace: &&fsstore::Ace| {
            ace.who == AceWho::Mask && (ace.flags & AceFlags::INHERIT_ONLY != 0) == inherit_only
        };
        acl.aces.iter().find(is_mask).map_or(u32::MAX, |ace| ace.mask)
    };
    let masks = [mask_of(false), mask_of(true)];
    let shown = |ace: &fsstore::Ace| {
        let inherit_only = ace.flags & AceFlags::INHERIT_ONLY != 0;
        let (sid, masked) = match ace.who {
            AceWho::Owner if inherit_only => (Sid::CREATOR_OWNER, false),
            AceWho::Owner => (wire_sid(users, UnixId::User(attr.uid)), false),
            AceWho::Group if inherit_only => (Sid::CREATOR_GROUP, true),
            AceWho::Group => (wire_sid(users, UnixId::Group(attr.gid)), true),
            AceWho::Everyone => (Sid::EVERYONE, false),
            AceWho::User(uid) => (wire_sid(users, UnixId::User(uid)), true),
            AceWho::GroupId(gid) => (wire_sid(users, UnixId::Group(gid)), true),
            AceWho::Mask => return None,
        };
        let most =
            if masked && ace.kind == AceKind::Allow { masks[usize::from(inherit_only)] } else { u32::MAX };
        let flags =
            FLAGS.iter().filter(|(ours, _)| ace.flags & ours != 0).fold(0, |all, (_, theirs)| all | theirs);
        let kind = if ace.kind == AceKind::Allow { AceType::Allow } else { AceType::Deny };
        let mask = ace.mask & most & super::tree::RIGHTS_ALL;
        (mask != 0).then_some(Ace { kind, flags, mask, sid })
    };
    acl.aces.iter().filter_map(shown).collect()
}

/// Sets the parts of a file's descriptor that a client names.
pub(super) fn set(vserver: &Vserver, open: &Open, parts: u32, descriptor: &[u8]) -> Result<(), Failure> {
    let descriptor = SecurityDescriptor::decode(descriptor)?;
    let (volume, cx, file) = (open.volume(vserver)?, open.context(), open.base.file);
    let users = vserver.users();
    let mut attrs = SetAttrs::default();
    if parts & (part::OWNER | part::GROUP) != 0 {
        open.may(access::WRITE_OWNER)?;
    }
    if parts & part::OWNER != 0
        && let Some(owner) = &descriptor.owner
    {
        let Some(UnixId::User(uid)) = unix_id(&users, owner) else {
            return Err(NtStatus::INVALID_OWNER.into());
        };
        attrs.uid = Some(uid);
    }
    if parts & part::GROUP != 0
        && let Some(group) = &descriptor.group
    {
        let Some(UnixId::Group(gid)) = unix_id(&users, group) else {
            return Err(NtStatus::INVALID_SID.into());
        };
        attrs.gid = Some(gid);
    }
    let mut attr = volume.getattr(file)?;
    let acl = if parts & part::DACL != 0 {
        open.may(access::WRITE_DAC)?;
        let owners = Attr { uid: attrs.uid.unwrap_or(attr.uid), gid: attrs.gid.unwrap_or(attr.gid), ..attr };
        list(&users, &owners, &descriptor.dacl)?
    } else {
        None
    };
    let same = attrs.uid.is_none_or(|uid| uid == attr.uid) && attrs.gid.is_none_or(|gid| gid == attr.gid);
    if !same {
        attr = volume.execute(&cx, Op::SetAttr { file, attrs, guard: None })?.object.after;
    }
    if let Some(acl) = acl {
        volume.execute(&cx, Op::SetAcl { file: attr.id, acl: Some(acl) })?;
    }
    Ok(())
}

fn list(users: &Users, attr: &Attr, dacl: &Dacl) -> Result<Option<Acl>, NtStatus> {
    let entries = match dacl {
        Dacl::Absent => return Ok(None),
        Dacl::Null => vec![everything()],
        Dacl::List(entries) => {
            let mut aces = Vec::with_capacity(entries.len());
            for entry in entries {
                aces.extend(ace(users, attr, entry)?);
            }
            aces
        }
    };
    Ok(Some(Acl { aces: entries }))
}

fn everything() -> fsstore::Ace {
    fsstore::Ace { kind: AceKind::Allow, who: AceWho::Everyone, flags: 0, mask: AceMask::ALL }
}

/// An entry as a volume keeps it. `None`: it speaks of the system, which may everything anyhow.
fn ace(users: &Users, attr: &Attr, entry: &Ace) -> Result<Option<fsstore::Ace>, NtStatus> {
    let who = match entry.sid {
        Sid::EVERYONE | Sid::AUTHENTICATED_USERS | Sid::USERS => AceWho::Everyone,
        Sid::CREATOR_OWNER | Sid::OWNER_RIGHTS => AceWho::Owner,
        Sid::CREATOR_GROUP => AceWho::Group,
        Sid::SYSTEM | Sid::ADMINISTRATORS => return Ok(None),
        sid => match unix_id(users, &sid).ok_or(NtStatus::INVALID_SID)? {
            UnixId::User(uid) if uid == attr.uid => AceWho::Owner,
            UnixId::User(uid) => AceWho::User(uid),
            UnixId::Group(gid) if gid == attr.gid => AceWho::Group,
            UnixId::Group(gid) => AceWho::GroupId(gid),
        },
    };
    let mut flags =
        FLAGS.iter().filter(|(_, theirs)| entry.flags & theirs != 0).fold(0, |all, (ours, _)| all | ours);
    if attr.kind != FileKind::Dir {
        flags &= AceFlags::INHERITED;
    }
    let kind = if entry.kind == AceType::Allow { AceKind::Allow } else { AceKind::Deny };
    let mask = super::rights::specific(entry.mask) & AceMask::ALL;
    Ok(Some(fsstore::Ace { kind, who, flags, mask }))
}
