//! SMB users and groups of vservers. Passwords come in here and leave as sealed hashes; nothing gives them out again.

use super::{Cluster, ClusterError, Result};
use crate::store::{Sealed, SmbRecord, VserverRecord};
use crate::vserver::{
    COMMENT_LEN_MAX, GROUPS_MAX, Group, NtHash, USER_GROUPS_MAX, USERS_MAX, User, check_account_name,
    fold_name, machine_sid,
};
use serde::{Deserialize, Deserializer, Serialize};
use std::sync::Arc;
use std::time::Instant;

/// A password on its way in.
#[derive(Clone)]
pub struct Password(String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        // The parser's words could quote it.
        String::deserialize(input)
            .map(Password)
            .map_err(|_| serde::de::Error::custom("a password is a string"))
    }
}

/// What a new user is to be.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// Name, unique among users and groups of the vserver; upper and lower case are the same.
    pub name: String,
    /// Name for people.
    #[serde(default)]
    pub full_name: String,
    /// The user that files belong to. 0 may do everything.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Further groups.
    #[serde(default)]
    pub groups: Vec<u32>,
    /// Whether the user may log in; left out: yes.
    pub enabled: Option<bool>,
    /// Password. It is not kept, only its NT hash, encrypted.
    #[schema(value_type = String, write_only)]
    pub password: Password,
}

/// What to change of a user. Who is logged in stays so.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserPatch {
    /// Name for people.
    pub full_name: Option<String>,
    /// The user that files belong to.
    pub uid: Option<u32>,
    /// Primary group.
    pub gid: Option<u32>,
    /// Further groups; they replace those that were there.
    pub groups: Option<Vec<u32>>,
    /// Whether the user may log in.
    pub enabled: Option<bool>,
    /// New password; a lock-out is forgotten with the old one.
    #[schema(value_type = Option<String>, write_only)]
    pub password: Option<Password>,
}

/// A user as the API shows it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct UserView {
    /// Name.
    pub name: String,
    /// Name for people.
    pub full_name: String,
    /// The user that files belong to.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// What Windows knows the user by.
    pub sid: String,
    /// Whether the user may log in.
    pub enabled: bool,
    /// Locked out for some minutes, after too many wrong passwords.
    pub locked: bool,
}

/// What a new group is to be.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewGroup {
    /// Name, unique among users and groups of the vserver; upper and lower case are the same.
    pub name: String,
    /// For people.
    #[serde(default)]
    pub comment: String,
    /// The group that files belong to.
    pub gid: u32,
}

/// What to change of a group.
#[derive(Clone, Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupPatch {
    /// For people.
    pub comment: Option<String>,
    /// The group that files belong to.
    pub gid: Option<u32>,
}

/// A group as the API shows it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct GroupView {
    /// Name.
    pub name: String,
    /// For people.
    pub comment: String,
    /// The group that files belong to.
    pub gid: u32,
    /// What Windows knows the group by.
    pub sid: String,
    /// Users that have this gid, by name.
    pub members: Vec<String>,
}

fn check_text(text: &str) -> Result<()> {
    if text.chars().count() > COMMENT_LEN_MAX || text.contains(char::is_control) {
        let rule = format!("a full name or comment has at most {COMMENT_LEN_MAX} characters, on one line");
        return Err(ClusterError::Invalid(rule));
    }
    Ok(())
}

fn check_groups(groups: &[u32]) -> Result<()> {
    if groups.len() > USER_GROUPS_MAX {
        return Err(ClusterError::Invalid(format!("a user has at most {USER_GROUPS_MAX} further groups")));
    }
    Ok(())
}

fn hash_of(password: &Password) -> Result<NtHash> {
    NtHash::of_password(&password.0).map_err(ClusterError::Invalid)
}

/// Refuses a name that a user or group has, and what would be too many.
fn check_free(smb: &SmbRecord, name: &str) -> Result<()> {
    check_account_name(name).map_err(ClusterError::Invalid)?;
    let key = fold_name(name);
    if smb.users.contains_key(&key) {
        return Err(ClusterError::exists("user", name));
    }
    if smb.groups.contains_key(&key) {
        return Err(ClusterError::exists("group", name));
    }
    if smb.users.len() >= USERS_MAX || smb.groups.len() >= GROUPS_MAX {
        return Err(ClusterError::Conflict(format!(
            "a vserver has at most {USERS_MAX} users and {GROUPS_MAX} groups"
        )));
    }
    Ok(())
}

