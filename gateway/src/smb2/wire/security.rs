//! Self-relative security descriptors, MS-DTYP §2.4.6, with access lists of entries that allow or deny (§2.4.4.2, §2.4.4.4). The
//! system's list (SACL) is passed over and never sent.

use super::cursor::{len16, len32, patch_u32};
use super::sid::Sid;
use super::status::NtStatus;
use super::{Malformed, Reader};
use bytes::{BufMut, BytesMut};

/// `SE_OWNER_DEFAULTED`.
pub const OWNER_DEFAULTED: u16 = 0x0001;
/// `SE_GROUP_DEFAULTED`.
pub const GROUP_DEFAULTED: u16 = 0x0002;
/// `SE_DACL_PRESENT`; written as [`SecurityDescriptor::dacl`] has it.
pub const DACL_PRESENT: u16 = 0x0004;
/// `SE_DACL_DEFAULTED`.
pub const DACL_DEFAULTED: u16 = 0x0008;
/// `SE_DACL_AUTO_INHERIT_REQ`.
pub const DACL_AUTO_INHERIT_REQ: u16 = 0x0100;
/// `SE_DACL_AUTO_INHERITED`.
pub const DACL_AUTO_INHERITED: u16 = 0x0400;
/// `SE_DACL_PROTECTED`: nothing is inherited.
pub const DACL_PROTECTED: u16 = 0x1000;
/// `SE_SELF_RELATIVE`; always written.
pub const SELF_RELATIVE: u16 = 0x8000;

/// The bits of the system's list: present, defaulted, inheritance, protected.
const SACL_BITS: u16 = 0x0010 | 0x0020 | 0x0200 | 0x0800 | 0x2000;

/// `OBJECT_INHERIT_ACE`, in [`Ace::flags`].
pub const OBJECT_INHERIT: u8 = 0x01;
/// `CONTAINER_INHERIT_ACE`.
pub const CONTAINER_INHERIT: u8 = 0x02;
/// `NO_PROPAGATE_INHERIT_ACE`.
pub const NO_PROPAGATE_INHERIT: u8 = 0x04;
/// `INHERIT_ONLY_ACE`.
pub const INHERIT_ONLY: u8 = 0x08;
/// `INHERITED_ACE`.
pub const INHERITED: u8 = 0x10;

/// Entries of a list at the most: with the longest of SIDs they still fit its two bytes of length.
pub const ACES_MAX: usize = 800;

/// Whether an entry gives or takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum AceType {
    /// `ACCESS_ALLOWED_ACE_TYPE`.
    Allow = 0,
    /// `ACCESS_DENIED_ACE_TYPE`.
    Deny = 1,
}

/// `ACE`, MS-DTYP §2.4.4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ace {
    /// Allows or denies.
    pub kind: AceType,
    /// [`OBJECT_INHERIT`] and so on.
    pub flags: u8,
    /// Of `create::access`.
    pub mask: u32,
    /// To whom.
    pub sid: Sid,
}

/// Who may do what.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Dacl {
    /// The descriptor does not say.
    #[default]
    Absent,
    /// Everyone may do anything: it says that there is no list.
    Null,
    /// In order; empty, nobody may do anything.
    List(Vec<Ace>),
}

/// `SECURITY_DESCRIPTOR`, MS-DTYP §2.4.6.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SecurityDescriptor {
    /// The flags that do not follow from the rest.
    pub control: u16,
    /// `OWNER_SECURITY_INFORMATION`.
    pub owner: Option<Sid>,
    /// `GROUP_SECURITY_INFORMATION`.
    pub group: Option<Sid>,
    /// `DACL_SECURITY_INFORMATION`.
    pub dacl: Dacl,
}

