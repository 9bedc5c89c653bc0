//! Write allocation: which blocks are free, and which come next.
//!
//! Blocks are handed out in ascending order from a cursor, so what is written together stands together. A block
//! freed by an operation comes back only when a CP without it is durable: until then the last image needs it.
//! Regions of the map are loaded when the cursor reaches them.

use crate::blockmap::{Bits, WORDS, add_page, place};
use crate::error::Result;
use crate::ids::{Fbn, Vbn};
use crate::io::Io;
use crate::layout::MAP_BLOCKS_PER_PAGE;
use crate::tree::Tree;
use std::collections::{BTreeSet, HashMap};

/// One loaded region: the blocks of one map page.
struct Region {
    used: Box<Bits>,
    free: u64,
    /// Freezes when a block of it was last handed out.
    touched: u64,
}

/// Regions kept in memory, about: more of them go with a CP (2 MiB; the map of 64 GiB).
const REGIONS_MAX: usize = 512;

/// The free space of a volume.
pub(crate) struct Walloc {
    /// First block for data: what is before belongs to fsinfo and the NVLOG.
    first: u64,
    blocks: u64,
    /// Blocks from here on are not handed out, and not counted as free: the volume may be about to become smaller.
    limit: u64,
    regions: HashMap<u64, Region>,
    /// How many CPs have begun.
    freezes: u64,
    cursor: u64,
    /// Blocks that may be handed out now.
    pub(crate) free: u64,
    /// Blocks ever handed out.
    pub(crate) allocated_total: u64,
    /// Maps whose blocks are in use: the committed image's and every snapshot's.
    maps: Vec<Tree>,
}

impl Walloc {
    pub(crate) fn new(first: u64, blocks: u64, free: u64, allocated_total: u64, maps: Vec<Tree>) -> Self {
        Walloc {
            first,
            blocks,
            limit: blocks,
            regions: HashMap::new(),
            freezes: 0,
            cursor: first,
            free,
            allocated_total,
            maps,
        }
    }

    /// From here on, regions are loaded from these maps, which have every block that was handed out before
    /// [`Walloc::freeze`] was last called.
    pub(crate) fn set_maps(&mut self, maps: Vec<Tree>) {
        self.maps = maps;
        let frozen = self.freezes;
        if self.regions.len() > REGIONS_MAX {
            // What was handed out since is in no map.
            self.regions.retain(|_, region| region.touched >= frozen);
        }
    }

    /// A CP begins.
    pub(crate) fn freeze(&mut self) {
        self.freezes += 1;
    }

    fn region(&mut self, io: &Io, index: u64) -> Result<&mut Region> {
        if !self.regions.contains_key(&index) {
            let mut used: Box<Bits> = Box::new([0; WORDS]);
            for map in &self.maps {
                if let Some(page) = map.page(io, Fbn(index))? {
                    add_page(&mut used, &page);
                }
            }
            let base = index * MAP_BLOCKS_PER_PAGE;
            for bit in 0..MAP_BLOCKS_PER_PAGE {
                if base + bit < self.first || base + bit >= self.blocks {
                    set(&mut used, bit);
                }
            }
            let free = used.iter().map(|word| u64::from(word.count_zeros())).sum();
            self.regions.insert(index, Region { used, free, touched: 0 });
        }
        Ok(self.regions.get_mut(&index).expect("the region was just loaded"))
    }

