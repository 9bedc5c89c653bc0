//! Qtrees and quotas of mounted volumes. Qtrees have names here; the store knows them by number.

use super::{Cluster, ClusterError, Result, blocking, now};
use bytes::Bytes;
use fsstore::{
    Context, FsError, Op, Qtree, QtreeId, QuotaLimits, QuotaRule, QuotaTarget, QuotaUse, ROOT, SetAttrs,
    Volume,
};
use serde::{Deserialize, Serialize};

/// Grace period of a rule that does not say one: a week, in seconds.
const GRACE_SECS_DEFAULT: u32 = 7 * 24 * 3600;

/// What a new qtree is to be.
#[derive(Clone, Debug, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewQtree {
    /// Name of its directory in the volume's root.
    pub name: String,
    /// Permission bits of its directory, 0 to 0o7777; default 0o755.
    pub mode: Option<u32>,
    /// Owner of its directory; default root.
    pub uid: Option<u32>,
    /// Group of its directory; default root's.
    pub gid: Option<u32>,
}

/// What to change of a qtree.
#[derive(Clone, Debug, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QtreePatch {
    /// New name.
    pub name: String,
}

/// A qtree as the API shows it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct QtreeView {
    /// Its number in the volume.
    pub id: u32,
    /// Name of its directory in the volume's root.
    pub name: String,
    /// Bytes of data blocks in it.
    pub used_bytes: u64,
    /// Inodes in it, its directory too.
    pub files: u64,
    /// Permission bits of its directory.
    pub mode: u32,
    /// Owner of its directory.
    pub uid: u32,
    /// Group of its directory.
    pub gid: u32,
}

impl From<Qtree> for QtreeView {
    fn from(qtree: Qtree) -> Self {
        QtreeView {
            id: qtree.id.0,
            name: String::from_utf8_lossy(&qtree.name).into_owned(),
            used_bytes: qtree.used_bytes,
            files: qtree.files,
            mode: qtree.dir.mode,
            uid: qtree.dir.uid,
            gid: qtree.dir.gid,
        }
    }
}

/// Of what a rule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum QuotaKind {
    /// All that is in a qtree.
    Tree,
    /// What a user has in a qtree, or in none.
    User,
    /// What a group has in a qtree, or in none.
    Group,
}

/// Whom a rule is for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuotaWhom {
    /// Of what kind.
    pub kind: QuotaKind,
    /// Name of a qtree. Missing: for users and groups what they have outside of qtrees; for `tree` the default of all qtrees
    /// without a rule of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qtree: Option<String>,
    /// Number of the user or group. Missing: the default of all without a rule of their own there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
}

/// What may be used; what is missing has no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuotaAmounts {
    /// Bytes that can't be passed.
    #[serde(default)]
    pub disk_hard_bytes: Option<u64>,
    /// Bytes that can be passed for the grace period.
    #[serde(default)]
    pub disk_soft_bytes: Option<u64>,
    /// Inodes that can't be passed.
    #[serde(default)]
    pub files_hard: Option<u64>,
    /// Inodes that can be passed for the grace period.
    #[serde(default)]
    pub files_soft: Option<u64>,
    /// Seconds over a soft limit after which it is as a hard one; default a week.
    #[serde(default)]
    pub grace_s: Option<u32>,
}

/// A rule.
#[derive(Clone, Debug, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuotaRuleView {
    /// Whom it is for.
    pub whom: QuotaWhom,
    /// What they may use.
    pub limits: QuotaAmounts,
    /// When it was set, in seconds since 1970; not looked at in requests.
    #[serde(default)]
    pub set_s: i64,
}

/// What somebody uses, and may use.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct QuotaUseView {
    /// Whom it is of. `tree` without a qtree is all that is in no qtree, which has no limit.
    pub whom: QuotaWhom,
    /// Bytes of data blocks.
    pub used_bytes: u64,
    /// Inodes.
    pub files: u64,
    /// The limits in force; missing: none.
    pub limits: Option<QuotaAmounts>,
    /// Whether they are those of a default rule.
    pub by_default: bool,
    /// Since when it is over the soft limit of bytes, in seconds since 1970.
    pub disk_over_since_s: Option<i64>,
    /// The same of files.
    pub files_over_since_s: Option<i64>,
}

impl From<QuotaLimits> for QuotaAmounts {
    fn from(limits: QuotaLimits) -> Self {
        QuotaAmounts {
            disk_hard_bytes: limits.disk_hard,
            disk_soft_bytes: limits.disk_soft,
            files_hard: limits.files_hard,
            files_soft: limits.files_soft,
            grace_s: Some(limits.grace_secs),
        }
    }
}

impl From<QuotaAmounts> for QuotaLimits {
    fn from(amounts: QuotaAmounts) -> Self {
        QuotaLimits {
            disk_hard: amounts.disk_hard_bytes,
            disk_soft: amounts.disk_soft_bytes,
            files_hard: amounts.files_hard,
            files_soft: amounts.files_soft,
            grace_secs: amounts.grace_s.unwrap_or(GRACE_SECS_DEFAULT),
        }
    }
}

