//! The users and groups of a vserver, as SMB knows them: names, Unix ids, SIDs, and the secret of each user.
//!
//! A value that is swapped whole when anything changes. It keeps no file and asks nobody; how secrets rest on the disk is
//! the control plane's business.

use super::sid::Sid;
use aws_lc_rs::constant_time;
use aws_lc_rs::digest::{SHA256, digest};
use md4::{Digest, Md4};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use uuid::Uuid;

/// Most users of a vserver.
pub const USERS_MAX: usize = 4096;
/// Most groups of a vserver.
pub const GROUPS_MAX: usize = 1024;
/// Most further groups of a user, as many as other protocols carry at the most (NGROUPS_MAX of Linux is larger).
pub const USER_GROUPS_MAX: usize = 1024;
/// Longest name of a user or group, in characters.
const NAME_LEN_MAX: usize = 64;
/// Longest full name or comment, in characters.
pub const COMMENT_LEN_MAX: usize = 256;
/// Longest password, in UTF-16 code units: that of Windows.
const PASSWORD_LEN_MAX: usize = 256;
/// The first relative identifier that is given out: those below are Windows' own.
pub const RID_FIRST: u32 = 1000;
/// Whom access lists name to mean everybody.
pub(super) const EVERYONE: &str = "Everyone";

/// The hash of a password that NTLM works with (MS-NLMP §3.3.1 `NTOWFv1`): as good as the password, so it is a secret.
#[derive(Clone, Serialize, Deserialize)]
pub struct NtHash([u8; 16]);

impl NtHash {
    /// The hash of a password.
    ///
    /// # Errors
    /// A password that is empty or too long, in words for the operator.
    pub fn of_password(password: &str) -> Result<Self, String> {
        let units: Vec<u16> = password.encode_utf16().take(PASSWORD_LEN_MAX + 1).collect();
        if units.is_empty() || units.len() > PASSWORD_LEN_MAX {
            return Err(format!("a password has 1 to {PASSWORD_LEN_MAX} characters"));
        }
        let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        Ok(NtHash(Md4::digest(&bytes).into()))
    }

    /// The hash with these bytes, e.g. from the configuration store.
    pub fn from_bytes(secret: [u8; 16]) -> Self {
        NtHash(secret)
    }

    /// The secret itself.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl PartialEq for NtHash {
    fn eq(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl Eq for NtHash {}

impl fmt::Debug for NtHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NtHash(..)")
    }
}

/// A user. `S` is the form of the secret: as protocols use it, or as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User<S = NtHash> {
    /// Name; upper and lower case are the same.
    pub name: String,
    /// Name for people.
    pub full_name: String,
    /// The user that files belong to.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// The last part of the SID. Never given to another.
    pub rid: u32,
    /// Whether the user may log in.
    pub enabled: bool,
    /// The hash of the password.
    pub secret: S,
}

impl User {
    /// What NTLM compares with (MS-NLMP §3.3.1).
    pub fn nt_hash(&self) -> &[u8; 16] {
        self.secret.as_bytes()
    }
}

impl<S> User<S> {
    /// uid, gid and further groups, as whom operations run.
    pub fn context_ids(&self) -> (u32, u32, &[u32]) {
        (self.uid, self.gid, &self.groups)
    }

    /// Whether this is one of the user's groups.
    pub fn in_group(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }

    /// The same user with the secret in another form.
    ///
    /// # Errors
    /// What `change` says.
    pub fn with_secret<T, E>(&self, change: impl FnOnce(&Self) -> Result<T, E>) -> Result<User<T>, E> {
        Ok(User {
            name: self.name.clone(),
            full_name: self.full_name.clone(),
            uid: self.uid,
            gid: self.gid,
            groups: self.groups.clone(),
            rid: self.rid,
            enabled: self.enabled,
            secret: change(self)?,
        })
    }
}

/// A group: a name for a gid. Who is in it is said by the users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Name; upper and lower case are the same. No user has it.
    pub name: String,
    /// For people.
    pub comment: String,
    /// The group that files belong to.
    pub gid: u32,
    /// The last part of the SID. Never given to another.
    pub rid: u32,
}

/// Somebody who has a SID of this vserver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account<'a> {
    /// A user.
    User(&'a User),
    /// A group.
    Group(&'a Group),
}

/// A number that Unix knows somebody by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnixId {
    /// uid.
    User(u32),
    /// gid.
    Group(u32),
}