    /// Takes a run of 1 to `want` neighbouring blocks; `None` when the volume is full.
    pub(crate) fn alloc_run(&mut self, io: &Io, want: u64) -> Result<Option<(Vbn, u64)>> {
        let freezes = self.freezes;
        let (limit, regions) = (self.limit, self.limit.div_ceil(MAP_BLOCKS_PER_PAGE));
        if self.cursor >= limit {
            self.cursor = self.first;
        }
        let home = self.cursor / MAP_BLOCKS_PER_PAGE;
        // One more round than there are regions: the part of the home region before the cursor comes last.
        for step in 0..=regions {
            let index = (home + step) % regions;
            let base = index * MAP_BLOCKS_PER_PAGE;
            let from = if step == 0 { self.cursor - base } else { 0 };
            let region = self.region(io, index)?;
            if region.free == 0 {
                continue;
            }
            let run = find_run(&region.used, from, want).filter(|(bit, _)| base + bit < limit);
            if let Some((bit, len)) = run {
                let len = len.min(limit - base - bit);
                for taken in bit..bit + len {
                    set(&mut region.used, taken);
                }
                region.free -= len;
                region.touched = freezes;
                self.free -= len;
                self.allocated_total += len;
                self.cursor = base + bit + len;
                return Ok(Some((Vbn(base + bit), len)));
            }
        }
        Ok(None)
    }

    /// Adds blocks at the end.
    pub(crate) fn grow(&mut self, blocks: u64) {
        let old = self.blocks;
        self.free += blocks - old;
        // Only the region that the old end is in can be loaded.
        let index = old / MAP_BLOCKS_PER_PAGE;
        if let Some(region) = self.regions.get_mut(&index) {
            let base = index * MAP_BLOCKS_PER_PAGE;
            for vbn in old..blocks.min(base + MAP_BLOCKS_PER_PAGE) {
                clear(&mut region.used, vbn - base);
                region.free += 1;
            }
        }
        (self.blocks, self.limit) = (blocks, blocks);
    }

    /// Hands out nothing from `limit` on, until [`Walloc::unfence`] or [`Walloc::shrink`].
    pub(crate) fn fence(&mut self, io: &Io, limit: u64) -> Result<()> {
        let used = self.used_from(io, limit)?.0;
        self.free -= self.blocks - limit - used;
        self.limit = limit;
        Ok(())
    }

    /// Takes the fence away.
    pub(crate) fn unfence(&mut self, io: &Io) -> Result<()> {
        let used = self.used_from(io, self.limit)?.0;
        self.free += self.blocks - self.limit - used;
        self.limit = self.blocks;
        Ok(())
    }

    /// Lets the blocks behind the fence go; none is in use.
    pub(crate) fn shrink(&mut self) {
        self.blocks = self.limit;
        let (index, base) =
            (self.limit / MAP_BLOCKS_PER_PAGE, self.limit / MAP_BLOCKS_PER_PAGE * MAP_BLOCKS_PER_PAGE);
        self.regions.retain(|region, _| *region <= index);
        if let Some(region) = self.regions.get_mut(&index) {
            for bit in self.limit - base..MAP_BLOCKS_PER_PAGE {
                if !is_set(&region.used, bit) {
                    set(&mut region.used, bit);
                    region.free -= 1;
                }
            }
        }
    }

    /// How many blocks from `start` on are in use, handed out ones too, and the last of them.
    pub(crate) fn used_from(&self, io: &Io, start: u64) -> Result<(u64, Option<Vbn>)> {
        let first = start / MAP_BLOCKS_PER_PAGE;
        let pages = self.blocks.div_ceil(MAP_BLOCKS_PER_PAGE) - first;
        let mut known: BTreeSet<u64> = self.regions.keys().copied().filter(|index| *index >= first).collect();
        for map in &self.maps {
            map.for_range(io, Fbn(first), pages, &mut |fbn, _| {
                known.insert(fbn.0);
                Ok(())
            })?;
        }
        let (mut count, mut last) = (0, None);
        for index in known {
            let mut used: Bits = [0; WORDS];
            if let Some(region) = self.regions.get(&index) {
                used = *region.used;
            } else {
                for map in &self.maps {
                    if let Some(page) = map.page(io, Fbn(index))? {
                        add_page(&mut used, &page);
                    }
                }
            }
            let base = index * MAP_BLOCKS_PER_PAGE;
            for vbn in start.max(base)..self.blocks.min(base + MAP_BLOCKS_PER_PAGE) {
                if is_set(&used, vbn - base) {
                    count += 1;
                    last = Some(Vbn(vbn));
                }
            }
        }
        Ok((count, last))
    }

