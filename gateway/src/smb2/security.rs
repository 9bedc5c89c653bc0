//! Security descriptors (MS-DTYP §2.4.6) of files: owner, group and list as the volume keeps them, and back.
//!
//! What a client sets comes back as it was set: SIDs that stand for nobody here, also as owner or group, too. Lists of other
//! origin (mode bits, POSIX ACLs) show as the list that grants the same.

use super::open::Open;
use super::reply::Failure;
use super::wire::Reader;
use super::wire::create::access;
use super::wire::info::security_information as part;
use super::wire::security::{
    Ace, AceType, DACL_AUTO_INHERIT_REQ, DACL_AUTO_INHERITED, DACL_PROTECTED, Dacl, INHERITED,
    SecurityDescriptor,
};
use super::wire::sid::Sid;
use super::wire::status::NtStatus;
use crate::vserver::{UnixId, Users, Vserver};
use bytes::BytesMut;
use fsstore::{
    AceFlags, AceKind, AceMask, AceWho, Acl, Attr, Context, FileId, Nt, NtControl, Op, SetAttrs, Volume,
};

/// Flags of entries, as the volume has them and as they are on the wire.
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

/// One that the volume keeps as it is.
fn kept_sid(sid: &fsstore::Sid) -> Sid {
    Sid::decode(&mut Reader::new(sid.as_bytes(), "SID")).unwrap_or(Sid::NULL)
}

fn sid_to_keep(sid: &Sid) -> Result<fsstore::Sid, NtStatus> {
    let mut bytes = BytesMut::new();
    sid.encode(&mut bytes);
    fsstore::Sid::from_bytes(&bytes).ok_or(NtStatus::INVALID_SID)
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
    let acl = volume.acl(open.base.file)?;
    let users = vserver.users();
    let asked = |bit: u32| parts & bit != 0;
    let kept = |who: Option<(u32, fsstore::Sid)>, id: u32| who.filter(|(of, _)| *of == id);
    let nt = acl.nt.unwrap_or_default();
    let mut descriptor = SecurityDescriptor::default();
    if asked(part::OWNER) {
        let kept = kept(nt.owner, attr.uid).map(|(_, sid)| kept_sid(&sid));
        descriptor.owner = Some(kept.unwrap_or_else(|| wire_sid(&users, UnixId::User(attr.uid))));
    }
    if asked(part::GROUP) {
        let kept = kept(nt.group, attr.gid).map(|(_, sid)| kept_sid(&sid));
        descriptor.group = Some(kept.unwrap_or_else(|| wire_sid(&users, UnixId::Group(attr.gid))));
    }
    if asked(part::DACL) {
        (descriptor.control, descriptor.dacl) = shown(&users, &attr, &acl);
    }
    descriptor.encode(out);
    Ok(())
}

/// A list as clients see it, with the control flags that speak of it.
fn shown(users: &Users, attr: &Attr, acl: &Acl) -> (u16, Dacl) {
    let list = entries(users, attr, acl);
    let Some(nt) = acl.nt else {
        let inherited = list.iter().any(|ace| ace.flags & INHERITED != 0);
        return (if inherited { DACL_AUTO_INHERITED } else { 0 }, Dacl::List(list));
    };
    let bit = |ours: u8, theirs: u16| if nt.control & ours != 0 { theirs } else { 0 };
    let control =
        bit(NtControl::AUTO_INHERITED, DACL_AUTO_INHERITED) | bit(NtControl::PROTECTED, DACL_PROTECTED);
    (control, if nt.control & NtControl::NO_LIST != 0 { Dacl::Null } else { Dacl::List(list) })
}

/// What a mask keeps from those it is for is left out, and so are entries that a list of another origin would have for nothing.
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
            AceWho::Sid(sid) => (kept_sid(&sid), true),
            AceWho::Mask => return None,
        };
        let most =
            if masked && ace.kind == AceKind::Allow { masks[usize::from(inherit_only)] } else { u32::MAX };
        let flags =
            FLAGS.iter().filter(|(ours, _)| ace.flags & ours != 0).fold(0, |all, (_, theirs)| all | theirs);
        let kind = if ace.kind == AceKind::Allow { AceType::Allow } else { AceType::Deny };
        let mask = ace.mask & most & super::tree::RIGHTS_ALL;
        (mask != 0 || acl.nt.is_some()).then_some(Ace { kind, flags, mask, sid })
    };
    acl.aces.iter().filter_map(shown).collect()
}

/// Sets the parts of a file's descriptor that a client names.
pub(super) fn set(vserver: &Vserver, open: &Open, parts: u32, descriptor: &[u8]) -> Result<(), Failure> {
    let descriptor = SecurityDescriptor::decode(descriptor)?;
    if parts & (part::OWNER | part::GROUP) != 0 {
        open.may(access::WRITE_OWNER)?;
    }
    if parts & part::DACL != 0 {
        open.may(access::WRITE_DAC)?;
    }
    let descriptor = SecurityDescriptor {
        owner: descriptor.owner.filter(|_| parts & part::OWNER != 0),
        group: descriptor.group.filter(|_| parts & part::GROUP != 0),
        dacl: match descriptor.dacl {
            _ if parts & part::DACL == 0 => Dacl::Absent,
            // To set a list that is not there is to say that there is none.
            Dacl::Absent => Dacl::Null,
            dacl => dacl,
        },
        ..descriptor
    };
    let volume = open.volume(vserver)?;
    put(&vserver.users(), &volume, &open.context(), open.base.file, &descriptor)
}

