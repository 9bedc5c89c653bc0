//! Whole logins, right and wrong.

use super::super::acceptor::Step;
use super::super::keys::{Direction, first_signature, utf16};
use super::super::messages::flags;
use super::super::spnego::{KERBEROS, NTLMSSP, NegTokenResp};
use super::super::{Acceptor, AuthError, NtHash, nt_hash};
use super::client::{self, Client, SESSION_KEY, init, mech_types, respond};
use super::{acceptor, users};

/// NTLM alone.
fn bare(client: &Client) -> Result<Step, AuthError> {
    let mut acceptor = acceptor();
    let challenge = challenge(&mut acceptor, &client.negotiate());
    acceptor.step(&client.authenticate(&challenge), &users)
}

fn challenge(acceptor: &mut Acceptor, token: &[u8]) -> Vec<u8> {
    let Ok(Step::Continue(challenge)) = acceptor.step(token, &users) else { panic!("no challenge") };
    challenge
}

/// NTLM in SPNEGO after the client's NegTokenInit; gives the last step and what the client's MIC is over.
fn wrapped(
    client: &Client,
    mechanisms: &[&[u8]],
    mic: impl Fn(&[u8]) -> Option<Vec<u8>>,
) -> (Result<Step, AuthError>, Vec<u8>) {
    let mut acceptor = acceptor();
    let optimistic = mechanisms[0] == NTLMSSP;
    let first = if optimistic { client.negotiate() } else { b"a ticket".to_vec() };
    let mut reply = challenge(&mut acceptor, &init(mechanisms, Some(&first)));
    if !optimistic {
        assert_eq!(NegTokenResp::parse(&reply).unwrap().response_token, None);
        assert_eq!(reply[4..9], [0xa0, 3, 0x0a, 1, 3], "request-mic");
        reply = challenge(&mut acceptor, &respond(&client.negotiate(), None));
    }
    let challenge = NegTokenResp::parse(&reply).unwrap().response_token.unwrap().to_vec();
    let types = mech_types(mechanisms);
    let mic = mic(&types);
    (acceptor.step(&respond(&client.authenticate(&challenge), mic.as_deref()), &users), types)
}

#[test]
fn the_password_lets_in() {
    for (says_mic, makes_mic) in [(true, true), (false, false)] {
        let step = bare(&Client { says_mic, makes_mic, ..Client::default() });
        let Ok(Step::Done { user, domain, session_key, token }) = step else { panic!("{step:?}") };
        assert_eq!((user.as_str(), domain.as_str()), ("user", "WORKGROUP"));
        assert_eq!((session_key, token.len()), (SESSION_KEY, 0));
    }
    let no_exchange = Client { flags: client::FLAGS & !flags::KEY_EXCH, ..Client::default() };
    assert!(matches!(bare(&no_exchange), Ok(Step::Done { session_key, .. }) if session_key != SESSION_KEY));
}

#[test]
fn nothing_else_lets_in() {
    let wrong_password = Client { hash: nt_hash("password"), ..Client::default() };
    assert_eq!(bare(&wrong_password).unwrap_err(), AuthError::LogonFailure);
    let without_mic =
        Client { hash: nt_hash("password"), says_mic: false, makes_mic: false, ..Client::default() };
    assert_eq!(bare(&without_mic).unwrap_err(), AuthError::LogonFailure, "the proof counts for itself");
    let unknown_user = Client { user: "nobody", ..Client::default() };
    assert_eq!(bare(&unknown_user).unwrap_err(), AuthError::LogonFailure);
    let guesses_the_stand_in = Client { user: "nobody", hash: NtHash::new([0; 16]), ..Client::default() };
    assert_eq!(bare(&guesses_the_stand_in).unwrap_err(), AuthError::LogonFailure);
    let stripped_mic = Client { makes_mic: false, ..Client::default() };
    assert_eq!(bare(&stripped_mic).unwrap_err(), AuthError::LogonFailure);
}

#[test]
fn weak_options_are_refused() {
    for missing in [flags::EXTENDED_SESSIONSECURITY, flags::UNICODE] {
        let client = Client { flags: client::FLAGS & !missing, ..Client::default() };
        assert_eq!(acceptor().step(&client.negotiate(), &users).unwrap_err(), AuthError::Unsupported);
        let mut acceptor = acceptor();
        let challenge = challenge(&mut acceptor, &Client::default().negotiate());
        let late = acceptor.step(&client.authenticate(&challenge), &users);
        assert_eq!(late.unwrap_err(), AuthError::Unsupported);
    }
}

#[test]
fn lm_and_ntlmv1_responses_are_refused() {
    let (user, session_key) = (utf16("user"), [0; 16]);
    for nt_response in [&[0x33; 24][..], &[]] {
        let mut acceptor = acceptor();
        challenge(&mut acceptor, &Client::default().negotiate());
        let payloads = [&[0x22; 24], nt_response, &[], &user, &[], &session_key];
        let step = acceptor.step(&client::message(&payloads, client::FLAGS), &users);
        assert_eq!(step.unwrap_err(), AuthError::LogonFailure);
    }
}

