//! What is not signed, not sealed, sent twice or spoilt does nothing (MS-SMB2 §3.3.5.2).

use super::Site;
use super::client::{ECHO, mkdir};
use crate::smb2::wire::header::{Command, FLAG_SIGNED, HEADER_LEN};
use crate::smb2::wire::status::NtStatus;
use crate::smb2::wire::tests::hostile::spoilt;
use crate::smb2::wire::tests::samples::{Random, requests};
use crate::vserver::Encryption;

#[tokio::test]
async fn requests_have_to_be_signed() {
    let site = Site::new().await;
    let mut peer = site.login().await;
    let good = peer.signed(Command::Create, &mkdir("signed"));
    let (header, mut response) = peer.ask(&good).await.unwrap();
    assert_eq!(header.status, NtStatus::SUCCESS);
    response[48..64].fill(0);
    peer.signing.as_ref().unwrap().verify(&[&response], &header.signature).unwrap();
    let plain = peer.message(Command::Create, &mkdir("plain"));
    assert_eq!(peer.status(&plain).await, Some(NtStatus::ACCESS_DENIED));
    for at in [4, 48, 63, 64, 90, 130] {
        let mut spoilt = peer.signed(Command::Create, &mkdir("spoilt"));
        spoilt[at] ^= 1;
        let status = peer.status(&spoilt).await;
        assert!(matches!(status, Some(NtStatus::ACCESS_DENIED) | None), "byte {at}: {status:?}");
        if status.is_none() {
            peer = site.login().await;
        }
    }
    let mut claimed = peer.message(Command::Create, &mkdir("claimed"));
    claimed[16..20].copy_from_slice(&FLAG_SIGNED.to_le_bytes());
    assert_eq!(peer.status(&claimed).await, Some(NtStatus::ACCESS_DENIED));
    assert!(site.has("/signed"));
    for name in ["/plain", "/spoilt", "/claimed"] {
        assert!(!site.has(name), "{name}");
    }
}

#[tokio::test]
async fn a_refusal_without_a_key_has_the_signature_of_its_request() {
    let site = Site::new().await;
    let mut peer = site.connect().await;
    peer.negotiate().await;
    peer.session_id = 4711;
    let mut stray = peer.message(Command::Create, &mkdir("stray"));
    stray[16..20].copy_from_slice(&FLAG_SIGNED.to_le_bytes());
    stray[48..64].fill(0xAB);
    let (header, _) = peer.ask(&stray).await.unwrap();
    assert_eq!(header.status, NtStatus::USER_SESSION_DELETED);
    assert!(header.is_signed(), "else clients that sign do not look at it");
    assert_eq!(header.signature, [0xAB; 16]);
    let plain = peer.message(Command::Create, &mkdir("stray"));
    let (header, _) = peer.ask(&plain).await.unwrap();
    assert!(!header.is_signed());
}

#[tokio::test]
async fn a_request_that_comes_twice_ends_the_connection() {
    let site = Site::new().await;
    let mut peer = site.login().await;
    let once = peer.signed(Command::Echo, &ECHO);
    assert_eq!(peer.status(&once).await, Some(NtStatus::SUCCESS));
    assert_eq!(peer.status(&once).await, None);
    let mut peer = site.login().await;
    let once = peer.sealed(Command::Echo, &ECHO);
    assert_eq!(peer.status(&once).await, Some(NtStatus::SUCCESS));
    assert_eq!(peer.status(&once).await, None);
    let mut peer = site.login().await;
    peer.message_id += 100_000;
    let early = peer.signed(Command::Echo, &ECHO);
    assert_eq!(peer.status(&early).await, None, "an id that was not granted");
}

#[tokio::test]
async fn what_is_sealed_and_spoilt_ends_the_connection() {
    let site = Site::new().await;
    for at in [0, 4, 20, 36, 44, 52, 116, 140] {
        let mut peer = site.login().await;
        let mut spoilt = peer.sealed(Command::Create, &mkdir("spoilt"));
        spoilt[at] ^= 1;
        assert_eq!(peer.status(&spoilt).await, None, "byte {at}");
    }
    assert!(!site.has("/spoilt"));
}

#[tokio::test]
async fn where_encryption_is_required_nothing_goes_without() {
    let site = Site::new().await;
    site.set(Encryption::Required);
    let mut peer = site.login().await;
    let signed = peer.signed(Command::Create, &mkdir("signed"));
    assert_eq!(peer.status(&signed).await, Some(NtStatus::ACCESS_DENIED));
    let sealed = peer.sealed(Command::Create, &mkdir("sealed"));
    assert_eq!(peer.status(&sealed).await, Some(NtStatus::SUCCESS));
    assert!(site.has("/sealed") && !site.has("/signed"));
}

