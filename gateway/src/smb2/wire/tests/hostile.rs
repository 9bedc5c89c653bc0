//! What nobody should send: every decoder with every prefix of a good message and with random changes to it. A decoder may say
//! yes or no; it may not panic.

use super::super::frame::{FrameKind, Messages, Smb1Negotiate, TransformHeader};
use super::super::header::Header;
use super::super::names::mapping::{to_client, to_volume};
use super::super::names::{Path, utf16};
use super::samples::{Decoder, Random, contents, requests};
use bytes::Bytes;

/// Decoders of all else; each is tried with the same bytes as the requests.
const OTHERS: &[Decoder] = &[
    |bytes| Header::decode(bytes).is_ok(),
    |bytes| FrameKind::of(bytes).is_ok(),
    |bytes| TransformHeader::decode(bytes).is_ok(),
    |bytes| Smb1Negotiate::decode(bytes).is_ok(),
    |bytes| Messages::new(bytes.clone()).all(|message| message.is_ok()),
    |bytes| utf16(bytes).is_ok_and(|name| Path::parse(&name).is_ok() && !to_volume(&name).is_empty()),
    |bytes| to_client(bytes).is_empty(),
];

/// All decoders that have a good sample.
fn samples() -> Vec<(&'static str, Bytes, Decoder)> {
    requests().into_iter().chain(contents()).collect()
}

#[test]
fn the_samples_are_good() {
    for (name, sample, decode) in samples() {
        assert!(decode(&sample), "{name}");
    }
}

#[test]
fn no_prefix_panics() {
    for (_, sample, decode) in samples() {
        for len in 0..sample.len() {
            let prefix = sample.slice(..len);
            decode(&prefix);
            OTHERS.iter().for_each(|other| _ = other(&prefix));
        }
    }
}

#[test]
fn nobody_takes_a_header_for_a_message() {
    for (name, sample, decode) in requests() {
        assert!((0..66).all(|len| !decode(&sample.slice(..len))), "{name}");
    }
}

/// Changes some bytes, most of them to numbers that lengths and offsets trip over, and sometimes the length.
pub(in crate::smb2) fn spoilt(sample: &[u8], random: &mut Random) -> Bytes {
    const SPITEFUL: &[u8] = &[0, 1, 2, 7, 8, 0x3f, 0x40, 0x41, 0x7f, 0x80, 0xfe, 0xff];
    let mut bytes = sample.to_vec();
    // The header is nothing to the decoders of bodies.
    let first = if bytes.len() > 64 && random.below(8) != 0 { 64 } else { 0 };
    for _ in 0..=random.below(6) {
        let at = first + random.below(bytes.len() - first);
        bytes[at] = match random.below(3) {
            0 => random.next().to_le_bytes()[7],
            _ => SPITEFUL[random.below(SPITEFUL.len())],
        };
    }
    match random.below(6) {
        0 => bytes.truncate(random.below(bytes.len() + 1)),
        1 => bytes.extend(std::iter::repeat_n(0x40, random.below(64))),
        _ => {}
    }
    bytes.into()
}

#[test]
fn no_change_panics() {
    let mut random = Random::seeded();
    let samples = samples();
    let (mut taken, mut refused) = (0, 0);
    for (_, sample, own) in &samples {
        for _ in 0..500 {
            let bytes = spoilt(sample, &mut random);
            *if own(&bytes) { &mut taken } else { &mut refused } += 1;
            samples.iter().for_each(|(_, _, decode)| _ = decode(&bytes));
            OTHERS.iter().for_each(|other| _ = other(&bytes));
        }
    }
    assert!(taken > 1000 && refused > 1000, "{random}: {taken} changes were taken, {refused} refused");
}
