//! Security identifiers (MS-DTYP §2.4.2): how SMB names users and groups. Values and their text; no bytes of a wire.

use std::fmt;
use std::str::FromStr;

/// Most subauthorities (MS-DTYP §2.4.2.2).
const SUB_AUTHORITIES_MAX: usize = 15;
/// Bits of the identifier authority.
const AUTHORITY_BITS: u32 = 48;

/// A security identifier.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sid {
    authority: u64,
    sub_authorities: Vec<u32>,
}

impl Sid {
    /// `None` where the authority has more than 48 bits or there are more than 15 subauthorities.
    pub fn new(authority: u64, sub_authorities: &[u32]) -> Option<Self> {
        let good = authority >> AUTHORITY_BITS == 0 && sub_authorities.len() <= SUB_AUTHORITIES_MAX;
        good.then(|| Sid { authority, sub_authorities: sub_authorities.to_vec() })
    }

    /// One that is known to be good.
    pub(super) fn known(authority: u64, sub_authorities: &[u32]) -> Self {
        Sid::new(authority, sub_authorities).expect("a constant that is written in this program")
    }

    /// `S-1-1-0`, which everybody has.
    pub fn everyone() -> Self {
        Sid::known(1, &[0])
    }

    /// The identifier authority, below 2^48.
    pub fn authority(&self) -> u64 {
        self.authority
    }

    /// The subauthorities, up to 15. The last is the relative identifier (RID).
    pub fn sub_authorities(&self) -> &[u32] {
        &self.sub_authorities
    }

    /// The same with one more subauthority. `self` must have room for it, as every domain has.
    pub(crate) fn with_rid(&self, rid: u32) -> Self {
        let mut sub_authorities = self.sub_authorities.clone();
        assert!(sub_authorities.len() < SUB_AUTHORITIES_MAX, "{self} is no domain");
        sub_authorities.push(rid);
        Sid { authority: self.authority, sub_authorities }
    }

    /// The last subauthority, if what is before it is `domain`.
    pub(super) fn rid_in(&self, domain: &Sid) -> Option<u32> {
        let (rid, before) = self.sub_authorities.split_last()?;
        (self.authority == domain.authority && before == domain.sub_authorities).then_some(*rid)
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // MS-DTYP §2.4.2.1: hexadecimal from 2^32 on.
        if self.authority >> 32 == 0 {
            write!(f, "S-1-{}", self.authority)?;
        } else {
            write!(f, "S-1-{:#014x}", self.authority)?;
        }
        self.sub_authorities.iter().try_for_each(|sub| write!(f, "-{sub}"))
    }
}

impl fmt::Debug for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Sid {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no SID; write it like S-1-5-21-1-2-3-1000");
        let rest = text.strip_prefix("S-1-").or_else(|| text.strip_prefix("s-1-")).ok_or_else(wrong)?;
        let mut parts = rest.split('-');
        let authority = parts.next().unwrap_or_default();
        let authority = match authority.strip_prefix("0x").or_else(|| authority.strip_prefix("0X")) {
            Some(hex) => u64::from_str_radix(hex, 16),
            None => authority.parse(),
        };
        // One more than there may be is enough to see that there are too many.
        let subs: Result<Vec<u32>, _> = parts.take(SUB_AUTHORITIES_MAX + 1).map(str::parse).collect();
        match (authority, subs) {
            (Ok(authority), Ok(subs)) => Sid::new(authority, &subs).ok_or_else(wrong),
            _ => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_reads_back() {
        for text in ["S-1-1-0", "S-1-5-21-1-4294967295-3-1000", "S-1-5", "S-1-0x010000000000-7"] {
            assert_eq!(text.parse::<Sid>().unwrap().to_string(), text);
        }
        assert_eq!(Sid::everyone().to_string(), "S-1-1-0");
    }

    #[test]
    fn what_is_no_sid_is_refused() {
        let long = format!("S-1-5{}", "-1".repeat(16));
        for text in
            ["", "S-1-", "S-2-5-1", "S-1-5-", "S-1-5-x", "S-1-5-4294967296", "S-1-0x1000000000000", &long]
        {
            assert!(text.parse::<Sid>().is_err(), "{text}");
        }
        assert!(format!("S-1-5{}", "-1".repeat(15)).parse::<Sid>().is_ok());
    }

    #[test]
    fn a_rid_belongs_to_its_domain() {
        let domain = Sid::known(5, &[21, 1, 2, 3]);
        assert_eq!(domain.with_rid(1000).rid_in(&domain), Some(1000));
        assert_eq!(Sid::known(5, &[21, 1, 2, 4, 1000]).rid_in(&domain), None);
        assert_eq!(domain.rid_in(&domain), None);
    }
}