/// The names of a volume's qtrees, for what is told by number.
struct Names(Vec<Qtree>);

impl Names {
    fn of(volume: &Volume) -> Result<Names> {
        Ok(Names(volume.qtrees()?))
    }

    fn find(&self, name: &str) -> Result<&Qtree> {
        let found = self.0.iter().find(|qtree| qtree.name == name.as_bytes());
        found.ok_or_else(|| ClusterError::not_found("qtree", name))
    }

    fn name(&self, id: QtreeId) -> Option<String> {
        let found = self.0.iter().find(|qtree| qtree.id == id);
        // One that was removed a moment ago has its number only.
        let name =
            found.map_or_else(|| format!("#{id}"), |qtree| String::from_utf8_lossy(&qtree.name).into());
        (id != QtreeId::NONE).then_some(name)
    }

    fn whom(&self, target: QuotaTarget) -> QuotaWhom {
        let (kind, qtree, id) = match target {
            QuotaTarget::Tree(qtree) => (QuotaKind::Tree, qtree.unwrap_or_default(), None),
            QuotaTarget::User { qtree, uid } => (QuotaKind::User, qtree, uid),
            QuotaTarget::Group { qtree, gid } => (QuotaKind::Group, qtree, gid),
        };
        QuotaWhom { kind, qtree: self.name(qtree), id }
    }

    fn target(&self, whom: &QuotaWhom) -> Result<QuotaTarget> {
        let qtree = whom.qtree.as_deref().map(|name| self.find(name).map(|qtree| qtree.id)).transpose()?;
        let within = qtree.unwrap_or_default();
        match whom.kind {
            QuotaKind::Tree if whom.id.is_some() => Err(ClusterError::Invalid(
                "a rule for a qtree is for no user or group: leave `id` out".to_owned(),
            )),
            QuotaKind::Tree => Ok(QuotaTarget::Tree(qtree)),
            QuotaKind::User => Ok(QuotaTarget::User { qtree: within, uid: whom.id }),
            QuotaKind::Group => Ok(QuotaTarget::Group { qtree: within, gid: whom.id }),
        }
    }

    fn rule(&self, rule: &QuotaRule) -> QuotaRuleView {
        QuotaRuleView { whom: self.whom(rule.target), limits: rule.limits.into(), set_s: rule.set }
    }

    fn used(&self, used: &QuotaUse) -> QuotaUseView {
        QuotaUseView {
            whom: self.whom(used.target),
            used_bytes: used.used_bytes,
            files: used.files,
            limits: used.limits.map(QuotaAmounts::from),
            by_default: used.by_default,
            disk_over_since_s: used.disk_over_since,
            files_over_since_s: used.files_over_since,
        }
    }
}

/// Runs a mutation as root; durable when it returns.
fn execute(volume: &Volume, op: Op) -> Result<()> {
    let done = volume.execute(&Context::root(now()), op)?;
    Ok(volume.wait_durable(done.lsn)?)
}

fn as_bytes(name: &str) -> Bytes {
    Bytes::copy_from_slice(name.as_bytes())
}

impl Cluster {
    /// All qtrees of a volume.
    ///
    /// # Errors
    /// Unknown names, or a volume that is not mounted.
    pub async fn qtrees(&self, vserver: &str, volume: &str) -> Result<Vec<QtreeView>> {
        let mounted = self.mounted(vserver, volume)?;
        blocking(move || Ok(mounted.qtrees()?.into_iter().map(QtreeView::from).collect())).await
    }

    /// One qtree.
    ///
    /// # Errors
    /// Unknown names.
    pub async fn qtree(&self, vserver: &str, volume: &str, name: &str) -> Result<QtreeView> {
        let (mounted, name) = (self.mounted(vserver, volume)?, name.to_owned());
        blocking(move || Ok(Names::of(&mounted)?.find(&name)?.clone().into())).await
    }

    /// Makes a qtree.
    ///
    /// # Errors
    /// A bad or taken name, 4095 qtrees already, a vserver that is migrating.
    pub async fn create_qtree(&self, vserver: &str, volume: &str, new: NewQtree) -> Result<QtreeView> {
        let _guard = self.lock(vserver).await;
        self.record_to_change(vserver)?;
        let mounted = self.mounted(vserver, volume)?;
        blocking(move || {
            let mode = new.mode.unwrap_or(0o755);
            if mode > 0o7777 {
                return Err(ClusterError::Invalid(format!("mode {mode} is none; in JSON, 0o755 is 493")));
            }
            let attrs = SetAttrs { mode: Some(mode), uid: new.uid, gid: new.gid, ..SetAttrs::default() };
            match execute(&mounted, Op::MakeQtree { name: as_bytes(&new.name), attrs }) {
                Err(ClusterError::Failed(text)) if text == FsError::Exists.to_string() => {
                    Err(ClusterError::exists("file or directory", &new.name))
                }
                outcome => outcome,
            }?;
            Ok(Names::of(&mounted)?.find(&new.name)?.clone().into())
        })
        .await
    }

