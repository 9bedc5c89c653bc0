//! Quotas of users (MS-SMB2 §3.3.5.20.4, §3.3.5.21.4): those of the qtree that the open file is in, or of no qtree. For the
//! superuser only.

use super::open::Open;
use super::reply::Failure;
use super::security::{unix_id, wire_sid};
use super::wire::create::{FileFacts, attribute};
use super::wire::info::quota::{NO_LIMIT, QueryQuota, QuotaEntry, decode_quotas, encode_quotas};
use super::wire::names::{Path, StreamType};
use super::wire::sid::Sid;
use super::wire::status::NtStatus;
use crate::vserver::{UnixId, Vserver};
use bytes::BytesMut;
use fsstore::{Op, QtreeId, QuotaLimits, QuotaTarget, Volume};
use std::sync::atomic::Ordering;

/// `FILE_VC_QUOTA_TRACK` and `FILE_VC_QUOTA_ENFORCE` (MS-FSCC §2.5.2): usage is counted, and limits hold.
pub(super) const CONTROL: u32 = 0x01 | 0x02;
/// A limit that takes the user's rule away.
const FORGET: i64 = -2;
/// How long more than the threshold may be used.
const GRACE_SECS: u32 = 7 * 24 * 60 * 60;

/// A user's limits on the wire: the threshold, and the limit.
pub(super) fn amounts(limits: Option<&QuotaLimits>) -> (i64, i64) {
    let amount =
        |bytes: Option<u64>| bytes.map_or(NO_LIMIT, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    limits.map_or((NO_LIMIT, NO_LIMIT), |limits| (amount(limits.disk_soft), amount(limits.disk_hard)))
}

/// Whether a path names the file by which clients ask for quotas, which is in no listing: `\\$Extend\\$Quota:$Q:$INDEX_ALLOCATION`
/// (MS-FSCC §2.1.7). Behind it is the root of the share.
pub(super) fn is_file(path: &Path<'_>) -> bool {
    let ([extend, quota], Some(stream)) = (&path.components[..], path.stream) else { return false };
    extend.eq_ignore_ascii_case("$Extend")
        && quota.eq_ignore_ascii_case("$Quota")
        && stream.name.eq_ignore_ascii_case("$Q")
        && stream.kind == StreamType::IndexAllocation
}

/// What that file looks like.
pub(super) fn file() -> FileFacts {
    let file_attributes = attribute::HIDDEN | attribute::SYSTEM | attribute::DIRECTORY | attribute::ARCHIVE;
    FileFacts { file_attributes, ..FileFacts::default() }
}

/// What holds for each user of a qtree who has no rule.
pub(super) fn default_limits(volume: &Volume, open: &Open) -> Option<QuotaLimits> {
    let qtree = volume.qtree_of(open.base.file).ok()?;
    rule(volume, QuotaTarget::User { qtree, uid: None })
}

fn rule(volume: &Volume, target: QuotaTarget) -> Option<QuotaLimits> {
    volume.quota_rules().into_iter().find(|rule| rule.target == target).map(|rule| rule.limits)
}

/// Lists what users have, by uid.
pub(super) fn query(
    vserver: &Vserver,
    open: &Open,
    input: &[u8],
    max: usize,
    out: &mut BytesMut,
) -> Result<(), Failure> {
    need_superuser(open)?;
    let request = QueryQuota::decode(input)?;
    let volume = open.volume(vserver)?;
    let qtree = volume.qtree_of(open.base.file)?;
    let from = if request.restart { 0 } else { open.quotas_from.load(Ordering::Relaxed) };
    let mut entries = entries(vserver, &volume, qtree)?;
    if request.sids.is_empty() {
        entries.retain(|(uid, _)| u64::from(*uid) >= from);
    } else {
        entries = asked_for(vserver, &request.sids, &entries);
    }
    entries.truncate(if request.single { 1 } else { usize::MAX });
    let listed: Vec<QuotaEntry> = entries.iter().map(|(_, entry)| *entry).collect();
    let written = encode_quotas(&listed, max, out);
    match entries.get(..written).and_then(<[_]>::last) {
        Some((uid, _)) if request.sids.is_empty() => {
            open.quotas_from.store(u64::from(*uid) + 1, Ordering::Relaxed);
            Ok(())
        }
        Some(_) => Ok(()),
        None if listed.is_empty() => Err(NtStatus::NO_MORE_ENTRIES.into()),
        None => Err(NtStatus::BUFFER_TOO_SMALL.into()),
    }
}

/// The entries of these users, each with the SID by which it is asked for.
fn asked_for(vserver: &Vserver, sids: &[Sid], entries: &[(u32, QuotaEntry)]) -> Vec<(u32, QuotaEntry)> {
    let users = vserver.users();
    let of = |sid: &Sid| {
        let Some(UnixId::User(uid)) = unix_id(&users, sid) else { return None };
        let entry = entries.iter().find(|(other, _)| *other == uid)?.1;
        Some((uid, QuotaEntry { sid: *sid, ..entry }))
    };
    sids.iter().filter_map(of).collect()
}

/// Who uses something, has a rule, or is a user of the vserver.
fn entries(vserver: &Vserver, volume: &Volume, of: QtreeId) -> Result<Vec<(u32, QuotaEntry)>, Failure> {
    let users = vserver.users();
    let by_default = rule(volume, QuotaTarget::User { qtree: of, uid: None });
    let entry = |uid: u32, used: u64, limits: Option<&QuotaLimits>| {
        let (threshold, limit) = amounts(limits);
        let used = i64::try_from(used).unwrap_or(i64::MAX);
        QuotaEntry { change_time: 0, used, threshold, limit, sid: wire_sid(&users, UnixId::User(uid)) }
    };
    let mut all: std::collections::BTreeMap<u32, QuotaEntry> =
        users.iter().map(|user| (user.uid, entry(user.uid, 0, by_default.as_ref()))).collect();
    for usage in volume.quota_report()? {
        if let QuotaTarget::User { qtree, uid: Some(uid) } = usage.target
            && qtree == of
        {
            all.insert(uid, entry(uid, usage.used_bytes, usage.limits.as_ref()));
        }
    }
    Ok(all.into_iter().collect())
}

/// Sets users' limits of bytes. Those of files stay.
pub(super) fn set(vserver: &Vserver, open: &Open, list: &[u8]) -> Result<(), Failure> {
    need_superuser(open)?;
    let volume = open.volume(vserver)?;
    let qtree = volume.qtree_of(open.base.file)?;
    let users = vserver.users();
    for entry in decode_quotas(list)? {
        let Some(UnixId::User(uid)) = unix_id(&users, &entry.sid) else {
            return Err(NtStatus::INVALID_SID.into());
        };
        let target = QuotaTarget::User { qtree, uid: Some(uid) };
        let old = rule(&volume, target);
        let limits = if entry.limit == FORGET {
            None
        } else {
            let old = old.unwrap_or(QuotaLimits { grace_secs: GRACE_SECS, ..QuotaLimits::default() });
            let disk_hard = u64::try_from(entry.limit).ok();
            // A threshold above the limit says nothing.
            let disk_soft =
                u64::try_from(entry.threshold).ok().filter(|soft| disk_hard.is_none_or(|hard| *soft <= hard));
            Some(QuotaLimits { disk_hard, disk_soft, ..old })
        };
        if limits.is_some() || old.is_some() {
            volume.execute(&open.context(), Op::SetQuota { target, limits })?;
        }
    }
    Ok(())
}

fn need_superuser(open: &Open) -> Result<(), NtStatus> {
    if open.cx.uid == 0 { Ok(()) } else { Err(NtStatus::ACCESS_DENIED) }
}
