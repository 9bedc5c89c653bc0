//! RPC credentials: AUTH_NONE and AUTH_SYS (RFC 5531 §8.2 and appendix A). Says who a call claims to be;
//! whether to believe it is the export policy's business.

use crate::xdr::{Decoder, Encoder, Result, Xdr, XdrError};
use bytes::Bytes;

/// Most bytes of a credential's or verifier's body (RFC 5531 §8.2).
pub const AUTH_BODY_MAX: usize = 400;
/// Most bytes of AUTH_SYS's machine name (RFC 5531 appendix A).
pub const MACHINE_NAME_MAX: usize = 255;
/// Most supplementary groups in AUTH_SYS (RFC 5531 appendix A).
pub const GIDS_MAX: usize = 16;
/// The user and group of calls without a credential.
pub const NOBODY: u32 = 65_534;

/// `auth_flavor`, RFC 5531 §8.2: no credential.
pub const AUTH_NONE: u32 = 0;
/// `auth_flavor`, RFC 5531 §8.2: user and groups as plain numbers.
pub const AUTH_SYS: u32 = 1;

/// `opaque_auth`, RFC 5531 §8.2.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpaqueAuth {
    /// `auth_flavor`.
    pub flavor: u32,
    /// Its body, uninterpreted.
    pub body: Bytes,
}

impl OpaqueAuth {
    /// AUTH_NONE.
    pub const NONE: OpaqueAuth = OpaqueAuth { flavor: AUTH_NONE, body: Bytes::new() };
}

impl Xdr for OpaqueAuth {
    fn encode(&self, out: &mut Encoder) {
        out.u32(self.flavor);
        out.opaque(&self.body);
    }

    fn decode(input: &mut Decoder) -> Result<Self> {
        Ok(OpaqueAuth { flavor: input.u32()?, body: input.opaque(AUTH_BODY_MAX)? })
    }
}

/// `authsys_parms`, RFC 5531 appendix A.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthSys {
    /// An arbitrary number of the client's.
    pub stamp: u32,
    /// The client's name, not used for anything.
    pub machine_name: Bytes,
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
    /// Supplementary groups.
    pub gids: Vec<u32>,
}

impl Xdr for AuthSys {
    fn encode(&self, out: &mut Encoder) {
        out.u32(self.stamp);
        out.opaque(&self.machine_name);
        out.u32(self.uid);
        out.u32(self.gid);
        out.u32(u32::try_from(self.gids.len()).unwrap_or(u32::MAX));
        for gid in &self.gids {
            out.u32(*gid);
        }
    }

    fn decode(input: &mut Decoder) -> Result<Self> {
        let stamp = input.u32()?;
        let machine_name = input.opaque(MACHINE_NAME_MAX)?;
        let (uid, gid) = (input.u32()?, input.u32()?);
        let len = input.u32()?;
        if len as usize > GIDS_MAX {
            return Err(XdrError::TooLong { len, max: GIDS_MAX });
        }
        let gids = (0..len).map(|_| input.u32()).collect::<Result<_>>()?;
        Ok(AuthSys { stamp, machine_name, uid, gid, gids })
    }
}

/// `auth_stat`, RFC 5531 §9: why a credential was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum AuthStat {
    /// The credential is malformed.
    BadCred = 1,
    /// The verifier is malformed.
    BadVerf = 3,
    /// The flavor is not one that the server takes.
    TooWeak = 5,
}

/// Who a call claims to come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credential {
    /// Effective user.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

impl Credential {
    /// Reads a call's credential. AUTH_NONE is nobody.
    ///
    /// # Errors
    /// [`AuthStat::BadCred`] for a malformed AUTH_SYS, [`AuthStat::TooWeak`] for any other flavor.
    pub fn of(auth: &OpaqueAuth) -> std::result::Result<Credential, AuthStat> {
        match auth.flavor {
            AUTH_NONE => Ok(Credential { uid: NOBODY, gid: NOBODY, groups: Vec::new() }),
            AUTH_SYS => {
                let mut body = Decoder::new(auth.body.clone());
                let sys: AuthSys = body.take().map_err(|_| AuthStat::BadCred)?;
                body.finish().map_err(|_| AuthStat::BadCred)?;
                Ok(Credential { uid: sys.uid, gid: sys.gid, groups: sys.gids })
            }
            _ => Err(AuthStat::TooWeak),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(gids: u32, name_len: u32) -> Bytes {
        let mut out = Encoder::default();
        out.u32(7);
        out.opaque(&vec![b'm'; name_len as usize]);
        out.u32(1000);
        out.u32(100);
        out.u32(gids);
        (0..gids).for_each(|gid| out.u32(gid));
        out.finish().into_bytes()
    }

    fn credential(body: Bytes) -> std::result::Result<Credential, AuthStat> {
        Credential::of(&OpaqueAuth { flavor: AUTH_SYS, body })
    }

    #[test]
    fn auth_sys_on_the_wire() {
        // RFC 5531 appendix A, by hand: stamp, name "ab", uid 1000, gid 100, one group 5.
        let wire = Bytes::from_static(&[
            0, 0, 0, 7, 0, 0, 0, 2, b'a', b'b', 0, 0, 0, 0, 3, 0xe8, 0, 0, 0, 100, 0, 0, 0, 1, 0, 0, 0, 5,
        ]);
        let sys: AuthSys = Decoder::new(wire.clone()).take().unwrap();
        let expected =
            AuthSys { stamp: 7, machine_name: Bytes::from_static(b"ab"), uid: 1000, gid: 100, gids: vec![5] };
        assert_eq!(sys, expected);
        let mut out = Encoder::default();
        out.put(&sys);
        assert_eq!(out.finish().into_bytes(), wire);
        assert_eq!(credential(wire), Ok(Credential { uid: 1000, gid: 100, groups: vec![5] }));
    }

    #[test]
    fn limits_hold() {
        assert_eq!(credential(body(16, 3)).unwrap().groups.len(), 16);
        assert_eq!(credential(body(17, 3)), Err(AuthStat::BadCred));
        assert!(credential(body(0, 255)).is_ok());
        assert_eq!(credential(body(0, 256)), Err(AuthStat::BadCred));
        assert_eq!(credential(Bytes::from_static(&[0; 8])), Err(AuthStat::BadCred));
        let mut longer = body(1, 1).to_vec();
        longer.extend([0; 4]);
        assert_eq!(credential(longer.into()), Err(AuthStat::BadCred));
    }

    #[test]
    fn other_flavors() {
        assert_eq!(Credential::of(&OpaqueAuth::NONE).unwrap().uid, NOBODY);
        let gss = OpaqueAuth { flavor: 6, body: Bytes::new() };
        assert_eq!(Credential::of(&gss), Err(AuthStat::TooWeak));
        let mut out = Encoder::default();
        out.u32(AUTH_SYS);
        out.opaque(&[0; AUTH_BODY_MAX + 4]);
        let wire = out.finish().into_bytes();
        assert!(matches!(Decoder::new(wire).take::<OpaqueAuth>(), Err(XdrError::TooLong { .. })));
    }
}
