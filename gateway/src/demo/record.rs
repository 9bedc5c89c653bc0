//! The records that the demo's client writes: each says which file, block and round it is of, and the rest of it
//! follows from that, so that a reader can tell what it has found, to the last byte.

use bytes::{Bytes, BytesMut};

/// Bytes of a record.
pub const RECORD_LEN: usize = 4096;
const MAGIC: u64 = u64::from_be_bytes(*b"FERRYREC");

/// Which write of which place a record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    /// Number of the file.
    pub file: u64,
    /// Number of the record in the file.
    pub block: u64,
    /// Which write of this place, from 1.
    pub round: u64,
}

impl Record {
    /// Appends the record's bytes.
    pub fn encode(self, out: &mut BytesMut) {
        out.reserve(RECORD_LEN);
        let mut state = self.seed();
        for word in [MAGIC, self.file, self.block, self.round] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        for _ in 4..RECORD_LEN / 8 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            out.extend_from_slice(&state.to_be_bytes());
        }
    }

    fn seed(self) -> u64 {
        let mixed = self.file.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ self.block.rotate_left(24) ^ self.round;
        mixed.wrapping_mul(0xd6e8_feb8_6659_fd93) | 1
    }

    /// The record that `bytes` hold; `None` if they are not, to the last byte, one that was written.
    pub fn decode(bytes: &[u8]) -> Option<Record> {
        let word = |at: usize| {
            let bytes = bytes.get(at * 8..)?.first_chunk::<8>()?;
            Some(u64::from_be_bytes(*bytes))
        };
        let record = Record { file: word(1)?, block: word(2)?, round: word(3)? };
        let mut want = BytesMut::new();
        record.encode(&mut want);
        (word(0)? == MAGIC && want == bytes).then_some(record)
    }
}

/// The bytes of `count` neighbouring records of one round.
pub fn run(file: u64, first: u64, count: u64, round: u64) -> Bytes {
    let mut out = BytesMut::new();
    (first..first + count).for_each(|block| Record { file, block, round }.encode(&mut out));
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_known_again_and_a_changed_one_is_not() {
        let record = Record { file: 3, block: 77, round: 5 };
        let mut bytes = BytesMut::new();
        record.encode(&mut bytes);
        assert_eq!(bytes.len(), RECORD_LEN);
        assert_eq!(Record::decode(&bytes), Some(record));
        for at in [0, 9, 31, 32, RECORD_LEN - 1] {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(Record::decode(&changed), None, "byte {at}");
        }
        assert_eq!(Record::decode(&bytes[..100]), None);
    }
}
