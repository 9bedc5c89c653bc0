//! Signatures.

use super::super::{Binding, SigningAlgorithm, SigningKey, Tampered, signing_key};
use super::keys::login_hash;
use super::vectors::LAST_RESPONSE;
use super::{array, unhex};

const ALL: [SigningAlgorithm; 3] =
    [SigningAlgorithm::HmacSha256, SigningAlgorithm::AesCmac, SigningAlgorithm::AesGmac];

fn key(algorithm: SigningAlgorithm) -> SigningKey {
    SigningKey::new(algorithm, &array("000102030405060708090a0b0c0d0e0f"))
}

/// A header with these fields, no signature, and 43 bytes behind it.
fn message(command: u16, flags: u32) -> Vec<u8> {
    let header = [
        &b"\xfeSMB"[..],
        &[64, 0, 1, 0, 0, 0, 0, 0],
        &command.to_le_bytes(),
        &[1, 0],
        &flags.to_le_bytes(),
        &[0; 4],
        &0x0102_0304_0506_0708_u64.to_le_bytes(),
        &[0xff, 0xfe, 0, 0, 7, 0, 0, 0],
        &0x1122_3344_5566_7788_u64.to_le_bytes(),
        &[0; 16],
    ];
    [&header.concat()[..], b"The quick brown fox jumps over the lazy dog"].concat()
}

#[test]
fn a_published_response_verifies() {
    let mut message = unhex(LAST_RESPONSE);
    let signature: [u8; 16] = message[48..64].try_into().unwrap();
    message[48..64].fill(0);
    let session_key = unhex("270e1ba896585eeb7af3472d3b4c75a7");
    let key = signing_key(&session_key, Binding::Preauth(&login_hash()));
    let key = SigningKey::new(SigningAlgorithm::AesCmac, &key);
    assert_eq!(key.verify(&[&message], &signature), Ok(()));
    assert_eq!(key.sign(&[&message[..64], &message[64..]]), signature);
}

/// The expected values come from an independent implementation of the three algorithms.
#[test]
fn signatures_are_those_of_another_implementation() {
    const WRITE: u16 = 9;
    const CANCEL: u16 = 12;
    for (algorithm, command, flags, expected) in [
        (SigningAlgorithm::HmacSha256, WRITE, 8, "a491bcb8313fe637f55569224f529589"),
        (SigningAlgorithm::AesCmac, WRITE, 8, "244c960f49afb29073621a4f91d72fe0"),
        (SigningAlgorithm::AesGmac, WRITE, 8, "839b04086576468bab757ee18d78c2d8"),
        (SigningAlgorithm::AesGmac, WRITE, 9, "3ca4242c4edeff92b4a58d452c5ecdad"),
        (SigningAlgorithm::AesGmac, CANCEL, 8, "8de179b4c5b75d5d1c09891dc8ca51e0"),
    ] {
        let signature = key(algorithm).sign(&[&message(command, flags)]);
        assert_eq!(signature, array(expected), "{algorithm:?}, command {command}, flags {flags}");
    }
}

#[test]
fn pieces_sign_like_the_whole() {
    let message = message(9, 8);
    for algorithm in ALL {
        let key = key(algorithm);
        let whole = key.sign(&[&message]);
        for cut in 64..=message.len() {
            assert_eq!(key.sign(&[&message[..cut], &[], &message[cut..]]), whole, "{algorithm:?} {cut}");
        }
    }
}

#[test]
fn every_flipped_bit_and_every_other_key_is_found() {
    let message = message(9, 8);
    for algorithm in ALL {
        let key = key(algorithm);
        let signature = key.sign(&[&message]);
        assert_eq!(key.verify(&[&message], &signature), Ok(()));
        for bit in 0..message.len() * 8 {
            let mut flipped = message.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.verify(&[&flipped], &signature), Err(Tampered), "{algorithm:?} bit {bit}");
        }
        for bit in 0..128 {
            let mut flipped = signature;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.verify(&[&message], &flipped), Err(Tampered), "{algorithm:?} signature bit {bit}");
        }
        let other = SigningKey::new(algorithm, &[1; 16]);
        assert_eq!(other.verify(&[&message], &signature), Err(Tampered));
        assert_eq!(key.verify(&[&message[..message.len() - 1]], &signature), Err(Tampered));
    }
}

#[test]
fn what_has_no_header_does_not_verify() {
    for algorithm in ALL {
        for pieces in [&[][..], &[&[0; 63][..]], &[&[0; 63], &[0; 100]]] {
            assert_eq!(key(algorithm).verify(pieces, &[0; 16]), Err(Tampered));
        }
    }
}

#[test]
fn algorithms_have_their_numbers() {
    for (id, algorithm) in (0..).zip(ALL) {
        assert_eq!((SigningAlgorithm::from_id(id), algorithm.id()), (Some(algorithm), id));
    }
    assert_eq!(SigningAlgorithm::from_id(3), None);
}
