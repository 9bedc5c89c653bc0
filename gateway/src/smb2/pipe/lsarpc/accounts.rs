//! Names and SIDs of everybody whom access lists may name: the vserver's users and groups, numbers without a name, and those whom
//! Windows knows everywhere (MS-DTYP §2.4.2.4).

use crate::smb2::login::netbios_name;
use crate::smb2::security::{ours, wire};
use crate::smb2::wire::sid::Sid;
use crate::vserver::{Account, UnixId, Vserver, fold_name};

/// `SID_NAME_USE`, MS-LSAT §2.2.13.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    User = 1,
    Group = 2,
    Domain = 3,
    Alias = 4,
    WellKnown = 5,
    Unknown = 8,
}

/// Somebody.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Somebody {
    pub(super) sid: Sid,
    pub(super) kind: Kind,
    pub(super) name: String,
    /// Before the name.
    pub(super) domain: String,
    /// Before the last number of the SID.
    pub(super) domain_sid: Sid,
}

const NT: &str = "NT AUTHORITY";
const BUILTIN: &str = "BUILTIN";
const UNIX_USER: &str = "Unix User";
const UNIX_GROUP: &str = "Unix Group";

const KNOWN: [(Sid, Kind, &str, &str); 9] = [
    (Sid::EVERYONE, Kind::WellKnown, "", "Everyone"),
    (Sid::CREATOR_OWNER, Kind::WellKnown, "", "CREATOR OWNER"),
    (Sid::CREATOR_GROUP, Kind::WellKnown, "", "CREATOR GROUP"),
    (Sid::OWNER_RIGHTS, Kind::WellKnown, "", "OWNER RIGHTS"),
    (Sid::ANONYMOUS, Kind::WellKnown, NT, "ANONYMOUS LOGON"),
    (Sid::AUTHENTICATED_USERS, Kind::WellKnown, NT, "Authenticated Users"),
    (Sid::SYSTEM, Kind::WellKnown, NT, "SYSTEM"),
    (Sid::ADMINISTRATORS, Kind::Alias, BUILTIN, "Administrators"),
    (Sid::USERS, Kind::Alias, BUILTIN, "Users"),
];

/// The domain of the vserver's own users and groups: its name as NTLM says it, and the SID that theirs begin with.
pub(super) fn own_domain(vserver: &Vserver) -> (String, Sid) {
    (netbios_name(&vserver.name), wire(vserver.users().machine_sid()))
}

impl Somebody {
    fn new(sid: Sid, kind: Kind, domain: &str, name: &str) -> Self {
        let above =
            sid.sub_authorities().split_last().and_then(|(_, above)| Sid::new(sid.authority(), above));
        let domain_sid = above.unwrap_or(Sid::NULL);
        Somebody { sid, kind, name: name.to_owned(), domain: domain.to_owned(), domain_sid }
    }
}

/// Who has a SID.
pub(super) fn by_sid(vserver: &Vserver, sid: &Sid) -> Option<Somebody> {
    if let Some((sid, kind, domain, name)) = KNOWN.iter().find(|known| known.0 == *sid) {
        return Some(Somebody::new(*sid, *kind, domain, name));
    }
    let (domain, domain_sid) = own_domain(vserver);
    if *sid == domain_sid {
        return Some(Somebody {
            sid: domain_sid,
            kind: Kind::Domain,
            name: domain.clone(),
            domain,
            domain_sid,
        });
    }
    let (users, same) = (vserver.users(), ours(sid)?);
    match users.account(&same) {
        Some(Account::User(user)) => Some(Somebody::new(*sid, Kind::User, &domain, &user.name)),
        Some(Account::Group(group)) => Some(Somebody::new(*sid, Kind::Alias, &domain, &group.name)),
        None => match users.id_of(&same)? {
            UnixId::User(uid) => Some(Somebody::new(*sid, Kind::User, UNIX_USER, &uid.to_string())),
            UnixId::Group(gid) => Some(Somebody::new(*sid, Kind::Group, UNIX_GROUP, &gid.to_string())),
        },
    }
}

/// Who has a name, which may say a domain: `VS1\jane`, `jane`.
pub(super) fn by_name(vserver: &Vserver, text: &str) -> Option<Somebody> {
    let (domain, name) = match text.split_once('\\') {
        Some((domain, name)) => (Some(fold_name(domain)), name),
        None => (None, text),
    };
    let folded = fold_name(name);
    let in_domain = |of: &str| domain.as_ref().is_none_or(|domain| *domain == fold_name(of));
    let known = KNOWN.iter().find(|known| in_domain(known.2) && fold_name(known.3) == folded);
    if let Some((sid, kind, domain, name)) = known {
        return Some(Somebody::new(*sid, *kind, domain, name));
    }
    let (own, own_sid) = own_domain(vserver);
    if in_domain(&own) || in_domain(&vserver.name) {
        let users = vserver.users();
        let rid = users.get(name).map(|user| user.rid).or_else(|| users.group(name).map(|group| group.rid));
        if let Some(rid) = rid {
            return by_sid(vserver, &own_sid.child(rid)?);
        }
        if folded == fold_name(&own) {
            return by_sid(vserver, &own_sid);
        }
    }
    let id = match domain?.as_str() {
        "unix user" => UnixId::User(name.parse().ok()?),
        "unix group" => UnixId::Group(name.parse().ok()?),
        _ => return None,
    };
    by_sid(vserver, &wire(&vserver.users().sid_of(id)))
}
