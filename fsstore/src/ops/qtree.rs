//! Qtrees made, and quota rules set. A qtree is removed and renamed as the directory that it is.

use super::make::{Kind, new_file, place};
use super::{Plan, Seen};
use crate::error::{FsError, Result};
use crate::ids::QtreeId;
use crate::io::Io;
use crate::op::{Context, LINK_MAX, ROOT, ROOT_INO, SetAttrs, Time};
use crate::quota::{QuotaLimits, QuotaTarget, Rule};
use crate::record::Act;
use crate::state::State;
use bytes::Bytes;

pub(super) fn make(st: &mut State, io: &Io, cx: &Context, name: &Bytes, attrs: SetAttrs) -> Result<Plan> {
    if cx.uid != 0 {
        return Err(FsError::Perm);
    }
    let (dir, existing) = place(st, io, cx, ROOT, name)?;
    if existing.is_some() {
        return Err(FsError::Exists);
    }
    if dir.nlink >= LINK_MAX {
        return Err(FsError::TooManyLinks);
    }
    let qtree = st.quota.next_qtree()?;
    new_file(st, io, cx, &dir, name, Kind::qtree(qtree), attrs)
}

pub(super) fn set_quota(
    st: &mut State,
    io: &Io,
    cx: &Context,
    target: QuotaTarget,
    limits: Option<&QuotaLimits>,
) -> Result<Plan> {
    if cx.uid != 0 {
        return Err(FsError::Perm);
    }
    let root = st.load(io, ROOT_INO)?.clone();
    match target.qtree() {
        Some(QtreeId::NONE) if matches!(target, QuotaTarget::Tree(_)) => {
            return Err(FsError::QuotaConfig("what is in no qtree is limited by the volume's size alone"));
        }
        Some(qtree) if qtree != QtreeId::NONE && !st.quota.qtrees.contains_key(&qtree) => {
            return Err(FsError::QuotaConfig("no such qtree"));
        }
        _ => {}
    }
    let Some(limits) = limits else {
        if !st.quota.has_rule(target) {
            return Err(FsError::QuotaConfig("no such rule"));
        }
        return Ok(Plan::of(Some(Act::SetQuota { target, limits: None }), Seen::old(&root)));
    };
    let above = |soft: Option<u64>, hard: Option<u64>| soft.zip(hard).is_some_and(|(soft, hard)| soft > hard);
    if above(limits.disk_soft, limits.disk_hard) || above(limits.files_soft, limits.files_hard) {
        return Err(FsError::QuotaConfig("a soft limit may not be above the hard one"));
    }
    st.has_rule_slot(target)?;
    Ok(Plan::of(Some(Act::SetQuota { target, limits: Some(*limits) }), Seen::old(&root)))
}

pub(super) fn apply(
    st: &mut State,
    io: &Io,
    now: Time,
    target: QuotaTarget,
    limits: Option<QuotaLimits>,
) -> Result<()> {
    st.set_quota(io, target, limits.map(|limits| Rule { limits, set: now.secs }))
}
