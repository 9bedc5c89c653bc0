//! Cut, flipped and random tokens: nothing panics, nothing grows, nobody gets in.

use super::super::acceptor::Step;
use super::super::spnego::{NTLMSSP, NegTokenResp};
use super::client::{Client, init, mech_types, respond};
use super::vectors::{WINDOWS_INIT, WINDOWS_RESPONSE};
use super::{acceptor, unhex, users};

/// The tokens of a login that succeeds, NTLM alone or in SPNEGO with mechListMIC.
fn tokens(spnego: bool) -> [Vec<u8>; 2] {
    let client = Client::default();
    let first = if spnego { init(&[NTLMSSP], Some(&client.negotiate())) } else { client.negotiate() };
    let Ok(Step::Continue(reply)) = acceptor().step(&first, &users) else { panic!("no challenge") };
    if !spnego {
        return [first, client.authenticate(&reply)];
    }
    let challenge = NegTokenResp::parse(&reply).unwrap().response_token.unwrap().to_vec();
    let mic = client.mech_list_mic(&mech_types(&[NTLMSSP]));
    [first, respond(&client.authenticate(&challenge), Some(&mic))]
}

/// Whether these tokens let somebody in. What is answered stays small.
fn lets_in(tokens: &[Vec<u8>; 2]) -> bool {
    let mut acceptor = acceptor();
    match acceptor.step(&tokens[0], &users) {
        Ok(Step::Continue(reply)) => assert!(reply.len() < 512),
        Ok(_) => panic!("in after one token"),
        Err(_) => {}
    }
    match acceptor.step(&tokens[1], &users) {
        Ok(Step::Done { .. }) => true,
        Ok(Step::Continue(reply)) => {
            assert!(reply.len() < 512);
            false
        }
        _ => false,
    }
}

#[test]
fn cut_tokens_are_refused_at_every_length() {
    for spnego in [false, true] {
        let good = tokens(spnego);
        assert!(lets_in(&good));
        for which in 0..2 {
            for length in 0..good[which].len() {
                let mut cut = good.clone();
                cut[which].truncate(length);
                assert!(!lets_in(&cut), "spnego {spnego}, token {which} cut at {length}");
            }
        }
    }
}

/// The MIC is over all three messages, so no bit of them may change.
#[test]
fn every_bit_of_ntlm_counts() {
    let good = tokens(false);
    for which in 0..2 {
        for bit in 0..good[which].len() * 8 {
            let mut flipped = good.clone();
            flipped[which][bit / 8] ^= 1 << (bit % 8);
            assert!(!lets_in(&flipped), "message {which} bit {bit}");
        }
    }
}

#[test]
fn extreme_bytes_do_no_harm() {
    let windows = [unhex(WINDOWS_INIT), unhex(WINDOWS_RESPONSE)];
    for good in [tokens(true), windows] {
        for which in 0..2 {
            for at in 0..good[which].len() {
                for byte in [0, 1, 0x7f, 0x80, 0x81, 0x83, 0x84, 0xff] {
                    let mut bad = good.clone();
                    bad[which][at] = byte;
                    lets_in(&bad);
                }
            }
        }
    }
}

#[test]
fn random_changes_do_no_harm() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        std::time::UNIX_EPOCH.elapsed().map_or(1, |since| u64::try_from(since.as_nanos() >> 8).unwrap_or(1))
    });
    println!("SEED={seed}");
    let mut state = seed;
    let mut random = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % bound
    };
    let good = [tokens(false), tokens(true), [unhex(WINDOWS_INIT), unhex(WINDOWS_RESPONSE)]];
    for _ in 0..20_000 {
        let mut bad = good[random(good.len())].clone();
        let token = &mut bad[random(2)];
        for _ in 0..=random(8) {
            let at = random(token.len());
            match random(8) {
                0 => token.insert(at, u8::try_from(random(256)).unwrap()),
                1 if token.len() > 1 => drop(token.remove(at)),
                2 => token.extend_from_within(at..),
                _ => token[at] = u8::try_from(random(256)).unwrap(),
            }
        }
        lets_in(&bad);
    }
}

/// A user name, a NEGOTIATE and a list of mechanisms have bounds of their own.
#[test]
fn long_things_are_refused() {
    use super::super::AuthError;
    let client = Client::default();
    let long = [client.negotiate(), vec![0; 5000]].concat();
    assert_eq!(acceptor().step(&long, &users).unwrap_err(), AuthError::Malformed);
    let many: Vec<&[u8]> = vec![NTLMSSP; 100];
    assert_eq!(acceptor().step(&init(&many, None), &users).unwrap_err(), AuthError::Malformed);
    let named = Client { user: Box::leak("u".repeat(257).into_boxed_str()), ..client };
    let mut acceptor = acceptor();
    let Ok(Step::Continue(challenge)) = acceptor.step(&named.negotiate(), &users) else {
        panic!("no challenge")
    };
    let step = acceptor.step(&named.authenticate(&challenge), &users);
    assert_eq!(step.unwrap_err(), AuthError::Malformed);
}

#[test]
fn lengths_are_definite_and_fit() {
    use super::super::AuthError;
    use super::super::der::{OCTET_STRING, Reader};
    let take = |bytes: &'static [u8]| Reader::new(bytes).take(OCTET_STRING);
    for good in [&[4, 1, 7][..], &[4, 0x81, 1, 7], &[4, 0x82, 0, 1, 7, 9], &[4, 0x83, 0, 0, 1, 7]] {
        assert_eq!(take(good), Ok(&[7][..]));
    }
    for bad in
        [&[][..], &[4], &[5, 1, 7], &[4, 0x80, 7, 0, 0], &[4, 0x84, 0, 0, 0, 1, 7], &[4, 2, 7], &[4, 0x82, 1]]
    {
        assert_eq!(take(bad), Err(AuthError::Malformed), "{bad:?}");
    }
}