/// The users and groups of a vserver.
#[derive(Debug)]
pub struct Users {
    machine_sid: Sid,
    /// By folded name.
    users: BTreeMap<String, User>,
    /// By folded name.
    groups: BTreeMap<String, Group>,
    /// Folded names of users and groups by RID.
    by_rid: HashMap<u32, Named>,
    /// RIDs of users by uid.
    by_uid: HashMap<u32, u32>,
    /// RIDs of groups by gid.
    by_gid: HashMap<u32, u32>,
}

#[derive(Debug)]
enum Named {
    User(String),
    Group(String),
}

/// Names are the same whose folded forms are.
pub fn fold_name(name: &str) -> String {
    name.to_lowercase()
}

/// Whether a user or a group may have this name.
///
/// # Errors
/// Why not, in words for the operator.
pub fn check_account_name(name: &str) -> Result<(), String> {
    let marks = r#""/\[]:;|=,+*?<>@"#;
    let wrong = |c: char| c.is_control() || marks.contains(c);
    let edge = |c: char| c.is_whitespace() || c == '.';
    if !(1..=NAME_LEN_MAX).contains(&name.chars().count())
        || name.contains(wrong)
        || name.starts_with(char::is_whitespace)
        || name.ends_with(edge)
    {
        return Err(format!(
            "{name:?} is no name of a user or group: 1 to {NAME_LEN_MAX} characters, none of {marks}, no blank at \
             either end, no dot at the end"
        ));
    }
    if [EVERYONE, "Guest", "Anonymous"].iter().any(|taken| fold_name(taken) == fold_name(name)) {
        return Err(format!("{name:?} means somebody else already"));
    }
    Ok(())
}

/// The SID that all users and groups of a vserver have theirs from. It follows from the vserver's identity, so it is the
/// same wherever the vserver moves.
pub fn machine_sid(vserver: Uuid) -> Sid {
    let sum = digest(&SHA256, &[b"ferry machine SID ".as_slice(), vserver.as_bytes()].concat());
    let mut parts = vec![21];
    parts.extend(
        sum.as_ref().chunks_exact(4).take(3).filter_map(|part| part.try_into().ok()).map(u32::from_be_bytes),
    );
    Sid::known(5, &parts)
}

/// `S-1-22-1`: uids that no user has, and `S-1-22-2`: gids, as Samba writes them.
fn unix_domain(kind: u32) -> Sid {
    Sid::known(22, &[kind])
}
const UNIX_USERS: u32 = 1;
const UNIX_GROUPS: u32 = 2;

impl Users {
    /// The users and groups of this vserver. Where several have the same uid or gid, it is the oldest's.
    pub fn new(
        vserver: Uuid,
        users: impl IntoIterator<Item = User>,
        groups: impl IntoIterator<Item = Group>,
    ) -> Self {
        let named = |user: User| (fold_name(&user.name), user);
        let users: BTreeMap<String, User> = users.into_iter().map(named).collect();
        let named = |group: Group| (fold_name(&group.name), group);
        let groups: BTreeMap<String, Group> = groups.into_iter().map(named).collect();
        let oldest = |found: &mut HashMap<u32, u32>, id: u32, rid: u32| {
            let least = found.entry(id).or_insert(rid);
            *least = rid.min(*least);
        };
        let (mut by_rid, mut by_uid, mut by_gid) = (HashMap::new(), HashMap::new(), HashMap::new());
        for (name, user) in &users {
            by_rid.insert(user.rid, Named::User(name.clone()));
            oldest(&mut by_uid, user.uid, user.rid);
        }
        for (name, group) in &groups {
            by_rid.insert(group.rid, Named::Group(name.clone()));
            oldest(&mut by_gid, group.gid, group.rid);
        }
        Users { machine_sid: machine_sid(vserver), users, groups, by_rid, by_uid, by_gid }
    }

    /// `S-1-5-21-a-b-c`: what the SIDs of all users and groups begin with.
    pub fn machine_sid(&self) -> &Sid {
        &self.machine_sid
    }

    /// The user of that name, whatever its case.
    pub fn get(&self, name: &str) -> Option<&User> {
        self.users.get(&fold_name(name))
    }

