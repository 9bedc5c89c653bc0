//! Tokens of logins: SPNEGO and NTLM, good ones and spoilt ones. Nobody gets in who does not know the password.

use super::login;
use crate::fuzz::choices::Choices;
use crate::smb2::auth::{Acceptor, Step, TargetNames, nt_hash, spnego};

/// A login of some tokens.
pub fn smb_tokens(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let names = TargetNames { netbios_computer: "VS1".to_owned(), ..TargetNames::default() };
    let mut acceptor = Acceptor::new(names, choices.any_u64().to_le_bytes(), 1 << 56);
    let knows = choices.once_in(2);
    // Who does not know it is refused whatever he sends.
    let password = if knows { login::PASSWORD } else { "another" };
    let lookup = |user: &str, _: &str| (user == login::USER).then(|| nt_hash(password));
    let mut challenge = Vec::new();
    for _ in 0..4 {
        let mut damaged = false;
        let mut token = match choices.below(8) {
            0 => choices.pick_bytes().to_vec(),
            1 => spnego::offer(&[choices.pick_bytes(), spnego::NTLMSSP]),
            _ if challenge.is_empty() => login::negotiate(),
            _ => login::authenticate(&challenge).unwrap_or_default(),
        };
        if choices.once_in(3) {
            damaged = true;
            choices.damage(&mut token);
        }
        match acceptor.step(&token, &lookup) {
            Ok(Step::Continue(answer)) => challenge = answer,
            Ok(Step::Done { user, .. }) => {
                assert!(user == login::USER && (knows || damaged), "{user} is let in");
                assert!(knows, "somebody is let in who does not know the password");
                break;
            }
            Ok(Step::Anonymous { .. }) => break,
            Err(_) => {
                assert!(acceptor.step(&token, &lookup).is_err(), "a login that has failed is over");
                break;
            }
        }
    }
}