/// Refuses to delete whom a share names: who gets the name later would get what was granted.
fn check_unnamed(smb: &SmbRecord, name: &str) -> Result<()> {
    let names = |share: &&crate::vserver::Share| {
        share.access.iter().any(|grant| fold_name(&grant.who) == fold_name(name))
    };
    match smb.shares.values().find(names) {
        Some(share) => {
            Err(ClusterError::Conflict(format!("the access list of share `{}` names `{name}`", share.name)))
        }
        None => Ok(()),
    }
}

fn new_rid(smb: &mut SmbRecord) -> Result<u32> {
    smb.take_rid().ok_or_else(|| ClusterError::Conflict("this vserver has no more SIDs".to_owned()))
}

fn user_of<'a>(smb: &'a mut SmbRecord, name: &str) -> Result<&'a mut User<Sealed>> {
    smb.users.get_mut(&fold_name(name)).ok_or_else(|| ClusterError::not_found("user", name))
}

impl Cluster {
    /// The SMB users of a vserver.
    ///
    /// # Errors
    /// An unknown vserver.
    pub fn users(&self, vserver: &str) -> Result<Vec<UserView>> {
        let record = self.record(vserver)?;
        Ok(record.smb.users.values().map(|user| self.user_view(&record, user)).collect())
    }

    /// One user.
    ///
    /// # Errors
    /// Unknown names.
    pub fn user(&self, vserver: &str, name: &str) -> Result<UserView> {
        let mut record = self.record(vserver)?;
        let user = user_of(&mut record.smb, name)?.clone();
        Ok(self.user_view(&record, &user))
    }

    fn user_view(&self, record: &VserverRecord, user: &User<Sealed>) -> UserView {
        let served = self.served(&record.name);
        UserView {
            name: user.name.clone(),
            full_name: user.full_name.clone(),
            uid: user.uid,
            gid: user.gid,
            groups: user.groups.clone(),
            sid: machine_sid(record.uuid).with_rid(user.rid).to_string(),
            enabled: user.enabled,
            locked: served.is_some_and(|s| s.vserver.lockout.is_locked(user.rid, Instant::now())),
        }
    }

    /// Makes a user.
    ///
    /// # Errors
    /// A bad or taken name, a password that can't be one, too many users.
    pub async fn create_user(self: &Arc<Self>, vserver: &str, new: NewUser) -> Result<UserView> {
        check_text(&new.full_name)?;
        check_groups(&new.groups)?;
        let hash = hash_of(&new.password)?;
        let (this, name) = (Arc::clone(self), new.name.clone());
        self.change_vserver(vserver, move |record| {
            check_free(&record.smb, &new.name)?;
            let rid = new_rid(&mut record.smb)?;
            let user = User {
                name: new.name.clone(),
                full_name: new.full_name.clone(),
                uid: new.uid,
                gid: new.gid,
                groups: new.groups.clone(),
                rid,
                enabled: new.enabled.unwrap_or(true),
                secret: this.seal_hash(record.uuid, rid, &hash)?,
            };
            record.smb.users.insert(fold_name(&user.name), user);
            Ok(())
        })
        .await?;
        self.user(vserver, &name)
    }

    /// Changes a user.
    ///
    /// # Errors
    /// An unknown one, a password that can't be one.
    pub async fn modify_user(
        self: &Arc<Self>,
        vserver: &str,
        name: &str,
        patch: UserPatch,
    ) -> Result<UserView> {
        patch.full_name.as_deref().map_or(Ok(()), check_text)?;
        patch.groups.as_deref().map_or(Ok(()), check_groups)?;
        let hash = patch.password.as_ref().map(hash_of).transpose()?;
        let (this, owned, new_password) = (Arc::clone(self), name.to_owned(), hash.is_some());
        self.change_vserver(vserver, move |record| {
            let uuid = record.uuid;
            let user = user_of(&mut record.smb, &owned)?;
            let patch = patch.clone();
            user.full_name = patch.full_name.unwrap_or_else(|| user.full_name.clone());
            user.uid = patch.uid.unwrap_or(user.uid);
            user.gid = patch.gid.unwrap_or(user.gid);
            user.groups = patch.groups.unwrap_or_else(|| user.groups.clone());
            user.enabled = patch.enabled.unwrap_or(user.enabled);
            if let Some(hash) = &hash {
                user.secret = this.seal_hash(uuid, user.rid, hash)?;
            }
            Ok(())
        })
        .await?;
        if new_password { self.unlock_user(vserver, name) } else { self.user(vserver, name) }
    }

