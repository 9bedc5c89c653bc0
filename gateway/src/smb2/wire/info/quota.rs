//! Quotas of users: what QUERY_INFO asks (MS-SMB2 §2.2.37.1) and `FileQuotaInformation` (MS-FSCC §2.4.41), which it answers and
//! SET_INFO takes.

use super::super::cursor::{len32, pad, patch_u32};
use super::super::sid::Sid;
use super::super::status::NtStatus;
use super::super::{Malformed, Reader};
use bytes::{BufMut, BytesMut};

/// Entries in one list at the most.
const ENTRIES_MAX: usize = 1024;
/// A threshold or limit that is none.
pub const NO_LIMIT: i64 = -1;

/// What a user has, and may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuotaEntry {
    /// FILETIME.
    pub change_time: u64,
    /// Bytes in use.
    pub used: i64,
    /// Bytes from which on the user is warned.
    pub threshold: i64,
    /// Bytes that can't be passed.
    pub limit: i64,
    /// The user.
    pub sid: Sid,
}

/// SMB2 QUERY_QUOTA_INFO, MS-SMB2 §2.2.37.1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueryQuota {
    /// One entry is enough.
    pub single: bool,
    /// From the first user on again.
    pub restart: bool,
    /// The users that are asked for; none: all.
    pub sids: Vec<Sid>,
}

impl QueryQuota {
    /// What the request's input says. Where a scan is to begin with a certain user, it begins with the first.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(input: &[u8]) -> Result<QueryQuota, Malformed> {
        let mut reader = Reader::new(input, "SMB2_QUERY_QUOTA_INFO");
        let (single, restart) = (reader.u8()? != 0, reader.u8()? != 0);
        reader.skip(2)?;
        let (list_len, _start_len, _start) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let mut sids = Vec::new();
        walk(reader.take(list_len as usize)?, |mut entry| {
            entry.skip(4)?;
            sids.push(Sid::decode(&mut entry)?);
            Ok(())
        })?;
        Ok(QueryQuota { single, restart, sids })
    }
}

/// Entries that SET_INFO sets.
///
/// # Errors
/// [`Malformed`].
pub fn decode_quotas(list: &[u8]) -> Result<Vec<QuotaEntry>, Malformed> {
    let mut entries = Vec::new();
    walk(list, |mut reader| {
        reader.skip(4)?;
        let change_time = reader.u64()?;
        let mut amount = || Ok::<_, Malformed>(reader.u64()?.cast_signed());
        let (used, threshold, limit) = (amount()?, amount()?, amount()?);
        entries.push(QuotaEntry { change_time, used, threshold, limit, sid: Sid::decode(&mut reader)? });
        Ok(())
    })?;
    Ok(entries)
}

/// Calls `each` with every entry of a list, behind its `NextEntryOffset`.
fn walk(list: &[u8], mut each: impl FnMut(Reader) -> Result<(), Malformed>) -> Result<(), Malformed> {
    let malformed = || Malformed::with("quota list", NtStatus::INVALID_PARAMETER);
    let mut rest = list;
    for _ in 0..ENTRIES_MAX {
        if rest.is_empty() {
            return Ok(());
        }
        let mut reader = Reader::new(rest, "quota list");
        let next = reader.u32()? as usize;
        if next != 0 && (next < 8 || next >= rest.len()) {
            return Err(malformed());
        }
        each(reader)?;
        rest = if next == 0 { &[] } else { rest.get(next..).ok_or_else(malformed)? };
    }
    if rest.is_empty() { Ok(()) } else { Err(malformed()) }
}

/// Appends entries, as far as they fit into `max` bytes; gives how many did.
pub fn encode_quotas(entries: &[QuotaEntry], max: usize, out: &mut BytesMut) -> usize {
    let (first, mut last) = (out.len(), None);
    for (count, entry) in entries.iter().enumerate() {
        let at = (out.len() - first).next_multiple_of(8);
        if at + 40 + entry.sid.wire_len() > max {
            return count;
        }
        pad(out, first, 8);
        let start = out.len();
        if let Some(last) = last.replace(start) {
            patch_u32(out, last, len32(start - last));
        }
        out.put_u32_le(0);
        out.put_u32_le(len32(entry.sid.wire_len()));
        out.put_u64_le(entry.change_time);
        out.put_i64_le(entry.used);
        out.put_i64_le(entry.threshold);
        out.put_i64_le(entry.limit);
        entry.sid.encode(out);
    }
    entries.len()
}
