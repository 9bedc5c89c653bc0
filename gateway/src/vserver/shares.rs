//! The shares of a vserver: directories of its namespace that SMB clients connect to, who may, and how well the way
//! there is protected.
//!
//! A value that is swapped whole when anything changes. What a share grants is the upper limit; below it the files' own
//! permissions decide.

use super::namespace::check_junction_path;
use super::users::{COMMENT_LEN_MAX, EVERYONE, User, Users, fold_name};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most shares of a vserver.
pub const SHARES_MAX: usize = 1024;
/// Most entries in the access list of a share.
pub const ACCESS_MAX: usize = 256;
/// Longest name of a share, in characters (MS-SRVS §2.2.4.23: that of Windows).
const NAME_LEN_MAX: usize = 80;
/// What stands for the server itself.
const NAMES_TAKEN: [&str; 5] = ["IPC$", "ADMIN$", "global", "pipe", "mailslot"];

/// How much of the way between clients and server is encrypted. The later ones are stronger.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Encryption {
    /// What the client wants to have encrypted
    #[default]
    Off,
    /// All, with clients that can (SMB 3); others come in without
    Desired,
    /// All; clients that can't are refused
    Required,
}

/// What all shares of a vserver have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SmbSettings {
    /// Clients that do not sign are refused; `false`: they may leave it.
    pub signing_required: bool,
    /// The least encryption of every share.
    pub encryption: Encryption,
}

impl Default for SmbSettings {
    fn default() -> Self {
        SmbSettings { signing_required: true, encryption: Encryption::Desired }
    }
}

/// How far somebody may go in a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShareAccess {
    /// Read
    Read,
    /// Read and change
    Change,
    /// Everything, also permissions and owners
    Full,
}

/// An entry of an access list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShareGrant {
    /// Name of a user or group, or `Everyone`.
    pub who: String,
    /// How far they may go.
    pub access: ShareAccess,
}

/// A share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Name; upper and lower case are the same.
    pub name: String,
    /// The directory, from the root of the vserver's namespace.
    pub path: String,
    /// For people; clients show it.
    #[serde(default)]
    pub comment: String,
    /// Nobody may change anything.
    #[serde(default)]
    pub read_only: bool,
    /// Clients without a user may come in, with what `Everyone` has.
    #[serde(default)]
    pub guest_ok: bool,
    /// Who may come in, and how far. Whoever is named more than once has the most of it.
    #[serde(default = "everyone")]
    pub access: Vec<ShareGrant>,
    /// Listings leave out what the user may not open.
    #[serde(default)]
    pub access_based_enumeration: bool,
    /// Clients may hold files through a restart of the server (persistent handles).
    #[serde(default)]
    pub continuously_available: bool,
    /// More encryption than the vserver's, if it is more.
    #[serde(default)]
    pub encryption: Encryption,
    /// Lists of shares show it.
    #[serde(default = "yes")]
    pub browseable: bool,
}

fn everyone() -> Vec<ShareGrant> {
    vec![ShareGrant { who: EVERYONE.to_owned(), access: ShareAccess::Full }]
}

fn yes() -> bool {
    true
}

impl Share {
    /// A share with defaults: everybody who logs in may do what the files' permissions allow.
    pub fn new(name: &str, path: &str) -> Self {
        Share {
            name: name.to_owned(),
            path: path.to_owned(),
            comment: String::new(),
            read_only: false,
            guest_ok: false,
            access: everyone(),
            access_based_enumeration: false,
            continuously_available: false,
            encryption: Encryption::default(),
            browseable: true,
        }
    }

    /// Whether this can be a share. Whom its access list names is not looked at.
    ///
    /// # Errors
    /// Why not, in words for the operator.
    pub fn check(&self) -> Result<(), String> {
        check_share_name(&self.name)?;
        check_junction_path(&self.path).map_err(|_| {
            format!(
                "{:?} is no path from the root of the vserver's namespace, like /data/projects",
                self.path
            )
        })?;
        if self.comment.chars().count() > COMMENT_LEN_MAX || self.comment.contains(char::is_control) {
            return Err(format!("a comment has at most {COMMENT_LEN_MAX} characters, on one line"));
        }
        if self.access.len() > ACCESS_MAX {
            return Err(format!("an access list has at most {ACCESS_MAX} entries"));
        }
        Ok(())
    }

    /// How far a user may go; `None`: not even in.
    pub fn access_of(&self, user: &User, users: &Users) -> Option<ShareAccess> {
        self.most(|who| {
            is_everyone(who)
                || fold_name(who) == fold_name(&user.name)
                || users.group(who).is_some_and(|group| user.in_group(group.gid))
        })
    }

    /// How far a client without a user may go; `None`: not even in.
    pub fn guest_access(&self) -> Option<ShareAccess> {
        self.most(is_everyone).filter(|_| self.guest_ok)
    }

    fn most(&self, is_meant: impl Fn(&str) -> bool) -> Option<ShareAccess> {
        let granted =
            self.access.iter().filter(|grant| is_meant(&grant.who)).map(|grant| grant.access).max()?;
        Some(if self.read_only { ShareAccess::Read } else { granted })
    }
}

/// Whether an access list means everybody by this name.
pub fn is_everyone(who: &str) -> bool {
    fold_name(who) == fold_name(EVERYONE)
}