    /// Gives a qtree another name.
    ///
    /// # Errors
    /// Unknown or taken names, a vserver that is migrating.
    pub async fn rename_qtree(
        &self,
        vserver: &str,
        volume: &str,
        name: &str,
        patch: QtreePatch,
    ) -> Result<QtreeView> {
        let _guard = self.lock(vserver).await;
        self.record_to_change(vserver)?;
        let (mounted, name) = (self.mounted(vserver, volume)?, name.to_owned());
        blocking(move || {
            Names::of(&mounted)?.find(&name)?;
            if mounted.lookup(&Context::root(now()), ROOT, patch.name.as_bytes()).is_ok() {
                return Err(ClusterError::exists("file or directory", &patch.name));
            }
            let (from, to) = (as_bytes(&name), as_bytes(&patch.name));
            execute(&mounted, Op::Rename { from_dir: ROOT, from, to_dir: ROOT, to })?;
            Ok(Names::of(&mounted)?.find(&patch.name)?.clone().into())
        })
        .await
    }

    /// Removes an empty qtree, and its quota rules with it.
    ///
    /// # Errors
    /// Unknown names, a qtree with files in it, a vserver that is migrating.
    pub async fn delete_qtree(&self, vserver: &str, volume: &str, name: &str) -> Result<()> {
        let _guard = self.lock(vserver).await;
        self.record_to_change(vserver)?;
        let (mounted, name) = (self.mounted(vserver, volume)?, name.to_owned());
        blocking(move || {
            Names::of(&mounted)?.find(&name)?;
            match mounted.execute(&Context::root(now()), Op::Rmdir { dir: ROOT, name: as_bytes(&name) }) {
                Err(FsError::NotEmpty) => Err(ClusterError::Conflict(format!(
                    "qtree `{name}` is not empty: remove what is in it first, as a client"
                ))),
                done => Ok(mounted.wait_durable(done?.lsn)?),
            }
        })
        .await
    }

    /// All quota rules of a volume.
    ///
    /// # Errors
    /// Unknown names, or a volume that is not mounted.
    pub async fn quota_rules(&self, vserver: &str, volume: &str) -> Result<Vec<QuotaRuleView>> {
        let mounted = self.mounted(vserver, volume)?;
        blocking(move || {
            let names = Names::of(&mounted)?;
            Ok(mounted.quota_rules().iter().map(|rule| names.rule(rule)).collect())
        })
        .await
    }

    /// What every qtree, user and group uses, and may use.
    ///
    /// # Errors
    /// Unknown names, or a volume that is not mounted.
    pub async fn quota_report(&self, vserver: &str, volume: &str) -> Result<Vec<QuotaUseView>> {
        let mounted = self.mounted(vserver, volume)?;
        blocking(move || {
            let names = Names::of(&mounted)?;
            Ok(mounted.quota_report()?.iter().map(|used| names.used(used)).collect())
        })
        .await
    }

    /// Sets a rule, or replaces the one that is there.
    ///
    /// # Errors
    /// Unknown names, a soft limit above the hard one, a vserver that is migrating.
    pub async fn set_quota(
        &self,
        vserver: &str,
        volume: &str,
        whom: QuotaWhom,
        limits: QuotaAmounts,
    ) -> Result<QuotaRuleView> {
        let _guard = self.lock(vserver).await;
        self.record_to_change(vserver)?;
        let mounted = self.mounted(vserver, volume)?;
        blocking(move || {
            let names = Names::of(&mounted)?;
            let target = names.target(&whom)?;
            execute(&mounted, Op::SetQuota { target, limits: Some(limits.into()) })?;
            let rules = mounted.quota_rules();
            let rule = rules.iter().find(|rule| rule.target == target);
            rule.map(|rule| names.rule(rule)).ok_or_else(|| no_rule(&whom))
        })
        .await
    }

    /// Takes a rule away.
    ///
    /// # Errors
    /// Unknown names, no such rule, a vserver that is migrating.
    pub async fn delete_quota(&self, vserver: &str, volume: &str, whom: QuotaWhom) -> Result<()> {
        let _guard = self.lock(vserver).await;
        self.record_to_change(vserver)?;
        let mounted = self.mounted(vserver, volume)?;
        blocking(move || {
            let target = Names::of(&mounted)?.target(&whom)?;
            if !mounted.quota_rules().iter().any(|rule| rule.target == target) {
                return Err(no_rule(&whom));
            }
            execute(&mounted, Op::SetQuota { target, limits: None })
        })
        .await
    }
}

fn no_rule(whom: &QuotaWhom) -> ClusterError {
    let kind = match whom.kind {
        QuotaKind::Tree => "quota rule for qtree",
        QuotaKind::User => "quota rule for user",
        QuotaKind::Group => "quota rule for group",
    };
    let name = match (&whom.id, &whom.qtree) {
        (Some(id), _) => id.to_string(),
        (None, Some(qtree)) if whom.kind == QuotaKind::Tree => qtree.clone(),
        (None, _) => "* (default)".to_owned(),
    };
    ClusterError::not_found(kind, &name)
}
