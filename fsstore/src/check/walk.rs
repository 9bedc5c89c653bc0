//! Walks the tree of one file: marks every block as reached and verifies what the image looked at before does not share.

use super::Checker;
use super::bits::Reach;
use super::finding::{FindingKind, Owner};
use crate::error::FsError;
use crate::ids::{BLOCK_SIZE, BLOCK_SIZE_U64, Vbn};
use crate::layout::{BlockPtr, FANOUT, FANOUT_U64, Page, TreeRoot, checksum};
use crate::tree::HEIGHT_MAX;
use std::sync::Arc;

/// Blocks read by one call at the most (1 MiB).
const RUN_BLOCKS: usize = 256;

/// What a tree turned out to hold.
#[derive(Default)]
pub(super) struct Walked {
    /// Data blocks.
    pub(super) blocks: u64,
    /// The file block behind the last one.
    pub(super) end: u64,
    /// Blocks that could not be read or may not be there: what is under them is not known.
    pub(super) lost: u64,
    /// Index blocks that had been reached before, and were not gone into again.
    pub(super) again: u64,
    /// The data blocks, if asked for: file block and pointer.
    pub(super) leaves: Vec<(u64, BlockPtr)>,
}

/// What the image before has at the same place.
#[derive(Clone, Copy)]
enum Twin {
    None,
    Ptr(BlockPtr),
    /// The same block, read and verified.
    Same,
}

/// The walk of one tree.
pub(super) struct Walk<'c, 'a> {
    pub(super) checker: &'c mut Checker<'a>,
    pub(super) reach: &'c mut Reach,
    pub(super) owner: Owner,
    /// Whether to list the data blocks.
    pub(super) list: bool,
    out: Walked,
    /// Data blocks to verify.
    pending: Vec<BlockPtr>,
}

/// Walks `tree`; `twin` is the same file's tree in the image that was looked at before.
pub(super) fn walk(
    checker: &mut Checker<'_>,
    reach: &mut Reach,
    owner: Owner,
    tree: TreeRoot,
    twin: Option<TreeRoot>,
    list: bool,
) -> Walked {
    if tree.height > HEIGHT_MAX {
        let text =
            format!("the tree of {} is {} levels tall, which can't be: it is lost", owner.what, tree.height);
        checker.find(FindingKind::Tree, owner.ino, Some(tree.ptr.vbn), text);
        return Walked { lost: 1, ..Walked::default() };
    }
    let twin = match twin {
        Some(twin) if twin.height == tree.height => Twin::Ptr(twin.ptr),
        _ => Twin::None,
    };
    let mut walk = Walk { checker, reach, owner, list, out: Walked::default(), pending: Vec::new() };
    walk.node(tree.ptr, tree.height, 0, twin);
    walk.verify_pending();
    walk.out
}

impl Walk<'_, '_> {
    fn node(&mut self, ptr: BlockPtr, level: u8, fbn: u64, twin: Twin) {
        if ptr.is_hole() {
            return;
        }
        let (first, end) = (self.checker.info.first_data(), self.checker.info.blocks);
        if !(first..end).contains(&ptr.vbn.0) {
            let text = format!(
                "a pointer of {} leads to this block, outside of the volume's data ({first} to {}); what it led to is \
                 lost",
                self.owner.what,
                end - 1
            );
            self.checker.find(FindingKind::BadPointer, self.owner.ino, Some(ptr.vbn), text);
            self.out.lost += 1;
            return;
        }
        let fresh = self.reach.add(ptr.vbn);
        let twin = match twin {
            Twin::Ptr(other) if other == ptr => Twin::Same,
            other => other,
        };
        if level == 0 {
            self.out.blocks += 1;
            self.out.end = self.out.end.max(fbn + 1);
            if self.list {
                self.out.leaves.push((fbn, ptr));
            }
            if !matches!(twin, Twin::Same) {
                self.pending.push(ptr);
                if self.pending.len() >= RUN_BLOCKS {
                    self.verify_pending();
                }
            }
        } else if fresh {
            self.index(ptr, level, fbn, twin);
        } else {
            self.out.again += 1;
        }
    }

    fn index(&mut self, ptr: BlockPtr, level: u8, fbn: u64, twin: Twin) {
        let page = match self.checker.io.page(ptr) {
            Ok(page) => page,
            Err(error) => return self.lose(ptr.vbn, &error),
        };
        if !matches!(twin, Twin::Same) {
            self.checker.count_read(1);
        }
        let beside: Option<Arc<Page>> = match twin {
            Twin::Ptr(other) if !other.is_hole() => self.checker.io.page(other).ok(),
            _ => None,
        };
        let span = FANOUT_U64.pow(u32::from(level) - 1);
        for slot in 0..FANOUT {
            let below = match (&twin, &beside) {
                (Twin::Same, _) => Twin::Same,
                (_, Some(page)) => Twin::Ptr(BlockPtr::decode_at(page, slot)),
                _ => Twin::None,
            };
            self.node(BlockPtr::decode_at(&page, slot), level - 1, fbn + slot as u64 * span, below);
        }
    }

    fn lose(&mut self, vbn: Vbn, error: &FsError) {
        let finding = self.owner.lost_block(&self.checker.image, vbn, error);
        self.checker.push(finding);
        self.out.lost += 1;
    }

    /// Reads and verifies data blocks, neighbours in one call.
    fn verify_pending(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        for run in pending.chunk_by(|a, b| a.vbn.0 + 1 == b.vbn.0) {
            let Some(first) = run.first() else { continue };
            let mut buf = vec![0; run.len() * BLOCK_SIZE];
            let whole = self.checker.io.disk.read_at(&mut buf, first.vbn.0 * BLOCK_SIZE_U64);
            for (ptr, block) in run.iter().zip(buf.chunks_mut(BLOCK_SIZE)) {
                // One bad sector must not take its neighbours with it.
                let read = match &whole {
                    Ok(()) => Ok(()),
                    Err(_) => self.checker.io.disk.read_at(block, ptr.vbn.0 * BLOCK_SIZE_U64),
                };
                let error = match read {
                    Ok(()) if checksum(block) == ptr.sum => continue,
                    Ok(()) => FsError::Corrupt { ino: self.owner.ino.unwrap_or_default(), vbn: ptr.vbn },
                    Err(error) => error.into(),
                };
                let finding = self.owner.lost_block(&self.checker.image, ptr.vbn, &error);
                self.checker.push(finding);
            }
            self.checker.count_read(run.len() as u64);
        }
    }
}
