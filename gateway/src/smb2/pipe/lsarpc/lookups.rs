//! LsarLookupSids and LsarLookupNames in their versions for pipes (MS-LSAT §3.1.4.5 to §3.1.4.10).

use super::super::ndr::{Input, Output};
use super::accounts::{Kind, Somebody, by_name, by_sid};
use crate::smb2::wire::Malformed;
use crate::smb2::wire::sid::Sid;
use crate::smb2::wire::status::NtStatus;
use crate::vserver::Vserver;
use bytes::BytesMut;

/// Names or SIDs in one request.
const LOOKUPS_MAX: usize = 1000;
/// Where somebody has no domain.
const NO_DOMAIN: u32 = u32::MAX;

/// What is said of each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// `LSAPR_TRANSLATED_NAME`, or with flags `_EX` (§2.2.19, §2.2.21).
    Names { flags: bool },
    /// `LSA_TRANSLATED_SID`, or with flags `_EX` (§2.2.14, §2.2.22).
    Rids { flags: bool },
    /// `LSAPR_TRANSLATED_SID_EX2` (§2.2.24).
    Sids,
}

/// Who has these SIDs.
pub(super) fn sids(vserver: &Vserver, mut input: Input<'_>, answer: Answer) -> Result<BytesMut, Malformed> {
    let (entries, some) = (input.u32()? as usize, input.pointer()?);
    let count = if some { input.count(4)? } else { 0 };
    if count != entries || count > LOOKUPS_MAX {
        return Err(input.malformed());
    }
    for _ in 0..count {
        if !input.pointer()? {
            return Err(input.malformed());
        }
    }
    let mut found = Vec::with_capacity(count);
    for _ in 0..count {
        let sid = input.sid()?;
        found.push(by_sid(vserver, &sid).ok_or_else(|| sid.to_string()));
    }
    Ok(respond(&found, answer))
}

/// Who has these names.
pub(super) fn names(vserver: &Vserver, mut input: Input<'_>, answer: Answer) -> Result<BytesMut, Malformed> {
    let entries = input.u32()? as usize;
    let count = input.count(8)?;
    if count != entries || count > LOOKUPS_MAX {
        return Err(input.malformed());
    }
    let mut there = Vec::with_capacity(count);
    for _ in 0..count {
        let (_len, _most) = (input.u16()?, input.u16()?);
        there.push(input.pointer()?);
    }
    let mut found = Vec::with_capacity(count);
    for some in there {
        let name = if some { input.string()? } else { String::new() };
        found.push(by_name(vserver, &name).ok_or(name));
    }
    Ok(respond(&found, answer))
}

/// The domains, everybody, how many were found, and the status.
fn respond(found: &[Result<Somebody, String>], answer: Answer) -> BytesMut {
    let mut domains: Vec<(&str, Sid)> = Vec::new();
    let mut rows = Vec::with_capacity(found.len());
    for one in found {
        let index = match one {
            Err(_) => NO_DOMAIN,
            Ok(somebody) => {
                let domain = (somebody.domain.as_str(), somebody.domain_sid);
                let at = domains.iter().position(|known| *known == domain).unwrap_or_else(|| {
                    domains.push(domain);
                    domains.len() - 1
                });
                u32::try_from(at).unwrap_or(NO_DOMAIN)
            }
        };
        rows.push((one, index));
    }
    let mut out = Output::default();
    put_domains(&domains, &mut out);
    out.count(rows.len());
    out.pointer(!rows.is_empty());
    if !rows.is_empty() {
        out.count(rows.len());
        rows.iter().for_each(|(one, index)| put_row(one, *index, answer, &mut out));
        for (one, _) in &rows {
            match (answer, one) {
                (Answer::Names { .. }, Ok(somebody)) => out.unicode_text(&somebody.name),
                (Answer::Names { .. }, Err(text)) => out.unicode_text(text),
                (Answer::Sids, Ok(somebody)) => out.sid(&somebody.sid),
                _ => {}
            }
        }
    }
    let mapped = found.iter().filter(|one| one.is_ok()).count();
    out.count(mapped);
    let status = match mapped {
        all if all == found.len() => NtStatus::SUCCESS,
        0 => NtStatus::NONE_MAPPED,
        _ => NtStatus::SOME_NOT_MAPPED,
    };
    out.u32(status.0);
    out.finish()
}

/// A pointer to `LSAPR_REFERENCED_DOMAIN_LIST`, §2.2.12.
fn put_domains(domains: &[(&str, Sid)], out: &mut Output) {
    out.pointer(true);
    out.count(domains.len());
    out.pointer(!domains.is_empty());
    out.u32(0);
    if domains.is_empty() {
        return;
    }
    out.count(domains.len());
    for (name, _) in domains {
        out.unicode_string(name);
        out.pointer(true);
    }
    for (name, sid) in domains {
        out.unicode_text(name);
        out.sid(sid);
    }
}

/// The part of a row that stands in the array.
fn put_row(one: &Result<Somebody, String>, domain: u32, answer: Answer, out: &mut Output) {
    let kind = one.as_ref().map_or(Kind::Unknown, |somebody| somebody.kind);
    out.u32(kind as u32);
    match answer {
        Answer::Names { .. } => {
            out.unicode_string(one.as_ref().map_or_else(String::as_str, |somebody| &somebody.name));
        }
        Answer::Rids { .. } => {
            let rid = one.as_ref().ok().and_then(|somebody| somebody.sid.sub_authorities().last());
            out.u32(rid.copied().unwrap_or(0));
        }
        Answer::Sids => out.pointer(one.is_ok()),
    }
    out.u32(domain);
    if matches!(answer, Answer::Names { flags: true } | Answer::Rids { flags: true } | Answer::Sids) {
        out.u32(0);
    }
}