    /// The group of that name, whatever its case.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.get(&fold_name(name))
    }

    /// All users, by name.
    pub fn iter(&self) -> impl Iterator<Item = &User> {
        self.users.values()
    }

    /// All groups, by name.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    /// Who has this SID, if it is one of this vserver's.
    pub fn account(&self, sid: &Sid) -> Option<Account<'_>> {
        match self.by_rid.get(&sid.rid_in(&self.machine_sid)?)? {
            Named::User(name) => self.users.get(name).map(Account::User),
            Named::Group(name) => self.groups.get(name).map(Account::Group),
        }
    }

    /// The SID of a user or group with this RID.
    pub fn sid(&self, rid: u32) -> Sid {
        self.machine_sid.with_rid(rid)
    }

    /// The SID of a Unix id: that of the user or group who has it, else one that says the number.
    pub fn sid_of(&self, id: UnixId) -> Sid {
        let (known, kind, number) = match id {
            UnixId::User(uid) => (self.by_uid.get(&uid), UNIX_USERS, uid),
            UnixId::Group(gid) => (self.by_gid.get(&gid), UNIX_GROUPS, gid),
        };
        known.map_or_else(|| unix_domain(kind).with_rid(number), |rid| self.sid(*rid))
    }

    /// The Unix id that a SID stands for; `None`: none here.
    pub fn id_of(&self, sid: &Sid) -> Option<UnixId> {
        match self.account(sid) {
            Some(Account::User(user)) => Some(UnixId::User(user.uid)),
            Some(Account::Group(group)) => Some(UnixId::Group(group.gid)),
            None => {
                let uid = sid.rid_in(&unix_domain(UNIX_USERS)).map(UnixId::User);
                uid.or_else(|| sid.rid_in(&unix_domain(UNIX_GROUPS)).map(UnixId::Group))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, uid: u32, rid: u32) -> User {
        let secret = NtHash::of_password("password").unwrap();
        let (full_name, groups) = (String::new(), vec![7]);
        User { name: name.to_owned(), full_name, uid, gid: 5, groups, rid, enabled: true, secret }
    }

    fn group(name: &str, gid: u32, rid: u32) -> Group {
        Group { name: name.to_owned(), comment: String::new(), gid, rid }
    }

    #[test]
    fn the_hash_is_that_of_windows_and_does_not_show() {
        let hash = NtHash::of_password("password").unwrap();
        let hex: String = hash.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "8846f7eaee8fb117ad06bdd830b7586c");
        assert!(format!("{:?}", user("a", 1, 1000)).contains("secret: NtHash(..)"));
        assert!(NtHash::of_password("").is_err());
        assert!(NtHash::of_password(&"x".repeat(257)).is_err());
    }

    #[test]
    fn names_have_no_case() {
        let users = Users::new(Uuid::nil(), [user("Änne", 1, 1000)], [group("Staff", 5, 1001)]);
        assert_eq!(users.get("äNNE").unwrap().uid, 1);
        assert_eq!(users.group("STAFF").unwrap().gid, 5);
        assert!(users.get("staff").is_none() && users.group("änne").is_none());
        for good in ["a", "Jane Doe", "änne.meier", "x-1_$"] {
            assert!(check_account_name(good).is_ok(), "{good}");
        }
        let long = "x".repeat(65);
        for bad in ["", " a", "a ", "a.", "a\\b", "a/b", "a@b", "a\nb", "everyone", "GUEST", &long] {
            assert!(check_account_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sids_and_ids_stand_for_one_another() {
        let known = [user("new", 1, 1002), user("old", 1, 1000), user("root", 0, 1003)];
        let users = Users::new(Uuid::nil(), known, [group("staff", 5, 1001)]);
        let sid = |rid: u32| users.sid(rid);
        for (id, expected) in [
            (UnixId::User(1), sid(1000)),
            (UnixId::User(0), sid(1003)),
            (UnixId::User(5), "S-1-22-1-5".parse().unwrap()),
            (UnixId::Group(5), sid(1001)),
            (UnixId::Group(1), "S-1-22-2-1".parse().unwrap()),
        ] {
            assert_eq!(users.sid_of(id), expected);
            assert_eq!(users.id_of(&expected), Some(id), "{expected}");
        }
        assert_eq!(users.id_of(&sid(1002)), Some(UnixId::User(1)), "also of who is not the oldest");
        assert_eq!(users.account(&sid(1001)), users.group("staff").map(Account::Group));
        for nobody in [sid(1004), Sid::everyone(), machine_sid(Uuid::nil()), "S-1-22-3-1".parse().unwrap()] {
            assert_eq!(users.id_of(&nobody), None, "{nobody}");
        }
    }

    #[test]
    fn the_machine_sid_is_the_same_for_ever() {
        let sid = machine_sid(Uuid::from_u128(0x1234_5678));
        assert_eq!(sid.to_string(), "S-1-5-21-3240881931-1156097954-4216496725");
        assert_ne!(sid, machine_sid(Uuid::nil()));
    }
}
