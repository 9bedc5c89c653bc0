//! Encryption.

use super::super::{
    Binding, Cipher, OpeningKey, PreauthHash, SealingKey, SessionKeys, TRANSFORM_HEADER, Tampered,
};
use super::vectors as v;
use super::{array, unhex};

const ALL: [Cipher; 4] = [Cipher::Aes128Ccm, Cipher::Aes128Gcm, Cipher::Aes256Ccm, Cipher::Aes256Gcm];
const BODY: &[u8; 43] = b"The quick brown fox jumps over the lazy dog";

fn key_bytes(cipher: Cipher) -> Vec<u8> {
    (0..32).take(cipher.key_bytes()).collect()
}

fn header() -> [u8; TRANSFORM_HEADER] {
    let mut header = [0; TRANSFORM_HEADER];
    header[..4].copy_from_slice(b"\xfdSMB");
    header[36] = 43;
    header[42] = 1;
    header[44..].copy_from_slice(&0x1122_3344_5566_7788_u64.to_le_bytes());
    header
}

fn split(sealed: &str) -> ([u8; TRANSFORM_HEADER], Vec<u8>) {
    let mut header = unhex(sealed);
    let message = header.split_off(TRANSFORM_HEADER);
    (header.try_into().unwrap(), message)
}

/// One direction of a published exchange: it opens, and sealing it with its nonce again gives the same bytes.
fn reproduces(cipher: Cipher, key: &[u8], plain: &str, sealed: &str) {
    let (header, original) = split(sealed);
    let mut message = original.clone();
    OpeningKey::new(cipher, key).open(&header, &mut message).unwrap();
    assert_eq!(message, unhex(plain));
    let mut again = header;
    again[4..36].fill(0);
    let nonce = header[20..36].try_into().unwrap();
    SealingKey::new(cipher, key).seal_with(nonce, &mut again, &mut message);
    assert_eq!((again, message), (header, original));
}

#[test]
fn published_messages_of_dialect_3_0() {
    let session_key = unhex("b4546771b515f766a86735532dd6c4f0");
    let keys = SessionKeys::derive(&session_key, Binding::Constant, Cipher::Aes128Ccm);
    assert_eq!(keys.decryption, unhex("261b72350558f2e9dcf613070383edbf"));
    assert_eq!(keys.encryption, unhex("8fe2b57ec34d2db5b1a9727f526bbdb5"));
    // This client left bytes behind the 11 of the nonce that should be zero; they are under the tag like the rest.
    reproduces(Cipher::Aes128Ccm, &keys.decryption, v::WRITE_30, v::WRITE_30_SEALED);
    reproduces(Cipher::Aes128Ccm, &keys.encryption, v::ANSWER_30, v::ANSWER_30_SEALED);
}

#[test]
fn published_messages_of_dialect_3_1_1() {
    let session_key = unhex("419fddf34c1e001909d362ae7fb6af79");
    let hash = PreauthHash::from(array(v::SEALED_311_PREAUTH));
    let keys = SessionKeys::derive(&session_key, Binding::Preauth(&hash), Cipher::Aes128Gcm);
    assert_eq!(keys.decryption, unhex("a2f5e80e5d59103034f32e52f698e5ec"));
    assert_eq!(keys.encryption, unhex("748c50868c90f302962a5c35f5f9a8bf"));
    reproduces(Cipher::Aes128Gcm, &keys.decryption, v::WRITE_311, v::WRITE_311_SEALED);
    reproduces(Cipher::Aes128Gcm, &keys.encryption, v::ANSWER_311, v::ANSWER_311_SEALED);
}

