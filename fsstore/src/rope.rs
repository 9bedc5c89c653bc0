//! File data as it is in memory: pages in order, shared with the cache, so that they reach a socket without a copy.

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
    /// `None`: a hole.
    pages: Vec<Option<Arc<Page>>>,
    /// Bytes of the first page before the first byte.
    skip: usize,
    len: usize,
}

impl Rope {
    /// `len` bytes that begin `skip` bytes behind the start of `pages`.
    pub(crate) fn new(pages: Vec<Option<Arc<Page>>>, skip: usize, len: usize) -> Rope {
        debug_assert!(skip + len <= pages.len() * BLOCK_SIZE);
        Rope { pages, skip, len }
    }

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
        self.pages.iter().map_while(move |page| {
            let page: &[u8] = page.as_deref().unwrap_or(&ZEROS);
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

    #[test]
    fn a_rope_is_its_bytes_wherever_it_begins_and_ends() {
        let page = |byte: u8| Some(Arc::new([byte; BLOCK_SIZE]));
        let pages = vec![page(1), None, page(3)];
        let whole = [vec![1; BLOCK_SIZE], vec![0; BLOCK_SIZE], vec![3; BLOCK_SIZE]].concat();
        for (skip, len) in
            [(0, 3 * BLOCK_SIZE), (1, 5), (BLOCK_SIZE - 1, 2), (7, BLOCK_SIZE), (0, 0), (9, 2 * BLOCK_SIZE)]
        {
            let rope = Rope::new(pages.clone(), skip, len);
            assert_eq!(rope.to_bytes(), whole[skip..skip + len], "{skip} {len}");
            assert!(rope.slices().all(|piece| !piece.is_empty() && piece.len() <= BLOCK_SIZE));
        }
        assert!(Rope::default().to_bytes().is_empty());
    }
}
