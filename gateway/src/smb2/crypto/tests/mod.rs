//! Published vectors, and what must not verify.

mod keys;
mod sealing;
mod signing;
mod vectors;

pub(super) fn unhex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits
        .bytes()
        .filter_map(|digit| char::from(digit).to_digit(16))
        .map(|digit| u8::try_from(digit).unwrap())
        .collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

pub(super) fn array<const N: usize>(digits: &str) -> [u8; N] {
    unhex(digits).try_into().unwrap()
}
