//! Security identifiers, MS-DTYP §2.4.2.

use super::{Malformed, Reader};
use bytes::{BufMut, BytesMut};
use std::fmt;
use std::str::FromStr;

/// Sub-authorities of a SID at the most.
const SUB_AUTHORITIES_MAX: usize = 15;

/// `SID`, MS-DTYP §2.4.2.2.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sid {
    authority: [u8; 6],
    /// How many of `sub` there are; the others are 0.
    len: u8,
    sub: [u32; SUB_AUTHORITIES_MAX],
}

impl Sid {
    /// `S-1-0-0`: nobody.
    pub const NULL: Sid = Sid::well_known(0, [0]);
    /// `S-1-1-0`: everyone.
    pub const EVERYONE: Sid = Sid::well_known(1, [0]);
    /// `S-1-3-0`: in an entry to inherit, who will have made the file.
    pub const CREATOR_OWNER: Sid = Sid::well_known(3, [0]);
    /// `S-1-3-1`: in an entry to inherit, that one's group.
    pub const CREATOR_GROUP: Sid = Sid::well_known(3, [1]);
    /// `S-1-3-4`: whoever owns the file.
    pub const OWNER_RIGHTS: Sid = Sid::well_known(3, [4]);
    /// `S-1-5-7`: who has not logged in.
    pub const ANONYMOUS: Sid = Sid::well_known(5, [7]);
    /// `S-1-5-11`: who has logged in.
    pub const AUTHENTICATED_USERS: Sid = Sid::well_known(5, [11]);
    /// `S-1-5-18`: the system.
    pub const SYSTEM: Sid = Sid::well_known(5, [18]);
    /// `S-1-5-32-544`: the administrators.
    pub const ADMINISTRATORS: Sid = Sid::well_known(5, [32, 544]);
    /// `S-1-5-32-545`: the users.
    pub const USERS: Sid = Sid::well_known(5, [32, 545]);

    const fn well_known<const N: usize>(authority: u8, of: [u32; N]) -> Sid {
        let mut sub = [0; SUB_AUTHORITIES_MAX];
        let (mut at, mut len) = (0, 0);
        while at < N {
            sub[at] = of[at];
            at += 1;
            len += 1;
        }
        Sid { authority: [0, 0, 0, 0, 0, authority], len, sub }
    }

    /// With an authority of 48 bits, of which the lower ones count; nothing with more than 15 sub-authorities.
    #[must_use]
    pub fn new(authority: u64, sub_authorities: &[u32]) -> Option<Sid> {
        let [_, _, authority @ ..] = authority.to_be_bytes();
        let mut sub = [0; SUB_AUTHORITIES_MAX];
        sub.get_mut(..sub_authorities.len())?.copy_from_slice(sub_authorities);
        Some(Sid { authority, len: u8::try_from(sub_authorities.len()).ok()?, sub })
    }

    /// One below this: a user or group of a domain. Nothing where there is no room.
    #[must_use]
    pub fn child(&self, relative_id: u32) -> Option<Sid> {
        let mut child = *self;
        *child.sub.get_mut(usize::from(self.len))? = relative_id;
        child.len += 1;
        Some(child)
    }

    /// The authority's number.
    #[must_use]
    pub fn authority(&self) -> u64 {
        self.authority.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// What is below the authority.
    #[must_use]
    pub fn sub_authorities(&self) -> &[u32] {
        &self.sub[..usize::from(self.len)]
    }

    /// Bytes on the wire.
    #[must_use]
    pub fn wire_len(&self) -> usize {
        8 + 4 * usize::from(self.len)
    }

    /// Takes one off the front.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(reader: &mut Reader) -> Result<Sid, Malformed> {
        let (revision, len, authority) = (reader.u8()?, reader.u8()?, reader.array()?);
        let mut sub = [0; SUB_AUTHORITIES_MAX];
        let there = sub.get_mut(..usize::from(len)).filter(|_| revision == 1);
        for one in there.ok_or_else(|| reader.malformed())? {
            *one = reader.u32()?;
        }
        Ok(Sid { authority, len, sub })
    }

    /// Appends it.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u8(1);
        out.put_u8(self.len);
        out.put_slice(&self.authority);
        self.sub_authorities().iter().for_each(|sub| out.put_u32_le(*sub));
    }
}

/// MS-DTYP §2.4.2.1: `S-1-5-21-1-2-3-1000`.
impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.authority() {
            small @ 0..=0xffff_ffff => write!(f, "S-1-{small}")?,
            large => write!(f, "S-1-{large:#014x}")?,
        }
        self.sub_authorities().iter().try_for_each(|sub| write!(f, "-{sub}"))
    }
}

impl fmt::Debug for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Sid {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Sid, Malformed> {
        let parse = || {
            let mut parts = text.strip_prefix("S-1-").or_else(|| text.strip_prefix("s-1-"))?.split('-');
            let authority = parts.next()?;
            let authority = match authority.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16).ok()?,
                None => authority.parse().ok()?,
            };
            let mut sid = Sid::new(authority, &[]).filter(|_| authority >> 48 == 0)?;
            for part in parts {
                sid = sid.child(part.parse().ok()?)?;
            }
            Some(sid)
        };
        parse().ok_or_else(|| Malformed::with("SID", super::status::NtStatus::INVALID_SID))
    }
}
