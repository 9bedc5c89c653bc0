//! File data as it is in memory: pages in order, shared with the cache, so that they reach a socket without a copy.

use crate::group::{Block, Run};
use crate::ids::BLOCK_SIZE;
use crate::layout::{Page, zero_page};
use bytes::{BufMut, Bytes, BytesMut};
use std::fmt;
use std::sync::Arc;

static ZEROS: Page = zero_page();

/// Bytes of a file that stand in several pages. Cheap to make and to clone; what is in it does not change, whatever
/// becomes of the file.
#[derive(Clone, Default)]
pub struct Rope {
    pieces: Vec<Piece>,
    /// Bytes of the first page before the first byte.
    skip: usize,
    len: usize,
}

/// Some whole pages.
#[derive(Clone)]
enum Piece {
    Hole { blocks: usize },
    Page(Arc<Page>),
    Part { run: Run, first: usize, blocks: usize },
}

impl Piece {
    fn blocks(&self) -> usize {
        match self {
            Piece::Page(_) => 1,
            Piece::Hole { blocks } | Piece::Part { blocks, .. } => *blocks,
        }
    }

    fn page(&self, at: usize) -> &Page {
        match self {
            Piece::Hole { .. } => &ZEROS,
            Piece::Page(page) => page,
            Piece::Part { run, first, .. } => run.page(first + at),
        }
    }
}

/// Pages of a rope as they are found.
#[derive(Default)]
pub(crate) struct Pages {
    pieces: Vec<Piece>,
    blocks: usize,
}

impl Pages {
    /// How many there are.
    pub(crate) fn blocks(&self) -> usize {
        self.blocks
    }

    /// Blocks that were never written.
    pub(crate) fn hole(&mut self, blocks: usize) {
        self.push(Piece::Hole { blocks });
    }

    pub(crate) fn page(&mut self, page: Arc<Page>) {
        self.push(Piece::Page(page));
    }

    pub(crate) fn run(&mut self, run: Run) {
        let blocks = run.blocks();
        self.push(Piece::Part { run, first: 0, blocks });
    }

    pub(crate) fn block(&mut self, block: &Block) {
        let (of, at) = match block {
            Block::Page(page) => return self.page(page.clone()),
            Block::Part(run, at) => (run, *at),
        };
        match self.pieces.last_mut() {
            Some(Piece::Part { run, first, blocks }) if *first + *blocks == at && run.is(of) => {
                *blocks += 1;
                self.blocks += 1;
            }
            _ => self.push(Piece::Part { run: of.clone(), first: at, blocks: 1 }),
        }
    }

    fn push(&mut self, piece: Piece) {
        self.blocks += piece.blocks();
        self.pieces.push(piece);
    }

    /// `len` bytes that begin `skip` bytes behind the start of the first page.
    pub(crate) fn rope(self, skip: usize, len: usize) -> Rope {
        debug_assert!(skip + len <= self.blocks * BLOCK_SIZE);
        Rope { pieces: self.pieces, skip, len }
    }
}

impl Rope {
    /// Bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes, in pieces of at most a block.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let (mut skip, mut rest) = (self.skip, self.len);
        let pages = self.pieces.iter().flat_map(|piece| (0..piece.blocks()).map(|at| piece.page(at)));
        pages.map_while(move |page| {
            let piece = &page[skip..page.len().min(skip + rest)];
            (skip, rest) = (0, rest - piece.len());
            (!piece.is_empty()).then_some(piece)
        })
    }

    /// The bytes in one piece: a copy.
    pub fn to_bytes(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(self.len);
        self.slices().for_each(|piece| bytes.put_slice(piece));
        bytes.freeze()
    }
}

impl fmt::Debug for Rope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rope({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Vbn;

    #[test]
    fn a_rope_is_its_bytes_wherever_it_begins_and_ends() {
        let runs = Run::read(Vbn(15), 3, |pages| {
            pages.iter_mut().zip([1, 4, 5]).for_each(|(page, byte)| page.fill(byte));
            Ok::<_, ()>(())
        });
        let runs = runs.unwrap();
        let pages = || {
            let mut pages = Pages::default();
            pages.run(runs[0].clone());
            pages.hole(1);
            pages.page(Arc::new([3; BLOCK_SIZE]));
            pages.block(&Block::Part(runs[1].clone(), 0));
            pages.block(&Block::Part(runs[1].clone(), 1));
            assert_eq!(
                (pages.blocks(), pages.pieces.len()),
                (5, 4),
                "neighbours of one buffer are one piece"
            );
            pages
        };
        let whole: Vec<u8> = [1, 0, 3, 4, 5].iter().flat_map(|byte| [*byte; BLOCK_SIZE]).collect();
        for (skip, len) in
            [(0, 5 * BLOCK_SIZE), (1, 5), (BLOCK_SIZE - 1, 2), (7, BLOCK_SIZE), (0, 0), (9, 2 * BLOCK_SIZE)]
        {
            let rope = pages().rope(skip, len);
            assert_eq!(rope.to_bytes(), whole[skip..skip + len], "{skip} {len}");
            assert!(rope.slices().all(|piece| !piece.is_empty() && piece.len() <= BLOCK_SIZE));
        }
        assert!(Rope::default().to_bytes().is_empty());
    }
}
