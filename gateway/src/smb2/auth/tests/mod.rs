//! Vectors of the specification, tokens of real clients, a client of our own for what vectors do not show, and noise.

pub(in crate::smb2) mod client;
mod login;
mod malformed;
mod recorded;
mod vectors;

use super::{Acceptor, NtHash, TargetNames, nt_hash};

pub(super) fn unhex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits
        .bytes()
        .filter_map(|digit| char::from(digit).to_digit(16))
        .map(|digit| u8::try_from(digit).unwrap())
        .collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

pub(super) fn array<const N: usize>(digits: &str) -> [u8; N] {
    unhex(digits).try_into().unwrap()
}

/// A server called `name`, in no domain.
pub(super) fn names(name: &str) -> TargetNames {
    TargetNames {
        netbios_computer: name.into(),
        netbios_domain: name.into(),
        dns_computer: name.into(),
        dns_domain: name.into(),
    }
}

/// An acceptor with the specification's challenge.
pub(super) fn acceptor() -> Acceptor {
    Acceptor::new(names("FERRY"), array("0123456789abcdef"), 0x01d0_aecb_adf5_a1a1)
}

/// Knows `User` with the password `Password`, in any domain.
pub(super) fn users(user: &str, _domain: &str) -> Option<NtHash> {
    user.eq_ignore_ascii_case("user").then(|| nt_hash("Password"))
}