#[test]
fn anonymous_is_told_apart() {
    for lm_response in [&[][..], &[0]] {
        let mut acceptor = acceptor();
        challenge(&mut acceptor, &Client::default().negotiate());
        let payloads = [lm_response, &[], &[], &[], &[], &[9; 16]];
        let step =
            acceptor.step(&client::message(&payloads, client::FLAGS), &|_, _| panic!("nobody to look up"));
        assert!(matches!(step, Ok(Step::Anonymous { .. })), "{step:?}");
    }
    for (lm_response, user) in [(&[1][..], &[][..]), (&[], &utf16("user"))] {
        let mut acceptor = acceptor();
        challenge(&mut acceptor, &Client::default().negotiate());
        let payloads = [lm_response, &[], &[], user, &[], &[9; 16]];
        let step = acceptor.step(&client::message(&payloads, client::FLAGS), &users);
        assert_eq!(step.unwrap_err(), AuthError::LogonFailure);
    }
}

#[test]
fn a_clients_mech_list_mic_is_checked_and_answered() {
    let client = Client::default();
    let (step, types) =
        wrapped(&client, &[NTLMSSP, KERBEROS], |types| Some(client.mech_list_mic(types).into()));
    let Ok(Step::Done { token, session_key, .. }) = step else { panic!("{step:?}") };
    assert_eq!(session_key, SESSION_KEY);
    let ours = first_signature(&SESSION_KEY, client.flags, Direction::ServerToClient, &types);
    let last = NegTokenResp::parse(&token).unwrap();
    assert_eq!((last.mech_list_mic, last.response_token), (Some(&ours[..]), None));
    assert_eq!(token[4..9], [0xa0, 3, 0x0a, 1, 0], "accept-completed");

    let (step, _) =
        wrapped(&client, &[NTLMSSP, KERBEROS], |_| Some(client.mech_list_mic(b"another list").into()));
    assert_eq!(step.unwrap_err(), AuthError::LogonFailure);
    let (step, _) = wrapped(&client, &[NTLMSSP], |types| Some(client.mech_list_mic(types)[..15].into()));
    assert_eq!(step.unwrap_err(), AuthError::LogonFailure);
}

#[test]
fn a_client_that_got_its_first_choice_needs_no_mic() {
    let (step, _) = wrapped(&Client::default(), &[NTLMSSP], |_| None);
    let Ok(Step::Done { token, .. }) = step else { panic!("{step:?}") };
    assert_eq!(token, super::unhex("a1073005a0030a0100"), "accept-completed and no more");
}

#[test]
fn a_client_that_wanted_another_mechanism_must_send_a_mic() {
    let client = Client::default();
    let (step, _) = wrapped(&client, &[KERBEROS, NTLMSSP], |types| Some(client.mech_list_mic(types).into()));
    assert!(matches!(step, Ok(Step::Done { .. })), "{step:?}");
    let (step, _) = wrapped(&client, &[KERBEROS, NTLMSSP], |_| None);
    assert_eq!(step.unwrap_err(), AuthError::LogonFailure);
    let only_kerberos = init(&[KERBEROS], Some(b"a ticket"));
    assert_eq!(acceptor().step(&only_kerberos, &users).unwrap_err(), AuthError::Unsupported);
}

#[test]
fn a_first_choice_may_come_without_its_token() {
    let (client, mut acceptor) = (Client::default(), acceptor());
    let reply = challenge(&mut acceptor, &init(&[NTLMSSP], None));
    assert_eq!(NegTokenResp::parse(&reply).unwrap().response_token, None);
    assert_eq!(reply[4..9], [0xa0, 3, 0x0a, 1, 1], "accept-incomplete");
    let reply = challenge(&mut acceptor, &respond(&client.negotiate(), None));
    let challenge = NegTokenResp::parse(&reply).unwrap().response_token.unwrap().to_vec();
    let step = acceptor.step(&respond(&client.authenticate(&challenge), None), &users);
    assert!(matches!(step, Ok(Step::Done { .. })), "{step:?}");
}

#[test]
fn after_a_refusal_nothing_more_is_heard() {
    let client = Client::default();
    let mut acceptor = acceptor();
    assert_eq!(acceptor.step(b"", &users).unwrap_err(), AuthError::Malformed);
    assert_eq!(acceptor.step(&client.negotiate(), &users).unwrap_err(), AuthError::Malformed);
}

#[test]
fn what_is_shown_has_no_secrets() {
    let step = bare(&Client::default()).unwrap();
    assert_eq!(format!("{step:?}"), "Done(WORKGROUP\\user)");
}