#[tokio::test]
async fn who_was_told_something_else_at_the_beginning_has_other_keys() {
    let site = Site::new().await;
    let mut peer = site.connect().await;
    peer.negotiate().await;
    peer.preauth.extend(&[b"as if somebody had changed an offer on its way"]);
    let login = tokio::spawn(async move { peer.log_in().await });
    // The client finds the last response signed with another key.
    assert!(login.await.unwrap_err().is_panic());
}

#[tokio::test]
async fn who_has_logged_off_is_out() {
    let site = Site::new().await;
    let mut peer = site.login().await;
    let off = peer.signed(Command::Logoff, &ECHO);
    assert_eq!(peer.status(&off).await, Some(NtStatus::SUCCESS));
    let late = peer.signed(Command::Create, &mkdir("late"));
    let (header, mut response) = peer.ask(&late).await.unwrap();
    assert_eq!(header.status, NtStatus::USER_SESSION_DELETED);
    response[48..64].fill(0);
    peer.signing.as_ref().unwrap().verify(&[&response], &header.signature).unwrap();
    assert!(!site.has("/late"));
}

#[tokio::test]
async fn a_frozen_volume_does_not_change_when_a_client_goes() {
    let site = Site::new().await;
    let mut body = mkdir("kept");
    // FILE_DIRECTORY_FILE and FILE_DELETE_ON_CLOSE; DELETE is among the rights then.
    body[40..44].copy_from_slice(&0x1001_u32.to_le_bytes());
    body[24..28].copy_from_slice(&0x0011_0081_u32.to_le_bytes());
    for frozen in [true, false] {
        let mut peer = site.login().await;
        body[36..40].copy_from_slice(&3_u32.to_le_bytes());
        let made = peer.signed(Command::Create, &body);
        assert_eq!(peer.status(&made).await, Some(NtStatus::SUCCESS));
        if frozen {
            site.vserver.gate.freeze().await;
        }
        drop(peer);
        let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
        // Where the volume is not frozen the directory goes, right after what it had open is closed.
        while site.vserver.locks.counts().shares > 0 || !frozen && site.has("/kept") {
            assert!(std::time::Instant::now() < end, "what it had open is closed, frozen: {frozen}");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        assert_eq!(site.has("/kept"), frozen);
        site.vserver.gate.thaw();
    }
}

#[tokio::test]
async fn dialects_are_agreed_on_once() {
    let site = Site::new().await;
    let mut peer = site.login().await;
    let again = peer.message(Command::Negotiate, &[36, 0, 1, 0]);
    assert_eq!(peer.status(&again).await, None);
    let mut stranger = site.connect().await;
    let early = stranger.message(Command::Echo, &ECHO);
    assert_eq!(stranger.status(&early).await, None, "nothing goes before NEGOTIATE");
}

#[tokio::test]
async fn spoilt_requests_of_who_has_logged_in_hurt_nobody() {
    let site = Site::new().await;
    let mut random = Random::seeded();
    let samples = requests();
    let mut answered = 0;
    for _ in 0..100 {
        let mut peer = site.login().await;
        let made = peer.sealed(Command::Create, &mkdir(&format!("d{}", random.next())));
        assert_eq!(peer.status(&made).await, Some(NtStatus::SUCCESS), "{random}");
        for _ in 0..30 {
            let (_, sample, _) = &samples[random.below(samples.len())];
            let command = Command::of(u16::from_le_bytes([sample[12], sample[13]])).unwrap();
            if matches!(command, Command::Cancel | Command::Negotiate | Command::Logoff) {
                continue;
            }
            let spoilt = spoilt(sample, &mut random);
            let mut body = spoilt.get(HEADER_LEN..).unwrap_or_default().to_vec();
            // Most requests name an open: there is one.
            let place = [8, 16, 24][random.below(3)];
            if let Some(id) = body.get_mut(place..place + 16) {
                id.copy_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
            }
            let frame = peer.sealed(command, &body);
            match peer.ask(&frame).await {
                Some(_) => answered += 1,
                None => break,
            }
        }
    }
    assert!(answered > 500, "{random}: {answered}");
    let mut peer = site.login().await;
    let echo = peer.signed(Command::Echo, &ECHO);
    assert_eq!(peer.status(&echo).await, Some(NtStatus::SUCCESS), "{random}");
}
