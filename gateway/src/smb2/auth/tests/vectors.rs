//! MS-NLMP §4.2.4, and a login of Windows that Microsoft published byte by byte ("SMB 2 and SMB 3 security in Windows
//! 10: the anatomy of signing and cryptographic keys").

use super::super::acceptor::Step;
use super::super::keys::{Direction, first_signature, hmac_md5, ntowf_v2, rc4};
use super::super::messages::{encode_challenge, flags};
use super::super::spnego::{NTLMSSP, NegState, NegTokenInit, NegTokenResp};
use super::super::{AuthError, nt_hash, spnego};
use super::{acceptor, array, names, unhex, users};

/// NEGOTIATE_MESSAGE with the flags of §4.2.4's challenge.
fn specified_negotiate(flags: u32) -> Vec<u8> {
    [&b"NTLMSSP\0"[..], &1u32.to_le_bytes(), &flags.to_le_bytes(), &[0; 16]].concat()
}

/// AUTHENTICATE_MESSAGE, §4.2.4.3.
fn specified_authenticate() -> Vec<u8> {
    unhex(
        "4e544c4d5353500003000000180018006c00000054005400840000000c000c0048000000080008005400000010001000
         5c00000010001000d8000000358288e20501280a0000000f44006f006d00610069006e00550073006500720043004f00
         4d005000550054004500520086c35097ac9cec102554764a57cccc19aaaaaaaaaaaaaaaa68cd0ab851e51c96aabc927b
         ebef6a1c01010000000000000000000000000000aaaaaaaaaaaaaaaa0000000002000c0044006f006d00610069006e00
         01000c005300650072007600650072000000000000000000c5dad2544fc9799094ce1ce90bc9d03e",
    )
}

#[test]
fn keys_are_those_of_the_specification() {
    let hash = nt_hash("Password");
    assert_eq!(hash.as_bytes(), &array("a4f49c406510bdcab6824ee7c30fd852"), "NTOWFv1, §4.2.2.1.2");
    let response_key = ntowf_v2(&hash, "User", "Domain");
    assert_eq!(response_key, array("0c868a403bfd7a93a3001ef22ef02e3f"), "NTOWFv2, §4.2.4.1.1");
    let proof: [u8; 16] = array("68cd0ab851e51c96aabc927bebef6a1c");
    let base_key = hmac_md5(&response_key, &[&proof]);
    assert_eq!(base_key, array("8de40ccadbc14a82f15cb0ad0de95ca3"), "SessionBaseKey, §4.2.4.1.2");
    assert_eq!(rc4(&base_key, [0x55; 16]), array("c5dad2544fc9799094ce1ce90bc9d03e"), "§4.2.4.2.3");
    assert_eq!(nt_hash("password").as_bytes(), &array("8846f7eaee8fb117ad06bdd830b7586c"));
    assert_eq!(format!("{hash:?}"), "NtHash(..)");
}

#[test]
fn capitals_are_made_one_for_one() {
    let hash = nt_hash("x");
    assert_eq!(ntowf_v2(&hash, "müller", "d"), ntowf_v2(&hash, "MÜLLER", "d"));
    assert_eq!(ntowf_v2(&hash, "straße", "d"), ntowf_v2(&hash, "STRAßE", "d"));
    assert_ne!(ntowf_v2(&hash, "user", "d"), ntowf_v2(&hash, "user", "D"), "the domain is as it was sent");
}

#[test]
fn the_specified_client_logs_in() {
    for (asked, expected) in [
        (0xe288_8233, "55555555555555555555555555555555"),
        (0xe288_8233 & !flags::KEY_EXCH, "8de40ccadbc14a82f15cb0ad0de95ca3"),
    ] {
        let mut acceptor = acceptor();
        let step = acceptor.step(&specified_negotiate(asked), &users).unwrap();
        assert!(matches!(step, Step::Continue(_)));
        let step = acceptor.step(&specified_authenticate(), &users).unwrap();
        let Step::Done { user, domain, session_key, token } = step else { panic!("{step:?}") };
        assert_eq!((user.as_str(), domain.as_str(), token.len()), ("User", "Domain", 0));
        assert_eq!(session_key, array(expected));
        assert_eq!(acceptor.step(&specified_authenticate(), &users).unwrap_err(), AuthError::Malformed);
    }
}

/// The NegTokenInit of Windows 10's first SESSION_SETUP.
pub(super) const WINDOWS_INIT: &str = "
    604806062b0601050502a03e303ca00e300c060a2b06010401823702020aa22a04284e544c4d5353500001000000978208e2
    00000000000000000000000000000000060380250000000f";
/// Its NegTokenResp with the AUTHENTICATE_MESSAGE and mechListMIC.
pub(super) const WINDOWS_RESPONSE: &str = "
    a18201cb308201c7a0030a0101a28201aa048201a64e544c4d53535000030000001800180090000000ee00ee00a80000
    000c000c00580000001a001a0064000000120012007e0000001000100096010000158288e2060380250000000fecac77
    a5f385a8bf9c38c706eeeddcd3530055005400330031003100610064006d0069006e006900730074007200610074006f
    00720044005200490056004500520033003100310000000000000000000000000000000000000000000000000063078e
    b639fe03e20a231c3ae3bf23080101000000000000a1a1f5adcbaed001bc4ad05f223cc90f0000000002000c00530055
    00540033003100310001000c0053005500540033003100310004000c0053005500540033003100310003000c00530055
    00540033003100310007000800a1a1f5adcbaed001060004000200000008003000300000000000000000000000003000
    00b61fefcaa857ea57bf1edcebf8974b8e0eba5a6dfd9d07a31d11b548f8c9d0cc0a0010000000000000000000000000
    00000000000900160063006900660073002f005300550054003300310031000000000000000000000000003b9bdff38f
    5ee8f9663f11a0f4c03a78a31204100100000063775a9a5fd97f0600000000";