/// Sets what a descriptor says. The caller has the right to that.
pub(super) fn put(
    users: &Users,
    volume: &Volume,
    cx: &Context,
    file: FileId,
    descriptor: &SecurityDescriptor,
) -> Result<(), Failure> {
    let (attr, old) = (volume.getattr(file)?, volume.acl(file)?);
    let mut nt = old.nt.unwrap_or_default();
    let mut attrs = SetAttrs::default();
    if let Some(sid) = &descriptor.owner {
        match unix_id(users, sid) {
            Some(UnixId::User(uid)) => (attrs.uid, nt.owner) = (Some(uid), None),
            Some(UnixId::Group(_)) => return Err(NtStatus::INVALID_OWNER.into()),
            None => nt.owner = Some((attr.uid, sid_to_keep(sid)?)),
        }
    }
    if let Some(sid) = &descriptor.group {
        match unix_id(users, sid) {
            Some(UnixId::Group(gid)) => (attrs.gid, nt.group) = (Some(gid), None),
            _ => nt.group = Some((attr.gid, sid_to_keep(sid)?)),
        }
    }
    let acl = match &descriptor.dacl {
        Dacl::Absent if old.nt.unwrap_or_default() == nt => None,
        Dacl::Absent => Some(Acl { nt: Some(nt), ..old }),
        Dacl::Null => {
            let everything =
                fsstore::Ace { kind: AceKind::Allow, who: AceWho::Everyone, flags: 0, mask: AceMask::ALL };
            let control = control(descriptor.control) | NtControl::NO_LIST;
            Some(Acl { aces: vec![everything], nt: Some(Nt { control, ..nt }) })
        }
        Dacl::List(list) => {
            let aces = list.iter().map(|entry| ace(users, entry)).collect::<Result<_, _>>()?;
            Some(Acl { aces, nt: Some(Nt { control: control(descriptor.control), ..nt }) })
        }
    };
    attrs.uid = attrs.uid.filter(|uid| *uid != attr.uid);
    attrs.gid = attrs.gid.filter(|gid| *gid != attr.gid);
    give(volume, cx, file, attrs)?;
    if let Some(acl) = acl {
        volume.execute(cx, Op::SetAcl { file, acl: Some(acl) })?;
    }
    Ok(())
}

/// Changes owner and group. Who may take a file may have it, but only root may give it to others (MS-FSA §2.1.5.17).
fn give(volume: &Volume, cx: &Context, file: FileId, attrs: SetAttrs) -> Result<(), Failure> {
    if let Some(uid) = attrs.uid {
        if cx.uid != 0 && uid != cx.uid {
            return Err(NtStatus::INVALID_OWNER.into());
        }
        let attrs = SetAttrs { uid: Some(uid), ..SetAttrs::default() };
        volume.execute(&Context::root(cx.now), Op::SetAttr { file, attrs, guard: None })?;
    }
    if let Some(gid) = attrs.gid {
        let attrs = SetAttrs { gid: Some(gid), ..SetAttrs::default() };
        volume.execute(cx, Op::SetAttr { file, attrs, guard: None })?;
    }
    Ok(())
}

/// The control flags that a volume keeps. That entries were inherited counts only where the client asks for that (MS-DTYP
/// §2.4.6, `DC`).
fn control(wire: u16) -> u8 {
    let auto = DACL_AUTO_INHERITED | DACL_AUTO_INHERIT_REQ;
    let inherited = if wire & auto == auto { NtControl::AUTO_INHERITED } else { 0 };
    inherited | if wire & DACL_PROTECTED != 0 { NtControl::PROTECTED } else { 0 }
}

/// An entry as a volume keeps it.
fn ace(users: &Users, entry: &Ace) -> Result<fsstore::Ace, NtStatus> {
    let who = match unix_id(users, &entry.sid) {
        _ if entry.sid == Sid::EVERYONE => AceWho::Everyone,
        Some(UnixId::User(uid)) => AceWho::User(uid),
        Some(UnixId::Group(gid)) => AceWho::GroupId(gid),
        None => AceWho::Sid(sid_to_keep(&entry.sid)?),
    };
    let flags =
        FLAGS.iter().filter(|(_, theirs)| entry.flags & theirs != 0).fold(0, |all, (ours, _)| all | ours);
    let kind = if entry.kind == AceType::Allow { AceKind::Allow } else { AceKind::Deny };
    let mask = super::rights::specific(entry.mask) & AceMask::ALL;
    Ok(fsstore::Ace { kind, who, flags, mask })
}