    /// Ends a user's lock-out.
    ///
    /// # Errors
    /// Unknown names.
    pub fn unlock_user(&self, vserver: &str, name: &str) -> Result<UserView> {
        let rid = user_of(&mut self.record(vserver)?.smb, name)?.rid;
        if let Some(served) = self.served(vserver) {
            served.vserver.lockout.forget(rid);
        }
        self.user(vserver, name)
    }

    /// Deletes a user. What belongs to the uid stays.
    ///
    /// # Errors
    /// An unknown one, or one whom a share's access list names.
    pub async fn delete_user(self: &Arc<Self>, vserver: &str, name: &str) -> Result<()> {
        let user = user_of(&mut self.record(vserver)?.smb, name)?.clone();
        let owned = name.to_owned();
        self.change_vserver(vserver, move |record| {
            check_unnamed(&record.smb, &owned)?;
            let gone = record.smb.users.remove(&fold_name(&owned));
            gone.map(drop).ok_or_else(|| ClusterError::not_found("user", &owned))
        })
        .await?;
        if let Some(served) = self.served(vserver) {
            served.vserver.lockout.forget(user.rid);
            served.set_fault(format!("user {}", user.name), None);
        }
        Ok(())
    }

    /// The groups of a vserver.
    ///
    /// # Errors
    /// An unknown vserver.
    pub fn groups(&self, vserver: &str) -> Result<Vec<GroupView>> {
        let record = self.record(vserver)?;
        Ok(record.smb.groups.values().map(|group| group_view(&record, group)).collect())
    }

    /// One group.
    ///
    /// # Errors
    /// Unknown names.
    pub fn group(&self, vserver: &str, name: &str) -> Result<GroupView> {
        let record = self.record(vserver)?;
        let group = record.smb.groups.get(&fold_name(name));
        Ok(group_view(&record, group.ok_or_else(|| ClusterError::not_found("group", name))?))
    }

    /// Makes a group.
    ///
    /// # Errors
    /// A bad or taken name, too many groups.
    pub async fn create_group(self: &Arc<Self>, vserver: &str, new: NewGroup) -> Result<GroupView> {
        check_text(&new.comment)?;
        let name = new.name.clone();
        self.change_vserver(vserver, move |record| {
            check_free(&record.smb, &new.name)?;
            let NewGroup { name, comment, gid } = new.clone();
            let rid = new_rid(&mut record.smb)?;
            record.smb.groups.insert(fold_name(&name), Group { name, comment, gid, rid });
            Ok(())
        })
        .await?;
        self.group(vserver, &name)
    }

    /// Changes a group.
    ///
    /// # Errors
    /// An unknown one.
    pub async fn modify_group(
        self: &Arc<Self>,
        vserver: &str,
        name: &str,
        patch: GroupPatch,
    ) -> Result<GroupView> {
        patch.comment.as_deref().map_or(Ok(()), check_text)?;
        let owned = name.to_owned();
        self.change_vserver(vserver, move |record| {
            let group = record.smb.groups.get_mut(&fold_name(&owned));
            let group = group.ok_or_else(|| ClusterError::not_found("group", &owned))?;
            group.comment = patch.comment.clone().unwrap_or_else(|| group.comment.clone());
            group.gid = patch.gid.unwrap_or(group.gid);
            Ok(())
        })
        .await?;
        self.group(vserver, name)
    }

    /// Deletes a group. Its users keep the gid.
    ///
    /// # Errors
    /// An unknown one, or one whom a share's access list names.
    pub async fn delete_group(self: &Arc<Self>, vserver: &str, name: &str) -> Result<()> {
        let owned = name.to_owned();
        self.change_vserver(vserver, move |record| {
            check_unnamed(&record.smb, &owned)?;
            let gone = record.smb.groups.remove(&fold_name(&owned));
            gone.map(drop).ok_or_else(|| ClusterError::not_found("group", &owned))
        })
        .await
    }
}

fn group_view(record: &VserverRecord, group: &Group) -> GroupView {
    let members = record.smb.users.values().filter(|user| user.in_group(group.gid));
    GroupView {
        name: group.name.clone(),
        comment: group.comment.clone(),
        gid: group.gid,
        sid: machine_sid(record.uuid).with_rid(group.rid).to_string(),
        members: members.map(|user| user.name.clone()).collect(),
    }
}