/// Its exported session key.
const WINDOWS_SESSION_KEY: &str = "270e1ba896585eeb7af3472d3b4c75a7";
/// The flags of its AUTHENTICATE_MESSAGE.
const WINDOWS_FLAGS: u32 = 0xe288_8215;

#[test]
fn the_challenge_is_what_windows_server_sends() {
    let theirs = unhex(
        "4e544c4d53535000020000000c000c003800000015828ae20d1d8ba31179d008000000000000000050005000440000000a00
         92270000000f530055005400330031003100 02000c005300550054003300310031 0001000c00530055005400330031003100
         04000c0053005500540033003100310003000c0053005500540033003100310007000800a1a1f5adcbaed00100000000",
    );
    let mut ours =
        encode_challenge(0xe28a_8215, array("0d1d8ba31179d008"), &names("SUT311"), 0x01d0_aecb_adf5_a1a1);
    assert_eq!(ours[48..56], [6, 1, 0, 0, 0, 0, 0, 15], "the version is our own");
    ours[48..56].copy_from_slice(&theirs[48..56]);
    assert_eq!(ours, theirs);

    let mut acceptor = acceptor();
    let Ok(Step::Continue(token)) = acceptor.step(&unhex(WINDOWS_INIT), &users) else { panic!() };
    let response = NegTokenResp::parse(&token).unwrap();
    let challenge = response.response_token.unwrap();
    assert_eq!(challenge[20..24], 0xe28a_8215_u32.to_le_bytes(), "the flags, too, of our choice");
    assert_eq!(response.supported_mech, Some(NTLMSSP));
}

#[test]
fn tokens_are_wrapped_as_windows_wraps_them() {
    let challenge = NegTokenResp {
        state: Some(NegState::AcceptIncomplete),
        supported_mech: Some(NTLMSSP),
        response_token: Some(&[7; 0x94]),
        mech_list_mic: None,
    };
    let head = unhex("a181b03081ada0030a0101a10c060a2b06010401823702020aa28197048194");
    assert_eq!(challenge.encode(), [head, vec![7; 0x94]].concat());
    let mic: [u8; 16] = array("010000003b453cdc3524164200000000");
    let last = NegTokenResp {
        state: Some(NegState::AcceptCompleted),
        mech_list_mic: Some(&mic),
        ..NegTokenResp::default()
    };
    assert_eq!(last.encode(), unhex("a11b3019a0030a0100a3120410010000003b453cdc3524164200000000"));
    assert_eq!(spnego::reject(), unhex("a1073005a0030a0102"));
}

#[test]
fn mech_list_mics_are_those_of_windows() {
    let token = unhex(WINDOWS_INIT);
    let mech_types = NegTokenInit::parse(&token).unwrap().mech_types;
    assert_eq!(mech_types, unhex("300c060a2b06010401823702020a"));
    let token = unhex(WINDOWS_RESPONSE);
    let response = NegTokenResp::parse(&token).unwrap();
    let sign =
        |direction| first_signature(&array(WINDOWS_SESSION_KEY), WINDOWS_FLAGS, direction, &mech_types);
    assert_eq!(response.mech_list_mic, Some(&sign(Direction::ClientToServer)[..]));
    assert_eq!(sign(Direction::ServerToClient), array("010000003b453cdc3524164200000000"));
}

#[test]
fn a_windows_login_without_the_password_is_refused() {
    let mut acceptor = acceptor();
    acceptor.step(&unhex(WINDOWS_INIT), &users).unwrap();
    let asked = std::cell::Cell::new(false);
    let lookup = |user: &str, domain: &str| {
        asked.set(true);
        assert_eq!((user, domain), ("administrator", "SUT311"));
        Some(nt_hash("not it"))
    };
    assert_eq!(acceptor.step(&unhex(WINDOWS_RESPONSE), &lookup).unwrap_err(), AuthError::LogonFailure);
    assert!(asked.get());
}

#[test]
fn the_offer_names_the_mechanisms_in_order() {
    assert_eq!(
        spnego::offer(&[NTLMSSP]),
        unhex("601c06062b0601050502a0123010a00e300c060a2b06010401823702020a")
    );
    let both = spnego::offer(&[spnego::KERBEROS, spnego::MS_KERBEROS, NTLMSSP]);
    let init = NegTokenInit::parse(&both).unwrap();
    let position = |mechanism| init.position(mechanism).unwrap();
    assert_eq!(
        [position(spnego::KERBEROS), position(spnego::MS_KERBEROS), position(NTLMSSP)],
        [Some(0), Some(1), Some(2)]
    );
    assert_eq!(position(&[1, 2, 3]), None);
}
