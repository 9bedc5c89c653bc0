//! The content of a simulated disk. A clone costs a few pointers and shares all blocks, so that a crash image is cheap.

use std::sync::Arc;

pub(super) const BLOCK: usize = fsstore::BLOCK_SIZE;
pub(super) const BLOCK_U64: u64 = fsstore::BLOCK_SIZE_U64;
/// Blocks that are copied together (as pointers) when one of them changes.
const GROUP: usize = 32;

/// One block.
pub(super) type Block = [u8; BLOCK];
type Group = [Option<Arc<Block>>; GROUP];

/// The content of a disk; blocks never written are not stored. Clones share their blocks.
#[derive(Clone, Default)]
pub struct Image {
    groups: Vec<Option<Arc<Group>>>,
    /// Length in bytes, once it was on a disk.
    pub(super) len: Option<u64>,
}

impl Image {
    /// Fills `buf` from byte `offset`.
    pub fn read(&self, buf: &mut [u8], offset: u64) {
        for (at, piece) in pieces(offset, buf.len()) {
            let within = in_block(at);
            let into = &mut buf[piece.clone()];
            match self.block(at / BLOCK_U64) {
                Some(content) => into.copy_from_slice(&content[within..within + piece.len()]),
                None => into.fill(0),
            }
        }
    }

    /// Puts `data` at byte `offset`.
    pub fn write(&mut self, data: &[u8], offset: u64) {
        for (at, piece) in pieces(offset, data.len()) {
            let within = in_block(at);
            let slot = self.slot(at / BLOCK_U64);
            let content = slot.get_or_insert_with(|| Arc::new([0; BLOCK]));
            Arc::make_mut(content)[within..within + piece.len()].copy_from_slice(&data[piece]);
        }
    }

    /// Puts a whole block to `number` without a copy.
    pub(super) fn put(&mut self, number: u64, block: &Arc<Block>) {
        *self.slot(number) = Some(Arc::clone(block));
    }

    /// Makes it `bytes` long; what is cut off is zeros if it grows again.
    pub(super) fn set_len(&mut self, bytes: u64) {
        self.discard(bytes, self.len.unwrap_or(0).saturating_sub(bytes));
        self.len = Some(bytes);
    }

    /// Forgets the whole blocks of a range.
    pub(super) fn discard(&mut self, offset: u64, len: u64) {
        for number in offset.div_ceil(BLOCK_U64)..(offset + len) / BLOCK_U64 {
            if self.block(number).is_some() {
                *self.slot(number) = None;
            }
        }
    }

    /// Numbers of the blocks that hold anything but zeros, ascending.
    pub fn used_blocks(&self) -> Vec<u64> {
        let all = 0..(self.groups.len() * GROUP) as u64;
        all.filter(|n| self.block(*n).is_some_and(|content| content.iter().any(|b| *b != 0))).collect()
    }

    /// Turns one bit over: what a bad sector or cable does.
    pub fn flip_bit(&mut self, block: u64, bit: usize) {
        if let Some(content) = self.slot(block) {
            Arc::make_mut(content)[bit / 8 % BLOCK] ^= 1 << (bit % 8);
        }
    }

    pub(super) fn block(&self, number: u64) -> Option<&Block> {
        let (group, within) = place(number);
        self.groups.get(group)?.as_ref()?[within].as_deref()
    }

    fn slot(&mut self, number: u64) -> &mut Option<Arc<Block>> {
        let (group, within) = place(number);
        if self.groups.len() <= group {
            self.groups.resize(group + 1, None);
        }
        let group = self.groups[group].get_or_insert_with(|| Arc::new([const { None }; GROUP]));
        &mut Arc::make_mut(group)[within]
    }
}

fn place(number: u64) -> (usize, usize) {
    let number = usize::try_from(number).expect("a block in memory");
    (number / GROUP, number % GROUP)
}

fn in_block(at: u64) -> usize {
    usize::try_from(at % BLOCK_U64).expect("less than a block")
}

/// Cuts `len` bytes at `offset` where blocks end: (byte offset on the disk, range in the buffer).
fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let take = (BLOCK - in_block(at)).min(len - done);
        let range = done..done + take;
        done += take;
        (take > 0).then_some((at, range))
    })
}
