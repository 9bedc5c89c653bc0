//! The wire types of NFSACL version 3, in both directions. Which entries make an ACL is no matter of theirs.
#![allow(missing_docs, reason = "fields have the names of nfs_acl.x, which says what they mean")]

use crate::nfs3::procedures::Procedure;
use crate::nfs3::types::{NfsFh3, PostOpAttr};
use crate::xdr::{Decoder, Encoder, Result, Xdr, XdrError, xdr_struct};
use bytes::Bytes;

/// The NFSACL program.
pub const NFS_ACL_PROGRAM: u32 = 100_227;
/// `NA_ACL`: the access ACL.
pub const NFS_ACL: u32 = 1;
/// `NA_ACLCNT`: how many entries it has.
pub const NFS_ACLCNT: u32 = 2;
/// `NA_DFACL`: a directory's default ACL.
pub const NFS_DFACL: u32 = 4;
/// `NA_DFACLCNT`: how many entries that has.
pub const NFS_DFACLCNT: u32 = 8;
/// `NFS_ACL_MAX_ENTRIES`.
const ENTRIES_MAX: u32 = 1024;

/// Values of [`AclEnt::tag`], those of POSIX.1e on Linux.
#[derive(Debug)]
pub struct AclTag;

#[allow(missing_docs, reason = "the names are nfs_acl.x's")]
impl AclTag {
    pub const USER_OBJ: u32 = 0x01;
    pub const USER: u32 = 0x02;
    pub const GROUP_OBJ: u32 = 0x04;
    pub const GROUP: u32 = 0x08;
    /// The mask.
    pub const CLASS_OBJ: u32 = 0x10;
    pub const OTHER_OBJ: u32 = 0x20;
    /// Added to those of a default ACL.
    pub const DEFAULT: u32 = 0x1000;
}

xdr_struct! {
    /// `aclent`. `id` is the named user or group, and the file's own where the tag says owner or group.
    #[derive(Copy)]
    pub struct AclEnt { pub tag: u32, pub id: u32, pub perm: u32 }

    /// `GETACL3args`.
    pub struct GetAcl3Args { pub fh: NfsFh3, pub mask: u32 }

    /// `GETACL3resok`.
    pub struct GetAcl3ResOk { pub attr: PostOpAttr, pub acl: SecAttr }

}

/// `SETACL3args`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetAcl3Args {
    pub fh: NfsFh3,
    pub acl: SecAttr,
}

impl Xdr for SetAcl3Args {
    fn encode(&self, out: &mut Encoder) {
        out.put(&self.fh);
        out.put(&self.acl);
    }
    fn decode(input: &mut Decoder) -> Result<Self> {
        let args = SetAcl3Args { fh: input.take()?, acl: input.take()? };
        // Linux, when it sends a default ACL alone, leaves behind it the room that it has reserved for the other.
        *input = Decoder::new(Bytes::new());
        Ok(args)
    }
}

/// `GETACL` of NFSACL version 3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GetAcl;

impl Procedure for GetAcl {
    const PROGRAM: u32 = NFS_ACL_PROGRAM;
    const NUMBER: u32 = 1;
    type Args = GetAcl3Args;
    type Ok = GetAcl3ResOk;
    type Fail = PostOpAttr;
}

/// `SETACL` of NFSACL version 3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SetAcl;

impl Procedure for SetAcl {
    const PROGRAM: u32 = NFS_ACL_PROGRAM;
    const NUMBER: u32 = 2;
    type Args = SetAcl3Args;
    type Ok = PostOpAttr;
    type Fail = PostOpAttr;
}

/// `secattr`: which parts are meant, the access ACL and the default ACL. The counts are there without the entries where only
/// they were asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SecAttr {
    pub mask: u32,
    pub aclcnt: u32,
    pub aclent: Vec<AclEnt>,
    pub dfaclcnt: u32,
    pub dfaclent: Vec<AclEnt>,
}

impl SecAttr {
    /// With these parts, which are still empty. `None` if there are no such parts.
    pub fn empty(mask: u32) -> Option<SecAttr> {
        let known = mask & !(NFS_ACL | NFS_ACLCNT | NFS_DFACL | NFS_DFACLCNT) == 0;
        known.then(|| SecAttr { mask, ..SecAttr::default() })
    }

    /// With what is wanted of these two ACLs.
    pub fn with(self, access: &[AclEnt], default: &[AclEnt]) -> SecAttr {
        let part = |acl: &[AclEnt], entries: u32, count: u32| {
            let counted = if self.mask & (entries | count) == 0 { 0 } else { acl.len() };
            let sent = if self.mask & entries == 0 { vec![] } else { acl.to_vec() };
            (u32::try_from(counted).unwrap_or(u32::MAX), sent)
        };
        let (aclcnt, aclent) = part(access, NFS_ACL, NFS_ACLCNT);
        let default: Vec<_> =
            default.iter().map(|ace| AclEnt { tag: ace.tag | AclTag::DEFAULT, ..*ace }).collect();
        let (dfaclcnt, dfaclent) = part(&default, NFS_DFACL, NFS_DFACLCNT);
        SecAttr { mask: self.mask, aclcnt, aclent, dfaclcnt, dfaclent }
    }
}

impl Xdr for SecAttr {
    fn encode(&self, out: &mut Encoder) {
        out.u32(self.mask);
        for (count, entries) in [(self.aclcnt, &self.aclent), (self.dfaclcnt, &self.dfaclent)] {
            out.u32(count);
            out.u32(u32::try_from(entries.len()).unwrap_or(u32::MAX));
            entries.iter().for_each(|entry| out.put(entry));
        }
    }
    fn decode(input: &mut Decoder) -> Result<Self> {
        let mask = input.u32()?;
        let empty = SecAttr::empty(mask).ok_or(XdrError::BadValue { what: "secattr", value: mask })?;
        let (aclcnt, aclent) = entries(input)?;
        let (dfaclcnt, dfaclent) = entries(input)?;
        Ok(SecAttr { aclcnt, aclent, dfaclcnt, dfaclent, ..empty })
    }
}

/// A count, and entries as many or none.
fn entries(input: &mut Decoder) -> Result<(u32, Vec<AclEnt>)> {
    let (count, len) = (input.u32()?, input.u32()?);
    if len > ENTRIES_MAX {
        return Err(XdrError::TooLong { len, max: ENTRIES_MAX as usize });
    }
    if len != 0 && len != count {
        return Err(XdrError::BadValue { what: "number of ACL entries", value: len });
    }
    let entries: Result<Vec<AclEnt>> = (0..len).map(|_| input.take()).collect();
    Ok((count, entries?))
}