fn check_share_name(name: &str) -> Result<(), String> {
    let marks = r#""/\[]:|<>+=;,*?"#;
    let wrong = |c: char| c.is_control() || marks.contains(c);
    if !(1..=NAME_LEN_MAX).contains(&name.chars().count()) || name.contains(wrong) || name.trim() != name {
        return Err(format!(
            "{name:?} is no name of a share: 1 to {NAME_LEN_MAX} characters, none of {marks}, no blank at either end"
        ));
    }
    if NAMES_TAKEN.iter().any(|taken| fold_name(taken) == fold_name(name)) {
        return Err(format!("{name:?} is the server's own"));
    }
    Ok(())
}

/// The shares of a vserver and what they have in common.
#[derive(Debug, Default)]
pub struct Shares {
    /// What they have in common.
    pub settings: SmbSettings,
    /// By folded name.
    shares: BTreeMap<String, Share>,
}

impl Shares {
    /// These.
    pub fn new(settings: SmbSettings, shares: impl IntoIterator<Item = Share>) -> Self {
        let shares = shares.into_iter().map(|share| (fold_name(&share.name), share)).collect();
        Shares { settings, shares }
    }

    /// The share of that name, whatever its case.
    pub fn get(&self, name: &str) -> Option<&Share> {
        self.shares.get(&fold_name(name))
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Share> {
        self.shares.values()
    }

    /// How well the way to a share is to be protected: as the vserver or the share says, whichever is more.
    pub fn encryption_of(&self, share: &Share) -> Encryption {
        self.settings.encryption.max(share.encryption)
    }
}

#[cfg(test)]
mod tests {
    use super::super::users::{Group, NtHash};
    use super::*;
    use uuid::Uuid;

    fn user(name: &str, gid: u32, groups: &[u32]) -> User {
        let secret = NtHash::from_bytes([0; 16]);
        let (full_name, groups) = (String::new(), groups.to_vec());
        User { name: name.to_owned(), full_name, uid: 1, gid, groups, rid: 1000, enabled: true, secret }
    }

    fn grant(who: &str, access: ShareAccess) -> ShareGrant {
        ShareGrant { who: who.to_owned(), access }
    }

    #[test]
    fn shares_are_found_whatever_the_case() {
        let shares = Shares::new(SmbSettings::default(), [Share::new("Büro", "/"), Share::new("a", "/a")]);
        assert_eq!(shares.get("BÜRO").unwrap().path, "/");
        assert!(shares.get("c").is_none());
        assert_eq!(shares.iter().map(|share| share.name.as_str()).collect::<Vec<_>>(), ["a", "Büro"]);
    }

    #[test]
    fn what_can_not_be_a_share_is_refused() {
        let check = |name: &str, path: &str| Share::new(name, path).check();
        for (name, path) in [("data", "/"), ("Büro 1$", "/a/b"), (&"x".repeat(80), "/ä b")] {
            assert_eq!(check(name, path), Ok(()));
        }
        let long = "x".repeat(81);
        for name in ["", " a", "a ", "a/b", "a\\b", "a:b", "a*", "ipc$", "Admin$", "pipe", "a\tb", &long] {
            assert!(check(name, "/").is_err(), "{name:?}");
        }
        for path in ["", "data", "/a/", "/a/../b", "//"] {
            assert!(check("a", path).is_err(), "{path:?}");
        }
        assert!(Share { comment: "a\nb".to_owned(), ..Share::new("a", "/") }.check().is_err());
        let access = vec![grant("x", ShareAccess::Read); ACCESS_MAX + 1];
        assert!(Share { access, ..Share::new("a", "/") }.check().is_err());
    }

    #[test]
    fn the_most_that_is_granted_counts_and_read_only_limits_it() {
        let staff = Group { name: "Staff".to_owned(), comment: String::new(), gid: 50, rid: 1001 };
        let users = Users::new(Uuid::nil(), [], [staff]);
        let access = vec![
            grant("everyone", ShareAccess::Read),
            grant("STAFF", ShareAccess::Change),
            grant("Jane", ShareAccess::Full),
        ];
        let mut share = Share { access, ..Share::new("a", "/") };
        assert_eq!(share.access_of(&user("bob", 5, &[]), &users), Some(ShareAccess::Read));
        assert_eq!(share.access_of(&user("bob", 50, &[]), &users), Some(ShareAccess::Change));
        assert_eq!(share.access_of(&user("bob", 5, &[50]), &users), Some(ShareAccess::Change));
        assert_eq!(share.access_of(&user("jane", 50, &[]), &users), Some(ShareAccess::Full));
        assert_eq!(share.guest_access(), None);
        share.guest_ok = true;
        assert_eq!(share.guest_access(), Some(ShareAccess::Read));
        share.read_only = true;
        assert_eq!(share.access_of(&user("jane", 50, &[]), &users), Some(ShareAccess::Read));
        share.access.remove(0);
        assert_eq!(share.access_of(&user("bob", 5, &[]), &users), None);
        assert_eq!(share.guest_access(), None);
    }

    #[test]
    fn the_stronger_encryption_counts() {
        let strong = Share { encryption: Encryption::Required, ..Share::new("a", "/") };
        let settings = |encryption| SmbSettings { encryption, ..SmbSettings::default() };
        let off = Shares::new(settings(Encryption::Off), [Share::new("b", "/")]);
        assert_eq!(off.encryption_of(off.get("b").unwrap()), Encryption::Off);
        assert_eq!(off.encryption_of(&strong), Encryption::Required);
        let shares = Shares::new(SmbSettings::default(), [Share::new("b", "/")]);
        assert_eq!(shares.encryption_of(shares.get("b").unwrap()), Encryption::Desired);
        assert_eq!(shares.encryption_of(&strong), Encryption::Required);
        assert!(shares.settings.signing_required);
    }
}
