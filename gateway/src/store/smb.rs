//! What a vserver's record says of SMB: users, groups, shares. `S` is the form of the users' secrets: sealed, as they
//! rest on the disk, or open, as they travel to another cluster.

use crate::vserver::{
    GROUPS_MAX, Group, RID_FIRST, SHARES_MAX, Share, SmbSettings, USERS_MAX, User, check_account_name,
    fold_name,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};

/// A secret as it rests on the disk: encrypted with the cluster's key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(#[serde(with = "super::records::base64_text")] pub(crate) Vec<u8>);

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealed(..)")
    }
}

/// Users, groups, shares and settings of a vserver. The maps' keys are folded names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmbRecord<S = Sealed> {
    /// What all shares have in common.
    pub settings: SmbSettings,
    /// Users.
    pub users: BTreeMap<String, User<S>>,
    /// Groups.
    pub groups: BTreeMap<String, Group>,
    /// Shares.
    pub shares: BTreeMap<String, Share>,
    /// The RID that the next user or group gets: files may name those of deleted ones for a long time.
    pub next_rid: u32,
}

impl<S> Default for SmbRecord<S> {
    fn default() -> Self {
        SmbRecord {
            settings: SmbSettings::default(),
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
            shares: BTreeMap::new(),
            next_rid: RID_FIRST,
        }
    }
}

impl<S> SmbRecord<S> {
    /// Whether nobody has set anything.
    pub fn is_default(&self) -> bool {
        self.users.is_empty()
            && self.groups.is_empty()
            && self.shares.is_empty()
            && self.next_rid == RID_FIRST
            && self.settings == SmbSettings::default()
    }

    /// A RID that nobody has had; `None`: there are no more.
    pub fn take_rid(&mut self) -> Option<u32> {
        let rid = self.next_rid;
        self.next_rid = rid.checked_add(1)?;
        Some(rid)
    }

    /// The same with the users' secrets in another form.
    ///
    /// # Errors
    /// What `change` says.
    pub fn with_secrets<T, E>(&self, change: impl Fn(&User<S>) -> Result<T, E>) -> Result<SmbRecord<T>, E> {
        let changed = |(name, user): (&String, &User<S>)| Ok((name.clone(), user.with_secret(&change)?));
        Ok(SmbRecord {
            settings: self.settings,
            users: self.users.iter().map(changed).collect::<Result<_, E>>()?,
            groups: self.groups.clone(),
            shares: self.shares.clone(),
            next_rid: self.next_rid,
        })
    }

    /// Whether this holds together, where it comes from elsewhere.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn check(&self) -> Result<(), String> {
        if self.users.len() > USERS_MAX || self.groups.len() > GROUPS_MAX || self.shares.len() > SHARES_MAX {
            return Err("there are too many SMB users, groups or shares".to_owned());
        }
        let accounts = self.users.iter().map(|(key, user)| (key, &user.name, user.rid));
        let accounts = accounts.chain(self.groups.iter().map(|(key, group)| (key, &group.name, group.rid)));
        let mut seen = HashSet::new();
        for (key, name, rid) in accounts {
            check_account_name(name)?;
            if *key != fold_name(name) || !(RID_FIRST..self.next_rid).contains(&rid) || !seen.insert(rid) {
                return Err(format!("SMB user or group {name:?} does not fit the others"));
            }
        }
        for (key, share) in &self.shares {
            share.check()?;
            if *key != fold_name(&share.name) {
                return Err(format!("share {:?} does not fit the others", share.name));
            }
        }
        Ok(())
    }
}
