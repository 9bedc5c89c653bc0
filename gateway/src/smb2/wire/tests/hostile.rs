//! What nobody should send: every decoder with every prefix of a good message and with random changes to it. A decoder may say
//! yes or no; it may not panic.

use super::super::frame::{FrameKind, Messages, Smb1Negotiate, TransformHeader};
use super::super::header::Header;
use super::samples::{Decoder, Random, requests};
use bytes::Bytes;

/// Decoders of all else; each is tried with the same bytes as the requests.
const OTHERS: &[Decoder] = &[
    |bytes| Header::decode(bytes).is_ok(),
    |bytes| FrameKind::of(bytes).is_ok(),
    |bytes| TransformHeader::decode(bytes).is_ok(),
    |bytes| Smb1Negotiate::decode(bytes).is_ok(),
    |bytes| Messages::new(bytes.clone()).all(|message| message.is_ok()),
];

#[test]
fn the_samples_are_good() {
    for (name, sample, decode) in requests() {
        assert!(decode(&sample), "{name}");
    }
}

#[test]
fn no_prefix_panics() {
    for (name, sample, decode) in requests() {
        for len in 0..sample.len() {
            let prefix = sample.slice(..len);
            let taken = decode(&prefix);
            assert!(len >= 64 || !taken, "{name} taken without a body");
            OTHERS.iter().for_each(|other| drop(other(&prefix)));
        }
    }
}

/// Changes some bytes, most of them to numbers that lengths and offsets trip over, and sometimes the length.
fn spoilt(sample: &[u8], random: &mut Random) -> Bytes {
    const SPITEFUL: &[u8] = &[0, 1, 2, 7, 8, 0x3f, 0x40, 0x41, 0x7f, 0x80, 0xfe, 0xff];
    let mut bytes = sample.to_vec();
    // The header is nothing to the decoders of bodies.
    let first = if random.below(8) == 0 { 0 } else { 64.min(bytes.len() - 1) };
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
    println!("{random}");
    let requests = requests();
    for (_, sample, own) in &requests {
        let mut taken = 0;
        for _ in 0..3000 {
            let bytes = spoilt(sample, &mut random);
            taken += usize::from(own(&bytes));
            requests.iter().for_each(|(_, _, decode)| drop(decode(&bytes)));
            OTHERS.iter().for_each(|other| drop(other(&bytes)));
        }
        assert!(taken < 3000, "{random}: no change was noticed");
    }
}
