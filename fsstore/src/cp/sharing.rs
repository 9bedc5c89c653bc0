//! Blocks with more than one user. The *reference tree* of an image counts, for each block, the users beyond the first;
//! a block without an entry has one user or none. Only data blocks are ever shared: index pages are not.
//!
//! ```text
//! page: | count u32 x 1024 |       block n: page n / 1024
//! ```

use crate::blockmap;
use crate::error::{FsError, Result};
use crate::ids::{BLOCK_SIZE, Fbn, InodeNum, Vbn};
use crate::io::Io;
use crate::tree::{Edit, Ledger, Slot, Tree};
use std::collections::HashSet;

const COUNT_BYTES: usize = 4;
/// Blocks that one page of the reference tree speaks of.
pub(crate) const REFS_PER_PAGE: u64 = (BLOCK_SIZE / COUNT_BYTES) as u64;

/// Pages and index pages of a whole reference tree: what a CP could have to write of it at the most.
pub(crate) fn refs_blocks_max(blocks: u64) -> u64 {
    let pages = blocks.div_ceil(REFS_PER_PAGE);
    pages + pages / 128 + 4
}

fn place(vbn: Vbn) -> (Fbn, usize) {
    let slot = usize::try_from(vbn.0 % REFS_PER_PAGE).unwrap_or(0);
    (Fbn(vbn.0 / REFS_PER_PAGE), slot * COUNT_BYTES)
}

/// Users of `vbn` beyond the first.
pub(crate) fn extra_users(refs: &Tree, io: &Io, vbn: Vbn) -> Result<u32> {
    let (fbn, at) = place(vbn);
    let page = refs.page(io, fbn)?;
    Ok(page.map_or(0, |page| u32::from_le_bytes(page[at..at + COUNT_BYTES].try_into().unwrap_or([0; 4]))))
}

fn set(refs: &mut Tree, edit: &mut Edit<'_>, vbn: Vbn, count: u32) -> Result<()> {
    let (fbn, at) = place(vbn);
    refs.page_mut(edit, fbn)?[at..at + COUNT_BYTES].copy_from_slice(&count.to_le_bytes());
    Ok(())
}

/// What operations did to shared blocks since the last CP.
pub(super) struct Sharing<'a> {
    pub(super) io: &'a Io,
    pub(super) generation: u64,
    /// The map of the last image.
    pub(super) map: &'a Tree,
    /// Runs that operations have written themselves.
    pub(super) allocated: &'a [(Vbn, u64)],
    /// Runs that got one more user.
    pub(super) adopted: &'a [(Vbn, u64)],
}

impl Sharing<'_> {
    /// Brings `refs` up to date. Takes out of `freed` what still has a user, and gives the blocks that only snapshots
    /// used and the image uses again. Pages that `refs` replaces are added to `freed`.
    pub(super) fn settle(&self, refs: &mut Tree, freed: &mut Vec<Vbn>) -> Result<Vec<Vbn>> {
        if self.adopted.is_empty() && matches!(refs.root, Slot::Hole) {
            return Ok(Vec::new());
        }
        let mut ledger = Ledger::default();
        let mut edit = Edit { io: self.io, generation: self.generation, ledger: &mut ledger };
        let written: HashSet<u64> =
            self.allocated.iter().flat_map(|(start, len)| start.0..start.0 + len).collect();
        let mut back: HashSet<u64> = HashSet::new();
        for vbn in self.adopted.iter().flat_map(|(start, len)| start.0..start.0 + len) {
            let used = written.contains(&vbn)
                || back.contains(&vbn)
                || blockmap::is_set(self.map, self.io, Vbn(vbn))?;
            if used {
                let count = extra_users(refs, self.io, Vbn(vbn))?;
                let count =
                    count.checked_add(1).ok_or(FsError::Corrupt { ino: InodeNum(0), vbn: Vbn(vbn) })?;
                set(refs, &mut edit, Vbn(vbn), count)?;
            } else {
                back.insert(vbn);
            }
        }
        let mut gone = Vec::with_capacity(freed.len());
        for vbn in freed.drain(..) {
            let count = extra_users(refs, self.io, vbn)?;
            if count > 0 {
                set(refs, &mut edit, vbn, count - 1)?;
            } else if !back.remove(&vbn.0) {
                gone.push(vbn);
            }
        }
        gone.append(&mut ledger.freed);
        *freed = gone;
        Ok(back.into_iter().map(Vbn).collect())
    }
}
