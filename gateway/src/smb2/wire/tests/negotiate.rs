//! NEGOTIATE.

use super::super::negotiate::{CAP_LARGE_MTU, CAP_LEASING, Dialect, NegotiateRequest, NegotiateResponse};
use super::super::negotiate_contexts::{CIPHER_AES_128_GCM, NegotiateReplyContexts, SIGN_AES_GMAC};
use super::{body, hex, message};
use bytes::Bytes;

/// Five dialects; pre-auth integrity, three ciphers, two signing algorithms and a netname.
pub(super) fn request() -> Bytes {
    message(
        0,
        &[
            &hex("2400 0500 0100 0000 7f000000 000102030405060708090a0b0c0d0e0f 70000000 0400 0000"),
            &hex("0202 1002 0003 0203 1103 0000"),
            // At 0x70.
            &hex("0100 0a00 00000000 0100 0400 0100 deadbeef 000000000000"),
            &hex("0200 0800 00000000 0300 0200 0100 0400"),
            &hex("0800 0600 00000000 0200 0200 0100 0000"),
            &hex("0500 0600 00000000 610062006300"),
        ],
    )
}

#[test]
fn a_request_offers_dialects_and_contexts() {
    let request = NegotiateRequest::decode(&request()).unwrap();
    assert_eq!(request.security_mode, 1);
    assert_eq!(request.capabilities, 0x7f);
    assert_eq!(request.client_guid[15], 15);
    assert_eq!(request.dialects, [0x0202, 0x0210, 0x0300, 0x0302, 0x0311]);
    assert_eq!(request.best_dialect(), Some(Dialect::Smb311));
    let contexts = request.contexts.unwrap();
    assert_eq!(contexts.preauth_hashes, Some(vec![1]));
    assert_eq!(contexts.ciphers, Some(vec![2, 1, 4]));
    assert_eq!(contexts.signing, Some(vec![2, 1]));
}

#[test]
fn before_3_1_1_the_place_of_the_contexts_means_nothing() {
    let old = message(
        0,
        &[&hex("2400 0200 0300 0000 00000000 000102030405060708090a0b0c0d0e0f ffffffffffffffff 0202 1002")],
    );
    let request = NegotiateRequest::decode(&old).unwrap();
    assert_eq!(request.contexts, None);
    assert_eq!(request.best_dialect(), Some(Dialect::Smb210));
}

#[test]
fn bad_lists_are_refused() {
    let good = request().to_vec();
    let with = |at: usize, bytes: &[u8]| {
        let mut bad = good.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        NegotiateRequest::decode(&bad.into())
    };
    assert!(with(0, &[]).is_ok());
    assert!(with(66, &[0, 0]).is_err(), "no dialects");
    assert!(with(66, &[0xff, 0xff]).is_err(), "more dialects than there are");
    assert!(with(92, &[0xff]).is_err(), "contexts begin outside");
    assert!(with(92, &[0x30]).is_err(), "contexts begin in the header");
    assert!(with(96, &[5]).is_err(), "more contexts than there are");
    assert!(with(96, &[0xff, 0xff]).is_err());
    assert!(with(0x98, &[2]).is_err(), "two contexts of one kind");
    assert!(with(0x90, &[0]).is_err(), "no ciphers in the context");
    assert!(with(0x90, &[4]).is_err(), "more ciphers than there are");
}

#[test]
fn a_reply_without_contexts_ends_with_its_blob() {
    let response = NegotiateResponse {
        security_mode: 3,
        dialect_revision: Dialect::Smb302 as u16,
        server_guid: [0x55; 16],
        capabilities: CAP_LEASING | CAP_LARGE_MTU,
        max_transact_size: 0x0080_0000,
        max_read_size: 0x0080_0000,
        max_write_size: 0x0010_0000,
        system_time: 0x0102_0304_0506_0708,
        server_start_time: 0,
        security_buffer: Bytes::from_static(b"abc"),
        contexts: None,
    };
    let expected = "4100 0300 0203 0000 55555555555555555555555555555555 06000000 00008000 00008000 00001000
        0807060504030201 0000000000000000 8000 0300 00000000 616263";
    assert_eq!(body(|out| response.encode(out)), hex(expected));
}

#[test]
fn contexts_follow_the_blob_at_multiples_of_eight() {
    let response = NegotiateResponse {
        security_mode: 1,
        dialect_revision: Dialect::Smb311 as u16,
        server_guid: [0; 16],
        capabilities: 0,
        max_transact_size: 0,
        max_read_size: 0,
        max_write_size: 0,
        system_time: 0,
        server_start_time: 0,
        security_buffer: Bytes::from_static(b"abc"),
        contexts: Some(NegotiateReplyContexts {
            preauth_salt: [0x77; 32],
            cipher: Some(CIPHER_AES_128_GCM),
            signing: Some(SIGN_AES_GMAC),
        }),
    };
    let bytes = body(|out| response.encode(out));
    let salt = "77".repeat(32);
    let contexts = format!(
        "0100 2600 00000000 0100 2000 0100 {salt} 0000
         0200 0400 00000000 0100 0200 00000000
         0800 0400 00000000 0100 0200"
    );
    assert_eq!(bytes[..8], hex("4100 0100 1103 0300"));
    // The blob begins at 128, three bytes and five of padding.
    assert_eq!(bytes[56..72], hex("8000 0300 88000000 616263 0000000000"));
    assert_eq!(bytes[72..], hex(&contexts));
}
