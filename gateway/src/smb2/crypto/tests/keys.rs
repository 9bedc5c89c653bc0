//! Key derivation and the pre-authentication hash.

use super::super::{Binding, Cipher, PreauthHash, SessionKeys, signing_key};
use super::vectors::LOGIN;
use super::{array, unhex};

/// The hash after the published login.
pub(super) fn login_hash() -> PreauthHash {
    let mut hash = PreauthHash::default();
    for (message, after) in LOGIN {
        hash.extend(&[&unhex(message)]);
        assert_eq!(hash.as_bytes(), &array(after));
    }
    hash
}

#[test]
fn the_hash_follows_the_published_login() {
    let whole = login_hash();
    let mut pieces = PreauthHash::default();
    for (message, _) in LOGIN {
        let message = unhex(message);
        pieces.extend(&[&message[..64], &[], &message[64..70], &message[70..]]);
    }
    assert_eq!(pieces, whole);
}

/// Microsoft gives the keys as the client calls them: it encrypts with what the server decrypts with.
#[test]
fn keys_of_dialect_3_0_are_the_published_ones() {
    let session_key = unhex("7cd451825d0450d235424e44ba6e78cc");
    let keys = SessionKeys::derive(&session_key, Binding::Constant, Cipher::Aes128Ccm);
    assert_eq!(keys.signing, array("0b7e9c5cac36c0f6ea9ab275298cedce"));
    assert_eq!(keys.encryption, unhex("b0f0427f7ceb416d1d9dcc0cd4f99447"));
    assert_eq!(keys.decryption, unhex("fad27796665b313ebb578f388632b4f7"));
    assert_eq!(keys.application, array("bb23a4575aa26c721af525af15a87b4f"));
    let second_channel = signing_key(&unhex("4e01a2b313bcf660cc250bef021aede6"), Binding::Constant);
    assert_eq!(second_channel, array("ba1a17dbbfec349bca105563d598952f"));
}

#[test]
fn keys_of_dialect_3_1_1_are_the_published_ones() {
    let (session_key, hash) = (unhex("270e1ba896585eeb7af3472d3b4c75a7"), login_hash());
    let keys = SessionKeys::derive(&session_key, Binding::Preauth(&hash), Cipher::Aes128Gcm);
    assert_eq!(keys.signing, array("73fe7a9a77bef0bde49c650d8ccb5f76"));
    assert_eq!(keys.encryption, unhex("e2af0dcefac68da71a0dfbd0d1350d74"));
    assert_eq!(keys.decryption, unhex("629bcbc54422a0f572b97f45989b6073"));
    assert_eq!(keys.application, array("6d7ad7954e9ec61e907b4d473dc178ff"));
}

/// The expected keys come from an independent computation after SP800-108.
#[test]
fn long_ciphers_take_the_whole_session_key() {
    let session_key: Vec<u8> = (0..32).collect();
    let mut hash = PreauthHash::default();
    hash.extend(&[b"hello"]);
    let keys = SessionKeys::derive(&session_key, Binding::Preauth(&hash), Cipher::Aes256Gcm);
    assert_eq!(keys.encryption, unhex("0e6bda9b0ec245fef59c4db6eed098193eccba5f6e36794a8cdbb5ae116b7fe8"));
    assert_eq!(keys.decryption, unhex("55659be18bafc0066336960683d633726cf2c4029ebca411845092a09748f69b"));
    assert_eq!(keys.signing, array("32d62fc25d5039178ebd1b21642b6db2"), "the first 16 bytes");
    assert_eq!(keys.application, array("2585024762811617e3550687bef84cbf"), "the first 16 bytes");
    assert_eq!(signing_key(&session_key[..16], Binding::Preauth(&hash)), keys.signing);
}

#[test]
fn a_short_session_key_is_filled_with_zeros() {
    let filled = [&[7; 8][..], &[0; 8]].concat();
    assert_eq!(signing_key(&[7; 8], Binding::Constant), signing_key(&filled, Binding::Constant));
}
