//! A short run of every fuzz target: blocks of real volumes with random damage. `cargo xtask fuzz` goes deeper.
//!
//! A failure prints its seed: `SEED=17 cargo nextest run -p ferry-tests --test fuzz_smoke`. `CASES=1000` runs more.

use ferry_tests::pair::Pair;
use ferry_tests::random::{Limits, Random};
use ferry_tests::seeds::for_each_seed;
use fsstore::fuzz::TARGETS;
use rand::RngExt;
use std::sync::LazyLock;

const BYTES: u64 = 8 << 20;
/// Inputs of each target in one case.
const INPUTS: usize = 400;

/// Everything that stands on the disk of a volume with files, directories of several pages and snapshots.
static BLOCKS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut pair = Pair::new(Random::new(1, Limits::SMALL), BYTES).expect("a volume");
    pair.may_fill = true;
    for step in 0..3000 {
        pair.mutate().expect("an operation");
        if step % 100 == 0 {
            pair.volume.flush_log().expect("a flush");
            pair.volume.consistency_point().expect("a consistency point");
        }
        if step % 900 == 500 {
            pair.snapshot().expect("a snapshot");
        }
    }
    pair.volume.flush_log().expect("a flush");
    let image = pair.disk.image();
    let blocks = image.used_blocks();
    let read = |block: u64| {
        let mut content = vec![0; fsstore::BLOCK_SIZE];
        image.read(&mut content, block * fsstore::BLOCK_SIZE_U64);
        content
    };
    blocks.into_iter().map(read).collect()
});

/// One to three blocks that stand beside one another, with a few bytes changed, cut off or moved.
fn input(random: &mut Random) -> Vec<u8> {
    let first = random.rng.random_range(0..BLOCKS.len());
    let count = random.rng.random_range(1..=3);
    let mut bytes: Vec<u8> = BLOCKS[first..].iter().take(count).flatten().copied().collect();
    if random.chance(30) {
        // Records begin behind a batch's head.
        bytes.drain(..48);
    }
    for _ in 0..random.rng.random_range(0..6) {
        // Most of what decides is at the start.
        let end = *random.pick(&[16, 64, 256, bytes.len()]);
        let at = random.rng.random_range(0..end.min(bytes.len()));
        match random.rng.random_range(0..4) {
            0 => bytes[at] ^= 1 << random.rng.random_range(0..8),
            1 => bytes[at] = *random.pick(&[0, 1, 2, 0x7f, 0x80, 0xff]),
            2 => {
                let end = (at + 8).min(bytes.len());
                bytes[at..end].fill(*random.pick(&[0, 0xff]));
            }
            _ => {
                let from = random.rng.random_range(0..bytes.len());
                let len = random.rng.random_range(0..64).min(bytes.len() - from.max(at));
                bytes.copy_within(from..from + len, at);
            }
        }
    }
    if random.chance(10) {
        bytes.truncate(random.rng.random_range(0..bytes.len()));
    }
    bytes
}

#[test]
fn decoders_stand_damaged_blocks() {
    for_each_seed(40, |seed| {
        let mut random = Random::new(seed, Limits::SMALL);
        for (_, target) in TARGETS {
            for _ in 0..INPUTS {
                target(&input(&mut random));
            }
        }
        Ok(())
    });
}