/// Expected is the SHA-256 over tag and ciphertext of every message, from an independent implementation.
#[test]
fn messages_of_all_lengths_seal_like_another_implementation() {
    for (cipher, nonce_bytes, expected) in [
        (Cipher::Aes128Ccm, 11, "2d7d3eef24cebf94466e6b7854b81dca211aa73e98397a69a8d08115409e7c4f"),
        (Cipher::Aes128Gcm, 12, "149b1ca81d1e2e3fdaea06b56f02359717e50efe7611a92f1eff4c6d0a815bfb"),
        (Cipher::Aes256Ccm, 11, "d3947cafcc261d2d15fe5a9ac220ad655816936c423207d334babc4bfe57426d"),
        (Cipher::Aes256Gcm, 12, "f325f1826599b5ae48638e5ba614df5fde4b91f89de687b26d30107d51ae6a03"),
    ] {
        let mut nonce = [0; 16];
        nonce.iter_mut().zip(0xb0..).take(nonce_bytes).for_each(|(to, byte)| *to = byte);
        let key = SealingKey::new(cipher, &key_bytes(cipher));
        let mut all = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        for length in 0..100 {
            let (mut header, mut message) = (header(), (0..length).collect::<Vec<u8>>());
            key.seal_with(nonce, &mut header, &mut message);
            all.update(&header[4..20]);
            all.update(&message);
        }
        assert_eq!(all.finish().as_ref(), unhex(expected), "{cipher:?}");
    }
}

#[test]
fn what_is_sealed_opens() {
    for cipher in ALL {
        let (sealing, opening) =
            (SealingKey::new(cipher, &key_bytes(cipher)), OpeningKey::new(cipher, &key_bytes(cipher)));
        for length in [0, 1, 15, 16, 17, 64, 4096, 1_000_003] {
            let plain = vec![0x5a; length];
            let (mut header, mut message) = (header(), plain.clone());
            sealing.seal(&mut header, &mut message);
            assert!(length < 16 || message != plain);
            opening.open(&header, &mut message).unwrap();
            assert_eq!(message, plain, "{cipher:?} {length}");
        }
    }
}

#[test]
fn no_nonce_comes_twice_from_a_key_that_threads_share() {
    for cipher in ALL {
        let key = SealingKey::new(cipher, &key_bytes(cipher));
        let nonces = || {
            let one = |_| {
                let mut header = header();
                key.seal(&mut header, &mut []);
                assert_eq!(header[31..36], [0; 5], "beyond CCM's 11 bytes");
                header[20..31].to_vec()
            };
            (0..1000).map(one).collect::<Vec<_>>()
        };
        let both = std::thread::scope(|scope| {
            let (a, b) = (scope.spawn(nonces), scope.spawn(nonces));
            [a.join().unwrap(), b.join().unwrap()].concat()
        });
        assert_eq!(both.iter().collect::<std::collections::BTreeSet<_>>().len(), 2000);
    }
}

#[test]
fn every_flipped_bit_and_every_other_key_is_found() {
    for cipher in ALL {
        let (mut header, mut message) = (header(), *BODY);
        SealingKey::new(cipher, &key_bytes(cipher)).seal(&mut header, &mut message);
        let opening = OpeningKey::new(cipher, &key_bytes(cipher));
        let opens =
            |header: &[u8; TRANSFORM_HEADER], mut message: [u8; 43]| opening.open(header, &mut message);
        assert_eq!(opens(&header, message), Ok(()));
        for bit in 4 * 8..TRANSFORM_HEADER * 8 {
            let mut flipped = header;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(opens(&flipped, message), Err(Tampered), "{cipher:?} header bit {bit}");
        }
        for bit in 0..message.len() * 8 {
            let mut flipped = message;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(opens(&header, flipped), Err(Tampered), "{cipher:?} bit {bit}");
        }
        assert_eq!(opening.open(&header, &mut { message }[..42]), Err(Tampered));
        let other = OpeningKey::new(cipher, &vec![1; cipher.key_bytes()]);
        assert_eq!(other.open(&header, &mut message), Err(Tampered));
    }
}

#[test]
fn ciphers_have_their_numbers() {
    for (id, cipher) in (1..).zip(ALL) {
        assert_eq!((Cipher::from_id(id), cipher.id()), (Some(cipher), id));
    }
    assert_eq!((Cipher::from_id(0), Cipher::from_id(5)), (None, None));
}