    /// Marks blocks that a replayed operation had allocated.
    pub(crate) fn claim(&mut self, io: &Io, start: Vbn, len: u64) -> Result<()> {
        let freezes = self.freezes;
        for vbn in start.0..start.0 + len {
            let (page, bit) = place(Vbn(vbn));
            let region = self.region(io, page.0)?;
            region.touched = freezes;
            if !is_set(&region.used, bit) {
                set(&mut region.used, bit);
                region.free -= 1;
                self.free -= 1;
                self.allocated_total += 1;
            }
        }
        Ok(())
    }

    /// Gives back a run that was handed out and never used.
    pub(crate) fn unalloc(&mut self, start: Vbn, len: u64) {
        (start.0..start.0 + len).for_each(|vbn| self.release(Vbn(vbn)));
        self.allocated_total -= len;
    }

    /// Gives back blocks that no image uses any more; fast where they are sorted.
    pub(crate) fn release_all(&mut self, freed: &[Vbn]) {
        for of_page in freed.chunk_by(|a, b| place(*a).0 == place(*b).0) {
            let Some(first) = of_page.first() else { continue };
            self.free += of_page.iter().filter(|vbn| vbn.0 < self.limit).count() as u64;
            let Some(region) = self.regions.get_mut(&place(*first).0.0) else { continue };
            for vbn in of_page {
                let (_, bit) = place(*vbn);
                assert!(is_set(&region.used, bit), "{vbn:?} was freed twice");
                clear(&mut region.used, bit);
            }
            region.free += of_page.len() as u64;
        }
    }

    /// Gives back a block that no image uses any more.
    pub(crate) fn release(&mut self, vbn: Vbn) {
        let (page, bit) = place(vbn);
        self.free += u64::from(vbn.0 < self.limit);
        // A region that is not loaded will be loaded from maps that do not have the bit.
        if let Some(region) = self.regions.get_mut(&page.0) {
            assert!(is_set(&region.used, bit), "{vbn:?} was freed twice");
            clear(&mut region.used, bit);
            region.free += 1;
        }
    }
}

fn set(bits: &mut Bits, bit: u64) {
    bits[word_of(bit)] |= 1 << (bit % 64);
}

fn clear(bits: &mut Bits, bit: u64) {
    bits[word_of(bit)] &= !(1 << (bit % 64));
}

fn is_set(bits: &Bits, bit: u64) -> bool {
    bits[word_of(bit)] >> (bit % 64) & 1 == 1
}

fn word_of(bit: u64) -> usize {
    usize::try_from(bit / 64).unwrap_or(WORDS)
}

/// First run of clear bits at or after `from`, of at most `want`.
fn find_run(used: &Bits, from: u64, want: u64) -> Option<(u64, u64)> {
    let mut bit = from;
    while bit < MAP_BLOCKS_PER_PAGE {
        let rest = !used[word_of(bit)] >> (bit % 64);
        if rest == 0 {
            bit = (bit / 64 + 1) * 64;
            continue;
        }
        let start = bit + u64::from(rest.trailing_zeros());
        let mut end = start;
        while end < MAP_BLOCKS_PER_PAGE && end - start < want && !is_set(used, end) {
            end += 1;
        }
        return Some((start, end - start));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_at_a_used_block_and_at_the_wish() {
        let mut used: Bits = [0; WORDS];
        set(&mut used, 3);
        set(&mut used, 200);
        assert_eq!(find_run(&used, 0, 100), Some((0, 3)));
        assert_eq!(find_run(&used, 3, 1000), Some((4, 196)));
        assert_eq!(find_run(&used, 3, 10), Some((4, 10)));
        assert_eq!(find_run(&[u64::MAX; WORDS], 0, 1), None);
    }
}