impl SecurityDescriptor {
    /// # Errors
    /// [`Malformed`] with `INVALID_SECURITY_DESCR`, `INVALID_SID`, or `INVALID_ACL`, also for entries of other types: to leave out what a
    /// client wanted denied is worse than to refuse it.
    pub fn decode(bytes: &[u8]) -> Result<SecurityDescriptor, Malformed> {
        let invalid = |_| Malformed::with("security descriptor", NtStatus::INVALID_SECURITY_DESCR);
        let mut reader = Reader::new(bytes, "security descriptor");
        let fixed: [u8; 20] = reader.array().map_err(invalid)?;
        let mut reader = Reader::new(&fixed, "security descriptor");
        let (revision, _sbz1, control) = (reader.u8()?, reader.u8()?, reader.u16()?);
        if revision != 1 || control & SELF_RELATIVE == 0 {
            return Err(invalid(reader.malformed()));
        }
        let (owner, group) = (reader.u32()?, reader.u32()?);
        let (_sacl, dacl) = (reader.u32()?, reader.u32()?);
        let dacl = match (control & DACL_PRESENT != 0, dacl) {
            (false, _) => Dacl::Absent,
            (true, 0) => Dacl::Null,
            (true, at) => Dacl::List(decode_acl(part(bytes, at)?).map_err(|_| invalid_acl())?),
        };
        Ok(SecurityDescriptor {
            control: control & !(DACL_PRESENT | SELF_RELATIVE | SACL_BITS),
            owner: decode_sid(bytes, owner)?,
            group: decode_sid(bytes, group)?,
            dacl,
        })
    }

    /// Appends it: owner, group, list.
    pub fn encode(&self, out: &mut BytesMut) {
        let start = out.len();
        let present = if self.dacl == Dacl::Absent { 0 } else { DACL_PRESENT };
        out.put_u8(1);
        out.put_u8(0);
        out.put_u16_le(self.control & !DACL_PRESENT | present | SELF_RELATIVE);
        out.put_bytes(0, 16);
        for (sid, field) in [(self.owner, 4), (self.group, 8)] {
            if let Some(sid) = sid {
                let at = len32(out.len() - start);
                patch_u32(out, start + field, at);
                sid.encode(out);
            }
        }
        if let Dacl::List(aces) = &self.dacl {
            let at = len32(out.len() - start);
            patch_u32(out, start + 16, at);
            encode_acl(aces, out);
        }
    }
}

fn invalid_acl() -> Malformed {
    Malformed::with("access list", NtStatus::INVALID_ACL)
}

/// From `at` on; nothing in a descriptor is in its fixed part.
fn part(bytes: &[u8], at: u32) -> Result<Reader<'_>, Malformed> {
    match bytes.get(at as usize..) {
        Some(part) if at >= 20 => Ok(Reader::new(part, "security descriptor")),
        _ => Err(Malformed::with("security descriptor", NtStatus::INVALID_SECURITY_DESCR)),
    }
}

fn decode_sid(bytes: &[u8], at: u32) -> Result<Option<Sid>, Malformed> {
    if at == 0 {
        return Ok(None);
    }
    let invalid = |_| Malformed::with("SID", NtStatus::INVALID_SID);
    Sid::decode(&mut part(bytes, at)?).map(Some).map_err(invalid)
}

/// `ACL`, MS-DTYP §2.4.5.
fn decode_acl(mut reader: Reader) -> Result<Vec<Ace>, Malformed> {
    let (revision, _sbz1, size) = (reader.u8()?, reader.u8()?, reader.u16()?);
    let (count, _sbz2) = (usize::from(reader.u16()?), reader.u16()?);
    let body_len = usize::from(size).checked_sub(8).filter(|_| matches!(revision, 2..=4));
    let mut reader = Reader::new(reader.take(body_len.ok_or_else(invalid_acl)?)?, "access list");
    // An entry has at least 16 bytes.
    if count > ACES_MAX || count > reader.rest().len() / 16 {
        return Err(invalid_acl());
    }
    (0..count).map(|_| decode_ace(&mut reader)).collect()
}

fn decode_ace(reader: &mut Reader) -> Result<Ace, Malformed> {
    let (kind, flags, size) = (reader.u8()?, reader.u8()?, reader.u16()?);
    let body_len = usize::from(size).checked_sub(4).ok_or_else(invalid_acl)?;
    let mut body = Reader::new(reader.take(body_len)?, "access list");
    let kind = match kind {
        0 => AceType::Allow,
        1 => AceType::Deny,
        _ => return Err(invalid_acl()),
    };
    Ok(Ace { kind, flags, mask: body.u32()?, sid: Sid::decode(&mut body)? })
}

fn encode_acl(aces: &[Ace], out: &mut BytesMut) {
    let len = |ace: &Ace| 8 + ace.sid.wire_len();
    out.put_u16_le(2);
    out.put_u16_le(len16(8 + aces.iter().map(len).sum::<usize>()));
    out.put_u16_le(len16(aces.len()));
    out.put_u16_le(0);
    for ace in aces {
        out.put_u8(ace.kind as u8);
        out.put_u8(ace.flags);
        out.put_u16_le(len16(len(ace)));
        out.put_u32_le(ace.mask);
        ace.sid.encode(out);
    }
}
