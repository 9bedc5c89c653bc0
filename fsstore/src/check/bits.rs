//! Sets of blocks and counts of references, in memory that follows what is in use and not the address space.

use crate::blockmap::{Bits, WORDS, place};
use crate::ids::Vbn;
use crate::layout::MAP_BLOCKS_PER_PAGE;
use std::collections::BTreeMap;

/// A set of blocks: one bit each, in regions of one map page (128 MiB of volume) that are made when needed.
#[derive(Default, Clone)]
pub(super) struct BlockSet {
    regions: BTreeMap<u64, Box<Bits>>,
}

fn word_and_mask(bit: u64) -> (usize, u64) {
    (usize::try_from(bit / 64).unwrap_or(0) % WORDS, 1 << (bit % 64))
}

impl BlockSet {
    /// Adds a block; whether it was not there.
    pub(super) fn insert(&mut self, vbn: Vbn) -> bool {
        let (page, bit) = place(vbn);
        let (word, mask) = word_and_mask(bit);
        let region = self.regions.entry(page.0).or_insert_with(|| Box::new([0; WORDS]));
        let fresh = region[word] & mask == 0;
        region[word] |= mask;
        fresh
    }

    pub(super) fn remove(&mut self, vbn: Vbn) {
        let (page, bit) = place(vbn);
        let (word, mask) = word_and_mask(bit);
        if let Some(region) = self.regions.get_mut(&page.0) {
            region[word] &= !mask;
        }
    }

    pub(super) fn contains(&self, vbn: Vbn) -> bool {
        let (page, bit) = place(vbn);
        let (word, mask) = word_and_mask(bit);
        self.regions.get(&page.0).is_some_and(|region| region[word] & mask != 0)
    }

    /// How many blocks.
    pub(super) fn len(&self) -> u64 {
        let ones = |bits: &Bits| bits.iter().map(|word| u64::from(word.count_ones())).sum::<u64>();
        self.regions.values().map(|bits| ones(bits)).sum()
    }

    /// The bits of one map page.
    pub(super) fn region(&self, page: u64) -> Option<&Bits> {
        self.regions.get(&page).map(|bits| &**bits)
    }

    /// All of them, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = Vbn> {
        self.regions.iter().flat_map(|(page, bits)| {
            let base = page * MAP_BLOCKS_PER_PAGE;
            let set = |bit: &u64| {
                let (word, mask) = word_and_mask(*bit);
                bits[word] & mask != 0
            };
            (0..MAP_BLOCKS_PER_PAGE).filter(set).map(move |bit| Vbn(base + bit))
        })
    }

    /// The map pages that have a bit, ascending.
    pub(super) fn pages(&self) -> impl Iterator<Item = (u64, &Bits)> {
        self.regions.iter().filter(|(_, bits)| bits.iter().any(|word| *word != 0)).map(|(n, b)| (*n, &**b))
    }

    /// Adds all of `other`.
    pub(super) fn add(&mut self, other: &BlockSet) {
        for (page, bits) in &other.regions {
            let mine = self.regions.entry(*page).or_insert_with(|| Box::new([0; WORDS]));
            mine.iter_mut().zip(bits.iter()).for_each(|(word, more)| *word |= more);
        }
    }

    /// How many of its blocks are not in `other`.
    pub(super) fn len_without(&self, other: &BlockSet) -> u64 {
        let mut count = 0;
        for (page, bits) in &self.regions {
            let minus = other.regions.get(page);
            for (index, word) in bits.iter().enumerate() {
                let minus = minus.map_or(0, |bits| bits[index]);
                count += u64::from((word & !minus).count_ones());
            }
        }
        count
    }

    /// First block at or after `from` and below `end` that is in none of `sets`.
    pub(super) fn first_in_none(sets: &[&BlockSet], from: u64, end: u64) -> Option<Vbn> {
        let mut vbn = from;
        while vbn < end {
            let (page, bit) = place(Vbn(vbn));
            let regions: Vec<&Bits> = sets.iter().filter_map(|set| set.region(page.0)).collect();
            let (word, _) = word_and_mask(bit);
            let used = regions.iter().fold(0, |used, bits| used | bits[word]);
            let free = !used >> (bit % 64);
            if free != 0 {
                let found = vbn + u64::from(free.trailing_zeros());
                return (found < end).then_some(Vbn(found));
            }
            vbn = page.0 * MAP_BLOCKS_PER_PAGE + (bit / 64 + 1) * 64;
        }
        None
    }
}

/// The blocks that one image reaches, and how often each.
#[derive(Default)]
pub(super) struct Reach {
    pub(super) blocks: BlockSet,
    /// References beyond the first.
    pub(super) more: BTreeMap<Vbn, u32>,
}

impl Reach {
    /// Counts a pointer to a block; whether it is the first.
    pub(super) fn add(&mut self, vbn: Vbn) -> bool {
        let first = self.blocks.insert(vbn);
        if !first {
            *self.more.entry(vbn).or_default() += 1;
        }
        first
    }

    /// How many references a block has.
    pub(super) fn count(&self, vbn: Vbn) -> u64 {
        let more = self.more.get(&vbn).map_or(0, |more| u64::from(*more));
        u64::from(self.blocks.contains(vbn)) + more
    }

    /// Blocks with more than one reference: how many references each has.
    pub(super) fn shared(&self) -> impl Iterator<Item = (Vbn, u64)> {
        self.more.iter().map(|(vbn, more)| (*vbn, u64::from(*more) + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_count_join_and_find_gaps() {
        let mut set = BlockSet::default();
        assert!(set.insert(Vbn(5)) && !set.insert(Vbn(5)) && set.insert(Vbn(40_000)));
        let mut other = BlockSet::default();
        for vbn in 0..130 {
            other.insert(Vbn(vbn));
        }
        assert_eq!((set.len(), set.len_without(&other)), (2, 1));
        assert_eq!(BlockSet::first_in_none(&[&set, &other], 0, 1000), Some(Vbn(130)));
        assert_eq!(BlockSet::first_in_none(&[&set, &other], 3, 130), None);
        assert_eq!(BlockSet::first_in_none(&[&set], 5, 10), Some(Vbn(6)));
        set.add(&other);
        set.remove(Vbn(7));
        assert_eq!(set.len(), 130);
        assert!(set.contains(Vbn(40_000)) && !set.contains(Vbn(7)));
    }

    #[test]
    fn references_beyond_the_first_are_counted() {
        let mut reach = Reach::default();
        assert!(reach.add(Vbn(1)) && reach.add(Vbn(2)) && !reach.add(Vbn(1)) && !reach.add(Vbn(1)));
        assert_eq!(reach.shared().collect::<Vec<_>>(), [(Vbn(1), 3)]);
    }
}
